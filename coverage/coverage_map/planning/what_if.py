"""What a new site, a move or a removal changes, cell by cell and in sums.

Only cells that the change can reach are compared. Served means what it means on the map: the best
server alone reaches the threshold with the wanted probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells
from coverage_map.observations import Site
from coverage_map.planning.population import Population
from coverage_map.planning.reach import Method, reach
from coverage_map.planning.scene import (
    Scene,
    Service,
    area_km2,
    channels,
    joined,
    on_cells,
    without,
)
from coverage_map.predict import Footprint

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SENSED_DBM = -82.0  # a Wi-Fi radio keeps quiet while it hears another this strong
GOOD_SINR_DB = 10.0  # enough for 16-QAM; below it a cell suffers from its neighbours
UNSERVED_SD_DB = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Two scenes over the same cells, and the hotspots of each."""

    before: Scene
    after: Scene
    service: Service
    people: Floats
    sites_before: Mapping[int, int]  # channel in MHz by hotspot
    sites_after: Mapping[int, int]

    @property
    def cells(self) -> Cells:
        """Cells that were compared."""
        return self.before.cells

    def gained(self) -> Flags:
        """Served now and not before."""
        return np.asarray(self.after.served(self.service) & ~self.before.served(self.service))

    def lost(self) -> Flags:
        """Served before and not any more."""
        return np.asarray(self.before.served(self.service) & ~self.after.served(self.service))

    def moved_to_new(self) -> Flags:
        """Served before and after, by another hotspot."""
        both = self.before.served(self.service) & self.after.served(self.service)
        return np.asarray(both & (self.before.servers[:, 0] != self.after.servers[:, 0]))


def what_if(
    scene: Scene,
    sites: Iterable[Site],
    new: Sequence[Site],
    removed: Sequence[int],
    method: Method,
    service: Service,
    population: Population | None = None,
) -> tuple[Change, list[Footprint]]:
    """What `new` sites and the removal of others change; a move is one of each.

    Also the footprints of the new sites. New sites need indexes that no other has.
    """
    known = channels(sites)
    prints = [reach(site, method, scene.resolution) for site in new]
    parts = [p.cells for p in prints]
    parts += [scene.cells[(scene.servers == index).any(axis=1)] for index in removed]
    touched = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
    before = on_cells(scene, touched.astype(np.uint64))
    after = before
    for index in removed:
        after = without(after, index, UNSERVED_SD_DB)
    for footprint in prints:
        after = joined(after, footprint)
    left = {k: v for k, v in known.items() if k not in set(removed)} | channels(new)
    people = population.at(before.cells) if population else np.zeros(len(before))
    return Change(before, after, service, people, known, left), prints


def summary(change: Change) -> dict[str, Any]:
    """The sums that a planner decides by."""
    gained, lost, moved = change.gained(), change.lost(), change.moved_to_new()
    before, after = change.before, change.after
    found = {
        "cells_compared": len(change.cells),
        "gained": _part(change, gained),
        "lost": _part(change, lost),
        "other_server": _part(change, moved),
        "served_before": _part(change, before.served(change.service)),
        "served_after": _part(change, after.served(change.service)),
        "served_twice_before": int((before.overlap(change.service) > 1).sum()),
        "served_twice_after": int((after.overlap(change.service) > 1).sum()),
        "best_server_cells": best_servers(after, change.service),
    }
    return found | {"interference": interference(change)}


def _part(change: Change, rows: Flags) -> dict[str, Any]:
    cells = change.cells[rows]
    return {
        "cells": len(cells),
        "area_km2": round(area_km2(cells), 4),
        "people": round(float(change.people[rows].sum()), 1),
    }


def best_servers(scene: Scene, service: Service) -> dict[str, int]:
    """Of how many served cells each hotspot is best server, most first."""
    who, count = np.unique(scene.servers[scene.served(service), 0], return_counts=True)
    order = np.lexsort((who, -count))
    return {str(int(who[k])): int(count[k]) for k in order}


def interference(change: Change) -> dict[str, Any]:
    """How many served cells suffer from other hotspots on their channel, before and after."""
    found: dict[str, Any] = {"good_sinr_db": GOOD_SINR_DB}
    for name, scene, sites in (
        ("before", change.before, change.sites_before),
        ("after", change.after, change.sites_after),
    ):
        served = scene.served(change.service)
        sinr = scene.sinr_db(sites)[served]
        found[name] = {
            "cells_below": int((sinr < GOOD_SINR_DB).sum()),
            "median_sinr_db": round(float(np.median(sinr)), 1) if len(sinr) else None,
            "cells_sharing_air": int((sharing(scene, sites)[served] > 1).sum()),
        }
    return found


def sharing(scene: Scene, frequency_mhz: Mapping[int, int]) -> NDArray[np.int64]:
    """How many hotspots on the best server's channel a cell senses: they take turns there."""
    own = np.vectorize(lambda k: frequency_mhz.get(int(k), 0), otypes=[np.int64])
    channel = own(scene.servers) if len(scene) else scene.servers
    sensed = (channel == channel[:, :1]) & (scene.servers_dbm >= SENSED_DBM)
    return np.asarray(sensed.sum(axis=1), np.int64)
