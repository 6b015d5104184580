"""Pairs of senders compared over the witnesses that they have in common, compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.room_kernels import (
    LINK_FLOOR_NATS,
    compare_room,
    find_common,
)
from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_COMMON = 4
NEAREST_M = 50.0  # nearer than that two keys may be one site; nobody is paid for it
SAME_VAR_DB2 = 0.25  # two means over one path: what drifts between their packets
SHADOW_VAR_DB2 = 18.0  # 2 sigma^2 with 3 dB, below any shadowing that was measured outdoors
DECORRELATION_M = 50.0


@compiled
def compare(
    i: int, j: int, starts: Ints, witness: Ints, level: Floats, variance: Floats, apart_m: float
) -> tuple[float, int, float]:
    """(nats for one radio against two sites, common witnesses, rms of the differences in dB)."""
    pairs = find_common(i, j, starts, witness)
    common = len(pairs)
    if common < LEAST_COMMON:
        return math.nan, common, math.nan
    weight = mean = 0.0
    for n in range(common):
        a, b = pairs[n, 0], pairs[n, 1]
        share = 1.0 / (variance[a] + variance[b] + SAME_VAR_DB2)
        weight += share
        mean += share * (level[a] - level[b])
    mean /= weight
    shadow = SHADOW_VAR_DB2 * (1.0 - math.exp(-apart_m / DECORRELATION_M))
    nats = squares = 0.0
    for n in range(common):
        a, b = pairs[n, 0], pairs[n, 1]
        rest = (level[a] - level[b] - mean) ** 2
        same = variance[a] + variance[b] + SAME_VAR_DB2
        apart = same + shadow
        gain = 0.5 * (math.log(apart / same) + rest / apart - rest / same)
        nats += max(gain, LINK_FLOOR_NATS)
        squares += rest
    # The mean was fitted: it takes one degree of freedom.
    return nats * (common - 1.0) / common, common, math.sqrt(squares / common)


@compiled
def keep_best(mates: Ints, mate_nats: Floats, other: int, nats: float) -> None:
    """Insert into the likeliest so far, best first; -1: none yet."""
    at = len(mates)
    while at > 0 and (mates[at - 1] < 0 or nats > mate_nats[at - 1]):
        at -= 1
    if at == len(mates):
        return
    for k in range(len(mates) - 1, at, -1):
        mates[k], mate_nats[k] = mates[k - 1], mate_nats[k - 1]
    mates[at], mate_nats[at] = other, nats


@compiled
def best_partners(
    starts: Ints,
    witness: Ints,
    level: Floats,
    variance: Floats,
    loss: Floats,
    most: Floats,
    claimed: Floats,
    heard_starts: Ints,
    heard: Ints,
    positions_m: Floats,
    blur_m: Floats,
    owner: Ints,
    out: Floats,
    partner: Ints,
    mates: Ints,
    mate_nats: Floats,
    seen_by: Ints,
) -> None:
    """For every sender the other one that most looks like the same radio, or the same room.

    Links are sorted by sender; `heard[heard_starts[w]:...]` are the senders that w heard. `loss`,
    `most`, `claimed` are for `compare_room`. `out` [n, 3]: nats after paying for the number of
    partners looked at, common witnesses, rms in dB.
    """
    count = len(starts) - 1
    seen = np.full(count, -1, np.int64)
    for i in range(count):
        looked = 0
        for a in range(starts[i], starts[i + 1]):
            w = witness[a]
            for place in range(heard_starts[w], heard_starts[w + 1]):
                j = heard[place]
                if j == i or seen[j] == i or owner[i] == owner[j]:
                    continue
                seen[j] = i
                apart = math.hypot(
                    positions_m[i, 0] - positions_m[j, 0], positions_m[i, 1] - positions_m[j, 1]
                )
                if apart < NEAREST_M:
                    continue
                room, wide, far = compare_room(
                    i, j, starts, witness, loss, most, variance, claimed
                )
                if math.isnan(room):
                    continue
                seen_by[i] += 1
                keep_best(mates[i], mate_nats[i], j, room)
                nats, common, rms = compare(i, j, starts, witness, level, variance, apart)
                if math.isnan(nats):
                    continue
                if wide > nats:
                    nats, rms = wide, far
                looked += 1
                blur = blur_m[i] + blur_m[j]
                if apart < blur:  # their cells touch: next door is no wonder
                    nats = min(nats, 2.0 * math.log(blur / 30.0))
                if math.isnan(out[i, 0]) or nats > out[i, 0]:
                    out[i, 0], out[i, 1], out[i, 2], partner[i] = nats, common, rms, j
        if looked:
            out[i, 0] -= math.log(looked)
