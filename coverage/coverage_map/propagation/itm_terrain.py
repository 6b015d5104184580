"""What ITM reads from a terrain profile: horizons, effective heights and roughness, compiled.

[Alg] is G. A. Hufford, "The ITS Irregular Terrain Model, version 1.2.2: The Algorithm" (NTIA,
1995); [ERL79] is ESSA Technical Report ERL 79-ITS 67 (Longley and Rice, 1968); [TN101] is NBS
Technical Note 101. A profile is an array of heights in metres above sea level at equal spacing,
both ends included; all other lengths are metres too.

Here ITM spends its time, so every loop is a single pass: horizons are compared by
cross-multiplication (a division only where the horizon moves), and the two deciles of terrain
come from counting passes rather than from sorting, which the compiler turns into vector code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]

SCRATCH = 247  # the most samples that the roughness of a profile takes, and two to spare
FEW = 12  # so few candidates are cheaper sorted than counted again


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
def mean_height_m(heights_m: Floats) -> float:
    """Mean height of a path without a tenth at each end, the height of its refractivity."""
    last = heights_m.size - 1
    tenth = int(0.1 * last)
    even = 0.0
    odd = 0.0
    stop = last - tenth + 1
    k = tenth
    while k + 1 < stop:
        even += heights_m[k]
        odd += heights_m[k + 1]
        k += 2
    if k < stop:
        even += heights_m[k]
    return (even + odd) / (last - 2 * tenth + 1)


@compiled
def horizons(
    heights_m: Floats, spacing_m: float, curvature: float, tx_m: float, rx_m: float
) -> tuple[float, float, float, float]:
    """Horizon angles in radians and distances of both ends: [TN101, eq. 6.15].

    `tx_m` and `rx_m` are the terminals' heights above ground, `curvature` the effective earth's.
    Without an obstacle a terminal's horizon is the other terminal.
    """
    last = heights_m.size - 1
    path_m = last * spacing_m
    half = 0.5 * curvature
    top_tx = heights_m[0] + tx_m
    top_rx = heights_m[last] + rx_m
    angle_tx = (top_rx - top_tx) / path_m - path_m * half
    angle_rx = (top_tx - top_rx) / path_m - path_m * half
    horizon_tx = path_m
    horizon_rx = path_m
    from_tx = 0.0
    from_rx = path_m
    for k in range(1, last):
        # Summed up, not multiplied: a tenth of a horizon is cut to whole points below, and the
        # reference's rounding decides on which side of one it falls.
        from_tx += spacing_m
        from_rx -= spacing_m
        if heights_m[k] - top_tx - from_tx * from_tx * half > angle_tx * from_tx:
            angle_tx = (heights_m[k] - top_tx) / from_tx - from_tx * half
            horizon_tx = from_tx
        if heights_m[k] - top_rx - from_rx * from_rx * half > angle_rx * from_rx:
            angle = (heights_m[k] - top_rx) / from_rx - from_rx * half
            if angle > angle_rx:
                angle_rx = angle
                horizon_rx = from_rx
    return angle_tx, angle_rx, horizon_tx, horizon_rx


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
    sum_a = 0.5 * (heights_m[first] + heights_m[stop])
    moment_a = 0.5 * (heights_m[first] - heights_m[stop]) * middle
    sum_b = 0.0
    moment_b = 0.0
    k = first + 1
    weight = middle + 1.0
    while k + 1 < stop:
        sum_a += heights_m[k]
        sum_b += heights_m[k + 1]
        moment_a += heights_m[k] * weight
        moment_b += heights_m[k + 1] * (weight + 1.0)
        weight += 2.0
        k += 2
    if k < stop:
        sum_a += heights_m[k]
        moment_a += heights_m[k] * weight
    mean = (sum_a + sum_b) / length
    slope = (moment_a + moment_b) * 12.0 / ((length * length + 2.0) * length)
    centre = stop + middle
    return mean - slope * centre, mean + slope * (last - centre)


@compiled
def count_above(values: Floats, size: int, limit: float) -> int:
    """How many of the first `size` values exceed a limit."""
    count = 0
    for k in range(size):
        count += values[k] > limit
    return count


@compiled
def largest(values: Floats, size: int, rank: int, low: float, high: float) -> float:
    """The `rank`-th largest (from 1) of the first `size` values, all in [`low`, `high`].

    `above_high` < rank <= `above_low` holds throughout; the answer lies in (low, high].
    """
    low -= 1.0 + abs(low) * 1e-9
    above_low = size
    above_high = 0
    while above_low - above_high > FEW:
        share = (above_low - rank + 0.5) / (above_low - above_high)
        pivot = low + (high - low) * min(max(share, 0.1), 0.9)
        if not low < pivot < high:
            return high
        above = count_above(values, size, pivot)
        if above >= rank:
            low = pivot
            above_low = above
        else:
            high = pivot
            above_high = above
    return _pick(values, size, rank - above_high, low, high)


@compiled
def _pick(values: Floats, size: int, rank: int, low: float, high: float) -> float:
    """The `rank`-th largest of the few values in (low, high], by insertion."""
    sorted_few = np.empty(FEW)
    held = 0
    for k in range(size):
        value = values[k]
        if low < value <= high:
            slot = held
            while slot > 0 and sorted_few[slot - 1] < value:
                sorted_few[slot] = sorted_few[slot - 1]
                slot -= 1
            sorted_few[slot] = value
            held += 1
    return sorted_few[rank - 1]


@compiled
def _resample(
    heights_m: Floats, first: float, step: float, size: int, samples: Floats
) -> tuple[float, float]:
    """Heights at `size` equal steps into `samples`; the least-squares line's start and slope."""
    last = heights_m.size - 1
    for k in range(size):
        position = first + k * step
        below = min(int(position), last - 1)
        low = heights_m[below]
        samples[k] = low + (heights_m[below + 1] - low) * (position - below)
    length = size - 1.0
    start, end = fit_line_m(samples[:size], 1.0, 0.0, length)
    return start, (end - start) / length


