"""Keeps a LongHistory in a folder, one file a day, so that a restart forgets nothing but a minute.

Blocks are appended; a file whose end was cut off by a crash is cut back to its last whole block
before anything is added. Days older than the history are deleted: the folder stays bounded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from chain.errors import UserError
from routing.forecast.season import DAY_MS
from routing.telemetry.long_history import LongHistory, Row, decode_blocks, encode_block

_SUFFIX = ".wch"


def take_rows(history: LongHistory, now_ms: int) -> list[Row]:
    """Take what a history finished since the last call, in the order of the files."""
    history.finish_before(now_ms)
    return sorted(history.take_finished(), key=lambda row: (row.time_ms, row.link))


class TelemetryFolder:
    """The files of one history; UserError where the folder can't be used."""

    def __init__(self, folder: Path, keep_days: int = 8) -> None:
        if keep_days < 1:
            raise UserError("keep_days", "below 1", "keep at least a day")
        self._folder = folder
        self._keep_days = keep_days
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"{folder.name} can't be made ({error.strerror})"
            raise UserError("telemetry", problem, "name a folder that may be written") from None

    def load(self, history: LongHistory, *, mend: bool = True) -> int:
        """Fill a history from the files, oldest first; rows taken.

        `mend`: cut damaged ends off. Who only looks at a running gateway's folder must not: what
        seems cut off may be a block that is just being written.
        """
        taken = 0
        for day in self._days():
            path = self._path(day)
            blob = path.read_bytes()
            rows, whole = decode_blocks(blob)
            if mend and whole < len(blob):
                with path.open("r+b") as file:
                    file.truncate(whole)
            taken += sum(history.restore(row) for row in rows)
        return taken

    def save(self, history: LongHistory, now_ms: int) -> int:
        """Append what the history finished since the last call; drop old days; rows written."""
        return self.write(take_rows(history, now_ms), now_ms)

    def write(self, rows: Sequence[Row], now_ms: int) -> int:
        """Append rows; a thread may do so while the history goes on."""
        for day in sorted({row.time_ms // DAY_MS for row in rows}):
            block = encode_block([row for row in rows if row.time_ms // DAY_MS == day])
            with self._path(day).open("ab") as file:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
        for day in self._days():
            if day <= now_ms // DAY_MS - self._keep_days - 1:
                self._path(day).unlink(missing_ok=True)
        return len(rows)

    def _path(self, day: int) -> Path:
        return self._folder / f"{day}{_SUFFIX}"

    def _days(self) -> list[int]:
        names = (path.stem for path in self._folder.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read_telemetry(folder: Path) -> LongHistory:
    """Read a gateway's folder and leave it as it is; UserError where there is none."""
    if not folder.is_dir():
        raise UserError("--folder", f"{folder}: no such folder", "name a gateway's telemetry")
    history = LongHistory()
    if TelemetryFolder(folder).load(history, mend=False) == 0:
        raise UserError("--folder", f"{folder} holds no minute yet", "wait a few minutes")
    return history
