"""A city of our own making: a place that is on no map, laid out by its seed.

Blocks of 130 by 85 m in a grid that the coast has turned by 23 degrees, a river with no house on
it, a park, and a density that halves from the market to the edge. Hotspots stand on block fronts,
most at window height, some on roofs. Its size follows the number of hotspots, so that a beacon is
heard by about ten others in a city of any size. Owners near each other link up; a handful of
houses have fibre between them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree

from radio_sim.draws import draw_below, draw_u64, draw_uniform
from radio_sim.scenario import HotspotSite, PublishedLink, Scenario

CENTRE_LAT, CENTRE_LON = 45.0, -30.0  # mid-Atlantic
HOTSPOTS_PER_KM2 = 11.0
PER_KM2_MAX = 60.0
SPACING_M = 90.0  # two hotspots nearer than 50 m count as one site
BLOCK_M = (130.0, 85.0)
TURN_RAD = math.radians(23.0)
RIVER_WIDTH_M = 110.0
PARK_SHARE = 0.14  # radius of the park, of the city's
LINK_RANGE_M = 420.0
LINKS_PER_HOTSPOT = 3
METRES_PER_DEGREE = math.pi / 180.0 * 6_371_007.18

Point = tuple[float, float]

QUARTERS = ("market", "harbour", "mill", "park", "hill", "station", "canal", "tower")


def make_city(
    hotspots: int = 60, seed: int = 1, *, per_km2: float = HOTSPOTS_PER_KM2
) -> Scenario:
    """Lay out a city with this many hotspots; the same arguments give the same city.

    ValueError above 60 hotspots per km2: so many don't find fronts `SPACING_M` apart.
    """
    if not 0.0 < per_km2 <= PER_KM2_MAX:
        raise ValueError(f"per_km2: {per_km2:g} hotspots per km2; use up to {PER_KM2_MAX:g}")
    root = draw_u64(seed, "city")
    radius_m = 1000.0 * math.sqrt(hotspots / per_km2 / math.pi)
    points = _place(root, hotspots, radius_m)
    sites = tuple(_site(root, number, point) for number, point in enumerate(points))
    names = [site.name for site in sites]
    return Scenario(
        name=f"city-{hotspots}-{seed}" + (f"-{per_km2:g}" if per_km2 != HOTSPOTS_PER_KM2 else ""),
        hotspots=sites,
        links=tuple(
            _link(root, names, a, b, math.dist(points[a], points[b]))
            for a, b in sorted(_neighbour_links(points))
        ),
        description=f"A seeded city of {hotspots} hotspots (seed {seed}) in mid-ocean.",
        source="made by Wavecomb",
    )


def _place(root: int, hotspots: int, radius_m: float) -> list[Point]:
    """Draw block fronts until enough of them stand apart, on dry land, and where people live."""
    points: list[Point] = []
    taken: dict[tuple[int, int], list[Point]] = {}
    trial = 0
    while len(points) < hotspots:
        trial += 1
        distance = math.sqrt(draw_uniform(root, "radius", trial))
        angle = 2.0 * math.pi * draw_uniform(root, "angle", trial)
        wanted = draw_uniform(root, "density", trial) < 1.0 - 0.5 * distance
        spot = (radius_m * distance * math.cos(angle), radius_m * distance * math.sin(angle))
        point = _block_front(root, trial, spot)
        if wanted and _is_built(point, radius_m) and _is_apart(point, taken):
            points.append(point)
            taken.setdefault(_bucket(point), []).append(point)
    return points


def _block_front(root: int, trial: int, spot: Point) -> Point:
    """Move a spot to the nearest street of its block, in the turned grid."""
    cosine, sine = math.cos(TURN_RAD), math.sin(TURN_RAD)
    u, v = spot[0] * cosine + spot[1] * sine, spot[1] * cosine - spot[0] * sine
    if draw_below(2, root, "front", trial):
        u = round(u / BLOCK_M[0]) * BLOCK_M[0]
    else:
        v = round(v / BLOCK_M[1]) * BLOCK_M[1]
    return (u * cosine - v * sine, u * sine + v * cosine)


def _is_built(point: Point, radius_m: float) -> bool:
    x, y = point
    river_y = 0.35 * radius_m + 0.12 * radius_m * math.sin(3.0 * x / radius_m)
    park = (-0.4 * radius_m, -0.35 * radius_m)
    return abs(y - river_y) > RIVER_WIDTH_M / 2 and math.dist(point, park) > PARK_SHARE * radius_m


def _bucket(point: Point) -> tuple[int, int]:
    return (math.floor(point[0] / SPACING_M), math.floor(point[1] / SPACING_M))


def _is_apart(point: Point, taken: dict[tuple[int, int], list[Point]]) -> bool:
    column, row = _bucket(point)
    near = (
        other
        for u in (column - 1, column, column + 1)
        for v in (row - 1, row, row + 1)
        for other in taken.get((u, v), ())
    )
    return all(math.dist(point, other) >= SPACING_M for other in near)


def _site(root: int, number: int, point: Point) -> HotspotSite:
    roof = draw_uniform(root, "roof", number) < 0.2
    height = 14.0 + 10.0 * draw_uniform(root, "height", number) if roof else 4.0 + 6.0 * (
        draw_uniform(root, "height", number)
    )
    roles = ("access", "relay", "provider") if number % 12 == 7 else ("access", "relay")
    return HotspotSite(
        name=f"{QUARTERS[_sector(point)]}-{number + 1}",
        lat=round(CENTRE_LAT + point[1] / METRES_PER_DEGREE, 6),
        lon=round(
            CENTRE_LON + point[0] / METRES_PER_DEGREE / math.cos(math.radians(CENTRE_LAT)), 6
        ),
        height_m=round(height, 1),
        eirp_dbm=20.0,
        gain_dbi=5.0 if roof else 3.0,
        roles=roles,
    )


def _sector(point: Point) -> int:
    return int((math.atan2(point[1], point[0]) + math.pi) / (2.0 * math.pi) * 8) % 8


def _neighbour_links(points: list[Point]) -> set[tuple[int, int]]:
    """Link each hotspot to its nearest, and every island of the mesh to the nearest land."""
    spots = np.array(points)
    reach = min(LINKS_PER_HOTSPOT + 1, len(points))
    distance, near = cKDTree(spots).query(spots, [*range(2, reach + 1)], LINK_RANGE_M)
    links = {
        (min(a, b), max(a, b))
        for a, (lengths, others) in enumerate(zip(distance.tolist(), near.tolist(), strict=True))
        for length, b in zip(lengths, others, strict=True)
        if math.isfinite(length)
    }
    group = np.array(_groups(len(points), links))
    while (outside := np.flatnonzero(group != group[0])).size:
        inside = np.flatnonzero(group == group[0])
        length, nearest = cKDTree(spots[inside]).query(spots[outside])
        closest = int(np.argmin(length))
        a, b = int(outside[closest]), int(inside[nearest[closest]])
        links.add((min(a, b), max(a, b)))
        group[group == group[a]] = group[0]
    return links


def _groups(count: int, links: set[tuple[int, int]]) -> list[int]:
    """Label hotspots by the connected part of the mesh that they are in."""
    parent = list(range(count))

    def root_of(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        parent[max(root_of(a), root_of(b))] = min(root_of(a), root_of(b))
    return [root_of(node) for node in range(count)]


def _link(root: int, names: list[str], a: int, b: int, distance_m: float) -> PublishedLink:
    if draw_uniform(root, "fibre", a, b) < 0.04:
        return PublishedLink(names[a], names[b], "wired")
    fading = 0.2 * draw_uniform(root, "quality", a, b)
    quality = min(1.0, max(0.3, 1.08 - distance_m / 1200.0 - fading))
    return PublishedLink(names[a], names[b], "wireless", round(quality, 3))
