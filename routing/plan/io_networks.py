"""Opens what plans are tried on: traffic matrices with their topology, and measured meshes.

Matrices: an NPZ with `tm` [steps, n * n] in Mbit/s, row-major by source, and `ts`, ascending: as
YYYYMMDD-HHMM, as ISO 8601, or as seconds since 1970.
Topology: the text form "index source target weight capacity-kbit/s", or SNDlib's XML with a
capacity in Mbit/s, whose nodes take the order of the NPZ's `names`.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from chain.errors import UserError
from routing.forecast.datasets import parse_topology
from routing.plan.network import Array, Network, Pair, wired
from routing.types import Link

MBIT_KBPS = 1_000.0
# Rate of a mesh link without loss; a measured quality scales it.
FULL_RATE_KBPS = 50_000.0
_WORST_QUALITY = 0.05


@dataclass(frozen=True, slots=True)
class Matrices:
    """Demands [steps, pairs] in kbps every `step_s` from `start_s`, over a wired network."""

    name: str
    network: Network
    pairs: tuple[Pair, ...]
    demands_kbps: Array
    step_s: int
    start_s: int


def load_matrices(matrices: Path, topology: Path) -> Matrices:
    """Read an NPZ and its topology; UserError says what is wrong with either."""
    try:
        with matrices.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            flat = np.asarray(archive["tm"], dtype=np.float64)
            stamps = [str(stamp) for stamp in archive["ts"]]
            names = [str(name) for name in archive["names"]] if "names" in archive else []
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, TypeError) as error:
        problem = f"{matrices.name}: {error}"
        raise UserError("--matrices", problem, "give an NPZ with tm and ts") from None
    nodes = round(flat.shape[1] ** 0.5) if flat.ndim == 2 else 0
    if nodes < 2 or nodes * nodes != flat.shape[1] or len(stamps) != len(flat) or len(flat) < 2:
        raise UserError("--matrices", "tm is not [steps, n * n] with a ts each", "see the help")
    if not bool(np.all(np.isfinite(flat)) and np.all(flat >= 0)):
        raise UserError("--matrices", "a demand is negative or not finite", "mend the data")
    network = load_topology(topology, names)
    if network.nodes > nodes:
        raise UserError("--topology", f"{network.nodes} nodes, matrices {nodes}", "match them")
    if not flat.any():
        raise UserError("--matrices", "no demand at all", "give matrices of a network in use")
    pairs = _pairs_in_reach(network, flat.reshape(len(flat), nodes, nodes))
    demands = flat[:, [a * nodes + b for a, b in pairs]] * MBIT_KBPS
    start_s, step_s = _clock(stamps)
    return Matrices(matrices.stem, network, tuple(pairs), demands, step_s, start_s)


def _pairs_in_reach(network: Network, demands: Array) -> list[Pair]:
    """Return all pairs of nodes that links connect; UserError where others have demand."""
    nodes = demands.shape[1]
    near: dict[int, list[int]] = {}
    for a, b in network.links:
        near.setdefault(a, []).append(b)
    reach = {node: _reached_from(node, near) for node in range(nodes)}
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    lost = [(a, b) for a, b in pairs if b not in reach[a] and demands[:, a, b].any()]
    if lost:
        problem = f"no way from node {lost[0][0]} to {lost[0][1]}, which have demand"
        raise UserError("--topology", problem, "give the topology that these matrices are of")
    return [(a, b) for a, b in pairs if b in reach[a]]


def _reached_from(node: int, near: dict[int, list[int]]) -> set[int]:
    seen, edge = {node}, [node]
    while edge:
        fresh = [other for other in near.get(edge.pop(), ()) if other not in seen]
        seen.update(fresh)
        edge += fresh
    return seen


def _time_of(stamp: str) -> int:
    if stamp.replace(".", "", 1).isdecimal():
        return int(float(stamp))
    if len(stamp) == len("20040301-0005") and stamp[8] == "-":
        return int(datetime.strptime(stamp, "%Y%m%d-%H%M").replace(tzinfo=UTC).timestamp())
    when = datetime.fromisoformat(stamp)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _clock(stamps: list[str]) -> tuple[int, int]:
    try:
        times = [_time_of(stamp) for stamp in stamps[:50]]
    except (ValueError, OverflowError):
        problem = "ts is no time: neither YYYYMMDD-HHMM, nor ISO 8601, nor seconds since 1970"
        raise UserError("--matrices", problem, "write 20040301-0005") from None
    step_s = int(np.median(np.diff(times)))
    if step_s <= 0:
        raise UserError("--matrices", "ts does not ascend", "sort the matrices by time")
    return times[0], step_s


def load_topology(path: Path, names: list[str]) -> Network:
    """Read a text or XML topology as a wired network."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError("--topology", f"{path.name}: {error.strerror}", "name a file") from None
    if not text.lstrip().startswith("<"):
        _, capacities = parse_topology(text)
        return _wired(path.name, {link: float(kbps) for link, kbps in capacities.items()})
    try:
        rates = _sndlib_rates(ElementTree.fromstring(text), names)
    except (ElementTree.ParseError, ValueError, AttributeError, TypeError) as error:
        problem = f"{path.name}: {error}"
        raise UserError("--topology", problem, "give SNDlib XML with capacities") from None
    return _wired(path.name, rates)


def _wired(name: str, rates: dict[Link, float]) -> Network:
    if not rates:
        raise UserError("--topology", f"{name}: no links", "give a topology with capacities")
    dead = [link for link in sorted(rates) if not 0 < rates[link] < float("inf")]
    if dead:
        problem = f"{name}: link {dead[0][0]} > {dead[0][1]} has capacity {rates[dead[0]]:g}"
        raise UserError("--topology", problem, "give one above zero, or leave the link out")
    return wired(sorted(rates), [rates[link] for link in sorted(rates)])


def _sndlib_rates(root: ElementTree.Element, names: list[str]) -> dict[Link, float]:
    """Sum the capacities of parallel links; each counts in both directions."""
    rates: dict[Link, float] = {}
    for link in root.findall(".//{*}link"):
        ends = [names.index(str(link.findtext(f"{{*}}{end}"))) for end in ("source", "target")]
        module = link.find(".//{*}capacity")
        capacity = float(str(module.text)) if module is not None else 0.0
        for a, b in (ends, ends[::-1]):
            rates[a, b] = rates.get((a, b), 0.0) + capacity * MBIT_KBPS
    return rates


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
