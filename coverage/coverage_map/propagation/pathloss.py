"""Path loss formulas, one per function, vectorised over distance.

Every function takes horizontal distance in metres and frequency in Hz (scalars or arrays that
broadcast) and returns the loss in dB, float64. Equations are those of 3GPP TR 38.901, tables
7.4.1-1 (path loss) and 7.4.2-1 (line-of-sight probability); the speed of light is the 3.0e8 m/s
of its note 1.
Distances below one metre are taken as one metre: no formula here describes the near field.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SPEED_OF_LIGHT_M_S = 3.0e8
MIN_DISTANCE_M = 1.0
ENVIRONMENT_HEIGHT_M = 1.0  # h_E in note 1 of table 7.4.1-1 for terminals up to 13 m
MIN_EFFECTIVE_HEIGHT_M = 0.5  # h_UT = 1.5 m, the lowest that the report covers, less h_E

# Standard deviation of shadowing in dB, table 7.4.1-1 (rma_los: before the break point).
SHADOWING_SIGMA_DB = {
    "rma_los": 4.0,
    "rma_nlos": 8.0,
    "uma_los": 4.0,
    "uma_nlos": 6.0,
    "umi_los": 4.0,
    "umi_nlos": 7.82,
    "inh_los": 3.0,
    "inh_nlos": 8.03,
}

# Horizontal distance in metres over which shadowing falls to 1/e, table 7.5-6.
DECORRELATION_M = {
    "rma_los": 37.0,
    "rma_nlos": 120.0,
    "uma_los": 37.0,
    "uma_nlos": 50.0,
    "umi_los": 10.0,
    "umi_nlos": 13.0,
    "inh_los": 10.0,
    "inh_nlos": 6.0,
}


def slant_distance_m(
    distance_m: ArrayLike, base_height_m: ArrayLike, terminal_height_m: ArrayLike
) -> Floats:
    """Three-dimensional distance d_3D from the horizontal one, eq. (7.4-1)."""
    horizontal = np.maximum(np.asarray(distance_m, np.float64), 0.0)
    rise = np.asarray(base_height_m, np.float64) - np.asarray(terminal_height_m, np.float64)
    return np.asarray(np.maximum(np.hypot(horizontal, rise), MIN_DISTANCE_M), np.float64)


def free_space_db(distance_m: ArrayLike, frequency_hz: ArrayLike) -> Floats:
    """Free-space loss between isotropic antennas, ITU-R P.525-4 eq. (4); true distance."""
    distance = np.maximum(np.asarray(distance_m, np.float64), MIN_DISTANCE_M)
    wavelength = SPEED_OF_LIGHT_M_S / np.asarray(frequency_hz, np.float64)
    return np.asarray(20.0 * np.log10(4.0 * np.pi * distance / wavelength), np.float64)


def two_ray_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 10.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Free space up to the break point 4 h_b h_t / wavelength, then 40 dB a decade (flat earth)."""
    distance = np.maximum(np.asarray(distance_m, np.float64), MIN_DISTANCE_M)
    heights = np.asarray(base_height_m, np.float64) * np.asarray(terminal_height_m, np.float64)
    breakpoint_m = np.maximum(
        4.0 * heights * np.asarray(frequency_hz, np.float64) / SPEED_OF_LIGHT_M_S, MIN_DISTANCE_M
    )
    beyond = 20.0 * np.log10(np.maximum(distance / breakpoint_m, 1.0))
    return np.asarray(free_space_db(distance, frequency_hz) + beyond, np.float64)


def log_distance_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    exponent: ArrayLike = 3.0,
    reference_m: float = 1.0,
) -> Floats:
    """Free space up to `reference_m`, then 10 `exponent` dB a decade (Rappaport, eq. 4.68)."""
    distance = np.maximum(np.asarray(distance_m, np.float64), reference_m)
    slope = 10.0 * np.asarray(exponent, np.float64)
    beyond = slope * np.log10(distance / reference_m)
    return np.asarray(free_space_db(reference_m, frequency_hz) + beyond, np.float64)


def umi_los_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 10.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Urban micro street canyon, line of sight: PL1 and PL2 of UMi in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    breakpoint_m = effective_breakpoint_m(frequency_hz, base_height_m, terminal_height_m)
    near = 32.4 + 21.0 * np.log10(slant) + 20.0 * _log_ghz(frequency_hz)
    far = 32.4 + 40.0 * np.log10(slant) + 20.0 * _log_ghz(frequency_hz)
    far = far - 9.5 * _log_corner(breakpoint_m, base_height_m, terminal_height_m)
    return _beyond(distance_m, breakpoint_m, near, far)


