"""A long, bounded memory of telemetry in columns: minute means of each link, kept for days.

Forecasts of 15 and 60 minutes need hours of minutes, and yesterday. A link costs 68 bytes a minute:
a time and the fields of routing/telemetry/second.py as unsigned 32-bit columns. The oldest rows go
first. It reads like routing.telemetry.history.History (`links`, `of`), so a Forecaster of minute
steps takes it.

Rows that are finished can be written out in blocks and read back after a restart:

    block       bytes                   content, little-endian
    magic       4                       "WCH1"
    rows        u32 n                   how many rows, links mixed, by time
    crc         u32                     CRC-32 of the columns
    columns     n x u64                 time, ms: the start of the minute
                n x u32, 2 + 15 times   source, target, then the fields in order

A block cut short or damaged ends the reading: a crash loses the block that it interrupted, no more.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from routing.telemetry.second import FIELDS, Telemetry, numbers_of
from routing.types import Link, LinkSample

STEP_MS = 60_000
KEEP_ROWS = 8 * 24 * 60
MAX_LINKS = 256
_MAGIC = b"WCH1"
_HEAD = struct.Struct("<4sII")
_TOP = 2**32 - 1
_MAX_BLOCK_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One link's minute: its start in ms, and the mean of each of FIELDS, rounded."""

    time_ms: int
    link: Link
    numbers: tuple[int, ...]


class _Columns:
    """One link's rows, oldest first: a time column and one column per field."""

    def __init__(self) -> None:
        self.times = array("Q")
        self.fields = [array("I") for _ in FIELDS]

    def append(self, time_ms: int, numbers: Sequence[int]) -> None:
        self.times.append(time_ms)
        for column, number in zip(self.fields, numbers, strict=True):
            column.append(number)

    def drop(self, rows: int) -> None:
        del self.times[:rows]
        for column in self.fields:
            del column[:rows]


@dataclass(slots=True)
class _Open:
    """The minute of a link that still grows."""

    start_ms: int
    count: int
    sums: list[int]


