"""The map's table of operations: the server routes by it, and OpenAPI documents it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.openapi import JSON, PROBLEM, Parameter, Route, Schema, get_document
from coverage_map.planning import openapi as planning
from coverage_map.service import models
from coverage_map.service import parameters as p

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
    ogc: bool = False


LIMITED = ("gaps", "outline", "area", "pmtiles", "item")
ITEMS = (p.BBOX, p.DATETIME, p.LIMIT, p.CURSOR)
OPENAPI_3_0 = "application/vnd.oai.openapi+json;version=3.0"
TILE = "application/vnd.wavecomb.tile"
MVT = "application/vnd.mapbox-vector-tile"
ARROW = "application/vnd.apache.arrow.stream"
SSE = "text/event-stream"
MATRIX = "/collections/cells/tiles/WebMercatorQuad"

PMTILES = "application/vnd.pmtiles"
BINARY: dict[str, Schema] = {
    media: {"type": "string", "format": "binary"} for media in (TILE, MVT, PMTILES)
}

OPERATIONS: tuple[Operation, ...] = (
    Operation("/api", "api", "This document", (p.JSON_FORMAT,)),
    Operation(
        "/api/3.0", "api_ogc", "The OGC part as OpenAPI 3.0", (p.JSON_FORMAT,), OPENAPI_3_0
    ),
    Operation("/conformance", "conformance", "OGC conformance classes", (p.JSON_FORMAT,), ogc=True),
    Operation("/stats", "stats", "Counts of the network, the ledger and the map"),
    Operation("/events", "events", "Server-sent: news, stats, snapshot, cells, bounties", (), SSE),
    Operation("/snapshots", "snapshots", "Snapshots that are kept, newest first"),
    Operation("/snapshots/{id}", "snapshot", "One snapshot with its levels"),
    Operation(
        "/collections", "collections", "The collections of features", (p.JSON_FORMAT,), ogc=True
    ),
    Operation(
        "/collections/{collection}", "collection", "One collection", (p.JSON_FORMAT,), ogc=True
    ),
    Operation(
        "/collections/cells/items",
        "cells",
        "Cells with their measured and predicted signal",
        (*ITEMS, p.RES, p.MIN_OBS, p.MIN_CONFIDENCE, p.THRESHOLD, p.SNAPSHOT, p.FORMAT),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/collections/hotspots/items",
        "hotspots",
        "Hotspots at the precision that their owners published",
        (p.BBOX, p.DATETIME, p.LIMIT, p.INDEX_CURSOR, p.FORMAT),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/collections/gaps/items",
        "gaps",
        "Cells without service beside served ones, most promising first",
        (p.BBOX, p.DATETIME, p.LIMIT, p.PLACE_CURSOR, p.RES, p.THRESHOLD, p.SNAPSHOT, p.FORMAT),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/collections/beacons/items",
        "beacons",
        "Links: who heard whom, how well, how often, with which verdicts",
        (p.BBOX, p.DATETIME, p.LIMIT, p.PLACE_CURSOR, p.FORMAT),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/collections/outline/items",
        "outline",
        "Polygons around what is served",
        (p.BBOX, p.DATETIME, p.LIMIT, p.PLACE_CURSOR, p.RES, p.THRESHOLD, p.SNAPSHOT, p.FORMAT),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/collections/bounties/items",
        "bounties",
        "Cells whose coverage somebody pays for: what is left, until when, from whom, paid so far",
        (p.BBOX, p.OPEN_DATETIME, p.LIMIT, p.PLACE_CURSOR, p.FORMAT),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/collections/{collection}/items/{id}",
        "item",
        "One feature",
        (p.JSON_FORMAT,),
        GEOJSON,
        ogc=True,
    ),
    Operation(
        "/tiles/{snapshot}/h3/{cell}/{res}",
        "tile",
        "All cells of a resolution under a cell, as a binary tile",
        (p.TILE_COLUMNS,),
        TILE,
    ),
    Operation("/tiles/{snapshot}/xyz/{z}/{x}/{y}", "mvt", "A Mapbox vector tile", (), MVT),
    Operation(
        f"{MATRIX}/{{z}}/{{row}}/{{col}}",
        "ogc_tile",
        "A Mapbox vector tile by row and column",
        (p.SNAPSHOT,),
        MVT,
        ogc=True,
    ),
    Operation(f"{MATRIX}/tilejson.json", "tilejson", "TileJSON 3.0", (p.SNAPSHOT,)),
    Operation(f"{MATRIX}/style.json", "style", "A MapLibre style", (p.SNAPSHOT, p.THRESHOLD)),
    Operation(
        "/collections/cells/tiles", "tilesets", "The tile sets", (p.JSON_FORMAT,), ogc=True
    ),
    Operation(MATRIX, "tileset", "One tile set", (p.JSON_FORMAT,), ogc=True),
    Operation(
        "/tiles", "dataset_tilesets", "The map's tile sets", (p.JSON_FORMAT,), ogc=True
    ),
    Operation(
        "/exports/{snapshot}.pmtiles",
        "pmtiles",
        "The whole snapshot as one PMTiles archive",
        (),
        PMTILES,
    ),
    Operation("/position", "position", "The cell at a point", (p.POINT, *p.PLACE)),
    Operation("/area", "area", "Counts and shares inside a polygon", (p.POLYGON, *p.PLACE)),
    Operation(
        "/cells/{h3}",
        "cell",
        "One cell: quantiles, age, links, and the signed records with proofs behind it",
        (p.THRESHOLD, p.EVIDENCE),
    ),
    Operation("/cells/{h3}/history", "history", "A cell in every snapshot kept, oldest first"),
    Operation(
        "/cells/{h3}/evidence", "evidence", "Signed records with proofs", (p.EVIDENCE_LIMIT,)
    ),
    Operation("/hotspots/{index}", "hotspot", "One hotspot: who hears it, what it earned and why"),
    Operation("/dggs", "dggs", "The grids that data is offered in"),
    Operation("/dggs/h3", "dggrs", "The definition of our H3"),
    Operation("/dggs/h3/zones/{cell}", "zone_info", "A zone"),
    Operation(
        "/dggs/h3/zones/{cell}/data",
        "zone",
        "All cells of one resolution inside a zone, as columns",
        (p.DEPTH, p.SNAPSHOT, p.DATA_FORMAT),
    ),
)

# What Requirement 23 of OGC API Tiles calls these operations; elsewhere they have our names.
OGC_NAMES = {
    "dataset_tilesets": ".dataset.vector.getTileSetsList",
    "tilesets": "cells.collection.vector.getTileSetsList",
    "tileset": "cells.collection.vector.getTileSet",
    "ogc_tile": "cells.collection.vector.getTile",
}

_CELL = {"type": "string", "pattern": "^[0-9a-f]{15}$"}
_NAMES = ["cells", "hotspots", "gaps", "beacons", "outline", "bounties"]
_COUNT = {"type": "integer", "minimum": 0}


def _place(name: str, schema: dict[str, Any], text: str) -> Parameter:
    return Parameter(name, str, None, schema, text)


_PLACES = {
    parameter.name: parameter
    for parameter in (
        _place("h3", _CELL, "H3 cell in hexadecimal"),
        _place("cell", _CELL, "H3 cell in hexadecimal"),
        _place("index", _COUNT, "dense index of the hotspot on the ledger"),
        _place("collection", {"type": "string", "enum": _NAMES}, "name of a collection"),
        _place("id", {"type": "string"}, "id of the feature or snapshot"),
        _place("snapshot", {"type": "string", "pattern": p.SNAPSHOT_PATTERN}, "id, or live"),
        _place("res", {"type": "integer", "minimum": 3, "maximum": 11}, "H3 resolution"),
        *(_place(name, {**_COUNT, "maximum": 22}, "zoom") for name in ("z",)),
        *(_place(name, _COUNT, "of the tile") for name in ("x", "y", "row", "col")),
    )
}


def document(
    operations: Sequence[Operation], version: str, *, planner: bool = False
) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1; with the planner's part where that is served."""
    answers, components = models.schemas()
    found = get_document(
        [_route(operation, answers.get(operation.handler)) for operation in operations],
        title="Wavecomb coverage map",
        version=version,
        description="Measured and predicted coverage per H3 cell, with proof behind "
        "every measurement.",
        schemas=components,
    )
    for operation in operations:
        content = found["paths"][operation.path]["get"]["responses"]["200"]["content"]
        for media in _other_forms(operation):
            content[media] = {"schema": {"type": "string"}}
    if planner:
        found["paths"] |= planning.paths()
        found["components"]["securitySchemes"] = {"key": dict(planning.KEYS)}
    return found


