"""How likely it is who hears a hotspot, if all report what they hear, or only some: compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.place_kernels import (
    LEAST_CHANCE,
    NEAREST_M,
    OUTLIER,
    OUTLIER_SPAN_DB,
    ROOT,
    chance_below,
    sigma_of,
)
from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OFFSETS, STEP, FIRST_STEP = 12, 0.75, -5  # deviations of a site's offset, from -3.75 to 4.5
# A hotspot behind a hill has fewer clear paths than others, all at once: by so much in logits.
TURNS, TURN_LOGIT, TURN_NATS = 3, 2.0, 0.7
# The cell by its centre and one or two rings, of radii in shares of the cell's.
COARSE_M = 300.0  # radius of cells that are wider than the distances between neighbours
SIX = 6
ONE_RING, INNER, OUTER = 0.6, 0.5, 0.85
# Who is heard by so much of what its claim promises isn't looked at any further.
ENOUGH = 0.7


@compiled
def count_places(blur_m: float) -> int:
    """How many points stand for a cell."""
    return 1 + SIX if blur_m < COARSE_M else 1 + 3 * SIX


@compiled
def place_of(number: int, blur_m: float) -> tuple[float, float]:
    """The number-th point of a cell, in metres from its centre."""
    if number == 0:
        return 0.0, 0.0
    if number <= SIX:
        away, angle = (ONE_RING if blur_m < COARSE_M else INNER), 2.0 * math.pi * number / SIX
    else:
        away, angle = OUTER, math.pi * number / SIX
    return away * blur_m * math.cos(angle), away * blur_m * math.sin(angle)


@compiled
def add_log(total: Floats, at: int, told: float) -> None:
    """total[at] = ln(exp(total[at]) + exp(told))."""
    high, low = max(total[at], told), min(total[at], told)
    total[at] = high if low == -math.inf else high + math.log1p(math.exp(low - high))


@compiled
def is_enough(near: Floats, law: Floats, offset: float, claim: Floats) -> bool:
    """Whether a hotspot with a usual site is heard by about as many as it should be."""
    heard = expected = 0.0
    for k in range(len(near)):
        if near[k, 4] == 0.0 or near[k, 7] == 0.0:
            continue
        squared = (near[k, 0] - claim[0]) ** 2 + (near[k, 1] - claim[1]) ** 2
        reach = 0.5 * math.log10(max(squared, NEAREST_M * NEAREST_M)) - 2.0
        share = 1.0 / (1.0 + math.exp(-law[6] - law[7] * reach))
        chance = share * chance_below((near[k, 3] - law[3] - law[4] * reach - offset) / law[5])
        below = chance_below((near[k, 3] - law[0] - law[1] * reach - offset) / law[2])
        expected += (chance + (1.0 - share) * below) * near[k, 5]
        heard += 1.0 if near[k, 6] > 0.0 else 0.0
    return heard > ENOUGH * expected


@compiled
def tell_all(
    x: float, y: float, offset: float, near: Floats, law: Floats, rates: Floats, out: Floats
) -> None:
    """`out` [turns, rates]: log-likelihoods of who heard how well, if only a share would tell."""
    out[:, :] = 0.0
    for k in range(len(near)):
        weight = near[k, 4]
        if weight == 0.0 or near[k, 7] == 0.0:
            continue
        squared = max((near[k, 0] - x) ** 2 + (near[k, 1] - y) ** 2, NEAREST_M * NEAREST_M)
        reach = 0.5 * math.log10(squared) - 2.0
        obstructed = law[0] + law[1] * reach + offset
        clear = law[3] + law[4] * reach + offset
        measured = near[k, 6] > 0.0 and not math.isnan(near[k, 2])
        if measured:
            one = math.exp(-0.5 * ((near[k, 2] - obstructed) / law[2]) ** 2) * ROOT / law[2]
            other = math.exp(-0.5 * ((near[k, 2] - clear) / law[5]) ** 2) * ROOT / law[5]
        else:
            one = chance_below((near[k, 3] - obstructed) / law[2])
            other = chance_below((near[k, 3] - clear) / law[5])
        for turn in range(TURNS):
            logit = law[6] + law[7] * reach + TURN_LOGIT * (turn - 1)
            share = 1.0 / (1.0 + math.exp(-logit))
            value = share * other + (1.0 - share) * one
            if measured:
                value = (1.0 - OUTLIER) * value + OUTLIER / OUTLIER_SPAN_DB
            else:
                value = min(max(value * near[k, 5], LEAST_CHANCE), 1.0 - LEAST_CHANCE)
            for r in range(len(rates)):
                if near[k, 6] > 0.0:
                    out[turn, r] += weight * math.log(rates[r] * value)
                else:
                    out[turn, r] += weight * math.log(1.0 - rates[r] * value)


@compiled
def vouch_all(
    starts: Ints,
    near: Floats,
    law: Floats,
    mean_offsets_db: Floats,
    claims: Floats,
    blur_m: Floats,
    rates: Floats,
    asked: NDArray[np.bool_],
    out: Floats,
) -> None:
    """`out` [n, rates]: log-likelihoods, over all points of the cell and offsets of the site.

    NaN where it isn't asked, -inf in all but the first column where enough hear it.
    """
    told = np.empty((TURNS, len(rates)))
    for i in range(len(claims)):
        out[i] = math.nan
        part = near[starts[i] : starts[i + 1]]
        if not asked[i] or len(part) == 0:
            continue
        out[i] = -math.inf
        if is_enough(part, law[i], mean_offsets_db[i], claims[i]):
            out[i, 0] = 0.0
            continue
        for place in range(count_places(blur_m[i])):
            east, north = place_of(place, blur_m[i])
            for number in range(OFFSETS):
                step = STEP * (number + FIRST_STEP)
                sigma = sigma_of(step)
                offset = mean_offsets_db[i] + step * sigma
                prior = math.log(sigma) - 0.5 * step * step
                x, y = claims[i, 0] + east, claims[i, 1] + north
                tell_all(x, y, offset, part, law[i], rates, told)
                for turn in range(TURNS):
                    for r in range(len(rates)):
                        add_log(out[i], r, told[turn, r] + prior - TURN_NATS * abs(turn - 1))
