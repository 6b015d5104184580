"""What ITM reads from a terrain profile: horizons, effective heights and roughness, compiled.

[Alg] is G. A. Hufford, "The ITS Irregular Terrain Model, version 1.2.2: The Algorithm" (NTIA,
1995); [ERL79] is ESSA Technical Report ERL 79-ITS 67 (Longley and Rice, 1968); [TN101] is NBS
Technical Note 101. A profile is an array of heights in metres above sea level at equal spacing,
both ends included; all other lengths are metres too.

Here ITM spends its time, so loops are shaped for vector instructions without changing what they
compute: a horizon is the largest of angles that were all computed first, the two deciles of
terrain come from counting passes rather than from sorting, and the largest of many floats is found
among their bits read as integers (IEEE 754 numbers of one sign are ordered like their bits), since
only integer reductions may be reordered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]

Integers = NDArray[np.int64]

LANES = 32  # samples are padded to a multiple, so that no loop over them has a rest
SAMPLES_MAX = 256  # 245 samples of a profile at most, padded
COUNTING_PASSES = 8
STEPS_MAX = 3  # so few samples are walked down in less time than another pass takes
MAGNITUDE = 0x7FFFFFFFFFFFFFFF  # all bits of a float but its sign


class Scratch(NamedTuple):
    """Room to work in, made once for many links by `new_scratch`; keys are floats' bits."""

    samples: Floats
    sample_keys: Integers
    below: NDArray[np.uint64]  # unsigned, which spares the check for negative indexes
    angles: Floats
    angle_keys: Integers
    from_tx_m: Floats
    from_rx_m: Floats
    filled: Floats  # points and spacing for which the two distances hold


class Terrain(NamedTuple):
    """Horizons of both terminals and the terrain between them."""

    angle_tx_rad: float
    angle_rx_rad: float
    horizon_tx_m: float
    horizon_rx_m: float
    effective_tx_m: float
    effective_rx_m: float
    roughness_m: float  # delta h, between the deciles of terrain


@compiled
def moments(
    values: Floats, first: int, stop: int, weight: float, sums: tuple[float, float]
) -> tuple[float, float]:
    """`sums` plus the sum of values from `first` to before `stop`, and their weighted sum.

    Weights grow by one from `weight` on. Four sums run beside each other, because one alone would
    wait for each addition to end.
    """
    sum_a, moment_a = sums
    sum_b = sum_c = sum_d = 0.0
    moment_b = moment_c = moment_d = 0.0
    k = first
    while k + 3 < stop:
        sum_a += values[k]
        sum_b += values[k + 1]
        sum_c += values[k + 2]
        sum_d += values[k + 3]
        moment_a += values[k] * weight
        moment_b += values[k + 1] * (weight + 1.0)
        moment_c += values[k + 2] * (weight + 2.0)
        moment_d += values[k + 3] * (weight + 3.0)
        weight += 4.0
        k += 4
    while k < stop:
        sum_a += values[k]
        moment_a += values[k] * weight
        weight += 1.0
        k += 1
    return sum_a + sum_b + (sum_c + sum_d), moment_a + moment_b + (moment_c + moment_d)


@compiled
def mean_height_m(heights_m: Floats) -> float:
    """Mean height of a path without a tenth at each end, the height of its refractivity."""
    last = heights_m.size - 1
    tenth = int(0.1 * last)
    total, _ = moments(heights_m, tenth, last - tenth + 1, 0.0, (0.0, 0.0))
    return total / (last - 2 * tenth + 1)


def new_scratch(points: int) -> Scratch:
    """Scratch for profiles of at most so many points."""
    samples = np.empty(SAMPLES_MAX)
    angles = np.empty(points)
    return Scratch(
        samples,
        samples.view(np.int64),
        np.empty(SAMPLES_MAX, np.uint64),
        angles,
        angles.view(np.int64),
        np.empty(points),
        np.empty(points),
        np.zeros(2),
    )


@compiled
def order_key(bits: int) -> int:
    """An integer in the order of the float with these bits, and the way back."""
    return bits ^ ((bits >> 63) & MAGNITUDE)


