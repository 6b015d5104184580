"""The likelihood of a place, and a search for the best one, compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAREST_M = 30.0
ROOT = 1.0 / math.sqrt(2.0 * math.pi)
OUTLIER = 0.03  # share of heard links that no law explains, spread over OUTLIER_SPAN_DB
OUTLIER_SPAN_DB = 80.0
LEAST_CHANCE = 1e-3
BETTER_SIGMA_DB, WORSE_SIGMA_DB = 5.0, 8.0
SEARCH_STEPS = 24
STARTS = 4  # most likely of the claim and the places of those heard


@compiled
def weigh_all(starts: Ints, near: Floats, decorrelation_m: float, weights: Floats) -> None:
    """One over the sum of shadowing correlations with all neighbours of a neighbourhood."""
    for i in range(len(starts) - 1):
        for a in range(starts[i], starts[i + 1]):
            total = 0.0
            for b in range(starts[i], starts[i + 1]):
                apart = math.hypot(near[a, 0] - near[b, 0], near[a, 1] - near[b, 1])
                total += math.exp(-apart / decorrelation_m)
            weights[a] = 1.0 / total


@compiled
def sigma_of(offset_db: float) -> float:
    """Deviation of sites' offsets: a site can be walled in, but no better than a clear view."""
    return BETTER_SIGMA_DB if offset_db < 0.0 else WORSE_SIGMA_DB


@compiled
def chance_below(level: float) -> float:
    """Of a standard normal: logistic, within 0.01."""
    return 1.0 / (1.0 + math.exp(min(max(-1.702 * level, -60.0), 60.0)))


@compiled
def log_likelihood(
    x: float, y: float, offset_db: float, near: Floats, law: Floats, mean_offset_db: float
) -> float:
    """Of standing at (x, y) with a site offset.

    `near` [neighbours, 8] as surroundings.py names its columns: x, y, loss (NaN: no strength), loss
    beyond which it can't be heard, both less that neighbour's offset, weight, ear, heard or not,
    near. `law` [8] as `make_columns` gives it.
    """
    spare = (offset_db - mean_offset_db) / sigma_of(offset_db - mean_offset_db)
    total = -0.5 * spare * spare
    for k in range(len(near)):
        if near[k, 4] == 0.0:
            continue
        squared = max((near[k, 0] - x) ** 2 + (near[k, 1] - y) ** 2, NEAREST_M * NEAREST_M)
        reach = 0.5 * math.log10(squared) - 2.0
        obstructed = law[0] + law[1] * reach + offset_db
        clear = law[3] + law[4] * reach + offset_db
        share = 1.0 / (1.0 + math.exp(-law[6] - law[7] * reach))
        if not math.isnan(near[k, 2]):
            one, other = (near[k, 2] - obstructed) / law[2], (near[k, 2] - clear) / law[5]
            density = share * math.exp(-0.5 * other * other) / law[5]
            density += (1.0 - share) * math.exp(-0.5 * one * one) / law[2]
            density = (1.0 - OUTLIER) * density * ROOT + OUTLIER / OUTLIER_SPAN_DB
            total += near[k, 4] * math.log(density)
            continue
        heard = share * chance_below((near[k, 3] - clear) / law[5])
        heard += (1.0 - share) * chance_below((near[k, 3] - obstructed) / law[2])
        heard *= near[k, 5]
        chance = heard if near[k, 6] > 0.0 else 1.0 - heard
        total += near[k, 4] * math.log(max(chance, LEAST_CHANCE))
    return float(total)


