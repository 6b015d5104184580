"""Asking a neighbour's kernel whether it is there, when its hellos are late. Pure.

A hello comes out of a process, and a busy machine lets its processes wait; an echo (ICMPv6,
RFC 4443, section 4) is answered by the kernel itself, at once. So a late hello only raises doubt,
and the doubt is settled by echoes, PING_MS apart: one answer ends it, and as many as chance can't
explain without an answer end the neighbour. Whoever never answers one is judged by hellos alone
(netd_links.py), and whose hellos stay away is dead after LATE_MAX_MS whatever its kernel says:
answers aren't authenticated, hellos are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MS = 1_000_000
PING_MS = 10
PINGS_MIN, PINGS_MAX = 5, 20
LEARN_MS = 5_000  # how often it is asked without doubt, to know that it answers and how fast
ANSWERS_FOR_MS = 30_000  # who answered so lately is expected to answer
WAIT_MIN_MS, WAIT_MAX_MS = 20, 200
FORGET_MS = 2_000  # an answer that took so long says nothing of the link
CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Ping:
    """An echo request to a neighbour's link-local address."""

    device: str
    address: str
    number: int


@dataclass(slots=True)
class Asking:
    """What one neighbour was asked and said; times in ns."""

    rtt_ns: float = 0.0
    spread_ns: float = 0.0
    answered_ns: int | None = None
    asked_ns: int | None = None
    open: dict[int, int] = field(default_factory=dict)

    def answers(self, now_ns: int) -> bool:
        """Whether it answers echoes at all."""
        return self.answered_ns is not None and now_ns - self.answered_ns < ANSWERS_FOR_MS * MS

    def wait_ns(self) -> int:
        """How long an answer may take (RFC 6298's rule)."""
        wait = self.rtt_ns + 4 * self.spread_ns
        return round(min(max(wait, WAIT_MIN_MS * MS), WAIT_MAX_MS * MS))

    def ask(self, number: int, now_ns: int) -> None:
        """Note a request that leaves now."""
        self.asked_ns = now_ns
        self.open = {n: at for n, at in self.open.items() if now_ns - at < FORGET_MS * MS}
        self.open[number] = now_ns

    def take(self, number: int, now_ns: int) -> bool:
        """Take an answer; False for one to nothing that is open."""
        sent_ns = self.open.get(number)
        if sent_ns is None:
            return False
        rtt_ns = now_ns - sent_ns
        if self.answered_ns is None:
            self.rtt_ns, self.spread_ns = rtt_ns, rtt_ns / 2
        self.spread_ns += (abs(rtt_ns - self.rtt_ns) - self.spread_ns) / 4
        self.rtt_ns += (rtt_ns - self.rtt_ns) / 8
        self.answered_ns = now_ns
        # What was asked before it is answered with it.
        self.open = {n: at for n, at in self.open.items() if at > sent_ns}
        return True

    def unanswered(self, word_ns: int) -> list[int]:
        """When it was asked since the last word of it, and hasn't answered."""
        return [at for at in self.open.values() if at >= word_ns]

    def due_ns(self, word_ns: int, loss: float) -> int:
        """When there is something to do about a doubt: to ask once more, or to give up."""
        asked = self.unanswered(word_ns)
        if not self.is_asked_out(word_ns, loss):
            return max(asked) + PING_MS * MS if asked else 0
        return max(asked) + self.wait_ns()

    def is_asked_out(self, word_ns: int, loss: float) -> bool:
        """Whether it was asked often enough since its last word."""
        return len(self.unanswered(word_ns)) >= needed(loss)

    def is_dead(self, word_ns: int, loss: float, now_ns: int) -> bool:
        """Whether it was asked often enough, and long enough ago, without an answer."""
        return self.is_asked_out(word_ns, loss) and now_ns >= self.due_ns(word_ns, loss)


def needed(loss: float) -> int:
    """How many echoes chance doesn't leave unanswered, with this share of packets lost each way."""
    there_and_back = 1 - (1 - min(loss, 0.99)) ** 2
    if there_and_back < 1e-3:
        return PINGS_MIN
    enough = math.ceil(math.log(CHANCE) / math.log(there_and_back))
    return max(PINGS_MIN, min(PINGS_MAX, enough))
