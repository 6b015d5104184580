"""Saturated stations through the medium come to Bianchi's throughput, published and by formula."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import bianchi
from radio_sim.dcf import access_of, compute_saturation
from radio_sim.medium.saturation import simulate_saturation
from radio_sim.phy.rates import dsss_rate, ofdm_rate

BAR, HE_BAR = 0.015, 0.035
FRAMES = 20_000
CHOSEN = 20  # of the published rows in CI, evenly; all of them in `make soak`


def error_of(row: bianchi.Row, frames: int) -> float:
    exchange = bianchi.exchange(row.rate)
    found_bps = simulate_saturation(
        row.rate,
        access_of(row.rate),
        exchange,
        row.stations,
        frames * exchange.data_ns * 1e-9,
        extended=row.extended,
    )
    return found_bps / row.throughput_bps - 1.0


def published(ground_truth: Path) -> list[bianchi.Row]:
    return bianchi.read_rows(ground_truth / "radio" / "wifi_per" / "bianchi_mbps.csv")


def assert_within(rows: list[bianchi.Row], frames: int) -> None:
    wrong = {}
    for row in rows:
        error, bar = error_of(row, frames), HE_BAR if row.rate.family == "he" else BAR
        if abs(error) > bar:
            wrong[row.rate.name, row.stations, row.extended] = error
    assert wrong == {}


def test_published_throughputs_come_out_of_the_medium(ground_truth: Path) -> None:
    rows = [row for row in published(ground_truth) if row.stations <= 15]
    assert_within(rows[:: len(rows) // CHOSEN], FRAMES)


@pytest.mark.slow
@pytest.mark.soak
def test_every_published_throughput_comes_out_of_the_medium(ground_truth: Path) -> None:
    rows = published(ground_truth)
    assert len(rows) == 880
    assert_within(rows, 4 * FRAMES)


@pytest.mark.parametrize("stations", [2, 5, 20])
@pytest.mark.parametrize("extended", [False, True])
def test_the_closed_form_comes_out_too(stations: int, extended: bool) -> None:
    for rate in (dsss_rate(11_000), ofdm_rate(24_000)):
        exchange = bianchi.exchange(rate)
        expected = compute_saturation(stations, access_of(rate), exchange, extended=extended)
        row = bianchi.Row(rate, extended, stations, expected.throughput_bps)
        assert abs(error_of(row, FRAMES)) < BAR


def test_one_station_alone_is_refused() -> None:
    rate = ofdm_rate(6_000)
    with pytest.raises(ValueError, match="stations: 1 "):
        simulate_saturation(rate, access_of(rate), bianchi.exchange(rate), 1, 1.0)
