"""Every way 802.11 sends a frame: modulation, code, symbol, and the weakest signal it must hear.

Sources: IEEE 802.11-2020 clauses 15 (DSSS), 16 (HR/DSSS), 17 (OFDM), 18 (ERP), 19 (HT), 21 (VHT);
IEEE 802.11ax-2021 clause 27 (HE). Names are `dsss-1`, `cck-11`, `ofdm-6`, `ofdm-3-10mhz`, `erp-6`,
`ht-mcs7-40mhz-gi400`, `vht-mcs8-80mhz-nss2`, `he-mcs11-160mhz-gi1600`: what is left out is one
stream, 20 MHz and a guard interval of 800 ns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

US = 1000  # nanoseconds
DSSS_BANDWIDTH_MHZ = 22

# Points of the constellation and code rate of HE-MCS 0 to 11 (table 27-54); HT and VHT use the
# first 8 and 10 of them (tables 19-27, 21-29).
MCS_MODULATION = (
    (2, 1, 2),
    (4, 1, 2),
    (4, 3, 4),
    (16, 1, 2),
    (16, 3, 4),
    (64, 2, 3),
    (64, 3, 4),
    (64, 5, 6),
    (256, 3, 4),
    (256, 5, 6),
    (1024, 3, 4),
    (1024, 5, 6),
)
# Least sensitivity in 20 MHz, table 19-23, then 21-25 and 27-51.
MCS_SENSITIVITY_DBM = (-82, -79, -77, -74, -70, -66, -65, -64, -59, -57, -54, -52)
DATA_SUBCARRIERS = {
    "ht": {20: 52, 40: 108},
    "vht": {20: 52, 40: 108, 80: 234, 160: 468},
    "he": {20: 234, 40: 468, 80: 980, 160: 1960},
}
MCS_COUNT = {"ht": 8, "vht": 10, "he": 12}
STREAMS_MAX = {"ht": 4, "vht": 8, "he": 8}
GUARDS_NS = {"ht": (800, 400), "vht": (800, 400), "he": (800, 1600, 3200)}
HE_SYMBOL_NS = 12_800
HT_SYMBOL_NS = 3_200
# The shortest training symbol that each guard interval allows without the optional 1x one: twice
# 3.2 us, with 3.2 us of guard four times (802.11ax-2021, 27.3.11.10), guard included.
HE_TRAINING_NS = {800: 7_200, 1600: 8_000, 3200: 16_000}
# (bandwidth, MCS) to the numbers of streams for which VHT has no such rate (21.5).
VHT_EXCLUDED = {(20, 9): (1, 2, 4, 5, 7, 8), (80, 6): (3, 7), (80, 9): (6,), (160, 9): (3,)}

# Legacy OFDM in 20 MHz: kb/s to constellation, code rate, least sensitivity (tables 17-4, 17-18).
OFDM_MODULATION = {
    6000: (2, 1, 2, -82),
    9000: (2, 3, 4, -81),
    12000: (4, 1, 2, -79),
    18000: (4, 3, 4, -77),
    24000: (16, 1, 2, -74),
    36000: (16, 3, 4, -70),
    48000: (64, 2, 3, -66),
    54000: (64, 3, 4, -65),
}
OFDM_BANDWIDTHS_MHZ = (5, 10, 20)
# kb/s to bits a symbol, least sensitivity: 15.4.8.2 for 2 Mb/s, 16.3.8.2 for 11 Mb/s; what the
# standard leaves open stands as many dB off as the same power lasts for more or fewer bits.
DSSS_SYMBOLS = {1000: (1, -83), 2000: (2, -80), 5500: (4, -79), 11000: (8, -76)}
DSSS_CHIPS = {1000: 11, 2000: 11, 5500: 8, 11000: 8}

_NAME = re.compile(
    r"(?P<family>dsss|cck|ofdm|erp)-(?P<mbps>[0-9]+(?:\.[0-9]+)?)(?:-(?P<width>5|10)mhz)?"
    r"|(?P<high>ht|vht|he)-mcs(?P<mcs>[0-9]+)(?:-(?P<wide>40|80|160)mhz)?"
    r"(?:-nss(?P<streams>[1-8]))?(?:-gi(?P<guard>[0-9]+))?"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate of one PHY. `mcs` is -1 where the PHY has none; `points` is the constellation's."""

    name: str
    family: str  # dsss, cck, ofdm, erp, ht, vht, he
    kbps: int  # rounded
    bandwidth_mhz: int
    mcs: int
    streams: int
    points: int
    code_numerator: int
    code_denominator: int
    coding: str  # none, bcc, ldpc
    bits_per_symbol: int  # N_DBPS
    coded_bits_per_symbol: int  # N_CBPS
    symbol_ns: int
    guard_ns: int
    sensitivity_dbm: int
    training_ns: int = 0  # one HE-LTF symbol


