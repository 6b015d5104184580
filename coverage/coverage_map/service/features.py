"""Cells as people and programs want them: one flat record per row of a view's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from coverage_map import cells
from coverage_map.service.parameters import Bbox
from coverage_map.store.tables import COLUMNS, NONE_CDB, NONE_CDBM
from coverage_map.store.view import Clock, Columns, take

Array = NDArray[Any]
JsonObject = dict[str, Any]
WITHIN_DB = 6.0
SERVED = 0.5


def service_probability(table: Columns, threshold_dbm: float) -> Array:
    """That the best server alone reaches the threshold: a lower bound where cells overlap."""
    value, sd = value_dbm(table), np.maximum(sd_db(table), 0.01)
    return np.asarray(ndtr((value - threshold_dbm) / sd))


def confidence(table: Columns) -> Array:
    """Probability that the value is right within 6 dB."""
    return np.asarray(2.0 * ndtr(WITHIN_DB / np.maximum(sd_db(table), 0.01)) - 1.0)


def value_dbm(table: Columns) -> Array:
    """Signal of the best server, measured where measured; NaN for none."""
    return _hundredths(table["value_cdbm"], NONE_CDBM)


def sd_db(table: Columns) -> Array:
    """Uncertainty of the value; NaN for none."""
    return _hundredths(table["sd_cdb"], NONE_CDB)


def _hundredths(column: Array, none: int) -> Array:
    return np.where(column == none, np.nan, column / 100.0)


def records(
    table: Columns, resolution: int, threshold_dbm: float, clock: Clock
) -> dict[str, list[Any]]:
    """Columns of the records of a table's rows, in the order of a record's members."""
    measured = table["count"] > 0
    first, last = (_epochs(table, name) for name in ("first", "last"))
    found: dict[str, list[Any]] = {
        "h3": [cells.text_of(cell) for cell in table["cells"].tolist()],
        "resolution": [resolution] * len(measured),
        "state": np.where(measured, "measured", "predicted").tolist(),
        "value_dbm": _shown(value_dbm(table)),
        "uncertainty_db": _shown(sd_db(table)),
        "service_probability": _shown(service_probability(table, threshold_dbm), 3),
        "confidence": _shown(confidence(table), 3),
        "count": table["count"].tolist(),
        "hotspots": table["hotspots"].tolist(),
        "devices": table["devices"].tolist(),
    }
    for name in ("min", "mean", "max", "p10", "p50", "p90"):
        column = {"min": "low_cdbm", "max": "high_cdbm"}.get(name, f"{name}_cdbm")
        values = np.where(measured, _hundredths(table[column], NONE_CDBM), np.nan)
        found[f"{name}_dbm"] = _shown(values, 2)
    found["first_epoch"], found["last_epoch"] = first, last
    found["newest_ms"] = _ends(last, clock)
    found["best_server"] = _known(table["server"])
    found["predicted_dbm"] = _shown(_hundredths(table["predicted_cdbm"], NONE_CDBM))
    found["predicted_sd_db"] = _shown(_hundredths(table["predicted_sd_cdb"], NONE_CDB))
    found["predicted_server"] = _known(table["predicted_server"])
    found["overlap"] = table["overlap"].tolist()
    return found


def unknown_record(cell: int) -> JsonObject:
    """The record of a cell that nobody knows: the members of others, null or 0."""
    nothing: Columns = {name: np.empty(0, kind) for name, kind in COLUMNS.items()}
    names = list(records(nothing, 0, 0.0, Clock()))
    about = {"h3": cells.text_of(cell), "resolution": cell >> 52 & 0xF, "state": "unknown"}
    counts = dict.fromkeys(("count", "hotspots", "devices", "overlap"), 0)
    return {**dict.fromkeys(names), **about, **counts}


def _epochs(table: Columns, name: str) -> list[int | None]:
    """A column of epochs; None where nothing was received."""
    pairs = zip(table["count"].tolist(), table[name].tolist(), strict=True)
    return [epoch if count else None for count, epoch in pairs]


def _ends(epochs: Sequence[int | None], clock: Clock) -> list[int | None]:
    return [None if epoch is None else clock.end_ms(epoch) for epoch in epochs]


def _shown(values: Array, digits: int = 1) -> list[float | None]:
    rounded = np.round(values, digits).tolist()
    return [None if value != value else value for value in rounded]


def _known(column: Array) -> list[int | None]:
    return [None if value < 0 else value for value in column.tolist()]


def rows_of(columns: dict[str, list[Any]]) -> list[JsonObject]:
    """The records themselves."""
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def feature(identity: str, geometry: JsonObject | None, properties: JsonObject) -> JsonObject:
    """A GeoJSON feature."""
    return {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}


def polygon(cell: int) -> JsonObject:
    """GeoJSON geometry of a cell."""
    return {"type": "Polygon", "coordinates": [cells.ring(cell)]}


def cell_features(
    table: Columns, resolution: int, threshold_dbm: float, clock: Clock
) -> list[JsonObject]:
    """Features of a table's rows."""
    found = rows_of(records(table, resolution, threshold_dbm, clock))
    places = table["cells"].tolist()
    return [
        feature(row["h3"], polygon(cell), row) for row, cell in zip(found, places, strict=True)
    ]


def inside(places: NDArray[np.float64], bbox: Bbox) -> NDArray[np.bool_]:
    """Which places (latitude, longitude) lie in a box; west may exceed east across 180 degrees."""
    west, south, east, north = bbox
    latitude, longitude = places[:, 0], places[:, 1]
    if west <= east:
        across = (longitude >= west) & (longitude <= east)
    else:
        across = (longitude >= west) | (longitude <= east)
    return np.asarray(across & (latitude >= south) & (latitude <= north))


def zone_columns(
    table: Columns, coarser: Sequence[tuple[int, Columns]], zone: int, resolution: int, clock: Clock
) -> JsonObject:
    """Compact columns of all cells of a resolution inside a zone.

    `coarser` holds measured cells inside the zone whose owners published no finer place.
    """
    above = [_columns(part, clock) for _, part in coarser]
    names = list(_columns(take(table, slice(0, 0)), clock))
    return {
        "dggrs": "H3",
        "zone": cells.text_of(zone),
        "resolution": resolution,
        **_columns(table, clock),
        "coarser": {name: [value for part in above for value in part[name]] for name in names},
    }


def _columns(table: Columns, clock: Clock) -> JsonObject:
    measured = table["count"] > 0
    return {
        "h3": [cells.text_of(cell) for cell in table["cells"].tolist()],
        "measured": measured.astype(int).tolist(),
        "value_dbm": _shown(value_dbm(table)),
        "sd_db": _shown(sd_db(table)),
        "count": table["count"].tolist(),
        "hotspots": table["hotspots"].tolist(),
        "newest_ms": _ends(_epochs(table, "last"), clock),
        "server": _known(table["server"]),
    }
