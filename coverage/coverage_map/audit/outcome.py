"""What a test says about every hotspot, in one form for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One test over all hotspots; NaN where it abstains.

    `statistic` is what the test measured, in its own unit; `nats` the evidence against honesty as
    a logarithm of likelihoods, above 0 where lying explains the measurements better; `samples` how
    many links or pairs it rests on; `other` the hotspot that the evidence connects it to, or -1.
    """

    statistic: Floats
    nats: Floats
    samples: NDArray[np.int64]
    other: NDArray[np.int64]


def make_outcome(
    statistic: Floats,
    nats: Floats,
    samples: Floats | NDArray[np.int64],
    other: NDArray[np.int64] | None = None,
) -> Outcome:
    """An outcome; abstains in both columns where either is NaN."""
    silent = np.isnan(statistic) | np.isnan(nats)
    return Outcome(
        np.where(silent, np.nan, statistic),
        np.where(silent, np.nan, nats),
        np.asarray(samples, np.int64),
        np.full(len(statistic), -1) if other is None else other,
    )


def gauss_nats(value: Floats, mean: Floats | float, variance: Floats | float) -> Floats:
    """Logarithm of a normal density, without the constant that cancels in every ratio."""
    return np.asarray(-0.5 * (np.log(variance) + (value - mean) ** 2 / variance), np.float64)
