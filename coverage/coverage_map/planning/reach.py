"""What a site that isn't there would reach: a footprint per H3 cell, by terrain or by statistics.

    footprint = reach(site, Method(), 10)                    # 38.901's street canyon, no terrain
    footprint = reach(site, Method("p1812", terrain), 10)    # over hills

With terrain every cell around the site is predicted by a sweep of radials (propagation/area.py) and
a hexagon takes the loss at its centre. A 20 km disc at resolution 10 is 84,000 hexagons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells, centres, disk, distance_m
from coverage_map.observations import Site
from coverage_map.predict import DEVICE_HEIGHT_M, FLOOR_DBM, Footprint, baseline_dbm
from coverage_map.propagation.area import CoverageGrid, Transmitter, compute_coverage
from coverage_map.propagation.terrain import Raster
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]
Model = Literal["statistical", "p1812", "itm", "bullington", "free_space"]
MODELS: tuple[Model, ...] = ("statistical", "p1812", "itm", "bullington", "free_space")

RADIUS_M = 20_000.0
# Of a median over terrain without buildings against drive tests; no better is assumed of any place.
TERRAIN_SIGMA_DB = 8.0
MOST_CELLS = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """How signal is predicted, and how far.

    terrain and clutter: rasters of propagation/terrain.py; every model but the statistical one
    needs terrain. floor_dbm: below it a cell is not part of the footprint.
    """

    model: Model = "statistical"
    terrain: Raster | None = None
    clutter: Raster | None = None
    radius_m: float = RADIUS_M
    floor_dbm: float = FLOOR_DBM
    device_height_m: float = DEVICE_HEIGHT_M
    offset_db: float = 0.0  # measured less predicted, of the hotspots around


def reach(site: Site, method: Method, resolution: int) -> Footprint:
    """Footprint of a site: sorted cells, mean dBm, deviation dB of a place in the cell.

    Raises ValueError that names the input for models without terrain, or a disc too large.
    """
    _refuse(method, resolution)
    radius_m = method.radius_m
    if method.model == "statistical":
        radius_m = statistical_range_m(site, method)
    cells = disk(site.latitude_deg, site.longitude_deg, radius_m, resolution)
    places = centres(cells)
    metres = distance_m(site.latitude_deg, site.longitude_deg, places[:, 0], places[:, 1])
    if method.model == "statistical":
        mean, sd = baseline_dbm(site, metres, method.device_height_m)
    else:
        mean = _over_terrain(site, method, resolution, places)
        sd = np.full(len(cells), TERRAIN_SIGMA_DB)
    mean = mean + method.offset_db
    kept = (metres <= method.radius_m) & (mean >= method.floor_dbm)
    return Footprint(site.index, cells[kept], mean[kept], sd[kept])


def _refuse(method: Method, resolution: int) -> None:
    if not method.radius_m > 0.0:
        raise InvalidInputError("radius_m", "not above zero", "give metres, such as 20000")
    if method.model not in MODELS:
        raise InvalidInputError("model", f"{method.model!r} is unknown", f"use {', '.join(MODELS)}")
    if method.model != "statistical" and method.terrain is None:
        raise InvalidInputError(
            "terrain", f"none for {method.model}", "give elevation tiles, or model statistical"
        )
    hexagon_km2 = h3.average_hexagon_area(resolution, unit="km^2")
    if np.pi * (method.radius_m / 1e3) ** 2 / hexagon_km2 > MOST_CELLS:
        raise InvalidInputError(
            "radius_m", f"over {MOST_CELLS} cells", "take a smaller disc or coarser cells"
        )


def statistical_range_m(site: Site, method: Method) -> float:
    """Distance beyond which the mean stays below the floor, at most the method's radius."""
    metres = np.geomspace(10.0, method.radius_m, 400)
    mean = baseline_dbm(site, metres, method.device_height_m)[0] + method.offset_db
    audible = np.flatnonzero(mean >= method.floor_dbm)
    if not len(audible):
        return 1.0
    return float(metres[min(int(audible[-1]) + 1, len(metres) - 1)])


def _over_terrain(site: Site, method: Method, resolution: int, places: Floats) -> Floats:
    if method.terrain is None or method.model == "statistical":
        raise InvalidInputError("terrain", "none", "give elevation tiles")
    sender = Transmitter(
        site.latitude_deg, site.longitude_deg, site.frequency_mhz * 1e6, max(site.height_m, 1.0)
    )
    width_m = h3.average_hexagon_edge_length(resolution, unit="m") * 1.5
    grid = compute_coverage(
        sender, method.terrain, method.model, method.radius_m, min(width_m, method.radius_m),
        method.device_height_m, method.clutter,
    )  # fmt: skip
    return site.eirp_cdbm / 100.0 - sample(grid, places)


def sample(grid: CoverageGrid, places: Floats) -> Floats:
    """Loss in dB at (latitude, longitude) rows, of the grid cell that holds each; inf beyond."""
    rows = np.rint((grid.north_deg - places[:, 0]) / grid.step_lat_deg).astype(np.int64)
    turn = (places[:, 1] - grid.west_deg + 180.0) % 360.0 - 180.0
    columns = np.rint(turn / grid.step_lon_deg).astype(np.int64)
    height, width = grid.loss_db.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    loss = np.full(len(places), np.inf)
    loss[inside] = grid.loss_db[rows[inside], columns[inside]]
    return np.where(np.isnan(loss), np.inf, loss)


def moved(site: Site, latitude_deg: float, longitude_deg: float) -> Site:
    """The same hotspot elsewhere."""
    return replace(site, latitude_deg=latitude_deg, longitude_deg=longitude_deg)


def cells_within(latitude_deg: float, longitude_deg: float, radius_m: float, level: int) -> Cells:
    """Sorted cells whose centre is within a radius."""
    cells = disk(latitude_deg, longitude_deg, radius_m, level)
    places = centres(cells)
    metres = distance_m(latitude_deg, longitude_deg, places[:, 0], places[:, 1])
    return np.asarray(cells[metres <= radius_m], np.uint64)
