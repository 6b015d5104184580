"""Chance of a wrong bit or symbol in white Gaussian noise, by theory: DSSS, CCK, legacy OFDM.

Signal-to-noise ratios are linear, over the channel's bandwidth (DSSS: 22 MHz). OFDM is that of
a receiver with hard decisions; `packet_errors` has the better one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, erfc

from radio_sim.phy.rates import OFDM_MODULATION

Floats = NDArray[np.float64]

DSSS_BANDWIDTH_HZ = 22e6
CCK_BITS_PER_SYMBOL = {5500: 4, 11000: 8}
QUADRATURE_NODES = 96
TAIL_SIGMAS = 9.0  # a normal variable is never farther out, to the precision of a double

# Distance spectra (information weights) of the 133/171 convolutional code at its free distance
# and beyond; rate 3/4 and 2/3 are its punctured forms (Haccoun, Begin, IEEE Trans. Comm. 1989).
SPECTRUM_1_2 = (10, 2, (36, 211, 1404, 11633, 77433, 502690, 3322763, 21292910, 134365911))
SPECTRUM_2_3 = (6, 1, (3, 70, 285, 1276, 6160, 27128, 117019, 498860, 2103891, 8784123))
SPECTRUM_3_4 = (
    5,
    1,
    (42, 201, 1492, 10469, 62935, 379644, 2253373, 13073811, 75152755, 428005675),
)
SPECTRA = {1: SPECTRUM_1_2, 2: SPECTRUM_2_3, 3: SPECTRUM_3_4}  # by numerator of the code rate


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


def cck_symbol_error_rate(snr: Floats, rate_kbps: int) -> Floats:
    """Wrong symbols of 5.5 and 11 Mb/s: biorthogonal signals (Proakis, eqs. 5.2-33, 5.2-34).

    Sixteen signals say four bits a symbol; 11 Mb/s is two such sets, on the two quadratures.
    """
    bit_energy = np.atleast_1d(snr) * DSSS_BANDWIDTH_HZ / (1000.0 * rate_kbps)
    reach = np.sqrt(4.0 * bit_energy)[..., None]
    low = np.maximum(-reach, -TAIL_SIGMAS)
    half = (TAIL_SIGMAS - low) / 2.0
    points = low + half * (_NODES + 1.0)
    density = np.exp(-0.5 * points * points) / math.sqrt(2.0 * math.pi)
    inside = erf((points + reach) / math.sqrt(2.0))
    right = np.sum(half * _WEIGHTS * density * inside**7, axis=-1)
    right = right ** (CCK_BITS_PER_SYMBOL[rate_kbps] // 4)
    return np.asarray(np.reshape(np.maximum(1.0 - right, 0.0), np.shape(snr)), np.float64)


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
    start, stride, weights = SPECTRA[numerator]
    base = np.sqrt(4.0 * uncoded * (1.0 - uncoded))
    total = np.zeros_like(base)
    for index, weight in enumerate(weights):
        total += weight * base ** (start + stride * index)
    return np.minimum(total / (2.0 * numerator), 1.0)


def bit_error_rate(snr: Floats, rate_kbps: int) -> Floats:
    """Bit error rate after decoding at a linear SNR; 1 or 2 Mb/s DSSS, else OFDM."""
    if rate_kbps == 1000:
        return dbpsk_bit_error_rate(snr)
    if rate_kbps == 2000:
        return dqpsk_bit_error_rate(snr)
    points, numerator, _, _ = OFDM_MODULATION[rate_kbps]
    return coded_bit_error_rate(ofdm_bit_error_rate(snr, points), numerator)


def log_success(snr_db: Floats, mpdu_bytes: float, rate_kbps: int) -> Floats:
    """Natural logarithm of the chance that all bits of an MPDU arrive right (0 or below)."""
    snr = 10.0 ** (np.asarray(snr_db, np.float64) / 10.0)
    if rate_kbps in CCK_BITS_PER_SYMBOL:
        symbols = 8.0 * mpdu_bytes / CCK_BITS_PER_SYMBOL[rate_kbps]
        errors = cck_symbol_error_rate(snr, rate_kbps)
    else:
        symbols = 8.0 * mpdu_bytes
        errors = bit_error_rate(snr, rate_kbps)
    with np.errstate(divide="ignore"):  # a bound may say that every bit is wrong
        return np.asarray(symbols * np.log1p(-errors), np.float64)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
