"""PMTiles archives: every vector tile of a snapshot in one file for any static file server."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from coverage_map.hexagons import boundaries
from coverage_map.store.view import View
from coverage_map.tiles.mvt import LAYER, Square, encode, resolution_for, rows_for
from coverage_map.tiles.styles import FIELDS, bounds

ZOOMS = range(12)  # deeper tiles repeat the same cells: clients overzoom
E7 = 10_000_000


def squares(view: View) -> Iterator[Square]:
    """Tiles that hold at least one corner of a cell, in the order that the archive wants."""
    for zoom in ZOOMS:
        column = np.asarray(view.level(resolution_for(zoom))["cells"])
        found = boundaries(column, mercator=True)
        side = 1 << zoom
        x = np.floor((found.x % 1.0) * side).astype(np.int64)
        y = np.clip(np.floor(found.y * side).astype(np.int64), 0, side - 1)
        pairs = {(int(a), int(b)) for a, b in np.unique(np.stack((x.ravel(), y.ravel())), axis=1).T}
        for x_y in sorted(pairs, key=lambda pair: zxy_to_tileid(zoom, *pair)):
            yield Square(zoom, *x_y)


def write_archive(view: View, path: Path) -> int:
    """Write the archive; how many tiles are in it. It appears under its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    count = 0
    with part.open("wb") as file:
        writer: Any = Writer(file)  # type: ignore[no-untyped-call]
        for square in squares(view):
            content = encode(rows_for(view, square), square)
            if content:
                tile_id = zxy_to_tileid(square.zoom, square.x, square.y)
                writer.write_tile(tile_id, gzip.compress(content, 6, mtime=0))
                count += 1
        writer.finalize(_header(view), _metadata())
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    return count


def _header(view: View) -> dict[str, Any]:
    west, south, east, north = bounds(view)
    return {
        "tile_type": TileType.MVT,
        "tile_compression": Compression.GZIP,
        "min_zoom": ZOOMS[0],
        "max_zoom": ZOOMS[-1],
        "min_lon_e7": round(west * E7),
        "min_lat_e7": round(south * E7),
        "max_lon_e7": round(east * E7),
        "max_lat_e7": round(north * E7),
        "center_zoom": 9,
        "center_lon_e7": round((west + east) / 2 * E7),
        "center_lat_e7": round((south + north) / 2 * E7),
    }


def _metadata() -> dict[str, Any]:
    layer = {"id": LAYER, "fields": FIELDS, "minzoom": ZOOMS[0], "maxzoom": ZOOMS[-1]}
    return {"name": "Wavecomb coverage", "vector_layers": [layer]}
