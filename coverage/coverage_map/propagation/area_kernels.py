"""Area coverage compiled (imports Numba): cells to radials, terrain along them, free space."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.terrain_kernels import Grid, Heights, bilinear_m

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

EARTH_RADIUS_M = 6371008.8
ANCHOR = 16  # samples between places computed exactly; a line between them is centimetres off


@compiled
def polar_place(
    lat: float, lon: float, site: tuple[float, float]
) -> tuple[float, float]:
    """Distance in m and azimuth in radians (0..2 pi, from north) of a place; radians in."""
    north, east = lat - site[0], lon - site[1]
    chord = math.sin(0.5 * north) ** 2
    chord += math.cos(site[0]) * math.cos(lat) * math.sin(0.5 * east) ** 2
    distance = 2.0 * EARTH_RADIUS_M * math.asin(math.sqrt(min(chord, 1.0)))
    across = math.sin(east) * math.cos(lat)
    along = math.cos(site[0]) * math.sin(lat) - math.sin(site[0]) * math.cos(lat) * math.cos(east)
    azimuth = math.atan2(across, along)
    return distance, azimuth + 2.0 * math.pi if azimuth < 0.0 else azimuth


@compiled
def assign(
    grid: Grid, site: tuple[float, float], radius_m: float, step_m: float,
    radial: Integers, sample: Integers, wanted: Flags,
) -> int:  # fmt: skip
    """For each grid cell the radial and sample nearest to its centre, -1 beyond the radius.

    `site` in degrees. Marks the samples that some cell wants; returns the number of cells inside.
    """
    north, west, step_lat, step_lon = grid
    here = (math.radians(site[0]), math.radians(site[1]))
    radials = wanted.shape[0]
    inside = 0
    for r in range(radial.shape[0]):
        lat = math.radians(north - r * step_lat)
        for c in range(radial.shape[1]):
            lon = math.radians(west + c * step_lon)
            distance, azimuth = polar_place(lat, lon, here)
            if distance > radius_m:
                radial[r, c] = -1
                continue
            k = round(distance / step_m)
            j = round(azimuth / (2.0 * math.pi) * radials) % radials
            radial[r, c], sample[r, c] = j, k
            wanted[j, k] = True
            inside += 1
    return inside


@compiled
def along(
    site: tuple[float, float], azimuth: float, distance_m: float
) -> tuple[float, float]:
    """Latitude and longitude in degrees after a distance along an azimuth from site (radians)."""
    angle = distance_m / EARTH_RADIUS_M
    sine = math.sin(site[0]) * math.cos(angle)
    sine += math.cos(site[0]) * math.sin(angle) * math.cos(azimuth)
    east = math.sin(azimuth) * math.sin(angle) * math.cos(site[0])
    forward = math.cos(angle) - math.sin(site[0]) * sine
    return math.degrees(math.asin(sine)), math.degrees(site[1] + math.atan2(east, forward))


@compiled
def trace(
    heights: Heights, grid: Grid, site: tuple[float, float], azimuth: float, step_m: float,
    latitude: Floats, ground: Floats,
) -> int:  # fmt: skip
    """Terrain (and latitude in degrees) along a radial from site (radians): samples filled.

    Ends where the terrain ends.
    """
    north, west, step_lat, step_lon = grid
    count: int = ground.shape[0]
    lat, lon = math.degrees(site[0]), math.degrees(site[1])
    lon -= 360.0 * math.floor((lon - west + step_lon) / 360.0)
    base = lon - math.degrees(site[1])
    for first in range(0, count, ANCHOR):
        end_lat, end_lon = along(site, azimuth, (first + ANCHOR) * step_m)
        end_lon += base
        for i in range(first, min(first + ANCHOR, count)):
            share = (i - first) / ANCHOR
            latitude[i] = lat + (end_lat - lat) * share
            row = (north - latitude[i]) / step_lat
            col = (lon + (end_lon - lon) * share - west) / step_lon
            ground[i] = bilinear_m(heights, row, col)
            if math.isnan(ground[i]):
                return i
        lat, lon = end_lat, end_lon
    return count


@compiled
def free_space_db(distance_m: float, rise_m: float, wave_m: float) -> float:
    """Free-space loss over the slant distance, ITU-R P.525-4 eq. (4)."""
    slant = math.sqrt(distance_m * distance_m + rise_m * rise_m)
    return 20.0 * math.log10(4.0 * math.pi * max(slant, 1.0) / wave_m)


@compiled
def gather(polar: Floats, radial: Integers, sample: Integers, out: Heights) -> None:
    """Losses of radials back to grid cells; NaN where no radial goes."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            j = radial[r, c]
            out[r, c] = polar[j, sample[r, c]] if j >= 0 else np.nan
