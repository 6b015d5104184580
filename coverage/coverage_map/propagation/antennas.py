"""Antenna patterns: gain in dBi towards an azimuth and an elevation, both in degrees.

Angles are in the antenna's own frame: azimuth 0 is straight ahead and grows clockwise, elevation 0
is the horizon and grows upwards. Arrays broadcast. `Mounted` puts an antenna on a mast: it turns
bearings and elevations of the world into the antenna's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]

DIPOLE_DBI = 2.15
NULL_DB = 60.0  # no real antenna is blinder than this towards any direction


class Antenna(Protocol):
    """Anything with a gain towards a direction."""

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Gain in dBi towards directions of the antenna's frame."""


@dataclass(frozen=True, slots=True)
class Isotropic:
    """The same gain in every direction."""

    peak_dbi: float = 0.0

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Peak gain, whatever the direction."""
        shape = np.broadcast_shapes(np.shape(azimuth_deg), np.shape(elevation_deg))
        return np.full(shape, float(self.peak_dbi))


@dataclass(frozen=True, slots=True)
class Dipole:
    """A vertical half-wave dipole (Balanis, Antenna Theory, eq. 4-84)."""

    peak_dbi: float = DIPOLE_DBI

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Broadside peak, nulls along the axis."""
        azimuth, elevation = _broadcast(azimuth_deg, elevation_deg)
        cosine = np.maximum(np.cos(np.radians(elevation)), 1e-6)
        field = np.cos(math.pi / 2.0 * np.sin(np.radians(elevation))) / cosine
        drop = 20.0 * np.log10(np.maximum(np.abs(field), 10.0 ** (-NULL_DB / 20.0)))
        return np.asarray(self.peak_dbi + drop + 0.0 * azimuth)


@dataclass(frozen=True, slots=True)
class Sector:
    """A base station's sector element, 3GPP TR 38.901, table 7.3-1."""

    peak_dbi: float = 8.0
    azimuth_width_deg: float = 65.0
    elevation_width_deg: float = 65.0
    front_to_back_db: float = 30.0
    side_lobe_db: float = 30.0

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Peak less both cuts' drops, at most the front-to-back ratio."""
        azimuth, elevation = _broadcast(azimuth_deg, elevation_deg)
        across = 12.0 * (wrap_deg(azimuth) / self.azimuth_width_deg) ** 2
        along = 12.0 * (elevation / self.elevation_width_deg) ** 2
        drop = np.minimum(across, self.front_to_back_db) + np.minimum(along, self.side_lobe_db)
        return np.asarray(self.peak_dbi - np.minimum(drop, self.front_to_back_db))


@dataclass(frozen=True, slots=True)
class Collinear:
    """An omnidirectional stick of high gain: peak side lobes of ITU-R F.1336-5, eqs. (1a) to (1d).

    `k` tells how far side lobes stand above a modern antenna's (0.7: typical).
    """

    peak_dbi: float = 6.0
    k: float = 0.7

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """A main lobe around the horizon and a decaying floor above and below."""
        azimuth, elevation = _broadcast(azimuth_deg, elevation_deg)
        width = 107.6 * 10.0 ** (-0.1 * self.peak_dbi)
        shoulder = width * math.sqrt(1.0 - math.log10(self.k + 1.0) / 1.2)
        ratio = np.abs(elevation) / width
        main = self.peak_dbi - 12.0 * ratio**2
        flat = self.peak_dbi - 12.0 + 10.0 * math.log10(self.k + 1.0)
        tail = self.peak_dbi - 12.0 + 10.0 * np.log10(np.maximum(ratio, 1.0) ** -1.5 + self.k)
        beyond = np.where(ratio < 1.0, flat, tail)
        return np.asarray(np.where(np.abs(elevation) < shoulder, main, beyond) + 0.0 * azimuth)


