"""Chance that a frame is lost, for every rate, signal-to-noise ratio and length.

Two kinds of receiver. `SOFT` is today's: curves of link simulations (`error_tables`), per MCS, for
OFDM of every generation. `HARD` is the theory of independent bit errors after hard decisions
(`error_models`), 2 to 4 dB worse; DSSS and CCK have this one only, as has 9 Mb/s.

The soft curves run straight between their points, as where they were published. Beyond the ends
they go on as ln(-ln(1 - PER)), with the slope of the last step: in it a length is a shift, and an
error rate nearly a line. Between 32 and 1,458 bytes the logarithm of the length weighs the two
convolutional curves, in that scale too.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from radio_sim.phy import error_models, error_tables
from radio_sim.phy.rates import OFDM_MODULATION, Rate

Floats = NDArray[np.float64]

SOFT, HARD = "soft", "hard"
SHORT_BYTES, LONG_BYTES = 32, 1458  # of the frames that the curves were measured with
REFERENCE_PER = 0.1
# Legacy rates that share modulation and code with an MCS.
OFDM_MCS = {6000: 0, 12000: 1, 18000: 2, 24000: 3, 36000: 4, 48000: 5, 54000: 6}
# What five digits can say least of an error rate (0) and of a success (1 - 1).
_LEAST = 0.25 * error_tables.PER_SCALE
_EXPONENT_MAX = 700.0

RATES_KBPS = (1000, 2000, *OFDM_MODULATION)
TABLE_FLOOR_DB = -20.0
TABLE_STEPS_PER_DB = 20
_TABLE_STEPS = 70 * TABLE_STEPS_PER_DB


def log_hazard(rate: Rate, snr_db: Floats, psdu_bytes: float, receiver: str = SOFT) -> Floats:
    """ln(-ln(1 - PER)) of a PSDU. The hazard itself adds up over the pieces of a frame.

    `snr_db` is that of each stream, over the rate's bandwidth. ValueError for a length below 1.
    """
    if psdu_bytes <= 0:
        raise ValueError(f"psdu_bytes: {psdu_bytes} is no length; give the PSDU's, FCS included")
    levels = np.asarray(snr_db, np.float64)
    mcs = soft_mcs(rate) if receiver == SOFT else -1
    if mcs < 0:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(-_hard_log_success(rate, levels, psdu_bytes)), np.float64)
    if rate.coding == "ldpc":
        return _curve("ldpc", mcs, levels) + math.log(psdu_bytes / LONG_BYTES)
    short = _curve("bcc_short", mcs, levels)
    if psdu_bytes <= SHORT_BYTES:
        return short + math.log(psdu_bytes / SHORT_BYTES)
    # Past their ends the two could cross, and a longer frame fare better than a short one.
    long = np.maximum(_curve("bcc_long", mcs, levels), short)
    if psdu_bytes >= LONG_BYTES:
        return np.asarray(long + math.log(psdu_bytes / LONG_BYTES), np.float64)
    weight = math.log(psdu_bytes / SHORT_BYTES) / math.log(LONG_BYTES / SHORT_BYTES)
    return np.asarray(short + weight * (long - short), np.float64)


def packet_error_rate(
    rate: Rate, snr_db: Floats, psdu_bytes: float, receiver: str = SOFT
) -> Floats:
    """Chance that a PSDU (FCS included) arrives with an error, at an SNR per stream in dB."""
    hazard = np.exp(np.minimum(log_hazard(rate, snr_db, psdu_bytes, receiver), _EXPONENT_MAX))
    return np.asarray(-np.expm1(-hazard), np.float64)


def soft_mcs(rate: Rate) -> int:
    """MCS whose measured curve a rate follows, -1 where there is none."""
    if rate.family in ("dsss", "cck"):
        return -1
    if rate.mcs >= 0:
        return rate.mcs if rate.coding == "ldpc" or rate.mcs < len(error_tables.BCC_1458) else -1
    return OFDM_MCS.get(rate.kbps * (20 // rate.bandwidth_mhz), -1)


def required_snr_db(
    rate: Rate, psdu_bytes: float = LONG_BYTES, per: float = REFERENCE_PER, receiver: str = SOFT
) -> float:
    """Signal-to-noise ratio at which a PSDU's error rate is `per`, by bisection, to 1e-6 dB."""
    if not 0.0 < per < 1.0:
        raise ValueError(f"per: {per} is no error rate that is reached; use one between 0 and 1")
    low, high = -40.0, 80.0
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        lost = float(packet_error_rate(rate, np.array(middle), psdu_bytes, receiver))
        low, high = (middle, high) if lost > per else (low, middle)
    return high


