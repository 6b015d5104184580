"""Airtime and packet error rates against published values."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio_sim import phy

SPOTS = (
    Path(__file__).parents[1]
    / "../shared/ground-truth/radio/wifi_per/error_model_spot_values.csv"
)
# The DSSS rows give received power: their receiver's noise is kTB at 290 K in 22 MHz, plus 7 dB.
SPOT_NOISE_DBM = 30.0 + 10.0 * math.log10(1.380649e-23 * 290.0 * 22e6) + 7.0
DSSS = {
    "GetDsssDbpskSuccessRate": 1000,
    "GetDsssDqpskSuccessRate": 2000,
    "GetDsssDqpskCck5_5SuccessRate": 5500,
    "GetDsssDqpskCck11SuccessRate": 11000,
}


def spot_rows() -> list[dict[str, str]]:
    if not SPOTS.exists():
        pytest.skip("error model spot values not present: ../shared/ground-truth")
    return list(csv.DictReader(SPOTS.read_text().splitlines()))


def rate_of(row: dict[str, str]) -> int:
    if row["model"] == "nist":
        return int(row["mode"].removeprefix("OfdmRate").removesuffix("Mbps")) * 1000
    return DSSS[row["mode"]]


def test_success_rates_meet_the_published_spot_values() -> None:
    rows = spot_rows()
    assert len(rows) == 64
    for row in rows:
        rate = rate_of(row)
        snr_db = float(row["x"]) - (SPOT_NOISE_DBM if row["model"] == "dsss" else 0.0)
        mpdu_bytes = int(row["nbits"]) // 8
        success = float(phy.packet_success_rate(np.array(snr_db), mpdu_bytes, rate))
        assert success == pytest.approx(float(row["success_rate"]), abs=float(row["tol"])), row


@pytest.mark.parametrize(("rate_kbps", "expected_us"), [(1000, 1640), (6000, 274), (2000, 916)])
def test_airtime_of_a_beacon(rate_kbps: int, expected_us: int) -> None:
    assert phy.airtime_us(181, rate_kbps) == expected_us


@given(st.integers(14, 2300), st.sampled_from(phy.RATES_KBPS))
def test_airtime_grows_by_no_less_than_the_payload_takes(mpdu_bytes: int, rate_kbps: int) -> None:
    assert phy.airtime_us(mpdu_bytes, rate_kbps) >= 8 * mpdu_bytes * 1000 / rate_kbps
    assert phy.airtime_us(mpdu_bytes + 40, rate_kbps) > phy.airtime_us(mpdu_bytes, rate_kbps)


@pytest.mark.parametrize("rate_kbps", [*phy.RATES_KBPS, 5500, 11000])
def test_success_rises_with_signal_and_falls_with_length(rate_kbps: int) -> None:
    grid = np.linspace(-20.0, 40.0, 601)
    short = phy.packet_success_rate(grid, 50, rate_kbps)
    assert np.all(np.diff(short) >= -1e-12)
    assert np.all(phy.packet_success_rate(grid, 1500, rate_kbps) <= short)
    assert short[0] < 1e-3
    assert short[-1] > 1 - 1e-6


@given(st.floats(-60.0, 80.0), st.sampled_from([1000, 6000]))
def test_the_table_is_the_function(snr_db: float, rate_kbps: int) -> None:
    table = phy.success_table(181, rate_kbps)
    looked_up = table[phy.table_index(np.array([snr_db]))[0]]
    half = 0.5 / phy.TABLE_STEPS_PER_DB + 1e-9
    clipped = min(max(snr_db, -20.0), 50.0)
    low, high = phy.packet_success_rate(np.array([clipped - half, clipped + half]), 181, rate_kbps)
    assert low - 1e-12 <= looked_up <= high + 1e-12