@compiled
def climb(
    start: Floats, near: Floats, law: Floats, mean_offset_db: float, home: Floats, reach_m: float
) -> tuple[float, float, float, float]:
    """Best (value, x, y, offset) by a pattern search from a start, within `reach_m` of `home`."""
    x, y, offset = start[0], start[1], start[2]
    best = log_likelihood(x, y, offset, near, law, mean_offset_db)
    step_m, step_db = max(20.0, 0.25 * start[3]), 4.0
    for _ in range(SEARCH_STEPS):
        moved = False
        for move in range(6):
            nx = x + step_m * ((move == 0) - (move == 1))
            ny = y + step_m * ((move == 2) - (move == 3))
            noffset = offset + step_db * ((move == 4) - (move == 5))
            if (nx - home[0]) ** 2 + (ny - home[1]) ** 2 > reach_m * reach_m:
                continue
            value = log_likelihood(nx, ny, noffset, near, law, mean_offset_db)
            if value > best + 1e-9:
                best, x, y, offset, moved = value, nx, ny, noffset, True
        if not moved:
            step_m *= 0.5
            step_db *= 0.5
            if step_m < 8.0:
                break
    return best, x, y, offset


@compiled
def search(
    near: Floats, law: Floats, mean_offset_db: float, claim: Floats, blur_m: float, spread_m: float
) -> tuple[float, float, float, float, float, float, float]:
    """Best value anywhere less the best within the claimed cell, and where the best is.

    Starts: the likeliest of the claim and the places of those heard. Returns (gain, x, y, value),
    then the best (x, y, offset) within the cell.
    """
    start = np.empty(4)
    start[0], start[1], start[2], start[3] = claim[0], claim[1], mean_offset_db, blur_m
    claimed, cx, cy, claimed_offset = climb(start, near, law, mean_offset_db, claim, blur_m)
    best, bx, by, best_offset = claimed, cx, cy, claimed_offset
    values = np.full(len(near) + 1, -np.inf)
    values[len(near)] = claimed
    for k in range(len(near)):
        if not math.isnan(near[k, 2]) and near[k, 4] > 0.0:
            x, y = near[k, 0], near[k, 1]
            values[k] = log_likelihood(x, y, mean_offset_db, near, law, mean_offset_db)
    for _ in range(STARTS):
        k = int(np.argmax(values))
        if values[k] == -np.inf:
            break
        values[k] = -np.inf
        start[0] = claim[0] if k == len(near) else near[k, 0]
        start[1] = claim[1] if k == len(near) else near[k, 1]
        start[2], start[3] = claimed_offset if k == len(near) else mean_offset_db, spread_m
        value, x, y, found_offset = climb(start, near, law, mean_offset_db, claim, 1e9)
        if value > best:
            best, bx, by, best_offset = value, x, y, found_offset
    # The cell is wide, its first climb may have ended on a lesser hill: try again towards the best.
    away = math.hypot(bx - claim[0], by - claim[1])
    share = min(1.0, 0.99 * blur_m / max(away, 1e-9))
    start[0], start[1] = claim[0] + share * (bx - claim[0]), claim[1] + share * (by - claim[1])
    start[2], start[3] = best_offset, blur_m
    again, ax, ay, again_offset = climb(start, near, law, mean_offset_db, claim, blur_m)
    if again > claimed:
        claimed, cx, cy, claimed_offset = again, ax, ay, again_offset
    if claimed >= best:
        best, bx, by = claimed, cx, cy
    return best - claimed, bx, by, best, cx, cy, claimed_offset


@compiled
def misfit(
    x: float, y: float, offset_db: float, near: Floats, law: Floats
) -> tuple[float, float, float]:
    """How much less likely than usual it is who heard, at a place: (nats, their variance, votes).

    Per neighbour the expectation and variance of the logarithm of heard or not heard. Far ones are
    left out: they were asked only because they heard.
    """
    short = variance = votes = 0.0
    for k in range(len(near)):
        if near[k, 4] == 0.0 or near[k, 7] == 0.0:
            continue
        squared = max((near[k, 0] - x) ** 2 + (near[k, 1] - y) ** 2, NEAREST_M * NEAREST_M)
        reach = 0.5 * math.log10(squared) - 2.0
        share = 1.0 / (1.0 + math.exp(-law[6] - law[7] * reach))
        clear = near[k, 3] - law[3] - law[4] * reach - offset_db
        heard = share * chance_below(clear / law[5])
        obstructed = near[k, 3] - law[0] - law[1] * reach - offset_db
        heard += (1.0 - share) * chance_below(obstructed / law[2])
        heard = min(max(heard * near[k, 5], LEAST_CHANCE), 1.0 - LEAST_CHANCE)
        yes, no = math.log(heard), math.log(1.0 - heard)
        mean = heard * yes + (1.0 - heard) * no
        short += near[k, 4] * (mean - (yes if near[k, 6] > 0.0 else no))
        variance += near[k, 4] ** 2 * heard * (1.0 - heard) * (yes - no) ** 2
        votes += near[k, 4]
    return short, variance, votes


