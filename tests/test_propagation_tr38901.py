"""38.901 by scenario: vectors, ranges that are flagged, walls and cars."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.propagation import pathloss, tr38901
from coverage_map.propagation.validity import InvalidInputError, RangeWarning, names

NAMES = {"Rma": "rma", "Umi": "umi", "Uma": "uma", "Indoor": "inh"}


def test_every_vector_within_a_hundredth_of_a_db(ground_truth: Path) -> None:
    path = ground_truth / "radio" / "wifi_per" / "3gpp38901_vectors.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 24
    for row in rows:
        loss, flags = tr38901.path_loss(
            NAMES[row["scenario"]], row["los"] == "True", float(row["d2d_m"]), float(row["freq_hz"])
        )
        assert -float(loss) == pytest.approx(float(row["rx_dbm_at_0dbm_tx"]), abs=0.01), row
        assert not flags.any()


def test_what_is_outside_a_range_is_flagged_and_only_that() -> None:
    loss, flags = tr38901.path_loss("umi", False, [9.0, 10.0, 5000.0, 5001.0], 5e9)
    assert np.isfinite(loss).all()
    assert [names(RangeWarning(int(flag))) for flag in flags] == [
        ("DISTANCE_SMALL",),
        (),
        (),
        ("DISTANCE_LARGE",),
    ]
    _, flags = tr38901.path_loss("umi", True, 100.0, [0.4e9, 5e9, 101e9], 23.0, 11.0)
    both = RangeWarning.TERMINAL_HEIGHT | RangeWarning.BASE_HEIGHT
    assert flags.tolist() == [both | RangeWarning.FREQUENCY, both, both | RangeWarning.FREQUENCY]


def test_rural_ranges_know_buildings_and_streets() -> None:
    loss, flags = tr38901.path_loss("rma", False, 1000.0, 0.7e9, building_height_m=60.0)
    assert flags == RangeWarning.BUILDING_HEIGHT
    _, flags = tr38901.path_loss("rma", False, 1000.0, 31e9, street_width_m=4.0)
    assert flags == RangeWarning.STREET_WIDTH | RangeWarning.FREQUENCY
    clear, _ = tr38901.path_loss("rma", True, 9000.0, 0.7e9, street_width_m=20.0)
    assert clear == pathloss.rma_los_db(9000.0, 0.7e9)
    assert loss > clear - 60.0


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: tr38901.path_loss("moon", True, 10.0, 1e9), "scenario"),
        (lambda: tr38901.path_loss("umi", True, -1.0, 1e9), "distance_m"),
        (lambda: tr38901.path_loss("umi", True, 10.0, 0.0), "frequency_hz"),
        (lambda: tr38901.path_loss("umi", True, 10.0, 1e9, street_width_m=9.0), "street_width_m"),
        (lambda: tr38901.material_loss_db("paper", 1e9), "material"),
        (lambda: tr38901.building_entry_db(1e9, facade="none"), "facade"),
    ],
)
def test_the_impossible_is_refused_by_field(call: object, field: str) -> None:
    assert callable(call)
    with pytest.raises(InvalidInputError, match=field) as refused:
        call()
    assert refused.value.field == field


@given(st.floats(0.0, 5000.0), st.sampled_from(sorted(tr38901.SCENARIOS)))
def test_expected_loss_lies_between_both_cases(distance_m: float, name: str) -> None:
    clear, _ = tr38901.path_loss(name, True, distance_m, 2.4e9)
    blocked, _ = tr38901.path_loss(name, False, distance_m, 2.4e9)
    expected = tr38901.expected_loss_db(name, distance_m, 2.4e9)
    assert clear - 1e-9 <= expected <= blocked + 1e-9


def test_line_of_sight_by_hand() -> None:
    # 18/50 + exp(-50/36) (1 - 18/50), and the open office's exp(-20/70.8).
    assert tr38901.los_probability("umi", 50.0) == pytest.approx(0.519585, abs=1e-6)
    assert tr38901.open_office_los_probability(25.0) == pytest.approx(0.753907, abs=1e-6)
    assert tr38901.los_probability("uma", 1000.0, 22.0) > tr38901.los_probability("uma", 1000.0)


@given(st.floats(0.0, 200.0))
def test_an_open_office_is_clearer_than_a_mixed_one(distance_m: float) -> None:
    mixed = tr38901.los_probability("inh", distance_m)
    assert mixed <= tr38901.open_office_los_probability(distance_m) <= 1.0


def test_walls_by_hand() -> None:
    # 3.5 GHz: glass 2.7 dB, concrete 19 dB, coated glass 24.05 dB.
    low = 5.0 - 10.0 * np.log10(0.3 * 10**-0.27 + 0.7 * 10**-1.9)
    high = 5.0 - 10.0 * np.log10(0.7 * 10**-2.405 + 0.3 * 10**-1.9)
    assert tr38901.building_entry_db(3.5e9) == pytest.approx(low)
    assert tr38901.building_entry_db(3.5e9, 10.0, "high") == pytest.approx(high + 5.0)
    assert tr38901.material_loss_db("wood", 10e9) == pytest.approx(6.05)
