"""Clutter losses of ITU-R P.2108-1: what buildings and trees around a terminal take.

Three models for three cases: a terminal of known height in clutter of known height (section 3.1,
0.03 to 3 GHz), a terminal within clutter, by percentage of locations (section 3.2, 0.5 to 67 GHz,
at least 250 m), and the same for a path up to an aircraft or satellite (section 3.3, 10 to 100
GHz). Losses come on top of a basic transmission loss, once for each terminal in clutter. All take
arrays that broadcast and return dB. Outside these ranges the models are not defined:
InvalidInputError with the code of the reference implementation (NTIA/p2108).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]

GHZ = 1e9
FAR_KM = 2.0  # clutter loss doesn't grow beyond this distance, eq. (6)
LONG_SIGMA_DB = 4.0
SHORT_SIGMA_DB = 6.0


class Clutter(IntEnum):
    """Clutter types of table 3."""

    WATER = 1
    OPEN_RURAL = 2
    SUBURBAN = 3
    URBAN = 4
    TREES = 5
    DENSE_URBAN = 6


# Default clutter heights R in metres, table 3.
REPRESENTATIVE_HEIGHT_M = {
    Clutter.WATER: 10.0,
    Clutter.OPEN_RURAL: 10.0,
    Clutter.SUBURBAN: 10.0,
    Clutter.URBAN: 15.0,
    Clutter.TREES: 15.0,
    Clutter.DENSE_URBAN: 20.0,
}


def upper_deviate(share: ArrayLike) -> Floats:
    """Standard normal deviate exceeded with probability `share`, Q^-1 of the report."""
    from scipy.special import ndtri

    return np.asarray(-ndtri(np.asarray(share, np.float64)), np.float64)


def height_gain_db(
    frequency_hz: ArrayLike,
    height_m: ArrayLike,
    clutter: int,
    clutter_height_m: ArrayLike | None = None,
    street_width_m: ArrayLike = 27.0,
) -> Floats:
    """Height-gain terminal correction, eqs. (2a) to (2g); 0 for a terminal above its clutter.

    `clutter_height_m` defaults to that of the clutter type.
    """
    if clutter not in tuple(Clutter):
        raise InvalidInputError("clutter", "not a type of table 3", "use 1 (water) to 6", 36)
    if clutter_height_m is None:
        clutter_height_m = REPRESENTATIVE_HEIGHT_M[Clutter(clutter)]
    ghz = np.asarray(frequency_hz, np.float64) / GHZ
    height, top, street = (
        np.asarray(x, np.float64) for x in (height_m, clutter_height_m, street_width_m)
    )
    _require((ghz >= 0.03) & (ghz <= 3.0), "frequency_hz", "outside 30 MHz to 3 GHz", 32)
    _require(height > 0.0, "height_m", "not above zero", 33)
    _require(street > 0.0, "street_width_m", "not above zero", 34)
    _require(top > 0.0, "clutter_height_m", "not above zero", 35)
    if clutter in (Clutter.WATER, Clutter.OPEN_RURAL):
        loss = _open_correction_db(ghz, height, top)
    else:
        loss = _built_correction_db(ghz, height, top, street)
    return np.asarray(np.where(height >= top, 0.0, loss))


def _open_correction_db(ghz: Floats, height_m: Floats, top_m: Floats) -> Floats:
    """Height gain over open ground, eqs. (2b) and (2f)."""
    return np.asarray(-(21.8 + 6.2 * np.log10(ghz)) * np.log10(height_m / top_m))


def _built_correction_db(
    ghz: Floats, height_m: Floats, top_m: Floats, street_m: Floats
) -> Floats:
    """Diffraction down from the clutter's edge, eqs. (2a), (2c) to (2e), (2g)."""
    drop_m = np.maximum(top_m - height_m, 0.0)
    angle_deg = np.degrees(np.arctan(drop_m / street_m))
    nu = 0.342 * np.sqrt(ghz) * np.sqrt(drop_m * angle_deg)
    # nu is never below -0.78, where J would be zero: drop and angle have the same sign.
    return np.asarray(6.9 + 20.0 * np.log10(np.hypot(nu - 0.1, 1.0) + nu - 0.1) - 6.03)


def terrestrial_db(
    frequency_hz: ArrayLike, distance_m: ArrayLike, locations_percent: ArrayLike
) -> Floats:
    """Clutter loss not exceeded at a percentage of locations, eqs. (3) to (6).

    For one terminal in clutter, over a path of at least 250 m; from 2 km on it stays the same.
    """
    ghz = np.asarray(frequency_hz, np.float64) / GHZ
    km = np.asarray(distance_m, np.float64) / 1000.0
    percent = np.asarray(locations_percent, np.float64)
    _require((ghz >= 0.5) & (ghz <= 67.0), "frequency_hz", "outside 0.5 to 67 GHz", 48)
    _require(km >= 0.25, "distance_m", "shorter than 250 m", 49)
    _require_percent(percent, 50)
    return np.minimum(_terrestrial_db(ghz, km, percent), _terrestrial_db(ghz, FAR_KM, percent))


def _terrestrial_db(ghz: Floats, km: ArrayLike, percent: Floats) -> Floats:
    long_db = -2.0 * np.log10(10.0 ** (-5.0 * np.log10(ghz) - 12.5) + 10.0**-16.5)
    short_db = 32.98 + 23.9 * np.log10(km) + 3.0 * np.log10(ghz)
    long_share = 10.0 ** (-0.2 * long_db)
    short_share = 10.0 ** (-0.2 * short_db)
    total = long_share + short_share
    variance = (LONG_SIGMA_DB**2 * long_share + SHORT_SIGMA_DB**2 * short_share) / total
    spread_db = np.sqrt(variance) * upper_deviate(percent / 100.0)
    return np.asarray(-5.0 * np.log10(total) - spread_db)


def aeronautical_db(
    frequency_hz: ArrayLike, elevation_deg: ArrayLike, locations_percent: ArrayLike
) -> Floats:
    """Clutter loss not exceeded at a percentage of locations on a path upwards, eq. (7)."""
    ghz = np.asarray(frequency_hz, np.float64) / GHZ
    elevation = np.asarray(elevation_deg, np.float64)
    percent = np.asarray(locations_percent, np.float64)
    _require((ghz >= 10.0) & (ghz <= 100.0), "frequency_hz", "outside 10 to 100 GHz", 64)
    _require((elevation >= 0.0) & (elevation <= 90.0), "elevation_deg", "outside 0 to 90", 65)
    _require_percent(percent, 66)
    height = 0.05 * (1.0 - elevation / 90.0) + np.radians(elevation)
    base = -93.0 * ghz**0.175 * np.log(1.0 - percent / 100.0) / np.tan(height)
    grown = np.maximum(base, 0.0) ** (0.5 * (90.0 - elevation) / 90.0)
    return np.asarray(grown - 1.0 - 0.6 * upper_deviate(percent / 100.0))


def _require(holds: NDArray[np.bool_], field: str, problem: str, code: int) -> None:
    if not np.all(holds):
        raise InvalidInputError(field, problem, "P.2108 isn't defined there; leave it out", code)


def _require_percent(percent: Floats, code: int) -> None:
    _require((percent > 0.0) & (percent < 100.0), "locations_percent", "not in (0, 100)", code)
