"""Path loss against published vectors, and the properties that hold for any input."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.propagation import link_budget, pathloss

VECTORS = (
    Path(__file__).parents[1] / "../shared/ground-truth/radio/wifi_per/3gpp38901_vectors.csv"
)
MODELS: dict[tuple[str, bool], Callable[..., pathloss.Floats]] = {
    ("Rma", True): pathloss.rma_los_db,
    ("Rma", False): pathloss.rma_nlos_db,
    ("Umi", True): pathloss.umi_los_db,
    ("Umi", False): pathloss.umi_nlos_db,
    ("Indoor", True): pathloss.inh_los_db,
    ("Indoor", False): pathloss.inh_nlos_db,
    ("Uma", True): pathloss.uma_los_db,
    ("Uma", False): pathloss.uma_nlos_db,
}
PROBABILITIES = (
    pathloss.rma_los_probability,
    pathloss.umi_los_probability,
    pathloss.uma_los_probability,
    pathloss.inh_los_probability,
)
distances = st.floats(1.0, 5000.0)
frequencies = st.floats(0.5e9, 7e9)


def test_3gpp_38901_vectors_within_a_hundredth_of_a_db() -> None:
    if not VECTORS.exists():
        pytest.skip("38.901 vectors not present: ../shared/ground-truth")
    rows = list(csv.DictReader(VECTORS.read_text().splitlines()))
    assert len(rows) == 24
    for row in rows:
        model = MODELS[row["scenario"], row["los"] == "True"]
        loss = model(float(row["d2d_m"]), float(row["freq_hz"]))
        assert -float(loss) == pytest.approx(float(row["rx_dbm_at_0dbm_tx"]), abs=0.01), row


def test_urban_macro_by_hand() -> None:
    # 28 + 22 lg 100.8415 + 20 lg 5, and 13.54 + 39.08 lg 102.7241 + 20 lg 5.
    assert float(pathloss.uma_los_db(100.0, 5e9, 25.0, 12.0)) == pytest.approx(86.0594, abs=1e-3)
    assert float(pathloss.uma_nlos_db(100.0, 5e9, 25.0, 1.5)) == pytest.approx(106.1356, abs=1e-3)


def test_free_space_at_one_kilometre_and_one_gigahertz() -> None:
    assert float(pathloss.free_space_db(1000.0, 1e9)) == pytest.approx(92.4419, abs=1e-3)


@given(distances, distances, frequencies, st.sampled_from(sorted(MODELS)))
def test_loss_never_falls_with_distance(
    one: float, other: float, frequency_hz: float, key: tuple[str, bool]
) -> None:
    near, far = sorted((one, other))
    model = MODELS[key]
    # 38.901's own two branches differ by up to 0.03 dB where they meet.
    assert float(model(near, frequency_hz)) <= float(model(far, frequency_hz)) + 0.05


@given(distances, frequencies, st.sampled_from(["Rma", "Umi", "Uma", "Indoor"]))
def test_obstruction_never_helps(distance_m: float, frequency_hz: float, scenario: str) -> None:
    clear = MODELS[scenario, True](distance_m, frequency_hz)
    assert float(MODELS[scenario, False](distance_m, frequency_hz)) >= float(clear)


@given(distances, frequencies)
def test_arrays_give_what_scalars_give(distance_m: float, frequency_hz: float) -> None:
    for model in MODELS.values():
        batch = model(np.array([distance_m, 2 * distance_m]), frequency_hz)
        assert batch[0] == model(distance_m, frequency_hz)


@given(st.floats(0.0, 20_000.0), st.sampled_from(PROBABILITIES))
def test_line_of_sight_is_a_probability(
    distance_m: float, probability: Callable[..., pathloss.Floats]
) -> None:
    assert 0.0 <= float(probability(distance_m)) <= 1.0


@given(st.floats(0.0, 20_000.0))
def test_two_ray_is_free_space_before_its_break_point(distance_m: float) -> None:
    breakpoint_m = 4 * 10.0 * 1.5 * 2.4e9 / 3.0e8
    loss = float(pathloss.two_ray_db(distance_m, 2.4e9))
    free = float(pathloss.free_space_db(distance_m, 2.4e9))
    expected = free + 20 * max(0.0, np.log10(max(distance_m, 1.0) / breakpoint_m))
    assert loss == pytest.approx(expected, abs=1e-9)


def test_log_distance_with_exponent_two_is_free_space() -> None:
    spread = np.geomspace(1.0, 10_000.0, 50)
    np.testing.assert_allclose(
        pathloss.log_distance_db(spread, 5.2e9, 2.0), pathloss.free_space_db(spread, 5.2e9)
    )


def test_wifi_noise_floor_is_minus_94_dbm() -> None:
    assert float(link_budget.noise_floor_dbm()) == pytest.approx(-93.99, abs=0.01)


@given(st.floats(-10, 36), st.floats(40, 160), st.floats(0, 24))
def test_budget_adds_up(eirp_dbm: float, loss_db: float, gain_dbi: float) -> None:
    snr = float(link_budget.snr_db(eirp_dbm, loss_db, gain_dbi))
    assert snr == pytest.approx(eirp_dbm - loss_db + gain_dbi + 93.9897, abs=1e-3)
