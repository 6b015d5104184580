from __future__ import annotations

import h3
from hypothesis import given
from hypothesis import strategies as st

from chain import envelope
from chain.geo import cell_parent, cell_resolution, distance_m, is_cell
from chain.rules.pairs import CELL_RADIUS_M
from coverage_map.propagation import envelope as generator

latitudes = st.integers(-70_000_000, 70_000_000)
longitudes = st.integers(-180_000_000, 180_000_000)
offsets = st.integers(-300_000, 300_000)


@given(latitudes, longitudes, offsets, offsets)
def test_distance_is_the_great_circle_within_its_stated_error(
    latitude: int, longitude: int, north: int, east: int
) -> None:
    there = (latitude + north, (longitude + east + 180_000_000) % 360_000_000 - 180_000_000)
    points = [(lat / 1e6, lon / 1e6) for lat, lon in ((latitude, longitude), there)]
    exact = h3.great_circle_distance(*points, unit="m")
    if exact < 50_000:
        assert abs(distance_m(latitude, longitude, *there) - exact) <= 0.001 * exact + 1.0


@given(latitudes, longitudes, latitudes, longitudes)
def test_distance_is_symmetric(lat1: int, lon1: int, lat2: int, lon2: int) -> None:
    assert distance_m(lat1, lon1, lat2, lon2) == distance_m(lat2, lon2, lat1, lon1)


def test_distance_at_the_poles_and_the_date_line() -> None:
    assert distance_m(90_000_000, 0, 90_000_000, 90_000_000) == 0
    assert distance_m(0, 179_999_999, 0, -179_999_999) == 0
    assert 111_190 < distance_m(0, 179_500_000, 0, -179_500_000) < 111_200


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 15), st.integers(0, 15))
def test_parents_equal_those_of_h3(
    latitude: float, longitude: float, fine: int, coarse: int
) -> None:
    cell = h3.latlng_to_cell(latitude, longitude, fine)
    number = int(cell, 16)
    assert is_cell(number)
    assert cell_resolution(number) == fine
    wanted = h3.cell_to_parent(cell, coarse) if coarse <= fine else cell
    assert cell_parent(number, coarse) == int(wanted, 16)


def test_pentagons_and_their_children_equal_those_of_h3() -> None:
    for resolution in range(4):
        for pentagon in h3.get_pentagons(resolution):
            assert is_cell(int(pentagon, 16))
            for child in h3.cell_to_children(pentagon, resolution + 1):
                assert is_cell(int(child, 16))
                assert cell_parent(int(child, 16), resolution) == int(pentagon, 16)


@given(st.integers(0, (1 << 64) - 1))
def test_cells_are_valid_where_h3_says_so(number: int) -> None:
    assert is_cell(number) == h3.is_valid_cell(f"{number:x}")


@given(
    st.integers(0, 121), st.integers(0, 15), st.lists(st.integers(0, 7), min_size=15, max_size=15)
)
def test_nearly_valid_cells_are_judged_like_h3(
    base: int, resolution: int, digits: list[int]
) -> None:
    number = 1 << 59 | resolution << 52 | base << 45
    for level, digit in enumerate(digits, start=1):
        shown = digit if level <= resolution else 7
        number |= shown << 3 * (15 - level)
    assert is_cell(number) == h3.is_valid_cell(f"{number:x}")


def test_cell_radius_covers_the_whole_cell_everywhere() -> None:
    for resolution, radius_m in CELL_RADIUS_M.items():
        for step in range(0, 360, 7):
            latitude = (step * 37 % 170) - 85
            cell = h3.latlng_to_cell(latitude, step - 180, resolution)
            centre = h3.cell_to_latlng(cell)
            for corner in h3.cell_to_boundary(cell):
                assert h3.great_circle_distance(centre, corner, unit="m") <= radius_m


def test_the_envelope_is_what_its_generator_writes() -> None:
    table = generator.table()
    assert table["SMALLEST_LOSS_CDB"] == envelope.SMALLEST_LOSS_CDB
    assert table["LARGEST_LOSS_CDB"] == envelope.LARGEST_LOSS_CDB


@given(st.integers(1, 131_071))
def test_a_distance_lies_in_its_bucket(distance: int) -> None:
    bucket = envelope.bucket_of(distance)
    assert generator.bucket_edge_m(bucket) <= distance < generator.bucket_edge_m(bucket + 1)


@given(st.integers(0, 2), st.integers(1, 200_000), st.integers(0, 3_000))
def test_bounds_widen_with_what_is_not_known(band: int, distance: int, blur: int) -> None:
    least, most = envelope.loss_bounds_cdb(band, distance, distance)
    wider = envelope.loss_bounds_cdb(band, max(1, distance - blur), distance + blur)
    assert wider[0] <= least < most <= wider[1]


def test_every_frequency_has_at_most_one_band() -> None:
    assert [envelope.band_of(mhz) for mhz in (868, 2_437, 5_180, 5_925, 7_125)] == [
        *(None, 0, 1, 2, None)
    ]
