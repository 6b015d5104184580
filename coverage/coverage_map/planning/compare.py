"""What changed between two scenes of a place: newly served, lost, better, worse, measured now."""

from __future__ import annotations

from typing import Any

import numpy as np

from coverage_map.cells import Cells, text_of
from coverage_map.planning.population import Population
from coverage_map.planning.scene import Scene, Service, area_km2, on_cells
from coverage_map.propagation.validity import InvalidInputError

NOTABLE_DB = 3.0  # a smaller change of a median is noise
SHOWN_CELLS = 2_000
STATES = ("unknown", "unserved", "served")


def compare(
    before: Scene, after: Scene, service: Service, population: Population | None = None
) -> dict[str, Any]:
    """Sums and cells of every kind of change; the scenes share a resolution (ValueError if not)."""
    if before.resolution != after.resolution:
        raise InvalidInputError("res", "differs between the two", "ask both at one resolution")
    cells = np.union1d(before.cells, after.cells).astype(np.uint64)
    old, new = on_cells(before, cells), on_cells(after, cells)
    people = population.at(cells) if population else np.zeros(len(cells))
    was, now = old.served(service), new.served(service)
    step = new.best_dbm() - old.best_dbm()
    kinds = {
        "newly_served": now & ~was,
        "lost": was & ~now,
        "better": was & now & (step >= NOTABLE_DB),
        "worse": was & now & (step <= -NOTABLE_DB),
        "newly_measured": new.measured & ~old.measured,
        "other_server": was & now & (old.servers[:, 0] != new.servers[:, 0]),
    }
    found: dict[str, Any] = {"resolution": before.resolution}
    found["transitions"] = _table(old, new, service)
    for name, rows in kinds.items():
        found[name] = {
            "cells": int(rows.sum()),
            "area_km2": round(area_km2(cells[rows]), 4),
            "people": round(float(people[rows].sum()), 1),
            "h3": _texts(cells[rows]),
        }
    return found


def _table(old: Scene, new: Scene, service: Service) -> dict[str, dict[str, int]]:
    """How many cells went from which state to which."""
    a, b = (np.where(np.isnan(s.best_dbm()), 0, 1 + s.served(service)) for s in (old, new))
    return {
        one: {other: int(((a == i) & (b == k)).sum()) for k, other in enumerate(STATES)}
        for i, one in enumerate(STATES)
    }


def _texts(cells: Cells) -> list[str]:
    return [text_of(int(cell)) for cell in cells[:SHOWN_CELLS]]
