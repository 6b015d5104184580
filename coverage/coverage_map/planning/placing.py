"""Placing k sites: candidates' footprints, kept in parts, then the choice, then what each earns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.cells import Cells, Floats, centres, parents, resolutions
from coverage_map.observations import Site
from coverage_map.planning import inputs as read
from coverage_map.planning.inputs import Values
from coverage_map.planning.memory import Memory, Tell
from coverage_map.planning.placement import make_problem, place
from coverage_map.planning.reach import Method, reach
from coverage_map.planning.scene import Service, area_km2, on_cells, rows_of
from coverage_map.planning.world import World

CORNERS = 3  # places a cell of a grid with corners has: its centre, and two corners of its own
BATCH = 200  # candidates whose footprints are kept at once
SitesRow = Callable[[World, Site, list[Site]], dict[str, Any]]


def place_sites(
    values: Values, world: World, tell: Tell, memory: Memory, row: SitesRow
) -> dict[str, Any]:
    """See processes.run_place; `row` describes a chosen site with its expected reward."""
    resolution, service = read.read_resolution(values), read.read_service(values)
    area = read.read_area(values, resolution)
    if area is None:
        raise UserError("area", "is missing", "give bbox, or lat, lon and radius_m")
    count = read.whole(values, "count", None, 1, 1_000)
    candidates = read_candidates(values, area, list(world.sites.values()))
    if count > len(candidates):
        raise UserError("count", f"over the {len(candidates)} candidates", "ask for fewer sites")
    seed = read.whole(values, "seed", 1, 0, 1 << 62)
    weight = worth(world, area, service, resolution)
    model, radius_m = read.read_model(values)
    method = world.method(model, radius_m)
    parts = [part for batch in range(0, len(candidates), BATCH) for part in footprints(
        candidates, batch, area, method, service, memory, tell)]  # fmt: skip
    problem = make_problem(parts, weight)
    found = place(problem, count, seed, tell=lambda share: tell(0.8 + 0.15 * share, "choosing"))
    tell(0.95, "rewards")
    rows, others = [], list(world.sites.values())
    for gain, number in zip(found.gains, found.chosen, strict=True):
        site = candidates[int(number)]
        rows.append({"candidate": int(number), **row(world, site, others), "adds": round(gain, 1)})
        others.append(site)
    covered = np.unique(np.concatenate([problem.covered_by(int(j)) for j in found.chosen]))
    return {
        "resolution": resolution,
        "sites": rows,
        "unit": "people" if world.population else "cells",
        "covered": round(found.covered, 1),
        "coverable_unserved": round(float(weight.sum()), 1),
        "bound": round(found.bound, 1),
        "share_of_bound": round(found.share, 4),
        "area_km2": round(area_km2(area[covered]), 4),
        "candidates": len(candidates),
        "seed": seed,
    }


def read_candidates(values: Values, area: Cells, sites: Sequence[Site] = ()) -> list[Site]:
    """Places where a site could stand: those given, or a grid of hexagons over the area.

    A grid's are in the order of their distance from the hotspots that stand: of places that serve
    as much the first is chosen, and one that nobody hears earns nothing.
    """
    given = read.read_sites(values, "candidates")
    if given:
        return given
    level = read.whole(values, "candidate_res", 9, 5, 10)
    own = int(resolutions(area[:1])[0])
    grid = np.unique(parents(area, level)) if level <= own else area
    if len(grid) > read.CANDIDATES_MAX:
        most = read.CANDIDATES_MAX
        raise UserError("candidate_res", f"over {most} candidates", "take a coarser grid")
    places = centres(grid)
    if level >= own and CORNERS * len(grid) <= read.CANDIDATES_MAX:
        places = np.concatenate((places, corners(grid)))[: read.CANDIDATES_MAX]
    radio = read.read_radio(values)
    return [
        read.read_site({"lat": float(lat), "lon": float(lon)}, radio, read.FIRST_NEW + k)
        for k, (lat, lon) in enumerate(nearest_first(places, sites))
    ]


def nearest_first(places: Floats, sites: Sequence[Site]) -> Floats:
    """Places (latitude, longitude) in the order of their distance from the nearest site."""
    from scipy.spatial import cKDTree

    if not len(sites) or not len(places):
        return places
    narrow = np.array([1.0, np.cos(np.radians(places[:, 0].mean()))])
    known = np.array([(site.latitude_deg, site.longitude_deg) for site in sites])
    away, _ = cKDTree(known * narrow).query(places * narrow)
    return np.asarray(places[np.argsort(away, kind="stable")])


def corners(grid: Cells) -> Floats:
    """Latitude and longitude of all corners of some cells, each once.

    Cells are judged at their centres. A site that reaches a little less far than the next centre
    serves one cell from a centre and three from a corner: without corners the best sites of a grid
    would be worse than where anybody drops a pin.
    """
    found = sorted({corner for cell in grid.tolist() for corner in h3.cell_to_vertexes(cell)})
    return np.array([h3.vertex_to_latlng(corner) for corner in found])


def worth(world: World, area: Cells, service: Service, resolution: int) -> NDArray[np.float64]:
    """What serving each cell is worth: its people (1 without a layer), 0 where it is served."""
    served = on_cells(world.scene(resolution), area).served(service)
    people = world.population.at(area) if world.population else np.ones(len(area))
    return np.where(served, 0.0, people)


def footprints(
    candidates: list[Site], first: int, area: Cells, method: Method, service: Service,
    memory: Memory, tell: Tell,
) -> list[NDArray[np.int32]]:  # fmt: skip
    """Cells of the area (their rows) that each of a batch of candidates would serve."""
    name, batch = f"footprints-{first}", candidates[first : first + BATCH]
    kept = memory.get(name)
    if kept is None:
        rows = [served_rows(site, area, method, service) for site in batch]
        ends = np.cumsum([len(part) for part in rows])
        joined = np.concatenate(rows) if rows else np.empty(0, np.int32)
        kept = {"rows": joined, "ends": ends}
        memory.put(name, kept)
    tell(0.8 * (first + len(batch)) / len(candidates), "footprints")
    return np.split(kept["rows"], kept["ends"][:-1])


def served_rows(
    site: Site, area: Cells, method: Method, service: Service
) -> NDArray[np.int32]:
    """Rows of the area that a site serves."""
    from scipy.special import ndtri

    resolution = int(resolutions(area[:1])[0])
    footprint = reach(site, method, resolution)
    margin = float(ndtri(service.probability))
    good = footprint.mean_dbm - margin * footprint.sd_db >= service.threshold_dbm
    at, inside = rows_of(area, footprint.cells)
    return np.asarray(at[inside & good], np.int32)
