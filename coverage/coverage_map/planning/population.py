"""People per cell, from whatever layer there is: points, cells, or a raster, at any resolution.

A layer is brought to one resolution once; asked at a coarser one it is summed, at a finer one each
cell gets an equal part of what its ancestor has. Readers for CSV, Parquet and GeoTIFF are in
io_population.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.cells import Cells, cell_at, parents, resolutions
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]

POINT_RESOLUTION = 10  # points and raster cells are put into hexagons of this size
CHILDREN = 7


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """People per sorted cell of one resolution; cells that aren't listed have none."""

    resolution: int
    cells: Cells
    people: Floats

    def total(self) -> float:
        """All people of the layer."""
        return float(self.people.sum())

    def at(self, cells: Cells) -> Floats:
        """People in each of some sorted cells of one resolution."""
        if not len(cells):
            return np.empty(0)
        wanted = int(resolutions(cells[:1])[0])
        if wanted > self.resolution:
            above = parents(cells, self.resolution)
            return np.asarray(self._of(above) / CHILDREN ** (wanted - self.resolution))
        return coarsened(self, wanted)._of(cells)

    def _of(self, cells: Cells) -> Floats:
        if not len(self.cells):
            return np.zeros(len(cells))
        place = np.minimum(np.searchsorted(self.cells, cells), len(self.cells) - 1)
        return np.where(self.cells[place] == cells, self.people[place], 0.0)


def make_population(cells: ArrayLike, people: ArrayLike) -> Population:
    """Layer of cells of one resolution, repeated ones added up. ValueError names what is wrong."""
    column, count = np.asarray(cells, np.uint64), np.asarray(people, np.float64)
    if not len(column):
        return Population(POINT_RESOLUTION, column, count)
    if not np.all(np.isfinite(count) & (count >= 0.0)):
        raise InvalidInputError("people", "negative or no number", "give counts of people")
    levels = np.unique(resolutions(column))
    if len(levels) > 1:
        raise InvalidInputError("h3", "cells of several resolutions", "give cells of one")
    unique, place = np.unique(column, return_inverse=True)
    summed = np.bincount(place.reshape(-1), count).astype(np.float64)
    return Population(int(levels[0]), unique, summed)


def population_of_points(
    latitude_deg: ArrayLike, longitude_deg: ArrayLike, people: ArrayLike,
    resolution: int = POINT_RESOLUTION,
) -> Population:  # fmt: skip
    """Layer of points: an address, a village, the middle of a raster's cell."""
    latitude, longitude = np.asarray(latitude_deg, float), np.asarray(longitude_deg, float)
    count = np.asarray(people, np.float64)
    if not np.all(np.abs(latitude) <= 90.0) or not np.all(np.abs(longitude) <= 360.0):
        raise InvalidInputError("lat, lon", "outside the Earth", "give degrees, WGS 84")
    some = np.flatnonzero(count != 0.0)
    found = [cell_at(float(latitude[k]), float(longitude[k]), resolution) for k in some]
    return make_population(np.array(found, np.uint64), count[some])


def coarsened(layer: Population, resolution: int) -> Population:
    """The layer summed into a coarser resolution (or itself)."""
    if resolution >= layer.resolution or not len(layer.cells):
        return layer
    above = parents(layer.cells, resolution)
    unique, start = np.unique(above, return_index=True)
    return Population(resolution, unique, np.add.reduceat(layer.people, start))


def spread_raster(
    latitude_deg: Floats, longitude_deg: Floats, people: Floats, resolution: int
) -> Population:
    """Layer of a raster's cells (middles, counts): cells larger than a hexagon are cut up first.

    latitude_deg [rows] and longitude_deg [columns] evenly spaced, people [rows, columns].
    """
    step = abs(float(latitude_deg[1] - latitude_deg[0])) if len(latitude_deg) > 1 else 0.0
    hexagon_deg = h3.average_hexagon_edge_length(resolution, unit="km") * 1.5 / 111.2
    cuts = max(1, min(16, int(np.ceil(step / hexagon_deg))))
    shift = (np.arange(cuts) + 0.5) / cuts - 0.5
    width = float(longitude_deg[1] - longitude_deg[0]) if len(longitude_deg) > 1 else 0.0
    rows, columns = np.nonzero(people > 0.0)
    lat = latitude_deg[rows][:, None, None] + shift[:, None] * step
    lon = longitude_deg[columns][:, None, None] + shift * width
    part = (people[rows, columns] / cuts**2)[:, None, None]
    lat, lon, part = np.broadcast_arrays(lat, lon, part)
    return population_of_points(lat.ravel(), lon.ravel(), part.ravel(), resolution)
