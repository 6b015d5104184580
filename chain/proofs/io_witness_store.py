"""What a witness signed, on its disk before anybody else sees it."""

from __future__ import annotations

import json
import os
import sqlite3
from hashlib import sha256
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.proofs.checkpoint import parse_checkpoint
from chain.proofs.note import Note, parse_note
from chain.proofs.witness import Fork, fork_json, parse_fork
from chain.records import Refusal

DATABASE = "witness.db"
FORKS = "forks"
# Two years of checkpoints every ten minutes: 40 MB. Older sizes are no longer compared.
NOTES_KEPT = 100_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (origin TEXT NOT NULL, size INTEGER NOT NULL, note BLOB NOT NULL,
    PRIMARY KEY (origin, size)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class WitnessStore:
    """The notes that a witness signed, by log and size, and the forks that it saw."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._forks = directory / FORKS
        try:
            self._db = sqlite3.connect(
                directory / DATABASE, isolation_level=None, check_same_thread=False
            )
            # FULL: a signature that left this machine must still be known after a power cut.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise _failed(directory, error) from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def name(self, wanted: str | None, default: str) -> str:
        """The witness's name: said once, kept for good, since it is part of its key's id."""
        found = self._db.execute("SELECT value FROM settings WHERE name = 'name'").fetchone()
        if found is None:
            value = wanted or default
            self._db.execute("INSERT INTO settings VALUES ('name', ?)", (value,))
            return value
        if wanted and wanted != found[0]:
            raise UserError("name", f"this witness is {found[0]!r}", "take another --dir")
        return str(found[0])

    def latest(self, origin: str) -> Note | None:
        """The newest note that was signed for a log."""
        return self._note("SELECT note FROM notes WHERE origin = ? ORDER BY size DESC", (origin,))

    def at(self, origin: str, size: int) -> Note | None:
        """The note that was signed for a size of a log."""
        return self._note("SELECT note FROM notes WHERE origin = ? AND size = ?", (origin, size))

    def _note(self, sql: str, values: tuple[object, ...]) -> Note | None:
        row = self._db.execute(sql + " LIMIT 1", values).fetchone()
        note = None if row is None else parse_note(row[0])
        if isinstance(note, Refusal):
            raise UserError("database", note.detail, "restore a copy", exit_code=EXIT_FAILED)
        return note

    def keep(self, note: Note) -> None:
        """Put a signed note on the disk; it is there when this returns. UserError if it can't."""
        checkpoint = parse_checkpoint(note.text)
        if isinstance(checkpoint, Refusal):
            raise ValueError(checkpoint.detail)
        row = (checkpoint.origin, checkpoint.size, note.encode())
        oldest = "SELECT size FROM notes WHERE origin = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2"
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", row)
            self._db.execute(
                f"DELETE FROM notes WHERE origin = ?1 AND size <= ({oldest})",
                (checkpoint.origin, NOTES_KEPT),
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _failed(self._forks.parent, error) from error

    def keep_fork(self, fork: Fork) -> Path:
        """Write evidence into a file named by its hash; the same evidence is kept once.

        Both notes are also kept as they are, `.first` and `.second`, to be shown to the ledger.
        """
        text = json.dumps(fork_json(fork), indent=1) + "\n"
        self._forks.mkdir(exist_ok=True)
        path = self._forks / f"{sha256(text.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            _write_durably(path.with_suffix(".first"), fork.first.encode())
            _write_durably(path.with_suffix(".second"), fork.second.encode())
            _write_durably(path, text.encode())
            _sync_folder(self._forks)
        return path

    def forks(self) -> list[Path]:
        """Files of evidence, oldest first."""
        found = self._forks.glob("*.json") if self._forks.is_dir() else ()
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def read_fork(path: Path) -> Fork | Refusal:
    """The evidence in a file."""
    try:
        return parse_fork(json.loads(path.read_text()))
    except (ValueError, RecursionError):
        return parse_fork(None)


def _write_durably(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _failed(directory: Path, error: sqlite3.Error) -> UserError:
    remedy = "check free space and the mode of the folder; nothing was signed"
    return UserError("dir", f"{directory}: {error}", remedy, exit_code=EXIT_FAILED, status=503)