def umi_nlos_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 10.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Urban micro street canyon, obstructed: max(PL_LOS, PL'_NLOS) of UMi in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    obstructed = 35.3 * np.log10(slant) + 22.4 + 21.3 * _log_ghz(frequency_hz)
    obstructed = obstructed - 0.3 * (np.asarray(terminal_height_m, np.float64) - 1.5)
    clear = umi_los_db(distance_m, frequency_hz, base_height_m, terminal_height_m)
    return np.maximum(clear, obstructed)


def uma_los_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 25.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Urban macro, line of sight: PL1 and PL2 of UMa in table 7.4.1-1 (h_E = 1 m)."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    breakpoint_m = effective_breakpoint_m(frequency_hz, base_height_m, terminal_height_m)
    near = 28.0 + 22.0 * np.log10(slant) + 20.0 * _log_ghz(frequency_hz)
    far = 28.0 + 40.0 * np.log10(slant) + 20.0 * _log_ghz(frequency_hz)
    far = far - 9.0 * _log_corner(breakpoint_m, base_height_m, terminal_height_m)
    return _beyond(distance_m, breakpoint_m, near, far)


def uma_nlos_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 25.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Urban macro, obstructed: max(PL_LOS, PL'_NLOS) of UMa in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    obstructed = 13.54 + 39.08 * np.log10(slant) + 20.0 * _log_ghz(frequency_hz)
    obstructed = obstructed - 0.6 * (np.asarray(terminal_height_m, np.float64) - 1.5)
    clear = uma_los_db(distance_m, frequency_hz, base_height_m, terminal_height_m)
    return np.maximum(clear, obstructed)


def rma_los_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 35.0,
    terminal_height_m: ArrayLike = 1.5,
    building_height_m: ArrayLike = 5.0,
) -> Floats:
    """Rural macro, line of sight: PL1 and PL2 of RMa in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    heights = np.asarray(base_height_m, np.float64) * np.asarray(terminal_height_m, np.float64)
    breakpoint_m = np.maximum(
        2.0 * np.pi * heights * np.asarray(frequency_hz, np.float64) / SPEED_OF_LIGHT_M_S,
        MIN_DISTANCE_M,
    )
    near = _rma_near_db(slant, frequency_hz, building_height_m)
    at_break = _rma_near_db(breakpoint_m, frequency_hz, building_height_m)
    far = at_break + 40.0 * np.log10(slant / breakpoint_m)
    return _beyond(distance_m, breakpoint_m, near, far)


def rma_nlos_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 35.0,
    terminal_height_m: ArrayLike = 1.5,
    building_height_m: ArrayLike = 5.0,
    street_width_m: ArrayLike = 20.0,
) -> Floats:
    """Rural macro, obstructed: max(PL_LOS, PL'_NLOS) of RMa in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    building = np.asarray(building_height_m, np.float64)
    base = np.asarray(base_height_m, np.float64)
    log_base = np.log10(base)
    obstructed = 161.04 - 7.1 * np.log10(np.asarray(street_width_m, np.float64))
    obstructed = obstructed + 7.5 * np.log10(building)
    obstructed = obstructed - (24.37 - 3.7 * (building / base) ** 2) * log_base
    obstructed = obstructed + (43.42 - 3.1 * log_base) * (np.log10(slant) - 3.0)
    obstructed = obstructed + 20.0 * _log_ghz(frequency_hz)
    terminal = np.log10(11.75 * np.asarray(terminal_height_m, np.float64))
    obstructed = obstructed - (3.2 * terminal**2 - 4.97)
    clear = rma_los_db(
        distance_m, frequency_hz, base_height_m, terminal_height_m, building_height_m
    )
    return np.maximum(clear, obstructed)


def inh_los_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 3.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Indoor office, line of sight: InH in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    return np.asarray(32.4 + 17.3 * np.log10(slant) + 20.0 * _log_ghz(frequency_hz), np.float64)


def inh_nlos_db(
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    base_height_m: ArrayLike = 3.0,
    terminal_height_m: ArrayLike = 1.5,
) -> Floats:
    """Indoor office, obstructed: max(PL_LOS, PL'_NLOS) of InH in table 7.4.1-1."""
    slant = slant_distance_m(distance_m, base_height_m, terminal_height_m)
    obstructed = 17.3 + 38.3 * np.log10(slant) + 24.9 * _log_ghz(frequency_hz)
    return np.maximum(
        inh_los_db(distance_m, frequency_hz, base_height_m, terminal_height_m), obstructed
    )


def rma_los_probability(distance_m: ArrayLike) -> Floats:
    """Probability of line of sight, RMa, table 7.4.2-1."""
    distance = np.asarray(distance_m, np.float64)
    return np.asarray(np.exp(-np.maximum(distance - 10.0, 0.0) / 1000.0), np.float64)


def umi_los_probability(distance_m: ArrayLike) -> Floats:
    """Probability of line of sight, UMi street canyon, table 7.4.2-1."""
    return _street_probability(distance_m, 36.0)


def uma_los_probability(distance_m: ArrayLike, terminal_height_m: ArrayLike = 1.5) -> Floats:
    """Probability of line of sight, UMa, table 7.4.2-1, with its term for terminals above 13 m."""
    distance = np.asarray(distance_m, np.float64)
    raised = np.maximum((np.asarray(terminal_height_m, np.float64) - 13.0) / 10.0, 0.0) ** 1.5
    lift = 1.0 + raised * 1.25 * (distance / 100.0) ** 3 * np.exp(-distance / 150.0)
    return np.minimum(_street_probability(distance, 63.0) * lift, 1.0)


def inh_los_probability(distance_m: ArrayLike) -> Floats:
    """Probability of line of sight, indoor mixed office, table 7.4.2-1."""
    distance = np.asarray(distance_m, np.float64)
    near = np.exp(-np.maximum(distance - 1.2, 0.0) / 4.7)
    far = 0.32 * np.exp(-(distance - 6.5) / 32.6)
    return np.asarray(np.where(distance < 6.5, near, far), np.float64)


def _street_probability(distance_m: ArrayLike, scale_m: float) -> Floats:
    distance = np.maximum(np.asarray(distance_m, np.float64), 18.0)
    near = 18.0 / distance
    return np.asarray(near + np.exp(-distance / scale_m) * (1.0 - near), np.float64)


def _rma_near_db(slant_m: Floats, frequency_hz: ArrayLike, building_height_m: ArrayLike) -> Floats:
    power = np.asarray(building_height_m, np.float64) ** 1.72
    ghz = np.asarray(frequency_hz, np.float64) / 1e9
    loss = 20.0 * np.log10(40.0 * np.pi * slant_m * ghz / 3.0)
    loss = loss + np.minimum(0.03 * power, 10.0) * np.log10(slant_m)
    loss = loss - np.minimum(0.044 * power, 14.77)
    return np.asarray(
        loss + 0.002 * np.log10(np.asarray(building_height_m, np.float64)) * slant_m, np.float64
    )


def _log_ghz(frequency_hz: ArrayLike) -> Floats:
    return np.asarray(np.log10(np.asarray(frequency_hz, np.float64) / 1e9), np.float64)


def effective_breakpoint_m(
    frequency_hz: ArrayLike, base_height_m: ArrayLike, terminal_height_m: ArrayLike
) -> Floats:
    """d'_BP of note 1: heights are those above the street's own clutter, h_E."""
    base = np.asarray(base_height_m, np.float64) - ENVIRONMENT_HEIGHT_M
    terminal = np.asarray(terminal_height_m, np.float64) - ENVIRONMENT_HEIGHT_M
    product = np.maximum(base, MIN_EFFECTIVE_HEIGHT_M) * np.maximum(
        terminal, MIN_EFFECTIVE_HEIGHT_M
    )
    return np.asarray(
        4.0 * product * np.asarray(frequency_hz, np.float64) / SPEED_OF_LIGHT_M_S, np.float64
    )


def _log_corner(
    breakpoint_m: Floats, base_height_m: ArrayLike, terminal_height_m: ArrayLike
) -> Floats:
    rise = np.asarray(base_height_m, np.float64) - np.asarray(terminal_height_m, np.float64)
    return np.asarray(np.log10(breakpoint_m**2 + rise**2), np.float64)


def _beyond(distance_m: ArrayLike, breakpoint_m: Floats, near: Floats, far: Floats) -> Floats:
    return np.asarray(
        np.where(np.asarray(distance_m, np.float64) <= breakpoint_m, near, far), np.float64
    )
