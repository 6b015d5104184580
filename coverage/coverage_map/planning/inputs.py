"""Reading what somebody asks the planner for: JSON values into sites, areas and settings.

Each reader names the field that it can't take and what to give instead; unknown fields are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chain.errors import UserError
from coverage_map.cells import Cells, cell_at, centres, disk, distance_m, parse, resolutions
from coverage_map.observations import Site
from coverage_map.planning.reach import MODELS, RADIUS_M, cells_within
from coverage_map.planning.scene import THRESHOLD_DBM, Service

Values = Mapping[str, Any]

FIRST_NEW = 1 << 31  # indexes of sites that aren't there: no hotspot's
RESOLUTIONS = (5, 10)
AREA_CELLS_MAX = 1_000_000
CANDIDATES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Radio:
    """What a new site radiates unless it says otherwise."""

    eirp_dbm: float = 20.0
    height_m: int = 8
    gain_dbi: float = 3.0
    frequency_mhz: int = 2_437


def number(
    values: Values, name: str, default: float | None, low: float, high: float, unit: str = ""
) -> float:
    """A number in a range; the default where it isn't given."""
    value = values.get(name, default)
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not good or not math.isfinite(value) or not low <= value <= high:
        problem = f"{_shown(value)} isn't from {low:g} to {high:g}"
        raise UserError(name, problem, f"give {unit or name}")
    return float(value)


def whole(values: Values, name: str, default: int | None, low: int, high: int) -> int:
    """A whole number in a range."""
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        problem = f"{_shown(value)} is no whole number from {low} to {high}"
        raise UserError(name, problem, "give one")
    return value


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:40]


def known(values: Values, names: Sequence[str]) -> None:
    """Refuse fields that aren't listed."""
    for name in values:
        if name not in names:
            raise UserError(name, "is unknown here", f"known: {', '.join(sorted(names))}")


def read_radio(values: Values) -> Radio:
    """A radio from `radio`."""
    given = record(values, "radio")
    known(given, Radio.__slots__)
    base = Radio()
    return Radio(
        number(given, "eirp_dbm", base.eirp_dbm, -30.0, 60.0, "dBm"),
        whole(given, "height_m", base.height_m, 1, 500),
        number(given, "gain_dbi", base.gain_dbi, -20.0, 40.0, "dBi"),
        whole(given, "frequency_mhz", base.frequency_mhz, 100, 100_000),
    )


def record(values: Values, name: str) -> Values:
    """An object, empty where it isn't given."""
    value = values.get(name, {})
    if not isinstance(value, Mapping):
        raise UserError(name, "is no object", "give fields by name")
    return value


def records(values: Values, name: str, most: int) -> list[Values]:
    """A list of objects."""
    value = values.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise UserError(name, "is no list of objects", "give [{...}, ...]")
    if len(value) > most:
        raise UserError(name, f"over {most}", "ask in parts")
    return value


def read_place(values: Values) -> tuple[float, float]:
    """`lat` and `lon` in degrees."""
    return (
        number(values, "lat", None, -90.0, 90.0, "degrees north"),
        number(values, "lon", None, -180.0, 180.0, "degrees east"),
    )


def read_site(values: Values, radio: Radio, index: int) -> Site:
    """A site that isn't there yet."""
    known(values, ("lat", "lon", "name", *Radio.__slots__))
    latitude, longitude = read_place(values)
    eirp = number(values, "eirp_dbm", radio.eirp_dbm, -30.0, 60.0, "dBm")
    gain = number(values, "gain_dbi", radio.gain_dbi, -20.0, 40.0, "dBi")
    return Site(
        index=index, key=b"", owner=b"", cell=cell_at(latitude, longitude, 10),
        latitude_deg=latitude, longitude_deg=longitude,
        height_m=whole(values, "height_m", radio.height_m, 1, 500),
        gain_cdb=round(gain * 100), eirp_cdbm=round(eirp * 100),
        frequency_mhz=whole(values, "frequency_mhz", radio.frequency_mhz, 100, 100_000),
    )  # fmt: skip


def read_sites(values: Values, name: str, most: int = CANDIDATES_MAX) -> list[Site]:
    """New sites, numbered from FIRST_NEW on."""
    radio = read_radio(values)
    found = []
    for k, item in enumerate(records(values, name, most)):
        try:
            found.append(read_site(item, radio, FIRST_NEW + k))
        except UserError as error:
            raise UserError(f"{name}[{k}].{error.field}", error.problem, error.remedy) from None
    return found


