"""The three regions of ITM's reference attenuation, compiled.

Sources as in itm_terrain.py; [Vogler] is L. E. Vogler, "Calculation of groundwave attenuation in
the far diffraction region" (1964). Losses are those beyond free space. Line of sight weighs two
rays against extended diffraction; diffraction is a weighted mean of two knife edges and a rounded
earth, taken as a straight line through two far distances; troposcatter is another such line.
`Radio` holds what all links of a batch share, computed once in itm.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.itm_terrain import Terrain

Floats = NDArray[np.float64]

VOGLER_RADIUS_M = 4.0 / 3.0 * 6370e3
THIRD = 1.0 / 3.0

LINE_OF_SIGHT, DIFFRACTION, TROPOSCATTER = 1, 2, 3


# Tuples, not arrays: those would be counted in and out of every function.
Curve = tuple[float, float, float, float, float]


class Radio(NamedTuple):
    """What a batch of links shares: wave, ground, climate and percentages."""

    frequency_mhz: float
    wavenumber: float  # 1/m
    cube_root_mhz: float
    free_space_db: float  # over one metre
    variability_m: float  # the frequency's part of [Alg, eq. 5.3]
    impedance_re: float  # of the ground
    impedance_im: float
    impedance_abs: float
    refractivity: float  # N_0, at sea level
    z_time: float  # standard normal deviates of the percentages, joined as the mode demands
    z_location: float
    z_situation: float
    mode: int  # of variability: SINGLE_MESSAGE .. BROADCAST
    with_location: bool
    with_situation: bool
    median: Curve  # constants of the climate, dB and metres
    below: Curve
    above: Curve
    gain_below: float  # frequency factors of the two deviations
    gain_above: float
    duct_ratio: float  # C_D and z_D of [Alg, table 5.1]
    duct_z: float


class Geometry(NamedTuple):
    """Earth and path, as the three regions need them."""

    radius_m: float  # effective earth
    path_m: float
    smooth_m: float  # line of sight ends here over a smooth earth
    horizons_m: float  # and here over this terrain
    angle_rad: float  # angular distance of the line-of-sight region
    step_m: float  # (radius^2 / frequency)^(1/3), the scale of diffraction


@compiled
def roughness_at_m(path_m: float, roughness_m: float) -> float:
    """Roughness that a path of this length meets, [ERL79, eq. 3]."""
    return roughness_m * (1.0 - 0.8 * math.exp(-path_m / 50e3))


@compiled
def terrain_deviation_m(roughness_m: float) -> float:
    """Deviation of terrain within the first Fresnel zone, [ERL79, eq. 3.6a]."""
    return 0.78 * roughness_m * math.exp(-0.5 * math.sqrt(math.sqrt(roughness_m)))


@compiled
def knife_edge_db(v_squared: float) -> float:
    """Loss of a single knife edge by the square of its parameter, [TN101, eqs. III.24b, c]."""
    if v_squared < 5.76:
        return 6.02 + 9.11 * math.sqrt(v_squared) - 1.27 * v_squared
    return 12.953 + 10.0 * math.log10(v_squared)


@compiled
def two_edges_db(radio: Radio, terrain: Terrain, geometry: Geometry, path_m: float) -> float:
    """Diffraction over both terminals' horizons as knife edges, [TN101, eqs. I.1, I.7]."""
    bend = path_m / geometry.radius_m - geometry.angle_rad
    beyond_m = path_m - geometry.horizons_m
    scale = 0.0795775 * radio.wavenumber * bend * bend * beyond_m
    tx_m = terrain.horizon_tx_m
    rx_m = terrain.horizon_rx_m
    return knife_edge_db(scale * tx_m / (beyond_m + tx_m)) + knife_edge_db(
        scale * rx_m / (beyond_m + rx_m)
    )


@compiled
def height_gain_db(x_km: float, ground: float) -> float:
    """Height function F(x, K) of a rounded earth: [Alg, eq. 6.4], after [Vogler]."""
    if x_km >= 200.0:
        far = 0.05751 * x_km - 4.343 * math.log(x_km)
        if x_km >= 2000.0:
            return far
        weight = 0.0134 * x_km * math.exp(-0.005 * x_km)
        return (1.0 - weight) * far + weight * (17.372 * math.log(x_km) - 117.0)
    dryness = -math.log(ground)
    if ground < 1e-5 or x_km * dryness**3 > 5495.0:
        return 17.372 * math.log(x_km) - 117.0 if x_km > 1.0 else -117.0
    return 2.5e-5 * x_km * x_km / ground - 8.686 * dryness - 15.0


