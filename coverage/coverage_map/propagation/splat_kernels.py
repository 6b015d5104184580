"""SPLAT!'s way over a terrain, compiled: radials to the mosaic's edge, ITM per cell.

Reproduced as facts of that program, because its coverage rasters are what people compare with:
3959 statute miles of earth radius; 68755 (or 206265) samples a radian counted on a plane; nearest
grid points; clutter on every point but the radial's two ends and on none at sea level; the
receiver taken one sample before the cell it stands for; the first radial to reach a cell wins.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.itm_regions import Radio
from coverage_map.propagation.itm_sweep import Radial, link_to, open_radial

Floats = NDArray[np.float64]
Heights = NDArray[np.float32]

MILES_EARTH = 3959.0
METRES_PER_MILE = 1609.344
METRES_PER_FOOT = 0.3048
FEET_PER_METRE = 3.28084  # SPLAT's, so that metres come back a shade changed
LONGEST = 6000  # samples of a radial
OUTSIDE_FEET = -5000.0


@compiled
def separation(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle angle by the cosine rule; radians."""
    cosine = math.sin(lat1) * math.sin(lat2)
    cosine += math.cos(lat1) * math.cos(lat2) * math.cos(lon1 - lon2)
    return math.acos(min(max(cosine, -1.0), 1.0))


@compiled
def bearing(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Azimuth in radians, clockwise from north; longitudes count westwards."""
    beta = separation(lat1, lon1, lat2, lon2)
    cosine = math.sin(lat2) - math.sin(lat1) * math.cos(beta)
    cosine /= math.cos(lat1) * math.sin(beta)
    azimuth = math.acos(min(max(cosine, -1.0), 1.0))
    turn = lon2 - lon1
    turn += 2.0 * math.pi if turn <= -math.pi else 0.0
    turn -= 2.0 * math.pi if turn >= math.pi else 0.0
    return 2.0 * math.pi - azimuth if turn > 0.0 else azimuth


@compiled
def step_along(
    lat1: float, lon1: float, azimuth: float, beta: float
) -> tuple[float, float]:
    """Latitude and longitude (west) after an angle beta along an azimuth; radians."""
    lat = math.asin(
        math.sin(lat1) * math.cos(beta) + math.cos(azimuth) * math.sin(beta) * math.cos(lat1)
    )
    ratio = math.cos(beta) - math.sin(lat1) * math.sin(lat)
    ratio /= math.cos(lat1) * math.cos(lat)
    if abs(ratio) > 1.0:
        return lat, lon1
    swing = math.acos(ratio)
    lon = lon1 - swing if azimuth <= math.pi else lon1 + swing
    lon += 2.0 * math.pi if lon < 0.0 else 0.0
    lon -= 2.0 * math.pi if lon > 2.0 * math.pi else 0.0
    return lat, lon


@compiled
def cell_of(
    lat: float, lon: float, north: float, west: float, per_degree: float
) -> tuple[int, int]:
    """Row (from south) and column (from west) of a place in degrees, longitudes westwards."""
    apart = west - lon
    apart += 360.0 if apart <= -180.0 else 0.0
    apart -= 360.0 if apart >= 180.0 else 0.0
    return int(np.rint(per_degree * (lat - north))), int(np.rint(per_degree * apart))


@compiled
def height_feet(heights: Heights, row: int, col: int) -> float:
    """Height in feet of a cell, rows counted from the south; -5000 outside."""
    if row < 0 or col < 0 or row >= heights.shape[0] or col >= heights.shape[1]:
        return OUTSIDE_FEET
    return float(FEET_PER_METRE * heights[heights.shape[0] - 1 - row, col])


@compiled
def sample_count(lat1: float, lon1: float, lat2: float, lon2: float, per_degree: float) -> float:
    """Samples between two places: their differences in latitude and longitude, on a plane."""
    per_radian = 206265.0 if per_degree == 3600.0 else 68755.0
    across = per_radian * math.acos(math.cos(lon1 - lon2))
    along = per_radian * math.acos(math.cos(lat1 - lat2))
    return math.sqrt(across * across + along * along)


@compiled
def walk(
    heights: Heights, corner: tuple[float, float, float], site: tuple[float, float],
    edge: tuple[float, float], clutter_feet: float, reach_miles: float,
    profile: Floats, cells: NDArray[np.int64],
) -> tuple[int, float]:  # fmt: skip
    """Heights in m (clutter on) and cells along a radial: (samples, miles between them).

    Stops at the reach or one sample before the edge; places in degrees, longitudes westwards.
    """
    south, west, per_degree = corner
    lat1, lon1 = math.radians(site[0]), math.radians(site[1])
    lat2, lon2 = math.radians(edge[0]), math.radians(edge[1])
    total = MILES_EARTH * separation(lat1, lon1, lat2, lon2)
    azimuth = bearing(lat1, lon1, lat2, lon2)
    step = total / sample_count(lat1, lon1, lat2, lon2, per_degree)
    count = 0
    while count < LONGEST and step * count <= min(total, reach_miles):
        lat, lon = step_along(lat1, lon1, azimuth, step * count / MILES_EARTH)
        row, col = cell_of(math.degrees(lat), math.degrees(lon), south, west, per_degree)
        feet = height_feet(heights, row, col)
        raised = clutter_feet if count > 0 and feet != 0.0 else 0.0
        profile[count] = (feet + raised) * METRES_PER_FOOT
        cells[count, 0], cells[count, 1] = row, col
        count += 1
    return count, step


@compiled
def sweep(
    heights: Heights, corner: tuple[float, float, float], site: tuple[float, float],
    edges: Floats, radio: Radio, antennas_m: tuple[float, float], clutter_feet: float,
    reach_miles: float, radial: Radial, loss_db: Floats,
) -> int:  # fmt: skip
    """ITM loss in dB of every cell that a radial reaches, into `loss_db` (NaN: not reached).

    Returns how many cells were computed. `loss_db` has its rows from north to south.
    """
    profile, cells = np.empty(LONGEST), np.empty((LONGEST, 2), np.int64)
    rows, cols = loss_db.shape
    done = 0
    for k in range(edges.shape[0]):
        edge = (edges[k, 0], edges[k, 1])
        count, step = walk(
            heights, corner, site, edge, clutter_feet, reach_miles, profile, cells
        )
        spacing = METRES_PER_MILE * step
        open_radial(radial, profile[:count], spacing, antennas_m[0])
        for y in range(2, count):
            row, col = rows - 1 - cells[y, 0], cells[y, 1]
            if row < 0 or col < 0 or row >= rows or col >= cols:
                continue
            if not math.isnan(loss_db[row, col]):
                continue
            link = link_to(radio, radial, y - 1, profile[y - 1], spacing, antennas_m)
            loss_db[row, col] = link.loss_db if link.code == 0 else np.inf
            done += 1
    return done
