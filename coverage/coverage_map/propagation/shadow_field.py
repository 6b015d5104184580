"""Correlated log-normal shadowing around a site, as a seeded field by position.

What shadows a receiver stands somewhere, so two receivers side by side must agree: shadowing is a
function of the receiver's position, with covariance exp(-distance / d_corr) (3GPP TR 38.901, eq.
7.4-5; Gudmundson 1991). It is drawn once on a grid, by the square root of its spectrum (circulant
embedding: Dietrich and Newsam, 1997), and read between grid points bilinearly. The grid is a tile
that repeats; every transmitter looks at it from an offset of its own, which makes transmitters
independent. Links that must lose the same both ways are radio_sim/shadowing.py's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.pathloss import DECORRELATION_M
from coverage_map.propagation.seeded import normals, uniforms
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TILE = 1024  # grid points a side: 85 decorrelation distances
# Values are kept as 16-bit multiples of 1/4096: 0.002 dB at a sigma of 8 dB, and half the cache.
LEVEL = 1.0 / 4096.0
# Reading between points smooths: with 12 the correlation is within 0.04 of the exponential.
STEPS_PER_DECORRELATION = 12
OFFSET_STREAM = 1 << 40  # counters of offsets, apart from those of grid points


@dataclass(frozen=True, slots=True, eq=False)
class ShadowField:
    """A unit-variance field; multiply by a scenario's sigma for dB.

    `values` is the tile [size + 1, size + 1] in units of `LEVEL`, its last row and column being the
    first ones again.
    """

    seed: int
    decorrelation_m: float
    step_m: float
    values: NDArray[np.int16]

    @property
    def size(self) -> int:
        """Grid points a side; after `size * step_m` metres the field repeats."""
        return len(self.values) - 1

    def offset(self, transmitter: int) -> tuple[float, float]:
        """Where on the tile a transmitter's origin lies, in grid steps."""
        counters = OFFSET_STREAM + 2 * transmitter + np.arange(2)
        u, v = uniforms(self.seed, counters) * self.size
        return float(u), float(v)

    def at(self, x_m: ArrayLike, y_m: ArrayLike, transmitter: int = 0) -> Floats:
        """Values at receivers' positions in metres, as this transmitter sees them."""
        offset_u, offset_v = self.offset(transmitter)
        u = np.asarray(x_m, np.float64) / self.step_m + offset_u
        v = np.asarray(y_m, np.float64) / self.step_m + offset_v
        column = np.floor(u).astype(np.int64)
        row = np.floor(v).astype(np.int64)
        right, up = u - column, v - row
        column %= self.size
        row %= self.size
        lower, upper = self._between(row, column, right), self._between(row + 1, column, right)
        return np.asarray(LEVEL * (lower + (upper - lower) * up), np.float64)

    def _between(self, row: Integers, column: Integers, right: Floats) -> Floats:
        left = self.values[row, column].astype(np.float64)
        return np.asarray(left + (self.values[row, column + 1] - left) * right)


def make_field(
    seed: int,
    decorrelation_m: float,
    size: int = TILE,
    steps_per_decorrelation: float = STEPS_PER_DECORRELATION,
) -> ShadowField:
    """Draw a field; the same arguments give the same field. `size` is a power of two, >= 64."""
    if not decorrelation_m > 0.0:
        raise InvalidInputError("decorrelation_m", "not above zero", "use metres such as 13")
    if size < 64 or size & (size - 1):
        raise InvalidInputError("size", "not a power of two from 64 on", "use 1024")
    if not steps_per_decorrelation * 16 <= size:
        raise InvalidInputError("size", "fewer than 16 decorrelation distances", "use more points")
    step_m = decorrelation_m / steps_per_decorrelation
    apart = np.minimum(np.arange(size), size - np.arange(size)) * step_m
    covariance = np.exp(-np.hypot(apart[:, None], apart[None, :]) / decorrelation_m)
    spectrum = np.maximum(np.fft.fft2(covariance).real, 0.0)
    noise = normals(seed, np.arange(size * size, dtype=np.uint64)).reshape(size, size)
    tile = np.fft.ifft2(np.fft.fft2(noise) * np.sqrt(spectrum)).real
    tile /= bilinear_deviation(step_m / decorrelation_m)
    levels = np.rint(np.clip(tile, -7.99, 7.99) / LEVEL).astype(np.int16)
    padded = np.pad(levels, ((0, 1), (0, 1)), mode="wrap")
    return ShadowField(seed, decorrelation_m, step_m, padded)


def scenario_field(seed: int, name: str) -> ShadowField:
    """The field of a 38.901 scenario such as `umi_nlos`, by its decorrelation distance."""
    if name not in DECORRELATION_M:
        raise InvalidInputError("name", f"unknown: {name}", f"use {', '.join(DECORRELATION_M)}")
    return make_field(seed, DECORRELATION_M[name])


def bilinear_deviation(step: float) -> float:
    """Deviation left by reading a unit field bilinearly, the mean over all positions.

    `step` is the grid's in decorrelation distances. Along each axis the two weights have a mean
    sum of squares of 2/3 and a mean double product of 1/3.
    """
    same, beside, across = 1.0, math.exp(-step), math.exp(-step * math.sqrt(2.0))
    return math.sqrt((4.0 * same + 4.0 * beside + across) / 9.0)
