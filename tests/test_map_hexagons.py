"""Corners and centres from the lattice, held against h3 over the whole earth."""

from __future__ import annotations

import h3.api.basic_int as h3
import numpy as np
import pytest

from coverage_map.hexagons import boundaries, centres

NANODEGREE = 1e-9


def sample(resolution: int) -> np.ndarray:
    """Cells from all over the earth, and the neighbourhood of every pentagon."""
    if resolution < 2:
        return np.array(
            sorted(c for b in h3.get_res0_cells() for c in h3.cell_to_children(b, resolution)),
            np.uint64,
        )
    draws = np.random.default_rng(resolution)
    latitude = np.degrees(np.arcsin(draws.uniform(-1, 1, 800)))
    longitude = draws.uniform(-180, 180, 800)
    found = {h3.latlng_to_cell(a, b, resolution) for a, b in zip(latitude, longitude, strict=True)}
    for pentagon in h3.get_pentagons(resolution):
        found |= set(h3.grid_disk(pentagon, 3))
    return np.array(sorted(found), np.uint64)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of (longitude, latitude), with the sea of 360 degrees taken out."""
    across = np.abs((a[:, 0] - b[:, 0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(a[:, 1]))
    return float(max(across.max(), np.abs(a[:, 1] - b[:, 1]).max()))


@pytest.mark.parametrize("resolution", [0, 1, 2, 3, 5, 8, 9, 10, 11, 15])
def test_centres_are_h3s(resolution: int) -> None:
    cells = sample(resolution)
    theirs = np.array([h3.cell_to_latlng(int(cell)) for cell in cells])
    assert apart(centres(cells)[:, ::-1], theirs[:, ::-1]) < NANODEGREE


@pytest.mark.parametrize("resolution", [0, 1, 2, 3, 5, 8, 9, 10, 11])
def test_corners_are_h3s(resolution: int) -> None:
    cells = sample(resolution)
    found = boundaries(cells)
    assert len(found.others) < len(cells)
    for row, cell in enumerate(cells.tolist()):
        theirs = np.array(h3.cell_to_boundary(cell))[:, ::-1]
        ours = found.others.get(row, np.stack((found.x[row], found.y[row]), axis=1))
        assert len(ours) == len(theirs)
        # h3 may begin with another corner; the order is the same.
        turns = [apart(np.roll(ours, turn, axis=0), theirs) for turn in range(len(ours))]
        assert min(turns) < NANODEGREE, hex(cell)


def test_web_mercator_is_the_projection_of_the_corners() -> None:
    cells = sample(9)
    plain, square = boundaries(cells), boundaries(cells, mercator=True)
    rows = [row for row in range(len(cells)) if row not in plain.others]
    latitude = np.radians(plain.y[rows])
    down = 0.5 - np.log(np.tan(np.pi / 4 + latitude / 2)) / (2 * np.pi)
    assert np.abs(square.y[rows] - down).max() < 1e-12
    assert np.abs(square.x[rows] - plain.x[rows] / 360 - 0.5).max() < 1e-12


def test_no_cell_at_all_is_fine() -> None:
    assert centres(np.empty(0, np.uint64)).shape == (0, 2)
    assert boundaries(np.empty(0, np.uint64)).x.shape == (0, 6)
