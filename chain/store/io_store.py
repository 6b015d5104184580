"""The ledger on disk: SQLite, write-ahead log, synchronous=FULL; tables in io_schema.py.

A block is saved whole or not at all, with the rows of the state that it changed, and `append`
returns once it is on the disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chain.draws import digest
from chain.errors import UserError
from chain.ledger import Sealed
from chain.proofs.balances import BalanceTree
from chain.proofs.log import CompactRange
from chain.records import RECEPTION_BYTES
from chain.rules.blocks import Block
from chain.rules.outcome import LateReport
from chain.rules.payments import Payment
from chain.rules.verdicts import CODES, Judgement, get_beacon_verdicts
from chain.store.io_log import StoreLog, decode_edge, encode_edge, grow
from chain.store.io_schema import (
    APPLICATION_ID,
    SCALARS,
    SCHEMA,
    SCHEMA_VERSION,
    UNREADABLE,
    damaged,
    storage_error,
)
from chain.store.tables import NUMBER, TABLES

EDGE = "log"  # the name of the log's right edge in `meta`
SETTLEMENTS_SERVED = 2  # whoever read the checkpoint before still finds its balances
WEAKER = "weaker_cdb"  # beside a beacon's counts: how much weaker it counts than it was heard
SLOTS_CACHED = 1 << 16  # accounts whose slots are at hand: about 10 MB
TYPE_BYTE = 1  # of a wire: its record type, since the envelope is an array of four


def compute_check(name: str, value: bytes) -> bytes:
    """What tells a damaged row of `meta`, which nothing else could tell."""
    return digest("meta", name.encode(), b"\0", value)


class Store:
    """One ledger database; `log` reads the Merkle log in it."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.path = path
        self._log: StoreLog | None = None
        self._slots: dict[bytes, int] = {}

    @property
    def log(self) -> StoreLog:
        """The Merkle log of the records; UserError if its right edge is damaged."""
        if self._log is None:
            edge = self.meta().get(EDGE)
            try:
                found = CompactRange() if edge is None else decode_edge(edge)
            except ValueError as error:
                raise damaged(self.path, error) from error
            self._log = StoreLog(self.connection, found)
        return self._log

    @classmethod
    def create(cls, path: str) -> Store:
        """Make a new database (":memory:", or "" for a file that ends with it); or UserError."""
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            _make_durable(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        except sqlite3.Error as error:
            raise storage_error(error, path) from error
        return cls(connection, path)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False) -> Store:
        """Open a database; UserError if it is missing, damaged or of another version."""
        if not Path(path).is_file():
            raise UserError(
                "database", f"{path}: no such file", "run: wavecomb chain init --dir DIR"
            )
        try:
            connection = _connect(Path(path), read_only)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            owner = connection.execute("PRAGMA application_id").fetchone()[0]
            if not read_only and (version, owner) == (SCHEMA_VERSION, APPLICATION_ID):
                _make_durable(connection)  # only now: a file that isn't ours stays as it is
        except UNREADABLE as error:
            raise damaged(str(path), error) from error
        if problem := _version_problem(str(path), version, owner, read_only):
            connection.close()
            raise problem
        return cls(connection, str(path))

    def hold_still(self) -> None:
        """Read one state from now on, whatever a running service writes meanwhile.

        For a read-only store: its many queries must agree with each other.
        """
        self.connection.execute("BEGIN")
        self.connection.execute("SELECT count(*) FROM meta").fetchone()  # the state is of now

    def forget(self) -> None:
        """Read anew what is kept in memory: the database was written past this object."""
        self._log = None
        self._slots.clear()

    def close(self) -> None:
        """Close the database; its write-ahead log is folded in."""
        self.connection.close()

    def append(
        self, blocks: Sequence[Sealed], meta: Mapping[str, bytes] | None = None
    ) -> None:
        """Save blocks, and values of `meta`, in one transaction.

        UserError, and nothing changed, if the disk refuses.
        """
        ids = (result.record_id for sealed in blocks for result in sealed.results)
        edge, nodes = grow(self.log.edge, ids)
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for sealed in blocks:
                self._append_block(sealed)
            self._insert("tree", nodes)
            self.put_meta({**(meta or {}), EDGE: encode_edge(edge)})
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise storage_error(error, self.path) from error
        self.log.edge = edge

    def _append_block(self, sealed: Sealed) -> None:
        header = sealed.header
        columns = (header.height, header.epoch, header.time_ms, header.record_count)
        self._insert("blocks", [(*columns, header.encode(), header.hash())])
        first = header.record_count - len(sealed.results)
        pairs = enumerate(zip(sealed.block.wires, sealed.results, strict=True), start=first)
        self._insert(
            "records",
            (
                (seq, header.height, raw[TYPE_BYTE], r.record_id, raw, r.reason, r.index)
                for seq, (raw, r) in pairs
            ),
        )
        for judgement in sealed.effects.verdicts:
            self._insert("verdicts", _verdict_rows(judgement))
            self._insert("beacons", _beacon_rows(judgement))
        self._insert("verdicts", map(_late_row, sealed.effects.late))
        mapped = sealed.effects.mapped
        self._insert("mapped", ((m.record_id, m.epoch, m.cell, m.codes) for m in mapped))
        self._append_state(sealed)
        for tree in sealed.effects.balance_trees:
            self._append_balances(tree)
        if sealed.effects.payments:
            self._insert_payments(header.height, sealed.effects.payments)

    def _append_balances(self, tree: BalanceTree) -> None:
        """The files of a settlement, beside those that readers of the one before still need."""
        sql = "DELETE FROM balance_files WHERE settlement < ?"
        self.connection.execute(sql, (tree.settlement - SETTLEMENTS_SERVED + 1,))
        rows = ((path, tree.settlement, data) for path, data in tree.files())
        self.connection.executemany("INSERT INTO balance_files VALUES (?, ?, ?)", rows)

    def _insert_payments(self, height: int, payments: Sequence[Payment]) -> None:
        newest = self.connection.execute("SELECT max(seq) FROM payments").fetchone()[0]
        first = 0 if newest is None else newest + 1
        slot = self._slot
        rows = (
            (height, *p[:2], slot(p.account), *p[3:6], slot(p.source) if p.source else None)
            for p in payments
        )
        self._insert("payments", ((seq, *row) for seq, row in enumerate(rows, start=first)))

    def _slot(self, account: bytes) -> int:
        """The slot of an account, by which payments name it."""
        slot = self._slots.get(account)
        if slot is None:
            sql = "SELECT row FROM state WHERE name = 'accounts' AND key = ?"
            row = self.connection.execute(sql, (account,)).fetchone()
            slot = self._note_slot(account, row[0])
        return slot

    def _note_slot(self, account: bytes, packed: bytes) -> int:
        if len(self._slots) >= SLOTS_CACHED:
            self._slots.clear()
        slot: int = TABLES["accounts"].row.unpack(packed).slot
        self._slots[account] = slot
        return slot

    def _append_state(self, sealed: Sealed) -> None:
        """The rows that the block changed, the single numbers, and mixes, which stay for good."""
        kept = [(name, key, packed) for name, key, packed in sealed.rows if packed is not None]
        gone = [(name, key) for name, key, packed in sealed.rows if packed is None]
        kept += [(SCALARS, n.encode(), NUMBER.pack(v)) for n, v in sealed.scalars.items()]
        run = self.connection.executemany
        run("DELETE FROM state WHERE name = ? AND key = ?", gone)
        run("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", kept)
        fresh = [(key, packed) for name, key, packed in kept if name == "accounts"]
        owners = [(self._note_slot(k, r), k) for k, r in fresh if k not in self._slots]
        run("INSERT OR IGNORE INTO owners VALUES (?, ?)", owners)
        mixes = [(int.from_bytes(key, "big"), mix) for name, key, mix in kept if name == "mixes"]
        run("INSERT OR REPLACE INTO mixes VALUES (?, ?)", mixes)

    def put_meta(self, values: Mapping[str, bytes]) -> None:
        """Write single values, within the caller's transaction."""
        rows = [(name, value, compute_check(name, value)) for name, value in values.items()]
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", rows)

    def _insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        listed = list(rows)
        if listed:
            marks = ", ".join("?" * len(listed[0]))
            self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", listed)

    def meta(self) -> dict[str, bytes]:
        """Single values by name; UserError if one is damaged."""
        values: dict[str, bytes] = {}
        for row in self.rows("SELECT * FROM meta"):
            name, value = row["name"], row["value"]
            if not isinstance(value, bytes) or row["check"] != compute_check(name, value):
                raise damaged(self.path, f"meta {name} doesn't match its check")
            values[name] = value
        return values

    def find_index(self, record_id: bytes) -> tuple[int | None] | None:
        """The index that an accepted record got, in a tuple; None if there is no such record."""
        sql = "SELECT result_index FROM records WHERE id = ?"
        found: tuple[int | None] | None = self.connection.execute(sql, (record_id,)).fetchone()
        return found

    def blocks(self) -> Iterator[Block]:
        """Every block in order; sqlite3.Error if the file is damaged."""
        heads = self.connection.execute(
            "SELECT height, epoch, time_ms, size FROM blocks ORDER BY height"
        )
        wires = self.connection.execute("SELECT wire FROM records ORDER BY seq")
        done = 0
        for height, epoch, time_ms, size in heads:
            rows = wires.fetchmany(size - done) if size > done else []
            done = size
            yield Block(height, epoch, time_ms, tuple(wire for (wire,) in rows))

    def last_hash(self) -> bytes | None:
        """The hash of the newest header; None for an empty database."""
        row = self.rows("SELECT hash FROM blocks ORDER BY height DESC LIMIT 1")
        return bytes(row[0]["hash"]) if row else None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries; UserError if the file is damaged."""
        try:
            cursor = self.connection.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except UNREADABLE as error:
            raise damaged(self.path, error) from error


def _version_problem(path: str, version: int, owner: int, read_only: bool) -> UserError | None:
    if version == 0 or (owner != APPLICATION_ID and not read_only):
        return UserError(
            "database", f"{path} is no Wavecomb ledger", "name the one that chain init made"
        )
    if version != SCHEMA_VERSION:
        return UserError(
            "database",
            f"{path}: schema version {version}, this software reads {SCHEMA_VERSION}",
            "use the software that wrote it",
        )
    return None


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """A connection; a read-only one also works on a copy in a folder that can't be written."""
    if not read_only:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    has_log = path.with_name(path.name + "-wal").exists()
    options = "mode=ro" if has_log else "immutable=1"  # without a log nobody has it open
    uri = f"{path.resolve().as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _verdict_rows(judgement: Judgement) -> Iterator[tuple[Any, ...]]:
    for witness, message in judgement.reports.items():
        yield judgement.epoch, witness, message.record_id, bytes(judgement.codes[witness])


def _late_row(late: LateReport) -> tuple[Any, ...]:
    codes = bytes([CODES["late"]]) * (len(late.report) // RECEPTION_BYTES)
    return late.epoch, late.witness, late.record_id, codes


def _beacon_rows(judgement: Judgement) -> Iterator[tuple[Any, ...]]:
    cuts = judgement.cuts or {}
    for verdict in get_beacon_verdicts(judgement):
        said = dict(verdict.counts)
        if cut_cdb := cuts.get(verdict.beaconer):
            said[WEAKER] = cut_cdb
        counts = json.dumps(said, separators=(",", ":"))
        yield (
            *(verdict.epoch, verdict.beaconer, verdict.sequence),
            *(verdict.verdict, verdict.power_step_cdb, counts),
        )
