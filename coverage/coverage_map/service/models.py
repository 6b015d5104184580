"""What the map's API answers, as msgspec models: the OpenAPI documents are made from them.

A member that may be null says so here, field by field, and nothing but the named members may come.
Tests hold the answers of a running map against these; answering itself needs no model.
"""

# The names of members are those of the OGC's and others' standards.
# ruff: noqa: N815

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from coverage_map.service import models_about as about
from coverage_map.service.models_about import H3, Count, Hex, Link, Model

P = TypeVar("P")
Kind = Literal["measured", "predicted"]
State = Literal["measured", "predicted", "unknown"]
Share = Annotated[float, Meta(ge=0, le=1)]
Place = Annotated[list[float], Meta(min_length=2, max_length=2)]
Ring = Annotated[list[Place], Meta(min_length=4)]


# ---- geometries and features


class Point(Model, tag="Point", tag_field="type"):
    """A place: longitude, latitude in degrees (WGS 84)."""

    coordinates: Place


class LineString(Model, tag="LineString", tag_field="type"):
    """A line through places."""

    coordinates: list[Place]


class Polygon(Model, tag="Polygon", tag_field="type"):
    """An outer ring, then those of holes; each closed."""

    coordinates: list[Ring]


class Feature(Model, Generic[P]):
    """A feature of a page."""

    type: Literal["Feature"]
    id: str
    geometry: Point | LineString | Polygon
    properties: P


class Item(Model, Generic[P]):
    """A feature alone, with links."""

    type: Literal["Feature"]
    id: str
    geometry: Point | LineString | Polygon
    properties: P
    links: list[Link]


class Page(Model, Generic[P]):
    """A page of features; `snapshot` where they come from one."""

    type: Literal["FeatureCollection"]
    timeStamp: str
    numberMatched: Count
    numberReturned: Count
    features: list[Feature[P]]
    links: list[Link]
    snapshot: str | UnsetType = UNSET


# ---- properties of features


class CellRecord(Model):
    """What is known of a cell; null where it isn't."""

    h3: H3
    resolution: int
    state: Kind
    value_dbm: float | None
    uncertainty_db: float | None
    service_probability: Share | None
    confidence: Share | None
    count: Count
    hotspots: Count
    devices: Count
    min_dbm: float | None
    mean_dbm: float | None
    max_dbm: float | None
    p10_dbm: float | None
    p50_dbm: float | None
    p90_dbm: float | None
    first_epoch: Count | None
    last_epoch: Count | None
    newest_ms: int | None
    best_server: Count | None
    predicted_dbm: float | None
    predicted_sd_db: float | None
    predicted_server: Count | None
    overlap: Count


class HotspotRecord(Model):
    """A hotspot at the precision that its owner published."""

    hotspot: Count
    key: Hex
    owner: Hex
    cell: H3
    height_m: int
    eirp_dbm: float
    gain_dbi: float
    frequency_mhz: int
    heard_by: Count


class GapRecord(Model):
    """A cell without service beside served ones."""

    h3: H3
    why: Literal["measured_below", "predicted_below", "unknown"]
    value_dbm: float | None
    served_neighbours: Count
    threshold_dbm: float


class LinkRecord(Model):
    """Of a feature: `verdicts` in words."""

    beaconer: Count
    witness: Count
    median_dbm: float | None
    count: Count
    late: Count
    newest_ms: int | None
    distance_m: Count
    verdicts: str


class OutlineRecord(Model):
    """One connected served area."""

    area: Count
    threshold_dbm: float
    holes: Count


class OfferRecord(Model):
    """What one bounty holds for one cell, micro-credits."""

    h3: H3
    bounty: Count
    sponsor: Hex
    left_ucr: Count
    per_settlement_ucr: Count
    amount_ucr: Count | None
    paid_ucr: Count | None
    since_epoch: Count | None
    until_epoch: Count
    until_ms: int | None
    hotspots_in_cell: Count


# ---- one place


class Heard(Model):
    """A link with its verdicts by name."""

    beaconer: Count
    witness: Count
    median_dbm: float | None
    count: Count
    late: Count
    newest_ms: int | None
    distance_m: Count
    verdicts: dict[str, Count]


class Proof(Model, forbid_unknown_fields=False):
    """Inclusion in the ledger's log (RFC 6962)."""

    leaf_index: Count
    tree_size: Count
    root: Hex
    path: list[Hex]


class Evidence(Model):
    """A signed record behind a value; `wire` is base64."""

    sequence: Count
    record_id: Hex
    witness: Count
    beaconer: Count
    epoch: Count
    beacon: Count
    reason: str
    wire: str
    proof: Proof | None


class Measured(Model):
    """What was received in a cell, dBm."""

    p10_dbm: float | None
    p50_dbm: float | None
    p90_dbm: float | None
    min_dbm: float | None
    mean_dbm: float | None
    max_dbm: float | None
    count: Count
    newest_ms: int | None
    hotspots_heard: Count
    witnesses: Count
    late: Count


