"""Where to drive next: the map's own measurements say where it is least sure.

Measured cells become links (best server to the cell's middle), a field is fitted to them, and
mappers.plan_drive picks the places that take most uncertainty off the area.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.cells import Cells, centres, distance_m, parents, text_of
from coverage_map.estimator.cells import plane
from coverage_map.estimator.field import TRANSMIT_DBM, bounded, fit_field
from coverage_map.estimator.kernels import Scales, make_frame
from coverage_map.estimator.links import OBSTACLE_DB, Links, blocks_of, join_links
from coverage_map.mappers import PLACES_MAX, plan_drive
from coverage_map.observations import Site
from coverage_map.planning import inputs as read
from coverage_map.planning.inputs import Values
from coverage_map.planning.memory import Memory, Tell
from coverage_map.planning.scene import Scene, on_cells
from coverage_map.planning.world import World
from coverage_map.predict import DEVICE_HEIGHT_M

Floats = NDArray[np.float64]

MAPPED_RESOLUTION = 9  # what a mapper's report names
BLOCK_M = 300.0
LINKS_MIN = 8  # fewer say nothing of scales: those of the literature stay
WANTED_MAX = PLACES_MAX * 2 // 3


def drive_next(values: Values, world: World, tell: Tell, _: Memory) -> dict[str, Any]:
    """The `count` cells of resolution 9 to drive to, best first, and what each takes off the map.

    removed_db2: variance of the signal over the area's cells that one reading there removes.
    """
    area = read.read_area(values, MAPPED_RESOLUTION)
    if area is None:
        raise UserError("area", "is missing", "give bbox, or lat, lon and radius_m")
    count = read.whole(values, "count", 10, 1, 500)
    if not world.sites:  # there is nothing to hear
        return {"resolution": MAPPED_RESOLUTION, "measured_cells": 0, "stops": [],
                "mean_sd_before_db": None, "mean_sd_after_db": None}  # fmt: skip
    scene = world.scene(MAPPED_RESOLUTION)
    middle = centres(area).mean(axis=0)
    known = links_of_scene(scene, world.sites, middle)
    tell(0.1, "learning")
    wanted = links_to(thinned(area), scene, world.sites, middle)
    frame = make_frame(join_links(known, wanted))
    links, groups = bounded(known, blocks_of(known, BLOCK_M))
    field = fit_field(links, groups, _scales(known), frame)
    offered = thinned(area, PLACES_MAX - len(wanted))
    candidates = links_to(offered, scene, world.sites, middle)
    tell(0.5, "planning")
    found = plan_drive(field, wanted, candidates, min(count, len(candidates)))
    before = found.left_db2 + float(found.removed_db2.sum())
    places = centres(offered)
    return {
        "resolution": MAPPED_RESOLUTION,
        "measured_cells": int(scene.measured.sum()),
        "mean_sd_before_db": round(float(np.sqrt(before / len(wanted))), 2),
        "mean_sd_after_db": round(float(np.sqrt(found.left_db2 / len(wanted))), 2),
        "stops": [
            {"h3": text_of(int(offered[k])), "lat": round(float(places[k, 0]), 6),
             "lon": round(float(places[k, 1]), 6), "removed_db2": round(float(gain), 1)}
            for k, gain in zip(found.chosen, found.removed_db2, strict=True)
        ],
    }  # fmt: skip


def _scales(known: Links) -> Scales | None:
    return None if len(known) >= LINKS_MIN else Scales()


def thinned(cells: Cells, most: int = WANTED_MAX) -> Cells:
    """Evenly chosen cells, at most so many."""
    if len(cells) <= most:
        return cells
    return np.asarray(cells[np.linspace(0, len(cells) - 1, most).astype(np.int64)])


def links_of_scene(scene: Scene, sites: Mapping[int, Site], middle: Floats) -> Links:
    """A link per measured cell; one faint made-up link where nothing was measured at all."""
    rows = [k for k in np.flatnonzero(scene.measured) if int(scene.servers[k, 0]) in sites]
    cells = scene.cells[rows]
    level = scene.best_dbm()[rows]
    senders = [sites[int(scene.servers[k, 0])] for k in rows]
    if not rows:
        first = sites[min(sites)]
        cells = parents(np.array([first.cell or 0], np.uint64), MAPPED_RESOLUTION)[:0]
        return _table([first], centres(cells), np.empty(0), middle, first)
    return _table(senders, centres(cells), level, middle, None)


def links_to(cells: Cells, scene: Scene, sites: Mapping[int, Site], middle: Floats) -> Links:
    """A link to each cell from its best server, or from the nearest hotspot where none is heard."""
    inside = on_cells(scene, cells)
    places = centres(cells)
    order = sorted(sites)
    at = np.array([(sites[k].latitude_deg, sites[k].longitude_deg) for k in order])
    nearest = np.array([
        int(np.argmin(distance_m(lat, lon, at[:, 0], at[:, 1]))) for lat, lon in places
    ])  # fmt: skip
    best = inside.servers[:, 0]
    senders = [
        sites[int(best[k])] if int(best[k]) in sites else sites[order[nearest[k]]]
        for k in range(len(cells))
    ]
    return _table(senders, places, np.zeros(len(cells)), middle, None)


def _table(
    senders: list[Site], places: Floats, level_dbm: Floats, middle: Floats, lonely: Site | None
) -> Links:
    """Links at one EIRP, as estimator_cells makes them of the network's own."""
    if lonely is not None:
        places = np.array([[lonely.latitude_deg, lonely.longitude_deg]])
        level_dbm = np.array([lonely.eirp_cdbm / 100.0 - 40.0])
    count = len(senders)
    index = np.array([s.index for s in senders], np.int64)
    eirp = np.array([s.eirp_cdbm / 100.0 for s in senders])
    return Links(
        world=np.zeros(count, np.int64), mast=index, transmitter=index,
        tx_m=plane([(s.latitude_deg, s.longitude_deg) for s in senders], middle),
        rx_m=plane(places, middle),
        rise_m=np.array([s.height_m - DEVICE_HEIGHT_M for s in senders], np.float64),
        frequency_hz=np.array([s.frequency_mhz * 1e6 for s in senders], np.float64),
        rssi_dbm=np.asarray(level_dbm - eirp + TRANSMIT_DBM),
        obstacles=np.zeros((count, len(OBSTACLE_DB))), weight=np.ones(count),
    )  # fmt: skip
