"""Centres of H3 cells from their bits, in integers, against the H3 library."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import h3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.cells import angle_udeg, cell_centre, cells_apart_m, is_same_or_neighbour

from .chain_helpers import Town

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)


def difference_udeg(cell: str) -> float:
    """How far our centre is from the library's, in micro-degrees of arc."""
    latitude, longitude = h3.cell_to_latlng(cell)
    ours = cell_centre(int(cell, 16))
    east = (ours[1] * 1e-6 - longitude + 180) % 360 - 180
    return 1e6 * math.hypot(ours[0] * 1e-6 - latitude, east * math.cos(math.radians(latitude)))


@given(latitudes, longitudes, st.integers(0, 10))
@settings(max_examples=1_500, deadline=None)
def test_the_centre_is_that_of_the_library(latitude: float, longitude: float, level: int) -> None:
    assert difference_udeg(h3.latlng_to_cell(latitude, longitude, level)) <= 1.0


def test_the_centre_is_right_in_every_base_cell_and_where_grids_bend() -> None:
    for base in h3.get_res0_cells():
        assert all(difference_udeg(cell) <= 1.0 for cell in h3.cell_to_children(base, 2))
    for pentagon in h3.get_pentagons(8):
        ring = h3.grid_disk(pentagon, 4)
        assert all(difference_udeg(cell) <= 1.0 for cell in ring)


@given(st.floats(-85, 85), longitudes)
@settings(max_examples=300, deadline=None)
def test_neighbours_are_told_from_the_ring_behind_them(latitude: float, longitude: float) -> None:
    cell = h3.latlng_to_cell(latitude, longitude, 8)
    numbers = [int(other, 16) for other in h3.grid_disk(cell, 1)]
    assert all(is_same_or_neighbour(int(cell, 16), other) for other in numbers)
    beyond = set(h3.grid_disk(cell, 2)) - set(h3.grid_disk(cell, 1))
    assert not any(is_same_or_neighbour(int(cell, 16), int(other, 16)) for other in beyond)


@given(st.integers(-179_999_999, 180_000_000))
def test_an_angle_comes_back(angle: int) -> None:
    radians = math.radians(angle * 1e-6)
    across, along = (round(math.ldexp(f(radians), 60)) for f in (math.sin, math.cos))
    assert abs(angle_udeg(across, along) - angle) <= 1


@cache
def spacing_m(level: int) -> int:
    path = h3.grid_path_cells(
        h3.latlng_to_cell(45.0, 7.0, level), h3.latlng_to_cell(45.05, 7.0, level)
    )
    return max(cells_apart_m(int(a, 16), int(b, 16)) for a, b in pairwise(path))


@pytest.mark.parametrize(("level", "metres"), [(8, 920), (9, 348), (10, 131)])
def test_distances_between_neighbours_are_those_of_the_grid(level: int, metres: int) -> None:
    assert abs(spacing_m(level) - metres) < 0.2 * metres


def test_a_position_that_is_not_its_cells_centre_is_refused_with_the_centre() -> None:
    """Else a witness could stand in one place for physics and be paid in another."""
    town = Town(2)
    town.join()
    cell, latitude, longitude = town.places[1]
    for moved in (latitude + 40, latitude - 40_000):
        (result,) = town.submit(town.sealed_registration(1, latitude_udeg=moved, height_m=11))
        assert result.reason == "wrong_place"
        assert all(str(value) in result.detail for value in cell_centre(cell))
    near = {"latitude_udeg": latitude + 9, "longitude_udeg": longitude - 9, "height_m": 11}
    assert town.submit(town.sealed_registration(1, **near))[0].accepted
