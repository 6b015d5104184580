"""The audit: derive every block, verdict, payment and row of the state again from the wires.

The wires are replayed, signatures checked on all cores, into an empty ledger that saves to an empty
database of its own; then both databases must be equal, row by row and type by type. What differs
first is named.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain import cbor, wire
from chain.errors import UserError
from chain.header import Header
from chain.io_audit_checkpoint import get_checkpoint_problem
from chain.io_ledger import DATABASE
from chain.ledger import Ledger, Sealed
from chain.proofs.io_site import CHECKPOINT
from chain.records import Refusal, Signed
from chain.rules.blocks import Block, BlockError
from chain.rules.outcome import Verify
from chain.service.io_verify import VerifyPool
from chain.store.io_archive import Archive, attach
from chain.store.io_restore import load_ledger
from chain.store.io_schema import APPLICATION_ID, TABLES, UNREADABLE, one_line
from chain.store.io_store import EDGE, Store, compute_check

Note = Callable[[int, int], None]
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """The result: `where` names table, key and column of the first difference."""

    ok: bool
    where: str
    problem: str
    blocks: int = 0
    records: int = 0
    epoch: int = 0
    log_root: str = ""
    state_root: str = ""


def audit(
    path: str | os.PathLike[str],
    verify: Verify | None = None,
    note: Note | None = None,
    since: str | os.PathLike[str] | None = None,
    archive: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Audit:
    """Audit a database, opened read-only; never raises for a damaged one.

    `verify` replaces the check of signatures on all cores; `note` is told (blocks done, of all).
    `since` is an earlier copy of the database that is trusted, one whose newest checkpoint was
    cosigned, say: what it holds is compared and not derived, what came later is derived from it.
    `archive` is the folder of records that were pruned. `checkpoint` is a signed checkpoint that
    must be of these records and balances; by default the one beside a ledger's `ledger.db`.
    """
    signed = Path(checkpoint) if checkpoint else Path(path).parent / CHECKPOINT
    is_there = checkpoint or (Path(path).name == DATABASE and signed.is_file())
    try:
        note_of = signed.read_bytes() if is_there else None
    except OSError as error:
        return Audit(False, "checkpoint", f"{signed}: {error.strerror}")
    try:
        store = Store.open(path, read_only=True)
    except UserError as error:
        return Audit(False, "database", error.problem)
    pruned = Archive(None)
    try:
        store.hold_still()
        pruned = attach(store, archive)
        # Damaged text must reach the comparison, which can name it, rather than stop the query.
        store.connection.text_factory = _lenient_text
        return _audit_store(store, verify, note, since, note_of)
    except (UserError, *UNREADABLE, OverflowError, MemoryError) as error:
        if pruned.lacks is not None:
            return Audit(False, f"records seq {pruned.lacks}", pruned.problem().problem)
        return Audit(False, _place_of(error), f"it can't be read: {one_line(error)}")
    finally:
        store.close()


def _place_of(error: Exception) -> str:
    """The table that an error is about, if the store named it: it checks `meta` as it reads it."""
    is_meta = isinstance(error, UserError) and ": meta " in error.problem
    return "meta" if is_meta else "database"


def _lenient_text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _audit_store(
    store: Store,
    verify: Verify | None,
    note: Note | None,
    since: str | os.PathLike[str] | None,
    signed: bytes | None,
) -> Audit:
    if problem := _file_problem(store.connection) or _meta_problem(store):
        return problem
    derived = Store.create("")  # a file of its own that nobody else sees: memory stays bounded
    try:
        if problem := _schema_problem(store, derived) or _header_problem(store):
            return problem
        with VerifyPool() as pool:
            checker = Checker(pool, verify)
            start = None if since is None else _trust(store, derived, since, checker)
            if isinstance(start, Audit):
                return start
            ledger = _replay(store, derived, checker, note, start)
        if isinstance(ledger, Audit):
            return ledger
        if problem := _difference(store, derived) or _edge_problem(store, derived):
            return problem
        said = signed and get_checkpoint_problem(signed, ledger, derived.log)
        return Audit(False, "checkpoint", said) if isinstance(said, str) else _passed(ledger)
    finally:
        derived.close()


def _trust(
    store: Store, derived: Store, since: str | os.PathLike[str], checker: Checker
) -> Ledger | Audit:
    """Begin with a trusted copy instead of an empty database; its head must be a block of ours."""
    try:
        trusted = Store.open(since, read_only=True)
        try:
            trusted.hold_still()
            for table in (*TABLES, "meta"):
                rows = trusted.connection.execute(f"SELECT * FROM {table}")
                marks = ", ".join("?" * len(rows.description))
                derived.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        finally:
            trusted.close()
        ledger = load_ledger(derived, checker.verify)
    except (UserError, *UNREADABLE) as error:
        return Audit(False, "since", one_line(error))
    height = ledger.head.height
    found = store.rows("SELECT hash FROM blocks WHERE height = ?", (height,))
    if [row["hash"] for row in found] != [ledger.head.hash()]:
        where = f"blocks height {height} column hash"
        return Audit(False, where, "is not that of the trusted copy")
    return ledger


class Checker:
    """Checks signatures of a block ahead, on all cores, unless a function is given that does it."""

    def __init__(self, pool: VerifyPool, verify: Verify | None) -> None:
        self.verify = verify or pool.verify
        self._pool = None if verify else pool

    def prepare(self, ledger: Ledger, block: Block) -> None:
        """Check what the rules will ask about a block's records."""
        if self._pool is not None:
            decoded = map(wire.decode, block.wires)
            self._pool.prefetch(ledger.state, [s for s in decoded if isinstance(s, Signed)])


