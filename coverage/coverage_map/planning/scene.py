"""Who serves which cell how well: what every planning question starts from.

A scene has, per sorted H3 cell, the strongest hotspots with their levels (measured where the map
has measured, predicted elsewhere), and what is said of it follows: served at a threshold or not,
best server, overlap, interference. Adding or removing a hotspot makes another scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from coverage_map.cells import Cells
from coverage_map.estimator.core import merge_footprints
from coverage_map.observations import Site
from coverage_map.predict import Footprint
from coverage_map.snapshot import NO_SERVER, SERVERS, Level

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

THRESHOLD_DBM = -82.0
NOISE_DBM = -95.0  # thermal noise of 20 MHz and 6 dB of a receiver's own
QUIET_DBM = -300.0
AREA_SAMPLES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """When a cell counts as served: the signal is above the threshold with this probability."""

    threshold_dbm: float = THRESHOLD_DBM
    probability: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Columns by sorted cell: servers [n, SERVERS] strongest first, their dBm, deviation dB.

    NO_SERVER and NaN where there is none. measured: the best server's level was measured.
    """

    resolution: int
    cells: Cells
    servers: Ints
    servers_dbm: Floats
    sd_db: Floats
    measured: Flags

    def __len__(self) -> int:
        return len(self.cells)

    def best_dbm(self) -> Floats:
        """Level of the best server; NaN where nobody is heard."""
        return self.servers_dbm[:, 0]

    def served(self, service: Service) -> Flags:
        """Where the best server alone reaches the threshold with the wanted probability."""
        margin = float(ndtri(service.probability))
        return np.asarray(self.best_dbm() - margin * self.sd_db >= service.threshold_dbm)

    def overlap(self, service: Service) -> Ints:
        """How many hotspots reach the threshold, at most SERVERS."""
        return np.asarray((self.servers_dbm >= service.threshold_dbm).sum(axis=1), np.int64)

    def sinr_db(self, frequency_mhz: Mapping[int, int], noise_dbm: float = NOISE_DBM) -> Floats:
        """Best server over noise and all others on its channel, as if all sent at once."""
        known = np.array([*sorted(frequency_mhz), NO_SERVER], np.int64)
        channel = np.array([*(frequency_mhz[k] for k in sorted(frequency_mhz)), 0], np.int64)
        order = np.argsort(known)
        place = np.clip(np.searchsorted(known[order], self.servers), 0, len(known) - 1)
        own = np.where(known[order][place] == self.servers, channel[order][place], 0)
        power = 10.0 ** (np.where(np.isnan(self.servers_dbm), QUIET_DBM, self.servers_dbm) / 10.0)
        rivals = np.where((own == own[:, :1]) & (own > 0), power, 0.0)[:, 1:].sum(axis=1)
        return np.asarray(self.best_dbm() - 10.0 * np.log10(rivals + 10.0 ** (noise_dbm / 10.0)))


def empty_scene(resolution: int) -> Scene:
    """A place without hotspots."""
    none = np.empty((0, SERVERS))
    flat = np.empty(0)
    return Scene(
        resolution, flat.astype(np.uint64), none.astype(np.int64), none, flat, flat.astype(np.bool_)
    )


def scene_of(footprints: Iterable[Footprint], resolution: int) -> Scene:
    """Scene of predictions alone."""
    found = merge_footprints(footprints, 1.0)
    return Scene(
        resolution, found.cells, found.servers, found.servers_dbm, found.sd_db,
        np.zeros(len(found.cells), np.bool_),
    )  # fmt: skip


def scene_of_level(level: Level) -> Scene:
    """Scene of a snapshot's level: what was measured replaces what was predicted for its server."""
    predicted = Scene(
        level.resolution, level.cells, level.servers, level.servers_dbm, level.predicted_sd_db,
        np.zeros(len(level), np.bool_),
    )  # fmt: skip
    rows = level.measured
    return overlaid(
        predicted, level.cells[rows], level.measured_server[rows], level.measured_p50_dbm[rows],
        level.measured_sd_db[rows],
    )  # fmt: skip