def read_service(values: Values) -> Service:
    """`threshold_dbm` and `probability`."""
    return Service(
        number(values, "threshold_dbm", THRESHOLD_DBM, -150.0, 0.0, "dBm"),
        number(values, "probability", 0.5, 0.01, 0.99, "a probability"),
    )


def read_resolution(values: Values, default: int = 9) -> int:
    """`res`."""
    return whole(values, "res", default, *RESOLUTIONS)


def read_model(values: Values) -> tuple[str, float]:
    """`model` and `radius_m`."""
    model = values.get("model", "statistical")
    if model not in MODELS:
        raise UserError("model", f"{_shown(model)} is unknown", f"use {', '.join(MODELS)}")
    return str(model), number(values, "radius_m", RADIUS_M, 10.0, 100_000.0, "metres")


def read_area(values: Values, resolution: int) -> Cells | None:
    """Cells of `area`: {bbox}, {lat, lon, radius_m} or {h3}; None where there is no area."""
    if "area" not in values:
        return None
    area = record(values, "area")
    known(area, ("bbox", "lat", "lon", "radius_m", "h3"))
    if "bbox" in area:
        cells = bbox_cells(area["bbox"], resolution)
    elif "h3" in area:
        cells = listed_cells(area["h3"], resolution)
    else:
        latitude, longitude = read_place(area)
        radius_m = number(area, "radius_m", None, 1.0, 200_000.0, "metres")
        _fits(math.pi * radius_m**2, resolution)
        cells = cells_within(latitude, longitude, radius_m, resolution)
    if not len(cells):
        raise UserError("area", "holds the middle of no cell", "make it larger, or res finer")
    return cells


def _fits(area_m2: float, resolution: int) -> None:
    import h3.api.basic_int as h3

    if area_m2 / h3.average_hexagon_area(resolution, unit="m^2") > AREA_CELLS_MAX:
        raise UserError("area", f"over {AREA_CELLS_MAX} cells", "make it smaller, or res coarser")


def bbox_cells(box: Any, resolution: int) -> Cells:
    """Sorted cells whose middle lies in a box of west, south, east, north degrees."""
    good = isinstance(box, list | tuple) and len(box) == 4
    if not good or not all(isinstance(x, int | float) and math.isfinite(x) for x in box):
        raise UserError("bbox", f"{_shown(box)} is no box", "give [west, south, east, north]")
    west, south, east, north = (float(x) for x in box)
    ordered = -90.0 <= south < north <= 90.0 and west < east <= 360.0
    if not ordered or not -180.0 <= west <= 180.0:
        raise UserError("bbox", "south to north, west to east it isn't", "order its edges")
    middle = ((south + north) / 2.0, (west + east) / 2.0)
    corner = [distance_m(*middle, lat, lon) for lat in (south, north) for lon in (west, east)]
    radius_m = float(max(corner))
    _fits(math.pi * radius_m**2, resolution)
    cells = disk(middle[0], (middle[1] + 180.0) % 360.0 - 180.0, radius_m, resolution)
    places = centres(cells)
    turn = (places[:, 1] - west) % 360.0 + west
    inside = (places[:, 0] >= south) & (places[:, 0] <= north) & (turn <= east)
    return np.asarray(cells[inside], np.uint64)


def listed_cells(texts: Any, resolution: int) -> Cells:
    """Sorted cells of one resolution from hexadecimal names; coarser ones stand for their parts."""
    import h3.api.basic_int as h3

    found: set[int] = set()
    for text in texts if isinstance(texts, list) else [None]:
        cell = parse(text) if isinstance(text, str) else None
        if cell is None or int(resolutions([cell])[0]) > resolution:
            raise UserError(
                "h3", f"{_shown(text)} is no cell of resolution {resolution} or coarser",
                "give hexadecimal H3 indexes",
            )  # fmt: skip
        found.update(h3.cell_to_children(cell, resolution))
        if len(found) > AREA_CELLS_MAX:
            raise UserError("area", f"over {AREA_CELLS_MAX} cells", "ask in parts")
    return np.array(sorted(found), np.uint64)
