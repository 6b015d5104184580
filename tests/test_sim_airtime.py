"""Rates, airtime and answers of every PHY against published durations and the standard's tables."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio_sim.phy.airtime import (
    ack_ns,
    ack_rate,
    frame_ns,
    get_codewords,
    get_symbols,
    is_punctured_too_much,
    preamble_ns,
)
from radio_sim.phy.lora import (
    SNR_LIMIT_DB,
    LoraRate,
    lora_airtime_ns,
    lora_packet_error_rate,
    lora_sensitivity_dbm,
    payload_symbols,
)
from radio_sim.phy.rates import (
    MCS_COUNT,
    STREAMS_MAX,
    VHT_EXCLUDED,
    all_rates,
    dsss_rate,
    encoders,
    find_rate,
    mcs_rate,
    ofdm_rate,
    reference_kbps,
)

# Bytes to microseconds: IEEE 802.11-2007 table 18-2 with its preambles, and durations that
# simulators publish as test values (ns-3, tx-duration-test).
DURATIONS_US = {
    "dsss-1": {14: 304, 1023: 8376, 1026: 8400},
    "dsss-2": {1023: 4284, 1024: 4288, 1025: 4292},
    "cck-5.5": {1023: 1680, 1024: 1682, 1025: 1683, 1026: 1685},
    "cck-11": {14: 203, 76: 248, 1023: 936, 1024: 937, 1025: 938, 1026: 939, 1536: 1310},
    "ofdm-54": {14: 24, 76: 32, 1536: 248},
    "erp-54": {14: 30, 76: 38, 1536: 254},
    "ht-mcs7": {14: 40, 76: 48, 1536: 228},
    "ht-mcs7-40mhz": {14: 40, 76: 44, 1536: 128},
}
# The same of frames with a short guard interval, before they are padded to whole 4 us symbols.
SHORT_GUARD_US = {
    "ht-mcs0-gi400": {14: 57.6, 76: 126, 1536: 1742.4},
    "ht-mcs6-gi400": {14: 39.6, 76: 46.8, 1536: 226.8},
    "ht-mcs7-40mhz-gi400": {14: 39.6, 76: 43.2, 1536: 118.8},
    "vht-mcs8-gi400": {14: 39.6, 76: 46.8, 1536: 180},
    "vht-mcs0-80mhz-gi400": {14: 43.2, 76: 57.6, 1536: 417.6},
    "vht-mcs9-80mhz-gi400": {14: 39.6, 76: 39.6, 1536: 64.8},
}
# VHT without VHT-SIG-B: these values leave out its 4 us, which every VHT frame has (21.3.2).
VHT_US = {
    "vht-mcs8": {14: 40, 76: 48, 1536: 196},
    "vht-mcs9-40mhz": {14: 40, 76: 40, 1536: 108},
    "vht-mcs0-80mhz": {14: 44, 76: 60, 1536: 460},
    "vht-mcs9-80mhz": {14: 40, 76: 40, 1536: 68},
    "vht-mcs8-160mhz": {14: 40, 76: 40, 1536: 56},
}
# HE with one training symbol of 8 us: (MCS, MHz, guard in ns) to bytes to microseconds.
HE_US = {
    (0, 20, 800): {14: 71.2, 76: 125.6, 1536: 1485.6},
    (0, 40, 800): {14: 57.6, 76: 84.8, 1536: 764.8},
    (0, 80, 800): {14: 57.6, 76: 71.2, 1536: 397.6},
    (0, 160, 800): {14: 57.6, 76: 57.6, 1536: 220.8},
    (0, 20, 1600): {14: 72.8, 76: 130.4, 1536: 1570.4},
    (0, 40, 1600): {14: 58.4, 76: 87.2, 1536: 807.2},
    (0, 80, 1600): {14: 58.4, 76: 72.8, 1536: 418.4},
    (0, 160, 1600): {14: 58.4, 76: 58.4, 1536: 231.2},
    (0, 20, 3200): {14: 76, 76: 140, 1536: 1740},
    (0, 40, 3200): {14: 60, 76: 92, 1536: 892},
    (0, 160, 3200): {14: 60, 76: 60, 1536: 252},
    (11, 20, 800): {76: 57.6, 1536: 139.2},
}
NAMES = [rate.name for rate in all_rates()]
# Mb/s as the standards' tables print them.
SPEEDS_MBPS = {
    "ofdm-1.5-5mhz": 1.5,
    "ofdm-27-10mhz": 27.0,
    "ht-mcs7-gi400": 72.2,
    "ht-mcs7-40mhz-gi400": 150.0,
    "ht-mcs7-40mhz-nss4-gi400": 600.0,
    "vht-mcs8-gi400": 86.7,
    "vht-mcs9-80mhz-gi400": 433.3,
    "vht-mcs9-160mhz-nss8-gi400": 6933.3,
    "he-mcs0": 8.6,
    "he-mcs11": 143.4,
    "he-mcs7-80mhz": 360.3,
    "he-mcs11-160mhz": 1201.0,
    "he-mcs11-160mhz-nss8": 9607.8,
    "he-mcs0-gi3200": 7.3,
}


@pytest.mark.parametrize("name", DURATIONS_US)
def test_published_durations(name: str) -> None:
    for size, expected_us in DURATIONS_US[name].items():
        assert frame_ns(find_rate(name), size) == expected_us * 1000


@pytest.mark.parametrize("name", VHT_US)
def test_published_durations_of_vht(name: str) -> None:
    for size, expected_us in VHT_US[name].items():
        assert frame_ns(find_rate(name), size) == (expected_us + 4) * 1000


@pytest.mark.parametrize("name", SHORT_GUARD_US)
def test_a_short_guards_frame_is_padded_to_whole_symbols(name: str) -> None:
    rate = find_rate(name)
    for size, unpadded_us in SHORT_GUARD_US[name].items():
        published_preamble_us = 36
        data_us = unpadded_us - published_preamble_us
        padded_us = preamble_ns(rate) / 1000 + 4 * -(-round(data_us * 10) // 40)
        assert frame_ns(rate, size) == padded_us * 1000


@pytest.mark.parametrize("key", HE_US)
def test_published_durations_of_he(key: tuple[int, int, int]) -> None:
    mcs, bandwidth_mhz, guard_ns = key
    rate = mcs_rate(
        "he", mcs, bandwidth_mhz, guard_ns=guard_ns, coding="bcc", training_ns=8_000
    )
    for size, expected_us in HE_US[key].items():
        assert frame_ns(rate, size) == round(expected_us * 1000)


def test_short_preambles_save_96_us() -> None:
    for kbps, payload_us in ((2000, 4096), (5500, 1490), (11000, 745)):
        assert frame_ns(dsss_rate(kbps), 1024, short_preamble=True) == (payload_us + 96) * 1000


@pytest.mark.parametrize("name", SPEEDS_MBPS)
def test_speeds_are_those_of_the_tables(name: str) -> None:
    assert round(find_rate(name).kbps / 1000, 1) == SPEEDS_MBPS[name]


def test_names_find_their_rates_and_none_is_twice() -> None:
    assert len(set(NAMES)) == len(NAMES) == 290
    assert [find_rate(name).name for name in NAMES] == NAMES


def test_narrow_channels_are_slower_by_their_width() -> None:
    for narrow, factor in ((10, 2), (5, 4)):
        rate = ofdm_rate(54000 // factor, narrow)
        assert frame_ns(rate, 1536) == factor * frame_ns(ofdm_rate(54000), 1536)
        assert rate.sensitivity_dbm == ofdm_rate(54000).sensitivity_dbm - 3 * (factor // 2)


@given(st.sampled_from(NAMES), st.integers(1, 4000))
def test_a_frame_lasts_its_bits_and_longer_ones_last_no_less(name: str, size: int) -> None:
    rate = find_rate(name)
    payload_ns = 8 * size * 1e6 / rate.kbps
    assert frame_ns(rate, size) >= preamble_ns(rate) + payload_ns * 0.999
    assert frame_ns(rate, size) <= preamble_ns(rate) + payload_ns * 1.001 + 6000 + 4 * 16_000
    assert frame_ns(rate, size + 1) >= frame_ns(rate, size)


@given(st.sampled_from(NAMES))
def test_2_4_ghz_adds_the_signal_extension_to_ofdm_once(name: str) -> None:
    rate = find_rate(name)
    added_ns = frame_ns(rate, 100, is_2ghz=True) - frame_ns(rate, 100)
    assert added_ns == (0 if rate.family in ("dsss", "cck", "erp") else 6000)


def test_answers_go_at_the_highest_basic_rate_below() -> None:
    expected = {
        "dsss-1": 1000,
        "cck-11": 2000,
        "ofdm-9": 6000,
        "erp-54": 24000,
        "ofdm-27-10mhz": 12000,
        "ht-mcs2": 12000,
        "vht-mcs9-80mhz": 24000,
        "he-mcs0": 6000,
        "he-mcs1": 12000,
        "he-mcs2": 12000,
        "he-mcs3": 24000,
    }
    assert {name: ack_rate(find_rate(name)).kbps for name in expected} == expected
    assert ack_ns(find_rate("he-mcs11")) == 28_000
    assert ack_ns(find_rate("erp-54")) == 34_000
    assert ack_ns(find_rate("dsss-1")) == 304_000


def test_the_non_ht_reference_has_the_same_modulation() -> None:
    speeds = [reference_kbps(mcs_rate("he", mcs)) for mcs in range(12)]
    assert speeds == [6000, 12000, 18000, 24000, 36000, 48000, *[54000] * 6]


def test_encoders_of_many_streams() -> None:
    expected = {
        "ht-mcs7-40mhz-nss2": 1,
        "ht-mcs3-40mhz-nss4": 1,
        "ht-mcs7-40mhz-nss4": 2,
        "vht-mcs9-80mhz-nss2": 2,
        "vht-mcs2-80mhz-nss7": 3,
        "vht-mcs7-80mhz-nss7": 6,
        "vht-mcs8-80mhz-nss7": 6,
        "vht-mcs9-160mhz-nss8": 12,
        "he-mcs11": 1,
    }
    assert {name: encoders(find_rate(name)) for name in expected} == expected


@pytest.mark.parametrize(("key", "streams"), VHT_EXCLUDED.items())
def test_vht_lacks_what_its_tables_lack(
    key: tuple[int, int], streams: tuple[int, ...]
) -> None:
    bandwidth_mhz, mcs = key
    for count in range(1, 9):
        if count in streams:
            with pytest.raises(ValueError, match="mcs: VHT has no MCS"):
                mcs_rate("vht", mcs, bandwidth_mhz, streams=count)
        else:
            assert encoders(mcs_rate("vht", mcs, bandwidth_mhz, streams=count)) >= 1


@given(st.sampled_from(["ht", "vht", "he"]), st.data())
def test_ldpc_never_lengthens_a_frame_by_more_than_a_symbol(
    family: str, data: st.DataObject
) -> None:
    mcs = data.draw(st.integers(0, MCS_COUNT[family] - 1))
    streams = data.draw(st.integers(1, min(STREAMS_MAX[family], 2)))
    if (family, mcs) == ("vht", 9):
        mcs = 8
    size = data.draw(st.integers(1, 4000))
    ldpc = get_symbols(mcs_rate(family, mcs, streams=streams, coding="ldpc"), size)
    bits = mcs_rate(family, mcs, streams=streams).bits_per_symbol
    plain = -(-(8 * size + 16) // bits)
    assert plain <= ldpc <= plain + 1


def test_code_words_of_ldpc() -> None:
    half = Fraction(1, 2)
    assert get_codewords(100, 300, half) == (1, 648)
    assert get_codewords(100, 600, half) == (1, 1296)  # room enough for a longer word
    assert get_codewords(300, 1100, half) == (1, 1944)
    assert get_codewords(400, 1100, half) == (1, 1296)
    assert get_codewords(900, 1900, half) == (1, 1944)
    assert get_codewords(1000, 2500, half) == (2, 1944)
    assert get_codewords(1200, 2500, half) == (2, 1296)
    assert get_codewords(12_000, 26_000, half) == (13, 1944)
    # 26 symbols of BPSK fill one word of 1296 exactly but for 40 bits: few are punctured.
    assert not is_punctured_too_much(640, 1256, half)
    # 972 bits would need 1944 and have 1352: more than 30 % of the parity is lost.
    assert is_punctured_too_much(972, 1352, half)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: dsss_rate(3000), "kbps"),
        (lambda: ofdm_rate(54000, 10), "kbps"),
        (lambda: ofdm_rate(6000, 40), "bandwidth_mhz"),
        (lambda: mcs_rate("eht", 0), "family"),
        (lambda: mcs_rate("ht", 8), "mcs"),
        (lambda: mcs_rate("ht", 0, 80), "bandwidth_mhz"),
        (lambda: mcs_rate("ht", 0, streams=5), "streams"),
        (lambda: mcs_rate("he", 0, guard_ns=400), "guard_ns"),
        (lambda: mcs_rate("he", 0, coding="turbo"), "coding"),
        (lambda: find_rate("wimax-1"), "rate"),
        (lambda: frame_ns(ofdm_rate(6000), 0), "psdu_bytes"),
        (lambda: frame_ns(dsss_rate(1000), 10, short_preamble=True), "short_preamble"),
        (lambda: LoraRate(13), "spreading"),
        (lambda: LoraRate(7, coding=5), "coding"),
        (lambda: LoraRate(7, bandwidth_hz=0), "bandwidth_hz"),
        (lambda: lora_airtime_ns(LoraRate(7), 256), "payload_bytes"),
    ],
)
def test_what_no_radio_has_is_refused_by_name(call: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        call()  # type: ignore[operator]


def test_lora_airtime_vectors(ground_truth: Path) -> None:
    path = ground_truth / "radio/wifi_per/lora_airtime_vectors.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 15
    for row in rows:
        rate = LoraRate(
            int(row["sf"]),
            int(row["bandwidthHz"]),
            int(row["codingRate"]),
            int(row["nPreamble"]),
            row["headerDisabled"] == "false",
            row["crcEnabled"] == "true",
            row["lowDataRateOptimizationEnabled"] == "true",
        )
        airtime_s = lora_airtime_ns(rate, int(row["pl"])) / 1e9
        assert airtime_s == pytest.approx(float(row["formula_s"]), abs=1e-9)


def test_lora_chooses_the_low_data_rate_mode_for_long_symbols() -> None:
    assert payload_symbols(LoraRate(11), 50) == payload_symbols(
        LoraRate(11, low_data_rate=True), 50
    )
    assert payload_symbols(LoraRate(10), 50) == payload_symbols(
        LoraRate(10, low_data_rate=False), 50
    )


@pytest.mark.parametrize("spreading", range(7, 13))
def test_lora_packets_fail_around_the_datasheets_limit(spreading: int) -> None:
    rate, limit_db = LoraRate(spreading), SNR_LIMIT_DB[spreading]
    good, bad = lora_packet_error_rate([limit_db, limit_db - 3.0], rate, 20)  # type: ignore[arg-type]
    assert good < 0.05
    assert bad > 0.8


def test_lora_sensitivity_of_the_datasheet() -> None:
    assert lora_sensitivity_dbm(LoraRate(12)) == pytest.approx(-137.0, abs=0.1)
    assert lora_sensitivity_dbm(LoraRate(7)) == pytest.approx(-124.5, abs=0.1)