def overlaid(scene: Scene, cells: Cells, server: Ints, level_dbm: Floats, sd_db: Floats) -> Scene:
    """The scene with measured cells (sorted) on top: the measured server is first there.

    It stays first, as on the map, even where another hotspot is predicted to be stronger.
    """
    wide = on_cells(scene, np.union1d(scene.cells, cells).astype(np.uint64))
    rows = np.searchsorted(wide.cells, cells)
    servers, levels = wide.servers.copy(), wide.servers_dbm.copy()
    sd, measured = wide.sd_db.copy(), wide.measured.copy()
    same = servers[rows] == server[:, None]
    place = np.where(same.any(axis=1), same.argmax(axis=1), SERVERS - 1)
    servers[rows, place], levels[rows, place] = server, level_dbm
    sd[rows], measured[rows] = sd_db, True
    first = np.zeros(levels.shape, np.bool_)
    first[rows, place] = True
    servers, levels = _ordered(servers, levels, first)
    return replace(wide, servers=servers, servers_dbm=levels, sd_db=sd, measured=measured)


def _ordered(servers: Ints, levels: Floats, first: Flags | None = None) -> tuple[Ints, Floats]:
    """Rows by level, strongest first; equal ones by index, those without a server last."""
    rank = np.where(np.isnan(levels), QUIET_DBM, levels)
    if first is not None:
        rank = np.where(first, 1e3, rank)
    order = np.lexsort((servers, -rank), axis=1)
    return np.take_along_axis(servers, order, 1), np.take_along_axis(levels, order, 1)


def rows_of(cells: Cells, wanted: Cells) -> tuple[NDArray[np.intp], Flags]:
    """Where wanted cells stand in a sorted column, and which of them do."""
    if not len(cells):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    return at, cells[at] == wanted


def on_cells(scene: Scene, wanted: Cells) -> Scene:
    """The scene of exactly these sorted cells; unknown ones have no server."""
    at, there = rows_of(scene.cells, wanted)
    size = (len(wanted), SERVERS)
    servers, levels = np.full(size, NO_SERVER, np.int64), np.full(size, np.nan)
    sd, measured = np.full(len(wanted), np.nan), np.zeros(len(wanted), np.bool_)
    servers[there], levels[there] = scene.servers[at[there]], scene.servers_dbm[at[there]]
    sd[there], measured[there] = scene.sd_db[at[there]], scene.measured[at[there]]
    return replace(
        scene, cells=wanted, servers=servers, servers_dbm=levels, sd_db=sd, measured=measured
    )  # fmt: skip


def joined(scene: Scene, footprint: Footprint) -> Scene:
    """The scene with one more hotspot, whose weakest rival drops out of full rows."""
    wide = on_cells(scene, np.union1d(scene.cells, footprint.cells).astype(np.uint64))
    at = np.searchsorted(wide.cells, footprint.cells)
    level, sd = np.full(len(wide), np.nan), wide.sd_db.copy()
    level[at] = footprint.mean_dbm
    newly = level > np.where(np.isnan(wide.best_dbm()), -np.inf, wide.best_dbm())
    sd[at] = np.where(newly[at], footprint.sd_db, sd[at])
    who = np.where(np.isnan(level), NO_SERVER, footprint.server)
    servers, levels = _ordered(
        np.column_stack((wide.servers, who)), np.column_stack((wide.servers_dbm, level))
    )
    return replace(
        wide, servers=servers[:, :SERVERS], servers_dbm=levels[:, :SERVERS], sd_db=sd,
        measured=wide.measured & ~newly,
    )  # fmt: skip


def without(scene: Scene, server: int, sd_db: float) -> Scene:
    """The scene without a hotspot; where it was best the next one's deviation is `sd_db`."""
    its = scene.servers == server
    levels = np.where(its, np.nan, scene.servers_dbm)
    servers, levels = _ordered(np.where(its, NO_SERVER, scene.servers), levels)
    was = its[:, 0]
    sd = np.where(was, np.where(np.isnan(levels[:, 0]), np.nan, sd_db), scene.sd_db)
    return replace(
        scene, servers=servers, servers_dbm=levels, sd_db=sd, measured=scene.measured & ~was
    )  # fmt: skip


def channels(sites: Iterable[Site]) -> dict[int, int]:
    """Channel in MHz by hotspot."""
    return {site.index: site.frequency_mhz for site in sites}


def area_km2(cells: Cells) -> float:
    """Area of cells of one resolution; their mean is taken from an even sample."""
    if not len(cells):
        return 0.0
    picked = cells[np.linspace(0, len(cells) - 1, min(AREA_SAMPLES, len(cells))).astype(np.int64)]
    mean = sum(h3.cell_area(int(cell), unit="km^2") for cell in picked) / len(picked)
    return float(mean * len(cells))
