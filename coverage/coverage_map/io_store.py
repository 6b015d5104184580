"""What the map keeps on disk: the ledger's records as they came, and verdicts; rebuildable.

Observations are never stored: they follow from these rows, so a restart replays them and a wrong
figure can't survive a repair of the code. Wires are kept because they are the evidence that the API
hands out. Losing the file loses nothing that the ledger doesn't still have.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chain.errors import UserError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    sequence INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, handed_out INTEGER,
    reason TEXT NOT NULL, wire BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    epoch INTEGER PRIMARY KEY, after_sequence INTEGER NOT NULL, reasons TEXT NOT NULL);
"""

Reasons = dict[tuple[int, int, int], str]
Row = tuple[int, int, int | None, str, bytes]


class Store:
    """A SQLite file beside the map (or memory, without a path)."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; UserError when that can't be done."""
        self._path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        try:
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def bind(self, genesis_wire: bytes) -> None:
        """Tie the file to one network; UserError when it holds another one's records."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'genesis'").fetchone()
        if row is None:
            self._write("INSERT INTO meta VALUES ('genesis', ?)", [(genesis_wire,)])
        elif bytes(row[0]) != genesis_wire:
            raise UserError(
                "--data",
                f"{self._path} holds the map of another network",
                "give another directory or remove that file; it can be rebuilt from the ledger",
            )

    def append(self, rows: list[Row]) -> None:
        """Keep records; one that is there already stays as it is."""
        self._write("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?)", rows)

    def keep_verdicts(self, epoch: int, after_sequence: int, reasons: Reasons) -> None:
        """Keep an epoch's verdicts and how far the records had come when they were applied."""
        text = json.dumps([[*key, reason] for key, reason in sorted(reasons.items())])
        self._write(
            "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", [(epoch, after_sequence, text)]
        )

    def records(self, start: int, stop: int | None = None) -> Iterator[Row]:
        """Records with start <= sequence < stop, in order."""
        yield from self._db.execute(
            "SELECT * FROM records WHERE sequence >= ? AND sequence < ? ORDER BY sequence",
            (start, 1 << 62 if stop is None else stop),
        )

    def verdicts(self) -> Iterator[tuple[int, int, Reasons]]:
        """(epoch, records before it, reasons) in the order in which they were applied."""
        query = "SELECT epoch, after_sequence, reasons FROM verdicts ORDER BY after_sequence, epoch"
        for epoch, after, text in self._db.execute(query).fetchall():
            yield epoch, after, {(w, b, n): reason for w, b, n, reason in json.loads(text)}

    def wires(self, sequences: list[int]) -> Mapping[int, bytes]:
        """Wires of some records."""
        marks = ",".join("?" * len(sequences))
        query = f"SELECT sequence, wire FROM records WHERE sequence IN ({marks})"
        return {sequence: bytes(wire) for sequence, wire in self._db.execute(query, sequences)}

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._db:
                self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> UserError:
        remedy = "free space or mend the mode; the map can be rebuilt from the ledger"
        return UserError("--data", f"can't use {self._path}: {error}", remedy, exit_code=1)
