"""Area mode of the Irregular Terrain Model: losses by distance and roughness, without a profile.

What is known is how the terminals were sited and how irregular the terrain is; the rest is that
of point-to-point mode. Sources as in itm_terrain.py.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING

from coverage_map.propagation.itm import (
    ItmCode,
    ItmWarning,
    Prediction,
    Settings,
    check_settings,
    prediction,
    prepare,
    refuse,
)

if TYPE_CHECKING:
    from coverage_map.propagation.itm_terrain import Terrain

CLEARING_M = {1: 4.0, 2: 9.0}  # by how much care in siting raises a terminal
LOW_M = 5.0


class Siting(IntEnum):
    """How a terminal's place was chosen."""

    RANDOM = 0
    CAREFUL = 1
    VERY_CAREFUL = 2


def effective_height_m(height_m: float, roughness_m: float, siting: int) -> float:
    """Effective height of a terminal by its siting, [Alg, eq. 3.2]."""
    if siting == Siting.RANDOM:
        return height_m
    gain_m = CLEARING_M[siting]
    if height_m < LOW_M:
        gain_m *= math.sin(0.1 * math.pi * height_m)
    drop = min(20.0, 2.0 * height_m / max(1e-3, roughness_m))
    return height_m + (1.0 + gain_m) * math.exp(-drop)


def likely_terrain(
    heights_m: tuple[float, float],
    sitings: tuple[int, int],
    roughness_m: float,
    curvature: float,
) -> Terrain:
    """Horizons as they are likely over terrain of this roughness, [Alg, eqs. 3.3, 3.4]."""
    from coverage_map.propagation.itm_terrain import (
        Terrain,
        irregular_angle_rad,
        smooth_horizon_m,
    )

    high_tx, high_rx = (
        effective_height_m(height, roughness_m, siting)
        for height, siting in zip(heights_m, sitings, strict=True)
    )
    far_tx = smooth_horizon_m(high_tx, curvature, roughness_m)
    far_rx = smooth_horizon_m(high_rx, curvature, roughness_m)
    angle_tx = irregular_angle_rad(high_tx, curvature, roughness_m, far_tx)
    angle_rx = irregular_angle_rad(high_rx, curvature, roughness_m, far_rx)
    return Terrain(angle_tx, angle_rx, far_tx, far_rx, high_tx, high_rx, roughness_m)


def check_area(
    distance_km: float, roughness_m: float, tx_siting: int, rx_siting: int
) -> int:
    """ITM's code for what only area mode takes, or 0."""
    if not distance_km > 0.0:
        return ItmCode.DISTANCE
    if not roughness_m >= 0.0:
        return ItmCode.ROUGHNESS
    if tx_siting not in tuple(Siting):
        return ItmCode.TX_SITING
    return ItmCode.OK if rx_siting in tuple(Siting) else ItmCode.RX_SITING


def area(
    distance_km: float,
    tx_height_m: float,
    rx_height_m: float,
    roughness_m: float,
    settings: Settings,
    tx_siting: int = Siting.RANDOM,
    rx_siting: int = Siting.RANDOM,
) -> Prediction:
    """Loss at a distance over terrain of irregularity `roughness_m` (delta h).

    Terminal heights are above ground. Raises InvalidInputError with ITM's code.
    """
    from coverage_map.propagation import itm_kernels

    flags, code = itm_kernels.height_check(tx_height_m, rx_height_m)
    shared_flags, shared_code = check_settings(settings)
    refuse(code or shared_code or check_area(distance_km, roughness_m, tx_siting, rx_siting))
    heights = (float(tx_height_m), float(rx_height_m))
    refractivity = float(settings.refractivity)
    curvature = itm_kernels.curvature_1_m(refractivity)
    terrain = likely_terrain(heights, (tx_siting, rx_siting), float(roughness_m), curvature)
    ends = (*heights, distance_km * 1000.0)
    radio = prepare(settings)
    link = itm_kernels.loss_over_terrain(radio, terrain, refractivity, curvature, ends, True)
    return prediction(link, ItmWarning(flags) | shared_flags)
