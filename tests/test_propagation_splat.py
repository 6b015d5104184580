"""Coverage as SPLAT! computes it: its rasters of two places, and the shape of its walk."""

from __future__ import annotations

import numpy as np
import pytest

from bench import splat as bench_splat
from coverage_map.propagation.itm import Percentages, Settings, many_point_to_point
from coverage_map.propagation.splat import (
    SplatSite,
    compute_loss_raster,
    level_raster,
    perimeter,
)
from coverage_map.propagation.terrain import make_raster
from coverage_map.propagation.validity import InvalidInputError

SIDE = 1200
SETTINGS = Settings(868.0, percentages=Percentages.of_confidence(50.0, 50.0))


def level_land() -> np.ndarray:
    return np.full((SIDE, SIDE), 100.0)


def test_calgary_and_london_are_splats_own() -> None:
    if not bench_splat.FIXTURES.exists():
        pytest.skip("rasters not present: ../shared/ground-truth")
    for name in ("calgary_30km", "london_15km"):
        got = bench_splat.score(bench_splat.FIXTURES, name)
        assert got.share >= 0.998, name
        assert got.mask_mismatch == 0, name


def test_level_land_is_a_disc_that_fades_with_distance() -> None:
    land = make_raster(level_land(), 52.0 - 1 / SIDE, -1.0, 1 / SIDE, 1 / SIDE)
    site = SplatSite(51.5, -0.5, 10.0, 1.5, 0.0, 5000.0)
    loss = compute_loss_raster(land, site, SETTINGS)
    rows, cols = np.nonzero(~np.isnan(loss))
    north = (52.0 - 1 / SIDE - rows / SIDE - 51.5) * 111.2e3
    east = (-1.0 + cols / SIDE + 0.5) * 111.2e3 * np.cos(np.radians(51.5))
    away = np.hypot(north, east)
    assert away.max() < 5100.0
    assert np.sum(away < 4900.0) == pytest.approx(np.pi * 4900.0**2 / (92.7 * 57.7), rel=0.02)
    near, far = loss[rows, cols][away < 1000.0], loss[rows, cols][away > 4000.0]
    assert near.max() < far.min()


def test_a_cell_has_the_loss_of_the_path_to_the_sample_before_it() -> None:
    land = make_raster(level_land(), 52.0 - 1 / SIDE, -1.0, 1 / SIDE, 1 / SIDE)
    loss = compute_loss_raster(land, SplatSite(51.5, -0.5, 10.0, 1.5, 0.0, 3000.0), SETTINGS)
    north = loss[::-1][600 + 10, 600]
    step = 3959.0 * 1609.344 / 68755.0  # due north one sample is one row
    flat = np.full((1, 10), 3.28084 * 100.0 * 0.3048)
    want = many_point_to_point(flat, step, 10.0, 1.5, SETTINGS).loss_db[0]
    assert north == pytest.approx(want, abs=0.02)


def test_the_perimeter_has_a_radial_for_every_outer_pixel() -> None:
    land = make_raster(level_land(), 52.0 - 1 / SIDE, -1.0, 1 / SIDE, 1 / SIDE)
    edges = perimeter(land)
    assert edges.shape == (4 * SIDE, 2)
    assert edges[0] == pytest.approx((52.0, 1 / SIDE))
    with pytest.raises(ValueError, match="whole degrees"):
        perimeter(make_raster(np.zeros((10, 10)), 1.0, 0.0, 1 / SIDE, 1 / SIDE))


def test_levels_are_200_plus_dbm_and_stop_at_the_ends_of_a_byte() -> None:
    loss = np.array([[100.14, 0.0, 400.0, np.nan]])
    assert level_raster(loss, 20.0).tolist() == [[122, 222, 0, 0]]


def test_settings_out_of_bounds_are_an_error() -> None:
    land = make_raster(level_land(), 52.0 - 1 / SIDE, -1.0, 1 / SIDE, 1 / SIDE)
    with pytest.raises(InvalidInputError, match="frequency"):
        compute_loss_raster(land, SplatSite(51.5, -0.5, 10.0, 1.5), Settings(1.0))
