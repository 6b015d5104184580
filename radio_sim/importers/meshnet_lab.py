"""meshnet-lab's JSON. In its Freifunk sets x is the LATITUDE; elsewhere it may be the longitude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radio_sim.importers.network import (
    RawLink,
    RawNetwork,
    RawNode,
    bad,
    kind_of,
    listed,
    number,
    position,
    quality_of,
)

FORMAT = "meshnet-lab"
AXES = ("auto", "lat-lon", "lon-lat")
# Where the communities that publish in this format are: latitude and longitude of Europe.
PLAUSIBLE = ((35.0, 72.0), (-12.0, 33.0))


def recognises(document: Any) -> bool:
    """Whether nodes have `id` and, some of them, `x` and `y`."""
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        return False
    return any(isinstance(row, dict) and "id" in row and "x" in row for row in document["nodes"])


def read(documents: Sequence[Mapping[str, Any]], axis: str = "auto") -> RawNetwork:
    """Read nodes and links; `axis` says what (x, y) are."""
    network = RawNetwork(FORMAT)
    rows = [row for document in documents for row in listed(document, "nodes")]
    pairs = [(number(row.get("x")), number(row.get("y"))) for row in rows]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    if known and sum(abs(x) > 180 or abs(y) > 180 for x, y in known) > len(known) // 2:
        raise bad("nodes.x", "positions are no degrees", "give a network with geographic positions")
    chosen = guess_axis(known) if axis == "auto" else axis
    network.notes.append(f"(x, y) read as {chosen}" + (" (guessed)" if axis == "auto" else ""))
    for row, (x, y) in zip(rows, pairs, strict=True):
        if "id" not in row:
            network.dropped["node without id"] += 1
            continue
        key = str(row["id"])
        place = position(x, y) if chosen == "lat-lon" else position(y, x)
        network.add(RawNode(key, str(row.get("name") or f"node-{key}"), place))
    for document in documents:
        for row in listed(document, "links"):
            network.links.append(
                RawLink(
                    str(row.get("source")),
                    str(row.get("target")),
                    kind_of(row.get("type")),
                    quality_of(row.get("source_tq"), row.get("target_tq"), row.get("tq")),
                )
            )
    return network


def guess_axis(pairs: Sequence[tuple[float, float]]) -> str:
    """Say which axis is the latitude: what no latitude can be decides, then where networks are."""
    beyond_x = sum(abs(x) > 90 for x, _ in pairs)
    beyond_y = sum(abs(y) > 90 for _, y in pairs)
    if beyond_x != beyond_y:
        return "lon-lat" if beyond_x > beyond_y else "lat-lon"
    (south, north), (west, east) = PLAUSIBLE
    straight = sum(south <= x <= north and west <= y <= east for x, y in pairs)
    turned = sum(south <= y <= north and west <= x <= east for x, y in pairs)
    return "lon-lat" if turned > straight else "lat-lon"