@compiled
def roughness_m(
    heights_m: Floats, spacing_m: float, start_m: float, end_m: float, samples: Floats
) -> float:
    """Terrain irregularity delta h: between the deciles of what a straight line leaves.

    [ERL79, eq. 3] turned around, which takes the deciles of this path to those of a long one.
    """
    first = start_m / spacing_m
    span = end_m / spacing_m - first
    if span < 2.0:
        return 0.0
    tenth = min(max(4, int(0.1 * (span + 8.0))), 25)
    size = 10 * tenth - 5
    start, slope = _resample(heights_m, first, span / (size - 1.0), size, samples)
    low = np.inf
    high = -np.inf
    for k in range(size):
        samples[k] -= start + k * slope
        low = min(low, samples[k])
        high = max(high, samples[k])
    upper = largest(samples, size, tenth, low, high)
    lower = largest(samples, size, size - tenth + 1, low, high)
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
    samples: Floats,
) -> Terrain:
    """All that ITM takes from a profile; `samples` is scratch of at least `SCRATCH` numbers.

    Terrain within 15 times a terminal's height, or a tenth of its horizon, is left out
    (Hufford, Longley and Kissick, NTIA Report 82-100, p. 25).
    """
    last = heights_m.size - 1
    path_m = last * spacing_m
    angle_tx, angle_rx, far_tx, far_rx = horizons(heights_m, spacing_m, curvature, tx_m, rx_m)
    start_m = min(15.0 * tx_m, 0.1 * far_tx)
    end_m = path_m - min(15.0 * rx_m, 0.1 * far_rx)
    rough_m = roughness_m(heights_m, spacing_m, start_m, end_m, samples)
    if far_tx + far_rx > 1.5 * path_m:
        ends = (tx_m, rx_m, start_m, end_m)
        return _clear_path(heights_m, spacing_m, curvature, ends, rough_m)
    fit_tx, _ = fit_line_m(heights_m, spacing_m, start_m, 0.9 * far_tx)
    _, fit_rx = fit_line_m(heights_m, spacing_m, path_m - 0.9 * far_rx, end_m)
    high_tx = tx_m + max(heights_m[0] - fit_tx, 0.0)
    high_rx = rx_m + max(heights_m[last] - fit_rx, 0.0)
    return Terrain(angle_tx, angle_rx, far_tx, far_rx, high_tx, high_rx, rough_m)
