"""P.676 against all rows of its validation set, and refusals."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from coverage_map.propagation import p676
from coverage_map.propagation.validity import InvalidInputError, RangeWarning


def test_every_row_of_the_validation_set(ground_truth: Path) -> None:
    with gzip.open(ground_truth / "radio" / "p2109_p676" / "p676_validation.csv.gz", "rt") as text:
        rows = np.loadtxt(text, delimiter=",", skiprows=1)
    assert rows.shape == (10_000, 6)
    dry, wet = p676.specific_attenuation_db_km(rows[:, 0] * 1e9, *rows[:, 1:4].T)
    np.testing.assert_allclose(dry, rows[:, 4], rtol=1e-9)
    np.testing.assert_allclose(wet, rows[:, 5], rtol=1e-9)


def test_air_hardly_matters_to_wifi_and_stops_60_ghz() -> None:
    losses = p676.path_attenuation_db([2.4e9, 60e9], 1000.0)
    assert losses[0] < 0.01
    assert 13.0 < losses[1] < 16.0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((0.0,), "frequency_hz"),
        ((1e9, -1.0), "pressure_hpa"),
        ((1e9, 1000.0, -0.1), "vapour_g_m3"),
        ((1e9, 1000.0, 7.5, 0.0), "temperature_k"),
    ],
)
def test_impossible_air_is_refused(arguments: tuple[float, ...], field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        p676.specific_attenuation_db_km(*arguments)


def test_frequencies_outside_the_tables_are_flagged() -> None:
    assert p676.range_warnings(60e9) == RangeWarning.NONE
    assert p676.range_warnings([60e9, 0.9e9]) == RangeWarning.FREQUENCY
