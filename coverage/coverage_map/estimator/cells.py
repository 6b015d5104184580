"""The learned model over the network's own links, and its footprints per H3 cell.

A hotspot's EIRP is published, so levels are compared at one power; a link's height difference is
known too. All hotspots share one plane and one process: what one of them learned about a street
serves its neighbours. Footprints have the form that estimator.py merges into levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.cells import EARTH_RADIUS_M, Cells, centres, disk
from coverage_map.estimator.field import TRANSMIT_DBM
from coverage_map.estimator.links import OBSTACLE_DB, Links, blocks_of
from coverage_map.estimator.model import Model, Signal, fit_model, predict_links
from coverage_map.links import Link
from coverage_map.observations import Site
from coverage_map.predict import DEVICE_HEIGHT_M, FLOOR_DBM, Footprint, range_m

Floats = NDArray[np.float64]

BLOCK_M = 150.0  # a res-10 cell and its neighbours: as far from a witness as the map must reach
LINKS_MIN = 40  # fewer don't fill the blocks that calibration needs


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A model of the whole network, and the middle of its plane in degrees."""

    model: Model
    latitude_deg: float
    longitude_deg: float


def learn(sites: Mapping[int, Site], links: Sequence[Link], medians_dbm: Floats) -> Learned | None:
    """Fit to the median of every link; None while there are fewer than LINKS_MIN."""
    if len(links) < LINKS_MIN:
        return None
    senders = [sites[x.beaconer] for x in links]
    hearers = [sites[x.witness] for x in links]
    middle = np.median([(s.latitude_deg, s.longitude_deg) for s in hearers], axis=0)
    table = _links(
        senders,
        plane([(s.latitude_deg, s.longitude_deg) for s in hearers], middle),
        [s.height_m for s in hearers],
        medians_dbm,
        middle,
    )
    model = fit_model(table, blocks_of(table, BLOCK_M))
    return Learned(model, float(middle[0]), float(middle[1]))


def predict_cells(learned: Learned, site: Site, cells: Cells) -> Signal:
    """Signal of one hotspot at the centres of cells, for a device in a hand."""
    middle = np.array([learned.latitude_deg, learned.longitude_deg])
    rx_m = plane(centres(cells), middle)
    nothing = np.zeros(len(cells))
    table = _links([site] * len(cells), rx_m, nothing + DEVICE_HEIGHT_M, nothing, middle)
    found = predict_links(learned.model, table)
    return Signal(found.mean_dbm + site.eirp_cdbm / 100.0 - TRANSMIT_DBM, found.sd_db)


def learned_footprint(learned: Learned, site: Site, offset_db: float, resolution: int) -> Footprint:
    """Cells of a resolution where the hotspot's mean is above the floor; sd is calibrated."""
    cells = disk(site.latitude_deg, site.longitude_deg, range_m(site, offset_db), resolution)
    signal = predict_cells(learned, site, cells)
    audible = signal.mean_dbm >= FLOOR_DBM
    return Footprint(site.index, cells[audible], signal.mean_dbm[audible], signal.sd_db[audible])


def _links(
    senders: Sequence[Site], rx_m: Floats, rx_height_m: ArrayLike, level_dbm: Floats, middle: Floats
) -> Links:
    """Links at one EIRP; a hotspot's index is its mast and its transmitter."""
    count = len(senders)
    index = np.array([s.index for s in senders], np.int64)
    eirp_dbm = np.array([s.eirp_cdbm for s in senders], np.float64) / 100.0
    return Links(
        world=np.zeros(count, np.int64),
        mast=index,
        transmitter=index,
        tx_m=plane([(s.latitude_deg, s.longitude_deg) for s in senders], middle),
        rx_m=rx_m,
        rise_m=np.array([s.height_m for s in senders], np.float64) - np.asarray(rx_height_m),
        frequency_hz=np.array([s.frequency_mhz * 1e6 for s in senders], np.float64),
        rssi_dbm=np.asarray(level_dbm - eirp_dbm + TRANSMIT_DBM),
        obstacles=np.zeros((count, len(OBSTACLE_DB))),
        weight=np.ones(count),
    )


def plane(places_deg: ArrayLike, middle_deg: Floats) -> Floats:
    """Metres east and north of the middle, of rows (latitude, longitude)."""
    places = np.asarray(places_deg, np.float64).reshape(-1, 2)
    scale = math.radians(1.0) * EARTH_RADIUS_M
    turn = (places[:, 1] - middle_deg[1] + 180.0) % 360.0 - 180.0
    narrowing = math.cos(math.radians(float(middle_deg[0])))
    return np.column_stack((turn * scale * narrowing, (places[:, 0] - middle_deg[0]) * scale))
