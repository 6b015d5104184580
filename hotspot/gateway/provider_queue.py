"""What waits for a provider's model and what it works on: turns, speed, and who can't be in time.

An engine takes what it is given in the order in which it comes. So no more than `PREFILLS` prompts
are handed to it at a time; the rest wait here, in the order of `routing/placement_turns.py`, and
while they do nothing is lost by sending a newcomer away that can't be in time.

A prompt's length is planned by its bytes; the model's speed is learned from answers that stream,
whose first bytes say when the prompt was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.placement_turns import Turn, is_hopeless, next_turn

PREFILLS = 2
MAX_WAITING = 256
PATIENCE_NS = 30_000_000_000  # due time of a request without a goal
STALLED_NS = 15_000_000_000  # a prompt that takes this long no longer holds up the others
FIRST_TOKENS_PER_S = 1_000  # until measured
SPARE_US = 50_000  # of a goal, left for the step that runs and the way back


@dataclass(slots=True)
class Work:
    """One request: when it came, when its first token is due, how many tokens its prompt has."""

    number: int
    request_id: bytes
    came_ns: int
    due_ns: int
    tokens: int
    streams: bool
    started_ns: int = 0  # 0 while it waits
    first_ns: int = 0

    def is_prefilling(self, now_ns: int) -> bool:
        """Tell whether the engine computes its prompt, as far as one can see from outside."""
        is_young = now_ns - self.started_ns < STALLED_NS
        return self.streams and bool(self.started_ns) and not self.first_ns and is_young


class ModelQueue:
    """All requests of one model server, of all payers."""

    def __init__(self, slots: int) -> None:
        """`slots`: answers at a time; 0: as many as come."""
        self.slots = slots
        self.prefill_tokens_per_s = 0
        self._works: dict[bytes, Work] = {}
        self._numbers = 0
        self._turns = 0
        self._idle_since_ns = 0  # when the last prompt was done

    def __len__(self) -> int:
        return len(self._works)

    @property
    def waiting(self) -> int:
        """Requests that the model was not given yet."""
        return sum(1 for work in self._works.values() if not work.started_ns)

    @property
    def running(self) -> int:
        """Requests that the model works on."""
        return len(self._works) - self.waiting

    def queued_tokens(self) -> int:
        """Return the tokens of prompts of which no answer has begun."""
        return sum(work.tokens for work in self._works.values() if not work.first_ns)

    # --- in and out -----------------------------------------------------------------------------

    def refuses(self, tokens: int, goal_ms: int, now_ns: int) -> bool:
        """Tell whether a newcomer should go elsewhere; one without a goal, only if all is full."""
        waiting = [w for w in self._works.values() if not w.started_ns]
        if len(waiting) >= MAX_WAITING:
            return True
        if not goal_ms:
            return False
        turn = Turn(self._numbers, now_ns // 1_000 + 1_000 * goal_ms, self._work_us(tokens))
        start_us = self._start_us(now_ns) + self._slot_us(len(waiting))
        return is_hopeless(turn, self._turns_of(waiting), start_us)

    def add(
        self, request_id: bytes, tokens: int, goal_ms: int, now_ns: int, *, streams: bool
    ) -> None:
        """Take a request; `take` says when the model should have it."""
        due_ns = now_ns + (1_000_000 * goal_ms or PATIENCE_NS)
        self._works[request_id] = Work(
            self._numbers, request_id, now_ns, due_ns, tokens, streams
        )
        self._numbers += 1

    def take(self, now_ns: int) -> list[bytes]:
        """Return the requests that the model should be given now."""
        taken = []
        while (work := self._next(now_ns)) is not None:
            work.started_ns = now_ns
            taken.append(work.request_id)
        return taken

    def _next(self, now_ns: int) -> Work | None:
        waiting = [w for w in self._works.values() if not w.started_ns]
        running = len(self._works) - len(waiting)
        prefilling = sum(w.is_prefilling(now_ns) for w in self._works.values())
        if not waiting or prefilling >= PREFILLS or 0 < self.slots <= running:
            return None
        self._turns += 1
        turn = next_turn(self._turns_of(waiting), self._start_us(now_ns), self._turns)
        return next(w for w in waiting if w.number == turn.number)

    def _turns_of(self, waiting: Sequence[Work]) -> list[Turn]:
        return [Turn(w.number, w.due_ns // 1_000, self._work_us(w.tokens)) for w in waiting]

    def _work_us(self, tokens: int) -> int:
        return tokens * 1_000_000 // (self.prefill_tokens_per_s or FIRST_TOKENS_PER_S)

    def _start_us(self, now_ns: int) -> int:
        """When the engine is through with the prompts that it has."""
        started = [w for w in self._works.values() if w.is_prefilling(now_ns)]
        left_us = sum(self._work_us(w.tokens) for w in started)
        done_us = (now_ns - max((w.started_ns for w in started), default=now_ns)) // 1_000
        return now_ns // 1_000 + SPARE_US + max(0, left_us - done_us)

    def _slot_us(self, waiting: int) -> int:
        """Wait for a slot: none is known to be near its end, so that they last as they lasted."""
        running = len(self._works) - waiting
        return self._work_us(FIRST_TOKENS_PER_S) if 0 < self.slots <= running else 0

    # --- what the model does --------------------------------------------------------------------

    def began(self, request_id: bytes, now_ns: int) -> None:
        """The first bytes of an answer are out: its prompt is done."""
        work = self._works.get(request_id)
        if work is None or work.first_ns:
            return
        work.first_ns = now_ns
        if work.streams:
            busy_ns = now_ns - max(work.started_ns, self._idle_since_ns)
            self._idle_since_ns = now_ns
            self._learn(work.tokens * 1_000_000_000 // max(1_000_000, busy_ns))

    def _learn(self, tokens_per_s: int) -> None:
        # Short prompts measure the way there and back, not the machine: a rise is believed sooner.
        before = self.prefill_tokens_per_s
        weight = 2 if tokens_per_s > before else 8
        self.prefill_tokens_per_s = (
            tokens_per_s if not before else before + (tokens_per_s - before) // weight
        )

    def remove(self, request_id: bytes) -> None:
        """The answer is complete, or nobody wants it any more."""
        self._works.pop(request_id, None)

    def has_started(self, request_id: bytes) -> bool:
        """Tell whether the model was given a request."""
        work = self._works.get(request_id)
        return work is not None and bool(work.started_ns)
