"""What a gateway must not lose: receipts, unanswered records, what each key used; one SQLite file.

A receipt counts once `commit` has returned (WAL, synchronous FULL); the driver commits before any
message leaves that depends on it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.wire import record_id_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS receipts(session INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outbox(id BLOB PRIMARY KEY, wire BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage(key TEXT PRIMARY KEY, tokens INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class ReceiptStore:
    """The file; all methods raise UserError in one line if the disk fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> UserError:
        remedy = "free some space" if "full" in str(error) else "check that the folder is writable"
        return UserError("gateway.state", f"{self._path}: {error}", remedy, exit_code=EXIT_FAILED)

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def commit(self) -> None:
        """Put everything written so far on disk."""
        try:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._db.close()

    def keep(self, session: int, data: bytes) -> None:
        """Keep the newest receipt of a session."""
        self._write("INSERT OR REPLACE INTO receipts VALUES (?, ?)", (session, data))

    def kept(self) -> list[bytes]:
        """Everything kept, ascending by session."""
        return [bytes(r[0]) for r in self._db.execute("SELECT data FROM receipts ORDER BY session")]

    def queue(self, wire: bytes) -> None:
        """Keep a record until the ledger has answered it."""
        self._write("INSERT OR IGNORE INTO outbox VALUES (?, ?)", (record_id_of(wire), wire))

    def settle(self, record_id: bytes) -> None:
        """The ledger answered this record."""
        self._write("DELETE FROM outbox WHERE id = ?", (record_id,))

    def outbox(self) -> list[bytes]:
        """Records without an answer."""
        return [bytes(row[0]) for row in self._db.execute("SELECT wire FROM outbox ORDER BY id")]

    def use(self, key: str, tokens: int) -> None:
        """Add to what a key has used."""
        self._write(
            "INSERT INTO usage VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET tokens = tokens + ?",
            (key, tokens, tokens),
        )

    def used(self, key: str) -> int:
        """Tokens that a key has used."""
        row = self._db.execute("SELECT tokens FROM usage WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def note(self, name: str) -> bytes | None:
        """A small value, or None."""
        row = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else None

    def set_note(self, name: str, value: bytes) -> None:
        """Keep a small value."""
        self._write("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))
        self.commit()
