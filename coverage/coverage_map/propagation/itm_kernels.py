"""The Irregular Terrain Model (Longley-Rice, version 1.4) as one compiled pass per link.

Refractivity, terrain, reference attenuation, variability: in this order, each a function. Warnings
and error codes are those of the reference implementation (NTIA/itm), collected in its order.
Sources as in itm_terrain.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.itm_regions import (
    THIRD,
    Curve,
    Geometry,
    Radio,
    beyond_horizon_db,
    diffraction_line,
    line_of_sight_db,
    roughness_at_m,
)
from coverage_map.propagation.itm_terrain import Scratch, Terrain, mean_height_m, read_profile

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

EARTH_CURVATURE = 157e-9  # 1/m, about 1 / 6370 km
LINE_OF_SIGHT = 1
SINGLE_MESSAGE, ACCIDENTAL, MOBILE, BROADCAST = 0, 1, 2, 3

WARN_TX_HEIGHT = 0x0001
WARN_RX_HEIGHT = 0x0002
WARN_DISTANCE_LARGE = 0x0008
WARN_DISTANCE_VERY_LARGE = 0x0010
WARN_DISTANCE_SMALL = 0x0020
WARN_DISTANCE_VERY_SMALL = 0x0040
WARN_TX_ANGLE = 0x0080
WARN_RX_ANGLE = 0x0100
WARN_TX_HORIZON_NEAR = 0x0200
WARN_RX_HORIZON_NEAR = 0x0400
WARN_TX_HORIZON_FAR = 0x0800
WARN_RX_HORIZON_FAR = 0x1000
WARN_EXTREME_VARIABILITY = 0x2000
WARN_REFRACTIVITY = 0x4000

ERROR_TX_HEIGHT = 1000
ERROR_RX_HEIGHT = 1001
ERROR_IMPEDANCE = 1013
ERROR_EARTH = 1016
ERROR_REFRACTIVITY_SMALL = 1021
ERROR_REFRACTIVITY_LARGE = 1022


class Link(NamedTuple):
    """A link's loss with everything ITM says about it."""

    loss_db: float
    reference_db: float
    free_space_db: float
    code: int
    warnings: int
    mode: int  # LINE_OF_SIGHT, DIFFRACTION, TROPOSCATTER, or 0 after an error
    refractivity: float
    terrain: Terrain


@compiled
def curvature_1_m(refractivity: float) -> float:
    """Curvature of the effective earth, [TN101, eq. 4.4]."""
    return EARTH_CURVATURE * (1.0 - 0.04665 * math.exp(refractivity / 179.3))


@compiled
def surface_refractivity(refractivity: float, height_m: float) -> float:
    """Refractivity N_s at a height above the sea, [TN101, eq. 4.3]."""
    return refractivity * math.exp(-height_m / 9460.0)


@compiled
def horizon_warnings(terrain: Terrain, smooth_tx_m: float, smooth_rx_m: float) -> int:
    """Flags for horizons that small angles or a smooth earth don't explain."""
    flags = 0
    flags |= WARN_TX_ANGLE if abs(terrain.angle_tx_rad) > 200e-3 else 0
    flags |= WARN_RX_ANGLE if abs(terrain.angle_rx_rad) > 200e-3 else 0
    flags |= WARN_TX_HORIZON_NEAR if terrain.horizon_tx_m < 0.1 * smooth_tx_m else 0
    flags |= WARN_RX_HORIZON_NEAR if terrain.horizon_rx_m < 0.1 * smooth_rx_m else 0
    flags |= WARN_TX_HORIZON_FAR if terrain.horizon_tx_m > 3.0 * smooth_tx_m else 0
    flags |= WARN_RX_HORIZON_FAR if terrain.horizon_rx_m > 3.0 * smooth_rx_m else 0
    return flags


@compiled
def distance_warnings(terrain: Terrain, path_m: float) -> int:
    """Flags for paths too short or too long for the model."""
    flags = 0
    apart_m = abs(terrain.effective_tx_m - terrain.effective_rx_m)
    flags |= WARN_DISTANCE_SMALL if path_m < apart_m / 200e-3 else 0
    flags |= WARN_DISTANCE_VERY_SMALL if path_m < 1e3 else 0
    flags |= WARN_DISTANCE_LARGE if path_m > 1000e3 else 0
    flags |= WARN_DISTANCE_VERY_LARGE if path_m > 2000e3 else 0
    return flags