@compiled
def fill_distances(scratch: Scratch, points: int, spacing_m: float) -> None:
    """Distances of all points from both ends.

    Summed up, not multiplied: a tenth of a horizon's distance is cut to whole points later, and
    the reference's rounding decides on which side of a point it falls.
    """
    if scratch.filled[0] == points and scratch.filled[1] == spacing_m:
        return
    from_tx = 0.0
    from_rx = (points - 1) * spacing_m
    for k in range(points):
        scratch.from_tx_m[k] = from_tx
        scratch.from_rx_m[k] = from_rx
        from_tx += spacing_m
        from_rx -= spacing_m
    scratch.filled[0] = points
    scratch.filled[1] = spacing_m


@compiled
def horizon(
    heights_m: Floats,
    distances_m: Floats,
    top_m: float,
    curvature: float,
    straight: tuple[float, float],
    scratch: Scratch,
) -> tuple[float, float]:
    """Horizon angle in radians and distance of one end: [TN101, eq. 6.15].

    `top_m` is the terminal's height above the sea, `straight` the angle and distance of the other
    terminal, which is the horizon where no point of the terrain stands above it.
    """
    last = heights_m.size - 1
    half = 0.5 * curvature
    angles = scratch.angles
    for k in range(1, last):
        angles[k] = (heights_m[k] - top_m) / distances_m[k] - distances_m[k] * half
    top_key = -MAGNITUDE
    for k in range(1, last):
        top_key = max(top_key, order_key(scratch.angle_keys[k]))
    bits = order_key(top_key)
    k = 1
    while k < last and scratch.angle_keys[k] != bits:
        k += 1
    if k < last and angles[k] > straight[0]:
        return angles[k], distances_m[k]
    return straight


@compiled
def horizons(
    heights_m: Floats,
    spacing_m: float,
    curvature: float,
    tops_m: tuple[float, float],
    scratch: Scratch,
) -> tuple[float, float, float, float]:
    """Horizon angles and distances of both ends, whose heights above the sea are `tops_m`."""
    last = heights_m.size - 1
    path_m = last * spacing_m
    fill_distances(scratch, heights_m.size, spacing_m)
    rise = (tops_m[1] - tops_m[0]) / path_m
    drop = path_m * 0.5 * curvature
    angle_tx, far_tx = horizon(
        heights_m, scratch.from_tx_m, tops_m[0], curvature, (rise - drop, path_m), scratch
    )
    angle_rx, far_rx = horizon(
        heights_m, scratch.from_rx_m, tops_m[1], curvature, (-rise - drop, path_m), scratch
    )
    return angle_tx, angle_rx, far_tx, far_rx


@compiled
def fit_line_m(
    heights_m: Floats, spacing_m: float, start_m: float, end_m: float
) -> tuple[float, float]:
    """Least-squares line through the terrain from `start_m` to `end_m`: heights at both ends."""
    last = heights_m.size - 1
    first = int(max(start_m / spacing_m, 0.0))
    stop = last - int(max(last - end_m / spacing_m, 0.0))
    if stop <= first:
        first = max(first - 1, 0)
        stop = last - max(last - stop - 1, 0)
    length = float(stop - first)
    middle = -0.5 * length
    ends = (
        0.5 * (heights_m[first] + heights_m[stop]),
        0.5 * (heights_m[first] - heights_m[stop]) * middle,
    )
    total, moment = moments(heights_m, first + 1, stop, middle + 1.0, ends)
    mean = total / length
    slope = moment * 12.0 / ((length * length + 2.0) * length)
    centre = stop + middle
    return mean - slope * centre, mean + slope * (last - centre)


class Search(NamedTuple):
    """Bounds of a wanted sample, and how many samples are at least as large as each."""

    low: float
    high: float
    from_low: int
    from_high: int


@compiled
def _pivot(search: Search, rank: int, flatten: float) -> float:
    """Where between the bounds `rank` - 1/2 samples should lie above, were they spread evenly.

    `flatten` below 1 pulls the guess to the middle: samples are rarer at both ends.
    """
    share = (rank - 0.5 - search.from_high) / (search.from_low - search.from_high)
    share = 0.5 + flatten * (share - 0.5)
    return search.high - (search.high - search.low) * min(max(share, 0.1), 0.9)


