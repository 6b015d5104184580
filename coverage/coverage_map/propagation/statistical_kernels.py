"""From positions to SNR: path loss by a `Law`, shadowing from a field, compiled.

The work is cut into blocks whose intermediates stay in the first-level cache, and each block into
three plain loops, because a loop that only computes and one that only gathers become vector code
while their sum doesn't. The logarithm is spelt out for the same reason: a call of the C library's
would be made link by link.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.statistical import Law

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK = 512
ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # sqrt(0.5) as a float64
TWO_OVER_LN2 = 2.0 / math.log(2.0)


@compiled
def log2(value: float) -> float:
    """Binary logarithm of a positive normal number, within 2 units in the last place.

    value = 2^e m with m in [sqrt(0.5), sqrt(2)); log2 m = 2/ln 2 artanh((m - 1) / (m + 1)).
    """
    bits = np.float64(value).view(np.int64)
    exponent = (bits - ROOT_HALF_BITS) >> 52
    mantissa = np.int64(bits - (exponent << 52)).view(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = 1.0 / 15.0 + square * (1.0 / 17.0)
    series = 1.0 / 13.0 + square * series
    series = 1.0 / 11.0 + square * series
    series = 1.0 / 9.0 + square * series
    series = 1.0 / 7.0 + square * series
    series = 1.0 / 5.0 + square * series
    series = 1.0 / 3.0 + square * series
    total: float = np.float64(exponent) + (ratio + ratio * square * series) * TWO_OVER_LN2
    return total


@compiled
def _budget_less_loss(
    place: tuple[float, float], x_m: Floats, y_m: Floats, law: Law, budget_db: float, out: Floats
) -> None:
    """Budget less median path loss of a block of links."""
    for k in range(x_m.size):
        east = x_m[k] - place[0]
        north = y_m[k] - place[1]
        flat = east * east + north * north
        log = log2(max(flat + law.rise_squared_m2, 1.0))
        near = law.near_db + law.near_slope * log
        far = law.far_db + law.far_slope * log
        clear = near if flat <= law.break_squared_m2 else far
        blocked = law.blocked_db + law.blocked_slope * log
        out[k] = budget_db - max(clear, blocked)


@compiled
def _find_cells(
    x_m: Floats,
    y_m: Floats,
    size: int,
    grid: tuple[float, float, float],
    cells: Integers,
    right: Floats,
    up: Floats,
) -> None:
    """Each link's cell of the tile (index of its lower left point) and its place within it."""
    mask = size - 1
    for k in range(x_m.size):
        u = x_m[k] * grid[0] + grid[1]
        v = y_m[k] * grid[0] + grid[2]
        column = math.floor(u)
        row = math.floor(v)
        right[k] = u - column
        up[k] = v - row
        cells[k] = (np.int64(row) & mask) * (size + 1) + (np.int64(column) & mask)


@compiled
def _subtract_shadow(
    values: NDArray[np.int16],
    size: int,
    cells: Integers,
    right: Floats,
    up: Floats,
    level_db: float,
    out: Floats,
) -> None:
    """Less shadowing, read bilinearly; unsigned indexes spare the check for negative ones."""
    one = np.uint64(1)
    above = np.uint64(size + 1)
    for k in range(out.size):
        cell = np.uint64(cells[k])
        left = float(values[cell])
        low = left + (values[cell + one] - left) * right[k]
        left = float(values[cell + above])
        high = left + (values[cell + above + one] - left) * right[k]
        out[k] -= level_db * (low + (high - low) * up[k])


@compiled
def snr_over_field(
    place: tuple[float, float],
    x_m: Floats,
    y_m: Floats,
    law: Law,
    values: NDArray[np.int16],
    size: int,
    grid: tuple[float, float, float],
    level_db: float,
    budget_db: float,
    out: Floats,
) -> None:
    """SNR in dB of one transmitter's links into `out`.

    `values` is the flat tile of `size` + 1 points a side, `grid` its points per metre and the
    transmitter's offset in points; `level_db` is a unit of the tile, `budget_db` EIRP and gain less
    the noise floor.
    """
    cells = np.empty(BLOCK, np.int64)
    right = np.empty(BLOCK)
    up = np.empty(BLOCK)
    for start in range(0, x_m.size, BLOCK):
        stop = min(start + BLOCK, x_m.size)
        count = stop - start
        x, y, block = x_m[start:stop], y_m[start:stop], out[start:stop]
        _budget_less_loss(place, x, y, law, budget_db, block)
        _find_cells(x, y, size, grid, cells[:count], right[:count], up[:count])
        _subtract_shadow(
            values, size, cells[:count], right[:count], up[:count], level_db, block
        )