@compiled
def vogler_x_km(radio: Radio, radius_m: float, arc_m: float) -> tuple[float, float]:
    """Normalised distance x and ground parameter K over a radius, [Vogler, eqs. 2, 6a, 7a]."""
    ratio = math.pow(VOGLER_RADIUS_M / radius_m, THIRD)
    ground = 0.017778 * ratio / (radio.cube_root_mhz * radio.impedance_abs)
    x_km = (1.607 - ground) * ratio * ratio * radio.cube_root_mhz * arc_m / 1000.0
    return x_km, ground


@compiled
def terminal_gains(radio: Radio, terrain: Terrain) -> tuple[float, float]:
    """Sum of both terminals' normalised distances (km) and of their height gains (dB)."""
    tx_m = terrain.horizon_tx_m
    rx_m = terrain.horizon_rx_m
    x_tx, ground_tx = vogler_x_km(radio, 0.5 * tx_m * tx_m / terrain.effective_tx_m, tx_m)
    x_rx, ground_rx = vogler_x_km(radio, 0.5 * rx_m * rx_m / terrain.effective_rx_m, rx_m)
    return x_tx + x_rx, height_gain_db(x_tx, ground_tx) + height_gain_db(x_rx, ground_rx)


@compiled
def rounded_earth_db(
    radio: Radio, geometry: Geometry, path_m: float, gains: tuple[float, float]
) -> float:
    """Diffraction over a rounded earth, [Alg, eq. 4.20]."""
    bend = path_m / geometry.radius_m - geometry.angle_rad
    radius_m = (path_m - geometry.horizons_m) / bend
    x_km, _ = vogler_x_km(radio, radius_m, radius_m * bend)
    x_km += gains[0]
    return 0.05751 * x_km - 10.0 * math.log10(x_km) - gains[1] - 20.0


@compiled
def clutter_db(
    radio: Radio, terrain: Terrain, geometry: Geometry, tx_m: float, rx_m: float
) -> float:
    """Clutter factor A_fo of terrain beside the path, [ERL79, eq. 3.38c]."""
    spread = terrain_deviation_m(roughness_at_m(geometry.smooth_m, terrain.roughness_m))
    return min(
        15.0, 5.0 * math.log10(1.0 + 1e-5 * tx_m * rx_m * radio.frequency_mhz * spread)
    )


@compiled
def rounded_weight(
    radio: Radio, terrain: Terrain, geometry: Geometry, path_m: float, heights: float
) -> float:
    """Weight of the rounded earth against knife edges, [ERL79, eq. 3.23]."""
    lift = heights + (geometry.horizons_m - geometry.angle_rad * geometry.radius_m) / path_m
    rough = roughness_at_m(path_m, terrain.roughness_m) * radio.wavenumber
    return 25.1 / (25.1 + math.sqrt(lift * min(rough, 6283.2)))


@compiled
def diffraction_line(
    radio: Radio,
    terrain: Terrain,
    geometry: Geometry,
    tx_m: float,
    rx_m: float,
    is_area: bool,
) -> tuple[float, float]:
    """Slope (dB/m) and intercept (dB) of diffraction loss through two far distances."""
    near_m = max(geometry.smooth_m, geometry.horizons_m + 5.0 * geometry.step_m)
    far_m = near_m + 10.0 * geometry.step_m
    product = tx_m * rx_m
    raised = terrain.effective_tx_m * terrain.effective_rx_m - product
    # Low antennas over a known path: C is about 10 [ERL79, p. 3-8].
    heights = math.sqrt(1.0 + raised / (product if is_area else product + 10.0))
    gains = terminal_gains(radio, terrain)
    clutter = clutter_db(radio, terrain, geometry, tx_m, rx_m)
    near_db = clutter
    far_db = clutter
    for path_m in (near_m, far_m):
        weight = rounded_weight(radio, terrain, geometry, path_m, heights)
        loss = weight * rounded_earth_db(radio, geometry, path_m, gains)
        loss += (1.0 - weight) * two_edges_db(radio, terrain, geometry, path_m)
        if path_m == near_m:
            near_db += loss
        else:
            far_db += loss
    slope = (far_db - near_db) / (far_m - near_m)
    return slope, near_db - slope * near_m


@compiled
def two_ray_db(radio: Radio, terrain: Terrain, path_m: float) -> float:
    """Attenuation of a direct and a reflected ray, [Alg, eqs. 4.46 to 4.50]."""
    spread = terrain_deviation_m(roughness_at_m(path_m, terrain.roughness_m))
    high_m = terrain.effective_tx_m + terrain.effective_rx_m
    grazing = high_m / math.sqrt(path_m * path_m + high_m * high_m)
    plus = grazing + radio.impedance_re
    z_im = radio.impedance_im
    scale = math.exp(-min(10.0, radio.wavenumber * spread * grazing)) / (plus * plus + z_im * z_im)
    real = ((grazing - radio.impedance_re) * plus - z_im * z_im) * scale
    imaginary = -2.0 * grazing * z_im * scale
    power = real * real + imaginary * imaginary
    if power < 0.25 or power < grazing:
        lift = math.sqrt(grazing / power)
        real *= lift
        imaginary *= lift
    phase = radio.wavenumber * 2.0 * terrain.effective_tx_m * terrain.effective_rx_m / path_m
    if phase > math.pi / 2.0:
        phase = math.pi - (math.pi / 2.0) ** 2 / phase
    real += math.cos(phase)
    imaginary -= math.sin(phase)
    return -10.0 * math.log10(real * real + imaginary * imaginary)