@compiled
def _narrow(search: Search, rank: int, pivot: float, from_pivot: int) -> Search:
    if from_pivot < rank:
        return Search(search.low, pivot, search.from_low, from_pivot)
    return Search(pivot, search.high, from_pivot, search.from_high)


@compiled
def _walk_down(scratch: Scratch, size: int, search: Search, rank: int) -> float:
    """The `rank`-th largest sample, from the upper bound down, sample by sample."""
    key = _as_key(search.high, scratch)
    while True:
        key = _largest_key(scratch.sample_keys, size, key)
        value = _as_float(key, scratch)
        count = 0
        for k in range(size):
            count += scratch.samples[k] >= value
        if count >= rank:
            return value


@compiled
def _largest_key(keys: Integers, size: int, limit: int) -> int:
    """The largest order key below `limit`."""
    top = -MAGNITUDE
    for k in range(size):
        key = order_key(keys[k])
        top = max(top, key if key < limit else -MAGNITUDE)
    return top


@compiled
def _as_float(key: int, scratch: Scratch) -> float:
    """The float with an order key, by way of the scratch's last sample."""
    scratch.sample_keys[SAMPLES_MAX - 1] = order_key(key)
    value: float = scratch.samples[SAMPLES_MAX - 1]
    return value


@compiled
def _as_key(value: float, scratch: Scratch) -> int:
    scratch.samples[SAMPLES_MAX - 1] = value
    return order_key(scratch.sample_keys[SAMPLES_MAX - 1])


@compiled
def two_largest(
    scratch: Scratch, size: int, count: int, ranks: tuple[int, int], bounds: tuple[float, float]
) -> tuple[float, float]:
    """The samples of two ranks (from 1, the largest) among `count` padded to `size`.

    All samples are at least the first bound and below the second; the padding is minus infinity.
    Counting passes narrow both searches beside each other, until nearly `rank` - 1 samples lie
    above; from there each walks down.
    """
    one = Search(bounds[0], bounds[1], count, 0)
    two = one
    for k in range(COUNTING_PASSES):
        if max(ranks[0] - one.from_high, ranks[1] - two.from_high) <= STEPS_MAX:
            break
        flatten = 0.7 if k == 0 else 1.0
        pivot_one = _pivot(one, ranks[0], flatten)
        pivot_two = _pivot(two, ranks[1], flatten)
        from_one = 0
        from_two = 0
        for j in range(size):
            from_one += scratch.samples[j] >= pivot_one
            from_two += scratch.samples[j] >= pivot_two
        one = _narrow(one, ranks[0], pivot_one, from_one)
        two = _narrow(two, ranks[1], pivot_two, from_two)
    return _walk_down(scratch, size, one, ranks[0]), _walk_down(scratch, size, two, ranks[1])


@compiled
def _resample(
    heights_m: Floats, first: float, step: float, size: int, scratch: Scratch
) -> tuple[float, float]:
    """Heights at `size` equal steps into samples; the least-squares line's start and slope."""
    last = heights_m.size - 1
    samples = scratch.samples
    below = scratch.below
    for k in range(size):
        position = first + k * step
        point = min(int(position), last - 1)
        below[k] = point
        samples[k] = position - point
    for k in range(size):
        low = heights_m[below[k]]
        samples[k] = low + (heights_m[below[k] + np.uint64(1)] - low) * samples[k]
    length = size - 1.0
    start, end = fit_line_m(samples[:size], 1.0, 0.0, length)
    return start, (end - start) / length


