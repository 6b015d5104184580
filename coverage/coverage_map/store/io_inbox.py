"""Observations that other processes hand to a store: files in `inbox/`, each taken in once.

Who hands something over never writes into the store itself, so it may be served meanwhile. A file
goes when a checkpoint holds its rows and names it; whatever comes under that name again was taken.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from chain.errors import EXIT_FAILED, UserError
from coverage_map.store.aggregates import Rows
from coverage_map.store.io_columns import sync_directory

NAME_DIGITS = 16
COLUMNS = {"cell": np.uint64, "hotspot": np.uint32, "device": np.uint32, "signal_cdbm": np.int16,
           "epoch": np.uint32, "kind": np.uint8}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """Observations that were handed over, under a name that follows from what they say."""

    name: str
    rows: Rows
    kind: NDArray[np.uint8]


def name_of(rows: Rows) -> str:
    """Name of observations: the same places and signals have the same one, whatever the epoch."""
    state = sha256()
    for column in (rows.cell, rows.hotspot, rows.device, rows.signal_cdbm):
        state.update(np.ascontiguousarray(column).tobytes())
    return state.hexdigest()[:NAME_DIGITS]


class Inbox:
    """The folder `inbox` of a store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "inbox"

    def put(self, rows: Rows, kind: NDArray[np.uint8]) -> str:
        """Hand observations over; their name. UserError where that can't be written."""
        name = name_of(rows)
        part = self.directory / f"{name}.part"
        columns = {n: getattr(rows, n) for n in Rows.__slots__} | {"kind": kind}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, **columns)  # type: ignore[arg-type,unused-ignore]
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.directory / f"{name}.npz")
            sync_directory(self.directory)
        except OSError as error:
            remedy = "run it as the user whose map it is"
            raise UserError(
                "--data", f"can't write {part}: {error}", remedy, exit_code=EXIT_FAILED
            ) from error
        return name

    def names(self) -> list[str]:
        """What waits, by name."""
        try:
            return sorted(
                path.removesuffix(".npz")
                for path in os.listdir(self.directory)
                if path.endswith(".npz")
            )
        except FileNotFoundError:
            return []

    def read(self, name: str) -> Parcel | None:
        """What waits under a name; None for what is no such file, which is put aside as `.bad`."""
        path = self.directory / f"{name}.npz"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                columns = [found[n].astype(k, casting="safe") for n, k in COLUMNS.items()]
            if len({column.shape for column in columns}) == 1 and columns[0].ndim == 1:
                return Parcel(name, Rows(*columns[:-1]), columns[-1])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            pass
        self.put_aside(name)
        return None

    def put_aside(self, name: str) -> None:
        """Keep a file that can't be taken in, out of the way and for whoever looks for it."""
        path = self.directory / f"{name}.npz"
        path.replace(path.with_suffix(".bad"))

    def remove(self, name: str) -> None:
        """Forget a file whose rows are safe elsewhere."""
        (self.directory / f"{name}.npz").unlink(missing_ok=True)
