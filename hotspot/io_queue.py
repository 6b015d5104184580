"""The durable queue: receptions and records are on disk before they count.

One SQLite file (WAL, synchronous FULL). A batch of a node's actions is one transaction. Delivery
is at least once; records are idempotent by their id. The ring limit counts bytes of delivered and
undelivered records and drops the oldest delivered first, then the oldest undelivered, and counts
what it dropped.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from chain.errors import EXIT_FAILED, UserError
from chain.records import EpochMessage, SubmitResult
from chain.wire import record_id_of
from hotspot.actions import (
    Action,
    DropClaim,
    DropJob,
    DropReceipt,
    KeepClaim,
    KeepJob,
    KeepReceipt,
    KeepReceptions,
    SubmitRecord,
)
from hotspot.clock import Moment
from hotspot.node import Memory, memory_from

SCHEMA = """
CREATE TABLE IF NOT EXISTS receptions(
    hotspot BLOB NOT NULL, epoch INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (hotspot, epoch, entry)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records(
    id BLOB PRIMARY KEY, hotspot BLOB NOT NULL, type INTEGER NOT NULL, epoch INTEGER NOT NULL,
    wire BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS undelivered ON records(state) WHERE state = 0;
CREATE TABLE IF NOT EXISTS receipts(
    hotspot BLOB NOT NULL, session INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (hotspot, session)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims(
    hotspot BLOB NOT NULL, epoch INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (hotspot, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs(
    hotspot BLOB NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (hotspot, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage(key TEXT PRIMARY KEY, tokens INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moments(
    epoch INTEGER NOT NULL, boot TEXT NOT NULL, boot_ns INTEGER NOT NULL, wall_ns INTEGER NOT NULL,
    synchronised INTEGER NOT NULL, PRIMARY KEY (epoch, boot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
MAGIC = b"SQLite format 3\0"
NEW, DELIVERED, REFUSED = 0, 1, 2
KEEP_EPOCHS = 3
KEEP_MOMENTS = 4_464  # 31 days of ten minutes
# What a record takes in the file beside its wire: id twice (row and index), key, numbers, pages
# that are not full. Measured: 150 bytes of a row with a wire of 600.
ROW_BYTES = 192
LENGTHS = f"SELECT id, length(wire) + {ROW_BYTES} FROM records"
SIZE = f"SELECT coalesce(sum(length(wire) + {ROW_BYTES}), 0) FROM records"
DURABLE = (
    *(KeepReceptions, KeepReceipt, DropReceipt, KeepClaim, DropClaim, KeepJob, DropJob),
    SubmitRecord,
)
TYPE_BYTE = 1  # a wire is a CBOR array of four; its first item is the type, one byte
DEFAULT_LIMIT_BYTES = 40 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Rows of a queue by state, and what the ring limit dropped since the file was made."""

    new: int
    delivered: int
    refused: int
    receptions: int
    dropped: int
    bytes: int
    limit_bytes: int


class Outgoing(NamedTuple):
    """A stored record that the ledger has not answered, and whose it is."""

    record_id: bytes
    wire: bytes
    hotspot: bytes


class DurableQueue:
    """What one or many hotspots of a process must not lose."""

    def __init__(self, path: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.path = path
        self.is_damaged = False
        self._limit_bytes = limit_bytes
        self._trimmed_epoch = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            with contextlib.suppress(AttributeError):
                self._db.close()
            raise self._error(error) from error

    def _error(self, error: Exception) -> UserError:
        """What people are told; a damaged file is remembered as such."""
        if is_damage(error):
            self.is_damaged = True
        return _queue_error(self.path, error)

    def check(self) -> None:
        """UserError if the file is damaged: each page is looked at, 1 ms a MiB."""
        ((said,),) = self._run("PRAGMA quick_check(1)")
        if said != "ok":
            damage = sqlite3.DatabaseError(" ".join(said.split()))
            raise self._error(damage) from damage

    def close(self) -> None:
        """Close the file; everything stored is on disk already."""
        self._db.close()

    # --- storing ----------------------------------------------------------------------------------

    def store(self, batches: Iterable[tuple[bytes, int, Sequence[Action]]]) -> list[Outgoing]:
        """Store (key, epoch, actions) in one transaction; return its records in order.

        When it returns, everything is on disk. On failure nothing is, and a UserError says why.
        """
        fresh: list[Outgoing] = []
        rows = [(k, e, a) for k, e, batch in batches for a in batch if isinstance(a, DURABLE)]
        if not rows:
            return fresh
        newest = max(epoch for _, epoch, _ in rows)
        with self._transaction():
            for key, epoch, action in rows:
                self._store_action(key, epoch, action, fresh)
            if newest > self._trimmed_epoch:  # the ledger may be away: nobody else would trim
                self._trim()
        self._trimmed_epoch = max(self._trimmed_epoch, newest)
        return fresh

    def note_moment(self, epoch: int, boot: str, moment: Moment) -> None:
        """Keep on which boot of the machine, and at what times of both clocks, an epoch began."""
        self._run(
            "INSERT OR IGNORE INTO moments VALUES (?, ?, ?, ?, ?)",
            (epoch, boot, moment.boot_ns, moment.wall_ns, moment.is_synchronised),
        )

    def moments(self) -> list[tuple[int, str, int, int, bool]]:
        """(epoch, boot id, boot clock ns, wall clock ns, was synchronised), by epoch."""
        rows = self._run("SELECT * FROM moments ORDER BY epoch, boot_ns")
        return [(int(e), str(boot), int(b), int(w), bool(s)) for e, boot, b, w, s in rows]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it, or nothing and a UserError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except (sqlite3.Error, UserError) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            known = isinstance(error, UserError)
            raise error if known else self._error(error) from error

    def _run(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """One statement and its rows; UserError if the disk refuses or the file is damaged."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _store_action(self, key: bytes, epoch: int, action: Action, fresh: list[Outgoing]) -> None:
        if isinstance(action, KeepReceptions):
            rows = [(key, action.epoch, entry) for entry in action.receptions]
            self._db.executemany("INSERT OR IGNORE INTO receptions VALUES (?, ?, ?)", rows)
        elif isinstance(action, KeepReceipt):
            row = (key, action.session, action.data)
            self._db.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", row)
        elif isinstance(action, SubmitRecord):
            record = Outgoing(record_id_of(action.wire), action.wire, key)
            about = epoch if action.epoch is None else action.epoch
            self._db.execute(
                "INSERT OR IGNORE INTO records(id, hotspot, type, epoch, wire) VALUES (?,?,?,?,?)",
                (record.record_id, key, record.wire[TYPE_BYTE], about, record.wire),
            )
            fresh.append(record)
        else:
            self._store_state(key, action)

    def _store_state(self, key: bytes, action: Action) -> None:
        if isinstance(action, KeepJob):
            values = (key, action.name, action.data)
            self._db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", values)
        elif isinstance(action, DropJob):
            self._db.execute("DELETE FROM jobs WHERE hotspot = ? AND name = ?", (key, action.name))
        elif isinstance(action, KeepClaim):
            kept = (key, action.epoch, action.data)
            self._db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", kept)
        elif isinstance(action, DropClaim):
            epoch = (key, action.epoch)
            self._db.execute("DELETE FROM claims WHERE hotspot = ? AND epoch = ?", epoch)
        elif isinstance(action, DropReceipt):
            row = (key, action.session)
            self._db.execute("DELETE FROM receipts WHERE hotspot = ? AND session = ?", row)

    def take_over(self, old: bytes, new: bytes, notes: dict[str, bytes]) -> None:
        """Give a key's receptions and records to another, with small values, all or nothing."""
        with self._transaction():
            for table in ("receptions", "records"):
                query = f"UPDATE OR REPLACE {table} SET hotspot = ? WHERE hotspot = ?"
                self._db.execute(query, (new, old))
            self._db.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes.items())

    def settle(self, results: Iterable[SubmitResult]) -> None:
        """Note the ledger's answers, then drop what is old enough or over the limit."""
        rows = [(DELIVERED if r.accepted else REFUSED, r.reason, r.record_id) for r in results]
        query = "SELECT hotspot, epoch FROM records WHERE id = ? AND type = ?"
        with self._transaction():
            self._db.executemany("UPDATE records SET state = ?, reason = ? WHERE id = ?", rows)
            for state, _, identifier in rows:
                row = self._db.execute(query, (identifier, EpochMessage.TYPE)).fetchone()
                if row is not None and state == DELIVERED:
                    self._raise_settled(bytes(row[0]), row[1])
            self._trim()

    def _raise_settled(self, key: bytes, epoch: int) -> None:
        """Keep that the ledger has a message of a key for this epoch, in this transaction."""
        if epoch > self.settled_epoch(key):
            row = (_settled(key), str(epoch).encode())
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", row)

    def note_settled(self, key: bytes, epoch: int) -> None:
        """The ledger has a message of a key for this epoch: none up to it is delivered any more."""
        query = (
            "UPDATE records SET state = ?, reason = 'settled'"
            " WHERE state = 0 AND hotspot = ? AND type = ? AND epoch <= ?"
        )
        with self._transaction():
            self._db.execute(query, (DELIVERED, key, EpochMessage.TYPE, epoch))
            self._raise_settled(key, epoch)

    def _trim(self) -> None:
        newest = self._db.execute("SELECT max(epoch) FROM records").fetchone()[0]
        if newest is None:
            return
        self._db.execute("DELETE FROM receptions WHERE epoch < ?", (newest - KEEP_EPOCHS,))
        self._db.execute("DELETE FROM moments WHERE epoch < ?", (newest - KEEP_MOMENTS,))
        self._db.execute(
            "DELETE FROM records WHERE state = ? AND epoch < ?", (DELIVERED, newest - KEEP_EPOCHS)
        )
        size = self._db.execute(SIZE).fetchone()[0]
        if size > self._limit_bytes:
            self._drop(size - self._limit_bytes)

    def _drop(self, excess: int) -> None:
        dropped = 0
        order = f"{LENGTHS} ORDER BY state = 0, epoch, rowid"
        for identifier, length in self._db.execute(order).fetchall():
            if excess <= 0:
                break
            self._db.execute("DELETE FROM records WHERE id = ?", (identifier,))
            excess -= length
            dropped += 1
        total = int(self.note("dropped") or b"0") + dropped
        self._db.execute(
            "INSERT OR REPLACE INTO notes VALUES ('dropped', ?)", (str(total).encode(),)
        )

    def adopt(self, rows: Iterable[tuple[Any, ...]]) -> int:
        """Take over another file's (id, hotspot, type, epoch, wire); count those that are whole."""
        insert = "INSERT OR IGNORE INTO records(id, hotspot, type, epoch, wire) VALUES (?,?,?,?,?)"
        taken = set()
        with self._transaction():
            for row in rows:
                if isinstance(row[4], bytes) and record_id_of(row[4]) == row[0]:
                    self._db.execute(insert, row)
                    taken.add(row[0])
        return len(taken)

    # --- finding again ----------------------------------------------------------------------------

    def undelivered(self) -> list[Outgoing]:
        """Records that the ledger hasn't answered yet, oldest first."""
        query = "SELECT id, wire, hotspot FROM records WHERE state = 0 ORDER BY epoch, rowid"
        return [Outgoing(*map(bytes, row)) for row in self._run(query)]

    def receipts(self, key: bytes) -> list[bytes]:
        """What `KeepReceipt` stored for a hotspot, by session."""
        query = "SELECT data FROM receipts WHERE hotspot = ? ORDER BY session"
        return [bytes(data) for (data,) in self._run(query, (key,))]

    def claims(self, key: bytes) -> list[bytes]:
        """What `KeepClaim` stored for a hotspot, by epoch."""
        query = "SELECT data FROM claims WHERE hotspot = ? ORDER BY epoch"
        return [bytes(data) for (data,) in self._run(query, (key,))]

    def jobs(self, key: bytes) -> list[tuple[str, bytes]]:
        """What `KeepJob` stored for a hotspot: (name, data), by name."""
        query = "SELECT name, data FROM jobs WHERE hotspot = ? ORDER BY name"
        return [(str(name), bytes(data)) for name, data in self._run(query, (key,))]

    def use(self, key: str, tokens: int) -> None:
        """Add to the tokens that a bearer key has used, durably."""
        self._run(
            "INSERT INTO usage VALUES (?, ?)"
            " ON CONFLICT(key) DO UPDATE SET tokens = tokens + excluded.tokens",
            (key, tokens),
        )

    def used(self, key: str) -> int:
        """Tokens that a bearer key has used."""
        rows = self._run("SELECT tokens FROM usage WHERE key = ?", (key,))
        return int(rows[0][0]) if rows else 0

    def memory(self, key: bytes) -> Memory:
        """What a node with this key must find again after a restart."""
        rows: dict[int, list[bytes]] = {}
        query = "SELECT epoch, entry FROM receptions WHERE hotspot = ?"
        for epoch, entry in self._run(query, (key,)):
            rows.setdefault(epoch, []).append(bytes(entry))
        ((last,),) = self._run(
            "SELECT max(epoch) FROM records WHERE hotspot = ? AND type = ?",
            (key, EpochMessage.TYPE),
        )
        return memory_from(rows, -1 if last is None else last)

    def settled_epoch(self, key: bytes) -> int:
        """Newest epoch for which the ledger has a message of a key, as it told; -1: none."""
        if (noted := self.note(_settled(key))) is not None:
            return int(noted)
        ((newest,),) = self._run(  # a queue of before, or of a key that took over
            "SELECT max(epoch) FROM records WHERE state = ? AND hotspot = ? AND type = ?",
            (DELIVERED, key, EpochMessage.TYPE),
        )
        return -1 if newest is None else int(newest)

    def find_message(self, key: bytes, epoch: int) -> bytes | None:
        """The id of a key's message for an epoch that waits for the ledger's answer, or None."""
        rows = self._run(
            "SELECT id FROM records WHERE state = 0 AND hotspot = ? AND type = ? AND epoch = ?",
            (key, EpochMessage.TYPE, epoch),
        )
        return bytes(rows[0][0]) if rows else None

    def note(self, name: str) -> bytes | None:
        """A small value kept beside the queue, or None."""
        rows = self._run("SELECT value FROM notes WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def set_note(self, name: str, value: bytes) -> None:
        """Keep a small value beside the queue."""
        self._run("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def drop_notes(self, names: Iterable[str]) -> None:
        """Forget small values."""
        with self._transaction():
            self._db.executemany("DELETE FROM notes WHERE name = ?", [(name,) for name in names])

    def counts(self) -> QueueCounts:
        """How much of what is in the file."""
        by_state = dict(self._run("SELECT state, count(*) FROM records GROUP BY state"))
        ((receptions,),) = self._run("SELECT count(*) FROM receptions")
        return QueueCounts(
            new=by_state.get(NEW, 0),
            delivered=by_state.get(DELIVERED, 0),
            refused=by_state.get(REFUSED, 0),
            receptions=receptions,
            dropped=int(self.note("dropped") or b"0"),
            bytes=int(self._run(SIZE)[0][0]),
            limit_bytes=self._limit_bytes,
        )


def _settled(key: bytes) -> str:
    return f"settled {key.hex()}"


def is_damage(error: BaseException | None) -> bool:
    """Whether the file itself is broken; a full disk, a lock or a mode is an OperationalError."""
    kind = type(error)
    return issubclass(kind, sqlite3.DatabaseError) and kind in (
        sqlite3.DatabaseError,
        sqlite3.InternalError,
    )


def open_whole(path: Path, limit_bytes: int) -> DurableQueue:
    """A queue; a damaged file is put aside as `NAME.damaged`, and its records are taken over.

    What is not taken over is the memory of the node: it registers new secrets, so that nothing is
    signed a second time. UserError as `DurableQueue` says where the file isn't the trouble.
    """
    queue: DurableQueue | None = None
    try:
        queue = DurableQueue(path, limit_bytes)
        queue.check()
        return queue
    except UserError as error:
        if queue is not None:
            queue.close()
        if not is_damage(error.__cause__) or not _was_queue(path):
            raise
    aside = path.with_name(f"{path.name}.damaged")
    for tail in ("", "-wal", "-shm"):
        part = path.with_name(path.name + tail)
        if part.exists():
            part.replace(aside.with_name(aside.name + tail))
    queue = DurableQueue(path, limit_bytes)
    saved = queue.adopt(_readable(aside))
    sys.stderr.write(f"warning: {path} was damaged; kept as {aside}, {saved} records taken over\n")
    return queue


def _was_queue(path: Path) -> bool:
    """Whether it is ours by its name or its first bytes, and no file that was named by mistake."""
    with path.open("rb") as file:
        return path.suffix == ".db" or file.read(len(MAGIC)) == MAGIC


def _readable(path: Path) -> Iterator[tuple[Any, ...]]:
    """Undelivered records of a damaged file, from both ends to where it can't be read."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for order in ("ASC", "DESC"):
            query = "SELECT id, hotspot, type, epoch, wire FROM records NOT INDEXED"
            with contextlib.suppress(sqlite3.Error):
                yield from db.execute(f"{query} WHERE state = 0 ORDER BY rowid {order}")


def _queue_error(path: Path, error: Exception) -> UserError:
    remedy = "free some space, mend the mode of its folder, or name another path"
    if is_damage(error):
        remedy = "the daemon mends it at its next start: wavecomb hotspot run"
    return UserError("queue", f"{path}: {error}", remedy, exit_code=EXIT_FAILED)
