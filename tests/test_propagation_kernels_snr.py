"""The compiled path from positions to SNR against plain NumPy; shadowing as a field by position."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.propagation import pathloss, seeded, shadow_field, statistical
from coverage_map.propagation.link_budget import noise_floor_dbm
from coverage_map.propagation.validity import InvalidInputError

FIELD = shadow_field.make_field(11, 13.0, size=512, steps_per_decorrelation=12)
FORMULAS = {
    "free_space": pathloss.free_space_db,
    "log_distance": pathloss.log_distance_db,
    "two_ray": pathloss.two_ray_db,
    "umi_los": pathloss.umi_los_db,
    "umi_nlos": pathloss.umi_nlos_db,
    "uma_los": pathloss.uma_los_db,
    "uma_nlos": pathloss.uma_nlos_db,
    "inh_los": pathloss.inh_los_db,
    "inh_nlos": pathloss.inh_nlos_db,
}


@settings(deadline=None)  # the first call compiles
@given(st.floats(1e-300, 1e300))
def test_the_kernels_logarithm_is_the_librarys(value: float) -> None:
    from coverage_map.propagation.statistical_kernels import log2

    assert log2(value) == pytest.approx(math.log2(value), rel=4e-16, abs=4e-16)


def test_every_model_has_a_law() -> None:
    assert set(FORMULAS) == {*statistical.LAWS, *statistical.MODELS}


@given(
    st.sampled_from(sorted(FORMULAS)),
    st.floats(0.5e9, 60e9),
    st.floats(0.0, 30_000.0),
    st.floats(1.5, 12.0),
)
def test_a_law_is_its_formula(
    model: str, frequency_hz: float, distance_m: float, terminal_m: float
) -> None:
    law = statistical.law_of(model, frequency_hz, 14.0, terminal_m)
    heights = () if model in ("free_space", "log_distance") else (14.0, terminal_m)
    expected = FORMULAS[model](distance_m, frequency_hz, *heights)
    assert statistical.loss_db(law, distance_m) == pytest.approx(float(expected), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FORMULAS)),
    st.integers(0, 2**32),
    st.sampled_from([1, 511, 512, 513, 1500]),
    st.integers(0, 1000),
)
def test_the_kernel_is_the_reference(model: str, seed: int, count: int, number: int) -> None:
    x, y = np.random.default_rng(seed).uniform(-20_000.0, 20_000.0, (2, count))
    law = statistical.law_of(model, 2.4e9)
    got = statistical.snr_db((50.0, -7.0), x, y, law, FIELD, 7.82, 20.0, transmitter=number)
    loss = statistical.loss_db(law, np.hypot(x - 50.0, y + 7.0))
    shadow = 7.82 * FIELD.at(x, y, number)
    expected = 20.0 - loss - shadow - noise_floor_dbm()
    np.testing.assert_allclose(got, expected, rtol=0.0, atol=1e-9)


def test_a_matrix_is_its_rows() -> None:
    places = np.random.default_rng(2).uniform(0.0, 500.0, (7, 2))
    law = statistical.law_of("umi_nlos", 5.2e9)
    matrix = statistical.snr_matrix_db(places[:3], places, law, FIELD, 4.0, [20.0, 17.0, 14.0])
    row = statistical.snr_db(
        tuple(places[1]), places[:, 0], places[:, 1], law, FIELD, 4.0, 17.0, transmitter=1
    )
    assert np.array_equal(matrix[1], row)


def test_the_impossible_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="model"):
        statistical.law_of("rma_los", 1e9)
    with pytest.raises(InvalidInputError, match="frequency_hz"):
        statistical.law_of("umi_los", 0.0)
    law = statistical.law_of("umi_los", 1e9)
    with pytest.raises(InvalidInputError, match="x_m"):
        statistical.snr_db((0.0, 0.0), np.zeros(3), np.zeros(4), law, FIELD, 4.0, 20.0)
    with pytest.raises(InvalidInputError, match="size"):
        shadow_field.make_field(1, 13.0, size=500)
    with pytest.raises(InvalidInputError, match="decorrelation_m"):
        shadow_field.make_field(1, 0.0)
    with pytest.raises(InvalidInputError, match="name"):
        shadow_field.scenario_field(1, "moon")


def test_a_field_is_its_seed() -> None:
    again = shadow_field.make_field(11, 13.0, size=512, steps_per_decorrelation=12)
    assert np.array_equal(FIELD.values, again.values)
    assert not np.array_equal(FIELD.values, shadow_field.make_field(12, 13.0, size=512).values)


def test_a_field_has_unit_variance_and_is_normal() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate(
        [FIELD.at(*rng.uniform(0.0, 550.0, (2, 2000)), number) for number in range(40)]
    )
    assert values.mean() == pytest.approx(0.0, abs=0.1)
    assert values.std() == pytest.approx(1.0, abs=0.05)
    assert (np.abs(values) < 1.0).mean() == pytest.approx(0.683, abs=0.03)


@pytest.mark.parametrize("lag_m", [1.0, 4.0, 13.0, 26.0, 80.0])
def test_correlation_falls_as_38901_says(lag_m: float) -> None:
    products, squares = [], []
    for seed in range(6):
        field = shadow_field.make_field(seed, 13.0, size=512, steps_per_decorrelation=12)
        rng = np.random.default_rng(seed)
        x, y, turn = rng.uniform(0.0, 550.0, (3, 20_000))
        here = field.at(x, y)
        there = field.at(x + lag_m * np.cos(turn), y + lag_m * np.sin(turn))
        products.append((here * there).mean())
        squares.append((here * here).mean())
    correlation = np.mean(products) / np.mean(squares)
    assert correlation == pytest.approx(math.exp(-lag_m / 13.0), abs=0.06)


def test_receivers_side_by_side_agree_and_transmitters_do_not() -> None:
    x, y = np.random.default_rng(5).uniform(0.0, 550.0, (2, 20_000))
    here = FIELD.at(x, y, 1)
    assert np.abs(FIELD.at(x + 0.01, y, 1) - here).max() < 0.02
    assert abs(np.corrcoef(here, FIELD.at(x, y, 2))[0, 1]) < 0.1


def test_a_field_repeats_after_its_tile_and_has_no_seam() -> None:
    period_m = FIELD.size * FIELD.step_m
    x, y = np.random.default_rng(6).uniform(-100.0, 100.0, (2, 500))
    np.testing.assert_allclose(FIELD.at(x, y), FIELD.at(x + period_m, y - period_m), atol=1e-5)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_draws_depend_on_nothing_but_seed_and_counter(seed: int, counter: int) -> None:
    alone = seeded.uniforms(seed, counter)[0]
    among = seeded.uniforms(seed, np.arange(counter, counter + 5, dtype=np.uint64))[0]
    assert alone == among
    assert 0.0 < alone < 1.0


def test_normal_draws_are_normal() -> None:
    values = seeded.normals(9, np.arange(100_000, dtype=np.uint64))
    assert values.mean() == pytest.approx(0.0, abs=0.02)
    assert values.std() == pytest.approx(1.0, abs=0.02)
    assert (np.abs(values) > 1.959964).mean() == pytest.approx(0.05, abs=0.004)
