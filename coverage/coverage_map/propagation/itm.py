"""The Irregular Terrain Model (Longley-Rice) version 1.4: point-to-point losses over terrain.

    settings = Settings(frequency_mhz=868.0)
    link = point_to_point(heights_m, spacing_m, 15.0, 3.0, settings)
    link.loss_db, link.warnings, link.mode

`many_point_to_point` does the same for many links at once and returns codes instead of raising.
Warnings and error codes are those of the reference implementation (NTIA/itm). SPLAT's "original"
ITM is the default mode of variability, 12, with `Percentages.of_confidence`. Area mode, which
needs no profile, is in itm_area.py; the kernels are compiled at the first call.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.validity import InvalidInputError

if TYPE_CHECKING:
    from coverage_map.propagation.itm_kernels import Link
    from coverage_map.propagation.itm_regions import Curve, Radio

Floats = NDArray[np.float64]

WAVENUMBER_M_MHZ = 47.7  # a wavelength over 2 pi, metres times MHz
MODES_OF_VARIABILITY = [mode + extra for extra in (0, 10, 20, 30) for mode in range(4)]
POINTS_MIN = 2


class Climate(IntEnum):
    """Radio climates of ITM."""

    EQUATORIAL = 1
    CONTINENTAL_SUBTROPICAL = 2
    MARITIME_SUBTROPICAL = 3
    DESERT = 4
    CONTINENTAL_TEMPERATE = 5
    MARITIME_TEMPERATE_LAND = 6
    MARITIME_TEMPERATE_SEA = 7


class Mode(IntEnum):
    """By which way the signal mainly arrives."""

    NOT_SET = 0
    LINE_OF_SIGHT = 1
    DIFFRACTION = 2
    TROPOSCATTER = 3


class ItmWarning(IntFlag):
    """ITM's warnings: the loss is returned, and should be taken with care."""

    NONE = 0
    TX_HEIGHT = 0x0001
    RX_HEIGHT = 0x0002
    FREQUENCY = 0x0004
    DISTANCE_LARGE = 0x0008
    DISTANCE_VERY_LARGE = 0x0010
    DISTANCE_SMALL = 0x0020
    DISTANCE_VERY_SMALL = 0x0040
    TX_HORIZON_ANGLE = 0x0080
    RX_HORIZON_ANGLE = 0x0100
    TX_HORIZON_NEAR = 0x0200
    RX_HORIZON_NEAR = 0x0400
    TX_HORIZON_FAR = 0x0800
    RX_HORIZON_FAR = 0x1000
    EXTREME_VARIABILITY = 0x2000
    SURFACE_REFRACTIVITY = 0x4000


class ItmCode(IntEnum):
    """ITM's return codes: 0 and 1 come with a loss, the others without."""

    OK = 0
    OK_WITH_WARNINGS = 1
    TX_HEIGHT = 1000
    RX_HEIGHT = 1001
    CLIMATE = 1002
    TIME = 1003
    LOCATION = 1004
    SITUATION = 1005
    CONFIDENCE = 1006
    RELIABILITY = 1007
    REFRACTIVITY = 1008
    FREQUENCY = 1009
    POLARIZATION = 1010
    PERMITTIVITY = 1011
    CONDUCTIVITY = 1012
    GROUND_IMPEDANCE = 1013
    MODE_OF_VARIABILITY = 1014
    EFFECTIVE_EARTH = 1016
    DISTANCE = 1017
    ROUGHNESS = 1018
    TX_SITING = 1019
    RX_SITING = 1020
    SURFACE_REFRACTIVITY_SMALL = 1021
    SURFACE_REFRACTIVITY_LARGE = 1022


