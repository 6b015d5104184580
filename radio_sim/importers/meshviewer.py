"""meshviewer.json of Freifunk communities: the flat form, and nodes.json + graph.json before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radio_sim.importers.network import (
    RawLink,
    RawNetwork,
    RawNode,
    kind_of,
    listed,
    position,
    quality_of,
)

FORMAT = "meshviewer"


def recognises(document: Any) -> bool:
    """Whether this is one of meshviewer's files."""
    if not isinstance(document, dict):
        return False
    if "batadv" in document:
        return True
    nodes = document.get("nodes")
    rows = list(nodes.values()) if isinstance(nodes, dict) else nodes
    return isinstance(rows, list) and any(
        isinstance(row, dict) and ("nodeinfo" in row or "node_id" in row) for row in rows[:50]
    )


def read(documents: Sequence[Mapping[str, Any]]) -> RawNetwork:
    """Join nodes and links of all documents given."""
    network = RawNetwork(FORMAT)
    for document in documents:
        for row in listed(document, "nodes"):
            _read_node(network, row)
    for document in documents:
        if "batadv" in document:
            _read_graph(network, document["batadv"])
        else:
            _read_links(network, listed(document, "links"))
    return network


def _read_node(network: RawNetwork, row: Mapping[str, Any]) -> None:
    info = row.get("nodeinfo", row)
    if not isinstance(info, dict) or "node_id" not in info:
        network.dropped["node without node_id"] += 1
        return
    flags = row.get("flags", {})
    online = row.get("is_online", flags.get("online", True) if isinstance(flags, dict) else True)
    if not online:
        network.dropped["node offline"] += 1
        return
    key, location = str(info["node_id"]), info.get("location")
    place = location if isinstance(location, dict) else {}
    network.add(
        RawNode(
            key,
            str(info.get("hostname") or key),
            position(place.get("latitude"), place.get("longitude")),
        )
    )


def _read_links(network: RawNetwork, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        network.links.append(
            RawLink(
                str(row.get("source")),
                str(row.get("target")),
                kind_of(row.get("type")),
                quality_of(row.get("source_tq"), row.get("target_tq"), row.get("tq")),
            )
        )


def _read_graph(network: RawNetwork, graph: Any) -> None:
    """Read graph.json: ends are positions in its own list of nodes; `tq` there is a cost."""
    if not isinstance(graph, dict):
        return
    keys = [str(row.get("node_id", row.get("id"))) for row in listed(graph, "nodes")]
    for row in listed(graph, "links"):
        ends = [
            keys[end]
            for end in (row.get("source"), row.get("target"))
            if isinstance(end, int) and 0 <= end < len(keys)
        ]
        if len(ends) != 2:
            network.dropped["link to an unknown node"] += 1
            continue
        kind = "vpn" if row.get("vpn") else kind_of(row.get("type"))
        network.links.append(RawLink(ends[0], ends[1], kind, quality_of(row.get("tq"))))
