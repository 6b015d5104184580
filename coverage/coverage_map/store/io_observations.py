"""Observations on disk: Parquet files that are written once, each sorted by place.

Nothing is ever changed in a segment; compaction writes a new one and a manifest decides which are
read. Row groups are small and their first keys stand in the footer, so one part of the earth is
read without the rest. Any Parquet reader opens a segment; DuckDB queries all of them (io_sql.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.store.aggregates import Rows
from coverage_map.store.keys import keys_of

GROUP_ROWS = 1 << 16
MERGED_AT_ONCE = 1 << 21
SCHEMA = pa.schema(
    [
        ("cell", pa.uint64()),
        ("hotspot", pa.uint32()),
        ("device", pa.uint32()),
        ("signal_cdbm", pa.int16()),
        ("epoch", pa.uint32()),
        ("kind", pa.uint8()),
    ]
)
READ = ["cell", "hotspot", "device", "signal_cdbm", "epoch"]
KEYS = b"wavecomb.keys"
_DELTA = dict.fromkeys(("cell", "hotspot", "device", "epoch"), "DELTA_BINARY_PACKED")
NO_ROWS = Rows(*(np.empty(0, SCHEMA.field(name).type.to_pandas_dtype()) for name in READ))


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One file: its rows, and the first key of every row group with the last key at the end."""

    path: Path
    rows: int
    keys: NDArray[np.uint64]


class Observations:
    """A directory of segments."""

    def __init__(self, directory: Path) -> None:
        """Open or create it; UserError when that can't be done."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for torn in directory.glob("*.part"):
                torn.unlink()
        except OSError as error:
            raise UserError("--data", f"can't use {directory}: {error}", "mend its mode") from error

    def names(self) -> list[str]:
        """Names of all segments, oldest first."""
        return sorted(path.name for path in self.directory.glob("*.parquet"))

    def append(self, rows: Rows, kind: NDArray[np.uint8]) -> str:
        """Write a segment, sorted; it appears under its name only once it is on the disk."""
        order = np.argsort(keys_of(rows.cell), kind="stable")
        columns = [getattr(rows, name)[order] for name in READ] + [kind[order]]
        name = self.next_name()
        self.write(name, iter([columns]))
        return name

    def next_name(self) -> str:
        """A name after all that are there."""
        return f"{1 + int((self.names() or ['0.'])[-1].split('.')[0]):08d}.parquet"

    def write(self, name: str, parts: Iterator[Sequence[NDArray[np.generic]]]) -> None:
        """Write a segment from parts that follow each other in the order of keys."""
        path = self.directory / f"{name}.part"
        keys: list[int] = []
        last = 0
        writer = pq.ParquetWriter(
            path,
            SCHEMA,
            compression="zstd",
            use_dictionary=["signal_cdbm", "kind"],
            column_encoding=_DELTA,
            write_statistics=["epoch"],
        )
        try:
            with writer:
                for columns in parts:
                    last = _write_groups(writer, columns, keys)
                writer.add_key_value_metadata({KEYS.decode(): json.dumps([*keys, last])})
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        path.rename(self.directory / name)

    def open(self, name: str) -> Segment:
        """A segment by name; UserError when it is missing or no segment."""
        path = self.directory / name
        try:
            found = pq.read_metadata(path)
            keys = json.loads((found.metadata or {})[KEYS])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            remedy = "restore it, or remove the data directory: the map follows from the ledger"
            raise UserError("--data", f"can't read {path}: {error}", remedy, exit_code=1) from error
        return Segment(path, found.num_rows, np.array(keys, np.uint64))


def _write_groups(writer: Any, columns: Sequence[NDArray[np.generic]], keys: list[int]) -> int:
    """Write rows; the first key of each group is added to `keys`, the last key of all returned."""
    last = keys[-1] if keys else 0
    for at in range(0, len(columns[0]), GROUP_ROWS):
        piece = [pa.array(column[at : at + GROUP_ROWS]) for column in columns]
        writer.write_table(pa.table(piece, schema=SCHEMA), row_group_size=GROUP_ROWS)
        found = keys_of(columns[0][at : at + GROUP_ROWS])
        keys.append(int(found[0]))
        last = int(found[-1])
    return last


def read_between(segment: Segment, low: int, high: int) -> Rows:
    """Rows with low <= key < high."""
    groups = _groups_between(segment, low, high)
    if not groups:
        return NO_ROWS
    with pq.ParquetFile(segment.path) as file:
        table = file.read_row_groups(groups, columns=READ, use_threads=False)
    columns = [table.column(name).to_numpy() for name in READ]
    start, end = np.searchsorted(keys_of(columns[0]), np.array([low, high], np.uint64))
    return Rows(*(column[start:end] for column in columns))


def read_all(segment: Segment) -> Rows:
    """All rows of a segment."""
    return read_between(segment, 0, 1 << 40)


def merge_segments(
    observations: Observations,
    names: Sequence[str],
    tell: Callable[[float], None] = lambda _: None,
) -> str:
    """One segment of all rows of several; those stay until nobody names them.

    `tell` gets the share that is done; if it raises, nothing is left of the new segment.
    """
    opened = [observations.open(name) for name in names]

    def parts() -> Iterator[Sequence[NDArray[np.generic]]]:
        ranges = cut(opened, MERGED_AT_ONCE)
        for number, (low, high) in enumerate(ranges):
            tell(number / len(ranges))
            columns = [_columns_between(segment, low, high) for segment in opened]
            whole = [np.concatenate([c[n] for c in columns]) for n in range(len(SCHEMA))]
            order = np.argsort(keys_of(whole[0]), kind="stable")
            yield [column[order] for column in whole]

    name = observations.next_name()
    observations.write(name, parts())
    return name


def _columns_between(segment: Segment, low: int, high: int) -> list[NDArray[np.generic]]:
    groups = _groups_between(segment, low, high)
    with pq.ParquetFile(segment.path) as file:
        table = file.read_row_groups(groups, use_threads=False)
    columns = [table.column(name).to_numpy() for name in SCHEMA.names]
    start, end = np.searchsorted(keys_of(columns[0]), np.array([low, high], np.uint64))
    return [column[start:end] for column in columns]


def _groups_between(segment: Segment, low: int, high: int) -> list[int]:
    starts, last = segment.keys[:-1], int(segment.keys[-1])
    if not len(starts) or high <= int(starts[0]) or low > last:
        return []
    # A group may begin in the midst of a key, so the one before it may hold that key too.
    first = max(int(np.searchsorted(starts, np.uint64(low), side="left")) - 1, 0)
    stop = int(np.searchsorted(starts, np.uint64(high), side="left"))
    return list(range(first, max(stop, first + 1)))


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Parts one after the other."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else NO_ROWS
    return Rows(*(np.concatenate([getattr(x, n) for x in parts]) for n in Rows.__slots__))


def cut(segments: Sequence[Segment], rows_wanted: int) -> list[tuple[int, int]]:
    """Ranges of keys with about so many rows each, cut only between cells of resolution 7.

    So all levels from 7 on follow from one range alone, and only the few coarser cells are joined.
    """
    sevens = np.uint64((1 << 3 * 4) - 1)
    ordered = np.sort(np.concatenate([np.empty(0, np.uint64), *(x.keys[:-1] for x in segments)]))
    step = max(rows_wanted // GROUP_ROWS, 1)
    cuts = np.unique(ordered[step::step] & ~sevens).tolist()
    ends = [0, *[int(edge) for edge in cuts if edge], 1 << 40]
    return list(pairwise(ends))
