"""Opens topologies with capacities, in the forms in which they are published, as wired networks.

    numbered     "index source target weight capacity-kbit/s", below any header
    edge list    "source target capacity", comma or blank, nodes by name or number
    REPETITA     NODES and EDGES, "label source target weight capacity-kbit/s delay"
    SNDlib       XML or native; links count in both directions, capacities in Mbit/s
    node-link    JSON with links (or edges) of source, target and capacity (bw, bandwidth)

Nodes take the order in which the matrices name them; those that only the topology knows come after.
Where the matrices have no names, numbers count (from 0, or from 1 where no node is 0), or the order
in which the topology lists its nodes. Only the proportions of capacities matter to ratios.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.errors import UserError
from routing.plan.network import Network, wired
from routing.types import Link

_MBIT_KBPS = 1_000.0
_CAPACITY_NAMES = ("capacity", "cap", "bandwidth", "bw", "capacity_kbps")
_NATIVE_LINK = re.compile(
    r"^\s*(\S+)\s*\(\s*(\S+)\s+(\S+)\s*\)\s+([^()]*?)\s*(?:\(([^()]*)\))?\s*$"
)
Edge = tuple[str, str, float]


@dataclass(frozen=True, slots=True)
class _Graph:
    """Nodes in the file's order, and directed edges (source, target, kbps)."""

    nodes: list[str]
    edges: list[Edge]


def load_topology(path: Path, names: Sequence[str], nodes: int) -> tuple[Network, list[str]]:
    """Read a topology for matrices of `nodes` nodes called `names` (may be empty).

    Returns the network and the names of all nodes, those of the matrices first.
    """
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise UserError("--topology", f"{path.name}: {error.strerror}", "name a file") from None
    try:
        graph = _graph_of(text)
    except (ElementTree.ParseError, ValueError, KeyError, AttributeError, TypeError) as error:
        problem = f"{path.name}: {' '.join(str(error).split())}"
        remedy = "give SNDlib XML, or lines of index source target weight capacity"
        raise UserError("--topology", problem, remedy) from None
    order = _order(graph, list(names), nodes)
    number = {name: index for index, name in enumerate(order)}
    rates: dict[Link, float] = {}
    for a, b, kbps in graph.edges:
        if a != b:
            link = number[a], number[b]
            rates[link] = rates.get(link, 0.0) + kbps
    return _wired(path.name, rates), order


def _order(graph: _Graph, names: list[str], nodes: int) -> list[str]:
    """Return the node of every number."""
    known = list(dict.fromkeys([*graph.nodes, *(end for a, b, _ in graph.edges for end in (a, b))]))
    if all(name.isdecimal() for name in known):
        return _numbered(known, nodes)
    if not names:
        if len(known) != nodes:
            problem = f"{len(known)} nodes by name, matrices {nodes} without names"
            raise UserError("--topology", problem, "put names into the NPZ, in its order")
        return known
    lost = [name for name in names if name not in known]
    if len(lost) == len(names):
        problem = f"knows none of the matrices' nodes ({names[0]}, …) but {known[0]}, …"
        raise UserError("--topology", problem, "give the topology that these matrices are of")
    return names + [name for name in known if name not in names]


def _numbered(known: list[str], nodes: int) -> list[str]:
    numbers = sorted(int(name) for name in known)
    first = 1 if numbers and numbers[0] >= 1 and numbers[-1] == nodes else 0
    if numbers and numbers[-1] - first >= nodes:
        problem = f"{numbers[-1] - first + 1} nodes, matrices {nodes}"
        raise UserError("--topology", problem, "match them")
    spelled = {int(name) - first: name for name in known}
    return [spelled.get(index, f"({index})") for index in range(nodes)]


def _wired(name: str, rates: dict[Link, float]) -> Network:
    if not rates:
        raise UserError("--topology", f"{name}: no links", "give a topology with capacities")
    dead = [link for link in sorted(rates) if not 0 < rates[link] < float("inf")]
    if dead:
        problem = f"{name}: link {dead[0][0]} > {dead[0][1]} has capacity {rates[dead[0]]:g}"
        raise UserError("--topology", problem, "give one above zero, or leave the link out")
    return wired(sorted(rates), [rates[link] for link in sorted(rates)])


def _graph_of(text: str) -> _Graph:
    begin = text.lstrip("\ufeff \n\r\t")[:200]
    if begin.startswith("<"):
        return _sndlib_xml(ElementTree.fromstring(text.lstrip("\ufeff \n\r\t")))
    if begin.startswith("{"):
        return _node_link(json.loads(text))
    if re.search(r"^\s*LINKS\s*\(", text, re.MULTILINE):
        return _sndlib_native(text)
    if re.match(r"NODES\s+\d+", begin):
        return _repetita(text)
    return _lines(text)


def _both(edges: Iterable[Edge]) -> list[Edge]:
    return [edge for a, b, kbps in edges for edge in ((a, b, kbps), (b, a, kbps))]


