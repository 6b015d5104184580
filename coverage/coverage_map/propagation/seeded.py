"""Random numbers that are a function of a seed and a counter, so that order doesn't matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

GOLDEN = 0x9E3779B97F4A7C15  # the increment of splitmix64
MASK = 2**64 - 1


def words(seed: int, counters: ArrayLike) -> Words:
    """64 random bits per counter: splitmix64's finaliser (Steele, Lea and Flood, 2014)."""
    state = np.asarray(counters, np.uint64) * np.uint64(GOLDEN) + _mix(np.uint64(seed & MASK))
    return _mix(state)


def uniforms(seed: int, counters: ArrayLike) -> Floats:
    """Numbers above 0 and below 1, one per counter."""
    return np.asarray(((words(seed, counters) >> np.uint64(11)) + 0.5) * 2.0**-53, np.float64)


def normals(seed: int, counters: ArrayLike) -> Floats:
    """Standard normal numbers, one per counter, by inversion."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniforms(seed, counters)), np.float64)


def _mix(state: Words | np.uint64) -> Words:
    mixed = np.atleast_1d(np.asarray(state, np.uint64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed.reshape(np.shape(state)) if np.shape(state) else mixed