def _passed(ledger: Ledger) -> Audit:
    head = ledger.head
    return Audit(
        True,
        "",
        "",
        head.height + 1,
        head.record_count,
        head.epoch,
        head.log_root.hex(),
        head.state_root.hex(),
    )


def _file_problem(connection: sqlite3.Connection) -> Audit | None:
    """What SQLite itself finds wrong with the file."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        return Audit(False, "database", one_line(found))
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        return Audit(False, "database application_id", f"is {application}, not {APPLICATION_ID}")
    return None


def _meta_problem(store: Store) -> Audit | None:
    """A row of `meta` that is not what was written."""
    sql = 'SELECT name, value, "check" FROM meta ORDER BY name'
    for name, value, check in store.connection.execute(sql):
        where = f"meta name {_show(name)}"
        if not isinstance(name, str) or not isinstance(value, bytes):
            return Audit(False, f"{where} column name or value", "is of another type")
        if not _same(check, compute_check(name, value)):
            return Audit(False, f"{where} column value or check", "doesn't match its check")
    return None


def _edge_problem(store: Store, derived: Store) -> Audit | None:
    """A right edge of the log that is not the one of these records."""
    if store.meta().get(EDGE) == derived.meta()[EDGE]:
        return None
    return Audit(False, f"meta name {EDGE} column value", "is not what the records give")


def _schema_problem(store: Store, derived: Store) -> Audit | None:
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    for here, there in zip(_all(store, sql), _all(derived, sql), strict=False):
        if here != there:
            return Audit(False, f"schema {there[1]}", "is not what this software creates")
    if len(_all(store, sql)) != len(_all(derived, sql)):
        return Audit(False, "schema", "has other tables than this software creates")
    return None


def _all(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return store.connection.execute(sql).fetchall()


def _header_problem(store: Store) -> Audit | None:
    """A block row whose columns disagree among themselves."""
    sql = "SELECT height, epoch, time_ms, size, header, hash FROM blocks ORDER BY height"
    rows = store.connection.execute(sql)
    for expected, (height, epoch, time_ms, size, raw, digest) in enumerate(rows):
        where = f"blocks height {height}"
        header = _parse_header(raw)
        if header is None:
            return Audit(False, f"{where} column header", "is no header")
        columns = (
            ("height", height, expected),
            ("epoch", epoch, header.epoch),
            ("time_ms", time_ms, header.time_ms),
            ("size", size, header.record_count),
            ("hash", digest, header.hash()),
        )
        for name, value, wanted in columns:
            if not _same(value, wanted):
                return Audit(
                    False, f"{where} column {name}", f"is {_show(value)}, not {_show(wanted)}"
                )
    return None


def _parse_header(raw: object) -> Header | None:
    try:
        header = Header(*cbor.decode(raw))  # type: ignore[arg-type,misc]
        numbers = (header.height, header.epoch, header.time_ms, header.record_count)
        fine = all(isinstance(value, int) for value in numbers)
    except (cbor.CborError, TypeError, IndexError):
        return None
    return header if fine else None


def _replay(
    store: Store, derived: Store, checker: Checker, note: Note | None, ledger: Ledger | None
) -> Ledger | Audit:
    """Run the wires through the rules into the derived database; all, or those after a ledger's."""
    total = store.connection.execute("SELECT count(*) FROM blocks").fetchone()[0]
    if misplaced := _misplaced_record(store):
        return misplaced
    done = -1 if ledger is None else ledger.head.height
    for block in store.blocks():
        if block.height <= done:
            continue
        problem = _unusable(block)
        if problem is None:
            try:
                ledger = _replay_block(ledger, block, derived, checker)
            except (BlockError, OverflowError) as error:
                problem = str(error)
        if problem is not None:
            return Audit(False, f"records of blocks height {block.height}", problem)
        if note:
            note(block.height + 1, total)
    return ledger or Audit(False, "blocks", "there is none, not even the genesis")


