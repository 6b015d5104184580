"""Columns on disk: plain `.npy` files, appended part by part and mapped into memory to be read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from coverage_map.store.aggregates import LISTS, TYPES
from coverage_map.store.tables import COLUMNS, JOIN_COLUMNS

HEADER_BYTES = 128
READ_BYTES = 1 << 20
FULL = (*COLUMNS, *JOIN_COLUMNS, *(name for names in LISTS.values() for name in names))
ADDED = tuple(TYPES)


def kind_of(name: str) -> np.dtype[Any]:
    """Little-endian type of a column."""
    kind = COLUMNS.get(name) or JOIN_COLUMNS.get(name) or TYPES[name]
    return np.dtype(kind).newbyteorder("<")


class ColumnWriter:
    """One column that grows; `close` writes how long it became into its header."""

    def __init__(self, path: Path, kind: np.dtype[Any]) -> None:
        self.path, self.kind, self.rows = path, kind, 0
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))

    def append(self, values: NDArray[Any]) -> None:
        """Add values."""
        self._file.write(np.ascontiguousarray(values, self.kind).data.cast("B"))
        self.rows += len(values)

    def close(self) -> None:
        """Write the header, as long as the room left for it; doing so twice is fine."""
        if self._file.closed:
            return
        about = f"{{'descr': {self.kind.str!r}, 'fortran_order': False, 'shape': ({self.rows},), }}"
        room = HEADER_BYTES - len(npy.magic(1, 0)) - 2
        self._file.seek(0)
        self._file.write(npy.magic(1, 0) + room.to_bytes(2, "little"))
        self._file.write((about.ljust(room - 1) + "\n").encode())
        self._file.close()


class LevelWriter:
    """Columns of one resolution, in a directory of its own; the first one says how many rows."""

    def __init__(self, directory: Path, names: Sequence[str] = FULL) -> None:
        directory.mkdir(parents=True)
        self.columns = {n: ColumnWriter(directory / f"{n}.npy", kind_of(n)) for n in names}

    def append(self, table: Mapping[str, NDArray[Any]]) -> None:
        """Add rows, whose cells follow those that are there."""
        for name, column in self.columns.items():
            column.append(table[name])

    def close(self) -> int:
        """Finish all files; how many rows there are."""
        for column in self.columns.values():
            column.close()
        return next(iter(self.columns.values())).rows


class Mapped(dict[str, NDArray[Any]]):
    """Columns of one resolution; a file is mapped when it is first asked for."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def __missing__(self, name: str) -> NDArray[Any]:
        path = self.directory / f"{name}.npy"
        if name == "fitted" and not path.exists():
            # Made before there was this column: any measured cell may show an estimator's figure.
            self[name] = (self["count"] > 0).astype(kind_of(name))
            return self[name]
        self[name] = column = mapped(path, kind_of(name))
        return column


def mapped(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    """A column of ColumnWriter's, mapped into memory.

    Not by np.load, which has Python parse the header: threads that do so at once can break off
    with a SystemError (CPython 3.11, issue 106905), and it takes longer than the mapping.
    """
    if path.stat().st_size <= HEADER_BYTES:
        return np.empty(0, kind)
    # A plain array over the map: a memmap object costs ten times as much to slice.
    return np.asarray(np.memmap(path, kind, "r", HEADER_BYTES))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    state = sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            state.update(piece)
    return state.hexdigest()


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
