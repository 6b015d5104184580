"""Models of what the API says of itself, the network and the tile sets; see models.py."""

# The names of members are those of the OGC's and others' standards.
# ruff: noqa: N815

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Count = Annotated[int, Meta(ge=0)]
H3 = Annotated[str, Meta(pattern="^[0-9a-f]{15}$")]
Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]


class Model(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What an answer holds: these members, and no others."""


class Link(Model):
    """A link to another document."""

    rel: str
    href: str
    type: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    templated: bool | UnsetType = UNSET


class Conformance(Model):
    """Conformance classes."""

    conformsTo: list[str]


# ---- the network


class CellCounts(Model):
    """Cells of the finest resolution."""

    resolution: Count
    measured: Count
    predicted: Count


class BountyCounts(Model):
    """What is offered in all, and what the rules ask of an offer."""

    open: Count
    left_ucr: Count
    resolution: Count
    min_ucr: Count
    epochs_max: Count


class Ledger(Model):
    """What the map knows of its ledger."""

    state: Literal["waiting", "ok", "unreachable", "fault"]
    detail: str
    records: Count
    log_root: str


class Stats(Model):
    """Figures of the network, the ledger and the map."""

    now_ms: int
    network: str
    preset: str
    epoch: Count
    epoch_ms: Count
    epoch_end_ms: int
    hotspots: Count
    receptions: Count
    late_reports: Count
    pending_receptions: Count
    verdicts: dict[str, Count]
    beacons_judged: Count
    ai_requests: Count
    ai_tokens: Count
    credits_paid_ucr: Count
    ledger: Ledger
    settlement_epochs: Count
    bounties: BountyCounts
    snapshot: str | None
    cells: CellCounts


# ---- snapshots and collections


class Snapshot(Model):
    """A snapshot that is kept."""

    id: str
    epoch: Count
    time_ms: int
    cells: Count


class Snapshots(Model):
    """All that are kept, newest first."""

    current: str | None
    snapshots: list[Snapshot]


class WholeSnapshot(Snapshot):
    """A snapshot with its rows per level and the SHA-256 of each file."""

    rows: dict[str, Count]
    files: dict[str, str]


class Spatial(Model):
    """Where features may lie."""

    bbox: list[list[float]]
    crs: str


class Temporal(Model):
    """When they may be from; null for open."""

    interval: list[list[str | None]]
    trs: str


class Extent(Model):
    """Where and when."""

    spatial: Spatial
    temporal: Temporal


class Collection(Model):
    """A collection of features."""

    id: str
    title: str
    itemType: Literal["feature"]
    extent: Extent
    crs: list[str]
    links: list[Link]


class Collections(Model):
    """All collections."""

    links: list[Link]
    collections: list[Collection]


# ---- tile sets and grids


class Limits(Model):
    """Rows and columns that are answered at a zoom."""

    tileMatrix: str
    minTileRow: Count
    maxTileRow: Count
    minTileCol: Count
    maxTileCol: Count


class TileSet(Model):
    """A set of tiles."""

    title: str
    dataType: Literal["vector"]
    crs: str
    tileMatrixSetId: str
    tileMatrixSetURI: str
    tileMatrixSetLimits: list[Limits]
    links: list[Link]


class TileSets(Model):
    """All sets of tiles."""

    links: list[Link]
    tilesets: list[TileSet]


class VectorLayer(Model):
    """A layer of a vector tile."""

    id: str
    fields: dict[str, str]
    minzoom: Count
    maxzoom: Count


class TileJson(Model):
    """TileJSON 3.0."""

    tilejson: str
    name: str
    version: str
    scheme: Literal["xyz"]
    tiles: list[str]
    minzoom: Count
    maxzoom: Count
    bounds: Annotated[list[float], Meta(min_length=4, max_length=4)]
    center: Annotated[list[float], Meta(min_length=3, max_length=3)]
    vector_layers: list[VectorLayer]


class Style(Model):
    """A MapLibre style."""

    version: Literal[8]
    name: str
    sources: dict[str, dict[str, str]]
    layers: list[dict[str, Any]]


class Grid(Model):
    """A discrete global grid."""

    id: str
    title: str
    links: list[Link]


class Grids(Model):
    """All grids."""

    dggrs: list[Grid]


class GridDefinition(Model):
    """Our definition of H3 for OGC API DGGS."""

    id: str
    title: str
    uri: str
    crs: str
    defaultDepth: Count
    maxRefinementLevel: Count
    maxRelativeDepth: Count
    dggh: dict[str, Any]
    zirs: dict[str, str]
    subZoneOrder: str
    links: list[Link]


ANSWERS: dict[str, Any] = {
    "conformance": Conformance,
    "stats": Stats,
    "snapshots": Snapshots,
    "snapshot": WholeSnapshot,
    "collections": Collections,
    "collection": Collection,
    "tilesets": TileSets,
    "dataset_tilesets": TileSets,
    "tileset": TileSet,
    "tilejson": TileJson,
    "style": Style,
    "dggs": Grids,
    "dggrs": GridDefinition,
}
