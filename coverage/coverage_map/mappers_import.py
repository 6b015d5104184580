"""Ordinary drive tests as observations: whose signal each reading was, and what a cell's was.

A table of positions and levels (estimator_csv.py) names no hotspots. A reading belongs to the
hotspot that stands where its transmitter does; others are counted and left out. Positions become
cells of resolution 9, as for everybody who moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells, cell_at, distance_m
from coverage_map.observations import Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MATCH_M = 150.0  # between a published place (rounded to its cell) and a table's position
IMPORT_RESOLUTION = 9
SPREAD_DB = 6.0  # of a place within a cell, where one reading stands for it


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """Readings that have a hotspot: cell of resolution 9, hotspot's index, dBm; and the others."""

    cell: Cells
    hotspot: Ints
    level_dbm: Floats
    unmatched: int


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Per cell and hotspot, sorted: readings, median dBm, standard deviation dB of a place."""

    cell: Cells
    hotspot: Ints
    count: Ints
    median_dbm: Floats
    sd_db: Floats


def match_drive(
    tx_deg: Floats, rx_deg: Floats, level_dbm: Floats, sites: Mapping[int, Site]
) -> Drive:
    """Readings by hotspot; tx_deg and rx_deg are rows of latitude and longitude."""
    order = sorted(sites)
    at = np.array([(sites[k].latitude_deg, sites[k].longitude_deg) for k in order]).reshape(-1, 2)
    masts, mast_of = np.unique(np.round(tx_deg, 6), axis=0, return_inverse=True)
    owner = np.full(len(masts), -1, np.int64)
    for k, (latitude, longitude) in enumerate(masts if len(order) else ()):
        metres = distance_m(latitude, longitude, at[:, 0], at[:, 1])
        nearest = int(np.argmin(metres))
        if metres[nearest] <= MATCH_M:
            owner[k] = order[nearest]
    hotspot = owner[mast_of.reshape(-1)]
    kept = hotspot >= 0
    cell = [cell_at(float(a), float(b), IMPORT_RESOLUTION) for a, b in rx_deg[kept]]
    return Drive(
        np.array(cell, np.uint64), hotspot[kept], level_dbm[kept], int((~kept).sum())
    )  # fmt: skip


def summarise(drive: Drive) -> Heard:
    """What was heard in every cell."""
    pairs = np.column_stack((drive.cell.astype(np.int64), drive.hotspot))
    unique, group = np.unique(pairs, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.lexsort((drive.level_dbm, group))
    count = np.bincount(group, minlength=len(unique))
    start = np.cumsum(count) - count
    level = drive.level_dbm[order]
    median = 0.5 * (level[start + (count - 1) // 2] + level[start + count // 2])
    square = np.bincount(group, (drive.level_dbm - median[group]) ** 2, len(unique))
    spread = np.sqrt(square / np.maximum(count, 1) + SPREAD_DB**2 / np.maximum(count, 1))
    return Heard(
        unique[:, 0].astype(np.uint64), unique[:, 1], count, median, np.maximum(spread, 1.0)
    )  # fmt: skip