@compiled
def sight_db(
    radio: Radio,
    terrain: Terrain,
    geometry: Geometry,
    path_m: float,
    slope: float,
    intercept: float,
) -> float:
    """Two rays weighed against extended diffraction, [Alg, eqs. 4.38, 4.43]."""
    weight = 1.0 / (
        1.0 + radio.frequency_mhz * terrain.roughness_m / max(10e3, geometry.smooth_m)
    )
    extended = slope * path_m + intercept
    return weight * two_ray_db(radio, terrain, path_m) + (1.0 - weight) * extended


@compiled
def _sight_curve(
    near: tuple[float, float], middle: tuple[float, float], far: tuple[float, float], slope: float
) -> tuple[bool, float, float]:
    """Coefficients of distance and its logarithm through three points, [ERL79, eqs. 3.20, 3.21].

    Points are (metres, dB). The first value says whether the three-point curve may be used.
    """
    log_far = math.log(far[0] / near[0])
    span_m = far[0] - near[0]
    part_m = middle[0] - near[0]
    above = span_m * (middle[1] - near[1]) - part_m * (far[1] - near[1])
    by_log = max(0.0, above / (span_m * math.log(middle[0] / near[0]) - part_m * log_far))
    by_metre = (far[1] - near[1] - by_log * log_far) / span_m
    usable = by_log > 0.0
    if by_metre < 0.0:
        by_metre = 0.0
        by_log = max(far[1] - near[1], 0.0) / log_far
        if by_log == 0.0:
            by_metre = slope
    return usable, by_metre, by_log


@compiled
def line_of_sight_db(
    radio: Radio, terrain: Terrain, geometry: Geometry, slope: float, intercept: float
) -> float:
    """Reference attenuation within smooth-earth line of sight, [ERL79, eqs. 3.16 to 3.21]."""
    far_m = geometry.smooth_m
    far = (far_m, far_m * slope + intercept)
    near_m = 0.04 * radio.frequency_mhz * terrain.effective_tx_m * terrain.effective_rx_m
    if intercept >= 0.0:
        near_m = min(near_m, 0.5 * geometry.horizons_m)
        middle_m = near_m + 0.25 * (geometry.horizons_m - near_m)
    else:
        middle_m = max(-intercept / slope, 0.25 * geometry.horizons_m)
    middle = (middle_m, sight_db(radio, terrain, geometry, middle_m, slope, intercept))
    usable = False
    by_metre = 0.0
    by_log = 0.0
    if near_m < middle_m:
        near = (near_m, sight_db(radio, terrain, geometry, near_m, slope, intercept))
        usable, by_metre, by_log = _sight_curve(near, middle, far, slope)
        usable = usable or intercept > 0.0
    if not usable:
        by_log = 0.0
        by_metre = max(far[1] - middle[1], 0.0) / (far_m - middle_m)
        if by_metre == 0.0:
            by_metre = slope
    start = far[1] - by_metre * far_m - by_log * math.log(far_m)
    return start + by_metre * geometry.path_m + by_log * math.log(geometry.path_m)


@compiled
def scatter_gain_db(ratio: float, efficiency: float) -> float:
    """Frequency gain function H_0 at a scattering efficiency of 1 to 5, [Alg, eq. 6.13]."""
    bounded = min(max(efficiency, 1.0), 5.0)
    whole = int(bounded)
    share = bounded - whole
    value = _scatter_curve(whole, ratio)
    if share != 0.0:
        value = (1.0 - share) * value + share * _scatter_curve(whole + 1, ratio)
    return value


@compiled
def _scatter_curve(efficiency: int, ratio: float) -> float:
    fourth = (25.0, 80.0, 177.0, 395.0, 705.0)
    second = (24.0, 45.0, 68.0, 80.0, 105.0)
    inverse = 1.0 / (ratio * ratio)
    return 10.0 * math.log10(
        1.0 + fourth[efficiency - 1] * inverse * inverse + second[efficiency - 1] * inverse
    )


