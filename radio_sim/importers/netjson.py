"""NetJSON NetworkGraph and NetworkCollection (netjson.org/rfc.html)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radio_sim.importers.network import (
    RawLink,
    RawNetwork,
    RawNode,
    kind_of,
    listed,
    number,
    position,
)

FORMAT = "netjson"
_LATITUDE = ("lat", "latitude")
_LONGITUDE = ("lon", "lng", "long", "longitude")


def recognises(document: Any) -> bool:
    """Whether the document says it is a graph or a collection of them."""
    return isinstance(document, dict) and document.get("type") in (
        "NetworkGraph",
        "NetworkCollection",
    )


def read(documents: Sequence[Mapping[str, Any]]) -> RawNetwork:
    """Read all graphs; positions are taken wherever implementations put them."""
    network = RawNetwork(FORMAT)
    for graph in (part for document in documents for part in _graphs(document)):
        is_etx = str(graph.get("metric", "")).upper() == "ETX"
        for row in listed(graph, "nodes"):
            if "id" not in row:
                network.dropped["node without id"] += 1
                continue
            key = str(row["id"])
            network.add(RawNode(key, str(row.get("label") or key), _place(row)))
        for row in listed(graph, "links"):
            cost = number(row.get("cost"))
            quality = 1.0 / max(1.0, cost) if is_etx and cost and cost > 0 else None
            kind = kind_of(_property(row, "type") or _property(row, "kind"))
            network.links.append(
                RawLink(str(row.get("source")), str(row.get("target")), kind, quality)
            )
    return network


def _graphs(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if document.get("type") == "NetworkCollection":
        parts = listed(document, "collection")
        return [part for part in parts if part.get("type") == "NetworkGraph"]
    return [document]


def _property(row: Mapping[str, Any], key: str) -> Any:
    properties = row.get("properties")
    return row.get(key) or (properties.get(key) if isinstance(properties, dict) else None)


def _place(row: Mapping[str, Any]) -> tuple[float, float] | None:
    candidates = [row, row.get("properties"), row.get("location"), _property(row, "location")]
    for place in candidates:
        if isinstance(place, dict):
            latitude = next((place[key] for key in _LATITUDE if key in place), None)
            longitude = next((place[key] for key in _LONGITUDE if key in place), None)
            found = position(latitude, longitude)
            if found:
                return found
    return None
