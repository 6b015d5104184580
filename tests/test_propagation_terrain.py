"""Terrain: readers give the heights that were written; sampling, mosaics and great circles."""

from __future__ import annotations

import gzip
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from coverage_map.propagation.io_terrain import read_mosaic, read_terrain
from coverage_map.propagation.terrain import (
    EARTH_RADIUS_M,
    Raster,
    distance_m,
    extract_profile,
    fill_voids,
    great_circle,
    heights_at_m,
    make_raster,
    midpoint_latitude_deg,
    mosaic,
    window,
)

SRTM = ROOT.parent / "shared" / "ground-truth" / "radio" / "terrain"
GEO_KEYS = (1, 1, 0, 2, 1024, 0, 1, 2, 1025, 0, 1, 2)


def hill(side: int = 1201) -> np.ndarray:
    """Heights that name their own place: 3 m a row southwards, 1 m a column eastwards."""
    r, c = np.indices((side, side))
    return (3 * r + c).astype(np.int16)


def write_tiff(path: Path, heights: np.ndarray, keys: tuple[int, ...], **options: object) -> None:
    step = 0.25
    tags = [
        (33550, "d", 3, (step, step, 0.0)),
        (33922, "d", 6, (0.0, 0.0, 0.0, 10.0, 50.0, 0.0)),
        (34735, "H", len(keys), keys),
        (42113, "s", 0, "-9999"),
    ]
    tifffile.imwrite(path, heights, extratags=tags, **options)  # type: ignore[arg-type]


def test_hgt_in_every_wrapping(tmp_path: Path) -> None:
    data = hill().astype(">i2").tobytes()
    (tmp_path / "N51W002.hgt").write_bytes(data)
    (tmp_path / "N51W002.hgt.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "N51W002.hgt.zip", "w") as archive:
        archive.writestr("N51W002.hgt", data)
    for name in ("N51W002.hgt", "N51W002.hgt.gz", "N51W002.hgt.zip"):
        got = read_terrain(tmp_path / name)
        assert (got.north_deg, got.west_deg) == (52.0, -2.0)
        assert (got.south_deg, got.east_deg) == (51.0, -1.0)
        assert (got.heights_m == hill()).all()
        assert heights_at_m(got, 52.0 - 2 / 1200, -2.0 + 5 / 1200) == pytest.approx(11.0)


def test_southern_and_eastern_names(tmp_path: Path) -> None:
    (tmp_path / "s34e018.hgt").write_bytes(hill().astype(">i2").tobytes())
    got = read_terrain(tmp_path / "s34e018.hgt")
    assert (got.south_deg, got.west_deg) == (-34.0, 18.0)


def test_sdf_counts_from_the_south_east(tmp_path: Path) -> None:
    heights = hill(1200)
    lines = ["1", "51", "0", "52", *map(str, heights[::-1, ::-1].ravel())]
    (tmp_path / "a.sdf").write_text("\n".join(lines) + "\n")
    got = read_terrain(tmp_path / "a.sdf")
    assert (got.heights_m == heights).all()
    assert (got.west_deg, got.south_deg) == (-1.0, 51.0)
    assert got.north_deg == pytest.approx(52.0 - 1 / 1200)


def test_geotiff_by_areas_and_by_points(tmp_path: Path) -> None:
    heights = np.array([[1.0, 2.0, 3.0], [4.0, -9999.0, 6.0], [7.0, 8.0, 9.0]], np.float32)
    write_tiff(tmp_path / "points.tif", heights, GEO_KEYS)
    write_tiff(tmp_path / "areas.tif", heights, (*GEO_KEYS[:-1], 1), compression="zlib")
    points, areas = read_terrain(tmp_path / "points.tif"), read_terrain(tmp_path / "areas.tif")
    assert (points.north_deg, points.west_deg) == (50.0, 10.0)
    assert (areas.north_deg, areas.west_deg) == (49.875, 10.125)
    assert points.heights_m[1, 1] == pytest.approx((2.0 + 8.0 + 4.0 + 6.0) / 4.0)  # the void
    assert (points.heights_m[0] == [1.0, 2.0, 3.0]).all()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("N51W002.hgt", b"short", "5 bytes"),
        ("nowhere.hgt", b"", "no corner"),
        ("x.sdf", b"1 2 3 4 5", "1 heights"),
        ("x.sdf", b"one two", "not a list of integers"),
        ("x.sdf.gz", b"not gzip", "can't be read"),
        ("x.tif", b"not a tiff", "can't be decoded"),
        ("x.png", b"", "unknown kind"),
    ],
)
def test_a_broken_tile_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_terrain(tmp_path / name)


def test_projected_coordinates_are_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "utm.tif", np.zeros((3, 3), np.float32), (1, 1, 0, 1, 1024, 0, 1, 1))
    with pytest.raises(UserError, match="projected"):
        read_terrain(tmp_path / "utm.tif")


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no terrain tiles"):
        read_mosaic(tmp_path)


def test_srtm_tiles_join_seamlessly_across_greenwich() -> None:
    if not SRTM.exists():
        pytest.skip("terrain not present: ../shared/ground-truth")
    tiles = [read_terrain(SRTM / f"51_52_{side}.sdf.gz") for side in ("0_1", "359_0")]
    joined = mosaic(tiles)
    assert joined.heights_m.shape == (1200, 2400)
    assert (joined.west_deg, joined.south_deg) == (-1.0, 51.0)
    across = heights_at_m(joined, np.full(40, 51.4), np.linspace(-0.01, 0.01, 40))
    assert np.abs(np.diff(across)).max() < 20.0
    assert mosaic(tiles[::-1]).heights_m.shape == (1200, 2400)


