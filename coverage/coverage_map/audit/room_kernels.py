"""Pairs of senders that may stand in one room, though they claim places apart: compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.place_kernels import ROOT, chance_below
from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_COMMON = 4
# Two antennas 3 m apart differ by 2 * 7.82^2 * (1 - exp(-3 / 13)) = 25 dB^2 at each witness, by
# 38.901, tables 7.4.1-1 and 7.5-6, UMi without a view.
ROOM_VAR_DB2 = 25.0
# What one witness says: it may be the liar, or its own antenna odd.
LINK_FLOOR_NATS, LINK_MOST_NATS = -6.0, 3.0
LEAST_ARRIVES = 1e-3


@compiled
def find_common(i: int, j: int, starts: Ints, witness: Ints) -> Ints:
    """Links of i and of j [n, 2] to the witnesses that hear both, which links are sorted by."""
    pairs = np.empty((min(starts[i + 1] - starts[i], starts[j + 1] - starts[j]), 2), np.int64)
    a, b, common = starts[i], starts[j], 0
    while a < starts[i + 1] and b < starts[j + 1]:
        if witness[a] < witness[b]:
            a += 1
        elif witness[b] < witness[a]:
            b += 1
        else:
            pairs[common, 0], pairs[common, 1] = a, b
            common += 1
            a += 1
            b += 1
    return pairs[:common]


@compiled
def compare_room(
    i: int,
    j: int,
    starts: Ints,
    witness: Ints,
    loss: Floats,
    most: Floats,
    variance: Floats,
    claimed: Floats,
) -> tuple[float, int, float]:
    """(nats for i standing in j's room against its claim, common witnesses, rms in dB).

    What is predicted is how well each witness hears i: by how well it hears j, or by the law of
    loss from the claimed place, `claimed` [links, offsets]. Both given that it was heard at all.
    """
    pairs = find_common(i, j, starts, witness)
    common = len(pairs)
    if common < LEAST_COMMON:
        return math.nan, common, math.nan
    total = 0.0
    for n in range(common):
        total += loss[pairs[n, 0]] - loss[pairs[n, 1]]
    mean = total / common
    totals = np.zeros(claimed.shape[1])
    squares = 0.0
    for n in range(common):
        a, b = pairs[n, 0], pairs[n, 1]
        rest = loss[a] - loss[b] - mean
        spread = ROOM_VAR_DB2 + variance[a] + variance[b]
        sigma = math.sqrt(spread)
        arrives = max(chance_below((most[a] - loss[b] - mean) / sigma), LEAST_ARRIVES)
        room = math.log(ROOT / (sigma * arrives)) - 0.5 * rest * rest / spread
        for k in range(len(totals)):
            gain = room - claimed[a, k]
            totals[k] += min(max(gain, LINK_FLOOR_NATS), LINK_MOST_NATS)
        squares += rest * rest
    return totals.min() * (common - 1.0) / common, common, math.sqrt(squares / common)
