"""A terrain profile: what lies between two antennas."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
INLAND = 4


@dataclass(frozen=True, slots=True)
class Profile:
    """Points from transmitter to receiver, all arrays of one length.

    `distance_m` rises from 0; `ground_m` is height above sea; `clutter_m` what stands on the
    ground (representative clutter height); `zones` radio-climatic: 1 sea, 3 coastal, 4 inland.
    """

    distance_m: Floats
    ground_m: Floats
    clutter_m: Floats = field(default_factory=lambda: np.zeros(0))
    zones: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def make_profile(
    distance_m: ArrayLike,
    ground_m: ArrayLike,
    clutter_m: ArrayLike | None = None,
    zones: ArrayLike | None = None,
) -> Profile:
    """Build and check a profile; ValueError names the field and the remedy."""
    distance = np.asarray(distance_m, np.float64)
    count = len(distance)
    ground = np.asarray(ground_m, np.float64)
    clutter = np.zeros(count) if clutter_m is None else np.asarray(clutter_m, np.float64)
    kinds = np.full(count, INLAND) if zones is None else np.asarray(zones, np.int64)
    if not len(ground) == len(clutter) == len(kinds) == count:
        raise ValueError("profile: arrays differ in length; give one value per point")
    if count < 2 or distance[0] != 0.0 or not bool(np.all(np.diff(distance) > 0.0)):
        raise ValueError("distance_m: not rising from 0; sort the points from the transmitter")
    if not bool(np.all(np.isfinite(ground) & np.isfinite(clutter))):
        raise ValueError("ground_m: not finite; fill voids before making a profile")
    if not bool(np.isin(kinds, (1, 3, 4)).all()):
        raise ValueError("zones: not 1, 3 or 4; give sea, coastal or inland")
    return Profile(distance, ground, clutter, kinds)