@compiled
def _deciles_m(scratch: Scratch, count: int, tenth: int) -> tuple[float, float]:
    """The tenth-largest and tenth-smallest of the samples, where a tenth is `tenth` of them."""
    size = min((count + LANES - 1) // LANES * LANES, SAMPLES_MAX - 1)
    for k in range(count, size):
        scratch.samples[k] = scratch.samples[0]
    high_key = -MAGNITUDE
    low_key = MAGNITUDE
    for k in range(size):
        key = order_key(scratch.sample_keys[k])
        high_key = max(high_key, key)
        low_key = min(low_key, key)
    low = _as_float(low_key, scratch)
    high = _as_float(high_key + 1, scratch)
    for k in range(count, size):
        scratch.samples[k] = -np.inf
    return two_largest(scratch, size, count, (tenth, count - tenth + 1), (low, high))


@compiled
def roughness_m(
    heights_m: Floats, spacing_m: float, start_m: float, end_m: float, scratch: Scratch
) -> float:
    """Terrain irregularity delta h: between the deciles of what a straight line leaves.

    [ERL79, eq. 3] turned around, which takes the deciles of this path to those of a long one.
    """
    first = start_m / spacing_m
    span = end_m / spacing_m - first
    if span < 2.0:
        return 0.0
    tenth = min(max(4, int(0.1 * (span + 8.0))), 25)
    count = 10 * tenth - 5
    start, slope = _resample(heights_m, first, span / (count - 1.0), count, scratch)
    for k in range(count):
        scratch.samples[k] -= start + k * slope
    upper, lower = _deciles_m(scratch, count, tenth)
    return (upper - lower) / (1.0 - 0.8 * math.exp(-(end_m - start_m) / 50e3))


@compiled
def smooth_horizon_m(effective_m: float, curvature: float, roughness: float) -> float:
    """Horizon distance over irregular terrain, [Alg, eq. 3.3]."""
    smooth = math.sqrt(2.0 * effective_m / curvature)
    return smooth * math.exp(-0.07 * math.sqrt(roughness / max(effective_m, 5.0)))


@compiled
def irregular_angle_rad(
    effective_m: float, curvature: float, roughness: float, horizon_m: float
) -> float:
    """Horizon angle over irregular terrain, [Alg, eq. 3.4]."""
    smooth = math.sqrt(2.0 * effective_m / curvature)
    return (0.65 * roughness * (smooth / horizon_m - 1.0) - 2.0 * effective_m) / smooth


@compiled
def _clear_path(
    heights_m: Floats,
    spacing_m: float,
    curvature: float,
    ends_m: tuple[float, float, float, float],
    rough_m: float,
) -> Terrain:
    """Terrain of a path far within line of sight: horizons are estimates, not obstacles."""
    tx_m, rx_m, start_m, end_m = ends_m
    last = heights_m.size - 1
    path_m = last * spacing_m
    fit_tx, fit_rx = fit_line_m(heights_m, spacing_m, start_m, end_m)
    high_tx = tx_m + max(heights_m[0] - fit_tx, 0.0)
    high_rx = rx_m + max(heights_m[last] - fit_rx, 0.0)
    far_tx = smooth_horizon_m(high_tx, curvature, rough_m)
    far_rx = smooth_horizon_m(high_rx, curvature, rough_m)
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
def read_profile(
    heights_m: Floats,
    spacing_m: float,
    curvature: float,
    tx_m: float,
    rx_m: float,
    scratch: Scratch,
) -> Terrain:
    """All that ITM takes from a profile.

    Terrain within 15 times a terminal's height, or a tenth of its horizon, is left out
    (Hufford, Longley and Kissick, NTIA Report 82-100, p. 25).
    """
    last = heights_m.size - 1
    path_m = last * spacing_m
    tops_m = (heights_m[0] + tx_m, heights_m[last] + rx_m)
    angle_tx, angle_rx, far_tx, far_rx = horizons(
        heights_m, spacing_m, curvature, tops_m, scratch
    )
    start_m = min(15.0 * tx_m, 0.1 * far_tx)
    end_m = path_m - min(15.0 * rx_m, 0.1 * far_rx)
    rough_m = roughness_m(heights_m, spacing_m, start_m, end_m, scratch)
    if far_tx + far_rx > 1.5 * path_m:
        ends = (tx_m, rx_m, start_m, end_m)
        return _clear_path(heights_m, spacing_m, curvature, ends, rough_m)
    fit_tx, _ = fit_line_m(heights_m, spacing_m, start_m, 0.9 * far_tx)
    _, fit_rx = fit_line_m(heights_m, spacing_m, path_m - 0.9 * far_rx, end_m)
    high_tx = tx_m + max(heights_m[0] - fit_tx, 0.0)
    high_rx = rx_m + max(heights_m[last] - fit_rx, 0.0)
    return Terrain(angle_tx, angle_rx, far_tx, far_rx, high_tx, high_rx, rough_m)
