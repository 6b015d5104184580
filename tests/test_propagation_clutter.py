"""P.2108 against NTIA's vectors with their error codes, and what must hold for any input."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.propagation import p2108
from coverage_map.propagation.validity import InvalidInputError

GHZ = 1e9


def height_gain(row: dict[str, float]) -> float:
    return float(
        p2108.height_gain_db(
            row["f__ghz"] * GHZ,
            row["h__meter"],
            int(row["clutter_type"]),
            row["R__meter"],
            row["w_s__meter"],
        )
    )


def terrestrial(row: dict[str, float]) -> float:
    return float(p2108.terrestrial_db(row["f__ghz"] * GHZ, row["d__km"] * 1000.0, row["p"]))


def aeronautical(row: dict[str, float]) -> float:
    return float(p2108.aeronautical_db(row["f__ghz"] * GHZ, row["theta_deg"], row["p"]))


@pytest.mark.parametrize(
    ("name", "model", "column", "count"),
    [
        ("HeightGainTerminalCorrection", height_gain, "A_h__db", 23),
        ("TerrestrialStatistical", terrestrial, "L_ctt__db", 12),
        ("AeronauticalStatistical", aeronautical, "L_ces__db", 13),
    ],
)
def test_every_vector_and_error_code(
    ground_truth: Path,
    name: str,
    model: Callable[[dict[str, float]], float],
    column: str,
    count: int,
) -> None:
    path = ground_truth / "radio" / "p2108" / f"{name}ModelTestData.csv"
    table = csv.DictReader(path.read_text().splitlines())
    rows = [{key: float(value) for key, value in row.items()} for row in table]
    assert len(rows) == count
    for row in rows:
        if row["rtn"]:
            with pytest.raises(InvalidInputError) as refused:
                model(row)
            assert refused.value.code == row["rtn"]
        else:
            assert model(row) == pytest.approx(row[column], abs=0.0501), row  # given to 0.1


def test_unknown_clutter_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="clutter") as refused:
        p2108.height_gain_db(1e9, 2.0, 7)
    assert refused.value.code == 36


@given(st.floats(0.03e9, 3e9), st.floats(0.1, 100.0), st.sampled_from(list(p2108.Clutter)))
def test_above_its_clutter_a_terminal_loses_nothing(
    frequency_hz: float, height_m: float, clutter: p2108.Clutter
) -> None:
    loss = float(p2108.height_gain_db(frequency_hz, height_m, clutter))
    if height_m >= p2108.REPRESENTATIVE_HEIGHT_M[clutter]:
        assert loss == 0.0
    else:
        # Down in a street the edge's half field is taken out again: -6.03 dB + J(0) is about zero.
        assert loss > -0.5


@given(st.floats(0.5e9, 67e9), st.floats(250.0, 50_000.0), st.floats(1.0, 98.0))
def test_worse_places_lose_more(frequency_hz: float, distance_m: float, percent: float) -> None:
    fewer, more = p2108.terrestrial_db(frequency_hz, distance_m, [percent, percent + 1.0])
    assert fewer < more


def test_beyond_two_kilometres_clutter_stays_the_same() -> None:
    losses = p2108.terrestrial_db(3.5e9, [1000.0, 2000.0, 20_000.0], 50.0)
    assert losses[0] < losses[1] == losses[2]


def test_arrays_give_what_scalars_give() -> None:
    percent = np.array([5.0, 50.0, 95.0])
    batch = p2108.aeronautical_db(30e9, 20.0, percent)
    single = [float(p2108.aeronautical_db(30e9, 20.0, p)) for p in percent]
    assert batch == pytest.approx(single, rel=1e-13)