# --- SNDlib --------------------------------------------------------------------------------------


def _sndlib_xml(root: ElementTree.Element) -> _Graph:
    nodes = [str(node.get("id")) for node in root.findall(".//{*}node")]
    return _Graph(nodes, _both(_xml_link(link) for link in root.findall(".//{*}link")))


def _xml_link(link: ElementTree.Element) -> Edge:
    ends = [str(link.findtext(f"{{*}}{end}")).strip() for end in ("source", "target")]
    found = link.find(".//{*}capacity")
    return ends[0], ends[1], _MBIT_KBPS * float(str(found.text)) if found is not None else 0.0


def _sndlib_native(text: str) -> _Graph:
    nodes = [line.split()[0] for line in _section(text, "NODES")]
    return _Graph(nodes, _both(_native_link(line) for line in _section(text, "LINKS")))


def _native_link(line: str) -> Edge:
    """Read `id ( a b ) installed cost … ( module cost … )`: what is installed, or a module."""
    found = _NATIVE_LINK.match(line)
    if found is None:
        raise ValueError(f"no link: {line.strip()[:60]}")
    _, a, b, figures, modules = found.groups()
    installed = float((figures.split() or ["0"])[0])
    module = float((modules or "0").split()[0]) if (modules or "").split() else 0.0
    return a, b, _MBIT_KBPS * (installed or module)


def _section(text: str, name: str) -> list[str]:
    """Return the lines of `NAME ( … )`."""
    lines = text.splitlines()
    begin = next((k for k, line in enumerate(lines) if re.match(rf"\s*{name}\s*\(", line)), None)
    result: list[str] = []
    for line in lines[begin + 1 :] if begin is not None else []:
        if line.strip() == ")":
            break
        if line.strip() and not line.lstrip().startswith("#"):
            result.append(line)
    return result


def demands_of(data: bytes) -> dict[tuple[str, str], float] | None:
    """Read one SNDlib demand matrix, XML or native, Mbit/s by pair; None if it is none."""
    text = data.decode("utf-8", "replace").lstrip("\ufeff \n\r\t")
    if text.startswith("<"):
        return _xml_demands(ElementTree.fromstring(text))
    demands: dict[tuple[str, str], float] = {}
    for line in _section(text, "DEMANDS"):
        found = re.match(r"\s*\S+\s*\(\s*(\S+)\s+(\S+)\s*\)\s+\S+\s+(\S+)", line)
        if found is None:
            raise ValueError(f"no demand: {line.strip()[:60]}")
        pair = found.group(1), found.group(2)
        demands[pair] = demands.get(pair, 0.0) + float(found.group(3))
    return demands or None


def _xml_demands(root: ElementTree.Element) -> dict[tuple[str, str], float] | None:
    demands: dict[tuple[str, str], float] = {}
    for demand in root.findall(".//{*}demand"):
        ends = [str(demand.findtext(f"{{*}}{end}")).strip() for end in ("source", "target")]
        value = float(str(demand.findtext("{*}demandValue")))
        demands[ends[0], ends[1]] = demands.get((ends[0], ends[1]), 0.0) + value
    return demands or None


# --- others --------------------------------------------------------------------------------------


def _node_link(document: Any) -> _Graph:
    nodes = [str(node["id"] if isinstance(node, dict) else node) for node in document["nodes"]]
    edges = []
    for link in document.get("links", document.get("edges", [])):
        kbps = next((float(link[name]) for name in _CAPACITY_NAMES if name in link), 0.0)
        edges.append((str(link["source"]), str(link["target"]), kbps))
    return _Graph(nodes, edges if document.get("directed", True) else _both(edges))


def _repetita(text: str) -> _Graph:
    before, _, after = text.partition("EDGES")
    count = len([line for line in before.splitlines()[1:] if line.strip()]) - 1
    edges: list[Edge] = []
    for line in after.splitlines()[1:]:
        parts = line.split()
        if len(parts) == 6 and parts[1].isdecimal():
            edges.append((parts[1], parts[2], float(parts[4])))
    return _Graph([str(node) for node in range(count)], edges)


def _lines(text: str) -> _Graph:
    """Read numbered lines or an edge list; lines before the first with a capacity are a header."""
    edges: list[Edge] = []
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.replace(",", " ").replace(";", " ").split()
        if not parts or line.lstrip().startswith("#"):
            continue
        edge = _line(parts)
        if edge is not None:
            edges.append(edge)
        elif edges or number > 2:
            problem = "neither index source target weight capacity nor source target capacity"
            raise UserError("--topology", f"line {number}: {problem}", "correct the line")
    return _Graph([], edges)


def _line(parts: list[str]) -> Edge | None:
    """Return the edge of five columns (index first) or three; None if it is none."""
    if len(parts) not in (3, 5):
        return None
    try:
        kbps = float(parts[-1])
    except ValueError:
        return None
    return (parts[1], parts[2], kbps) if len(parts) == 5 else (parts[0], parts[1], kbps)
