"""Population layers from files: CSV, Parquet or GeoTIFF, whichever somebody has.

CSV and Parquet: columns `h3` (hexadecimal or integer) or `lat,lon`, and `people` (or `population`).
GeoTIFF in geographic coordinates: counts per raster cell, as WorldPop and GHSL publish.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.cells import parse
from coverage_map.planning.population import (
    POINT_RESOLUTION,
    Population,
    make_population,
    population_of_points,
    spread_raster,
)

PLACES = (("lat", "lon"), ("latitude", "longitude"), ("y", "x"))
COUNTS = ("people", "population", "pop", "count")
CELLS = ("h3", "cell", "h3_index", "h3_res9_id")


def read_population(path: Path, resolution: int = POINT_RESOLUTION) -> Population:
    """A layer from a file; UserError names the file, the field and the remedy."""
    kind = path.suffix.lower()
    readers = {".csv": _csv, ".txt": _csv, ".parquet": _parquet, ".geoparquet": _parquet}
    try:
        if kind in (".tif", ".tiff"):
            return _geotiff(path, resolution)
        if kind not in readers:
            raise UserError(str(path), "unknown kind of file", "use .csv, .parquet or .tif")
        return _of_columns(path, readers[kind](path), resolution)
    except OSError as problem:
        raise UserError(str(path), f"can't be read ({problem})", "check the path") from None
    except ValueError as problem:
        text, _, remedy = str(problem).partition("; ")
        raise UserError(f"{path.name}", text, remedy or "mend the file") from None


def _csv(path: Path) -> dict[str, list[Any]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        rows = list(reader)
    return {name: [row[name] for row in rows] for name in names}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError("pyarrow", "not installed", "pip install pyarrow, or use CSV") from None
    table = parquet.read_table(path)
    wanted = {*CELLS, *COUNTS, *(name for pair in PLACES for name in pair)}
    names = [name for name in table.column_names if name.lower() in wanted]
    return {name.lower(): table.column(name).to_pylist() for name in names}


def _of_columns(path: Path, columns: dict[str, list[Any]], resolution: int) -> Population:
    count = next((name for name in COUNTS if name in columns), None)
    if count is None:
        raise UserError(path.name, "no column of people", f"name one of {', '.join(COUNTS)}")
    people = np.array([float(value or 0.0) for value in columns[count]])
    cell = next((name for name in CELLS if name in columns), None)
    if cell is not None:
        return make_population([_cell(value) for value in columns[cell]], people)
    for latitude, longitude in PLACES:
        if latitude in columns and longitude in columns:
            lat, lon = (np.array(columns[n], np.float64) for n in (latitude, longitude))
            return population_of_points(lat, lon, people, resolution)
    raise UserError(path.name, "no places", "name columns h3, or lat and lon")


def _cell(value: Any) -> int:
    found = value if isinstance(value, int) else parse(str(value).strip())
    if found is None:
        raise ValueError(f"h3: {value!r} is no cell; give hexadecimal H3 indexes")
    return int(found)


def _geotiff(path: Path, resolution: int) -> Population:
    """Counts per raster cell; negative and no-data cells have nobody."""
    from coverage_map.propagation.io_terrain import read_geotiff

    raster = read_geotiff(path)
    rows, columns = raster.heights_m.shape
    lat = np.asarray(raster.north_deg - np.arange(rows) * raster.step_lat_deg, np.float64)
    lon = np.asarray(raster.west_deg + np.arange(columns) * raster.step_lon_deg, np.float64)
    counts: NDArray[np.float64] = np.nan_to_num(raster.heights_m.astype(np.float64), nan=0.0)
    return spread_raster(lat, lon, np.maximum(counts, 0.0), resolution)
