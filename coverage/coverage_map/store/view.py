"""A view: a snapshot as readers see it, with what arrived since laid over it.

The overlay holds complete rows of the few cells that changed, sorted like the snapshot's, so
reading a tile is two binary searches in each; only where the overlay has rows is there anything to
merge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import parents, slice_of
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.tables import COLUMNS, Table, nothing_predicted, table_of

Array = NDArray[Any]
Columns = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Clock:
    """When epochs are: epoch e ends at start_ms + (e + 1) * epoch_ms; no epochs without it."""

    start_ms: int = 0
    epoch_ms: int = 0

    def end_ms(self, epoch: int) -> int | None:
        """End of an epoch, ms since 1970."""
        return self.start_ms + (epoch + 1) * self.epoch_ms if self.epoch_ms else None


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Columns by resolution, and rows that take the place of some of them."""

    snapshot: str
    epoch: int
    time_ms: int
    levels: Mapping[int, Columns]
    overlay: Mapping[int, Table] = field(default_factory=dict)
    revision: int = 0
    clock: Clock = field(default_factory=Clock)

    @property
    def identity(self) -> str:
        """Name of exactly this content, for tags of answers."""
        return f"{self.snapshot}.{self.revision}" if self.revision else self.snapshot

    def is_plain(self, resolution: int, parent: int) -> bool:
        """Whether the snapshot alone answers for what lies under `parent`."""
        over = self.overlay.get(resolution)
        if over is None:
            return True
        rows = slice_of(over["cells"], parent, resolution)
        return bool(rows.start == rows.stop)

    def rows(self, resolution: int, parent: int) -> slice:
        """Rows of the snapshot under a cell."""
        return slice_of(self.levels[resolution]["cells"], parent, resolution)

    def under(self, resolution: int, parent: int) -> Table:
        """All rows under a cell, merged."""
        base = self.levels[resolution]
        rows = self.rows(resolution, parent)
        found = {name: base[name][rows] for name in COLUMNS}
        if self.is_plain(resolution, parent):
            return found
        over = self.overlay[resolution]
        inside = slice_of(over["cells"], parent, resolution)
        return merged(found, {name: over[name][inside] for name in COLUMNS})

    def level(self, resolution: int) -> Table:
        """All rows of a resolution, merged."""
        base = {name: self.levels[resolution][name] for name in COLUMNS}
        over = self.overlay.get(resolution)
        return base if over is None or not len(over["cells"]) else merged(base, over)

    def cell(self, cell: int) -> Table | None:
        """The one row of a cell, or None where nothing is known."""
        resolution = cell >> 52 & 0xF
        if not COARSEST <= resolution <= FINEST:
            return None
        found = self.under(resolution, cell)
        return found if len(found["cells"]) else None

    def coarser(self, zone: int, resolution: int) -> Iterator[tuple[int, Table]]:
        """Measured rows between a zone and a resolution that no finer row accounts for.

        These are cells of owners who published no finer place.
        """
        for level in range(max(zone >> 52 & 0xF, COARSEST), resolution):
            above = self.under(level, zone)
            rows = own_rows(above, self.under(level + 1, zone), level)
            yield level, take(above, rows)

    def own_cells(self) -> int:
        """How many cells have measurements of their own, at whatever precision."""
        found = 0
        for level in range(COARSEST, FINEST + 1):
            above = self.level(level)
            below = self.level(level + 1) if level < FINEST else blank_level()
            found += len(own_rows(above, below, level))
        return found


def own_rows(above: Columns, below: Columns, resolution: int) -> NDArray[np.intp]:
    """Rows of a level that hold receptions of no row of the next finer level."""
    left = np.asarray(above["count"]).astype(np.int64)
    if len(below["cells"]):
        at = np.searchsorted(above["cells"], parents(below["cells"], resolution))
        np.subtract.at(left, at.clip(max=len(left) - 1), below["count"])
    return np.flatnonzero(left > 0)


def take(table: Columns, rows: Any) -> Table:
    """Some rows of the columns that readers use."""
    return {name: table[name][rows] for name in COLUMNS}


def merged(base: Columns, over: Columns) -> Table:
    """Rows of both in the order of cells; where both have a cell, the second one's row."""
    kept = ~np.isin(base["cells"], over["cells"], assume_unique=True)
    order = np.argsort(np.concatenate((base["cells"][kept], over["cells"])), kind="stable")
    return {n: np.concatenate((base[n][kept], over[n]))[order] for n in COLUMNS}


def blank_level() -> Table:
    """A level without rows."""
    from coverage_map.store.aggregates import empty

    return table_of(empty(), nothing_predicted())
