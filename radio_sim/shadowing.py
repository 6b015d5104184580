"""Correlated log-normal shadowing as a field by position.

What shadows a link is what stands there, so two receivers side by side must agree, and a link must
lose the same both ways. A field per link (an AR process along each) has neither property. Here a
link's value is one point of a Gaussian field over its four coordinates, with covariance

    rho = exp(-|da| / d_corr) exp(-|db| / d_corr)        (38.901 eq. 7.4-5 at each of its ends)

The field is a sum of plane waves whose wave vectors are drawn from the covariance's spectrum: for
exp(-r/d) in the plane that is a two-dimensional Cauchy distribution, a normal vector over an
independent normal number. A wave over (a, b) is a product of a factor at a and a factor at b, so
factors are computed once per position and a link costs one dot product. Adding the field with its
ends exchanged makes it reciprocal; dividing by the sum's own deviation keeps its variance at one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from radio_sim.draws import draw_u64, draws_u64, normals, uniforms

Floats = NDArray[np.float64]
Waves = NDArray[np.complex64]

WAVES = 96


class ShadowingField:
    """A unit-variance field over pairs of positions in metres; multiply by sigma for dB."""

    def __init__(self, seed: int, decorrelation_m: float, waves: int = WAVES) -> None:
        self.decorrelation_m = decorrelation_m
        self._first = _wave_vectors(draw_u64(seed, "first end"), waves, decorrelation_m)
        self._second = _wave_vectors(draw_u64(seed, "second end"), waves, decorrelation_m)
        key = draw_u64(seed, "phase")
        phases = uniforms(draws_u64(key, np.arange(waves, dtype=np.uint64)))
        self._phase = 2.0 * math.pi * phases
        self._scale = math.sqrt(2.0 / waves)

    def factors(self, positions_m: Floats) -> tuple[Waves, Waves]:
        """Factors of every position [n, 2] as a link's first and second end, each [n, waves]."""
        first = positions_m @ self._first.T + self._phase
        second = positions_m @ self._second.T
        return _unit_circle(first), _unit_circle(second)

    def between(
        self, one: tuple[Waves, Waves], other: tuple[Waves, Waves], distance_m: Floats
    ) -> Floats:
        """Values of links [n] from the factors of their ends and their lengths."""
        there = _real_dot(one[0], other[1])
        back = _real_dot(other[0], one[1])
        alike = np.exp(-2.0 * distance_m / self.decorrelation_m)
        return np.asarray(self._scale * (there + back) / np.sqrt(2.0 * (1.0 + alike)))

    def at(self, one_m: Floats, other_m: Floats) -> Floats:
        """Values of the links between positions [n, 2] and positions [n, 2]."""
        lengths = np.hypot(*(one_m - other_m).T)
        return self.between(self.factors(one_m), self.factors(other_m), lengths)


def _wave_vectors(key: int, waves: int, decorrelation_m: float) -> Floats:
    numbers = normals(draws_u64(key, np.arange(3 * waves, dtype=np.uint64))).reshape(3, waves)
    return np.asarray((numbers[:2] / np.abs(numbers[2]) / decorrelation_m).T, np.float64)


def _unit_circle(phase: Floats) -> Waves:
    return np.exp(1j * np.remainder(phase, 2.0 * math.pi)).astype(np.complex64)


def _real_dot(one: Waves, other: Waves) -> Floats:
    product = np.einsum("nw,nw->n", one.real, other.real)
    return np.asarray(product - np.einsum("nw,nw->n", one.imag, other.imag), np.float64)
