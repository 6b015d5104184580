"""Pairs of senders that may stand in one room, though they claim places apart: compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.place_kernels import ROOT, chance_below
from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_COMMON = 3
# Squared difference of two antennas some 3 m apart at one witness, 2 sigma^2 (1 - exp(-3 / d)), by
# 38.901, tables 7.4.1-1 and 7.5-6: UMi without a view and with one, UMa and RMa without.
ROOM_VARS_DB2 = np.array([25.0, 8.0, 4.0])
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
) -> tuple[float, float, float]:
    """Nats for i standing in j's room against its claim; NaN below three common witnesses.

    In a room of any kind, and in the first, which differs most; and the differences' rms in dB.

    What is predicted is how well each witness hears i: by how well it hears j, or by the law of
    loss from the claimed place, `claimed` [links, offsets]. Both given that it was heard at all.
    """
    pairs = find_common(i, j, starts, witness)
    common = len(pairs)
    if common < LEAST_COMMON:
        return math.nan, math.nan, math.nan
    total = squares = 0.0
    for n in range(common):
        total += loss[pairs[n, 0]] - loss[pairs[n, 1]]
    mean = total / common
    totals = np.zeros((len(ROOM_VARS_DB2), claimed.shape[1]))
    for n in range(common):
        a, b = pairs[n, 0], pairs[n, 1]
        rest = loss[a] - loss[b] - mean
        squares += rest * rest
        for v in range(len(ROOM_VARS_DB2)):
            spread = ROOM_VARS_DB2[v] + variance[a] + variance[b]
            sigma = math.sqrt(spread)
            arrives = max(chance_below((most[a] - loss[b] - mean) / sigma), LEAST_ARRIVES)
            room = math.log(ROOT / (sigma * arrives)) - 0.5 * rest * rest / spread
            for k in range(claimed.shape[1]):
                gain = room - claimed[a, k]
                totals[v, k] += min(max(gain, LINK_FLOOR_NATS), LINK_MOST_NATS)
    least = math.inf
    for k in range(claimed.shape[1]):
        top = totals[:, k].max()
        least = min(least, top + math.log(np.exp(totals[:, k] - top).mean()))
    freedom = (common - 1.0) / common  # the mean was fitted
    return least * freedom, totals[0].min() * freedom, math.sqrt(squares / common)