@compiled
def attenuation_function_db(angle_distance_m: float) -> float:
    """Attenuation function F(theta d) of troposcatter, [Alg, eq. 6.9]."""
    log = math.log10(angle_distance_m)
    if angle_distance_m <= 10e3:
        return 133.4 + 0.332e-3 * angle_distance_m - 10.0 * log
    if angle_distance_m <= 70e3:
        return 104.6 + 0.212e-3 * angle_distance_m - 2.5 * log
    return 71.8 + 0.157e-3 * angle_distance_m + 5.0 * log


@compiled
def frequency_gain_db(
    radio: Radio, terrain: Terrain, geometry: Geometry, path_m: float, refractivity: float
) -> float:
    """Frequency gain H_0 of troposcatter, [TN101, eqs. 9.3 to 9.5]; negative: not defined."""
    skew_m = terrain.horizon_tx_m - terrain.horizon_rx_m
    ratio = terrain.effective_rx_m / terrain.effective_tx_m
    if skew_m < 0.0:
        skew_m = -skew_m
        ratio = 1.0 / ratio
    theta = terrain.angle_tx_rad + terrain.angle_rx_rad + path_m / geometry.radius_m
    r_tx = 2.0 * radio.wavenumber * theta * terrain.effective_tx_m
    r_rx = 2.0 * radio.wavenumber * theta * terrain.effective_rx_m
    if r_tx < 0.2 and r_rx < 0.2:
        return -1.0
    asymmetry = (path_m - skew_m) / (path_m + skew_m)
    q = min(max(0.1, ratio / asymmetry), 10.0)
    asymmetry = max(0.1, asymmetry)
    cross_m = (path_m - skew_m) * (path_m + skew_m) * theta * 0.25 / path_m
    fade = math.exp(-(min(1.7, cross_m / 8.0e3) ** 6))
    air = 0.031 - refractivity * 2.32e-3 + refractivity * refractivity * 5.67e-6
    efficiency = cross_m / 1.7556e3 * (1.0 + air * fade)
    mean = (scatter_gain_db(r_tx, efficiency) + scatter_gain_db(r_rx, efficiency)) / 2.0
    skewed = 6.0 * (0.6 - math.log10(max(efficiency, 1.0)))
    gain = max(mean + min(mean, skewed * math.log10(asymmetry) * math.log10(q)), 0.0)
    if efficiency < 1.0:
        root = math.sqrt(2.0)
        still = ((1.0 + root / r_tx) * (1.0 + root / r_rx)) ** 2
        still *= (r_tx + r_rx) / (r_tx + r_rx + 2.0 * root)
        gain = efficiency * gain + (1.0 - efficiency) * 10.0 * math.log10(still)
    return gain


@compiled
def troposcatter_db(
    radio: Radio, geometry: Geometry, path_m: float, refractivity: float, gain_db: float
) -> float:
    """Scatter loss at a distance for a frequency gain, [Alg, eq. 4.63]."""
    bend = path_m / geometry.radius_m - geometry.angle_rad
    loss = attenuation_function_db(bend * path_m) + gain_db
    loss += 10.0 * math.log10(radio.frequency_mhz * bend**4)
    return loss - 0.1 * (refractivity - 301.0) * math.exp(-bend * path_m / 40e3)


@compiled
def beyond_horizon_db(
    radio: Radio,
    terrain: Terrain,
    geometry: Geometry,
    refractivity: float,
    slope: float,
    intercept: float,
) -> tuple[float, int]:
    """Reference attenuation beyond the horizon and its mode: diffraction or troposcatter."""
    near_m = geometry.horizons_m + 200e3
    far_m = near_m + 200e3
    far_gain = frequency_gain_db(radio, terrain, geometry, far_m, refractivity)
    near_gain = far_gain
    if far_gain <= 15.0:
        near_gain = frequency_gain_db(radio, terrain, geometry, near_m, refractivity)
        # A gain above 15 dB at the near distance is replaced by the far one's [Alg, p. 12].
        if near_gain > 15.0 and far_gain >= 0.0:
            near_gain = far_gain
    if near_gain < 0.0:
        return slope * geometry.path_m + intercept, DIFFRACTION
    near_db = troposcatter_db(radio, geometry, near_m, refractivity, near_gain)
    if near_db >= 1000.0:
        return slope * geometry.path_m + intercept, DIFFRACTION
    far_db = troposcatter_db(radio, geometry, far_m, refractivity, far_gain)
    scatter_slope = (far_db - near_db) / 200e3
    start_m = geometry.horizons_m + 1.088 * geometry.step_m * math.log(radio.frequency_mhz)
    meet_m = (near_db - intercept - scatter_slope * near_m) / (slope - scatter_slope)
    cross_m = max(max(geometry.smooth_m, start_m), meet_m)
    if geometry.path_m <= cross_m:
        return slope * geometry.path_m + intercept, DIFFRACTION
    scatter_start = (slope - scatter_slope) * cross_m + intercept
    return scatter_slope * geometry.path_m + scatter_start, TROPOSCATTER
