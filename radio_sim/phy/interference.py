"""What another transmission does to a frame: how much of it falls into the channel, how long.

Spectral masks: IEEE 802.11-2020 15.4.5.5 (DSSS), 17.3.9.3 (OFDM), 19.3.18.1 (HT), 21.3.17.1 (VHT);
802.11ax-2021 27.3.19.1 (HE). They are upper bounds, so a real transmitter disturbs its neighbours
less. The receiver's filter is taken as a rectangle of its bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from radio_sim.phy.packet_errors import SOFT, log_hazard
from radio_sim.phy.rates import US, Rate

Floats = NDArray[np.float64]

# Levels at the corners of a mask; where they are, as shares of half the bandwidth.
MASK_DBR = (0.0, -20.0, -28.0, -40.0)
DSSS_MASK = ((11.0, 0.0), (11.0, -30.0), (22.0, -30.0), (22.0, -50.0))
# Half of what must be flat: 1 MHz less than half the channel, 0.25 or 0.5 MHz less in HE.
HE_SLOPES_MHZ = {20: (9.75, 10.5), 40: (19.5, 20.5), 80: (39.5, 40.5), 160: (79.5, 80.5)}
_STEPS = 4001
FAR_CHANNELS = 4.0  # bandwidths of the transmitter to which its spectrum is followed

# A receiver locked on a frame lets it go for a stronger one: easily while it still trains, by
# 10 dB or more within the body (Lee et al.: An experimental study on the capture effect in
# 802.11a networks, ACM WiNTECH 2007), if it can at all.
PREAMBLE_CAPTURE_DB = 5.0
BODY_CAPTURE_DB = 10.0
TRAINING_NS = 16 * US  # short and long training, until the receiver has settled


@dataclass(frozen=True, slots=True)
class Capture:
    """When a later frame takes a receiver over; None: never in that part of the first frame."""

    preamble_db: float | None = PREAMBLE_CAPTURE_DB
    body_db: float | None = BODY_CAPTURE_DB
    training_ns: int = TRAINING_NS


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a frame with constant interference."""

    length_ns: int
    interference_mw: float


def spectral_mask(family: str, bandwidth_mhz: int) -> tuple[tuple[float, float], ...]:
    """Corners (offset from the centre in MHz, level in dBr) of a transmitter's mask."""
    if family in ("dsss", "cck"):
        return DSSS_MASK
    half = bandwidth_mhz / 2.0
    flat, steep = half * 0.9, half * 1.1
    if family == "he":
        flat, steep = HE_SLOPES_MHZ[bandwidth_mhz]
    elif bandwidth_mhz > 20:
        flat, steep = half - 1.0, half + 1.0
    return tuple(zip((flat, steep, 2.0 * half, 3.0 * half), MASK_DBR, strict=True))


def mask_dbr(family: str, bandwidth_mhz: int, offset_mhz: Floats) -> Floats:
    """Level of a mask at offsets from the centre, dBr, between the corners linear in dB."""
    corners = np.array(spectral_mask(family, bandwidth_mhz))
    if family in ("dsss", "cck"):
        steps = np.searchsorted(corners[::2, 0], np.abs(offset_mhz), side="left")
        return np.asarray(np.array([0.0, *corners[1::2, 1]])[steps], np.float64)
    return np.asarray(np.interp(np.abs(offset_mhz), corners[:, 0], corners[:, 1]), np.float64)


@lru_cache(maxsize=4096)
def rejection_db(
    family: str, bandwidth_mhz: int, receiver_mhz: int, apart_mhz: float
) -> float:
    """Loss of a transmission in a receiver tuned `apart_mhz` away: its power outside the filter.

    Infinite beyond FAR_CHANNELS bandwidths. ValueError for a bandwidth of none.
    """
    if min(bandwidth_mhz, receiver_mhz) <= 0:
        raise ValueError("bandwidth_mhz: a channel has a width; use 5 to 160")
    reach = FAR_CHANNELS * bandwidth_mhz
    low = max(abs(apart_mhz) - receiver_mhz / 2.0, -reach)
    high = min(abs(apart_mhz) + receiver_mhz / 2.0, reach)
    if low >= high:
        return math.inf
    inside = _power(family, bandwidth_mhz, low, high)
    return max(-10.0 * math.log10(inside / _power(family, bandwidth_mhz, -reach, reach)), 0.0)


def _power(family: str, bandwidth_mhz: int, low_mhz: float, high_mhz: float) -> float:
    """Area under a mask by the midpoint rule; its jumps cost no more than a step."""
    step = (high_mhz - low_mhz) / _STEPS
    middles = np.asarray(low_mhz + step * (np.arange(_STEPS) + 0.5), np.float64)
    return float(np.sum(10.0 ** (mask_dbr(family, bandwidth_mhz, middles) / 10.0)) * step)


def overlap_pieces(
    start_ns: int, end_ns: int, others: Sequence[tuple[int, int, float]]
) -> list[Piece]:
    """Cut a frame where another one begins or ends; `others` are (start, end, milliwatts).

    The pieces follow each other and fill the frame. ValueError for a frame that ends before it
    begins.
    """
    if end_ns <= start_ns:
        raise ValueError("end_ns: the frame ends before it begins; swap the two")
    heard = [other for other in others if other[0] < end_ns and other[1] > start_ns]
    cuts = {start_ns, end_ns}
    for begin, finish, _ in heard:
        cuts |= {max(begin, start_ns), min(finish, end_ns)}
    edges = sorted(cuts)
    return [
        Piece(right - left, math.fsum(mw for b, f, mw in heard if b <= left and f >= right))
        for left, right in pairwise(edges)
    ]


def sinr_db(signal_dbm: float, noise_dbm: float, interference_mw: float) -> float:
    """Signal over the sum of noise and interference."""
    return signal_dbm - 10.0 * math.log10(10.0 ** (noise_dbm / 10.0) + interference_mw)


def success_over_pieces(
    rate: Rate,
    psdu_bytes: int,
    signal_dbm: float,
    noise_dbm: float,
    pieces: Sequence[Piece],
    receiver: str = SOFT,
) -> float:
    """Chance that a frame arrives whose interference changes on the way.

    Each piece carries its share of the bits, with the hazard of its own SINR.
    """
    total_ns = sum(piece.length_ns for piece in pieces)
    if total_ns <= 0:
        raise ValueError("pieces: they last no time; give those of overlap_pieces")
    levels = np.array([sinr_db(signal_dbm, noise_dbm, piece.interference_mw) for piece in pieces])
    shares = np.array([piece.length_ns for piece in pieces]) / total_ns
    hazards = np.exp(np.minimum(log_hazard(rate, levels, psdu_bytes, receiver), 700.0))
    return math.exp(-float(np.sum(shares * hazards)))


def is_captured(first_dbm: float, second_dbm: float, late_ns: int, capture: Capture) -> bool:
    """Say whether a receiver leaves a frame for one that begins `late_ns` after it."""
    margin = capture.preamble_db if late_ns < capture.training_ns else capture.body_db
    return margin is not None and second_dbm >= first_dbm + margin