@compiled
def search_all(
    starts: Ints,
    near: Floats,
    law: Floats,
    mean_offsets_db: Floats,
    claims: Floats,
    blur_m: Floats,
    spread_m: Floats,
    asked: NDArray[np.bool_],
    out: Floats,
) -> None:
    """`search` and `misfit` for every subject, its neighbours `near[starts[i]:starts[i+1]]`.

    `law` [n, 8]; `out` [n, 6]: gain, x and y of the best place, misfit at the claim as it returns.
    """
    for i in range(len(claims)):
        part = near[starts[i] : starts[i + 1]]
        if len(part) == 0 or not asked[i]:
            continue
        gain, x, y, _, cx, cy, offset = search(
            part, law[i], mean_offsets_db[i], claims[i], blur_m[i], spread_m[i]
        )
        short, variance, votes = misfit(cx, cy, offset, part, law[i])
        out[i, 0], out[i, 1], out[i, 2] = gain, x, y
        out[i, 3], out[i, 4], out[i, 5] = short, variance, votes


@compiled
def silence_all(
    starts: Ints,
    near: Floats,
    law: Floats,
    mean_offsets_db: Floats,
    claims: Floats,
    asked: NDArray[np.bool_],
    out: Floats,
) -> None:
    """-ln of the chance to be heard by as few anchors as observed or fewer, at the claimed place.

    The site's offset is integrated over what its neighbourhood's are: what was heard is no guide to
    it, being the lucky part. Given the offset the count is a sum of unequal coins, by convolution.
    `out` [n, 3]: nats, heard, expected.
    """
    for i in range(len(claims)):
        part = near[starts[i] : starts[i + 1]]
        if not asked[i]:
            continue
        heard = 0
        for k in range(len(part)):
            heard += part[k, 6] * part[k, 7] > 0.0 and part[k, 4] > 0.0
        weights, tails, means = np.zeros(21), np.zeros(21), np.zeros(21)
        top = -1e300
        for step in range(21):
            sigma = sigma_of(step - 10.0)
            offset = mean_offsets_db[i] + (step - 10) * 0.4 * sigma
            weights[step] = math.log(sigma) - 0.5 * ((step - 10) * 0.4) ** 2
            chances = np.zeros(len(part) + 1)
            chances[0] = 1.0
            for k in range(len(part)):
                if part[k, 4] == 0.0 or part[k, 7] == 0.0:
                    continue
                squared = (part[k, 0] - claims[i, 0]) ** 2 + (part[k, 1] - claims[i, 1]) ** 2
                reach = 0.5 * math.log10(max(squared, NEAREST_M * NEAREST_M)) - 2.0
                share = 1.0 / (1.0 + math.exp(-law[i, 6] - law[i, 7] * reach))
                clear = part[k, 3] - law[i, 3] - law[i, 4] * reach - offset
                obstructed = part[k, 3] - law[i, 0] - law[i, 1] * reach - offset
                chance = share * chance_below(clear / law[i, 5])
                chance += (1.0 - share) * chance_below(obstructed / law[i, 2])
                chance *= part[k, 5]
                means[step] += chance
                for m in range(k + 1, 0, -1):
                    chances[m] = chances[m] * (1.0 - chance) + chances[m - 1] * chance
                chances[0] *= 1.0 - chance
            tails[step] = chances[: heard + 1].sum()
            top = max(top, weights[step])
        shares = np.exp(weights - top)
        total = shares.sum()
        out[i, 0] = -math.log(max((shares * tails).sum() / total, 1e-300))
        out[i, 1] = heard
        out[i, 2] = (shares * means).sum() / total