# Field, problem and remedy of each code.
PROBLEMS = {
    1000: ("tx_height_m", "outside 0.5 to 3000 m", "give the height above ground in metres"),
    1001: ("rx_height_m", "outside 0.5 to 3000 m", "give the height above ground in metres"),
    1002: ("climate", "not a radio climate", "use 1 (equatorial) to 7 (maritime, over sea)"),
    1003: ("time_percent", "not between 0 and 100", "use a percentage such as 50"),
    1004: ("location_percent", "not between 0 and 100", "use a percentage such as 50"),
    1005: ("situation_percent", "not between 0 and 100", "use a percentage such as 50"),
    1006: ("confidence_percent", "not between 0 and 100", "use a percentage such as 50"),
    1007: ("reliability_percent", "not between 0 and 100", "use a percentage such as 50"),
    1008: ("refractivity", "outside 250 to 400 N-units", "use 301, the mean over land"),
    1009: ("frequency_mhz", "outside 20 MHz to 20 GHz", "give it in MHz or use another model"),
    1010: ("polarization", "neither 0 nor 1", "use 0 for horizontal, 1 for vertical"),
    1011: ("permittivity", "below 1", "use 15, average ground"),
    1012: ("conductivity_s_m", "not above zero", "use 0.005 S/m, average ground"),
    1013: ("permittivity", "a ground that conducts more than it insulates", "check both constants"),
    1014: ("mode_of_variability", "unknown", "use 0 to 3, plus 10 without location, 20 situation"),
    1016: ("refractivity", "bends the earth out of bounds", "use a value near 301"),
    1017: ("distance_km", "not above zero", "give the path's length in km"),
    1018: ("roughness_m", "below zero", "give the terrain irregularity, such as 90 m"),
    1019: ("tx_siting", "unknown", "use 0 (random), 1 (careful) or 2 (very careful)"),
    1020: ("rx_siting", "unknown", "use 0 (random), 1 (careful) or 2 (very careful)"),
    1021: ("heights_m", "so high that refractivity falls below 150", "check the profile's unit"),
    1022: ("heights_m", "so low that refractivity rises above 400", "check the profile's unit"),
}

# Climate curves of [TN101, fig. 10.13], eqs. III.69 and III.70: two levels in dB, three distances
# in km; one column a climate. Median, deviation below it, deviation above it.
MEDIAN_CURVES = (
    (-9.67, -0.62, 1.26, -9.21, -0.62, -0.39, 3.15),
    (12.7, 9.19, 15.5, 9.05, 9.19, 2.86, 857.9),
    (144.9, 228.9, 262.6, 84.1, 228.9, 141.7, 2222.0),
    (190.3, 205.2, 185.2, 101.1, 205.2, 315.9, 164.8),
    (133.8, 143.6, 99.8, 98.6, 143.6, 167.4, 116.3),
)
BELOW_CURVES = (
    (2.13, 2.66, 6.11, 1.98, 2.68, 6.86, 8.51),
    (159.5, 7.67, 6.65, 13.11, 7.16, 10.38, 169.8),
    (762.2, 100.4, 138.2, 139.1, 93.7, 187.8, 609.8),
    (123.6, 172.5, 242.2, 132.7, 186.8, 169.6, 119.9),
    (94.5, 136.4, 178.6, 193.5, 133.5, 108.9, 106.6),
)
ABOVE_CURVES = (
    (2.11, 6.87, 10.08, 3.68, 4.75, 8.58, 8.43),
    (102.3, 15.53, 9.60, 159.3, 8.12, 13.97, 8.19),
    (636.9, 138.7, 165.3, 464.4, 93.2, 216.0, 136.2),
    (134.8, 143.7, 225.7, 93.1, 135.9, 152.0, 188.5),
    (95.6, 98.6, 129.7, 94.2, 113.4, 122.7, 122.9),
)
# Frequency factors a + b / ((c ln 0.133 k)^2 + 1) of both deviations, and C_D, z_D of table 5.1.
BELOW_FACTORS = (*(4 * [(1.0, 0.0, 0.0)]), (0.92, 0.25, 1.77), *(2 * [(1.0, 0.0, 0.0)]))
ABOVE_FACTORS = (
    (1.0, 0.0, 0.0),
    (0.93, 0.31, 2.0),
    (1.0, 0.0, 0.0),
    (0.93, 0.19, 1.79),
    (0.93, 0.31, 2.0),
    (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.0),
)
DUCT_RATIOS = (1.224, 0.801, 1.380, 1.000, 1.224, 1.518, 1.518)
DUCT_DEVIATES = (1.282, 2.161, 1.282, 20.0, 1.282, 1.282, 1.282)