def dsss_rate(kbps: int) -> Rate:
    """Return 1 or 2 Mb/s DSSS, or 5.5 or 11 Mb/s CCK."""
    if kbps not in DSSS_SYMBOLS:
        raise ValueError(f"kbps: {kbps} is no DSSS rate; use {_listed(DSSS_SYMBOLS)}")
    bits, sensitivity_dbm = DSSS_SYMBOLS[kbps]
    family = "dsss" if kbps <= 2000 else "cck"
    symbol_ns = DSSS_CHIPS[kbps] * US // 11
    return Rate(
        name=f"{family}-{kbps / 1000:g}",
        family=family,
        kbps=kbps,
        bandwidth_mhz=DSSS_BANDWIDTH_MHZ,
        mcs=-1,
        streams=1,
        points=2**bits,
        code_numerator=1,
        code_denominator=1,
        coding="none",
        bits_per_symbol=bits,
        coded_bits_per_symbol=bits,
        symbol_ns=symbol_ns,
        guard_ns=0,
        sensitivity_dbm=sensitivity_dbm,
    )


def ofdm_rate(kbps: int, bandwidth_mhz: int = 20, *, erp: bool = False) -> Rate:
    """Return a legacy OFDM rate: 6 to 54 Mb/s in 20 MHz, half and a quarter of it in 10 and 5.

    `erp` is the same in the 2.4 GHz band, where each frame ends with a signal extension.
    """
    if bandwidth_mhz not in OFDM_BANDWIDTHS_MHZ or (erp and bandwidth_mhz != 20):
        raise ValueError(f"bandwidth_mhz: {bandwidth_mhz} is not of OFDM; use 5, 10 or 20")
    slower = 20 // bandwidth_mhz
    if kbps * slower not in OFDM_MODULATION:
        known = [rate // slower for rate in OFDM_MODULATION]
        raise ValueError(f"kbps: {kbps} is no OFDM rate in this width; use {_listed(known)}")
    points, numerator, denominator, sensitivity_dbm = OFDM_MODULATION[kbps * slower]
    coded = 48 * (points.bit_length() - 1)
    family = "erp" if erp else "ofdm"
    return Rate(
        name=f"{family}-{kbps / 1000:g}" + ("" if slower == 1 else f"-{bandwidth_mhz}mhz"),
        family=family,
        kbps=kbps,
        bandwidth_mhz=bandwidth_mhz,
        mcs=-1,
        streams=1,
        points=points,
        code_numerator=numerator,
        code_denominator=denominator,
        coding="bcc",
        bits_per_symbol=coded * numerator // denominator,
        coded_bits_per_symbol=coded,
        symbol_ns=4 * US * slower,
        guard_ns=800 * slower,
        sensitivity_dbm=sensitivity_dbm - 3 * (slower.bit_length() - 1),
    )


def mcs_rate(
    family: str,
    mcs: int,
    bandwidth_mhz: int = 20,
    *,
    streams: int = 1,
    guard_ns: int = 800,
    coding: str | None = None,
    training_ns: int | None = None,
) -> Rate:
    """Return a rate of HT (mcs counts within one stream), VHT or HE.

    `coding` bcc or ldpc; left out, bcc, but ldpc where HE demands it: above 20 MHz and MCS 10, 11
    (27.3.12.5). `training_ns` is the length of an HE-LTF symbol with its guard. ValueError for
    what the standard doesn't have.
    """
    _check_mcs(family, mcs, bandwidth_mhz, streams, guard_ns)
    points, numerator, denominator = MCS_MODULATION[mcs]
    coded = DATA_SUBCARRIERS[family][bandwidth_mhz] * (points.bit_length() - 1) * streams
    bits = coded * numerator // denominator
    symbol_ns = guard_ns + (HE_SYMBOL_NS if family == "he" else HT_SYMBOL_NS)
    demanded = family == "he" and (bandwidth_mhz > 20 or mcs > 9)
    coding = coding or ("ldpc" if demanded else "bcc")
    if coding not in ("bcc", "ldpc"):
        raise ValueError(f"coding: {coding} is none of 802.11; use bcc or ldpc")
    return Rate(
        name=_mcs_name(family, mcs, bandwidth_mhz, streams, guard_ns),
        family=family,
        kbps=round(bits * 1_000_000 / symbol_ns),
        bandwidth_mhz=bandwidth_mhz,
        mcs=mcs,
        streams=streams,
        points=points,
        code_numerator=numerator,
        code_denominator=denominator,
        coding=coding,
        bits_per_symbol=bits,
        coded_bits_per_symbol=coded,
        symbol_ns=symbol_ns,
        guard_ns=guard_ns,
        sensitivity_dbm=MCS_SENSITIVITY_DBM[mcs] + 3 * ((bandwidth_mhz // 20).bit_length() - 1),
        training_ns=(training_ns or HE_TRAINING_NS[guard_ns]) if family == "he" else 0,
    )


def _check_mcs(family: str, mcs: int, bandwidth_mhz: int, streams: int, guard_ns: int) -> None:
    if family not in MCS_COUNT:
        raise ValueError(f"family: {family} has no MCS; use ht, vht or he")
    if not 0 <= mcs < MCS_COUNT[family]:
        raise ValueError(f"mcs: {mcs} is not of {family}; use 0 to {MCS_COUNT[family] - 1}")
    if bandwidth_mhz not in DATA_SUBCARRIERS[family]:
        known = _listed(DATA_SUBCARRIERS[family])
        raise ValueError(f"bandwidth_mhz: {bandwidth_mhz} is not of {family}; use {known}")
    if not 1 <= streams <= STREAMS_MAX[family]:
        raise ValueError(f"streams: {streams} is too many or too few; use 1 to 8 (HT: 4)")
    if guard_ns not in GUARDS_NS[family]:
        raise ValueError(f"guard_ns: {guard_ns} is not of {family}; use {GUARDS_NS[family]}")
    if family == "vht" and streams in VHT_EXCLUDED.get((bandwidth_mhz, mcs), ()):
        text = f"mcs: VHT has no MCS {mcs} in {bandwidth_mhz} MHz with {streams} streams"
        raise ValueError(f"{text}; use another MCS")


def find_rate(name: str) -> Rate:
    """Return the rate of a name (see the top of this file). ValueError for a name of none."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"rate: {name!r} is none; write it like ofdm-6 or he-mcs7-80mhz")
    if found["high"]:
        return mcs_rate(
            found["high"],
            int(found["mcs"]),
            int(found["wide"] or 20),
            streams=int(found["streams"] or 1),
            guard_ns=int(found["guard"] or 800),
        )
    kbps = round(float(found["mbps"]) * 1000)
    if found["family"] in ("dsss", "cck"):
        return dsss_rate(kbps)
    return ofdm_rate(kbps, int(found["width"] or 20), erp=found["family"] == "erp")


@lru_cache(maxsize=1)
def all_rates() -> tuple[Rate, ...]:
    """Every rate of one spatial stream, by family, width, guard interval and speed."""
    return tuple(_iterate_rates())


def _iterate_rates() -> Iterator[Rate]:
    yield from (dsss_rate(kbps) for kbps in DSSS_SYMBOLS)
    for bandwidth_mhz in OFDM_BANDWIDTHS_MHZ:
        slower = 20 // bandwidth_mhz
        yield from (ofdm_rate(kbps // slower, bandwidth_mhz) for kbps in OFDM_MODULATION)
    yield from (ofdm_rate(kbps, erp=True) for kbps in OFDM_MODULATION)
    for family, count in MCS_COUNT.items():
        for bandwidth_mhz in DATA_SUBCARRIERS[family]:
            for guard_ns in GUARDS_NS[family]:
                for mcs in range(count):
                    if 1 not in VHT_EXCLUDED.get((bandwidth_mhz, mcs), ()) or family != "vht":
                        yield mcs_rate(family, mcs, bandwidth_mhz, guard_ns=guard_ns)


def encoders(rate: Rate) -> int:
    """Convolutional encoders of HT and VHT (N_ES): one for each 600 Mb/s at the short guard.

    More where the bits would not divide evenly (the exceptions of tables 21-38 to 21-57).
    """
    if rate.family not in ("ht", "vht"):
        return 1
    # 600 Mb/s in a symbol of 3.6 us; HT splits at 300 Mb/s in 4 us (19.3.11.6).
    bits_each = 2160 if rate.family == "vht" else 1200
    count = -(-rate.bits_per_symbol // bits_each)
    while not _divides_evenly(rate, count):
        count += 1
    return count


def _divides_evenly(rate: Rate, count: int) -> bool:
    coded, data = count * rate.code_denominator, count * rate.code_numerator
    return rate.coded_bits_per_symbol % coded == 0 and rate.bits_per_symbol % data == 0


def reference_kbps(rate: Rate) -> int:
    """Non-HT reference rate: legacy speed of the same modulation and code (table 10-10)."""
    if rate.family not in MCS_COUNT:
        return rate.kbps
    if rate.points > 64 or (rate.points == 64 and rate.code_denominator > 3):
        return 54000
    code = (rate.code_numerator, rate.code_denominator)
    return next(
        kbps
        for kbps, (points, top, bottom, _) in OFDM_MODULATION.items()
        if (points, top, bottom) == (rate.points, *code)
    )


def _mcs_name(family: str, mcs: int, bandwidth_mhz: int, streams: int, guard_ns: int) -> str:
    width = "" if bandwidth_mhz == 20 else f"-{bandwidth_mhz}mhz"
    several = "" if streams == 1 else f"-nss{streams}"
    guard = "" if guard_ns == 800 else f"-gi{guard_ns}"
    return f"{family}-mcs{mcs}{width}{several}{guard}"


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)
