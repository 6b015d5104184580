"""H3 cells without the h3 package: equal to its answers everywhere on Earth."""

from __future__ import annotations

from math import asin, degrees

import h3
import hexagon_tables
import pytest

from chain.draws import digest
from hotspot import hexagon


def places(count: int) -> list[tuple[float, float]]:
    """Degrees north and east, even over the sphere."""
    found = []
    for number in range(count):
        word = digest("place", number.to_bytes(4, "big"))
        north, east = (int.from_bytes(word[at : at + 8], "big") / 2**64 for at in (0, 8))
        found.append((degrees(asin(2 * north - 1)), 360 * east - 180))
    return found


def test_cells_are_those_of_h3_all_over_the_earth() -> None:
    for number, (latitude, longitude) in enumerate(places(20_000)):
        resolution = number % 16
        wanted = int(h3.latlng_to_cell(latitude, longitude, resolution), 16)
        assert hexagon.cell_at(latitude, longitude, resolution) == wanted, (latitude, longitude)


def test_cells_around_the_twelve_corners_are_those_of_h3() -> None:
    """Where pentagons lack a sixth; and on the edges of the icosahedron between them."""
    wanted = {
        cell
        for corner in hexagon.CORNERS
        for cell in h3.grid_disk(h3.latlng_to_cell(*corner, 4), 12)
    }
    assert len(wanted) > 4_000
    for cell in wanted:
        assert hexagon.cell_at(*h3.cell_to_latlng(cell), 4) == int(cell, 16)


@pytest.mark.parametrize("resolution", range(16))
def test_centres_are_those_of_h3(resolution: int) -> None:
    for latitude, longitude in places(1_000):
        cell = h3.latlng_to_cell(latitude, longitude, resolution)
        north, east = h3.cell_to_latlng(cell)
        own_north, own_east = hexagon.centre_of(latitude, longitude, resolution)
        assert own_north == pytest.approx(north, abs=1e-9)
        assert (own_east - east + 180) % 360 == pytest.approx(180, abs=1e-7)


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(90.0, 0.0), (-90.0, 77.0), (0.0, 180.0), (0.0, -180.0)]
)
def test_poles_and_the_date_line(latitude: float, longitude: float) -> None:
    wanted = int(h3.latlng_to_cell(latitude, longitude, 9), 16)
    assert hexagon.cell_at(latitude, longitude, 9) == wanted


def test_the_tables_are_what_h3_says() -> None:
    for own, theirs in zip(hexagon.CORNERS, hexagon_tables.corners(), strict=True):
        assert own == pytest.approx(theirs, abs=1e-9)
    assert hexagon_tables.faces() == hexagon.FACES
    assert hexagon_tables.entries(2) == hexagon.TURNS
