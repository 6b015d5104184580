"""Random draws as counter hashes: a value depends on its seed and its name, on nothing else.

No stream is ever advanced, so results don't depend on the order of events, on batches or threads.
The mixer is the finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, OOPSLA 2014). Integers and IEEE additions only: the same on every Python and CPU.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MULTIPLY_1 = 0xBF58476D1CE4E5B9
MULTIPLY_2 = 0x94D049BB133111EB
UNIT_53 = 2.0**-53

NORMAL_BITS = 12
_CELLS = 1 << NORMAL_BITS
_FRACTION_BITS = 32 - NORMAL_BITS

Words = NDArray[np.uint64]

# Made once: numpy takes longer to make a scalar than to mix a short array with it.
_GOLDEN, _MULTIPLY_1, _MULTIPLY_2 = map(np.uint64, (GOLDEN, MULTIPLY_1, MULTIPLY_2))
_SHIFT_1, _SHIFT_2, _SHIFT_3, _SHIFT_UNIT = map(np.uint64, (30, 27, 31, 11))
_LOW_HALF = np.uint64(0xFFFFFFFF)
_CELL_SHIFT, _FRACTION = np.uint64(_FRACTION_BITS), np.uint64((1 << _FRACTION_BITS) - 1)


def mix64(word: int) -> int:
    """Scramble 64 bits so that every input bit reaches every output bit."""
    word = ((word ^ (word >> 30)) * MULTIPLY_1) & MASK64
    word = ((word ^ (word >> 27)) * MULTIPLY_2) & MASK64
    return word ^ (word >> 31)


def draw_u64(seed: int, *name: int | str) -> int:
    """64 random bits that belong to `seed` and to this name, e.g. (seed, "per", transmission)."""
    word = mix64((seed + GOLDEN) & MASK64)
    for part in name:
        number = part if isinstance(part, int) else _label(part)
        word = mix64(((word ^ (number & MASK64)) + GOLDEN) & MASK64)
    return word


def draw_uniform(seed: int, *name: int | str) -> float:
    """Draw a number in [0, 1)."""
    return (draw_u64(seed, *name) >> 11) * UNIT_53


def draw_normal(seed: int, *name: int | str) -> float:
    """Draw a standard normal number, within about 4 standard deviations."""
    return float(normals(np.array([draw_u64(seed, *name)], np.uint64))[0])


def draw_below(limit: int, seed: int, *name: int | str) -> int:
    """Draw an integer in [0, limit)."""
    return (draw_u64(seed, *name) * limit) >> 64


def draws_u64(key: int, counters: Words) -> Words:
    """`draw_u64(seed, ..., counter)` for an array of counters, where key = draw_u64(seed, ...)."""
    word = (counters ^ np.uint64(key)) + _GOLDEN
    word ^= word >> _SHIFT_1
    word *= _MULTIPLY_1
    word ^= word >> _SHIFT_2
    word *= _MULTIPLY_2
    word ^= word >> _SHIFT_3
    return word


def uniforms(words: Words) -> NDArray[np.float64]:
    """Turn the upper 53 bits of each word into numbers in [0, 1)."""
    return np.asarray((words >> _SHIFT_UNIT) * UNIT_53, np.float64)


def normals(words: Words) -> NDArray[np.float64]:
    """Turn each word's lower 32 bits into a standard normal number, by a table of quantiles.

    The upper 32 bits stay free for an independent draw from the same word.
    """
    low = words & _LOW_HALF
    cell = (low >> _CELL_SHIFT).astype(np.intp)
    fraction = (low & _FRACTION) * 2.0**-_FRACTION_BITS
    return np.asarray(_QUANTILES[cell] + fraction * _STEPS[cell], np.float64)


def normal_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The quantiles behind `normals` by cell, and the step to the next: for compiled draws."""
    return _QUANTILES, _STEPS


@lru_cache(maxsize=4_096)
def _label(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _quantile_table() -> NDArray[np.float64]:
    """Quantiles at the cells' edges; the outermost two sit inside, as their edge is infinite."""
    inner = [NormalDist().inv_cdf(index / _CELLS) for index in range(1, _CELLS)]
    outer = NormalDist().inv_cdf(1.0 / (8 * _CELLS))
    return np.array([outer, *inner, -outer], np.float64)


_EDGES = _quantile_table()
_QUANTILES = _EDGES[:-1]
_STEPS = np.diff(_EDGES)
