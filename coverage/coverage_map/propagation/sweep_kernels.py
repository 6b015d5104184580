"""A radial swept once: what every point on it sees of the terrain before it (imports Numba).

Over a curved earth lower the point at distance d by d^2 / 2a: lines of sight become straight. Then

* the transmitter's horizon, for a receiver ever farther out, is a running maximum of slopes;
* the receiver's horizon is a tangent to the upper convex hull of the points passed so far, which
  grows by one point a step (a stack: points that fall below the new edge leave it for good), and
  an edge is below a receiver or not in the order of the stack, so the tangent is found by walking
  or halving, never by looking at all points;
* in line of sight the point that comes nearest to the ray, in Fresnel zones, need not be on the
  hull. Blocks of points are excluded by a bound on their highest point; few remain.

Equal to the definition over all points within rounding: nothing is approximated. All lengths m.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK = 16
WIDE = 8  # blocks that are looked at together first
NEAR_STEPS = 6  # edges to walk before halving
LOWEST = -1e300
CLEAR_NU = -0.78  # J(nu) is nothing below


@compiled
def push(points: Integers, slopes: Floats, starts: Floats, size: int, y: Floats, i: int) -> int:
    """Add point i to the upper hull (a stack of edges: slope, height at 0); its new size.

    Distances are in steps: the abscissa of point i is i itself.
    """
    while size > 1 and y[i] >= starts[size - 1] + slopes[size - 1] * i:
        size -= 1
    if size > 0:
        j = points[size - 1]
        slope = (y[i] - y[j]) / (i - j)
        slopes[size], starts[size] = slope, y[i] - slope * i
    points[size] = i
    return size + 1


@compiled
def tangent(slopes: Floats, starts: Floats, size: int, at: float, y: float) -> int:
    """Stack position of the hull point where a line from (at, y), right of it, touches.

    The last edge whose extension passes above the viewer; edges before it do, those after don't.
    """
    j = size - 1
    low = max(j - NEAR_STEPS, 0)
    while j > low and y >= starts[j] + slopes[j] * at:
        j -= 1
    if j > low or j == 0:
        return j
    low, high = 0, j
    while low < high:
        middle = (low + high + 1) // 2
        if y < starts[middle] + slopes[middle] * at:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def support(slopes: Floats, size: int, slope: float) -> int:
    """Stack position of the hull point farthest above lines of a slope."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high + 1) // 2
        if slopes[middle] > slope:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def block_maxima(y: Floats, maxima: Floats, size: int) -> None:
    """Highest value of every block of `size` values."""
    for b in range(maxima.shape[0]):
        highest = LOWEST
        for i in range(b * size, min((b + 1) * size, y.shape[0])):
            highest = max(highest, y[i])
        maxima[b] = highest


@compiled
def is_clear(
    highest: float, first: int, end: int, last: int, start: float, slope: float, limit: float
) -> bool:
    """Whether points first..end, none above `highest`, surely stay below the best ratio so far.

    Their highest, where the ray is lowest and the Fresnel zone widest; `limit` is best^2.
    """
    gap = start + min(slope * first, slope * end) - highest
    middle = min(max(0.5 * last, float(first)), float(end))
    return gap > 0.0 and gap * gap > limit * middle * (last - middle)


