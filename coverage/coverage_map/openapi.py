"""The OpenAPI 3.1 document, written from the same table that the server routes by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coverage_map import parameters as p

GEOJSON, JSON, PROBLEM = "application/geo+json", "application/json", "application/problem+json"


@dataclass(frozen=True, slots=True)
class Operation:
    """One GET of the API: path template, name of its handler, parameters, media type, meaning."""

    path: str
    handler: str
    summary: str
    parameters: tuple[p.Parameter, ...] = ()
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

_PATH_SCHEMA = {
    "h3": ({"type": "string", "pattern": "^[0-9a-f]{15}$"}, "H3 cell in hexadecimal"),
    "cell": ({"type": "string", "pattern": "^[0-9a-f]{15}$"}, "H3 cell in hexadecimal"),
    "index": ({"type": "integer", "minimum": 0}, "dense index of the hotspot on the ledger"),
}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wavecomb coverage map",
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Measured and predicted coverage per H3 cell, with proof behind "
            "every measurement.",
        },
        "paths": {operation.path: {"get": _get(operation)} for operation in operations},
        "components": {"schemas": {"Problem": _PROBLEM}},
    }


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def _get(operation: Operation) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", operation.path)
    problem = {
        "description": "Why not, naming the parameter",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    answers: dict[str, Any] = {
        "200": {
            "description": operation.summary,
            "content": {operation.media: {"schema": _schema(operation.media)}},
        },
        "400": problem,
    }
    if names:
        answers["404"] = problem
    return {
        "operationId": operation.handler,
        "summary": operation.summary,
        "parameters": [_path_parameter(name) for name in names]
        + [_query_parameter(parameter) for parameter in operation.parameters],
        "responses": answers,
    }


def _schema(media: str) -> dict[str, Any]:
    return {"type": "string"} if media.startswith("text/") else {"type": "object"}


def _path_parameter(name: str) -> dict[str, Any]:
    schema, text = _PATH_SCHEMA[name]
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": text}


def _query_parameter(parameter: p.Parameter) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "schema": dict(parameter.schema),
        "description": parameter.text,
    }
    if parameter.schema.get("type") == "array":
        document |= {"style": "form", "explode": False}
    return document