@dataclass(frozen=True, slots=True)
class Percentages:
    """Shares of time, locations and situations in which the loss is not exceeded, 0 to 100.

    `is_confidence` says that situation is called confidence and time reliability in errors.
    """

    time_percent: float = 50.0
    location_percent: float = 50.0
    situation_percent: float = 50.0
    is_confidence: bool = False

    @classmethod
    def of_confidence(cls, confidence_percent: float, reliability_percent: float) -> Percentages:
        """Confidence and reliability instead, with the median location."""
        return cls(reliability_percent, 50.0, confidence_percent, True)


@dataclass(frozen=True, slots=True)
class Settings:
    """What all links of a call share: wave, ground, air, climate, percentages.

    `mode_of_variability`: 0 single message, 1 accidental, 2 mobile, 3 broadcast; plus 10 without
    location variability, plus 20 without direct situation variability. `polarization` is 0 for
    horizontal, 1 for vertical.
    """

    frequency_mhz: float
    climate: int = Climate.CONTINENTAL_TEMPERATE
    refractivity: float = 301.0
    polarization: int = 1
    permittivity: float = 15.0
    conductivity_s_m: float = 0.005
    mode_of_variability: int = 12
    percentages: Percentages = field(default_factory=Percentages)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A loss in dB with its warnings and what led to it; pairs are (transmitter, receiver)."""

    loss_db: float
    warnings: ItmWarning
    mode: Mode
    reference_db: float
    free_space_db: float
    refractivity: float
    roughness_m: float
    horizon_angles_rad: tuple[float, float]
    horizons_m: tuple[float, float]
    effective_heights_m: tuple[float, float]

    @property
    def code(self) -> ItmCode:
        """ITM's return code: 0, or 1 when there are warnings."""
        return ItmCode.OK_WITH_WARNINGS if self.warnings else ItmCode.OK


@dataclass(frozen=True, slots=True)
class Predictions:
    """Losses of many links [n] in dB (NaN after an error), warning bits and ITM's codes."""

    loss_db: Floats
    warnings: NDArray[np.int64]
    codes: NDArray[np.int64]


def upper_deviate(share: float) -> float:
    """Standard normal deviate exceeded with probability `share`: Abramowitz, eq. 26.2.23."""
    tail = min(share, 1.0 - share) if share > 0.5 else share
    root = math.sqrt(-2.0 * math.log(tail))
    above = (0.010328 * root + 0.802853) * root + 2.515516
    below = ((0.001308 * root + 0.189269) * root + 1.432788) * root + 1.0
    deviate = root - above / below
    return -deviate if share > 0.5 else deviate


def ground_impedance(settings: Settings) -> complex:
    """Impedance of the ground relative to air for a polarization, [Alg, eqs. 1.4, 1.5]."""
    loss = 18000.0 * settings.conductivity_s_m / settings.frequency_mhz
    permittivity = complex(settings.permittivity, loss)
    if settings.permittivity == 1.0:
        # Both parts are equal, which is an error to ITM: the library's root may round one up.
        impedance = math.sqrt(loss / 2.0) * (1.0 + 1.0j)
    else:
        impedance = cmath.sqrt(permittivity - 1.0)
    return impedance / permittivity if settings.polarization == 1 else impedance