@compiled
def earth_error(radio: Radio, refractivity: float, radius_m: float) -> int:
    """ITM's code for an impossible atmosphere or ground, or 0."""
    if refractivity < 150.0:
        return ERROR_REFRACTIVITY_SMALL
    if refractivity > 400.0:
        return ERROR_REFRACTIVITY_LARGE
    if radius_m < 4000000.0 or radius_m > 13333333.0:
        return ERROR_EARTH
    if radio.impedance_re <= abs(radio.impedance_im):
        return ERROR_IMPEDANCE
    return 0


@compiled
def reference_attenuation_db(
    radio: Radio,
    terrain: Terrain,
    refractivity: float,
    curvature: float,
    ends: tuple[float, float, float],
    is_area: bool,
) -> tuple[float, int, int, int]:
    """Attenuation below free space, its mode, warnings and code: [Alg, section 4].

    `ends` are both terminals' heights above ground and the path's length, in metres.
    """
    tx_m, rx_m, path_m = ends
    radius_m = 1.0 / curvature
    smooth_tx = math.sqrt(2.0 * terrain.effective_tx_m * radius_m)
    smooth_rx = math.sqrt(2.0 * terrain.effective_rx_m * radius_m)
    warnings = horizon_warnings(terrain, smooth_tx, smooth_rx)
    code = earth_error(radio, refractivity, radius_m)
    if refractivity < 250.0 and code != ERROR_REFRACTIVITY_SMALL:
        warnings |= WARN_REFRACTIVITY
    if code:
        return math.nan, 0, warnings, code
    sum_m = terrain.horizon_tx_m + terrain.horizon_rx_m
    angle = -max(terrain.angle_tx_rad + terrain.angle_rx_rad, -sum_m / radius_m)
    step_m = math.pow(radius_m * radius_m / radio.frequency_mhz, THIRD)
    geometry = Geometry(radius_m, path_m, smooth_tx + smooth_rx, sum_m, angle, step_m)
    slope, intercept = diffraction_line(radio, terrain, geometry, tx_m, rx_m, is_area)
    warnings |= distance_warnings(terrain, path_m)
    if path_m < geometry.smooth_m:
        loss = line_of_sight_db(radio, terrain, geometry, slope, intercept)
        return _no_gain_db(loss), LINE_OF_SIGHT, warnings, 0
    loss, mode = beyond_horizon_db(radio, terrain, geometry, refractivity, slope, intercept)
    return _no_gain_db(loss), mode, warnings, 0


@compiled
def _no_gain_db(loss_db: float) -> float:
    """No less than free space; where the regions break down (not a number), free space itself."""
    return loss_db if loss_db > 0.0 else 0.0


@compiled
def climate_curve_db(constants: Curve, path_m: float) -> float:
    """A climate's curve of variability over effective distance, [TN101, eqs. III.69, III.70]."""
    ratio = path_m / constants[2]
    rise = ratio * ratio
    shifted = (path_m - constants[3]) / constants[4]
    bump = shifted * shifted
    return (constants[0] + constants[1] / (1.0 + bump)) * rise / (1.0 + rise)


@compiled
def effective_distance_m(radio: Radio, terrain: Terrain, path_m: float) -> float:
    """Effective distance of variability, [Alg, eq. 5.3]."""
    smooth_m = math.sqrt(18000e3 * terrain.effective_tx_m)
    smooth_m += math.sqrt(18000e3 * terrain.effective_rx_m)
    smooth_m += radio.variability_m
    if path_m < smooth_m:
        return 130e3 * path_m / smooth_m
    return 130e3 + path_m - smooth_m


@compiled
def time_deviation_db(radio: Radio, effective_m: float) -> float:
    """Deviation over time on the side of its median that is asked for, [Alg, eqs. 5.4 to 5.7]."""
    if radio.z_time < 0.0:
        return climate_curve_db(radio.below, effective_m) * radio.gain_below
    above = climate_curve_db(radio.above, effective_m) * radio.gain_above
    if radio.z_time <= radio.duct_z:
        return above
    duct = radio.duct_ratio * above
    return duct + (above - duct) * radio.duct_z / radio.z_time


