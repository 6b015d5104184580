"""Intake promises of a running service: signed at once, kept afterwards, over any restart.

A promised record is on the disk (promises.db) before its promise leaves, and goes to the engine
again until it has an answer: a crash breaks no promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from chain import io_ledger
from chain.errors import UserError
from chain.io_metrics import Metrics
from chain.proofs.promise import Promise, make_promise
from chain.records import SubmitResult
from chain.service.io_sequencer import Engine
from chain.state import State
from chain.store.io_schema import storage_error
from chain.wire import record_id_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS promises (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, wire BLOB,
    received_ms INTEGER NOT NULL, deadline_epoch INTEGER NOT NULL, reason TEXT, detail TEXT);
CREATE INDEX IF NOT EXISTS promises_open ON promises (seq) WHERE reason IS NULL;
"""
RETRY_S = 0.5
BATCH = 256
# What became of a promise is told for this long after its deadline.
KEPT_EPOCHS = 1_008


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a promised record here; `reason` is empty while it waits."""

    record_id: bytes
    received_ms: int
    deadline_epoch: int
    reason: str
    detail: str


class PromiseBook:
    """Promised records on the disk."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, wires: Sequence[bytes], received_ms: int, deadline_epoch: int) -> None:
        """Put records on the disk; UserError (503) if it refuses. A known record stays as it is."""
        rows = [(record_id_of(raw), raw, received_ms, deadline_epoch) for raw in wires]
        sql = "INSERT OR IGNORE INTO promises VALUES (NULL, ?, ?, ?, ?, NULL, NULL)"
        self._write(sql, rows)

    def settle(self, results: Sequence[SubmitResult]) -> None:
        """Note the ledger's answers; the wires are the ledger's from here on."""
        sql = "UPDATE promises SET reason = ?, detail = ?, wire = NULL WHERE id = ?"
        self._write(sql, [(r.reason, r.detail, r.record_id) for r in results])

    def forget(self, before_epoch: int) -> None:
        """Drop what was answered long ago."""
        sql = "DELETE FROM promises WHERE reason IS NOT NULL AND deadline_epoch < ?"
        self._write(sql, [(before_epoch,)])

    def _write(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(sql, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise storage_error(error, self.path) from error

    def waiting(self, limit: int = BATCH) -> list[bytes]:
        """Promised records without an answer, oldest first."""
        sql = "SELECT wire FROM promises WHERE reason IS NULL ORDER BY seq LIMIT ?"
        return [row[0] for row in self._connection.execute(sql, (limit,))]

    def overdue(self, epoch: int) -> int:
        """How many have no answer though their deadline is over."""
        sql = "SELECT count(*) FROM promises WHERE reason IS NULL AND deadline_epoch < ?"
        return int(self._connection.execute(sql, (epoch,)).fetchone()[0])

    def fate(self, record_id: bytes) -> Fate | None:
        """What became of a promised record; None if nothing was promised."""
        sql = (
            "SELECT id, received_ms, deadline_epoch, coalesce(reason, ''), coalesce(detail, '')"
            " FROM promises WHERE id = ?"
        )
        row = self._connection.execute(sql, (record_id,)).fetchone()
        return None if row is None else Fate(*row)


class Promiser:
    """Makes promises for an engine, and keeps them."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        book: PromiseBook,
        get_seed: Callable[[State], bytes | None],
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._book = book
        self._get_seed = get_seed
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sources: dict[bytes, Hashable] = {}

    def start(self) -> None:
        """Begin to keep what was promised before; needs a running loop."""
        self._task = asyncio.create_task(self._keep())
        self._arrived.set()

    async def stop(self) -> None:
        """Stop; what was promised waits on the disk for the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._book.close()

    def promise(self, wires: list[bytes], source: Hashable) -> list[Promise]:
        """Promises for records, which are on the disk by then.

        UserError 503 if the disk refuses or no sequencer's key is here, 429 for a source to wait.
        """
        self._engine.check_door(source)
        ledger = self._engine.durable.ledger
        seed = self._get_seed(ledger.state)
        if seed is None:
            problem = "the key of this network's sequencer is not in the ledger's folder"
            raise UserError("promise", problem, "submit without promise=1", status=503)
        now_ms = io_ledger.now_ms()
        epoch = ledger.params.epoch_at(ledger.state.genesis.start_ms, now_ms)
        deadline = max(epoch, ledger.state.epoch) + ledger.params.promise_epochs
        self._book.add(wires, now_ms, deadline)
        self._sources |= dict.fromkeys(map(record_id_of, wires), source)
        self._metrics.promises["made"] += len(wires)
        self._arrived.set()
        network = ledger.network_id
        return [make_promise(seed, network, record_id_of(w), now_ms, deadline) for w in wires]

    def fate(self, record_id: bytes) -> Fate | None:
        """What became of a promised record."""
        return self._book.fate(record_id)

    def count_overdue(self) -> int:
        """Promises past their deadline without an answer."""
        return self._book.overdue(self._engine.durable.ledger.state.epoch)

    async def _keep(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while wires := self._book.waiting():
                if not await self._submit(wires):
                    await asyncio.sleep(RETRY_S)
            epoch = self._engine.durable.ledger.state.epoch
            self._book.forget(epoch - KEPT_EPOCHS)

    async def _submit(self, wires: list[bytes]) -> bool:
        """Hand promised records to the engine; whether they have an answer now."""
        try:
            results = await self._engine.submit(wires)
            self._book.settle(results)
        except UserError:
            return False
        for raw, result in zip(wires, results, strict=False):
            self._metrics.promises["kept" if result.accepted else "void"] += 1
            self._engine.note(self._sources.pop(result.record_id, None), [raw], [result])
        return len(results) == len(wires)
