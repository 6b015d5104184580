"""Observations of a small made-up country, and the same answers by plain Python."""

from __future__ import annotations

from collections import defaultdict

import h3.api.basic_int as h3
import numpy as np

from coverage_map.store.aggregates import Rows


def make_rows(
    count: int, seed: int, precisions: tuple[int, ...] = (9,), spread: float = 0.3
) -> Rows:
    """Observations around a few towns; cells of the given resolutions."""
    draws = np.random.default_rng(seed)
    towns = draws.normal((47.0, 8.0), spread, (7, 2))
    places = towns[draws.integers(0, 7, count)] + draws.normal(0, 0.01, (count, 2))
    levels = draws.choice(precisions, count)
    cells = [h3.latlng_to_cell(a, b, int(r)) for (a, b), r in zip(places, levels, strict=True)]
    return Rows(
        np.array(cells, np.uint64),
        draws.integers(0, 40, count).astype(np.uint32),
        draws.integers(0, 90, count).astype(np.uint32),
        draws.integers(-12_000, -4_000, count).astype(np.int16),
        draws.integers(0, 1_000, count).astype(np.uint32),
    )


def by_cell(rows: Rows, resolution: int) -> dict[int, list[int]]:
    """Row numbers per cell of a resolution, by h3 itself; rows that are coarser are left out."""
    found: dict[int, list[int]] = defaultdict(list)
    for number, cell in enumerate(rows.cell.tolist()):
        if h3.get_resolution(cell) >= resolution:
            found[h3.cell_to_parent(cell, resolution)].append(number)
    return dict(sorted(found.items()))
