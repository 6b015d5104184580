"""Snapshots on the disk: written beside the ledger while it goes on, and put into a new one.

    DIR/snapshots/HEIGHT/0, 1, ...    chunks
    DIR/snapshots/HEIGHT/manifest     written last: without it there is no snapshot

A second connection holds the database as it was when the block that settled was saved; a thread
copies the rows from there.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from chain.abci.messages import Snapshot
from chain.abci.snapshots import FORMAT, NUMBERS, Manifest, Row, count_chunks, cut_rows, is_carried
from chain.errors import UserError
from chain.header import Header
from chain.state import State
from chain.store.io_log import encode_edge
from chain.store.io_schema import SCALARS, storage_error
from chain.store.io_store import EDGE, Store
from chain.store.tables import NUMBER, TABLES, get_scalars

FOLDER = "snapshots"
MANIFEST = "manifest"
# The newest may be too young for its height to be known to a newcomer's servers.
KEPT = 2


class SnapshotShelf:
    """The snapshots beside one ledger database; taking one never holds the ledger up."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._folder = database.parent / FOLDER
        self._writer = ThreadPoolExecutor(1, "snapshot")

    def take(self, height: int, header: Header, peaks: tuple[bytes, ...]) -> None:
        """Begin to write the state that the database holds now. What goes wrong is no harm."""
        with suppress(UserError, sqlite3.Error):
            store = Store.open(self._database, read_only=True)
            store.connection.execute("BEGIN")
            store.connection.execute("SELECT count(*) FROM meta").fetchone()  # from here it stays
            self._writer.submit(self._write, store, height, header, peaks)

    def _write(self, store: Store, height: int, header: Header, peaks: tuple[bytes, ...]) -> None:
        draft = self._folder / f"{height}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
            hashes = []
            for number, chunk in enumerate(cut_rows(_rows(store))):
                (draft / str(number)).write_bytes(chunk)
                hashes.append(sha256(chunk).digest())
            manifest = Manifest(header, peaks, tuple(hashes))
            (draft / MANIFEST).write_bytes(manifest.encode())
            draft.replace(self._folder / str(height))
            self._drop_old()
        except (OSError, sqlite3.Error):
            shutil.rmtree(draft, ignore_errors=True)
        finally:
            store.close()

    def _heights(self) -> list[int]:
        names = self._folder.iterdir() if self._folder.is_dir() else ()
        return sorted(int(path.name) for path in names if path.name.isdecimal())

    def _drop_old(self) -> None:
        for height in self._heights()[:-KEPT]:
            shutil.rmtree(self._folder / str(height), ignore_errors=True)

    def list(self) -> tuple[Snapshot, ...]:
        """The snapshots that are whole, oldest first."""
        found = []
        for height in self._heights():
            with suppress(OSError, ValueError):
                data = (self._folder / str(height) / MANIFEST).read_bytes()
                count = count_chunks(data)
                found.append(Snapshot(height, FORMAT, count, sha256(data).digest(), data))
        return tuple(found)

    def load(self, height: int, number: int) -> bytes:
        """A chunk; empty if there is none."""
        try:
            return (self._folder / str(height) / str(number)).read_bytes()
        except OSError:
            return b""

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown()


def _rows(store: Store) -> Iterator[Row]:
    """The state's rows that its root commits to."""
    sql = "SELECT name, key, row FROM state ORDER BY name, key"
    for name, key, packed in store.connection.execute(sql):
        carried = NUMBERS if name == SCALARS else name
        if is_carried(carried):
            yield carried, bytes(key), bytes(packed)


def put_snapshot(
    store: Store, manifest: Manifest, state: State, meta: Mapping[str, bytes]
) -> None:
    """Make a snapshot's state and head those of a ledger that has only its genesis.

    In one transaction; UserError, and nothing changed, if the disk refuses.
    """
    run = store.connection.execute
    try:
        run("BEGIN IMMEDIATE")
        run("DELETE FROM state")
        _put_rows(store, state)
        header = manifest.header
        run(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
            (
                *(header.height, header.epoch, header.time_ms, header.record_count),
                *(header.encode(), header.hash()),
            ),
        )
        store.put_meta({**meta, EDGE: encode_edge(manifest.edge())})
        run("COMMIT")
    except sqlite3.Error as error:
        if store.connection.in_transaction:
            run("ROLLBACK")
        raise storage_error(error, store.path) from error
    store.forget()


def _put_rows(store: Store, state: State) -> None:
    """The state, and what the store keeps beside it for look-ups."""
    many = store.connection.executemany
    for name, table in TABLES.items():
        rows = ((name, key, packed) for key, packed in table.pack_all(state))
        many("INSERT INTO state VALUES (?, ?, ?)", rows)
    numbers = ((SCALARS, n.encode(), NUMBER.pack(v)) for n, v in get_scalars(state).items())
    many("INSERT INTO state VALUES (?, ?, ?)", numbers)
    owners = ((account.slot, key) for key, account in state.accounts.items())
    many("INSERT OR IGNORE INTO owners VALUES (?, ?)", owners)
    many("INSERT OR REPLACE INTO mixes VALUES (?, ?)", sorted(state.mixes.items()))