def test_tiles_of_different_grids_are_refused() -> None:
    one = make_raster(np.zeros((3, 3)), 50.0, 0.0, 0.1, 0.1)
    with pytest.raises(ValueError, match="spacings differ"):
        mosaic([one, make_raster(np.zeros((3, 3)), 50.0, 0.3, 0.2, 0.2)])
    with pytest.raises(ValueError, match="don't coincide"):
        mosaic([one, make_raster(np.zeros((3, 3)), 50.05, 0.3, 0.1, 0.1)])


def test_a_window_cuts_and_extends() -> None:
    grid = make_raster(np.arange(16.0).reshape(4, 4), 10.0, 20.0, 1.0, 1.0)
    cut = window(grid, 9.0, 21.0, (2, 2))
    assert cut.heights_m.tolist() == [[5.0, 6.0], [9.0, 10.0]]
    wide = window(grid, 11.0, 19.0, (3, 3), -1.0)
    assert wide.heights_m.tolist() == [[-1.0, -1.0, -1.0], [-1.0, 0.0, 1.0], [-1.0, 4.0, 5.0]]


PLANE = make_raster(np.add.outer(-2.0 * np.arange(21), 5.0 * np.arange(31)), 10.0, 20.0, 0.1, 0.1)


@given(st.floats(8.0, 10.0), st.floats(20.0, 23.0))
def test_bilinear_heights_of_a_plane_are_its_own(lat: float, lon: float) -> None:
    want = -20.0 * (10.0 - lat) + 50.0 * (lon - 20.0)
    assert float(heights_at_m(PLANE, lat, lon)) == pytest.approx(want, abs=1e-4)
    assert float(heights_at_m(PLANE, lat, lon - 360.0)) == pytest.approx(want, abs=1e-4)


def test_nearest_takes_the_grid_point_and_outside_is_nothing() -> None:
    assert float(heights_at_m(PLANE, 9.96, 20.04, nearest=True)) == 0.0
    assert float(heights_at_m(PLANE, 9.94, 20.06, nearest=True)) == 3.0
    for lat, lon in ((10.06, 21.0), (9.0, 19.94), (7.9, 21.0), (9.0, 23.06)):
        assert math.isnan(float(heights_at_m(PLANE, lat, lon)))
        assert math.isnan(float(heights_at_m(PLANE, lat, lon, nearest=True)))


def test_voids_are_filled_from_their_edges() -> None:
    heights = np.full((5, 5), 10.0, np.float32)
    heights[1:4, 1:4] = np.nan
    assert (fill_voids(make_raster(heights, 5.0, 0.0, 1.0, 1.0)).heights_m == 10.0).all()
    empty = make_raster(np.full((3, 3), -32768.0), 5.0, 0.0, 1.0, 1.0)
    assert (fill_voids(empty).heights_m == 0.0).all()


places = st.tuples(st.floats(-85.0, 85.0), st.floats(-179.0, 179.0))


@settings(max_examples=100)
@given(places, places)
def test_great_circle_points_are_evenly_spaced(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    length = float(distance_m(*a, *b))
    if not 1.0 < length < 0.99 * math.pi * EARTH_RADIUS_M:
        return
    lat, lon = great_circle(a, b, 9)
    legs = distance_m(lat[:-1], lon[:-1], lat[1:], lon[1:])
    assert legs == pytest.approx(np.full(8, length / 8.0), rel=1e-6, abs=1e-3)
    assert (lat[0], lat[-1]) == pytest.approx((a[0], b[0]), abs=1e-9)
    assert float(distance_m(*a, lat[4], lon[4])) == pytest.approx(length / 2.0, rel=1e-6)


def test_known_distances() -> None:
    quarter = math.pi / 2.0 * EARTH_RADIUS_M
    assert float(distance_m(0.0, 0.0, 90.0, 0.0)) == pytest.approx(quarter)
    assert midpoint_latitude_deg((40.0, -60.0), (40.0, 60.0)) > 55.0


def test_a_profile_is_the_terrain_between_two_places() -> None:
    path = extract_profile(PLANE, (9.5, 21.0), (9.5, 22.0), 1000.0)
    assert path.distance_m[-1] == pytest.approx(float(distance_m(9.5, 21.0, 9.5, 22.0)))
    assert np.diff(path.distance_m).max() <= 1000.0
    assert path.ground_m[0] == pytest.approx(40.0, abs=1e-3)
    assert path.ground_m[-1] == pytest.approx(90.0, abs=1e-3)
    back = extract_profile(PLANE, (9.5, 22.0), (9.5, 21.0), 1000.0)
    assert back.ground_m[::-1] == pytest.approx(path.ground_m, abs=1e-6)


def test_a_profile_that_leaves_the_terrain_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the terrain"):
        extract_profile(PLANE, (9.5, 21.0), (9.5, 24.0))
    with pytest.raises(ValueError, match="two different places"):
        extract_profile(PLANE, (9.5, 21.0), (9.5, 21.0))


def test_a_raster_that_is_no_grid_is_refused() -> None:
    for bad in (
        lambda: make_raster(np.zeros(4), 0.0, 0.0, 0.1, 0.1),
        lambda: make_raster(np.zeros((3, 3)), 0.0, 0.0, 0.0, 0.1),
        lambda: make_raster(np.zeros((3, 3)), 91.0, 0.0, 0.1, 0.1),
    ):
        with pytest.raises(ValueError, match="; give"):
            bad()
    assert isinstance(PLANE, Raster)
