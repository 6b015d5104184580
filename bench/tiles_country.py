"""A made-up country of observations, as large as wanted, for bench.tiles.

Places are drawn under random cells of resolution 5, some far busier than others, like towns; three
in ten observations are of hotspots at resolution 10, the rest of people at 9. Hotspots and devices
live near where they are met, and a signal depends on hotspot and cell with noise on top, so that
neighbours are alike no more than that.
"""

from __future__ import annotations

from collections.abc import Iterator

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import resolutions
from coverage_map.store.aggregates import Rows

PARENTS = 3_000
CHUNK = 2_000_000
PER_PARENT_HOTSPOTS, PER_PARENT_DEVICES = 100, 400


def parents(seed: int, count: int = PARENTS) -> NDArray[np.uint64]:
    """Cells of resolution 5 around a hundred towns, none of them a pentagon."""
    draws = np.random.default_rng(seed)
    found: set[int] = set()
    while len(found) < count:
        latitude, longitude = float(draws.uniform(-50, 60)), float(draws.uniform(-170, 170))
        around = h3.grid_disk(h3.latlng_to_cell(latitude, longitude, 5), 3)
        found |= {cell for cell in around if not h3.is_pentagon(cell)}
    return np.array(sorted(found)[:count], np.uint64)


def below(cells: NDArray[np.uint64], steps: int, place: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The descendant of each cell whose digits in base 7 are `place`."""
    own = resolutions(cells)
    found = cells & ~np.uint64(0xF << 52) | (own + steps).astype(np.uint64) << np.uint64(52)
    for step in range(steps, 0, -1):
        shift = (3 * (15 - own - step)).astype(np.uint64)
        digit = (place % 7).astype(np.uint64)
        found = found & ~(np.uint64(7) << shift) | digit << shift
        place = place // 7
    return np.asarray(found, np.uint64)


def chunks(count: int, seed: int, epochs: tuple[int, int] = (0, 5_000)) -> Iterator[Rows]:
    """Observations in chunks; the same seed gives the same ones."""
    homes = parents(1)
    busy = np.random.default_rng(2).pareto(1.2, len(homes)) + 0.3
    share = np.cumsum(busy / busy.sum())
    for at in range(0, count, CHUNK):
        draws = np.random.default_rng((seed, at))
        size = min(CHUNK, count - at)
        home = np.searchsorted(share, draws.random(size)).clip(max=len(homes) - 1)
        yield make(homes, home, draws, size, epochs)


def make(
    homes: NDArray[np.uint64],
    home: NDArray[np.intp],
    draws: np.random.Generator,
    size: int,
    epochs: tuple[int, int],
) -> Rows:
    """One chunk."""
    fine = draws.random(size) < 0.3
    place = (draws.beta(0.8, 1.2, size) * 7**4).astype(np.int64)
    cells = below(homes[home], 4, place)
    cells[fine] = below(cells[fine], 1, draws.integers(0, 7, int(fine.sum())))
    near = home * PER_PARENT_HOTSPOTS + place * PER_PARENT_HOTSPOTS // 7**4
    hotspot = near + draws.integers(0, 5, size)
    device = home * PER_PARENT_DEVICES + place * PER_PARENT_DEVICES // 7**4
    device += draws.integers(0, 12, size)
    mixed = (cells >> np.uint64(15)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= hotspot.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    typical = -70.0 - 30.0 * (mixed >> np.uint64(40)).astype(np.float64) / (1 << 24)
    signal = np.round(typical + draws.normal(0, 3, size)) * 100
    epoch = draws.integers(*epochs, size)
    return Rows(
        cells,
        hotspot.astype(np.uint32),
        device.astype(np.uint32),
        signal.astype(np.int16),
        epoch.astype(np.uint32),
    )
