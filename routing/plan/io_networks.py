"""Opens measured meshes that plans are tried on; matrices: routing/plan/io_matrices.py."""

from __future__ import annotations

import gzip
import json
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing.types import Link

# Rate of a mesh link without loss; a measured quality scales it.
FULL_RATE_KBPS = 50_000.0
_WORST_QUALITY = 0.05


@dataclass(frozen=True, slots=True)
class Mesh:
    """The largest connected part of a measured mesh, nodes renumbered by falling degree."""

    name: str
    nodes: int
    links: tuple[Link, ...]
    rates_kbps: tuple[float, ...]


def _mesh(name: str, qualities: dict[tuple[str, str], float]) -> Mesh:
    """Keep the largest part of links by quality (0..1]; both directions exist or none does."""
    near: dict[str, set[str]] = {}
    for a, b in qualities:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    part = _largest_part(near)
    order = sorted(part, key=lambda node: (-len(near[node]), node))
    number = {node: index for index, node in enumerate(order)}
    rates: dict[Link, float] = {}
    for (a, b), quality in qualities.items():
        if a in number:
            rates[number[a], number[b]] = FULL_RATE_KBPS * max(_WORST_QUALITY, quality)
    links = tuple(sorted(rates))
    return Mesh(name, len(order), links, tuple(rates[link] for link in links))


def _largest_part(near: dict[str, set[str]]) -> set[str]:
    left, best = set(near), set[str]()
    while left:
        part, edge = set[str](), [min(left)]
        while edge:
            node = edge.pop()
            if node not in part:
                part.add(node)
                edge += near[node] - part
        left -= part
        if len(part) > len(best):
            best = part
    return best


def freifunk_mesh(path: Path) -> Mesh:
    """Read a meshnet-lab JSON graph; a link's quality is what its sender's side measured.

    Links that were measured dead in a direction are left out; those nobody measured count as good.
    """
    graph: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    qualities: dict[tuple[str, str], float] = {}
    for link in graph["links"]:
        a, b = str(link["source"]), str(link["target"])
        forth, back = (float(link.get(f"{end}_tq", 1.0)) for end in ("source", "target"))
        if a != b and forth > 0 and back > 0:
            qualities[a, b], qualities[b, a] = forth, back
    return _mesh(path.name.split(".")[0], qualities)


def graphml_meshes(path: Path) -> Iterator[Mesh]:
    """Read every ETX graph of a netCommons archive; a link's quality is 1 / ETX."""
    with tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if m.name.endswith(".xml")]
        for member in sorted(members, key=lambda m: m.name):
            file = archive.extractfile(member)
            if file is not None:
                yield _graphml_mesh(Path(member.name).stem, file.read())


def _graphml_mesh(name: str, data: bytes) -> Mesh:
    qualities: dict[tuple[str, str], float] = {}
    for edge in ElementTree.fromstring(data).findall(".//{*}edge"):
        a, b = str(edge.get("source")), str(edge.get("target"))
        etx = next((float(str(d.text)) for d in edge.findall("{*}data") if d.text), 1.0)
        if a != b and etx > 0:
            qualities[a, b] = qualities[b, a] = min(1.0, 1.0 / etx)
    return _mesh(name, qualities)