class LongHistory:
    """Minute means of at most `max_links` links, `keep` rows each; see the module's text."""

    def __init__(
        self, keep: int = KEEP_ROWS, max_links: int = MAX_LINKS, step_ms: int = STEP_MS
    ) -> None:
        if min(keep, max_links, step_ms) < 1:
            raise ValueError("keep, max_links, step_ms: below 1; give positive numbers")
        self.step_ms = step_ms
        self._keep = keep
        self._max_links = max_links
        self._columns: dict[Link, _Columns] = {}
        self._open: dict[Link, _Open] = {}
        self._finished: list[Row] = []

    def add(self, sample: LinkSample) -> bool:
        """Take a sample; False if it is of a minute already finished, or of one link too many."""
        link = (sample.source, sample.target)
        start_ms = sample.time_ms // self.step_ms * self.step_ms
        growing = self._open.get(link)
        if growing is not None and start_ms > growing.start_ms:
            self._finish(link, growing)
            growing = None
        if growing is None:
            if not self._takes(link, start_ms):
                return False
            growing = self._open[link] = _Open(start_ms, 0, [0] * len(FIELDS))
        elif start_ms < growing.start_ms:
            return False
        growing.count += 1
        growing.sums = [a + b for a, b in zip(growing.sums, numbers_of(sample), strict=True)]
        return True

    def _takes(self, link: Link, start_ms: int) -> bool:
        known = self._columns.get(link)
        if known is None:
            return link in self._open or len(self._columns) < self._max_links
        return not known.times or start_ms > known.times[-1]

    def _finish(self, link: Link, growing: _Open) -> None:
        del self._open[link]
        half = growing.count // 2
        means = ((total + half) // growing.count for total in growing.sums)
        row = Row(growing.start_ms, link, tuple(max(0, min(_TOP, mean)) for mean in means))
        if self.restore(row):
            self._finished.append(row)

    def restore(self, row: Row) -> bool:
        """Take a finished row as it is; False if it is not newer, or of one link too many."""
        if not self._takes(row.link, row.time_ms):
            return False
        columns = self._columns.setdefault(row.link, _Columns())
        columns.append(row.time_ms, row.numbers)
        # Dropping an eighth at a time moves memory rarely.
        if len(columns.times) > self._keep + self._keep // 8:
            columns.drop(len(columns.times) - self._keep)
        return True

    def finish_before(self, time_ms: int) -> None:
        """Finish the minutes that ended by `time_ms`, of links that fell silent too."""
        for link in sorted(self._open):
            if self._open[link].start_ms + self.step_ms <= time_ms:
                self._finish(link, self._open[link])

    def take_finished(self) -> list[Row]:
        """Take the rows that were finished since the last call, to be written out."""
        rows, self._finished = self._finished, []
        return rows

    def links(self) -> list[Link]:
        """Every link with a finished minute, ascending."""
        return sorted(self._columns)

    def of(self, link: Link) -> list[LinkSample]:
        """Return the finished minutes of a link as samples, oldest first; empty if unknown."""
        columns = self._columns.get(link)
        if columns is None:
            return []
        start = max(0, len(columns.times) - self._keep)
        fields = (column[start:] for column in columns.fields)
        rows = zip(columns.times[start:], *fields, strict=True)
        return [_sample(link, time_ms, numbers) for time_ms, *numbers in rows]

    def columns(self, link: Link) -> tuple[array[int], list[array[int]]]:
        """Return copies of a link's finished minutes: their times, and a column per field."""
        known = self._columns.get(link) or _Columns()
        start = max(0, len(known.times) - self._keep)
        return known.times[start:], [column[start:] for column in known.fields]

    def count(self, link: Link) -> int:
        """Return how many finished minutes of a link are known."""
        columns = self._columns.get(link)
        return min(self._keep, len(columns.times)) if columns else 0

    def forget_before(self, time_ms: int) -> None:
        """Drop links of which nothing newer than `time_ms` is known."""
        for link in self.links():
            if self._columns[link].times[-1] < time_ms and link not in self._open:
                del self._columns[link]


def _sample(link: Link, time_ms: int, numbers: Sequence[int]) -> Telemetry:
    return Telemetry(*link, time_ms, **dict(zip(FIELDS, numbers, strict=True)))


def encode_block(rows: Sequence[Row]) -> bytes:
    """Write rows as one block; empty for no rows."""
    if not rows:
        return b""
    columns = [
        *([row.link[end] for row in rows] for end in (0, 1)),
        *zip(*(row.numbers for row in rows), strict=True),
    ]
    body = _bytes("Q", [row.time_ms for row in rows])
    body += b"".join(_bytes("I", column) for column in columns)
    return _HEAD.pack(_MAGIC, len(rows), crc32(body)) + body


def _bytes(code: str, values: Iterable[int]) -> bytes:
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def decode_blocks(blob: bytes) -> tuple[list[Row], int]:
    """Read blocks up to the first that is damaged: the rows, and the bytes that they took."""
    rows: list[Row] = []
    at = 0
    width = 8 + 4 * (2 + len(FIELDS))
    while at + _HEAD.size <= len(blob):
        magic, count, crc = _HEAD.unpack_from(blob, at)
        body = blob[at + _HEAD.size : at + _HEAD.size + width * count]
        whole = magic == _MAGIC and 0 < count <= _MAX_BLOCK_ROWS and len(body) == width * count
        if not whole or crc32(body) != crc:
            break
        rows += _rows(body, count)
        at += _HEAD.size + len(body)
    return rows, at


def _rows(body: bytes, count: int) -> list[Row]:
    columns = [_column("Q", body[: 8 * count])]
    columns += [
        _column("I", body[start : start + 4 * count])
        for start in range(8 * count, len(body), 4 * count)
    ]
    return [
        Row(time_ms, (source, target), tuple(numbers))
        for time_ms, source, target, *numbers in zip(*columns, strict=True)
    ]


def _column(code: str, raw: bytes) -> array[int]:
    column = array(code)
    column.frombytes(raw)
    if sys.byteorder == "big":
        column.byteswap()
    return column
