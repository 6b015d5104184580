"""Diffraction over terrain by Bullington's construction (ITU-R P.526-15, 4.5.4; P.1812, 4.3.1).

`bullington_db` is the plain form over one profile; `sweep_db` the same for every point of many
radials from one transmitter at once, exact, in time that hardly depends on the radial's length.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.profile import Profile

Floats = NDArray[np.float64]

SPEED_OF_LIGHT_M_S = 299_792_458.0
MEDIAN_EARTH_RADIUS_M = 6_371_000.0 * 157.0 / (157.0 - 45.0)  # P.1812 eq. (6), 45 N-units/km


def knife_edge_db(nu: ArrayLike) -> Floats:
    """Loss J(nu) of a single knife edge, ITU-R P.526-15 eq. (31); nothing below nu = -0.78."""
    v = np.asarray(nu, np.float64) - 0.1
    edge = 6.9 + 20.0 * np.log10(np.sqrt(v * v + 1.0) + v)
    return np.asarray(np.where(v > -0.88, edge, 0.0), np.float64)


def bullington_db(
    profile: Profile,
    transmitter_height_m: float,
    receiver_height_m: float,
    frequency_hz: float,
    earth_radius_m: float = MEDIAN_EARTH_RADIUS_M,
) -> float:
    """Bullington loss in dB over one profile (clutter on its inner points), P.526-15 4.5.4.

    Antenna heights are above ground. Raises ValueError for fewer than three points.
    """
    d, total = profile.distance_m[1:-1], float(profile.distance_m[-1])
    if len(d) == 0:
        raise ValueError("profile: fewer than three points; sample the terrain between the ends")
    top = (profile.ground_m + profile.clutter_m)[1:-1] + d * (total - d) / (2.0 * earth_radius_m)
    hts = float(profile.ground_m[0]) + transmitter_height_m
    hrs = float(profile.ground_m[-1]) + receiver_height_m
    scale = math.sqrt(2.0 * total * frequency_hz / SPEED_OF_LIGHT_M_S)
    rising = float(np.max((top - hts) / d))
    if rising < (hrs - hts) / total:
        clearance = top - (hts * (total - d) + hrs * d) / total
        nu = float(np.max(clearance / np.sqrt(d * (total - d)))) * scale
    else:
        falling = float(np.max((top - hrs) / (total - d)))
        x = (hrs - hts + falling * total) / (rising + falling)
        above = hts + rising * x - (hts * (total - x) + hrs * x) / total
        nu = above / math.sqrt(x * (total - x)) * scale
    edge = float(knife_edge_db(nu))
    return edge + (1.0 - math.exp(-edge / 6.0)) * (10.0 + 0.02e-3 * total)


def sweep_db(
    ground_m: ArrayLike,
    spacing_m: float,
    transmitter_height_m: float,
    receiver_height_m: float,
    frequency_hz: float,
    clutter_m: ArrayLike | None = None,
    earth_radius_m: float = MEDIAN_EARTH_RADIUS_M,
) -> Floats:
    """Bullington loss in dB at every point of every radial: (radials, points), as `ground_m`.

    Point 0 is the transmitter, the others lie `spacing_m` apart; the first two points of a radial
    have no terrain before them and lose nothing. Equal to `bullington_db` over the same points.
    """
    from coverage_map.propagation import sweep_kernels

    ground = np.ascontiguousarray(ground_m, np.float64)
    if ground.ndim != 2 or not np.isfinite(ground).all():
        raise ValueError("ground_m: not finite (radials, points); fill voids before sweeping")
    if min(spacing_m, frequency_hz, earth_radius_m) <= 0.0:
        raise ValueError("spacing_m, frequency_hz, earth_radius_m: not positive; give m and Hz")
    top = ground if clutter_m is None else ground + np.asarray(clutter_m, np.float64)
    out = np.zeros(ground.shape)
    wave_m = SPEED_OF_LIGHT_M_S / frequency_hz
    points = ground.shape[1]
    sweep_kernels.sweep(
        ground,
        top,
        spacing_m,
        (transmitter_height_m, receiver_height_m),
        wave_m,
        earth_radius_m,
        sweep_kernels.new_blocks(points),
        sweep_kernels.new_stack(points),
        out,
    )
    return out
