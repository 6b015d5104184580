"""Cells of a running map as rows, for notebooks: `rows(page)` of the JSON that the API answers.

Fetching is left to the caller's own HTTP library; `cells_url` writes the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from coverage_map.parameters import Bbox


def cells_url(
    base: str, bbox: Bbox | None = None, resolution: int = 9, *, measured_only: bool = False
) -> str:
    """URL of the first page of cells; `bbox` is west, south, east, north in degrees."""
    query = {"res": str(resolution), "min_obs": "1" if measured_only else "0", "limit": "10000"}
    if bbox is not None:
        query["bbox"] = ",".join(f"{edge:.6f}" for edge in bbox)
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