class Server(Model):
    """A hotspot that a cell is predicted to hear."""

    hotspot: Count
    mean_dbm: float


class Predicted(Model):
    """What the model says of a cell."""

    mean_dbm: float
    sd_db: float | None
    servers: list[Server]


class AnyCell(CellRecord):
    """A cell that may be unknown: then its members are null, and its counts 0."""

    state: State  # type: ignore[assignment]


class Cell(AnyCell):
    """One cell with all that is behind it."""

    measured: Measured | None
    predicted: Predicted | None
    threshold_dbm: float
    links: list[Heard]
    evidence: list[Evidence]
    pending_receptions: Count
    bounties: list[OfferRecord]
    snapshot: str | None


class Position(AnyCell):
    """The cell at a point."""

    coords: Place
    threshold_dbm: float
    snapshot: str


class Moment(Model):
    """A cell in one snapshot."""

    snapshot: str
    epoch: Count
    time_ms: int
    state: Kind
    value_dbm: float | None
    uncertainty_db: float | None
    count: Count
    hotspots: Count
    devices: Count
    best_server: Count | None


class History(Model):
    """A cell in every snapshot kept, oldest first."""

    h3: H3
    history: list[Moment]


class Evidences(Model):
    """Signed records behind a cell."""

    h3: H3
    evidence: list[Evidence]


class Hotspot(HotspotRecord):
    """One hotspot: links, and what the ledger says that it earned."""

    offset_db: float
    heard: list[Heard]
    hears: list[Heard]
    earnings: dict[str, Any] | None
    why: list[str]


class Area(Model):
    """Counts and shares inside a polygon."""

    snapshot: str
    resolution: int
    threshold_dbm: float
    cells: Count
    measured: Count
    predicted: Count
    served: Count
    unserved: Count
    served_share: Share | None
    receptions: Count
    median_dbm: float | None
    cell_area_km2: float


class Columns(Model):
    """Cells as columns of one length."""

    h3: list[H3]
    measured: list[Literal[0, 1]]
    value_dbm: list[float | None]
    sd_db: list[float | None]
    count: list[Count]
    hotspots: list[Count]
    newest_ms: list[int | None]
    server: list[Count | None]


class ZoneData(Columns):
    """The cells in a zone, and measured ones that are coarser."""

    dggrs: Literal["H3"]
    zone: H3
    resolution: int
    coarser: Columns


class Zone(Model):
    """A zone of the grid."""

    id: H3
    level: Count
    centroid: Place
    bbox: Annotated[list[float], Meta(min_length=4, max_length=4)]
    areaMetersSquare: float
    geometry: Polygon
    links: list[Link]


# ---- which answer each handler of service/openapi.py gives; a tuple: one of them


ANSWERS: dict[str, Any] = {
    **about.ANSWERS,
    "cells": Page[CellRecord],
    "hotspots": Page[HotspotRecord],
    "gaps": Page[GapRecord],
    "beacons": Page[LinkRecord],
    "outline": Page[OutlineRecord],
    "bounties": Page[OfferRecord],
    "item": (
        Item[CellRecord], Item[HotspotRecord], Item[GapRecord], Item[LinkRecord],
        Item[OutlineRecord], Item[OfferRecord],
    ),
    "position": Position,
    "area": Area,
    "cell": Cell,
    "history": History,
    "evidence": Evidences,
    "hotspot": Hotspot,
    "zone_info": Zone,
    "zone": ZoneData,
}  # fmt: skip
REFERENCE = "#/components/schemas/{name}"


def schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Schema of each handler's answer by its name, and the components that they refer to."""
    models = {
        name: found if isinstance(found, tuple) else (found,) for name, found in ANSWERS.items()
    }
    flat = [model for found in models.values() for model in found]
    references, components = msgspec.json.schema_components(flat, ref_template=REFERENCE)
    rest = iter(references)
    answers = {name: _one_of([next(rest) for _ in found]) for name, found in models.items()}
    return answers, {name: _plain(schema) for name, schema in components.items()}


def _one_of(references: list[dict[str, Any]]) -> dict[str, Any]:
    return references[0] if len(references) == 1 else {"anyOf": references}


def _plain(value: Any) -> Any:
    """`type: [integer, null]` where msgspec writes a choice of two schemas."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _plain(item) for name, item in value.items()}
    options = found.get("anyOf", [])
    if len(options) == 2 and {"type": "null"} in options:
        kind = next(option for option in options if option != {"type": "null"})
        if isinstance(kind.get("type"), str):
            return {**{k: v for k, v in found.items() if k != "anyOf"}, **kind,
                    "type": [kind["type"], "null"]}  # fmt: skip
    return found
