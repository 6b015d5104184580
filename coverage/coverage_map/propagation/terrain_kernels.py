"""Compiled sampling of terrain grids (imports Numba)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Heights = NDArray[np.float32]
Grid = tuple[float, float, float, float]  # north, west, step_lat, step_lon in degrees

EDGE = 0.5 + 1e-9  # a grid point stands for half a step around it


@compiled
def nearest_m(heights: Heights, row: float, col: float) -> float:
    """Height of the nearest grid point; NaN outside."""
    r, c = math.floor(row + 0.5), math.floor(col + 0.5)
    if r < 0 or c < 0 or r >= heights.shape[0] or c >= heights.shape[1]:
        return math.nan
    return float(heights[r, c])


@compiled
def bilinear_m(heights: Heights, row: float, col: float) -> float:
    """Height between four grid points; level beyond the outermost half step, NaN outside."""
    last_r, last_c = heights.shape[0] - 1, heights.shape[1] - 1
    if row < -EDGE or col < -EDGE or row > last_r + EDGE or col > last_c + EDGE:
        return math.nan
    row, col = min(max(row, 0.0), float(last_r)), min(max(col, 0.0), float(last_c))
    r, c = min(int(row), last_r - 1), min(int(col), last_c - 1)
    down, right = row - r, col - c
    top = heights[r, c] + (heights[r, c + 1] - heights[r, c]) * right
    bottom = heights[r + 1, c] + (heights[r + 1, c + 1] - heights[r + 1, c]) * right
    return float(top + (bottom - top) * down)


@compiled
def sample_many(
    heights: Heights, grid: Grid, latitude: Floats, longitude: Floats, nearest: bool, out: Floats
) -> None:
    """Heights at places in degrees, into `out`."""
    north, west, step_lat, step_lon = grid
    for k in range(latitude.shape[0]):
        row = (north - latitude[k]) / step_lat
        turn = longitude[k] - west
        turn -= 360.0 * math.floor((turn + step_lon) / 360.0)
        col = turn / step_lon
        out[k] = nearest_m(heights, row, col) if nearest else bilinear_m(heights, row, col)
