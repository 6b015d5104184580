"""Tables of drive tests as links: the one form that every measurement can be brought into.

Header: `tx_lat,tx_lon,rx_lat,rx_lon` in degrees or `tx_x,tx_y,rx_x,rx_y` in metres (with or without
a final `_m`), `frequency_hz` and `rssi_dbm`. Optional: `world` (or `site`: positions of different
worlds have nothing to do with each other), `tx_height_m`, `rx_height_m`, `configuration`, and
counts of walls on the path by the names of OBSTACLE_DB. Columns may be parted by commas, semicolons
or tabs; where it is not the comma, a number may have one before its decimals.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import EARTH_RADIUS_M
from coverage_map.estimator.links import OBSTACLE_DB, Links, make_links
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]

ENDS = ("tx", "rx")
DEGREES = ("tx_lat", "tx_lon", "rx_lat", "rx_lon")
METRES = ("tx_x", "tx_y", "rx_x", "rx_y")
HEIGHTS = ("tx_height_m", "rx_height_m")
NEEDED = ("frequency_hz", "rssi_dbm")
LEAST_DBM, MOST_DBM = -200.0, 60.0
LEAST_HZ, MOST_HZ = 1e6, 1e12
SEPARATORS = ",;\t"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Links of a file, and how many of its rows had no usable numbers (the first one's reason)."""

    links: Links
    refused: int
    first_problem: str


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A file's numbers and labels by name, and what could not be read of it."""

    columns: dict[str, Floats]
    labels: dict[str, NDArray[np.str_]]
    in_degrees: bool
    refused: int
    first_problem: str


def parse_table(lines: Iterable[str]) -> Table:
    """Read CSV lines, header first. Rows that can't be read are counted and left out.

    Raises ValueError where the header lacks a column or no row is left.
    """
    found = read_columns(lines)
    places = DEGREES if found.in_degrees else METRES
    links = _links(found.columns, found.labels, places)
    return Table(links, found.refused, found.first_problem)


def read_columns(lines: Iterable[str]) -> Columns:
    """The numbers of CSV lines, header first; ValueError as of `parse_table`."""
    given = (line.removeprefix("\ufeff") for line in lines)
    header = next(given, "")
    separator = max(SEPARATORS, key=header.count)  # the comma, where none is there
    reader = csv.DictReader(itertools.chain((header,), given), delimiter=separator)
    names = [_plain(name) for name in reader.fieldnames or ()]
    reader.fieldnames = names
    places = _places(names)
    numbers = (*places, *NEEDED, *(n for n in (*HEIGHTS, *OBSTACLE_DB) if n in names))
    labels = [n for n in ("world", "site", "configuration") if n in names]
    rows, tags, problem, refused = [], [], "", 0
    for number, row in enumerate(reader, 2):
        try:
            rows.append(_row(row, numbers, separator))
            tags.append(tuple(str(row[n]) for n in labels))
        except ValueError as wrong:
            refused += 1
            problem = problem or f"line {number}: {wrong}"
    if not rows:
        remedy = problem or "the file has a header only"
        raise InvalidInputError("rows", "none can be read", f"mend the file ({remedy})")
    columns = dict(zip(numbers, np.array(rows).T, strict=True))
    text = dict(zip(labels, np.array(tags).T, strict=True)) if labels else {}
    return Columns(columns, text, places == DEGREES, refused, problem)


def _plain(name: str) -> str:
    """A column's name in lower case, positions without their unit."""
    plain = name.strip().lower()
    short = plain.removesuffix("_m").removesuffix("_deg")
    return short if short in METRES + DEGREES else plain


def _places(names: list[str]) -> tuple[str, ...]:
    known = {*DEGREES, *METRES, *NEEDED, *HEIGHTS, *OBSTACLE_DB}
    twice = sorted({name for name in names if names.count(name) > 1 and name in known})
    if twice:
        raise InvalidInputError("header", f"{', '.join(twice)} stands twice", "leave one out")
    if not any(names):
        raise InvalidInputError("header", "the file is empty", "give a table with a header")
    missing = [n for n in NEEDED if n not in names]
    for kind in (DEGREES, METRES):
        if all(n in names for n in kind):
            if not missing:
                return kind
            raise InvalidInputError("header", f"no {', '.join(missing)}", "add the column")
    wanted = f"{','.join(DEGREES)} or {','.join(METRES)}"
    raise InvalidInputError("header", "positions are missing", f"name the columns {wanted}")


def _row(row: dict[str, str], numbers: tuple[str, ...], separator: str) -> list[float]:
    found = []
    for name in numbers:
        text = (row[name] or "").strip()
        text = text if separator == "," else text.replace(",", ".")
        value = _number(name, text) if text or name not in OBSTACLE_DB else 0.0
        if not math.isfinite(value):
            raise ValueError(f"{name}: not finite")
        found.append(value)
    values = dict(zip(numbers, found, strict=True))
    if not LEAST_HZ <= values["frequency_hz"] <= MOST_HZ:
        raise ValueError(f"frequency_hz: {values['frequency_hz']:g} is no radio's; give hertz")
    if not LEAST_DBM <= values["rssi_dbm"] <= MOST_DBM:
        raise ValueError(f"rssi_dbm: {values['rssi_dbm']:g} is no signal in dBm")
    if any(abs(values[n]) > (90.0 if n.endswith("lat") else 360.0) for n in DEGREES if n in values):
        raise ValueError("position: outside the degrees of the Earth")
    return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        shown = repr(text[:40]) if text else "nothing"
        raise ValueError(f"{name}: {shown} is no number") from None


def _links(
    columns: dict[str, Floats], text: dict[str, NDArray[np.str_]], places: tuple[str, ...]
) -> Links:
    tx, rx = (np.column_stack([columns[n] for n in places[k : k + 2]]) for k in (0, 2))
    if places == DEGREES:
        tx, rx = to_plane(tx, rx)
    count = len(tx)
    high, low = (columns.get(name, np.zeros(count)) for name in HEIGHTS)
    walls = [columns.get(name, np.zeros(count)) for name in OBSTACLE_DB]
    settings = text.get("configuration", np.zeros(count, "U1"))
    setting = [f"{s}/{h:g}/{f:g}" for s, h, f in zip(settings, high, columns["frequency_hz"],
                                                     strict=True)]  # fmt: skip
    return make_links(
        tx, rx, columns["frequency_hz"], columns["rssi_dbm"],
        world=text.get("world", text.get("site", np.zeros(count, "U1"))),
        rise_m=high - low, configuration=np.array(setting), obstacles=np.column_stack(walls),
    )  # fmt: skip


def to_plane(tx_deg: Floats, rx_deg: Floats) -> tuple[Floats, Floats]:
    """Metres east and north of the receivers' median place, of (latitude, longitude) rows.

    Equirectangular: within 1 % over 200 km at 60 degrees of latitude.
    """
    middle = np.median(rx_deg, axis=0)
    scale = math.radians(1.0) * EARTH_RADIUS_M
    east = scale * math.cos(math.radians(float(middle[0])))

    def plane(place: Floats) -> Floats:
        turn = (place[:, 1] - middle[1] + 180.0) % 360.0 - 180.0
        return np.column_stack((turn * east, (place[:, 0] - middle[0]) * scale))

    return plane(tx_deg), plane(rx_deg)
