"""ITM along a radial: what read_profile takes from a path, for ever longer paths (imports Numba).

Refractivity, and with it the earth's curvature, follows each path's mean height, so horizons are
no fixed hull's: they are sought from the horizon of the path before, and blocks of points whose
bound lies below are passed over. Means and least-squares lines come from running sums. Roughness
alone looks at the whole path, and finds its deciles near those of the path before. Equal to
itm_terrain.read_profile within rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.itm_kernels import (
    Link,
    curvature_1_m,
    loss_over_terrain,
    surface_refractivity,
)
from coverage_map.propagation.itm_regions import Radio
from coverage_map.propagation.itm_terrain import (
    SAMPLES_MAX,
    Terrain,
    fit_line_m,
    irregular_angle_rad,
    smooth_horizon_m,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK = 16
LOWEST = -1e300
HIGHEST_KEY = 0x7FFFFFFFFFFFFFFF
STEPS = 12  # from one decile to the next path's, before sorting is cheaper
ROUND_STEPS = 10  # tenths of a horizon are cut to whole points: only these are decided by rounding


class Radial(NamedTuple):
    """Sums, slopes and blocks of a radial, filled by `open_radial`."""

    heights_m: Floats
    sums: Floats  # of the heights before each point
    moments: Floats  # of height times index
    distances_m: Floats  # summed up step by step, as the reference's
    slopes: Floats  # from the transmitter's top, over a flat earth
    steepest: Floats  # of each block of slopes
    highest: Floats  # of each block of heights
    last: Integers  # of the path before: points of both horizons, keys of both deciles
    samples: Floats
    sample_bits: Integers  # the samples' own memory
    keys: Integers
    ordered: Integers


def new_radial(points: int) -> Radial:
    """Room for radials of at most so many points."""
    blocks = (points - 1) // BLOCK + 1
    samples = np.empty(SAMPLES_MAX)
    return Radial(
        heights_m=np.empty(points),
        sums=np.empty(points + 1),
        moments=np.empty(points + 1),
        distances_m=np.empty(points),
        slopes=np.empty(points),
        steepest=np.empty(blocks),
        highest=np.empty(blocks),
        last=np.zeros(4, np.int64),
        samples=samples,
        sample_bits=samples.view(np.int64),
        keys=np.empty(SAMPLES_MAX, np.int64),
        ordered=np.empty(SAMPLES_MAX, np.int64),
    )


@compiled
def open_radial(radial: Radial, heights_m: Floats, spacing_m: float, tx_m: float) -> None:
    """Prepare a radial: heights with clutter on every point but the first."""
    count = heights_m.shape[0]
    top = heights_m[0] + tx_m
    radial.sums[0] = radial.moments[0] = 0.0
    distance = 0.0
    radial.last[:] = 1
    for b in range((count - 1) // BLOCK + 1):
        radial.steepest[b] = radial.highest[b] = LOWEST
    for i in range(count):
        height = heights_m[i]
        radial.heights_m[i] = height
        radial.sums[i + 1] = radial.sums[i] + height
        radial.moments[i + 1] = radial.moments[i] + height * i
        radial.distances_m[i] = distance
        slope = (height - top) / distance if i > 0 else LOWEST
        radial.slopes[i] = slope
        block = i // BLOCK
        radial.steepest[block] = max(radial.steepest[block], slope)
        radial.highest[block] = max(radial.highest[block], height)
        distance += spacing_m


@compiled
def mean_m(radial: Radial, last: int, end_m: float) -> float:
    """Mean height without a tenth at each end; the path's last point has height `end_m`."""
    tenth = int(0.1 * last)
    stop = last - tenth
    total = radial.sums[stop + 1] - radial.sums[tenth]
    if stop == last:
        total += end_m - radial.heights_m[last]
    return float(total / (stop - tenth + 1))


