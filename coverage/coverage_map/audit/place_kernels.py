"""The likelihood of a place, and a search for the best one, compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAREST_M = 30.0
OUTLIER = 0.05  # share of heard links that no law explains, spread over OUTLIER_SPAN_DB
OUTLIER_SPAN_DB = 80.0
DEAF = 0.05  # share of neighbours that hear nothing for reasons of their own
BETTER_SIGMA_DB, WORSE_SIGMA_DB = 5.0, 8.0
SEARCH_STEPS = 24
STARTS = 4  # most likely of the claim and the places of those heard


@compiled
def sigma_of(offset_db: float) -> float:
    """Deviation of sites' offsets: a site can be walled in, but no better than a clear view."""
    return BETTER_SIGMA_DB if offset_db < 0.0 else WORSE_SIGMA_DB


@compiled
def log_likelihood(
    x: float, y: float, offset_db: float, near: Floats, law: Floats, mean_offset_db: float
) -> float:
    """Of standing at (x, y) with a site offset.

    `near` [neighbours, 5]: x, y, loss less that neighbour's offset (NaN: not heard), loss beyond
    which it can't be heard less its offset, weight. `law`: dB at 100 m, dB per decade, sigma.
    Logistic for the normal distribution: within 0.01.
    """
    sigma = law[2]
    spare = (offset_db - mean_offset_db) / sigma_of(offset_db - mean_offset_db)
    total = -0.5 * spare * spare
    scale = (1.0 - OUTLIER) / (sigma * math.sqrt(2.0 * math.pi))
    for k in range(len(near)):
        squared = max((near[k, 0] - x) ** 2 + (near[k, 1] - y) ** 2, NEAREST_M * NEAREST_M)
        median = law[0] + law[1] * (0.5 * math.log10(squared) - 2.0) + offset_db
        if math.isnan(near[k, 2]):
            beyond = (near[k, 3] - median) / sigma
            silent = 1.0 / (1.0 + math.exp(min(1.702 * beyond, 60.0)))
            total += near[k, 4] * math.log(DEAF + (1.0 - DEAF) * silent)
        else:
            rest = (near[k, 2] - median) / sigma
            density = scale * math.exp(-0.5 * rest * rest) + OUTLIER / OUTLIER_SPAN_DB
            total += near[k, 4] * math.log(density)
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
) -> tuple[float, float, float, float]:
    """Best value anywhere less the best within the claimed cell, and where the best is.

    Starts: the likeliest of the claim and the places of those heard. Returns (gain, x, y, value).
    """
    start = np.empty(4)
    start[0], start[1], start[2], start[3] = claim[0], claim[1], mean_offset_db, blur_m
    claimed, cx, cy, offset = climb(start, near, law, mean_offset_db, claim, blur_m)
    best, bx, by, best_offset = claimed, cx, cy, offset
    values = np.full(len(near) + 1, -np.inf)
    values[len(near)] = claimed
    for k in range(len(near)):
        if not math.isnan(near[k, 2]):
            x, y = near[k, 0], near[k, 1]
            values[k] = log_likelihood(x, y, mean_offset_db, near, law, mean_offset_db)
    for _ in range(STARTS):
        k = int(np.argmax(values))
        if values[k] == -np.inf:
            break
        values[k] = -np.inf
        start[0] = claim[0] if k == len(near) else near[k, 0]
        start[1] = claim[1] if k == len(near) else near[k, 1]
        start[2], start[3] = offset if k == len(near) else mean_offset_db, spread_m
        value, x, y, found_offset = climb(start, near, law, mean_offset_db, claim, 1e9)
        if value > best:
            best, bx, by, best_offset = value, x, y, found_offset
    # The cell is wide, its first climb may have ended on a lesser hill: try again towards the best.
    away = math.hypot(bx - claim[0], by - claim[1])
    share = min(1.0, 0.99 * blur_m / max(away, 1e-9))
    start[0], start[1] = claim[0] + share * (bx - claim[0]), claim[1] + share * (by - claim[1])
    start[2], start[3] = best_offset, blur_m
    again, cx, cy, _ = climb(start, near, law, mean_offset_db, claim, blur_m)
    claimed = max(claimed, again)
    if claimed >= best:
        best, bx, by = claimed, cx, cy
    return best - claimed, bx, by, best


@compiled
def search_all(
    starts: Ints,
    near: Floats,
    law: Floats,
    mean_offsets_db: Floats,
    claims: Floats,
    blur_m: Floats,
    spread_m: Floats,
    out: Floats,
) -> None:
    """`search` for every subject: `near[starts[i]:starts[i+1]]` are its neighbours, law [n, 4]."""
    for i in range(len(claims)):
        part = near[starts[i] : starts[i + 1]]
        if len(part) == 0:
            continue
        gain, x, y, value = search(
            part, law[i], mean_offsets_db[i], claims[i], blur_m[i], spread_m[i]
        )
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = gain, x, y, value


@compiled
def silence_all(
    starts: Ints, near: Floats, law: Floats, mean_offsets_db: Floats, claims: Floats, out: Floats
) -> None:
    """-ln of the chance to be heard by as few anchors as observed or fewer, at the claimed place.

    The site's offset is integrated over what its neighbourhood's are: what was heard is no guide to
    it, being the lucky part. Given the offset the count is a sum of unequal coins, by convolution.
    `out` [n, 3]: nats, heard, expected.
    """
    for i in range(len(claims)):
        part = near[starts[i] : starts[i + 1]]
        heard = 0
        for k in range(len(part)):
            heard += not math.isnan(part[k, 2])
        weights, tails, means = np.zeros(21), np.zeros(21), np.zeros(21)
        top = -1e300
        for step in range(21):
            sigma = sigma_of(step - 10.0)
            offset = mean_offsets_db[i] + (step - 10) * 0.4 * sigma
            weights[step] = math.log(sigma) - 0.5 * ((step - 10) * 0.4) ** 2
            chances = np.zeros(len(part) + 1)
            chances[0] = 1.0
            for k in range(len(part)):
                squared = (part[k, 0] - claims[i, 0]) ** 2 + (part[k, 1] - claims[i, 1]) ** 2
                decades = 0.5 * math.log10(max(squared, NEAREST_M * NEAREST_M)) - 2.0
                median = law[i, 0] + law[i, 1] * decades + offset
                beyond = (part[k, 3] - median) / law[i, 2]
                chance = (1.0 - DEAF) / (1.0 + math.exp(min(-1.702 * beyond, 60.0)))
                means[step] += chance
                for m in range(k + 1, 0, -1):
                    chances[m] = chances[m] * (1.0 - chance) + chances[m - 1] * chance
                chances[0] *= 1.0 - chance
            tails[step] = chances[: heard + 1].sum()
            top = max(top, weights[step])
        share = np.exp(weights - top)
        total = share.sum()
        out[i, 0] = -math.log(max((share * tails).sum() / total, 1e-300))
        out[i, 1] = heard
        out[i, 2] = (share * means).sum() / total
