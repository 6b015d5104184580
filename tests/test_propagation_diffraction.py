"""Bullington diffraction: the sweep of a radial is the definition, point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.propagation import p1812_terrain
from coverage_map.propagation.diffraction import (
    MEDIAN_EARTH_RADIUS_M,
    SPEED_OF_LIGHT_M_S,
    bullington_db,
    knife_edge_db,
    sweep_db,
)
from coverage_map.propagation.profile import make_profile

HERTZ = 868e6
BOUND_DB = 1e-5


def terrain(seed: int, points: int, rough: float, hills: float) -> np.ndarray:
    """Random ground: noise on top of long hills, some of it level."""
    draw = np.random.default_rng(seed)
    ground = np.cumsum(draw.normal(0.0, rough, points))
    ground += hills * np.cumsum(np.cumsum(draw.normal(0.0, 0.05, points)))
    ground[points // 3 : points // 2] = ground[points // 3]
    return ground


def brute(ground: np.ndarray, k: int, step: float, up: float, down: float) -> float:
    path = make_profile(np.arange(k + 1) * step, ground[: k + 1])
    return bullington_db(path, up, down, HERTZ)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(3, 200),
    st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0]),
    st.sampled_from([0.0, 0.3, 2.0]),
    st.floats(1.0, 300.0),
    st.floats(1.0, 60.0),
    st.floats(10.0, 500.0),
)
def test_the_sweep_is_the_definition(
    seed: int, points: int, rough: float, hills: float, up: float, down: float, step: float
) -> None:
    ground = terrain(seed, points, rough, hills)
    got = sweep_db(ground[None, :], step, up, down, HERTZ)[0]
    want = [brute(ground, k, step, up, down) for k in range(2, points)]
    assert np.abs(got[2:] - want).max() <= BOUND_DB
    assert got[:2].tolist() == [0.0, 0.0]


def test_eight_hundred_points_of_high_and_of_low_masts() -> None:
    for up, down in ((300.0, 1.5), (8.0, 1.5), (30.0, 200.0)):
        ground = terrain(7, 800, 0.5, 0.2)
        got = sweep_db(ground[None, :], 90.0, up, down, HERTZ)[0]
        chosen = range(2, 800, 7)
        want = np.array([brute(ground, k, 90.0, up, down) for k in chosen])
        assert np.abs(got[2::7] - want).max() <= BOUND_DB
        assert (want > 0.0).any()


def test_clutter_stands_on_every_point_but_the_ends() -> None:
    ground, clutter = terrain(3, 60, 2.0, 0.3), np.full(60, 12.0)
    got = sweep_db(ground[None, :], 50.0, 20.0, 2.0, HERTZ, clutter_m=clutter[None, :])[0]
    path = make_profile(np.arange(41) * 50.0, ground[:41], clutter[:41])
    assert got[40] == pytest.approx(bullington_db(path, 20.0, 2.0, HERTZ), abs=BOUND_DB)
    assert got[40] > sweep_db(ground[None, :], 50.0, 20.0, 2.0, HERTZ)[0, 40]


def test_it_is_the_construction_of_p1812() -> None:
    ground = terrain(11, 50, 6.0, 0.5)
    d = np.arange(50) * 0.2
    # P.1812 rounds the speed of light: take the frequency at which both wavelengths agree.
    ghz = 0.2998 * HERTZ / SPEED_OF_LIGHT_M_S
    radius_km = MEDIAN_EARTH_RADIUS_M / 1e3
    hts, hrs = ground[0] + 20.0, ground[-1] + 3.0
    want = p1812_terrain.bullington_db(list(d), list(ground), hts, hrs, radius_km, ghz)
    path = make_profile(d * 1e3, ground)
    assert bullington_db(path, 20.0, 3.0, HERTZ) == pytest.approx(want, abs=1e-9)


def test_a_knife_edge_costs_what_the_report_says() -> None:
    # ITU-R P.526-15, figure 9: 6 dB grazing, nothing when clear, about 13 + 20 lg nu beyond.
    assert float(knife_edge_db(0.0)) == pytest.approx(6.03, abs=0.01)
    assert float(knife_edge_db(-0.79)) == 0.0
    assert float(knife_edge_db(10.0)) == pytest.approx(12.95 + 20.0, abs=0.1)


def test_one_edge_midway_by_hand() -> None:
    ground = np.zeros(3)
    ground[1] = 50.0
    radius = 1e15
    path = make_profile([0.0, 1000.0, 2000.0], ground)
    nu = 40.0 * math.sqrt(2.0 * 2000.0 / (SPEED_OF_LIGHT_M_S / HERTZ * 1000.0 * 1000.0))
    edge = float(knife_edge_db(nu))
    want = edge + (1.0 - math.exp(-edge / 6.0)) * 10.04
    assert bullington_db(path, 10.0, 10.0, HERTZ, radius) == pytest.approx(want)


def test_the_impossible_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than three points"):
        bullington_db(make_profile([0.0, 1.0], [0.0, 0.0]), 1.0, 1.0, HERTZ)
    with pytest.raises(ValueError, match="not finite"):
        sweep_db([[0.0, float("nan"), 0.0]], 1.0, 1.0, 1.0, HERTZ)
    with pytest.raises(ValueError, match="not positive"):
        sweep_db([[0.0, 0.0, 0.0]], 0.0, 1.0, 1.0, HERTZ)