def check_settings(settings: Settings) -> tuple[ItmWarning, int]:
    """Warnings and code of the inputs that all links share, in the reference's order."""
    flags = ItmWarning.NONE
    mhz = settings.frequency_mhz
    if settings.climate not in range(1, 8):
        return flags, ItmCode.CLIMATE
    if not 250.0 <= settings.refractivity <= 400.0:
        return flags, ItmCode.REFRACTIVITY
    if not 40.0 <= mhz <= 10000.0:
        flags |= ItmWarning.FREQUENCY
    if not 20.0 <= mhz <= 20000.0:
        return flags, ItmCode.FREQUENCY
    if settings.polarization not in (0, 1):
        return flags, ItmCode.POLARIZATION
    if not settings.permittivity >= 1.0:
        return flags, ItmCode.PERMITTIVITY
    if not settings.conductivity_s_m > 0.0:
        return flags, ItmCode.CONDUCTIVITY
    if settings.mode_of_variability not in MODES_OF_VARIABILITY:
        return flags, ItmCode.MODE_OF_VARIABILITY
    return flags, _check_percentages(settings.percentages)


def _check_percentages(percentages: Percentages) -> int:
    if not 0.0 < percentages.situation_percent < 100.0:
        return ItmCode.CONFIDENCE if percentages.is_confidence else ItmCode.SITUATION
    if not 0.0 < percentages.time_percent < 100.0:
        return ItmCode.RELIABILITY if percentages.is_confidence else ItmCode.TIME
    return 0 if 0.0 < percentages.location_percent < 100.0 else ItmCode.LOCATION


def prepare(settings: Settings) -> Radio:
    """What the kernels need of valid settings, computed once for all links."""
    from coverage_map.propagation.itm_regions import Radio

    column = settings.climate - 1
    wavenumber = settings.frequency_mhz / WAVENUMBER_M_MHZ
    impedance = ground_impedance(settings)
    below = _frequency_factor(BELOW_FACTORS[column], wavenumber)
    above = _frequency_factor(ABOVE_FACTORS[column], wavenumber)
    mode = settings.mode_of_variability % 10
    return Radio(
        settings.frequency_mhz,
        wavenumber,
        settings.frequency_mhz ** (1.0 / 3.0),
        32.45 + 20.0 * math.log10(settings.frequency_mhz) - 60.0,
        (575.7e12 / wavenumber) ** (1.0 / 3.0),
        impedance.real,
        impedance.imag,
        abs(impedance),
        float(settings.refractivity),
        *_deviates(settings.percentages, mode),
        mode,
        settings.mode_of_variability % 20 < 10,
        settings.mode_of_variability < 20,
        _curve(MEDIAN_CURVES, column),
        _curve(BELOW_CURVES, column),
        _curve(ABOVE_CURVES, column),
        below,
        above,
        DUCT_RATIOS[column],
        DUCT_DEVIATES[column],
    )


def _deviates(percentages: Percentages, mode: int) -> tuple[float, float, float]:
    """Deviates of time, location, situation, joined as the mode of variability demands."""
    time = upper_deviate(percentages.time_percent / 100.0)
    location = upper_deviate(percentages.location_percent / 100.0)
    situation = upper_deviate(percentages.situation_percent / 100.0)
    if mode == 0:
        return situation, situation, situation
    if mode == 1:
        return time, situation, situation
    return (time, time, situation) if mode == 2 else (time, location, situation)


def _frequency_factor(constants: Sequence[float], wavenumber: float) -> float:
    offset, height, scale = constants
    return offset + height / ((scale * math.log(0.133 * wavenumber)) ** 2 + 1.0)


def _curve(rows: Sequence[Sequence[float]], column: int) -> Curve:
    low, high, first_km, second_km, third_km = (row[column] for row in rows)
    return low, high, 1e3 * first_km, 1e3 * second_km, 1e3 * third_km


def point_to_point(
    heights_m: ArrayLike,
    spacing_m: float,
    tx_height_m: float,
    rx_height_m: float,
    settings: Settings,
) -> Prediction:
    """Loss over a profile: heights [n >= 2] above the sea at equal spacing, both ends included.

    Terminal heights are above ground. Raises InvalidInputError with ITM's code.
    """
    from coverage_map.propagation import itm_kernels
    from coverage_map.propagation.itm_terrain import new_scratch

    profile = np.ascontiguousarray(heights_m, np.float64)
    _check_profiles(profile, np.array([0, profile.size]), np.array([spacing_m]))
    flags, code = itm_kernels.height_check(tx_height_m, rx_height_m)
    shared_flags, shared_code = check_settings(settings)
    refuse(code or shared_code)
    link = itm_kernels.link_over_profile(
        prepare(settings),
        profile,
        float(spacing_m),
        float(tx_height_m),
        float(rx_height_m),
        new_scratch(profile.size),
    )
    return prediction(link, ItmWarning(flags) | shared_flags)


