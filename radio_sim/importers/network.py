"""What a published network comes down to in any format: nodes, links, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chain.errors import UserError

# How the formats call their kinds of links.
LINK_KINDS = {
    "wifi": "wireless",
    "wireless": "wireless",
    "wlan": "wireless",
    "active": "wireless",
    "60ghz": "wireless",
    "radio": "wireless",
    "vpn": "vpn",
    "tunnel": "vpn",
    "other": "wired",
    "wired": "wired",
    "ethernet": "wired",
    "lan": "wired",
    "fiber": "wired",
    "fibre": "wired",
}


@dataclass(frozen=True, slots=True)
class RawNode:
    """A node as published; position None where the owner gave none."""

    key: str
    name: str
    position: tuple[float, float] | None  # latitude, longitude in degrees
    height_m: float | None = None


@dataclass(frozen=True, slots=True)
class RawLink:
    """A link between node keys; quality is the share of probes that arrive, if published."""

    a: str
    b: str
    kind: str
    quality: float | None = None


@dataclass(slots=True)
class RawNetwork:
    """Nodes by key, links, and counts of what a reader left out, by reason."""

    format: str
    nodes: dict[str, RawNode] = field(default_factory=dict)
    links: list[RawLink] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, node: RawNode) -> None:
        """Take a node; the first of a key counts."""
        if node.key in self.nodes:
            self.dropped["node listed twice"] += 1
        else:
            self.nodes[node.key] = node


def bad(place: str, problem: str, remedy: str = "give an unaltered export") -> UserError:
    """Make the error for a file that is not what its format promises."""
    return UserError(place, problem, remedy)


def listed(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """A list of objects inside a document; a dictionary of objects counts as its values."""
    value = document.get(key, [])
    rows = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise bad(key, "not a list of objects")
    return rows


def number(value: Any) -> float | None:
    """A finite number, or None: published fields hold anything."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except ValueError:
        return None
    return result if abs(result) < 1e9 else None  # false for NaN and infinities


def position(latitude: Any, longitude: Any) -> tuple[float, float] | None:
    """A position on earth, or None; exactly (0, 0) is an unset field, not a place."""
    lat, lon = number(latitude), number(longitude)
    if lat is None or lon is None or abs(lat) > 85.0 or abs(lon) > 180.0 or (lat, lon) == (0, 0):
        return None
    return (lat, lon)


def quality_of(*values: Any) -> float | None:
    """Quality of a link from what its two ends say: the worse; above one it is an ETX cost."""
    known = [value for value in map(number, values) if value is not None and value >= 0]
    shares = [1.0 / value if value > 1.0 else value for value in known]
    return min(shares) if shares else None


def kind_of(value: Any, default: str = "wireless") -> str:
    """Our kind for a published one."""
    return LINK_KINDS.get(str(value).strip().lower(), default)