def _unusable(block: Block) -> str | None:
    """Values that SQLite stored but no ledger writes."""
    if all(isinstance(raw, bytes) for raw in block.wires):
        return None
    return "column wire holds something that is no byte string"


def _misplaced_record(store: Store) -> Audit | None:
    """Records without a block, gaps in their numbers, and ids that are not their wire's."""
    for expected, (seq, record_id, raw) in enumerate(
        store.connection.execute("SELECT seq, id, wire FROM records ORDER BY seq")
    ):
        where = f"records seq {seq}"
        if seq != expected:
            return Audit(False, f"{where} column seq", f"is {seq}, not {expected}")
        if not isinstance(raw, bytes) or not _same(record_id, wire.record_id_of(raw)):
            return Audit(False, f"{where} column id or wire", "the id is not the hash of the wire")
    return None


def _replay_block(
    ledger: Ledger | None, block: Block, derived: Store, checker: Checker
) -> Ledger:
    if ledger is not None:
        checker.prepare(ledger, block)
        derived.append([ledger.replay(block)])
        return ledger
    genesis = wire.decode(block.wires[0]) if len(block.wires) == 1 else None
    if genesis is None or isinstance(genesis, Refusal):
        raise BlockError("block 0 must hold one genesis record")
    first: list[Sealed] = []
    ledger = Ledger(genesis, checker.verify, on_block=first.append)
    ledger.on_block = None
    derived.append(first)
    return ledger


def _difference(store: Store, derived: Store) -> Audit | None:
    """The first row or value in which two databases differ."""
    for table, key in TABLES.items():
        sql = f"SELECT * FROM {table} ORDER BY {', '.join(key)}"
        here, there = store.connection.execute(sql), derived.connection.execute(sql)
        names = [column[0] for column in there.description]
        while True:
            row, wanted = here.fetchone(), there.fetchone()
            if row is None and wanted is None:
                break
            if problem := _row_difference(table, key, names, row, wanted):
                return problem
    return None


def _row_difference(
    table: str,
    key: tuple[str, ...],
    names: list[str],
    row: Row | None,
    wanted: Row | None,
) -> Audit | None:
    here, there = _key_of(row, key, names), _key_of(wanted, key, names)
    if row is None or (wanted is not None and _is_after(here, there)):
        return Audit(False, _place(table, key, there), "is missing")
    if wanted is None or _is_after(there, here):
        return Audit(False, _place(table, key, here), "should not exist")
    where = _place(table, key, there)
    for name, value, expected in zip(names, row, wanted, strict=True):
        if not _same(value, expected):
            problem = f"is {_show(value)}, the records give {_show(expected)}"
            return Audit(False, f"{where} column {name}", problem)
    return None


def _key_of(row: Row | None, key: tuple[str, ...], names: list[str]) -> Row:
    return () if row is None else tuple(row[names.index(name)] for name in key)


def _is_after(left: Row, right: Row) -> bool:
    """Whether a key sorts after another; never if their types differ: that is a difference."""
    return [type(value) for value in left] == [type(value) for value in right] and left > right


def _place(table: str, key: tuple[str, ...], values: Row) -> str:
    shown = (f"{name} {_show(value)}" for name, value in zip(key, values, strict=True))
    return " ".join([table, *shown])


def _same(value: object, wanted: object) -> bool:
    return type(value) is type(wanted) and value == wanted


def _show(value: object) -> str:
    return value.hex()[:64] if isinstance(value, bytes) else ascii(value)[:80]
