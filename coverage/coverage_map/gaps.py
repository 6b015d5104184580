"""Gaps and outlines: where service is missing beside service, and the edge of what is served."""

from __future__ import annotations

from typing import Any

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map import cells
from coverage_map.service.features import (
    SERVED,
    feature,
    inside,
    polygon,
    service_probability,
    value_dbm,
)
from coverage_map.service.parameters import Bbox
from coverage_map.store.view import Columns, take

JsonObject = dict[str, Any]
Rows = NDArray[np.intp]


def gap_features(
    level: Columns, rows: Rows, bbox: Bbox | None, threshold_dbm: float
) -> list[JsonObject]:
    """Where service is missing, most promising first: next to served cells, but not served itself.

    `rows` are those that count as near. `why` tells a measured hole from a predicted one and from
    a place that nobody knows about.
    """
    part = take(level, rows)
    served = part["cells"][service_probability(part, threshold_dbm) >= SERVED]
    near: dict[int, int] = {}
    for cell in served.tolist():
        for other in h3.grid_disk(cell, 1):
            near[other] = near.get(other, 0) + 1
    around = np.array(sorted(near), np.uint64)
    missing = around[~np.isin(around, served)]
    if bbox is not None:
        missing = missing[inside(cells.centres(missing), bbox)]
    ordered = sorted(missing.tolist(), key=lambda cell: (-near[cell], cell))
    known = dict(zip(part["cells"].tolist(), range(len(rows)), strict=True))
    values = value_dbm(part)
    return [
        _gap(cell, near[cell], known.get(cell), part["count"], values, threshold_dbm)
        for cell in ordered
    ]


def _gap(
    cell: int,
    neighbours: int,
    row: int | None,
    count: NDArray[Any],
    values: NDArray[Any],
    threshold_dbm: float,
) -> JsonObject:
    why, value = "unknown", None
    if row is not None:
        why = "measured_below" if count[row] else "predicted_below"
        value = round(float(values[row]), 1)
    properties = {
        "h3": cells.text_of(cell),
        "why": why,
        "value_dbm": value,
        "served_neighbours": neighbours,
        "threshold_dbm": threshold_dbm,
    }
    return feature(cells.text_of(cell), polygon(cell), properties)


def outline_features(level: Columns, rows: Rows, threshold_dbm: float) -> list[JsonObject]:
    """One polygon per connected area whose cells are served, largest first."""
    part = take(level, rows)
    served = part["cells"][service_probability(part, threshold_dbm) >= SERVED].tolist()
    if not served:
        return []
    shapes = h3.cells_to_h3shape(served, tight=False)
    found = [_rings(shape) for shape in shapes]
    found.sort(key=lambda rings: (-len(rings[0]), rings))
    return [
        feature(
            str(number),
            {"type": "Polygon", "coordinates": rings},
            {"area": number, "threshold_dbm": threshold_dbm, "holes": len(rings) - 1},
        )
        for number, rings in enumerate(found)
    ]


def _rings(shape: Any) -> list[list[list[float]]]:
    """Closed rings [longitude, latitude], unwrapped at 180 degrees; the outer one first."""
    rings = []
    for loop in (shape.outer, *shape.holes):
        corners = [[round(lon, 7), round(lat, 7)] for lat, lon in loop]
        if max(c[0] for c in corners) - min(c[0] for c in corners) > 180.0:
            corners = [[lon + 360.0 if lon < 0 else lon, lat] for lon, lat in corners]
        rings.append([*corners, corners[0]])
    return rings