@compiled
def nearest_to_ray(
    y: Floats, blocks: tuple[Floats, Floats, Floats], last: int, start: float, slope: float,
    best: float,
) -> tuple[float, int]:  # fmt: skip
    """(clearance ratio, point) nearest to a ray above all points 1..last-1, if above `best` < 0.

    The ratio is height over the line by sqrt(i (last - i)): nu without its constant. Returns
    point -1 when no ratio exceeds `best`. `blocks`: highest of each block, of each `WIDE` blocks,
    and 1 / sqrt(i).
    """
    maxima, wide, root = blocks
    limit, at = best * best, -1
    for w in range((last - 1) // (WIDE * BLOCK) + 1):
        first = max(w * WIDE * BLOCK, 1)
        end = min((w + 1) * WIDE * BLOCK, last) - 1
        if is_clear(wide[w], first, end, last, start, slope, limit):
            continue
        for b in range(w * WIDE, min(w * WIDE + WIDE, (last - 1) // BLOCK + 1)):
            first, end = max(b * BLOCK, 1), min((b + 1) * BLOCK, last) - 1
            if is_clear(maxima[b], first, end, last, start, slope, limit):
                continue
            for i in range(first, end + 1):
                ratio = (y[i] - (start + slope * i)) * root[i] * root[last - i]
                if ratio > best:
                    best, at = ratio, i
            limit = min(limit, best * best) if best < 0.0 else 0.0
    return best, at


@compiled
def loss_db(nu: float, distance_m: float) -> float:
    """Bullington loss from its parameter, P.526-15 eq. (31) and (58)."""
    if nu <= CLEAR_NU:
        return 0.0
    v = nu - 0.1
    edge = 6.9 + 20.0 * math.log10(math.sqrt(v * v + 1.0) + v)
    return edge + (1.0 - math.exp(-edge / 6.0)) * (10.0 + 2e-5 * distance_m)


@compiled
def hidden_nu(
    rising: float, falling: float, length: float, start: float, end: float
) -> float:
    """Clearance ratio of the Bullington point where both horizons' lines meet; lengths in steps."""
    x = (end - start + falling * length) / (rising + falling)
    above = start + rising * x - (start + (end - start) * x / length)
    return above / math.sqrt(x * (length - x))


@compiled
def prepare(y: Floats, blocks: tuple[Floats, Floats, Floats]) -> None:
    """Fill the blocks' highest points for a radial."""
    block_maxima(y, blocks[0], BLOCK)
    block_maxima(blocks[0], blocks[1], WIDE)


def new_blocks(points: int) -> tuple[Floats, Floats, Floats]:
    """Room for the blocks of a radial, and the reciprocal roots that every radial shares."""
    count = (points - 1) // BLOCK + 1
    root = np.concatenate([[0.0], 1.0 / np.sqrt(np.arange(1.0, points))])
    return np.empty(count), np.empty((count - 1) // WIDE + 1), root


def new_stack(points: int) -> tuple[Integers, Floats, Floats]:
    """Room for a hull."""
    return np.empty(points, np.int64), np.empty(points), np.empty(points)


@compiled
def sweep_radial(
    ground: Floats, y: Floats, blocks: tuple[Floats, Floats, Floats],
    stack: tuple[Integers, Floats, Floats], step: float, antennas: tuple[float, float],
    wave_m: float, bend: float, out: Floats,
) -> None:  # fmt: skip
    """Bullington's nu at all points of a radial; `y` are heights lowered by bend i^2."""
    points, slopes, starts = stack
    start = ground[0] + antennas[0]
    size = 0
    rising = LOWEST
    scale = math.sqrt(2.0 / (wave_m * step))
    for k in range(2, ground.shape[0]):
        i = k - 1
        size = push(points, slopes, starts, size, y, i)
        rising = max(rising, (y[i] - start) / i)
        end = ground[k] + antennas[1] - bend * k * k
        slope = (end - start) / k
        root = math.sqrt(float(k)) * scale
        if rising < slope:
            ratio, at = nearest_to_ray(y, blocks, k, start, slope, CLEAR_NU / root)
            out[k] = ratio * root if at > 0 else CLEAR_NU
        else:
            j = points[tangent(slopes, starts, size, float(k), end)]
            falling = (y[j] - end) / (k - j)
            out[k] = hidden_nu(rising, falling, float(k), start, end) * root


@compiled
def sweep(
    ground: Floats, top: Floats, step: float, antennas: tuple[float, float], wave_m: float,
    radius_m: float, blocks: tuple[Floats, Floats, Floats],
    stack: tuple[Integers, Floats, Floats], out: Floats,
) -> None:  # fmt: skip
    """Bullington loss of every point of every radial (radials, points), into `out`."""
    count = ground.shape[1]
    y = np.empty(count)
    bend = step * step / (2.0 * radius_m)
    for r in range(ground.shape[0]):
        for i in range(count):
            y[i] = top[r, i] - bend * i * i
        prepare(y, blocks)
        sweep_radial(ground[r], y, blocks, stack, step, antennas, wave_m, bend, out[r])
        for k in range(2, count):
            out[r, k] = loss_db(out[r, k], step * k)
