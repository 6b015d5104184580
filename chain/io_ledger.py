"""The ledger with its database and the wall clock: what a sequencer is, without HTTP."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.io_explain import load_ledger
from chain.io_store import Store, damaged
from chain.keys import verify
from chain.ledger import Ledger, Sealed
from chain.log import MerkleLog
from chain.records import SubmitResult

DATABASE = "ledger.db"


class DurableLedger:
    """A ledger whose answers are given after its database has them.

    Blocks that the disk refused stay in memory and are saved before anything new is answered.
    """

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self.ledger = ledger
        self.store = store
        self.log = MerkleLog()
        self._unsaved: list[Sealed] = []
        for row in store.connection.execute("SELECT id FROM records ORDER BY seq"):
            self.log.append(row[0])
        ledger.on_block = self._unsaved.append

    @classmethod
    def open(cls, directory: Path) -> DurableLedger:
        """Open the ledger in a directory; UserError if there is none, if damaged or in use."""
        store = Store.open(directory / DATABASE)
        _lock(directory)
        ledger = load_ledger(store)
        if ledger.head.hash() != store.last_hash():
            raise damaged(store.path, "replaying the records leads to another head")
        ledger.set_verify(verify)
        return cls(ledger, store)

    def save(self) -> None:
        """Write what is not on the disk yet; UserError (503) if it refuses."""
        if self._unsaved:
            self.store.append(self._unsaved)
            for sealed in self._unsaved:
                for result in sealed.results:
                    self.log.append(result.record_id)
            self._unsaved.clear()

    def tick(self, time_ms: int) -> None:
        """Close the epochs that ended."""
        self.save()
        self.ledger.tick(time_ms)
        self.save()

    def submit(self, wires: Sequence[bytes], time_ms: int) -> list[SubmitResult]:
        """Process records and return their answers once they are durable."""
        self.save()
        results = self.ledger.submit(wires, time_ms)
        self.save()
        return results


def _lock(directory: Path) -> None:
    """Keep a second sequencer out for as long as this process lives."""
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise UserError(
            "dir",
            f"{directory} is in use by another ledger process",
            "stop it first",
            exit_code=EXIT_FAILED,
        ) from error


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
