"""How many cells a map has, kept in step with what arrives instead of counted anew.

A cell has measurements of its own where it holds receptions that no finer row accounts for. On a
large map counting those takes seconds: it is done once per snapshot, off the loop. What is laid
over a snapshot changes few cells, and a cell never without all its ancestors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import child_ranges, parents
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.tables import nothing_in, places_of
from coverage_map.store.view import Columns, View

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """Finest resolution with any cell; cells with measurements of their own; only predicted there.

    `own` counts cells at whatever precision their owners chose.
    """

    resolution: int
    own: int
    predicted: int


NO_FIGURES = Figures(COARSEST, 0, 0)


def count_cells(view: View) -> Figures:
    """Figures of a snapshot, by going through all of it."""
    sizes = {r: len(view.level(r)["cells"]) for r in range(COARSEST, FINEST + 1)}
    finest = max((r for r, size in sizes.items() if size), default=COARSEST)
    predicted = np.count_nonzero(np.asarray(view.level(finest)["count"]) == 0)
    return Figures(finest, view.own_cells(), int(predicted))


def with_overlay(
    below: Mapping[int, Columns], figures: Figures, over: Mapping[int, Columns]
) -> Figures:
    """Figures after complete rows of some cells took their place; `below` are the levels before.

    Rows of a layer may be predicted ones, or say that a cell is no more; not all of the finest
    level may vanish so.
    """
    own, predicted, finest = figures.own, figures.predicted, figures.resolution
    for resolution in sorted(over):
        rows = over[resolution]
        if not len(rows["cells"]):
            continue
        if resolution > finest:
            finest, predicted = resolution, 0
        before = counts_of(below[resolution], rows["cells"])
        if resolution == finest:
            known = len(places_of(np.asarray(below[resolution]["cells"]), rows["cells"]))
            predicted -= known - int(np.count_nonzero(before))
            guessed = (np.asarray(rows["count"]) == 0) & ~nothing_in(rows)
            predicted += int(np.count_nonzero(guessed))
        finer_before, change = _finer(below, over, resolution)
        after = np.asarray(rows["count"]).astype(np.int64)
        own += int(np.count_nonzero(after > finer_before + change))
        own -= int(np.count_nonzero(before > finer_before))
    return Figures(finest, own, predicted)


def counts_of(level: Columns, cells: NDArray[np.uint64]) -> Ints:
    """Receptions of some cells (sorted, each once); 0 where a level doesn't know one."""
    found = np.zeros(len(cells), np.int64)
    column = np.asarray(level["cells"])
    at = places_of(column, cells)
    found[places_of(cells, column[at])] = np.asarray(level["count"])[at]
    return found


def _finer(
    below: Mapping[int, Columns], over: Mapping[int, Columns], resolution: int
) -> tuple[Ints, Ints]:
    """Of an overlay's cells: receptions in the next finer level before, and how many came since."""
    cells = np.asarray(over[resolution]["cells"])
    change = np.zeros(len(cells), np.int64)
    if resolution == FINEST:
        return change, change
    finer, column = below[resolution + 1], np.asarray(below[resolution + 1]["cells"])
    low, high = child_ranges(cells, resolution + 1)
    starts, stops = np.searchsorted(column, low, "left"), np.searchsorted(column, high, "right")
    sizes = stops - starts
    children = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    before = np.zeros(len(cells), np.int64)
    parent = np.repeat(np.arange(len(cells)), sizes)
    np.add.at(before, parent, np.asarray(finer["count"])[children].astype(np.int64))
    touched = over.get(resolution + 1)
    if touched is not None and len(touched["cells"]):
        more = np.asarray(touched["count"]).astype(np.int64) - counts_of(finer, touched["cells"])
        heard = more != 0  # others are only predicted otherwise, maybe without their parents
        group = np.searchsorted(cells, parents(touched["cells"][heard], resolution))
        np.add.at(change, group, more[heard])
    return before, change
