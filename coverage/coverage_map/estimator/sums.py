"""Sums over training rows, compiled (imports Numba): the mean of the field at many places.

The same covariances as estimator_kernels.py, without the matrix: a table of 60,000 rows costs
seconds. What is collected along the path enters as features (estimator_kernels.path_features).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


@compiled
def add_places(
    one: Longs, other: Longs, one_rx: Floats, other_rx: Floats, one_far: Floats, other_far: Floats,
    one_turn: Floats, other_turn: Floats, weights: Floats, unit_m: float, scale: Floats,
    lengths: Floats, out: Floats,
) -> None:  # fmt: skip
    """Add to `out` the covariance with every row of `other`, times its weight.

    one, other [n, 3]: world, mast, transmitter; rx [n, 2]; far [n]: decades; turn [n, 2]: bearings.
    scale: deviations offset, slope, world offset, world slope, transmitter offset, transmitter
    slope, place, shadow, ray. lengths: of place, shadow, ray's width, ray's length.
    """
    square = scale * scale
    for i in range(len(out)):
        total = 0.0
        for j in range(len(weights)):
            slopes = one_far[i] * other_far[j]
            value = square[0] + square[1] * slopes
            if one[i, 0] == other[j, 0]:
                apart = math.hypot(
                    one_rx[i, 0] - other_rx[j, 0], one_rx[i, 1] - other_rx[j, 1]
                ) / unit_m  # fmt: skip
                value += square[2] + square[3] * slopes
                value += square[6] * math.exp(-apart / lengths[0])
                if one[i, 2] == other[j, 2]:
                    value += square[4] + square[5] * slopes
                    value += square[7] * math.exp(-apart / lengths[1])
                if one[i, 1] == other[j, 1]:
                    x = one_turn[i, 0] - other_turn[j, 0]
                    y = one_turn[i, 1] - other_turn[j, 1]
                    bend = (x * x + y * y) / (2.0 * lengths[2] * lengths[2])
                    stretch = abs(one_far[i] - other_far[j]) / (10.0 * lengths[3])
                    value += square[8] * math.exp(-bend - stretch)
            total += weights[j] * value
        out[i] += total