@dataclass(frozen=True, slots=True)
class Parabolic:
    """A dish of a diameter in metres at a frequency: the envelope of ITU-R F.699-8, 1 to 70 GHz."""

    diameter_m: float
    frequency_hz: float
    peak_dbi: float | None = None  # by default from the diameter, as in F.699's recommends 3

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Main lobe, first side lobe, decay to 48 degrees, back lobes."""
        azimuth, elevation = _broadcast(azimuth_deg, elevation_deg)
        ratio = self.diameter_m * self.frequency_hz / 3.0e8
        peak = 20.0 * math.log10(ratio) + 7.7 if self.peak_dbi is None else self.peak_dbi
        off = off_axis_deg(azimuth, elevation)
        side = 2.0 + 15.0 * math.log10(ratio)
        main_ends = 20.0 / ratio * math.sqrt(max(peak - side, 0.0))
        small = ratio <= 100.0
        side_ends = max(main_ends, 100.0 / ratio if small else 15.85 * ratio**-0.6)
        lift = 20.0 - 10.0 * math.log10(ratio) if small else 0.0
        decay = 32.0 + lift - 25.0 * np.log10(np.maximum(off, 1e-3))
        back = lift - 10.0
        lobes = np.where(off < 48.0, decay, back)
        lobes = np.where(off < side_ends, side, lobes)
        main = peak - 2.5e-3 * (ratio * off) ** 2
        return np.asarray(np.where(off < main_ends, main, np.minimum(lobes, peak)))


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A measured pattern: gains in dB below the peak around the horizontal and the vertical cut.

    Both are evenly spaced over 360 degrees from straight ahead (clockwise, and upwards over the
    back). Elsewhere both drops add, as data sheets are usually read.
    """

    peak_dbi: float
    horizontal_drop_db: Floats
    vertical_drop_db: Floats

    def gain_dbi(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Peak less both cuts' drops, linear between samples."""
        azimuth, elevation = _broadcast(azimuth_deg, elevation_deg)
        drop = around(self.horizontal_drop_db, azimuth) + around(self.vertical_drop_db, elevation)
        return np.asarray(self.peak_dbi - drop)


@dataclass(frozen=True, slots=True)
class Mounted:
    """An antenna on a mast, turned to a bearing and tilted down, both in degrees."""

    antenna: Antenna
    bearing_deg: float = 0.0
    tilt_deg: float = 0.0

    def gain_dbi(self, bearing_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
        """Gain in dBi towards bearings (clockwise from north) and elevations of the world."""
        bearing, elevation = _broadcast(bearing_deg, elevation_deg)
        turn = np.radians(bearing - self.bearing_deg)
        rise = np.radians(elevation)
        ahead = np.cos(rise) * np.cos(turn)
        right = np.cos(rise) * np.sin(turn)
        up = np.sin(rise)
        tilt = math.radians(self.tilt_deg)
        tilted_ahead = ahead * math.cos(tilt) - up * math.sin(tilt)
        tilted_up = ahead * math.sin(tilt) + up * math.cos(tilt)
        azimuth = np.degrees(np.arctan2(right, tilted_ahead))
        own_elevation = np.degrees(np.arcsin(np.clip(tilted_up, -1.0, 1.0)))
        return self.antenna.gain_dbi(azimuth, own_elevation)


def wrap_deg(angle_deg: ArrayLike) -> Floats:
    """An angle between -180 and 180 degrees."""
    return np.asarray((np.asarray(angle_deg, np.float64) + 180.0) % 360.0 - 180.0)


def off_axis_deg(azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Floats:
    """Angle between a direction and straight ahead."""
    cosine = np.cos(np.radians(azimuth_deg)) * np.cos(np.radians(elevation_deg))
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def around(samples: ArrayLike, angle_deg: ArrayLike) -> Floats:
    """Samples evenly spaced over a full turn, linearly between them."""
    values = np.asarray(samples, np.float64)
    if values.ndim != 1 or values.size < 2:
        raise InvalidInputError("samples", "not a list of gains", "give at least 2 per turn")
    position = (np.asarray(angle_deg, np.float64) % 360.0) * (values.size / 360.0)
    below = np.floor(position).astype(np.int64)
    share = position - below
    low, high = values[below % values.size], values[(below + 1) % values.size]
    return np.asarray(low + (high - low) * share)


def _broadcast(azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> tuple[Floats, Floats]:
    azimuth = np.asarray(azimuth_deg, np.float64)
    elevation = np.asarray(elevation_deg, np.float64)
    if not np.all(np.abs(elevation) <= 90.0):
        raise InvalidInputError("elevation_deg", "outside -90 to 90", "give degrees, 0 is level")
    return azimuth, elevation
