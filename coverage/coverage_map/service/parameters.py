"""The map's query parameters; chain/openapi.py reads requests by them and documents them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from chain.openapi import Parameter
from coverage_map.snapshot import DEFAULT_THRESHOLD_DBM
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.tiles.binary import COLUMNS, USUAL

Bbox = tuple[float, float, float, float]
LIMIT_DEFAULT, LIMIT_MAX = 1_000, 10_000


def _number(low: float, high: float) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if low <= value <= high else None

    return parse


def _integer(low: int, high: int) -> Callable[[str], int | None]:
    def parse(text: str) -> int | None:
        fits = text.isascii() and text.isdecimal() and len(text) < 20
        return int(text) if fits and low <= int(text) <= high else None

    return parse


def parse_bbox(text: str) -> Bbox | None:
    """West, south, east, north in degrees; west may exceed east across 180 degrees."""
    parts = text.split(",")
    if len(parts) == 6:  # with heights, which cells don't have
        parts = [*parts[:2], *parts[3:5]]
    try:
        west, south, east, north = (float(part) for part in parts)
    except ValueError:
        return None
    inside = -180.0 <= west <= 180.0 and -180.0 <= east <= 180.0
    return (west, south, east, north) if inside and -90.0 <= south <= north <= 90.0 else None


def parse_datetime(text: str) -> tuple[int | None, int | None] | None:
    """First and last instant in ms since 1970, None where open; an instant is both."""
    parts = text.split("/")
    if len(parts) > 2:
        return None
    ends = [None if part in ("", "..") else _instant_ms(part) for part in parts]
    if any(part not in ("", "..") and end is None for part, end in zip(parts, ends, strict=True)):
        return None
    if len(parts) == 1:
        return None if ends[0] is None else (ends[0], ends[0])
    first, last = ends
    return None if first is not None and last is not None and last < first else (first, last)


def _instant_ms(text: str) -> int | None:
    try:
        found = datetime.fromisoformat(text.replace("t", "T").replace("z", "Z"))
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1000)


def _pairs(text: str) -> list[tuple[float, float]] | None:
    try:
        found = [tuple(float(part) for part in pair.split()) for pair in text.split(",")]
    except ValueError:
        return None
    places = [(pair[0], pair[1]) for pair in found if len(pair) == 2]
    inside = all(-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0 for lon, lat in places)
    return places if inside and len(places) == len(found) else None


def parse_point(text: str) -> tuple[float, float] | None:
    """Longitude and latitude of a WKT point."""
    match = re.fullmatch(r"\s*POINT\s*\(([^()]+)\)\s*", text, re.IGNORECASE)
    found = _pairs(match.group(1)) if match else None
    return found[0] if found and len(found) == 1 else None


def parse_polygon(text: str) -> list[tuple[float, float]] | None:
    """The ring of a WKT polygon: longitude, latitude; closed, of at least three corners."""
    match = re.fullmatch(r"\s*POLYGON\s*\(\s*\(([^()]+)\)\s*\)\s*", text, re.IGNORECASE)
    found = _pairs(match.group(1)) if match else None
    if not found or len(set(found)) < 3:
        return None
    return found if found[0] == found[-1] else [*found, found[0]]


def _limit(text: str) -> int | None:
    # 17-069r4, requirement 21: a limit above the maximum is no error, the maximum holds.
    fits = text.isascii() and text.isdecimal() and any(digit != "0" for digit in text)
    return min(int(text[-20:]) if len(text) <= 20 else LIMIT_MAX, LIMIT_MAX) if fits else None


def _names(text: str) -> tuple[str, ...] | None:
    names = tuple(text.split(","))
    fits = all(name in COLUMNS for name in names) and len(set(names)) == len(names)
    return names if fits else None


def _integer_schema(low: int, high: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


BBOX = Parameter(
    "bbox",
    parse_bbox,
    None,
    {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
    "west,south,east,north in degrees (WGS 84), south below north; west above east goes across 180",
)
LIMIT = Parameter(
    "limit",
    lambda text: _limit(text),
    LIMIT_DEFAULT,
    {"type": "integer", "minimum": 1, "default": LIMIT_DEFAULT},
    f"most features in one answer, from 1 on; never more than {LIMIT_MAX}, however many are asked",
)
CURSOR = Parameter(
    "cursor",
    lambda text: int(text, 16) if re.fullmatch("[0-9a-f]{15}", text) else None,
    None,
    {"type": "string", "pattern": "^[0-9a-f]{15}$"},
    "where to go on: taken from the `next` link, opaque",
)
INDEX_CURSOR = Parameter(
    "cursor", _integer(0, 2**32), None, {"type": "string", "pattern": "^[0-9]{1,9}$"}, CURSOR.text
)
PLACE_CURSOR = Parameter(
    "cursor", _integer(0, 2**62), None, {"type": "string", "pattern": "^[0-9]{1,9}$"}, CURSOR.text
)
RES = Parameter(
    "res",
    _integer(COARSEST, FINEST),
    9,
    _integer_schema(COARSEST, FINEST, 9),
    "H3 resolution of the cells",
)
MIN_OBS = Parameter(
    "min_obs",
    _integer(0, 10**9),
    0,
    {"type": "integer", "minimum": 0, "maximum": 10**9, "default": 0},
    "only cells with at least so many measured samples; 1 leaves out every prediction",
)
THRESHOLD = Parameter(
    "threshold_dbm",
    _number(-140.0, 0.0),
    DEFAULT_THRESHOLD_DBM,
    {"type": "number", "minimum": -140, "maximum": 0, "default": DEFAULT_THRESHOLD_DBM},
    "signal that counts as service, at an isotropic antenna",
)
DEPTH = Parameter(
    "zone-depth",
    _integer(0, 5),
    4,
    _integer_schema(0, 5, 4),
    "resolution of the data, in steps below the zone's own",
)
LIVE = "live"
SNAPSHOT_PATTERN = "^([0-9a-f]{16}|live)$"
SNAPSHOT = Parameter(
    "snapshot",
    lambda text: text if re.fullmatch(SNAPSHOT_PATTERN, text) else None,
    LIVE,
    {"type": "string", "pattern": SNAPSHOT_PATTERN, "default": LIVE},
    "an immutable snapshot by its id, or `live`: the newest with all that arrived since",
)
MIN_CONFIDENCE = Parameter(
    "min_confidence",
    _number(0.0, 1.0),
    0.0,
    {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
    "only cells whose value is right within 6 dB with at least this probability",
)
DATETIME = Parameter(
    "datetime",
    lambda text: parse_datetime(text),
    None,
    {"type": "string"},
    "an instant or start/end (RFC 3339, .. for open): only what has receptions then",
)
OPEN_DATETIME = replace(
    DATETIME, text="an instant or start/end (RFC 3339, .. for open): only what is offered then"
)
FORMATS = ("json", "csv", "arrow", "parquet")
FORMAT = Parameter(
    "f",
    lambda text: text if text in FORMATS else None,
    None,
    {"type": "string", "enum": list(FORMATS)},
    "form of the answer; Accept says the same, and GeoJSON comes without either",
)
JSON_FORMAT = Parameter(
    "f",
    lambda text: text if text in ("json", "html") else None,
    None,
    {"type": "string", "enum": ["json", "html"]},
    "form of the answer: json",
)
DATA_FORMAT = Parameter(
    "f",
    lambda text: text if text in ("json", "arrow") else None,
    None,
    {"type": "string", "enum": ["json", "arrow"]},
    "form of the answer; Accept says the same",
)
TILE_COLUMNS = Parameter(
    "columns",
    lambda text: _names(text),
    USUAL,
    {
        "type": "array",
        "items": {"type": "string", "enum": list(COLUMNS)},
        "minItems": 1,
        "uniqueItems": True,
        "default": list(USUAL),
    },
    "columns of the tile, in this order",
)
POINT = Parameter(
    "coords",
    lambda text: parse_point(text),
    None,
    {"type": "string", "pattern": "^POINT *\\([^()]+\\)$"},
    "POINT(longitude latitude) in degrees (WGS 84)",
    required=True,
)
POLYGON = Parameter(
    "coords",
    lambda text: parse_polygon(text),
    None,
    {"type": "string", "pattern": "^POLYGON *\\(\\([^()]+\\)\\)$"},
    "POLYGON((longitude latitude, ...)): one ring, in degrees (WGS 84)",
    required=True,
)
PLACE = (RES, THRESHOLD, SNAPSHOT)
EVIDENCE_LIMIT = Parameter(
    "limit",
    _integer(1, 50),
    8,
    _integer_schema(1, 50, 8),
    "most signed records to attach",
)
EVIDENCE = Parameter(
    "evidence",
    _integer(0, 50),
    8,
    _integer_schema(0, 50, 8),
    "most signed records to attach",
)
