"""Packet error rates of every PHY, and interference: published curves, masks, pieces, capture."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.propagation.link_budget import noise_floor_dbm
from radio_sim import phy
from radio_sim.phy.interference import (
    Capture,
    is_captured,
    mask_dbr,
    overlap_pieces,
    rejection_db,
    sinr_db,
    spectral_mask,
    success_over_pieces,
)
from radio_sim.phy.packet_errors import (
    HARD,
    log_hazard,
    packet_error_rate,
    rate_success_table,
    required_snr_db,
)
from radio_sim.phy.rates import Rate, all_rates, find_rate, mcs_rate, ofdm_rate

GRID_DB = np.linspace(-25.0, 60.0, 1701)
TABLES = {
    "AwgnErrorTableBcc32": ("bcc", 32),
    "AwgnErrorTableBcc1458": ("bcc", 1458),
    "AwgnErrorTableLdpc1458": ("ldpc", 1458),
}
# SNR where 10 % of 1,458-byte frames are lost, from linear interpolation of the same curves.
LDPC_10_DB = (-0.62, 2.39, 4.86, 7.92, 10.93, 15.13, 16.48, 18.00, 21.68, 23.48, 26.80, 28.89)
BCC_10_DB = (0.92, 3.94, 6.43, 9.70, 12.80, 17.04, 18.38, 19.63, 23.71, 25.15)
RATES = [rate.name for rate in all_rates()]


def rate_of(coding: str, mcs: int) -> Rate:
    return mcs_rate("he", mcs, coding=coding)


def curve_rows(ground_truth: Path) -> list[tuple[str, int, int, float, float]]:
    path = ground_truth / "radio/wifi_per/awgn_error_tables.csv"
    rows = csv.DictReader(path.read_text().splitlines())
    return [
        (*TABLES[row["table"]], int(row["mcs"]), float(row["snr_db"]), float(row["per"]))
        for row in rows
    ]


def test_every_published_point_is_met_to_its_last_digit(ground_truth: Path) -> None:
    rows = curve_rows(ground_truth)
    assert len(rows) == 402
    for coding, size, mcs, snr_db, per in rows:
        ours = float(packet_error_rate(rate_of(coding, mcs), np.array(snr_db), size))
        assert ours == pytest.approx(per, abs=0.51e-5), (coding, size, mcs, snr_db)


def test_between_the_points_the_curves_run_straight(ground_truth: Path) -> None:
    """Against straight lines between the published points, at error rates from 0.1 to 99 %."""
    worst_db = 0.0
    for here, there in pairwise(curve_rows(ground_truth)):
        if here[:3] != there[:3]:
            continue
        for share in (0.25, 0.5, 0.75):
            snr_db = here[3] + share * (there[3] - here[3])
            per = here[4] + share * (there[4] - here[4])
            if 1e-3 < per < 0.99:
                ours_db = required_snr_db(rate_of(here[0], here[2]), here[1], per)
                worst_db = max(worst_db, abs(ours_db - snr_db))
    assert worst_db < 0.001


@pytest.mark.parametrize(("coding", "expected"), [("ldpc", LDPC_10_DB), ("bcc", BCC_10_DB)])
def test_the_snr_for_a_tenth_lost(coding: str, expected: tuple[float, ...]) -> None:
    for mcs, snr_db in enumerate(expected):
        assert required_snr_db(rate_of(coding, mcs)) == pytest.approx(snr_db, abs=0.006)


@pytest.mark.parametrize("name", RATES)
def test_errors_fall_with_the_signal_and_rise_with_the_length(name: str) -> None:
    rate = find_rate(name)
    curves = [packet_error_rate(rate, GRID_DB, size) for size in (14, 32, 100, 700, 1458, 4000)]
    for curve in curves:
        assert np.all(np.diff(curve) <= 1e-12)
        assert curve[0] > 1.0 - 1e-9
        assert curve[-1] < 1e-9
    for short, long in pairwise(curves):
        assert np.all(long >= short - 1e-12)


@given(st.sampled_from(RATES), st.floats(-10.0, 40.0), st.integers(1458, 20_000))
def test_longer_frames_multiply_the_chance_of_success(
    name: str, snr_db: float, size: int
) -> None:
    rate, level = find_rate(name), np.array(snr_db)
    per = float(packet_error_rate(rate, level, 1458))
    scaled = 1.0 - (1.0 - per) ** (size / 1458)
    assert float(packet_error_rate(rate, level, size)) == pytest.approx(scaled, abs=1e-9)


def test_faster_rates_need_more_and_hear_less() -> None:
    for family, coding in (("ht", "bcc"), ("he", "ldpc")):
        rates = [mcs_rate(family, mcs, coding=coding) for mcs in range(8)]
        needs = [required_snr_db(rate) for rate in rates]
        assert needs == sorted(needs)
        levels = [rate.sensitivity_dbm for rate in rates]
        assert levels == sorted(levels)


@pytest.mark.parametrize("name", RATES)
def test_the_standards_sensitivity_leaves_room_for_a_poor_receiver(name: str) -> None:
    """A noise figure of 10 dB and 5 dB for the implementation are what the standard grants."""
    rate = find_rate(name)
    noise_dbm = noise_floor_dbm(rate.bandwidth_mhz * 1e6, 10.0)
    assert rate.sensitivity_dbm > noise_dbm + required_snr_db(rate, 1000)
    if rate.family not in ("dsss", "cck"):  # spread by 11, they have more in hand
        assert rate.sensitivity_dbm < noise_dbm + required_snr_db(rate, 1000) + 11.0


def test_soft_decisions_gain_two_decibels_and_more() -> None:
    for kbps in (6000, 12000, 18000, 24000, 36000, 48000, 54000):
        rate = ofdm_rate(kbps)
        gain_db = required_snr_db(rate, receiver=HARD) - required_snr_db(rate)
        assert 1.5 < gain_db < 5.0
    assert required_snr_db(ofdm_rate(9000)) == required_snr_db(ofdm_rate(9000), receiver=HARD)


def test_signal_tables_of_the_usual_medium_daemon_agree(ground_truth: Path) -> None:
    """Its noise is -91 dBm; rates with a curve of ours; the level where half is lost."""
    path = ground_truth / "radio/wifi_per/wmediumd_signal_table_ieee80211ax"
    lines = [line.split() for line in path.read_text().splitlines() if line[:1] == "-"]
    table = np.array([[float(field) for field in line] for line in lines])
    columns = {6000: 5, 12000: 7, 18000: 8, 24000: 9, 36000: 10, 48000: 11, 54000: 12}
    for kbps, column in columns.items():
        half_dbm = np.interp(-0.5, -table[:, column], table[:, 0])
        ours_dbm = required_snr_db(ofdm_rate(kbps), 1458, 0.5) - 91.0
        assert ours_dbm == pytest.approx(half_dbm, abs=1.5), kbps


@given(st.floats(-60.0, 80.0), st.sampled_from(["he-mcs4-80mhz", "cck-11", "vht-mcs8"]))
def test_the_grid_is_the_function(snr_db: float, name: str) -> None:
    rate = find_rate(name)
    looked_up = rate_success_table(rate, 300)[phy.table_index(np.array([snr_db]))[0]]
    half = 0.5 / phy.TABLE_STEPS_PER_DB + 1e-9
    clipped = min(max(snr_db, -20.0), 50.0)
    ends = np.array([clipped - half, clipped + half])
    low, high = 1.0 - packet_error_rate(rate, ends, 300)
    assert low - 1e-12 <= looked_up <= high + 1e-12


def test_a_length_of_nothing_and_an_impossible_rate_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^psdu_bytes: "):
        log_hazard(ofdm_rate(6000), np.array(1.0), 0)
    with pytest.raises(ValueError, match=r"^per: "):
        required_snr_db(ofdm_rate(6000), per=1.0)
    with pytest.raises(ValueError, match=r"^receiver: "):
        packet_error_rate(mcs_rate("ht", 7), np.array(20.0), 100, HARD)


@pytest.mark.parametrize(
    ("family", "bandwidth_mhz", "corners"),
    [
        ("ofdm", 20, (9, 11, 20, 30)),
        ("ofdm", 10, (4.5, 5.5, 10, 15)),
        ("ofdm", 5, (2.25, 2.75, 5, 7.5)),
        ("ht", 40, (19, 21, 40, 60)),
        ("vht", 80, (39, 41, 80, 120)),
        ("vht", 160, (79, 81, 160, 240)),
        ("he", 20, (9.75, 10.5, 20, 30)),
        ("he", 160, (79.5, 80.5, 160, 240)),
    ],
)
def test_masks_have_the_standards_corners(
    family: str, bandwidth_mhz: int, corners: tuple[float, ...]
) -> None:
    mask = spectral_mask(family, bandwidth_mhz)
    assert [offset for offset, _ in mask] == pytest.approx(corners)
    levels = mask_dbr(family, bandwidth_mhz, np.array([0.0, *corners, 500.0]))
    assert levels.tolist() == pytest.approx([0, 0, -20, -28, -40, -40])


def test_the_mask_of_dsss_falls_in_steps() -> None:
    levels = mask_dbr("dsss", 22, np.array([0.0, 10.9, -11.1, 21.9, 22.1, -60.0]))
    assert levels.tolist() == [0.0, 0.0, -30.0, -30.0, -50.0, -50.0]


@pytest.mark.parametrize(("family", "width"), [("ofdm", 20), ("ht", 40), ("vht", 80), ("he", 160)])
def test_rejection_is_the_power_that_stays_outside(family: str, width: int) -> None:
    assert rejection_db(family, width, width, 0.0) < 0.1
    assert rejection_db(family, width, 20, 0.0) == pytest.approx(
        10.0 * math.log10(width / 20), abs=0.5
    )
    apart = [rejection_db(family, width, 20, float(offset)) for offset in range(0, 3 * width, 5)]
    assert apart == sorted(apart)
    assert rejection_db(family, width, 20, -float(width)) == rejection_db(
        family, width, 20, float(width)
    )
    assert rejection_db(family, width, 20, 5.0 * width) == math.inf
    with pytest.raises(ValueError, match=r"^bandwidth_mhz: "):
        rejection_db(family, width, 0, 0.0)


def test_all_channels_together_get_all_of_the_power() -> None:
    shares = [10 ** (-rejection_db("ofdm", 20, 20, 20.0 * k) / 10) for k in range(-4, 5)]
    assert sum(shares) == pytest.approx(1.0, abs=0.002)


INTERFERERS = st.lists(
    st.tuples(st.integers(-500, 1500), st.integers(1, 800), st.floats(1e-12, 1e-3)), max_size=6
)


@given(INTERFERERS)
def test_pieces_fill_the_frame_and_hold_all_the_energy(
    found: list[tuple[int, int, float]],
) -> None:
    others = [(start, start + length, mw) for start, length, mw in found]
    pieces = overlap_pieces(0, 1000, others)
    assert sum(piece.length_ns for piece in pieces) == 1000
    energy = sum(piece.length_ns * piece.interference_mw for piece in pieces)
    expected = sum(max(0, min(end, 1000) - max(start, 0)) * mw for start, end, mw in others)
    assert energy == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_without_interference_a_frame_is_one_piece_and_succeeds_as_its_curve_says() -> None:
    rate = ofdm_rate(6000)
    pieces = overlap_pieces(100, 400, [(0, 100, 1.0), (400, 500, 1.0)])
    assert len(pieces) == 1
    alone = success_over_pieces(rate, 200, -90.0, -91.0, pieces)
    assert alone == pytest.approx(1.0 - float(packet_error_rate(rate, np.array(1.0), 200)))


@given(st.floats(0.0, 1.0), st.floats(-100.0, -84.0))
def test_interference_counts_for_the_bits_it_meets(share: float, level_dbm: float) -> None:
    rate, milliwatts = ofdm_rate(12000), 10.0 ** (level_dbm / 10.0)
    cut = round(share * 1_000_000)
    pieces = overlap_pieces(0, 1_000_000, [(0, cut, milliwatts)])
    mixed = success_over_pieces(rate, 700, -85.0, -94.0, pieces)
    levels = np.array([9.0, sinr_db(-85.0, -94.0, milliwatts)])
    # 1 - packet_error_rate would round a hopeless piece to exactly zero.
    clear, hit = np.exp(log_hazard(rate, levels, 700))
    covered = cut / 1_000_000
    expected = math.exp(-(clear * (1 - covered) + hit * covered))
    assert mixed == pytest.approx(expected, abs=1e-9)
    assert math.exp(-hit) - 1e-9 <= mixed <= math.exp(-clear) + 1e-9


def test_frames_that_end_before_they_begin_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^end_ns: "):
        overlap_pieces(10, 10, [])
    with pytest.raises(ValueError, match=r"^pieces: "):
        success_over_pieces(ofdm_rate(6000), 100, -80.0, -94.0, [])


def test_a_later_frame_captures_early_or_by_much() -> None:
    capture = Capture(preamble_db=5.0, body_db=10.0, training_ns=16_000)
    assert is_captured(-80.0, -74.0, 10_000, capture)
    assert not is_captured(-80.0, -76.0, 10_000, capture)
    assert not is_captured(-80.0, -74.0, 20_000, capture)
    assert is_captured(-80.0, -70.0, 20_000, capture)
    assert not is_captured(-80.0, -20.0, 20_000, Capture(body_db=None))
