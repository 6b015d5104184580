"""The running map as a world for planning jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.bounties import due_by_cell
from coverage_map.io_sync import Sync
from coverage_map.planning.io_jobs import Jobs
from coverage_map.planning.io_population import read_population
from coverage_map.planning.io_routes import add_routes
from coverage_map.planning.population import Population
from coverage_map.planning.reward import Economy
from coverage_map.planning.scene import Scene, scene_of_level
from coverage_map.planning.world import NEWEST, World
from coverage_map.service.io_service import SERVICE
from coverage_map.snapshot import NO_SERVER, SERVERS
from coverage_map.store.tables import NONE_CDB, NONE_CDBM

UNSURE_DB = 8.0


def add_planning(
    app: web.Application, sync: Sync, jobs: Path,
    terrain: Path | None = None, population: Path | None = None,
) -> None:  # fmt: skip
    """Register the planner's routes on the map's application; jobs are kept in a folder."""
    layer = read_population(population) if population else None

    async def world_of(snapshots: Sequence[str], resolution: int) -> World:
        world = world_of_sync(sync, snapshots, resolution, layer)
        return replace(world, economy=economy_of(sync))

    add_routes(app, Jobs(jobs, terrain), world_of)
    app[SERVICE].has_planner = True


def world_of_sync(
    sync: Sync, snapshots: Sequence[str], resolution: int, layer: Population | None = None
) -> World:
    """Hotspots and scenes of the map as it is; UserError for what isn't there (yet)."""
    if sync.feed is None or sync.snapshot is None:
        remedy = "try again soon"
        raise UserError("map", "nothing has come from the ledger yet", remedy, status=503)
    scenes = {(name, resolution): _scene(sync, name, resolution) for name in snapshots}
    return World(dict(sync.feed.sites), scenes, layer, about=_about(sync, snapshots))


def _about(sync: Sync, snapshots: Sequence[str]) -> str:
    """Which network's map it is, of which snapshots, and when somebody asked."""
    network = sync.feed.genesis.network if sync.feed else "no network"
    named = [sync.keeper.view.snapshot if name == NEWEST else name for name in snapshots]
    epoch = f"epoch {sync.snapshot.epoch}" if sync.snapshot else "no epoch"
    at = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime())
    return f"{network}, {epoch} · {at} · snapshot {', '.join(named)}"


def _scene(sync: Sync, name: str, resolution: int) -> Scene:
    if name == NEWEST and sync.snapshot is not None:
        return scene_of_level(sync.snapshot.levels[resolution])
    view = sync.keeper.view_of("live" if name == NEWEST else name)
    if view is None:
        raise UserError("snapshot", f"{name[:40]!r} is not kept", "see /snapshots", status=404)
    return scene_of_columns(view.level(resolution), resolution)


def scene_of_columns(table: Mapping[str, NDArray[Any]], resolution: int) -> Scene:
    """Scene of a kept snapshot, which knows the best server only."""
    value, sd = table["value_cdbm"].astype(np.float64), table["sd_cdb"].astype(np.float64)
    measured = table["count"] > 0
    server = np.where(measured, table["server"], table["predicted_server"]).astype(np.int64)
    known = table["value_cdbm"] != NONE_CDBM
    servers = np.full((len(value), SERVERS), NO_SERVER, np.int64)
    levels = np.full((len(value), SERVERS), np.nan)
    servers[:, 0] = np.where(known, server, NO_SERVER)
    levels[:, 0] = np.where(known, value / 100.0, np.nan)
    deviation = np.where(table["sd_cdb"] == NONE_CDB, UNSURE_DB, sd / 100.0)
    return Scene(resolution, table["cells"], servers, levels, deviation, measured)


def economy_of(sync: Sync) -> Economy:
    """What bounties pay by cell, and how large and old the network is."""
    if sync.feed is None:
        return Economy()
    bounties = due_by_cell(sync.offers)
    cells = {site.cell for site in sync.feed.sites.values()}
    settlement = int(sync.ledger.head.get("settlement", 0))
    return Economy(sync.feed.genesis.preset, bounties, {}, max(len(cells), 1), settlement)