@lru_cache(maxsize=256)
def rate_success_table(rate: Rate, psdu_bytes: int, receiver: str = SOFT) -> Floats:
    """Success rates on the grid of `table_index`, read only."""
    table = 1.0 - packet_error_rate(rate, _grid_db(), psdu_bytes, receiver)
    table.setflags(write=False)
    return table


def packet_success_rate(snr_db: Floats, mpdu_bytes: int, rate_kbps: int) -> Floats:
    """Chance that all bits of an MPDU arrive right: DSSS, CCK, OFDM with hard decisions."""
    return np.asarray(np.exp(error_models.log_success(snr_db, mpdu_bytes, rate_kbps)), np.float64)


@lru_cache(maxsize=256)
def success_table(mpdu_bytes: int, rate_kbps: int) -> Floats:
    """`packet_success_rate` on a grid of TABLE_STEPS_PER_DB from TABLE_FLOOR_DB upwards."""
    return packet_success_rate(_grid_db(), mpdu_bytes, rate_kbps)


def table_index(snr_db: Floats) -> NDArray[np.intp]:
    """Index into a success table, clipped to its ends."""
    steps = np.rint((snr_db - TABLE_FLOOR_DB) * TABLE_STEPS_PER_DB)
    return np.minimum(np.maximum(steps, 0.0), _TABLE_STEPS).astype(np.intp)


def _grid_db() -> Floats:
    return TABLE_FLOOR_DB + np.arange(_TABLE_STEPS + 1) / TABLE_STEPS_PER_DB


def _hard_log_success(rate: Rate, snr_db: Floats, psdu_bytes: float) -> Floats:
    if rate.family in ("dsss", "cck"):
        return error_models.log_success(snr_db, psdu_bytes, rate.kbps)
    if rate.code_numerator not in error_models.SPECTRA:
        text = f"receiver: no hard decisions are known of {rate.name}"
        raise ValueError(f"{text}; use {SOFT!r}")
    snr = 10.0 ** (snr_db / 10.0)
    errors = error_models.coded_bit_error_rate(
        error_models.ofdm_bit_error_rate(snr, rate.points), rate.code_numerator
    )
    with np.errstate(divide="ignore"):
        return np.asarray(8.0 * psdu_bytes * np.log1p(-errors), np.float64)


def _curve(kind: str, mcs: int, snr_db: Floats) -> Floats:
    levels, lost = _points(kind, mcs)
    inside = _log_hazard_of(np.asarray(np.interp(snr_db, levels, lost), np.float64))
    values = _log_hazard_of(lost)
    below = np.minimum(snr_db - levels[0], 0.0) * _slope(levels, values, 0)
    above = np.maximum(snr_db - levels[-1], 0.0) * _slope(levels, values, -2)
    return np.asarray(inside + below + above, np.float64)


def _slope(levels: Floats, values: Floats, at: int) -> float:
    return float((values[at + 1] - values[at]) / (levels[at + 1] - levels[at]))


@lru_cache(maxsize=64)
def _points(kind: str, mcs: int) -> tuple[Floats, Floats]:
    table, step_db = {
        "bcc_short": (error_tables.BCC_32, error_tables.BCC_STEP_DB),
        "bcc_long": (error_tables.BCC_1458, error_tables.BCC_STEP_DB),
        "ldpc": (error_tables.LDPC_1458, error_tables.LDPC_STEP_DB),
    }[kind]
    start_db, rates = table[mcs]
    lost = np.clip(np.array(rates) * error_tables.PER_SCALE, _LEAST, 1.0 - _LEAST)
    levels = np.asarray(start_db + step_db * np.arange(len(rates)), np.float64)
    return levels, np.asarray(lost, np.float64)


def _log_hazard_of(lost: Floats) -> Floats:
    return np.asarray(np.log(-np.log1p(-lost)), np.float64)
