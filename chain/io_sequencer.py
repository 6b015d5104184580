"""The sequencer: takes submissions, commits those of a moment together, ticks on its own clock."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from chain import io_ledger
from chain.errors import UserError
from chain.io_ledger import DurableLedger
from chain.io_metrics import Metrics
from chain.records import SubmitResult

GROUP_COMMIT_S = 0.05
TICK_S = 0.05


class Engine(Protocol):
    """What orders records and makes them durable, as the HTTP service sees it."""

    durable: DurableLedger
    fault: str

    def start(self) -> None:
        """Start working; needs a running loop."""

    async def stop(self) -> None:
        """Stop working."""

    async def submit(self, wires: list[bytes]) -> list[SubmitResult]:
        """Answer records once they are durable; UserError (503) if they can't be made so."""

    @property
    def waiting(self) -> int:
        """Records that came and were not answered yet."""


class Sequencer:
    """The embedded engine: one process orders everything."""

    def __init__(self, durable: DurableLedger, metrics: Metrics | None = None) -> None:
        self.durable = durable
        self.metrics = metrics or Metrics()
        self.fault = ""
        self._waiting: list[tuple[list[bytes], asyncio.Future[list[SubmitResult]]]] = []
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Records that came and were not answered yet."""
        return sum(len(wires) for wires, _ in self._waiting)

    def start(self) -> None:
        """Start committing and ticking; needs a running loop."""
        self._tasks = [asyncio.create_task(self._commit()), asyncio.create_task(self._tick())]

    async def stop(self) -> None:
        """Stop; submissions that were not answered were not accepted for sure, and come again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, wires: list[bytes]) -> list[SubmitResult]:
        """Answer records once they are on the disk; UserError (503) if the disk refuses."""
        answer: asyncio.Future[list[SubmitResult]] = asyncio.get_running_loop().create_future()
        self._waiting.append((wires, answer))
        self._arrived.set()
        return await answer

    async def _commit(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GROUP_COMMIT_S)
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            self._answer(batch)

    def _answer(self, batch: list[tuple[list[bytes], asyncio.Future[list[SubmitResult]]]]) -> None:
        wires = [raw for request, _ in batch for raw in request]
        began = time.perf_counter()
        try:
            answers = self.durable.submit(wires, io_ledger.now_ms())
            self.fault = ""
        except UserError as error:
            self.fault = str(error)
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(
                        UserError(error.field, error.problem, error.remedy, status=error.status)
                    )
            return
        self.metrics.commit.observe(time.perf_counter() - began)
        self.metrics.count_results(wires, answers)
        results = iter(answers)
        for request, answer in batch:
            own = [next(results) for _ in request]
            if not answer.done():
                answer.set_result(own)

    async def _tick(self) -> None:
        while True:
            try:
                self.durable.tick(io_ledger.now_ms())
                self.fault = ""
            except UserError as error:
                self.fault = str(error)
            await asyncio.sleep(TICK_S)
