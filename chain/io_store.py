"""The ledger on disk: SQLite, write-ahead log, synchronous=FULL.

`blocks` and `records` are the ledger; `verdicts`, `beacons`, `payments` and `balances` are derived
from it, for queries. A block is saved whole or not at all, and `append` returns once it is on the
disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, UserError
from chain.ledger import Sealed
from chain.records import RECEPTION_BYTES
from chain.rules.blocks import Block
from chain.rules.outcome import LateReport, Payment
from chain.rules.verdicts import CODES, Judgement, get_beacon_verdicts
from chain.tables import TABLES as TABLES_OF_STATE

# What SQLite raises for a damaged file; its own messages may hold bytes that are no text.
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
SCHEMA_VERSION = 1
APPLICATION_ID = int.from_bytes(b"wvcb", "big")
SCHEMA = """
CREATE TABLE blocks (height INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    header BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE records (seq INTEGER PRIMARY KEY, height INTEGER NOT NULL, id BLOB NOT NULL,
    wire BLOB NOT NULL, reason TEXT NOT NULL, result_index INTEGER);
CREATE UNIQUE INDEX records_id ON records (id);
CREATE INDEX records_height ON records (height);
CREATE TABLE verdicts (epoch INTEGER NOT NULL, witness INTEGER NOT NULL, record_id BLOB NOT NULL,
    codes BLOB NOT NULL, PRIMARY KEY (epoch, witness)) WITHOUT ROWID;
CREATE TABLE beacons (epoch INTEGER NOT NULL, beaconer INTEGER NOT NULL, sequence INTEGER NOT NULL,
    verdict TEXT NOT NULL, power_step_cdb INTEGER, counts TEXT NOT NULL,
    PRIMARY KEY (epoch, beaconer, sequence)) WITHOUT ROWID;
CREATE TABLE payments (seq INTEGER PRIMARY KEY, height INTEGER NOT NULL, epoch INTEGER NOT NULL,
    kind TEXT NOT NULL, account BLOB NOT NULL, hotspot INTEGER NOT NULL, cell INTEGER NOT NULL,
    amount_ucr INTEGER NOT NULL, source BLOB NOT NULL);
CREATE INDEX payments_hotspot ON payments (hotspot);
CREATE TABLE balances (account BLOB PRIMARY KEY, balance_ucr INTEGER NOT NULL) WITHOUT ROWID;
"""
TABLES = {
    "blocks": ("height",),
    "records": ("seq",),
    "verdicts": ("epoch", "witness"),
    "beacons": ("epoch", "beaconer", "sequence"),
    "payments": ("seq",),
    "balances": ("account",),
}


def storage_error(error: sqlite3.Error, path: str) -> UserError:
    """Whose fault a failed write is, and the remedy."""
    return UserError(
        "database",
        f"{path}: {error}",
        "check free space and the mode of its folder; nothing that was acknowledged is lost",
        exit_code=EXIT_FAILED,
        status=503,
    )


def damaged(path: str, problem: object) -> UserError:
    """The database contradicts itself, or SQLite can't read it."""
    return UserError(
        "database",
        f"{path}: {one_line(problem)}",
        "run wavecomb chain audit, then restore a copy",
        exit_code=EXIT_FAILED,
        status=500,
    )


def one_line(problem: object) -> str:
    """An error's text as one line: SQLite quotes whole statements."""
    return " ".join(str(problem).split())


class Store:
    """One ledger database."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    def create(cls, path: str) -> Store:
        """Make a new database (":memory:" for none on disk); UserError if it can't be."""
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
        if version == 0 or (owner != APPLICATION_ID and not read_only):
            connection.close()
            raise UserError(
                "database", f"{path} is no Wavecomb ledger", "name the one that chain init made"
            )
        if version != SCHEMA_VERSION:
            connection.close()
            raise UserError(
                "database",
                f"{path}: schema version {version}, this software reads {SCHEMA_VERSION}",
                "use the software that wrote it",
            )
        return cls(connection, str(path))

    def close(self) -> None:
        """Close the database; its write-ahead log is folded in."""
        self.connection.close()

    def append(self, blocks: Iterable[Sealed]) -> None:
        """Save blocks in one transaction; UserError, and nothing changed, if the disk refuses."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for sealed in blocks:
                self._append_block(sealed)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise storage_error(error, self.path) from error

    def _append_block(self, sealed: Sealed) -> None:
        header = sealed.header
        self._insert(
            "blocks",
            [(header.height, header.epoch, header.time_ms, header.encode(), header.hash())],
        )
        first = header.record_count - len(sealed.results)
        self._insert(
            "records",
            (
                (first + i, header.height, result.record_id, raw, result.reason, result.index)
                for i, (raw, result) in enumerate(
                    zip(sealed.block.wires, sealed.results, strict=True)
                )
            ),
        )
        for judgement in sealed.effects.verdicts:
            self._insert("verdicts", _verdict_rows(judgement))
            self._insert("beacons", _beacon_rows(judgement))
        self._insert("verdicts", map(_late_row, sealed.effects.late))
        self._insert_payments(header.height, sealed.effects.payments)
        self.connection.executemany(
            "INSERT OR REPLACE INTO balances VALUES (?, ?)", _balances(sealed)
        )

    def _insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        listed = list(rows)
        if listed:
            marks = ", ".join("?" * len(listed[0]))
            self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", listed)

    def _insert_payments(self, height: int, payments: Sequence[Payment]) -> None:
        row = self.connection.execute("SELECT max(seq) FROM payments").fetchone()
        first = 0 if row[0] is None else row[0] + 1
        self._insert(
            "payments",
            ((first + i, height, *p) for i, p in enumerate(payments)),
        )

    def blocks(self) -> Iterator[Block]:
        """Every block in order; sqlite3.Error if the file is damaged."""
        heads = self.connection.execute("SELECT height, epoch, time_ms FROM blocks ORDER BY height")
        for height, epoch, time_ms in heads:
            rows = self.connection.execute(
                "SELECT wire FROM records WHERE height = ? ORDER BY seq", (height,)
            )
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


def _balances(sealed: Sealed) -> list[tuple[bytes, int]]:
    row = TABLES_OF_STATE["accounts"].row
    return [(k, row.unpack(r).balance_ucr) for t, k, r in sealed.rows if t == "accounts" and r]


def _verdict_rows(judgement: Judgement) -> Iterator[tuple[Any, ...]]:
    for witness, message in judgement.reports.items():
        yield judgement.epoch, witness, message.record_id, bytes(judgement.codes[witness])


def _late_row(late: LateReport) -> tuple[Any, ...]:
    codes = bytes([CODES["late"]]) * (len(late.report) // RECEPTION_BYTES)
    return late.epoch, late.witness, late.record_id, codes


def _beacon_rows(judgement: Judgement) -> Iterator[tuple[Any, ...]]:
    for verdict in get_beacon_verdicts(judgement):
        counts = json.dumps(dict(verdict.counts), separators=(",", ":"))
        yield (
            *(verdict.epoch, verdict.beaconer, verdict.sequence),
            *(verdict.verdict, verdict.power_step_cdb, counts),
        )