@compiled
def horizon_tx(radial: Radial, last: int, half: float, straight: float) -> tuple[float, int]:
    """Angle and point of the transmitter's horizon, or (straight, -1): [TN101, eq. 6.15]."""
    at = min(radial.last[0], last - 1)
    best = radial.slopes[at] - radial.distances_m[at] * half
    for b in range((last - 1) // BLOCK + 1):
        first = b * BLOCK
        if radial.steepest[b] - radial.distances_m[first] * half <= best:
            continue
        for i in range(max(first, 1), min(first + BLOCK, last)):
            angle = radial.slopes[i] - radial.distances_m[i] * half
            if angle > best:
                best, at = angle, i
    radial.last[0] = at
    return (best, at) if best > straight else (straight, -1)


@compiled
def horizon_rx(
    radial: Radial, last: int, top_m: float, half: float, straight: float, spacing_m: float
) -> tuple[float, int]:
    """Angle and point of the receiver's horizon, or (straight, -1)."""
    if last < 2:  # no terrain between
        return straight, -1
    at = min(radial.last[1], last - 1)
    best = LOWEST
    for i in (last - 1, at):
        away = (last - i) * spacing_m
        angle = (radial.heights_m[i] - top_m) / away - away * half
        if angle > best:
            best, at = angle, i
    for b in range((last - 1) // BLOCK, -1, -1):
        first, end = max(b * BLOCK, 1), min(b * BLOCK + BLOCK, last) - 1
        near, far = (last - end) * spacing_m, (last - first) * spacing_m
        # A point above best's line: height - top > best away + half away^2, bounded below.
        if radial.highest[b] - top_m <= min(best * near, best * far) + half * near * near:
            continue
        for i in range(end, first - 1, -1):
            away = (last - i) * spacing_m
            if radial.heights_m[i] - top_m > (best + away * half) * away:
                best, at = (radial.heights_m[i] - top_m) / away - away * half, i
    radial.last[1] = at
    return (best, at) if best > straight else (straight, -1)


@compiled
def distance_back_m(last: int, point: int, spacing_m: float, other: int) -> float:
    """A point's distance from the path's end, rounded as the reference's sum where it matters.

    `other`: points to the transmitter's horizon; a tenth of both is what roughness leaves out.
    """
    back = last - point
    if back % ROUND_STEPS and (back + other) % ROUND_STEPS:
        return back * spacing_m
    away = last * spacing_m
    for _ in range(point):
        away -= spacing_m
    return away


@compiled
def line_m(
    radial: Radial, last: int, end_height_m: float, spacing_m: float, start_m: float, end_m: float
) -> tuple[float, float]:
    """Least-squares line from `start_m` to `end_m` as itm_terrain.fit_line_m, by running sums."""
    first = int(max(start_m / spacing_m, 0.0))
    stop = last - int(max(last - end_m / spacing_m, 0.0))
    if stop <= first:
        first = max(first - 1, 0)
        stop = last - max(last - stop - 1, 0)
    length = float(stop - first)
    middle = -0.5 * length
    low = radial.heights_m[first]
    high = end_height_m if stop == last else radial.heights_m[stop]
    inner = radial.sums[stop] - radial.sums[first + 1]
    moment = radial.moments[stop] - radial.moments[first + 1] + (middle - first) * inner
    mean = (0.5 * (low + high) + inner) / length
    slope = (0.5 * (low - high) * middle + moment) * 12.0 / ((length * length + 2.0) * length)
    centre = stop + middle
    return mean - slope * centre, mean + slope * (last - centre)


@compiled
def count_from(keys: Integers, limit: int) -> int:
    """How many keys are at least `limit`."""
    count = 0
    for k in range(keys.size):
        count += keys[k] >= limit
    return count


@compiled
def next_above(keys: Integers, limit: int) -> int:
    """The smallest key above `limit`."""
    best = HIGHEST_KEY
    for k in range(keys.size):
        best = min(best, keys[k] if keys[k] > limit else HIGHEST_KEY)
    return best


@compiled
def next_below(keys: Integers, limit: int) -> int:
    """The largest key below `limit`."""
    best = -HIGHEST_KEY
    for k in range(keys.size):
        best = max(best, keys[k] if keys[k] < limit else -HIGHEST_KEY)
    return best


@compiled
def ranked(keys: Integers, rank: int, guess: int, ordered: Integers) -> int:
    """The `rank`-th largest key (from 1), walking from a guess near it; `ordered` is scratch."""
    value = next_above(keys, guess - 1)
    if count_from(keys, value) >= rank:
        for _ in range(STEPS):
            above = next_above(keys, value)
            if count_from(keys, above) < rank:
                return value
            value = above
    else:
        for _ in range(STEPS):
            value = next_below(keys, value)
            if count_from(keys, value) >= rank:
                return value
    sorted_keys = ordered[: keys.size]
    sorted_keys[:] = keys
    sorted_keys.sort()
    return int(sorted_keys[keys.size - rank])


@compiled
def deciles_m(radial: Radial, count: int, tenth: int) -> tuple[float, float]:
    """The tenth-largest and tenth-smallest sample, exactly, sought from those of the path before.

    Floats are compared by integers in their order, which vectorises: their bits, the lower 63
    turned over where the sign is set.
    """
    keys = radial.keys[:count]
    for k in range(count):
        bits = radial.sample_bits[k]
        keys[k] = bits ^ ((bits >> 63) & HIGHEST_KEY)
    for side in range(2):
        rank = tenth if side == 0 else count - tenth + 1
        radial.last[2 + side] = ranked(keys, rank, radial.last[2 + side], radial.ordered)
        key = radial.last[2 + side]
        radial.sample_bits[side] = key ^ ((key >> 63) & HIGHEST_KEY)
    return radial.samples[0], radial.samples[1]


@compiled
def roughness_m(
    radial: Radial, last: int, spacing_m: float, start_m: float, end_m: float
) -> float:
    """Terrain irregularity delta h as itm_terrain.roughness_m, [ERL79, eq. 3] turned around."""
    first = start_m / spacing_m
    span = end_m / spacing_m - first
    if span < 2.0:
        return 0.0
    tenth = min(max(4, int(0.1 * (span + 8.0))), 25)
    count = 10 * tenth - 5
    step = span / (count - 1.0)
    heights, samples, below = radial.heights_m, radial.samples, radial.keys
    for k in range(count):
        position = first + k * step
        below[k] = min(int(position), last - 1)
        samples[k] = position - below[k]
    for k in range(count):
        low = heights[below[k]]
        samples[k] = low + (heights[below[k] + 1] - low) * samples[k]
    start, end = fit_line_m(samples[:count], 1.0, 0.0, count - 1.0)
    slope = (end - start) / (count - 1.0)
    for k in range(count):
        samples[k] -= start + k * slope
    upper, lower = deciles_m(radial, count, tenth)
    return (upper - lower) / (1.0 - 0.8 * math.exp(-(end_m - start_m) / 50e3))


@compiled
def clear_terrain(
    radial: Radial, last: int, ends: tuple[float, float, float, float, float], spacing_m: float,
    curvature: float, rough_m: float,
) -> Terrain:  # fmt: skip
    """Terrain of a path far within line of sight: estimated horizons, [Alg, eqs. 3.3, 3.4].

    `ends`: antennas above ground, the receiver's ground, where the terrain counts from and to.
    """
    tx_m, rx_m, ground_m, start_m, end_m = ends
    fit_tx, fit_rx = line_m(radial, last, ground_m, spacing_m, start_m, end_m)
    high_tx = tx_m + max(radial.heights_m[0] - fit_tx, 0.0)
    high_rx = rx_m + max(ground_m - fit_rx, 0.0)
    far_tx = smooth_horizon_m(high_tx, curvature, rough_m)
    far_rx = smooth_horizon_m(high_rx, curvature, rough_m)
    path_m = last * spacing_m
    if far_tx + far_rx <= path_m:
        scale = (path_m / (far_tx + far_rx)) ** 2
        high_tx *= scale
        high_rx *= scale
        far_tx = smooth_horizon_m(high_tx, curvature, rough_m)
        far_rx = smooth_horizon_m(high_rx, curvature, rough_m)
    angle_tx = irregular_angle_rad(high_tx, curvature, rough_m, far_tx)
    angle_rx = irregular_angle_rad(high_rx, curvature, rough_m, far_rx)
    return Terrain(angle_tx, angle_rx, far_tx, far_rx, high_tx, high_rx, rough_m)


@compiled
def terrain_to(
    radial: Radial, last: int, ground_m: float, spacing_m: float, curvature: float,
    antennas_m: tuple[float, float],
) -> Terrain:  # fmt: skip
    """All that ITM takes from the path to point `last`, whose ground is at `ground_m`."""
    tx_m, rx_m = antennas_m
    path_m = last * spacing_m
    half = 0.5 * curvature
    top_tx, top_rx = radial.heights_m[0] + tx_m, ground_m + rx_m
    rise, drop = (top_rx - top_tx) / path_m, path_m * half
    angle_tx, lt = horizon_tx(radial, last, half, rise - drop)
    angle_rx, lr = horizon_rx(radial, last, top_rx, half, -rise - drop, spacing_m)
    far_tx = radial.distances_m[lt] if lt > 0 else path_m
    other = lt if lt > 0 else last
    far_rx = distance_back_m(last, lr, spacing_m, other) if lr > 0 else path_m
    start_m = min(15.0 * tx_m, 0.1 * far_tx)
    end_m = path_m - min(15.0 * rx_m, 0.1 * far_rx)
    kept = radial.heights_m[last]
    radial.heights_m[last] = ground_m
    rough_m = roughness_m(radial, last, spacing_m, start_m, end_m)
    radial.heights_m[last] = kept
    if far_tx + far_rx > 1.5 * path_m:
        ends = (tx_m, rx_m, ground_m, start_m, end_m)
        return clear_terrain(radial, last, ends, spacing_m, curvature, rough_m)
    fit_tx, _ = line_m(radial, last, ground_m, spacing_m, start_m, 0.9 * far_tx)
    _, fit_rx = line_m(radial, last, ground_m, spacing_m, path_m - 0.9 * far_rx, end_m)
    high_tx = tx_m + max(radial.heights_m[0] - fit_tx, 0.0)
    high_rx = rx_m + max(ground_m - fit_rx, 0.0)
    return Terrain(angle_tx, angle_rx, far_tx, far_rx, high_tx, high_rx, rough_m)


@compiled
def link_to(
    radio: Radio, radial: Radial, last: int, ground_m: float, spacing_m: float,
    antennas_m: tuple[float, float],
) -> Link:  # fmt: skip
    """ITM's loss to point `last` of an opened radial; points must be asked for in order."""
    refractivity = surface_refractivity(radio.refractivity, mean_m(radial, last, ground_m))
    curvature = curvature_1_m(refractivity)
    terrain = terrain_to(radial, last, ground_m, spacing_m, curvature, antennas_m)
    ends = (antennas_m[0], antennas_m[1], last * spacing_m)
    return loss_over_terrain(radio, terrain, refractivity, curvature, ends, False)
