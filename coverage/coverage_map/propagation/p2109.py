"""Building entry loss of ITU-R P.2109-2: what a wall takes, by percentage of places inside."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.validity import InvalidInputError, RangeWarning

Floats = NDArray[np.float64]

GHZ = 1e9
FREQUENCY_RANGE_HZ = (80e6, 100e9)
FLOOR_DB = -3.0  # C: constructive interference lets no more through
ELEVATION_SLOPE_DB_DEG = 0.212


class Building(IntEnum):
    """Building types of table 1."""

    TRADITIONAL = 1
    EFFICIENT = 2  # metallised glass, foil-backed panels


# r, s, t, u, v, w, x, y, z of table 1.
COEFFICIENTS = {
    Building.TRADITIONAL: (12.64, 3.72, 0.96, 9.6, 2.0, 9.1, -3.0, 4.5, -2.0),
    Building.EFFICIENT: (28.19, -3.00, 8.48, 13.5, 3.8, 27.8, -2.9, 9.4, -2.1),
}


def entry_loss_db(
    frequency_hz: ArrayLike,
    places_percent: ArrayLike,
    building: int = Building.TRADITIONAL,
    elevation_deg: ArrayLike = 0.0,
) -> Floats:
    """Loss in dB not exceeded at a percentage of places inside, eqs. (1) to (10).

    `elevation_deg` is the path's angle at the facade. Arrays broadcast.
    """
    from scipy.special import ndtri

    _check(places_percent, building, elevation_deg)
    r, s, t, u, v, w, x, y, z = COEFFICIENTS[Building(building)]
    log = np.log10(np.asarray(frequency_hz, np.float64) / GHZ)
    deviate = ndtri(np.asarray(places_percent, np.float64) / 100.0)
    slope_db = ELEVATION_SLOPE_DB_DEG * np.abs(np.asarray(elevation_deg, np.float64))
    walls = deviate * (u + v * log) + r + s * log + t * log**2 + slope_db
    openings = deviate * (y + z * log) + w + x * log
    powers = 10.0 ** (0.1 * walls) + 10.0 ** (0.1 * openings) + 10.0 ** (0.1 * FLOOR_DB)
    return np.asarray(10.0 * np.log10(powers), np.float64)


def median_loss_db(
    frequency_hz: ArrayLike, building: int = Building.TRADITIONAL, elevation_deg: ArrayLike = 0.0
) -> Floats:
    """Loss exceeded in half of all places inside."""
    return entry_loss_db(frequency_hz, 50.0, building, elevation_deg)


def range_warnings(frequency_hz: ArrayLike) -> RangeWarning:
    """FREQUENCY where any is outside the 80 MHz to 100 GHz of the measurements."""
    low, high = FREQUENCY_RANGE_HZ
    hz = np.asarray(frequency_hz, np.float64)
    inside = np.all((hz >= low) & (hz <= high))
    return RangeWarning.NONE if inside else RangeWarning.FREQUENCY


def _check(places_percent: ArrayLike, building: int, elevation_deg: ArrayLike) -> None:
    percent = np.asarray(places_percent, np.float64)
    if not np.all((percent > 0.0) & (percent < 100.0)):
        raise InvalidInputError("places_percent", "not between 0 and 100", "use 50 for the median")
    if building not in tuple(Building):
        raise InvalidInputError("building", "not a type of table 1", "use 1 or 2")
    if not np.all(np.abs(np.asarray(elevation_deg, np.float64)) <= 90.0):
        raise InvalidInputError("elevation_deg", "outside -90 to 90", "give degrees, 0 is level")
