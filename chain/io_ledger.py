"""The ledger with its database and the wall clock: what a sequencer is, without HTTP."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.ledger import Found, Ledger, Sealed
from chain.records import Signed, SubmitResult
from chain.rules.outcome import Verify
from chain.store.io_log import StoreLog
from chain.store.io_restore import load_ledger
from chain.store.io_store import Store

DATABASE = "ledger.db"


class DurableLedger:
    """A ledger whose answers are given after its database has them.

    Blocks that the disk refused stay in memory and are saved before anything new is answered.
    `log` gives proofs over what is on the disk.
    """

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self.store = store
        self._verify: Verify | None = None
        self._unsaved: list[Sealed] = []
        self.adopt(ledger)

    def adopt(self, ledger: Ledger) -> None:
        """Go on with a ledger that the store holds the state of."""
        self.ledger = ledger
        self.log: StoreLog = self.store.log
        ledger.on_block = self._unsaved.append
        ledger.find = self._find
        if self._verify is not None:
            ledger.set_verify(self._verify)

    def set_verify(self, verify: Verify) -> None:
        """Check signatures with another function from now on, in ledgers adopted later, too."""
        self._verify = verify
        self.ledger.set_verify(verify)

    @classmethod
    def open(cls, directory: Path) -> DurableLedger:
        """Open the ledger in a directory; UserError if there is none, if damaged or in use."""
        store = Store.open(directory / DATABASE)
        _lock(directory)
        return cls(load_ledger(store), store)

    def save(self, meta: Mapping[str, bytes] | None = None) -> None:
        """Write what is not on the disk yet, and values of the store's `meta` with it.

        UserError (503) if the disk refuses.
        """
        if self._unsaved or meta:
            self.store.append(self._unsaved, meta)
            self._unsaved.clear()

    def is_known(self, record_id: bytes) -> bool:
        """Whether the log holds a record, on the disk or about to be."""
        return self.ledger.lookup(record_id) is not None

    def _find(self, record_id: bytes) -> Found | None:
        found = self.store.find_index(record_id)
        return None if found is None else Found(*found)

    def tick(self, time_ms: int) -> None:
        """Close the epochs that ended."""
        self.save()
        self.ledger.tick(time_ms)
        self.save()

    def submit(self, wires: Sequence[bytes | Signed], time_ms: int) -> list[SubmitResult]:
        """Process records, as bytes or decoded, and return their answers once they are durable."""
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
