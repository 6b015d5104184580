"""Which rows of a view a question is about, without touching the rest of the earth.

A box is answered from coarse to fine: cells of a level whose surroundings miss the box are left out
with all their children, so that what is looked at grows with the answer and not with the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map import cells
from coverage_map.cells import Cells
from coverage_map.hexagons import centres
from coverage_map.service.features import confidence, inside
from coverage_map.service.parameters import Bbox
from coverage_map.store.keys import COARSEST
from coverage_map.store.view import Columns, View, take

Rows = NDArray[np.intp]
FEW = 3_000  # cells of a level that are simply looked at
# A descendant's centre lies within sqrt(3/7) / (1 - sqrt(1/7)) = 1.06 edges of its ancestor's (the
# steps of an aperture-7 grid summed up); the rest is for the grid's distortion.
REACH_EDGES = 1.25
DEGREE_M = 111_195.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What rows must be: each None or 0 asks for nothing."""

    bbox: Bbox | None = None
    min_obs: int = 0
    min_confidence: float = 0.0
    epochs: tuple[int, int] | None = None


def select(view: View, resolution: int, wanted: Wanted) -> tuple[Columns, Rows]:
    """All rows of a resolution, and which of them are wanted, in the order of cells."""
    level = view.level(resolution)
    rows: Rows = np.arange(len(level["cells"]))
    if wanted.bbox is not None:
        rows = _in_box(view, level["cells"], resolution, wanted.bbox)
    if wanted.min_obs:
        rows = rows[level["count"][rows] >= wanted.min_obs]
    if wanted.epochs is not None:
        first, last = wanted.epochs
        part = take(level, rows)
        met = (part["count"] > 0) & (part["last"] >= first) & (part["first"] <= last)
        rows = rows[met]
    if wanted.min_confidence:
        rows = rows[confidence(take(level, rows)) >= wanted.min_confidence]
    return level, rows


def page(level: Columns, rows: Rows, after: int | None, limit: int) -> tuple[Rows, bool]:
    """The rows after a cell, at most `limit`, and whether there are more."""
    if after is not None:
        rows = rows[np.searchsorted(level["cells"][rows], np.uint64(after), side="right") :]
    return rows[:limit], len(rows) > limit


def _in_box(view: View, column: Cells, resolution: int, bbox: Bbox) -> Rows:
    ranges: list[int] | None = None
    for coarse in range(COARSEST, resolution):
        found = _under(view.level(coarse)["cells"], ranges, coarse)
        if len(found) > FEW and ranges is not None:
            break
        ranges = found[_near_box(found, coarse, bbox)].tolist()
    rows = _rows_under(column, ranges, resolution)
    return rows[inside(centres(column[rows]), bbox)]


def _under(column: Cells, ranges: Sequence[int] | None, resolution: int) -> Cells:
    return column if ranges is None else column[_rows_under(column, ranges, resolution)]


def _rows_under(column: Cells, ranges: Sequence[int] | None, resolution: int) -> Rows:
    if ranges is None:
        return np.arange(len(column))
    if not ranges:
        return np.empty(0, np.intp)
    low, high = cells.child_ranges(np.array(ranges, np.uint64), resolution)
    starts = np.searchsorted(column, low, side="left")
    stops = np.searchsorted(column, high, side="right")
    sizes = stops - starts
    ends = np.cumsum(sizes)
    return np.asarray(np.repeat(starts - (ends - sizes), sizes) + np.arange(sizes.sum()))


def _near_box(found: Cells, resolution: int, bbox: Bbox) -> NDArray[np.bool_]:
    """Cells whose descendants may have their centre in the box; some others too."""
    west, south, east, north = bbox
    places = centres(found)
    reach = REACH_EDGES * h3.average_hexagon_edge_length(resolution, unit="m") / DEGREE_M
    # Edges vary by a third over the earth; near a pole a degree of longitude is short.
    reach *= 1.35
    highest = np.minimum(np.abs(places[:, 0]) + reach, 89.9)
    aside = reach / np.cos(np.radians(highest))
    latitude = (places[:, 0] >= south - reach) & (places[:, 0] <= north + reach)
    middle, half = _middle(west, east)
    apart = np.abs((places[:, 1] - middle + 180.0) % 360.0 - 180.0)
    return np.asarray(latitude & (apart <= half + aside))


def _middle(west: float, east: float) -> tuple[float, float]:
    """Middle and half width of a span of longitudes that may cross 180 degrees."""
    width = east - west if west <= east else east - west + 360.0
    return west + width / 2.0, width / 2.0


def in_polygon(
    view: View, resolution: int, ring: Sequence[tuple[float, float]]
) -> tuple[Columns, Rows]:
    """Rows whose centre lies inside a ring of (longitude, latitude), by the even-odd rule."""
    corners = np.array(ring)
    box = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
    level = view.level(resolution)
    rows = _in_box(view, level["cells"], resolution, box)
    places = centres(level["cells"][rows])
    odd = np.zeros(len(rows), np.bool_)
    for (x0, y0), (x1, y1) in pairwise(ring):
        across = (places[:, 0] < y0) != (places[:, 0] < y1)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = x0 + (places[:, 0] - y0) * (x1 - x0) / (y1 - y0)
        odd ^= across & (places[:, 1] < crossing)
    return level, rows[odd]


