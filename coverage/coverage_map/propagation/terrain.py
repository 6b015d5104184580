"""Terrain heights on a grid, and what is asked of them: a height here, a profile from there.

A `Raster` holds heights in metres above sea at grid points (not areas): row 0 is the northernmost,
column 0 the westernmost. Readers for SDF, HGT and GeoTIFF are in io_terrain.py, the compiled
sampling in terrain_kernels.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.profile import Profile, make_profile

Floats = NDArray[np.float64]
Heights = NDArray[np.float32]

EARTH_RADIUS_M = 6371008.8  # mean radius of WGS 84 (IUGG)
VOID_M = -32768.0  # what SRTM writes where it saw nothing
SMALLEST_STEP_DEG = 1e-7


@dataclass(frozen=True, slots=True)
class Raster:
    """Heights [rows, columns] in m.

    The point of row r, column c lies at (north_deg - r step_lat_deg, west_deg + c step_lon_deg).
    """

    heights_m: Heights
    north_deg: float
    west_deg: float
    step_lat_deg: float
    step_lon_deg: float

    @property
    def south_deg(self) -> float:
        """Latitude of the last row."""
        return self.north_deg - float((self.heights_m.shape[0] - 1) * self.step_lat_deg)

    @property
    def east_deg(self) -> float:
        """Longitude of the last column."""
        return self.west_deg + float((self.heights_m.shape[1] - 1) * self.step_lon_deg)


def make_raster(
    heights_m: ArrayLike,
    north_deg: float,
    west_deg: float,
    step_lat_deg: float,
    step_lon_deg: float,
) -> Raster:
    """Build and check a raster; ValueError names the field and the remedy."""
    heights = np.ascontiguousarray(heights_m, np.float32)
    if heights.ndim != 2 or min(heights.shape) < 2:
        raise ValueError("heights_m: not a grid of 2 by 2 or more; give rows from north to south")
    if min(step_lat_deg, step_lon_deg) < SMALLEST_STEP_DEG:
        raise ValueError("step: not positive; give degrees between grid points")
    if not -90.0 <= north_deg <= 90.0 or not -360.0 <= west_deg <= 360.0:
        raise ValueError("north_deg, west_deg: not on the globe; give degrees")
    return Raster(heights, float(north_deg), float(west_deg), step_lat_deg, step_lon_deg)


def fill_voids(raster: Raster, height_m: float = 0.0) -> Raster:
    """Give every void (NaN or -32768) the mean of its filled neighbours, working inwards.

    A raster that is all void becomes `height_m`, which is also what SRTM means by sea.
    """
    heights = raster.heights_m.astype(np.float32)
    holes = ~np.isfinite(heights) | (heights <= VOID_M)
    if holes.all():
        return _with(raster, np.full_like(heights, height_m))
    heights[holes] = np.nan
    while holes.any():
        padded = np.pad(heights, 1, constant_values=np.nan)
        around = np.stack(
            [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        )
        known = np.isfinite(around).sum(axis=0)
        ready = holes & (known > 0)
        heights[ready] = np.nansum(around, axis=0)[ready] / known[ready]
        holes &= ~ready
    return _with(raster, heights)


def _with(raster: Raster, heights: Heights) -> Raster:
    return Raster(
        heights, raster.north_deg, raster.west_deg, raster.step_lat_deg, raster.step_lon_deg
    )


def mosaic(rasters: Sequence[Raster], fill_m: float = 0.0) -> Raster:
    """Join tiles of one grid spacing into one raster; later tiles overwrite shared edges.

    Tiles whose longitudes are a turn apart (359 W beside 0) are brought together. Raises
    ValueError when spacings differ or grid points don't coincide.
    """
    if not rasters:
        raise ValueError("rasters: none given; read at least one tile")
    first = rasters[0]
    steps = np.array([(r.step_lat_deg, r.step_lon_deg) for r in rasters])
    if np.abs(steps - steps[0]).max() > 1e-9:
        raise ValueError("rasters: grid spacings differ; resample them to one spacing first")
    wests = [_near(r.west_deg, first.west_deg) for r in rasters]
    north, west = max(r.north_deg for r in rasters), min(wests)
    places = [_place(r, w, north, west) for r, w in zip(rasters, wests, strict=True)]
    height = max(row + r.heights_m.shape[0] for (row, _), r in zip(places, rasters, strict=True))
    width = max(col + r.heights_m.shape[1] for (_, col), r in zip(places, rasters, strict=True))
    joined = np.full((height, width), fill_m, np.float32)
    for (row, col), r in zip(places, rasters, strict=True):
        joined[row : row + r.heights_m.shape[0], col : col + r.heights_m.shape[1]] = r.heights_m
    return Raster(joined, north, west, first.step_lat_deg, first.step_lon_deg)


def _near(west_deg: float, reference_deg: float) -> float:
    """The same longitude, at most half a turn from the reference."""
    return west_deg - 360.0 * round((west_deg - reference_deg) / 360.0)


def _place(raster: Raster, tile_west: float, north: float, west: float) -> tuple[int, int]:
    row = (north - raster.north_deg) / raster.step_lat_deg
    col = (tile_west - west) / raster.step_lon_deg
    if max(abs(row - round(row)), abs(col - round(col))) > 1e-3:
        raise ValueError("rasters: grid points don't coincide; resample them to one grid first")
    return round(row), round(col)


def window(
    raster: Raster, north_deg: float, west_deg: float, shape: tuple[int, int], fill_m: float = 0.0
) -> Raster:
    """The grid cut or extended to a corner and shape; what the raster lacks is `fill_m`."""
    row, col = _place(
        Raster(np.empty(shape, np.float32), north_deg, west_deg, *steps_of(raster)),
        _near(west_deg, raster.west_deg),
        raster.north_deg,
        raster.west_deg,
    )
    out = np.full(shape, fill_m, np.float32)
    rows, cols = raster.heights_m.shape
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + shape[0], rows), min(col + shape[1], cols)
    if bottom > top and right > left:
        out[top - row : bottom - row, left - col : right - col] = raster.heights_m[
            top:bottom, left:right
        ]
    return Raster(out, north_deg, west_deg, *steps_of(raster))


def steps_of(raster: Raster) -> tuple[float, float]:
    """Degrees between rows and between columns."""
    return raster.step_lat_deg, raster.step_lon_deg


def heights_at_m(
    raster: Raster, latitude_deg: ArrayLike, longitude_deg: ArrayLike, nearest: bool = False
) -> Floats:
    """Heights in m at places, bilinear or of the nearest grid point; outside the raster NaN."""
    from coverage_map.propagation import terrain_kernels

    lat, lon = np.broadcast_arrays(
        np.asarray(latitude_deg, np.float64), np.asarray(longitude_deg, np.float64)
    )
    out = np.empty(lat.size)
    grid = (raster.north_deg, raster.west_deg, raster.step_lat_deg, raster.step_lon_deg)
    terrain_kernels.sample_many(raster.heights_m, grid, lat.ravel(), lon.ravel(), nearest, out)
    return out.reshape(lat.shape)


def distance_m(
    latitude_a: ArrayLike, longitude_a: ArrayLike, latitude_b: ArrayLike, longitude_b: ArrayLike
) -> Floats:
    """Great-circle distance in m (haversine, which keeps short distances exact); degrees in."""
    lat_a, lon_a = np.radians(latitude_a), np.radians(longitude_a)
    lat_b, lon_b = np.radians(latitude_b), np.radians(longitude_b)
    chord = np.sin((lat_b - lat_a) / 2.0) ** 2
    chord = chord + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2.0) ** 2
    return np.asarray(2.0 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(chord, 1.0))), np.float64)


def great_circle(
    start_deg: tuple[float, float], end_deg: tuple[float, float], points: int
) -> tuple[Floats, Floats]:
    """Latitudes and longitudes of evenly spaced points on a great circle, both ends included."""
    ends = np.radians(np.array([start_deg, end_deg]))
    a, b = (
        np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        for lat, lon in ends
    )
    angle = float(distance_m(*start_deg, *end_deg)) / EARTH_RADIUS_M
    share = np.linspace(0.0, 1.0, points)
    if angle < 1e-12:
        return np.full(points, start_deg[0]), np.full(points, start_deg[1])
    way = np.outer(np.sin((1.0 - share) * angle), a) + np.outer(np.sin(share * angle), b)
    latitude = np.degrees(np.arctan2(way[:, 2], np.hypot(way[:, 0], way[:, 1])))
    longitude = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    return latitude, _unwrap(longitude, start_deg[1])


def _unwrap(longitude_deg: Floats, reference_deg: float) -> Floats:
    turns = np.round((longitude_deg - reference_deg) / 360.0)
    return np.asarray(longitude_deg - 360.0 * turns, np.float64)


def midpoint_latitude_deg(start_deg: tuple[float, float], end_deg: tuple[float, float]) -> float:
    """Latitude half way along the great circle, which P.1812 takes its climate from."""
    return float(great_circle(start_deg, end_deg, 3)[0][1])


def extract_profile(
    raster: Raster,
    start_deg: tuple[float, float],
    end_deg: tuple[float, float],
    spacing_m: float | None = None,
    nearest: bool = False,
) -> Profile:
    """Terrain between two places along the great circle, ends included.

    Points are evenly spaced, at most `spacing_m` apart (default: the raster's own spacing).
    Raises ValueError when a place lies outside the raster or both places are one.
    """
    length = float(distance_m(*start_deg, *end_deg))
    if length == 0.0:
        raise ValueError("end_deg: the start itself; give two different places")
    step = spacing_m if spacing_m is not None else spacing_of(raster)
    if not step > 0.0:
        raise ValueError("spacing_m: not positive; give metres between points")
    points = max(math.ceil(length / step) + 1, 3)
    latitude, longitude = great_circle(start_deg, end_deg, points)
    heights = heights_at_m(raster, latitude, longitude, nearest)
    if np.isnan(heights).any():
        raise ValueError("profile: leaves the terrain; load the neighbouring tiles too")
    return make_profile(np.linspace(0.0, length, points), heights)


def spacing_of(raster: Raster) -> float:
    """Distance in m between grid points along a meridian."""
    return math.radians(raster.step_lat_deg) * EARTH_RADIUS_M
