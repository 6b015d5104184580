"""What stands on the ground: footprints of buildings and woods, and the clutter they make.

Two uses. On one path `raise_profile` is exact: every footprint that the path crosses counts, even
one narrower than the points' spacing. Over an area `clutter_on` puts heights on a terrain grid,
for which the grid must be as fine as the buildings (`refine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from coverage_map.propagation.profile import Profile, make_profile
from coverage_map.propagation.terrain import Raster, heights_at_m, make_raster

Floats = NDArray[np.float64]

STOREY_M = 3.0  # where a map counts floors instead of metres
# Representative clutter heights by ground cover, ITU-R P.1812-8 table 2.
CLUTTER_HEIGHT_M = {
    "water": 0.0,
    "open": 0.0,
    "suburban": 10.0,
    "urban": 15.0,
    "trees": 15.0,
    "dense_urban": 20.0,
}
HEIGHT_PROPERTIES = ("height", "building:height", "height_m")
LEVEL_PROPERTIES = ("building:levels", "levels")


@dataclass(frozen=True, slots=True)
class Footprints:
    """Polygons in degrees (longitude, latitude) with heights above ground in m, and their index."""

    shapes: NDArray[np.object_]
    heights_m: Floats
    tree: shapely.STRtree


def make_footprints(shapes: Sequence[Any], heights_m: Sequence[float]) -> Footprints:
    """Index polygons; ValueError for heights that are none. Broken outlines are mended."""
    heights = np.asarray(heights_m, np.float64)
    polygons: NDArray[np.object_] = np.asarray(shapes, object)
    if len(polygons) != len(heights):
        raise ValueError("heights_m: not one per shape; give each footprint its height")
    if not bool(np.all(np.isfinite(heights) & (heights >= 0.0))):
        raise ValueError("heights_m: negative or not finite; give metres above ground")
    if len(polygons):
        polygons = np.where(shapely.is_valid(polygons), polygons, shapely.make_valid(polygons))
    return Footprints(polygons, heights, shapely.STRtree(polygons))


def footprints_of_geojson(collection: Mapping[str, Any], default_m: float = 6.0) -> Footprints:
    """Polygons of a GeoJSON FeatureCollection (RFC 7946), such as OpenStreetMap's buildings.

    Height from `height` in m or `building:levels`; `default_m` where a feature says neither.
    Features that are no polygons are passed over. Raises ValueError for what is no collection.
    """
    features = collection.get("features")
    if not isinstance(features, list):
        raise ValueError("features: no list; give a GeoJSON FeatureCollection")
    shapes, heights = [], []
    for feature in features:
        geometry = feature.get("geometry") or {}
        if geometry.get("type") in ("Polygon", "MultiPolygon"):
            shapes.append(shapely.from_geojson(_json(geometry)))
            heights.append(height_of(feature.get("properties") or {}, default_m))
    return make_footprints(shapes, heights)


def _json(geometry: Mapping[str, Any]) -> str:
    import json

    return json.dumps(geometry)


def height_of(properties: Mapping[str, Any], default_m: float) -> float:
    """A feature's height in m: "12", "12 m" or 12 in a height, or floors of 3 m."""
    for names, unit in ((HEIGHT_PROPERTIES, 1.0), (LEVEL_PROPERTIES, STOREY_M)):
        for name in names:
            number = _number(properties.get(name))
            if number is not None:
                return number * unit
    return default_m


def _number(value: object) -> float | None:
    try:
        number = float(str(value).removesuffix("m").strip())
    except ValueError:
        return None
    return number if np.isfinite(number) and number >= 0.0 else None


def raise_profile(
    profile: Profile,
    start_deg: tuple[float, float],
    end_deg: tuple[float, float],
    footprints: Footprints,
) -> Profile:
    """The profile with every crossed footprint on it; places are (latitude, longitude).

    Inner points within a footprint get its height, or at least the one nearest to its middle. The
    ends stay as they are: an antenna's height is told above its own ground.
    """
    line = shapely.LineString([start_deg[::-1], end_deg[::-1]])
    share = profile.distance_m / profile.distance_m[-1]
    clutter = profile.clutter_m.copy()
    for k in footprints.tree.query(line, predicate="intersects"):
        height = footprints.heights_m[k]
        for first, last in _spans(line, footprints.shapes[k]):
            inside = np.flatnonzero((share >= first) & (share <= last))
            inside = inside[(inside > 0) & (inside < len(share) - 1)]
            if len(inside) == 0:
                nearest = int(np.argmin(np.abs(share - 0.5 * (first + last))))
                inside = np.array([min(max(nearest, 1), len(share) - 2)])
            clutter[inside] = np.maximum(clutter[inside], height)
    return make_profile(profile.distance_m, profile.ground_m, clutter, profile.zones)


def _spans(line: Any, shape: Any) -> list[tuple[float, float]]:
    """Shares of a line between which it lies within a shape."""
    parts = shapely.get_parts(shapely.intersection(line, shape))
    spans = []
    for part in parts:
        ends = shapely.get_coordinates(part)
        at = shapely.line_locate_point(line, shapely.points(ends), normalized=True)
        spans.append((float(at.min()), float(at.max())))
    return spans


def clutter_on(terrain: Raster, footprints: Footprints, base: Raster | None = None) -> Raster:
    """Clutter heights on the terrain's grid: the highest footprint over each point, or `base`."""
    if base is not None and base.heights_m.shape != terrain.heights_m.shape:
        raise ValueError("base: not on the terrain's grid; resample it first")
    heights = np.zeros_like(terrain.heights_m) if base is None else base.heights_m.copy()
    for shape, height in zip(footprints.shapes, footprints.heights_m, strict=True):
        west, south, east, north = shapely.bounds(shape)
        rows = _range(terrain.north_deg - north, terrain.north_deg - south, terrain.step_lat_deg)
        cols = _range(west - terrain.west_deg, east - terrain.west_deg, terrain.step_lon_deg)
        window = heights[rows, cols]
        if window.size:
            r, c = np.meshgrid(_indices(rows), _indices(cols), indexing="ij")
            lon = terrain.west_deg + c[: window.shape[0], : window.shape[1]] * terrain.step_lon_deg
            lat = terrain.north_deg - r[: window.shape[0], : window.shape[1]] * terrain.step_lat_deg
            over = shapely.intersects_xy(shape, lon, lat)
            np.copyto(window, np.maximum(window, np.float32(height)), where=over)
    return replace(terrain, heights_m=heights)


def _range(low_deg: float, high_deg: float, step_deg: float) -> slice:
    """Grid points within an interval, as a slice that starts no earlier than 0."""
    first, last = int(np.ceil(low_deg / step_deg - 1e-9)), int(np.floor(high_deg / step_deg + 1e-9))
    return slice(max(first, 0), max(last + 1, 0))


def _indices(span: slice) -> NDArray[np.int64]:
    return np.arange(span.start, span.stop)


def refine(terrain: Raster, factor: int) -> Raster:
    """The same terrain on a grid `factor` times as fine, bilinear."""
    if factor < 1:
        raise ValueError("factor: below 1; give how many steps one step becomes")
    rows, cols = ((n - 1) * factor + 1 for n in terrain.heights_m.shape)
    step_lat, step_lon = terrain.step_lat_deg / factor, terrain.step_lon_deg / factor
    lat = terrain.north_deg - np.arange(rows) * step_lat
    lon = terrain.west_deg + np.arange(cols) * step_lon
    heights = heights_at_m(terrain, lat[:, None], lon[None, :])
    return make_raster(heights, terrain.north_deg, terrain.west_deg, step_lat, step_lon)
