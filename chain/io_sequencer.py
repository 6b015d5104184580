"""The sequencer: takes submissions, commits those of a moment together, ticks on its own clock.

Requests of known sources are committed and answered first, all in one block. Those of sources that
brought nothing good yet follow in small slices, so that a flood of bad signatures costs the others
a bounded wait; chain/standing.py says who is which.
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
from chain.records import SubmitResult
from chain.standing import FIRST_CREDIT, Door, get_claimed_key
from chain.wire import decode

GROUP_COMMIT_S = 0.05
TICK_S = 0.05
# Unknown sources get this many records processed between two commits of known ones: 15 ms.
UNKNOWN_PER_COMMIT = 256
# What may wait: a second of work; of unknown sources a quarter of that.
MAX_WAITING = 16_384
MAX_UNKNOWN_WAITING = 4_096


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


@dataclass(slots=True)
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
    """The embedded engine: one process orders everything."""

    def __init__(self, durable: DurableLedger, metrics: Metrics | None = None) -> None:
        self.durable = durable
        self.metrics = metrics or Metrics()
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

    async def submit(self, wires: list[bytes], source: Hashable = None) -> list[SubmitResult]:
        """Answer records once they are on the disk.

        UserError 503 if the disk refuses or too many wait, 429 if the source brought too much bad.
        """
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
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GROUP_COMMIT_S)
            self._arrived.clear()
            known, self._known = self._known, []
            if known:
                self._process([(request, len(request.wires)) for request in known])
            await asyncio.sleep(0)  # the answers leave before anything unknown is looked at
            self._process_unknown()
            if self._unknown:
                self._arrived.set()

    def _process_unknown(self) -> None:
        """A slice of every unknown source's request, as far as this turn reaches."""
        turn: list[tuple[Request, int]] = []
        left, later = UNKNOWN_PER_COMMIT, []
        for request in self._unknown:
            known = self.door.is_known(request.source)
            size = min(left, len(request.rest), len(request.rest) if known else FIRST_CREDIT)
            if size and not self._turn_away(request, size):
                turn.append((request, size))
                left -= size
            elif not size:
                later.append(request)
        self._unknown = later
        if turn:
            self._process(turn)
            unfinished = (request for request, _ in turn if not request.answer.done())
            self._unknown = [*later, *unfinished]

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

    def _process(self, turn: Sequence[tuple[Request, int]]) -> None:
        """Process the next records of each request, save, and answer those that are complete."""
        wires = [raw for request, size in turn for raw in request.rest[:size]]
        began = time.perf_counter()
        try:
            answers = self.durable.submit(wires, io_ledger.now_ms())
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


def _count(requests: Iterable[Request]) -> int:
    return sum(len(request.wires) - len(request.results) for request in requests)
