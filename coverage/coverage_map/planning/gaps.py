"""Where service is missing, as places rather than cells: connected gaps, ranked by who lives there.

A gap is a connected set of unserved cells. Each says what the map knows of it: measured as bad,
predicted as bad, or unknown. Unknown cells count as unserved only where the area asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells, centres, text_of
from coverage_map.planning.population import Population
from coverage_map.planning.scene import Scene, Service, area_km2, on_cells

Floats = NDArray[np.float64]

SHOWN_CELLS = 2_000  # of a gap, in an answer


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """A connected set of unserved cells, and what is known of it."""

    cells: Cells
    people: float
    measured: int
    predicted: int
    unknown: int
    best_dbm: float  # strongest signal anywhere in it; NaN where nothing is known

    def centre(self) -> tuple[float, float]:
        """Middle of the cells in degrees: the cell nearest to their mean."""
        places = centres(self.cells)
        apart = ((places - places.mean(axis=0)) ** 2).sum(axis=1)
        latitude, longitude = places[int(np.argmin(apart))]
        return float(latitude), float(longitude)


def find_gaps(
    scene: Scene, area: Cells, service: Service, population: Population | None = None
) -> list[Gap]:
    """Connected unserved parts of an area (sorted cells), most people first, then largest."""
    inside = on_cells(scene, area)
    missing = np.flatnonzero(~inside.served(service))
    people = population.at(area) if population else np.zeros(len(area))
    gaps = [_gap(inside, rows, people) for rows in connected(area, missing)]
    return sorted(gaps, key=lambda gap: (-gap.people, -len(gap.cells), int(gap.cells[0])))


def connected(cells: Cells, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows in groups of cells that touch each other."""
    row_of = {int(cells[row]): int(row) for row in rows}
    groups = []
    while row_of:
        cell, row = row_of.popitem()
        group, edge = [row], [cell]
        while edge:
            for other in h3.grid_disk(edge.pop(), 1):
                found = row_of.pop(other, None)
                if found is not None:
                    group.append(found)
                    edge.append(other)
        groups.append(np.array(sorted(group), np.intp))
    return groups


def _gap(scene: Scene, rows: NDArray[np.intp], people: Floats) -> Gap:
    best = scene.best_dbm()[rows]
    known, measured = ~np.isnan(best), scene.measured[rows]
    return Gap(
        cells=scene.cells[rows],
        people=float(people[rows].sum()),
        measured=int(measured.sum()),
        predicted=int((known & ~measured).sum()),
        unknown=int((~known).sum()),
        best_dbm=float(best[known].max()) if known.any() else float("nan"),
    )


def gap_row(gap: Gap) -> dict[str, Any]:
    """A gap for an answer."""
    latitude, longitude = gap.centre()
    return {
        "lat": round(latitude, 6),
        "lon": round(longitude, 6),
        "cells": len(gap.cells),
        "area_km2": round(area_km2(gap.cells), 4),
        "people": round(gap.people, 1),
        "measured_below": gap.measured,
        "predicted_below": gap.predicted,
        "unknown": gap.unknown,
        "best_dbm": None if np.isnan(gap.best_dbm) else round(gap.best_dbm, 1),
        "h3": [text_of(int(cell)) for cell in gap.cells[:SHOWN_CELLS]],
    }
