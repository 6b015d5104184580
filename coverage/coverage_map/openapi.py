"""The map's table of operations: the server routes by it, and OpenAPI documents it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.openapi import JSON, PROBLEM, Parameter, Route, get_document
from coverage_map import parameters as p

GEOJSON = "application/geo+json"
__all__ = ["GEOJSON", "JSON", "OPERATIONS", "PROBLEM", "Operation", "document"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One GET of the API: path, name of its handler, meaning, query parameters, media type."""

    path: str
    handler: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    media: str = JSON


OPERATIONS: tuple[Operation, ...] = (
    Operation("/api", "api", "This document"),
    Operation("/stats", "stats", "Counts of the network, the ledger and the map"),
    Operation(
        "/events", "events", "Server-sent events: news, stats, snapshots", (), "text/event-stream"
    ),
    Operation("/collections", "collections", "The collections of features"),
    Operation(
        "/collections/cells/items",
        "cells",
        "Cells with their measured and predicted signal",
        (p.BBOX, p.LIMIT, p.CURSOR, p.RES, p.MIN_OBS, p.THRESHOLD, p.SNAPSHOT),
        GEOJSON,
    ),
    Operation(
        "/collections/hotspots/items",
        "hotspots",
        "Hotspots at the precision that their owners published",
        (p.BBOX, p.LIMIT, p.INDEX_CURSOR),
        GEOJSON,
    ),
    Operation(
        "/collections/gaps/items",
        "gaps",
        "Cells without service beside served ones, most promising first",
        (p.BBOX, p.LIMIT, p.RES, p.THRESHOLD, p.SNAPSHOT),
        GEOJSON,
    ),
    Operation(
        "/cells/{h3}",
        "cell",
        "One cell: quantiles, age, links, and the signed records with proofs behind it",
        (p.THRESHOLD, p.EVIDENCE),
    ),
    Operation("/hotspots/{index}", "hotspot", "One hotspot: who hears it, what it earned and why"),
    Operation(
        "/dggs/h3/zones/{cell}/data",
        "zone",
        "All cells of one resolution inside a zone, as columns",
        (p.DEPTH, p.SNAPSHOT),
    ),
)

_CELL = {"type": "string", "pattern": "^[0-9a-f]{15}$"}
_PLACES = {
    parameter.name: parameter
    for parameter in (
        Parameter("h3", str, None, _CELL, "H3 cell in hexadecimal"),
        Parameter("cell", str, None, _CELL, "H3 cell in hexadecimal"),
        Parameter(
            *("index", str, None, {"type": "integer", "minimum": 0}),
            "dense index of the hotspot on the ledger",
        ),
    )
}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document."""
    return get_document(
        [_route(operation) for operation in operations],
        title="Wavecomb coverage map",
        version=version,
        description="Measured and predicted coverage per H3 cell, with proof behind "
        "every measurement.",
    )


def _route(operation: Operation) -> Route:
    bare = Route("GET", operation.path, operation.handler, operation.summary)
    places = tuple(_PLACES[name] for name in bare.path_names)
    return Route(
        *("GET", operation.path, operation.handler, operation.summary),
        (*places, *operation.parameters),
        media=operation.media,
        errors=(400,),
    )
