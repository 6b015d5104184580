"""P.2109 against all rows of its validation set, and refusals."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.propagation import p2109
from coverage_map.propagation.validity import InvalidInputError, RangeWarning


def test_every_row_of_the_validation_set(ground_truth: Path) -> None:
    path = ground_truth / "radio" / "p2109_p676" / "p2109_validation.csv.gz"
    with gzip.open(path, "rt") as text:
        rows = np.loadtxt(text, delimiter=",", skiprows=1)
    assert rows.shape == (31_250, 5)
    for building in p2109.Building:
        part = rows[rows[:, 2] == building]
        got = p2109.entry_loss_db(part[:, 0] * 1e9, part[:, 1], building, part[:, 3])
        assert np.abs(got - part[:, 4]).max() < 1e-6


def test_a_modern_facade_costs_more_at_the_median() -> None:
    frequencies = np.geomspace(80e6, 100e9, 50)
    old = p2109.median_loss_db(frequencies)
    new = p2109.median_loss_db(frequencies, p2109.Building.EFFICIENT)
    assert (new > old + 5.0).all()


@given(st.floats(80e6, 100e9), st.floats(0.001, 99.0), st.sampled_from(list(p2109.Building)))
def test_deeper_places_lose_more(
    frequency_hz: float, percent: float, building: p2109.Building
) -> None:
    near, deep = p2109.entry_loss_db(frequency_hz, [percent, percent + 0.5], building)
    assert near < deep


@pytest.mark.parametrize("percent", [0.0, 100.0, np.nan])
def test_impossible_percentages_are_refused(percent: float) -> None:
    with pytest.raises(InvalidInputError, match="places_percent"):
        p2109.entry_loss_db(1e9, percent)


def test_impossible_buildings_and_angles_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="building"):
        p2109.entry_loss_db(1e9, 50.0, 3)
    with pytest.raises(InvalidInputError, match="elevation_deg"):
        p2109.entry_loss_db(1e9, 50.0, 1, 91.0)


def test_frequencies_nobody_measured_are_flagged() -> None:
    assert p2109.range_warnings([80e6, 2.4e9]) == RangeWarning.NONE
    assert p2109.range_warnings([2.4e9, 79e6]) == RangeWarning.FREQUENCY
