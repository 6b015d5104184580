"""Backups while the ledger runs, and restoring them.

SQLite's online backup copies the pages of one snapshot: the reader's transaction stays open, so the
copy never starts over however fast records come, and the service never waits for it. A file appears
under its final name only when it is whole, checked and on the disk. Keys are not part of a backup.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.io_audit import Audit, audit
from chain.io_ledger import DATABASE
from chain.store.io_schema import UNREADABLE, damaged, storage_error
from chain.store.io_store import Store

PAGES_PER_STEP = 2_048
Note = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy of a ledger holds: its newest block and its size."""

    path: str
    height: int
    epoch: int
    records: int
    hash: bytes
    size_bytes: int


def backup(source: Path, target: Path, note: Note | None = None) -> Copy:
    """Copy a ledger database, running or not, to a new file.

    `note` is told pages done and pages in all. UserError if the target exists or can't be written,
    or if the source is no ledger.
    """
    if target.exists():
        raise UserError("out", f"{target} exists", "name a file that doesn't")
    draft = target.with_name(target.name + ".partial")
    draft.unlink(missing_ok=True)
    store = Store.open(source, read_only=True)
    connection = _connect(source) or store.connection
    try:
        _copy(connection, draft, note)
        copied = describe(draft)
    except sqlite3.Error as error:
        raise storage_error(error, str(draft)) from error
    finally:
        connection.close()
        store.close()
    publish(draft, target)
    return Copy(str(target), *_rest(copied))


def _connect(source: Path) -> sqlite3.Connection | None:
    """A reader that takes part in SQLite's locking; None where the folder can't be written.

    In such a folder nobody else can write either, so a reader without locks is safe there.
    """
    uri = f"{source.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection


def _rest(copy: Copy) -> tuple[int, int, int, bytes, int]:
    return copy.height, copy.epoch, copy.records, copy.hash, copy.size_bytes


def _copy(source: sqlite3.Connection, draft: Path, note: Note | None) -> None:
    def progress(_: int, remaining: int, total: int) -> None:
        if note:
            note(total - remaining, total)

    target = sqlite3.connect(draft, isolation_level=None)
    try:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # takes the snapshot
        source.backup(target, pages=PAGES_PER_STEP, progress=progress, sleep=0)
        source.execute("COMMIT")
    finally:
        target.close()


def describe(path: Path) -> Copy:
    """What a ledger database holds; UserError if SQLite finds it damaged or it holds nothing."""
    store = Store.open(path, read_only=True)
    try:
        found = store.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise damaged(str(path), found)
        rows = store.rows("SELECT height, epoch, hash FROM blocks ORDER BY height DESC LIMIT 1")
        records = store.rows("SELECT coalesce(max(seq), -1) + 1 AS count FROM records")
    except UNREADABLE as error:
        raise damaged(str(path), error) from error
    finally:
        store.close()
    if not rows:
        raise damaged(str(path), "it holds no block")
    row, size = rows[0], path.stat().st_size
    return Copy(str(path), row["height"], row["epoch"], records[0]["count"], row["hash"], size)


def publish(draft: Path, target: Path) -> None:
    """Give a finished file its name, once it and its folder are on the disk.

    UserError where another file has the name by now: nothing is ever replaced.
    """
    sync_file(draft)
    try:
        os.link(draft, target)
    except FileExistsError as error:
        problem = f"{target} appeared meanwhile"
        raise UserError("out", problem, "name a file that doesn't exist") from error
    draft.unlink()
    sync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Have a file's bytes on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Have a folder's list of names on the disk."""
    sync_file(path)


def restore(
    source: Path,
    directory: Path,
    *,
    check: Callable[[Path], Audit] | None = audit,
    note: Note | None = None,
) -> Copy:
    """Make a folder's ledger from a backup, audited first unless `check` is None.

    UserError if the folder has a ledger already or the audit fails; nothing is made then.
    """
    database = directory / DATABASE
    if database.exists():
        raise UserError(
            "dir", f"{database} exists", "take another folder; a ledger is never replaced"
        )
    describe(source)
    if check is not None and not (result := check(source)).ok:
        raise UserError(
            "audit",
            f"{source} fails at {result.where}: {result.problem}",
            "take another backup; nothing was restored",
            exit_code=EXIT_FAILED,
        )
    directory.mkdir(parents=True, exist_ok=True)
    return backup(source, database, note)
