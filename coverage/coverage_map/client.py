"""Reading the map's API from Python: questions as URLs, answers as rows.

`io_client.Map` fetches and makes GeoDataFrames and Arrow tables; these are its pure parts, for who
brings an HTTP library of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from coverage_map.service.parameters import Bbox

PAGE = 10_000
NEXT = re.compile(r'<([^>]*)>;\s*rel="next"')


def cells_query(
    bbox: Bbox | None = None, resolution: int = 9, measured_only: bool = False,
    threshold_dbm: float | None = None, snapshot: str | None = None,
) -> dict[str, str]:  # fmt: skip
    """Parameters of the first page of cells; `bbox` is west, south, east, north in degrees."""
    query = {"res": str(resolution), "min_obs": "1" if measured_only else "0", "limit": str(PAGE)}
    if bbox is not None:
        query["bbox"] = ",".join(f"{edge:.6f}" for edge in bbox)
    if threshold_dbm is not None:
        query["threshold_dbm"] = f"{threshold_dbm:g}"
    if snapshot is not None:
        query["snapshot"] = snapshot
    return query


def cells_url(
    base: str, bbox: Bbox | None = None, resolution: int = 9, *, measured_only: bool = False
) -> str:
    """URL of the first page of cells."""
    query = cells_query(bbox, resolution, measured_only)
    return f"{base.rstrip('/')}/collections/cells/items?{urlencode(query)}"


def rows(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One flat row per cell: h3, state, value_dbm, uncertainty_db, count, newest_ms and more."""
    for feature in page["features"]:
        properties = feature["properties"]
        yield {
            name: value for name, value in properties.items() if not isinstance(value, (dict, list))
        }


def next_url(page: Mapping[str, Any]) -> str | None:
    """Path of the page after this one, or None on the last."""
    for link in page["links"]:
        if link["rel"] == "next":
            return str(link["href"])
    return None


def next_link(header: str) -> str | None:
    """The URL of the next page in a Link header (RFC 8288), or None."""
    found = NEXT.search(header)
    return found[1] if found else None
