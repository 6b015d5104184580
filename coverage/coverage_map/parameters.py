"""The map's query parameters; chain/openapi.py reads requests by them and documents them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.openapi import Parameter
from coverage_map import cells
from coverage_map.observations import FINEST_RESOLUTION
from coverage_map.snapshot import DEFAULT_THRESHOLD_DBM

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
    try:
        west, south, east, north = (float(part) for part in parts)
    except ValueError:
        return None
    inside = -180.0 <= west <= 180.0 and -180.0 <= east <= 180.0
    return (west, south, east, north) if inside and -90.0 <= south <= north <= 90.0 else None


def _parse_cell(text: str) -> int | None:
    return cells.parse(text)


def _integer_schema(low: int, high: int, default: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


BBOX = Parameter(
    "bbox",
    parse_bbox,
    None,
    {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    "west,south,east,north in degrees (WGS 84)",
)
LIMIT = Parameter(
    "limit",
    _integer(1, LIMIT_MAX),
    LIMIT_DEFAULT,
    _integer_schema(1, LIMIT_MAX, LIMIT_DEFAULT),
    "most features in one answer",
)
CURSOR = Parameter(
    "cursor",
    _parse_cell,
    None,
    {"type": "string"},
    "where to go on: taken from the `next` link, opaque",
)
INDEX_CURSOR = Parameter("cursor", _integer(0, 2**32), None, {"type": "string"}, CURSOR.text)
RES = Parameter(
    "res",
    _integer(5, FINEST_RESOLUTION),
    9,
    _integer_schema(5, FINEST_RESOLUTION, 9),
    "H3 resolution of the cells",
)
MIN_OBS = Parameter(
    "min_obs",
    _integer(0, 10**9),
    0,
    {"type": "integer", "minimum": 0, "default": 0},
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
SNAPSHOT = Parameter(
    "snapshot",
    lambda text: text if len(text) == 16 and all(c in "0123456789abcdef" for c in text) else None,
    None,
    {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    "an immutable snapshot by its id; the newest without it",
)
EVIDENCE = Parameter(
    "evidence",
    _integer(0, 50),
    8,
    _integer_schema(0, 50, 8),
    "most signed records to attach",
)