@compiled
def variability_db(
    radio: Radio, terrain: Terrain, path_m: float, reference_db: float
) -> float:
    """Attenuation not exceeded at the wanted percentages, [Alg, section 5 and eq. 52]."""
    effective_m = effective_distance_m(radio, terrain, path_m)
    situation = 5.0 + 3.0 * math.exp(-effective_m / 100e3) if radio.with_situation else 0.0
    location = 0.0
    if radio.with_location:
        rough = radio.wavenumber * roughness_at_m(path_m, terrain.roughness_m)
        location = 10.0 * rough / (rough + 13.0)
    time = time_deviation_db(radio, effective_m)
    z_squared = radio.z_situation * radio.z_situation
    by_time = time * radio.z_time
    by_place = location * radio.z_location
    rest = situation * situation + by_time * by_time / (7.8 + z_squared)
    rest += by_place * by_place / (24.0 + z_squared)
    known = 0.0
    if radio.mode == SINGLE_MESSAGE:
        rest += time * time + location * location
    elif radio.mode == ACCIDENTAL:
        known = by_time
        rest += location * location
    elif radio.mode == MOBILE:
        known = math.sqrt(time * time + location * location) * radio.z_time
    else:
        known = by_time + by_place
    median = climate_curve_db(radio.median, effective_m)
    loss = reference_db - median - known - math.sqrt(rest) * radio.z_situation
    return loss * (29.0 - loss) / (29.0 - 10.0 * loss) if loss < 0.0 else loss


@compiled
def height_check(tx_m: float, rx_m: float) -> tuple[int, int]:
    """Warnings and ITM's code for both terminals' heights."""
    warnings = 0
    if tx_m < 1.0 or tx_m > 1000.0:
        warnings |= WARN_TX_HEIGHT
    if not 0.5 <= tx_m <= 3000.0:
        return warnings, ERROR_TX_HEIGHT
    if rx_m < 1.0 or rx_m > 1000.0:
        warnings |= WARN_RX_HEIGHT
    if not 0.5 <= rx_m <= 3000.0:
        return warnings, ERROR_RX_HEIGHT
    return warnings, 0


@compiled
def loss_over_terrain(
    radio: Radio,
    terrain: Terrain,
    refractivity: float,
    curvature: float,
    ends: tuple[float, float, float],
    is_area: bool,
) -> Link:
    """Everything after the terrain is known; `ends` as in `reference_attenuation_db`."""
    reference, mode, warnings, code = reference_attenuation_db(
        radio, terrain, refractivity, curvature, ends, is_area
    )
    if code:
        return Link(math.nan, math.nan, math.nan, code, warnings, 0, refractivity, terrain)
    free = radio.free_space_db + 20.0 * math.log10(ends[2])
    loss = free + variability_db(radio, terrain, ends[2], reference)
    extreme = max(max(abs(radio.z_time), abs(radio.z_location)), abs(radio.z_situation))
    if extreme > 3.10:
        warnings |= WARN_EXTREME_VARIABILITY
    return Link(loss, reference, free, 0, warnings, mode, refractivity, terrain)


@compiled
def link_over_profile(
    radio: Radio,
    heights_m: Floats,
    spacing_m: float,
    tx_m: float,
    rx_m: float,
    scratch: Scratch,
) -> Link:
    """Point-to-point loss of one link whose terminals' heights are in range."""
    refractivity = surface_refractivity(radio.refractivity, mean_height_m(heights_m))
    curvature = curvature_1_m(refractivity)
    terrain = read_profile(heights_m, spacing_m, curvature, tx_m, rx_m, scratch)
    ends = (tx_m, rx_m, (heights_m.size - 1) * spacing_m)
    return loss_over_terrain(radio, terrain, refractivity, curvature, ends, False)


@compiled
def many_links(
    radio: Radio,
    heights_m: Floats,
    starts: Integers,
    spacing_m: Floats,
    tx_m: Floats,
    rx_m: Floats,
    shared: tuple[int, int],
    scratch: Scratch,
    loss_db: Floats,
    warnings: Integers,
    codes: Integers,
) -> None:
    """Losses of many links: profile k is `heights_m[starts[k]:starts[k + 1]]`.

    `shared` are the warnings and the code of the inputs that all links share.
    """
    for k in range(spacing_m.size):
        flags, code = height_check(tx_m[k], rx_m[k])
        if code == 0:
            flags |= shared[0]
            code = shared[1]
        loss = math.nan
        if code == 0:
            profile = heights_m[starts[k] : starts[k + 1]]
            link = link_over_profile(radio, profile, spacing_m[k], tx_m[k], rx_m[k], scratch)
            loss = link.loss_db
            flags |= link.warnings
            code = link.code
        loss_db[k] = loss
        warnings[k] = flags
        codes[k] = code if code else (1 if flags else 0)