def _other_forms(operation: Operation) -> tuple[str, ...]:
    if p.FORMAT in operation.parameters:
        return ("text/csv", ARROW, "application/vnd.apache.parquet")
    return (ARROW,) if p.DATA_FORMAT in operation.parameters else ()


def document_3_0(
    operations: Sequence[Operation], version: str, *, planner: bool = False
) -> dict[str, Any]:
    """The part that the OGC's standards speak of, as OpenAPI 3.0.3.

    Its schemas are the common subset: what 3.1 alone knows is put in 3.0's words.
    """
    spoken_of = [operation for operation in operations if operation.ogc]
    found = document(spoken_of, version, planner=planner)
    found["openapi"] = "3.0.3"
    found["info"]["license"] = {"name": "MIT"}
    for path in found["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            operation["operationId"] = OGC_NAMES.get(name, name)
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "limit":  # the standard's example says so, and means it
                    parameter["schema"] = {"maximum": p.LIMIT_MAX, **parameter["schema"]}
    return dict(_older(found))


def _older(value: Any) -> Any:
    if isinstance(value, list):
        return [_older(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _older(item) for name, item in value.items() if name != "contentEncoding"}
    kinds, options = found.get("type"), found.get("anyOf")
    if isinstance(kinds, list) and "null" in kinds:
        found |= {"type": next(kind for kind in kinds if kind != "null"), "nullable": True}
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        # Beside a reference 3.0 reads nothing; inside allOf it does.
        one = {"allOf": rest} if "$ref" in rest[0] else rest[0]
        found = {**one, "nullable": True}
    return found


def _route(operation: Operation, answer: Schema | None) -> Route:
    bare = Route("GET", operation.path, operation.handler, operation.summary)
    places = tuple(_PLACES[name] for name in bare.path_names)
    errors: tuple[int, ...] = (400, 404, 503) if p.SNAPSHOT in operation.parameters else (400,)
    if operation.handler in LIMITED:
        errors = (*errors, 401, 429)
    return Route(
        *("GET", operation.path, operation.handler, operation.summary),
        (*places, *operation.parameters),
        answer=answer if "json" in operation.media else BINARY.get(operation.media),
        media=operation.media,
        errors=errors,
    )
