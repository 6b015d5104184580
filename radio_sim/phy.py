"""The physical layer of 802.11: airtime of a frame, and the chance that it is lost.

Packet error rates are those of independent bit errors: 1 - (1 - BER)^bits. Signal-to-noise ratios
are linear, over the channel's bandwidth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

Floats = NDArray[np.float64]

FCS_BYTES = 4
DSSS_BANDWIDTH_HZ = 22e6
DSSS_PREAMBLE_US = 192  # long PLCP preamble and header, 802.11-2020 table 15-3
OFDM_PREAMBLE_US = 20  # 802.11-2020 eq. (17-29)
OFDM_SYMBOL_US = 4
OFDM_SERVICE_TAIL_BITS = 22
SIGNAL_EXTENSION_US = 6  # ERP-OFDM in the 2.4 GHz band, 802.11-2020, 18.3.2.4

# Distance spectra (information weights) of the 133/171 convolutional code at its free distance
# and beyond; rate 3/4 and 2/3 are its punctured forms (Haccoun, Begin, IEEE Trans. Comm. 1989).
SPECTRUM_1_2 = (10, 2, (36, 211, 1404, 11633, 77433, 502690, 3322763, 21292910, 134365911))
SPECTRUM_2_3 = (
    6,
    1,
    (3, 70, 285, 1276, 6160, 27128, 117019, 498860, 2103891, 8784123),
)
SPECTRUM_3_4 = (
    5,
    1,
    (42, 201, 1492, 10469, 62935, 379644, 2253373, 13073811, 75152755, 428005675),
)


@dataclass(frozen=True, slots=True)
class OfdmRate:
    """Modulation (points of the constellation) and code of one legacy OFDM rate."""

    points: int
    numerator: int  # of the code rate: 1/2, 2/3 or 3/4
    bits_per_symbol: int


OFDM_RATES = {
    6000: OfdmRate(2, 1, 24),
    9000: OfdmRate(2, 3, 36),
    12000: OfdmRate(4, 1, 48),
    18000: OfdmRate(4, 3, 72),
    24000: OfdmRate(16, 1, 96),
    36000: OfdmRate(16, 3, 144),
    48000: OfdmRate(64, 2, 192),
    54000: OfdmRate(64, 3, 216),
}
DSSS_RATES = (1000, 2000)
RATES_KBPS = (*DSSS_RATES, *OFDM_RATES)
_SPECTRA = {1: SPECTRUM_1_2, 2: SPECTRUM_2_3, 3: SPECTRUM_3_4}

TABLE_FLOOR_DB = -20.0
TABLE_STEPS_PER_DB = 20
_TABLE_STEPS = 70 * TABLE_STEPS_PER_DB


def airtime_us(mpdu_bytes: int, rate_kbps: int) -> int:
    """Time on the air of an MPDU (FCS included), whole microseconds.

    DSSS with the long preamble; OFDM with the signal extension of the 2.4 GHz band.
    """
    bits = 8 * mpdu_bytes
    if rate_kbps in DSSS_RATES:
        return DSSS_PREAMBLE_US + -(-bits * 1000 // rate_kbps)
    symbols = -(-(bits + OFDM_SERVICE_TAIL_BITS) // OFDM_RATES[rate_kbps].bits_per_symbol)
    return OFDM_PREAMBLE_US + OFDM_SYMBOL_US * symbols + SIGNAL_EXTENSION_US


def dbpsk_bit_error_rate(snr: Floats) -> Floats:
    """1 Mb/s DSSS: exp(-Eb/N0) / 2 (Proakis, Digital Communications, eq. 5.2-69)."""
    return np.asarray(0.5 * np.exp(-snr * DSSS_BANDWIDTH_HZ / 1e6), np.float64)


def dqpsk_bit_error_rate(snr: Floats) -> Floats:
    """2 Mb/s DSSS: the exponential bound of DQPSK with Gray code (Ferrari, Corazza, 2004)."""
    bit_energy = np.maximum(snr * DSSS_BANDWIDTH_HZ / 2e6, 1e-12)
    root = math.sqrt(2.0)
    factor = (root + 1.0) / math.sqrt(8.0 * math.pi * root)
    bound = factor / np.sqrt(bit_energy) * np.exp(-(2.0 - root) * bit_energy)
    return np.minimum(bound, 0.5)


def ofdm_bit_error_rate(snr: Floats, points: int) -> Floats:
    """Uncoded Gray-mapped BPSK, QPSK, 16- or 64-QAM (Proakis, eqs. 5.2-57 and 5.2-79)."""
    if points == 2:
        return np.asarray(0.5 * erfc(np.sqrt(snr)), np.float64)
    side = math.sqrt(points)
    bits = math.log2(points)
    factor = 2.0 * (1.0 - 1.0 / side) / bits
    return np.asarray(factor * erfc(np.sqrt(1.5 * snr / (points - 1))), np.float64)


def coded_bit_error_rate(uncoded: Floats, numerator: int) -> Floats:
    """Chernoff union bound after hard-decision decoding: sum over d of w_d D^d / 2k.

    D = sqrt(4 p (1 - p)); k is the numerator of the code rate (Miller, NIST, 2003).
    """
    start, stride, weights = _SPECTRA[numerator]
    base = np.sqrt(4.0 * uncoded * (1.0 - uncoded))
    total = np.zeros_like(base)
    for index, weight in enumerate(weights):
        total += weight * base ** (start + stride * index)
    return np.minimum(total / (2.0 * numerator), 1.0)


def bit_error_rate(snr: Floats, rate_kbps: int) -> Floats:
    """Bit error rate after decoding at a linear SNR; `rate_kbps` is one of RATES_KBPS."""
    if rate_kbps == 1000:
        return dbpsk_bit_error_rate(snr)
    if rate_kbps == 2000:
        return dqpsk_bit_error_rate(snr)
    rate = OFDM_RATES[rate_kbps]
    return coded_bit_error_rate(ofdm_bit_error_rate(snr, rate.points), rate.numerator)


def packet_success_rate(snr_db: Floats, mpdu_bytes: int, rate_kbps: int) -> Floats:
    """Chance that all bits of an MPDU arrive right."""
    errors = bit_error_rate(10.0 ** (np.asarray(snr_db, np.float64) / 10.0), rate_kbps)
    return np.asarray((1.0 - errors) ** (8 * mpdu_bytes), np.float64)


@lru_cache(maxsize=256)
def success_table(mpdu_bytes: int, rate_kbps: int) -> Floats:
    """`packet_success_rate` on a grid of TABLE_STEPS_PER_DB from TABLE_FLOOR_DB upwards."""
    grid = TABLE_FLOOR_DB + np.arange(_TABLE_STEPS + 1) / TABLE_STEPS_PER_DB
    return packet_success_rate(grid, mpdu_bytes, rate_kbps)


def table_index(snr_db: Floats) -> NDArray[np.intp]:
    """Index into `success_table`, clipped to its ends."""
    steps = np.rint((snr_db - TABLE_FLOOR_DB) * TABLE_STEPS_PER_DB)
    return np.minimum(np.maximum(steps, 0.0), _TABLE_STEPS).astype(np.intp)
