"""NYC Mesh: its map's nodes (JSON or CSV) and links.

A node counts if it is installed, or if a live link ends at it and it is not powered off: hubs and
access points are listed under other states. Altitudes are those of the roof above the sea; the
ground there lies at 5 to 20 m, which is neglected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radio_sim.importers.network import (
    RawLink,
    RawNetwork,
    RawNode,
    kind_of,
    number,
    position,
)

FORMAT = "nyc-mesh"
LIVE = ("active", "60ghz", "vpn", "fiber")


def recognises(document: Any) -> bool:
    """Whether this is a list of nodes with a status, or of links from one to another."""
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    first = document[0]
    return {"from", "to"} <= first.keys() or ("id" in first and "status" in first)


def read(documents: Sequence[Sequence[Mapping[str, Any]]]) -> RawNetwork:
    """Join the list of nodes and the list of links, given in any order."""
    network = RawNetwork(FORMAT)
    rows = [row for document in documents for row in document if isinstance(row, dict)]
    for row in rows:
        if "from" in row and "to" in row:
            _read_link(network, row)
    linked = {end for link in network.links for end in (link.a, link.b)}
    for row in rows:
        if "id" in row:
            _read_node(network, row, linked)
    return network


def _read_link(network: RawNetwork, row: Mapping[str, Any]) -> None:
    status = str(row.get("status", "")).lower()
    if status not in LIVE:
        network.dropped[f"link {status or 'without status'}"] += 1
        return
    network.links.append(RawLink(str(row["from"]), str(row["to"]), kind_of(status)))


def _read_node(network: RawNetwork, row: Mapping[str, Any], linked: set[str]) -> None:
    key, status = str(row["id"]), str(row.get("status", ""))
    if status == "Powered Off" or (status != "Installed" and key not in linked):
        network.dropped[f"node {status.lower() or 'without status'}"] += 1
        return
    coordinates = row.get("coordinates")
    if isinstance(coordinates, list) and len(coordinates) >= 2:
        longitude, latitude, altitude = (*coordinates, None)[:3]
    else:
        longitude, latitude, altitude = row.get("lon"), row.get("lat"), row.get("alt_m")
    name = str(row.get("name") or f"nn{key}")
    network.add(RawNode(key, name, position(latitude, longitude), number(altitude)))
