"""The sequencer: takes submissions, commits those of a moment together, ticks on its own clock.

Requests of known sources are committed and answered first, a block per mebibyte. Those of sources
that brought nothing good yet follow in small slices, so that a flood of bad signatures costs the
others a bounded wait; chain/standing.py says who is which.

The signatures of a block are verified on all cores before the single writer applies it, and HTTP
goes on meanwhile: the rules find their answers in the pool's memory. What the pool was not asked,
since a record of the same block changed whose signature counts, the rules verify themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chain import io_ledger
from chain.errors import UserError
from chain.io_ledger import DurableLedger
from chain.io_metrics import Metrics
from chain.records import Refusal, Signed, SubmitResult
from chain.service.io_verify import VerifyPool
from chain.standing import FIRST_CREDIT, Door, get_claimed_key
from chain.wire import decode

GROUP_COMMIT_S = 0.05
TICK_S = 0.05
# Unknown sources get this many records processed between two commits of known ones: 15 ms.
UNKNOWN_PER_COMMIT = 256
# What may wait: a second of work; of unknown sources a quarter of that.
MAX_WAITING = 16_384
MAX_UNKNOWN_WAITING = 4_096
# Of one block: 12,000 signatures of receipts, 0.3 s on two cores and 0.1 s for the rules.
BLOCK_BYTES = 1 << 20
# A signature is 64 bytes of a wire, so a block's answers are remembered until it is applied.
REMEMBERED = BLOCK_BYTES // 64


class Engine(Protocol):
    """What orders records and makes them durable, as the HTTP service sees it."""

    durable: DurableLedger
    metrics: Metrics
    fault: str

    def start(self) -> None:
        """Start working; needs a running loop."""

    async def stop(self) -> None:
        """Stop working."""

    async def submit(self, wires: list[bytes], source: Hashable = None) -> list[SubmitResult]:
        """Answer records once they are durable; UserError (503) if they can't be made so.

        `source` names who brought them, None for this process itself; UserError (429) for one that
        brought too much that was bad.
        """

    def check_door(self, source: Hashable) -> None:
        """UserError (429) for a source that must wait, before anything of its request is read."""

    def note(
        self, source: Hashable, wires: Sequence[bytes], results: Sequence[SubmitResult]
    ) -> None:
        """Remember what a source brought; None, this process itself, has no standing."""

    @property
    def waiting(self) -> int:
        """Records that came and were not answered yet."""


@dataclass(slots=True, eq=False)
class Request:
    """Records of one submission, what became of the first of them, and who waits for it."""

    wires: list[bytes]
    source: Hashable
    answer: asyncio.Future[list[SubmitResult]]
    results: list[SubmitResult] = field(default_factory=list)

    @property
    def rest(self) -> list[bytes]:
        """Records that were not processed yet."""
        return self.wires[len(self.results) :]


class Sequencer:
    """The embedded engine: one process orders everything.

    `threads` is how many verify signatures; by default all cores do.
    """

    def __init__(
        self,
        durable: DurableLedger,
        metrics: Metrics | None = None,
        threads: int | None = None,
    ) -> None:
        self.durable = durable
        self.metrics = metrics or Metrics()
        self.pool = VerifyPool(threads, REMEMBERED)
        self.metrics.signatures = self.pool.tally
        durable.set_verify(self.pool.verify)
        self.fault = ""
        self.door = Door()
        self._known: list[Request] = []
        self._unknown: list[Request] = []
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Records that came and were not answered yet."""
        return _count(self._known) + _count(self._unknown)

    def start(self) -> None:
        """Start committing and ticking; needs a running loop."""
        self._tasks = [asyncio.create_task(self._commit()), asyncio.create_task(self._tick())]

    async def stop(self) -> None:
        """Stop; submissions that were not answered were not accepted for sure, and come again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.close()

    async def submit(self, wires: list[bytes], source: Hashable = None) -> list[SubmitResult]:
        """Answer records once they are on the disk.

        UserError 503 if the disk refuses or too many wait, 429 if the source brought too much bad.
        """
        if not wires:
            return []
        answer: asyncio.Future[list[SubmitResult]] = asyncio.get_running_loop().create_future()
        request = Request(wires, source, answer)
        self._queue_of(request).append(request)
        self._arrived.set()
        return await answer

    def check_door(self, source: Hashable) -> None:
        """UserError 429 for a source that must wait, before anything of its request is read."""
        wait_ms = 0 if source is None else self.door.get_wait_ms(source, io_ledger.now_ms())
        if wait_ms > 0:
            self.metrics.refused_at_door["source"] += 1
            problem = "too many records of this source had bad signatures or shapes"
            raise UserError("source", problem, f"wait {wait_ms} ms and mend them", status=429)

    def _queue_of(self, request: Request) -> list[Request]:
        known = request.source is None or self.door.is_known(request.source)
        queue, most = (
            (self._known, MAX_WAITING) if known else (self._unknown, MAX_UNKNOWN_WAITING)
        )
        if queue and _count(queue) + len(request.wires) > most:
            self.metrics.refused_at_door["queue"] += len(request.wires)
            raise UserError("records", "too many are waiting", "send them again soon", status=503)
        return queue

    async def _commit(self) -> None:
        spent_s = 0.0
        while True:
            await self._arrived.wait()
            # What came while a long block was processed has waited for company already.
            await asyncio.sleep(max(0.0, GROUP_COMMIT_S - spent_s))
            self._arrived.clear()
            known, began = tuple(self._known), time.perf_counter()
            while known := _get_open(known):
                await self._process(get_turn(known))
            self._known = [*_get_open(self._known)]
            spent_s = time.perf_counter() - began
            await asyncio.sleep(0)  # the answers leave before anything unknown is looked at
            await self._process_unknown()
            if self._known or self._unknown:
                self._arrived.set()

    async def _process_unknown(self) -> None:
        """A slice of every unknown source's request, as far as this turn reaches."""
        turn: dict[Request, int] = {}
        left = UNKNOWN_PER_COMMIT
        for request in _get_open(self._unknown):
            known = self.door.is_known(request.source)
            size = min(left, len(request.rest), len(request.rest) if known else FIRST_CREDIT)
            if size and not self._turn_away(request, size):
                turn[request] = size
                left -= size
        if turn:
            await self._process(tuple(turn.items()))
        # Who had a turn goes to the end of the queue.
        self._unknown = sorted(_get_open(self._unknown), key=turn.__contains__)

    def _turn_away(self, request: Request, size: int) -> bool:
        """Refuse a request whose source is out of credit, or that names an abused key."""
        now_ms, epoch = io_ledger.now_ms(), self.durable.ledger.state.epoch
        if self.door.get_wait_ms(request.source, now_ms):
            self.metrics.refused_at_door["source"] += len(request.rest)
            problem = "too many records of this source had bad signatures or shapes"
        elif any(
            self.door.is_key_abused(get_claimed_key(decode(raw)), epoch)
            for raw in request.rest[:size]
        ):
            self.metrics.refused_at_door["key"] += len(request.rest)
            problem = "others sent too many bad signatures in the name of this key"
        else:
            return False
        error = UserError("source", problem, "keep them and try again soon", status=429)
        if not request.answer.done():
            request.answer.set_exception(error)
        return True

    async def _process(self, turn: Sequence[tuple[Request, int]]) -> None:
        """Process the next records of each request, save, and answer those that are complete."""
        wires = [raw for request, size in turn for raw in request.rest[:size]]
        began = time.perf_counter()
        given = await self._verify_ahead(wires)
        try:
            answers = self.durable.submit(given, io_ledger.now_ms())
            self.fault = ""
        except UserError as error:
            self._fail((request for request, _ in turn), error)
            return
        self.metrics.commit.observe(time.perf_counter() - began)
        self.metrics.count_results(wires, answers)
        results = iter(answers)
        for request, size in turn:
            own = [next(results) for _ in range(size)]
            self.note(request.source, request.rest, own)
            request.results += own
            if not request.rest and not request.answer.done():
                request.answer.set_result(request.results)

    async def _verify_ahead(self, wires: Sequence[bytes]) -> list[bytes | Signed]:
        """Wires, decoded where that is possible, whose signatures the pool knows all about now."""
        decoded = [decode(raw) for raw in wires]
        good = [signed for signed in decoded if isinstance(signed, Signed)]
        await self.pool.prefetch_aside(self.durable.ledger.state, good)
        return [
            raw if isinstance(signed, Refusal) else signed
            for raw, signed in zip(wires, decoded, strict=True)
        ]

    def note(
        self, source: Hashable, wires: Sequence[bytes], results: Sequence[SubmitResult]
    ) -> None:
        """Remember what a source brought; None, this process itself, has no standing."""
        if source is None:
            return
        now_ms, epoch = io_ledger.now_ms(), self.durable.ledger.state.epoch
        known = self.door.is_known(source)
        for raw, result in zip(wires, results, strict=False):
            key = None if known or result.accepted else get_claimed_key(decode(raw))
            self.door.note(source, result.reason, key, epoch, now_ms)

    def _fail(self, requests: Iterable[Request], error: UserError) -> None:
        """Tell everyone that waits what the disk said."""
        self.fault = str(error)
        for request in requests:
            if not request.answer.done():
                request.answer.set_exception(
                    UserError(error.field, error.problem, error.remedy, status=error.status)
                )

    async def _tick(self) -> None:
        while True:
            try:
                self.durable.tick(io_ledger.now_ms())
                self.fault = ""
            except UserError as error:
                self.fault = str(error)
            await asyncio.sleep(TICK_S)


def get_turn(requests: Iterable[Request]) -> list[tuple[Request, int]]:
    """How many of each request's next records make up a block, in order; one at least."""
    turn: list[tuple[Request, int]] = []
    left = BLOCK_BYTES
    for request in requests:
        size = 0
        for raw in request.rest:
            if left <= 0:
                break
            left -= len(raw)
            size += 1
        if size:
            turn.append((request, size))
    return turn


def _get_open(requests: Iterable[Request]) -> tuple[Request, ...]:
    """Requests that somebody still waits for."""
    return tuple(request for request in requests if not request.answer.done())


def _count(requests: Iterable[Request]) -> int:
    return sum(len(request.wires) - len(request.results) for request in requests)
