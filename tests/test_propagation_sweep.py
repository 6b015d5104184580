"""Area coverage by radial sweep: each cell has the loss of its own path."""

from __future__ import annotations

from dataclasses import replace

import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coverage_map.propagation import itm_sweep, p1812_area, p1812_batch
from coverage_map.propagation.area import (
    CoverageGrid,
    Model,
    Transmitter,
    compute_coverage,
    h3_losses,
)
from coverage_map.propagation.diffraction import SPEED_OF_LIGHT_M_S, bullington_db
from coverage_map.propagation.itm import Settings, many_point_to_point, point_to_point, prepare
from coverage_map.propagation.p1812 import Link1812, compute_loss
from coverage_map.propagation.profile import Profile, make_profile
from coverage_map.propagation.terrain import (
    Raster,
    distance_m,
    extract_profile,
    make_raster,
    midpoint_latitude_deg,
)

HERTZ = 868e6
SITE = (51.5, -0.12)
STEP = 1.0 / 1200.0
MAST_M, PHONE_M = 25.0, 1.5


def hills(seed: int = 1) -> Raster:
    """Smooth random hills about the site, 30 km square, one grid point every 3 arcseconds."""
    draw = np.random.default_rng(seed)
    r, c = np.indices((300, 500)) / 40.0
    heights = np.full(r.shape, 120.0)
    for _ in range(12):
        fr, fc, phase = (*draw.uniform(-2.0, 2.0, 2).tolist(), draw.uniform(0.0, 6.0))
        heights += draw.uniform(5.0, 25.0) * np.sin(fr * r + fc * c + phase)
    return make_raster(heights, SITE[0] + 150 * STEP, SITE[1] - 250 * STEP, STEP, STEP)


TERRAIN = hills()
TRANSMITTER = Transmitter(*SITE, HERTZ, MAST_M)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(3, 100),
    st.sampled_from([0.0, 0.2, 2.0, 15.0]),
    st.floats(1.0, 300.0),
    st.floats(1.0, 50.0),
    st.sampled_from([50.0, 10.0, 1.0]),
    st.booleans(),
)
def test_p1812_along_a_radial_is_p1812_of_every_path(
    seed: int, points: int, rough: float, up: float, down: float, percent: float, clutter: bool
) -> None:
    draw = np.random.default_rng(seed)
    ground = 200.0 + np.cumsum(draw.normal(0.0, rough, points))
    cover = draw.uniform(0.0, 20.0, points) * clutter
    link = Link1812(HERTZ, up, down, 50.0, percent, location_percent=70.0, location_sigma_db=5.0)
    row = p1812_batch.make_rows([link], np.array([1.0]))[0]
    out = np.zeros(points)
    p1812_area.sweep_radial(
        ground,
        ground + cover,
        not clutter,
        np.full(points, 50.0),
        np.ones(points, bool),
        0.075,
        row,
        p1812_area.new_work(points, len(row)),
        out,
    )
    for k in range(2, points, 5):
        path = make_profile(np.arange(k + 1) * 75.0, ground[: k + 1], cover[: k + 1])
        assert out[k] == pytest.approx(compute_loss(path, link).loss_db, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(3, 330),
    st.sampled_from([0.0, 0.2, 2.0, 15.0]),
    st.floats(1.0, 300.0),
    st.sampled_from([0.0, 3.0]),
    st.booleans(),
)
@example(195, 81, 2.0, 53.0, 3.0, False)  # one horizon for both, and 80 steps: a count on its edge
def test_itm_along_a_radial_is_itm_of_every_path(
    seed: int, points: int, rough: float, up: float, clutter: float, whole: bool
) -> None:
    draw = np.random.default_rng(seed)
    ground = 200.0 + np.cumsum(draw.normal(0.0, rough, points))
    ground = np.round(ground) if whole else ground  # terrain files hold whole metres: ties
    top = ground + clutter
    top[0] = ground[0]
    radio = prepare(Settings(HERTZ / 1e6))
    radial = itm_sweep.new_radial(points)
    itm_sweep.open_radial(radial, top, 92.3, up)
    for k in range(2, points, 3):
        got = itm_sweep.link_to(radio, radial, k, ground[k], 92.3, (up, 1.5))
        path = np.concatenate([top[:k], ground[k : k + 1]])
        want = many_point_to_point(path[None, :], 92.3, up, 1.5, Settings(HERTZ / 1e6))
        assert got.loss_db == pytest.approx(want.loss_db[0], abs=1e-6)


def loss_of(model: str, path: Profile, latitude: float) -> float:
    if model == "p1812":
        return compute_loss(path, Link1812(HERTZ, MAST_M, PHONE_M, latitude)).loss_db
    if model == "itm":
        top = path.ground_m + path.clutter_m
        top[[0, -1]] = path.ground_m[[0, -1]]
        step = float(path.distance_m[1])
        return point_to_point(top, step, MAST_M, PHONE_M, Settings(HERTZ / 1e6)).loss_db
    rise = path.ground_m[0] + MAST_M - path.ground_m[-1] - PHONE_M
    slant = np.hypot(path.distance_m[-1], rise)
    free = 20.0 * np.log10(4.0 * np.pi * slant * HERTZ / SPEED_OF_LIGHT_M_S)
    extra = bullington_db(path, MAST_M, PHONE_M, HERTZ) if model == "bullington" else 0.0
    return float(free) + extra


def place(grid: CoverageGrid, row: int, col: int) -> tuple[float, float]:
    return grid.north_deg - row * grid.step_lat_deg, grid.west_deg + col * grid.step_lon_deg


