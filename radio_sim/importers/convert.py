"""From a published network to a scenario, with an account of everything changed or left out.

In order: links without both ends, doubled and dead ones go; nodes without a position are placed
beside their best neighbour that has one (not over a tunnel: its end may be anywhere) or go; nodes
far from the rest go (a misplaced pin); the box and the number asked for are cut out; what publishes
one position for several nodes is spread out around it; wireless links too long to be real go.

A published wireless link means a clear line and antennas that reach: both ends get the gain (and
the EIRP, by as much) that leaves a beacon LINK_MARGIN_DB above the noise over free space. Up to
3.5 km the ordinary figures do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Any

from chain.errors import UserError
from coverage_map.propagation.link_budget import noise_floor_dbm
from coverage_map.propagation.pathloss import free_space_db
from radio_sim.importers.network import RawLink, RawNetwork, RawNode
from radio_sim.scenario import (
    MAX_SPAN_DEG,
    NAME_MAX,
    HotspotSite,
    PublishedLink,
    RadioSettings,
    Scenario,
)

METRES_PER_DEGREE = math.pi / 180.0 * 6_371_007.18
FAR_M = 100_000.0
LONGEST_WIRELESS_M = 50_000.0
# Two hotspots nearer than 50 m count as one site, so what we place ourselves stands wider apart.
BESIDE_M = 60.0
SPREAD_M = 52.0
GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))
HEIGHT_RANGE_M = (2.0, 300.0)
LINK_MARGIN_DB = 6.0
MAX_EXTRA_DB = 16.0  # 36 dBm EIRP in all
PROVIDER_EVERY = 15

Box = tuple[float, float, float, float]  # south, west, north, east


@dataclass(slots=True)
class ImportReport:
    """What was read, what became of it, and why the rest did not."""

    format: str
    nodes_read: int
    links_read: int
    hotspots: int = 0
    links: Counter[str] = field(default_factory=Counter)
    placed: int = 0
    spread: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "format": self.format,
            "nodes_read": self.nodes_read,
            "links_read": self.links_read,
            "hotspots": self.hotspots,
            "links": dict(sorted(self.links.items())),
            "placed_beside_a_neighbour": self.placed,
            "spread_from_shared_positions": self.spread,
            "dropped": {why: count for why, count in sorted(self.dropped.items()) if count},
            "notes": self.notes,
        }


def convert(
    network: RawNetwork, *, name: str, largest: int | None = None, bbox: Box | None = None
) -> tuple[Scenario, ImportReport]:
    """Make the scenario. Raises UserError where nothing remains."""
    report = ImportReport(
        network.format, len(network.nodes), len(network.links), notes=list(network.notes)
    )
    report.dropped.update(network.dropped)
    links = _clean_links(network, report)
    nodes = _placed(network.nodes, links, report)
    nodes = _near(nodes, report) if bbox is None else _boxed(nodes, bbox, report)
    links = [link for link in links if link.a in nodes and link.b in nodes]
    if largest is not None:
        nodes = _largest(nodes, links, largest, report)
    nodes = _spread(nodes, report)
    links = _short(nodes, [link for link in links if link.a in nodes and link.b in nodes], report)
    if not nodes:
        raise UserError("network", "no node with a position remains", "widen --bbox")
    names, extra = _names(nodes.values()), _extra_gain_db(nodes, links)
    report.hotspots = len(nodes)
    report.links.update(link.kind for link in links)
    scenario = Scenario(
        name=name[:NAME_MAX],
        hotspots=tuple(
            _site(node, names[node.key], n, extra.get(node.key, 0.0))
            for n, node in enumerate(nodes.values())
        ),
        links=tuple(
            PublishedLink(names[link.a], names[link.b], link.kind, link.quality) for link in links
        ),
        description=f"Imported from {network.format}: {len(nodes)} hotspots, {len(links)} links.",
        source=network.format,
    )
    return scenario, report


def _clean_links(network: RawNetwork, report: ImportReport) -> list[RawLink]:
    """One link per pair, the best: cable before radio before tunnel, then by quality."""
    best: dict[tuple[str, str], RawLink] = {}
    for link in network.links:
        if link.a not in network.nodes or link.b not in network.nodes:
            report.dropped["link to an unknown node"] += 1
        elif link.a == link.b:
            report.dropped["link to itself"] += 1
        elif link.quality == 0:
            report.dropped["link with quality 0"] += 1
        else:
            pair = (min(link.a, link.b), max(link.a, link.b))
            other = best.get(pair)
            report.dropped["link listed twice"] += other is not None
            if other is None or _rank(link) > _rank(other):
                best[pair] = link
    return list(best.values())


def _rank(link: RawLink) -> tuple[int, float]:
    return (("vpn", "wireless", "wired").index(link.kind), link.quality or 0.0)


def _placed(
    nodes: dict[str, RawNode], links: list[RawLink], report: ImportReport
) -> dict[str, RawNode]:
    """Give a node without position one beside its best placed neighbour, round by round."""
    found = {key: node for key, node in nodes.items() if node.position is not None}
    local: dict[str, list[RawLink]] = {}
    for link in links:
        if link.kind != "vpn":
            local.setdefault(link.a, []).append(link)
            local.setdefault(link.b, []).append(link)
    missing = [key for key in nodes if key not in found]
    while missing:
        fresh: dict[str, RawNode] = {}
        for key in missing:
            options = [
                (_rank(link), link.b if link.a == key else link.a) for link in local.get(key, ())
            ]
            anchors = [option for option in options if option[1] in found]
            if anchors:
                anchor = found[max(anchors)[1]]
                turn = GOLDEN_ANGLE * (len(found) + len(fresh))
                fresh[key] = replace(nodes[key], position=_moved(_place(anchor), BESIDE_M, turn))
        if not fresh:
            break
        found |= fresh
        report.placed += len(fresh)
        missing = [key for key in missing if key not in fresh]
    report.dropped["node without a position"] += len(missing)
    return {key: found[key] for key in nodes if key in found}


def _near(nodes: dict[str, RawNode], report: ImportReport) -> dict[str, RawNode]:
    if not nodes:
        return nodes
    places = [_place(node) for node in nodes.values()]
    median = (median_low([lat for lat, _ in places]), median_low([lon for _, lon in places]))
    middle = min(places, key=lambda place: (_apart_m(median, place), place))
    near = {
        key: node
        for key, node in nodes.items()
        if _apart_m(middle, _place(node)) <= FAR_M
        and abs(middle[1] - _place(node)[1]) <= MAX_SPAN_DEG / 2.0 - 0.1
    }
    report.dropped["node over 100 km from the rest"] += len(nodes) - len(near)
    return near


def _boxed(nodes: dict[str, RawNode], box: Box, report: ImportReport) -> dict[str, RawNode]:
    south, west, north, east = box
    inside = {
        key: node
        for key, node in nodes.items()
        if south <= _place(node)[0] <= north and west <= _place(node)[1] <= east
    }
    report.dropped["node outside the box"] += len(nodes) - len(inside)
    return inside


def _largest(
    nodes: dict[str, RawNode], links: list[RawLink], count: int, report: ImportReport
) -> dict[str, RawNode]:
    """Keep `count` nodes: breadth first from the best connected, part after part of the mesh."""
    near: dict[str, list[str]] = {key: [] for key in nodes}
    for link in links:
        if link.kind != "vpn":  # tunnels lead out of the neighbourhood
            near[link.a].append(link.b)
            near[link.b].append(link.a)
    kept: dict[str, None] = {}
    for start in sorted(nodes, key=lambda key: (-len(near[key]), key)):
        frontier = [start]
        while frontier and len(kept) < count:
            key = frontier.pop(0)
            if key not in kept:
                kept[key] = None
                frontier += sorted(near[key], key=lambda other: (-len(near[other]), other))
    report.dropped["node beyond --largest"] += len(nodes) - len(kept)
    return {key: node for key, node in nodes.items() if key in kept}


def _spread(nodes: dict[str, RawNode], report: ImportReport) -> dict[str, RawNode]:
    """Lay nodes that share a position out on a spiral around it, in the order given."""
    taken: Counter[tuple[float, float]] = Counter()
    spread = {}
    for key, node in nodes.items():
        place = _place(node)
        report.spread += taken[place] > 0
        step = taken[place]
        spread[key] = replace(
            node, position=_moved(place, SPREAD_M * math.sqrt(step), GOLDEN_ANGLE * step)
        )
        taken[place] += 1
    return spread


def _short(nodes: dict[str, RawNode], links: list[RawLink], report: ImportReport) -> list[RawLink]:
    def fits(link: RawLink) -> bool:
        length = _apart_m(_place(nodes[link.a]), _place(nodes[link.b]))
        return link.kind != "wireless" or length <= LONGEST_WIRELESS_M

    short = [link for link in links if fits(link)]
    report.dropped["wireless link over 50 km"] += len(links) - len(short)
    return short


def _extra_gain_db(nodes: dict[str, RawNode], links: list[RawLink]) -> dict[str, float]:
    """Gain above the ordinary that each node needs for the longest of its wireless links."""
    extra: dict[str, float] = {}
    radio, site = RadioSettings(), HotspotSite("", 0.0, 0.0)
    noise = float(noise_floor_dbm(noise_figure_db=radio.noise_figure_db))
    for link in links:
        if link.kind == "wireless":
            one, other = nodes[link.a], nodes[link.b]
            length = math.hypot(
                _apart_m(_place(one), _place(other)), _height_m(one) - _height_m(other)
            )
            loss = float(free_space_db(length, 1e6 * radio.frequency_mhz))
            short = noise + LINK_MARGIN_DB - (site.eirp_dbm + site.gain_dbi - loss)
            each = min(MAX_EXTRA_DB, math.ceil(max(0.0, short)) / 2.0)
            for key in (link.a, link.b):
                extra[key] = max(extra.get(key, 0.0), each)
    return extra


def _height_m(node: RawNode) -> float:
    low, high = HEIGHT_RANGE_M
    return 8.0 if node.height_m is None else round(min(high, max(low, node.height_m)), 1)


def _place(node: RawNode) -> tuple[float, float]:
    if node.position is None:
        raise ValueError(f"node {node.key} has no position")
    return node.position


def _moved(place: tuple[float, float], distance_m: float, angle: float) -> tuple[float, float]:
    radius_deg = distance_m / METRES_PER_DEGREE
    east = radius_deg * math.cos(angle) / math.cos(math.radians(place[0]))
    north = radius_deg * math.sin(angle)
    return (round(place[0] + north, 6), round(place[1] + east, 6))


def _apart_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    east = (one[1] - other[1]) * math.cos(math.radians((one[0] + other[0]) / 2.0))
    return METRES_PER_DEGREE * math.hypot(one[0] - other[0], east)


def _names(nodes: Iterable[RawNode]) -> dict[str, str]:
    """Printable names of bounded length, made unique by the key."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for node in nodes:
        clean = "".join(letter if letter.isprintable() else "_" for letter in node.name).strip()
        name, number = clean[:NAME_MAX] or node.key[:NAME_MAX] or "node", 1
        while name in taken:
            number += 1
            name = f"{clean[: NAME_MAX - 8]}-{number}"
        taken.add(name)
        names[node.key] = name
    return names


def _site(node: RawNode, name: str, number: int, extra_db: float) -> HotspotSite:
    latitude, longitude = _place(node)
    usual = HotspotSite(name, latitude, longitude)
    return replace(
        usual,
        height_m=_height_m(node),
        eirp_dbm=usual.eirp_dbm + extra_db,
        gain_dbi=usual.gain_dbi + extra_db,
        roles=(*usual.roles, "provider") if number % PROVIDER_EVERY == 0 else usual.roles,
    )
