"""A view: a snapshot as readers see it, with what arrived since laid over it.

Two things may lie over a full snapshot: the layer that was published since, and the overlay of what
just arrived. Both hold complete rows of the cells that changed, sorted like the snapshot's, so
reading a tile is two binary searches in each; only where one has rows is there anything to merge,
and columns are merged one by one, when they are asked for. A row without a value says that there is
no such cell any more (changes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import parents, slice_of
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.tables import (
    COLUMNS,
    Table,
    nothing_in,
    nothing_predicted,
    readable_sources,
    sources_of,
    table_of,
)

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


class Merged(Mapping[str, Array]):
    """Rows of two tables in the order of cells; where both have a cell, the second one's row.

    And none where that row says nothing, which only a layer's may (`gaps`).
    """

    def __init__(self, base: Columns, over: Columns, gaps: bool = True) -> None:
        self._base, self._over = base, over
        if gaps:
            self._source = readable_sources(base, over)
        else:
            self._source = sources_of(np.asarray(base["cells"]), np.asarray(over["cells"]))
        self._columns: Table = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._columns:
            both = np.concatenate((self._base[name], self._over[name]))
            self._columns[name] = both[self._source]
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)


class Part(Mapping[str, Array]):
    """Some rows that follow each other; columns are cut when they are asked for."""

    def __init__(self, table: Columns, rows: slice) -> None:
        self._table, self._rows = table, rows

    def __getitem__(self, name: str) -> Array:
        return self._table[name][self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)


class Levels(Mapping[int, Columns]):
    """Levels of a snapshot with its layer, each merged when it is first asked for."""

    def __init__(self, levels: Mapping[int, Columns], layer: Mapping[int, Columns]) -> None:
        self._levels, self._layer = levels, layer
        self._merged: dict[int, Columns] = {}

    def __getitem__(self, resolution: int) -> Columns:
        if resolution not in self._merged:
            over = self._layer.get(resolution)
            base = self._levels[resolution]
            has_rows = over is not None and len(over["cells"]) > 0
            self._merged[resolution] = Merged(base, over) if over and has_rows else base
        return self._merged[resolution]

    def __iter__(self) -> Iterator[int]:
        return iter(self._levels)

    def __len__(self) -> int:
        return len(self._levels)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Columns by resolution, and rows that take the place of some of them.

    `layer` is what was published over the levels, `overlay` what arrived since; `merged` holds
    levels with their layer that were merged before, so that views of one snapshot share them.
    """

    snapshot: str
    epoch: int
    time_ms: int
    levels: Mapping[int, Columns]
    overlay: Mapping[int, Table] = field(default_factory=dict)
    revision: int = 0
    clock: Clock = field(default_factory=Clock)
    layer: Mapping[int, Columns] = field(default_factory=dict)
    merged: Mapping[int, Columns] | None = None
    _whole: dict[int, Columns] = field(default_factory=dict)
    _gaps: dict[int, bool] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Name of exactly this content, for tags of answers."""
        return f"{self.snapshot}.{self.revision}" if self.revision else self.snapshot

    def is_plain(self, resolution: int, parent: int) -> bool:
        """Whether the full snapshot alone answers for what lies under `parent`."""
        return not self._over(resolution, parent)

    def _over(self, resolution: int, parent: int) -> Sequence[tuple[Columns, slice]]:
        """What lies over the full snapshot under a cell, the newest last."""
        found = []
        for laid in (self.layer.get(resolution), self.overlay.get(resolution)):
            if laid is not None:
                rows = slice_of(laid["cells"], parent, resolution)
                if rows.start < rows.stop:
                    found.append((laid, rows))
        return found

    def rows(self, resolution: int, parent: int) -> slice:
        """Rows of the full snapshot under a cell."""
        return slice_of(self.levels[resolution]["cells"], parent, resolution)

    def under(self, resolution: int, parent: int) -> Columns:
        """All rows under a cell, merged."""
        found: Columns = Part(self.levels[resolution], self.rows(resolution, parent))
        for laid, rows in self._over(resolution, parent):
            gaps = laid is self.layer.get(resolution) and self._has_gaps(resolution)
            found = Merged(found, Part(laid, rows), gaps)
        return found

    def _has_gaps(self, resolution: int) -> bool:
        """Whether the layer says of any cell that it is no more: looked up once, not per tile."""
        if resolution not in self._gaps:
            self._gaps[resolution] = bool(nothing_in(self.layer[resolution]).any())
        return self._gaps[resolution]

    def level(self, resolution: int) -> Columns:
        """All rows of a resolution, merged."""
        if resolution not in self._whole:
            whole = self.merged or Levels(self.levels, self.layer)
            over = {r: rows for r, rows in self.overlay.items() if r == resolution}
            self._whole[resolution] = Levels(whole, over)[resolution]
        return self._whole[resolution]

    def cell(self, cell: int) -> Columns | None:
        """The one row of a cell, or None where nothing is known."""
        resolution = cell >> 52 & 0xF
        if not COARSEST <= resolution <= FINEST:
            return None
        found = self.under(resolution, cell)
        return found if len(found["cells"]) else None

    def coarser(self, zone: int, resolution: int) -> Iterator[tuple[int, Columns]]:
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
    if len(left) and len(below["cells"]):
        at = np.searchsorted(above["cells"], parents(below["cells"], resolution))
        np.subtract.at(left, at.clip(max=len(left) - 1), below["count"])
    return np.flatnonzero(left > 0)


def take(table: Columns, rows: Any) -> Table:
    """Some rows of the columns that readers use."""
    return {name: table[name][rows] for name in COLUMNS}


def blank_level() -> Table:
    """A level without rows."""
    from coverage_map.store.aggregates import empty

    return table_of(empty(), nothing_predicted())