@pytest.mark.parametrize("model", ["free_space", "bullington", "p1812", "itm"])
def test_cells_have_the_loss_of_their_path(model: Model) -> None:
    grid = compute_coverage(TRANSMITTER, TERRAIN, model, 8000.0, 60.0, PHONE_M)
    draw = np.random.default_rng(5)
    apart = []
    for row, col in draw.integers(0, grid.loss_db.shape[0], (120, 2)).tolist():
        if np.isnan(grid.loss_db[row, col]):
            continue
        there = place(grid, row, col)
        if float(distance_m(*SITE, *there)) < 500.0:
            continue
        path = extract_profile(TERRAIN, SITE, there, 60.0)
        want = loss_of(str(model), path, midpoint_latitude_deg(SITE, there))
        apart.append(abs(want - grid.loss_db[row, col]))
    assert len(apart) > 60
    # The sample is up to 0.7 cell from the cell's centre: on smooth hills that is a fraction of
    # a dB, save where it crosses a shadow's edge or one of ITM's thresholds.
    assert np.median(apart) < 0.25
    assert np.quantile(apart, 0.9) < 1.5


def test_a_sample_on_a_radial_is_the_path_itself() -> None:
    grid = compute_coverage(TRANSMITTER, TERRAIN, "p1812", 6000.0, 60.0, PHONE_M)
    half = grid.loss_db.shape[0] // 2
    row = half - 70  # due north, 70 cells of 60 m: sample 70 of radial 0
    there = place(grid, row, half)
    path = extract_profile(TERRAIN, SITE, there, 60.0 * (1.0 + 1e-9))
    assert len(path.distance_m) == 71
    want = loss_of("p1812", path, midpoint_latitude_deg(SITE, there))
    assert float(grid.loss_db[row, half]) == pytest.approx(want, abs=2e-3)


def test_the_disc_is_whole_and_nothing_is_outside() -> None:
    grid = compute_coverage(TRANSMITTER, TERRAIN, "bullington", 5000.0, 50.0)
    rows, cols = np.indices(grid.loss_db.shape)
    lat, lon = grid.north_deg - rows * grid.step_lat_deg, grid.west_deg + cols * grid.step_lon_deg
    away = distance_m(*SITE, lat, lon)
    assert (np.isfinite(grid.loss_db) == (away <= 5000.0)).all()
    assert grid.received_dbm(20.0)[cols == 100].shape == (grid.loss_db.shape[0],)
    assert np.nanmax(grid.received_dbm(20.0, 2.0) + grid.loss_db) == pytest.approx(22.0)


def test_beyond_the_terrain_there_is_no_guess() -> None:
    grid = compute_coverage(TRANSMITTER, TERRAIN, "p1812", 20e3, 200.0)
    half = grid.loss_db.shape[0] // 2
    assert np.isnan(grid.loss_db[half - 90, half])  # 18 km north, the terrain ends at 13.9 km
    assert np.isfinite(grid.loss_db[half - 60, half])


def test_clutter_costs_and_its_ends_are_clear() -> None:
    woods = replace(TERRAIN, heights_m=np.full_like(TERRAIN.heights_m, 15.0))
    for model in ("bullington", "p1812", "itm"):
        bare = compute_coverage(TRANSMITTER, TERRAIN, model, 4000.0, 100.0)  # type: ignore[arg-type]
        under = compute_coverage(TRANSMITTER, TERRAIN, model, 4000.0, 100.0, clutter=woods)  # type: ignore[arg-type]
        assert np.nanmean(under.loss_db - bare.loss_db) > 5.0


def test_models_given_as_records_keep_their_percentages() -> None:
    rare = compute_coverage(TRANSMITTER, TERRAIN, Link1812(1.0, 1.0, 1.0, 0.0, 1.0), 4e3, 100.0)
    half = compute_coverage(TRANSMITTER, TERRAIN, "p1812", 4e3, 100.0)
    assert np.nanmean(half.loss_db - rare.loss_db) > 0.05
    north = compute_coverage(TRANSMITTER, TERRAIN, Settings(1.0, climate=1), 4e3, 100.0)
    assert np.isfinite(north.loss_db).any()


def test_h3_cells_have_the_median_of_their_places() -> None:
    grid = compute_coverage(TRANSMITTER, TERRAIN, "bullington", 3000.0, 50.0)
    cells = h3_losses(grid, 9)
    assert list(cells) == sorted(cells)
    home = h3.latlng_to_cell(*SITE, 9)
    far = h3.latlng_to_cell(SITE[0] + 0.025, SITE[1], 9)
    assert cells[home] < cells[far]
    inside = h3.grid_disk(home, 5)
    assert set(inside) <= set(cells)
    with pytest.raises(ValueError, match="resolution"):
        h3_losses(grid, 16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resolution_m": 0.0}, "resolution_m"),
        ({"radius_m": 1e9, "resolution_m": 1.0}, "samples"),
        ({"transmitter": replace(TRANSMITTER, latitude_deg=60.0)}, "outside the terrain"),
        ({"transmitter": replace(TRANSMITTER, height_m=0.0)}, "transmitter"),
        ({"clutter": make_raster(np.zeros((3, 3)), 50.0, 0.0, 1.0, 1.0)}, "clutter"),
    ],
)
def test_the_impossible_is_refused(change: dict[str, object], words: str) -> None:
    given = {
        "transmitter": TRANSMITTER,
        "terrain": TERRAIN,
        "model": "p1812",
        "radius_m": 1000.0,
        "resolution_m": 100.0,
    }
    with pytest.raises(ValueError, match=words):
        compute_coverage(**(given | change))  # type: ignore[arg-type]
