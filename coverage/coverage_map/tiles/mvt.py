"""Mapbox vector tiles of cells: layer `cells`, one polygon each, the H3 index as its id.

Geometry comes from hexagons.py in Web Mercator and is written by compiled loops. Cells whose centre
lies in the tile or one cell beyond its edge are in it whole; clients clip at the tile's edge.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map.hexagons import boundaries
from coverage_map.service.features import sd_db, value_dbm
from coverage_map.service.parameters import Bbox
from coverage_map.service.selection import Wanted, select
from coverage_map.store.tables import Table
from coverage_map.store.view import View, own_rows, take

Array = NDArray[Any]
EXTENT = 4_096
CORNERS_MAX = 10
LAYER = "cells"
ZOOM_MAX = 16
KEYS = ("h3", "value", "sd", "count", "measured")
_RESOLUTION_OF_ZOOM = (3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10, 10, 11, 11, 11)
BEYOND_EDGES = 1.5  # a corner is one edge from its centre; edges vary by a third over the earth
OWN_FROM = 10  # from here on, cells of owners who publish no finer place are drawn too


@dataclass(frozen=True, slots=True)
class Square:
    """A tile of the Web Mercator quad tree: column x from the west, row y from the north."""

    zoom: int
    x: int
    y: int

    def is_valid(self) -> bool:
        """Whether there is such a tile."""
        side = 1 << self.zoom if 0 <= self.zoom <= ZOOM_MAX else 0
        return 0 <= self.x < side and 0 <= self.y < side

    def bbox(self, beyond_deg: float = 0.0) -> Bbox:
        """West, south, east, north in degrees, and so much beyond, short of the poles."""
        side = 1 << self.zoom
        west, east = (360.0 * edge / side - 180.0 for edge in (self.x, self.x + 1))
        north, south = (_latitude(edge / side) for edge in (self.y, self.y + 1))
        aside = beyond_deg / max(math.cos(math.radians(max(abs(south), abs(north)))), 0.05)
        if east - west + 2 * aside >= 360.0:
            west, east = -180.0, 180.0
        else:
            west = (west - aside + 540.0) % 360.0 - 180.0
            east = (east + aside + 540.0) % 360.0 - 180.0
        return (west, max(south - beyond_deg, -90.0), east, min(north + beyond_deg, 90.0))


def _latitude(down: float) -> float:
    return math.degrees(math.atan(math.sinh(math.pi * (1.0 - 2.0 * down))))


def resolution_for(zoom: int) -> int:
    """The H3 resolution that a zoom shows: at most some 10,000 cells in a tile."""
    return _RESOLUTION_OF_ZOOM[min(zoom, ZOOM_MAX)]


def rows_for(view: View, square: Square) -> Table:
    """Rows that a tile shows, cells of owners who publish no finer place first."""
    resolution = resolution_for(square.zoom)
    parts = [_rows_at(view, square, resolution)]
    for coarser in range(resolution - 1, 6, -1) if resolution >= OWN_FROM else ():
        above = _rows_at(view, square, coarser)
        finer = _rows_at(view, square, coarser + 1, coarser)
        parts.append(take(above, own_rows(above, finer, coarser)))
    parts.reverse()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rows_at(view: View, square: Square, resolution: int, room: int | None = None) -> Table:
    edge_m = h3.average_hexagon_edge_length(resolution if room is None else room - 1, unit="m")
    level, rows = select(view, resolution, Wanted(square.bbox(BEYOND_EDGES * edge_m / 111_195.0)))
    return take(level, rows)


def encode(table: Table, square: Square) -> bytes:
    """The vector tile of some rows; no bytes where there are none."""
    from coverage_map.tiles.mvt_kernels import MOST, put_features

    count = len(table["cells"])
    if not count:
        return b""
    x, y, sizes = _corners(table["cells"], square)
    tags, values = _tags(table)
    out = np.empty(MOST * 2 * count + 64, np.uint8)
    used = put_features(table["cells"], tags, x, y, sizes, out, np.empty(1_024, np.uint8))
    head = _field(1, LAYER.encode()) + out[:used].tobytes()
    keys = b"".join(_field(3, key.encode()) for key in KEYS)
    layer = head + keys + values + b"\x28\x80\x20" + b"\x78\x02"  # extent 4096, version 2
    return _field(3, layer)


def _corners(cells: Array, square: Square) -> tuple[Array, Array, Array]:
    """Corners in the tile's own whole units, shape (n, CORNERS_MAX), and how many each cell has."""
    found = boundaries(cells, mercator=True)
    x, y = (np.zeros((len(cells), CORNERS_MAX)) for _ in range(2))
    x[:, :6], y[:, :6] = found.x, found.y
    sizes = np.full(len(cells), 6, np.int64)
    for row, corners in found.others.items():
        sizes[row] = len(corners)
        x[row, : len(corners)], y[row, : len(corners)] = corners.T
    side = 1 << square.zoom
    # Corners beyond 180 degrees come back on the other side: bring them next to the tile.
    x -= np.round(x - (square.x + 0.5) / side)
    units = (np.array([square.x, square.y]) * EXTENT, side * EXTENT)
    whole_x = np.round(x * units[1] - units[0][0]).astype(np.int64)
    whole_y = np.round(y * units[1] - units[0][1]).astype(np.int64)
    return whole_x, whole_y, sizes


def _tags(table: Table) -> tuple[Array, bytes]:
    """Numbers of key and value per row, and the values: each distinct one once."""
    count = len(table["cells"])
    tags = np.zeros((count, 2 * len(KEYS)), np.int64)
    tags[:, 0::2] = np.arange(len(KEYS))
    tags[:, 1] = np.arange(count)
    parts, at = [_texts(table["cells"])], count
    numbers = (np.round(value_dbm(table), 1), np.round(sd_db(table), 2))
    for place, column in enumerate((*numbers, table["count"]), start=1):
        unique, row_of = np.unique(column, return_inverse=True)
        tags[:, 2 * place + 1] = at + row_of.reshape(-1)
        write = _float if column.dtype.kind == "f" else _unsigned
        parts.append(b"".join(_field(4, write(value)) for value in unique.tolist()))
        at += len(unique)
    tags[:, 9] = at + (table["count"] > 0)
    parts.append(_field(4, b"\x38\x00") + _field(4, b"\x38\x01"))
    return tags, b"".join(parts)


def _texts(cells: Array) -> bytes:
    """The cells' usual names as values: every one is 15 digits long."""
    digits = np.empty((len(cells), 15), np.uint8)
    for place in range(15):
        digits[:, place] = cells >> np.uint64(4 * (14 - place)) & np.uint64(15)
    out = np.empty((len(cells), 19), np.uint8)
    out[:, :4] = (0x22, 17, 0x0A, 15)
    out[:, 4:] = np.where(digits < 10, digits + 48, digits + 87)
    return out.tobytes()


def _float(value: float) -> bytes:
    return b"\x15" + struct.pack("<f", value)


def _unsigned(value: int) -> bytes:
    return b"\x28" + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content