def many_point_to_point(
    heights_m: Sequence[ArrayLike] | Floats,
    spacing_m: ArrayLike,
    tx_height_m: ArrayLike,
    rx_height_m: ArrayLike,
    settings: Settings,
) -> Predictions:
    """Losses of many links at once: profiles [links, points], or a sequence of any lengths.

    Spacing and heights are scalars or arrays [links]. Impossible inputs give a code and NaN.
    """
    from coverage_map.propagation import itm_kernels
    from coverage_map.propagation.itm_terrain import new_scratch

    flat, starts = flatten(heights_m)
    count = starts.size - 1
    spacing, tx_m, rx_m = (_per_link(x, count) for x in (spacing_m, tx_height_m, rx_height_m))
    _check_profiles(flat, starts, spacing)
    flags, code = check_settings(settings)
    # With impossible settings every link is refused before it reads them.
    radio = prepare(settings if code == 0 else Settings(frequency_mhz=1000.0))
    done = Predictions(np.empty(count), np.empty(count, np.int64), np.empty(count, np.int64))
    shared = (int(flags), int(code))
    scratch = new_scratch(int(np.diff(starts).max(initial=POINTS_MIN)))
    results = (done.loss_db, done.warnings, done.codes)
    itm_kernels.many_links(radio, flat, starts, spacing, tx_m, rx_m, shared, scratch, *results)
    return done


def flatten(heights_m: Sequence[ArrayLike] | Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Profiles in one array, and where each starts [links + 1]."""
    if isinstance(heights_m, np.ndarray) and heights_m.ndim == 2:
        links, points = heights_m.shape
        flat = np.ascontiguousarray(heights_m, np.float64).reshape(-1)
        return flat, np.arange(links + 1, dtype=np.int64) * points
    profiles = [np.asarray(profile, np.float64) for profile in heights_m]
    starts = np.cumsum([0, *(profile.size for profile in profiles)], dtype=np.int64)
    return np.concatenate([*profiles, np.empty(0)]), starts


def _per_link(value: ArrayLike, count: int) -> Floats:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(value, np.float64), (count,)))


def _check_profiles(flat: Floats, starts: NDArray[np.int64], spacing_m: Floats) -> None:
    if np.any(np.diff(starts) < POINTS_MIN):
        raise InvalidInputError(
            "heights_m", "a profile of fewer than 2 points", "give at least both ends"
        )
    if not np.all(np.isfinite(flat)):
        raise InvalidInputError("heights_m", "not a number", "fill holes in the terrain first")
    if not (np.all(np.isfinite(spacing_m)) and np.all(spacing_m > 0.0)):
        raise InvalidInputError("spacing_m", "not above zero", "give metres between points")


def refuse(code: int) -> None:
    """Raise the error of one of ITM's codes, if it is one."""
    if code in PROBLEMS:
        raise InvalidInputError(*PROBLEMS[code], code)


def prediction(link: Link, flags: ItmWarning) -> Prediction:
    """A kernel's result as a record, with the warnings of its inputs."""
    refuse(link.code)
    terrain = link.terrain
    return Prediction(
        link.loss_db,
        flags | ItmWarning(link.warnings),
        Mode(link.mode),
        link.reference_db,
        link.free_space_db,
        link.refractivity,
        terrain.roughness_m,
        (terrain.angle_tx_rad, terrain.angle_rx_rad),
        (terrain.horizon_tx_m, terrain.horizon_rx_m),
        (terrain.effective_tx_m, terrain.effective_rx_m),
    )
