"""What a hotspot's kernel should hold: its plan, seen with the neighbours that are alive now.

    adjacent    every neighbour's segment identifier, out of the device where it was heard
    source      (segments) our own traffic: weighted source routes, each as a segment list;
                (multipath) our own traffic's first hops alone, and then the base protocol's way
    colours     (multipath) per target the weighted next hops of a version of the plan

Everything below follows from its arguments alone, so a lost neighbour, a new plan, an expired lease
and a restart are one thing: compute anew, compare, change the difference.

A path is used while both ends of each of its links vouch for it; else the others share its weight.
Where no path is left, the fewest hops that are alive are taken, and where there are none, nothing:
then the packet finds the main table, which is the base mesh protocol's. A colour whose next hops to
some target are all dead is not live here any more: its packets lose their colour and go on by the
main table to their end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from routing.kernel.nodeplan import HOPS_MAX, SEGMENTS, WEIGHT_MAX, Choices, Hops, NodePlan
from routing.kernel.state import (
    COLOUR_MASK,
    COLOUR_SHIFT,
    PRIORITY_FIRST,
    SOURCE_MARK,
    TABLE_ADJACENT,
    TABLE_SOURCE,
    KernelState,
    Marking,
    NextHop,
    Route,
    Rule,
    Shaping,
    colour_table,
    routes_by_key,
)

# An outer IPv6 header, a segment routing header's fixed part, and each segment in it (RFC 8754).
_OUTER_BYTES, _HEADER_BYTES, _SEGMENT_BYTES = 40, 8, 16
IPV6_MIN_MTU, _USUAL_MTU = 1280, 1500
# What best effort, jobs, AI and control are sure to get of a device, parts of 100. AI requests are
# small and urgent, and may take all that is free; control keeps the mesh together at any load.
CLASS_PARTS = (20, 30, 45, 5)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A hotspot in reach: the device that hears it, its link-local address, the device's MTU."""

    device: str
    address: str
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class View:
    """Neighbours that are heard, and `alive`: the links of the mesh that both ends vouch for."""

    neighbours: Mapping[int, Neighbour]
    alive: Mapping[int, frozenset[int]]

    def is_whole(self, hops: Hops) -> bool:
        """Whether a path from here has a live neighbour first and only live links behind it."""
        behind = pairwise(hops[1:])
        near = self.alive
        return hops[1] in self.neighbours and all(b in near.get(a, ()) for a, b in behind)


@dataclass(frozen=True, slots=True)
class Place:
    """What the owner's settings say: devices of the mesh, and devices of people to be counted."""

    mesh: tuple[str, ...]
    access: tuple[str, ...] = ()


def desired_state(plan: NodePlan | None, view: View, place: Place) -> KernelState:
    """Return what our part of the kernel should be; without a plan there is only counting."""
    if plan is None:
        return KernelState(access=place.access, demand=place.mesh)
    colours = live_colours(plan, view)
    routes = adjacent_routes(plan, view)
    if plan.mode == SEGMENTS:
        routes += source_routes(plan, view)
    else:
        routes += entry_routes(plan, view)
    for table in plan.tables:
        if table.colour in colours:
            routes += colour_routes(plan, table.colour, view)
    stamp = plan.stamp if plan.stamp in colours else 0
    own = {f"{plan.addresses[plan.node]}/128", f"{plan.sids[plan.node]}/128"}
    return KernelState(
        addresses=frozenset(own),
        routes=routes_by_key(routes),
        rules=frozenset(_rules(plan, colours)),
        shaping={device: shaping_of(rate) for device, rate in plan.rates_kbps},
        marking=Marking(
            mesh=place.mesh,
            colours=colours,
            stamp=stamp,
            trusted=plan.trusted,
            shaped=tuple(device for device, _ in plan.rates_kbps),
            mtu=_entry_mtu(plan, view),
        ),
        access=place.access,
        demand=place.mesh,
    )


def shaping_of(rate_kbps: int) -> Shaping:
    """Return the classes of a device of this rate."""
    best, jobs, ai, control = (max(8, rate_kbps * part // 100) for part in CLASS_PARTS)
    return Shaping(rate_kbps, (best, jobs, ai, control))


def _rules(plan: NodePlan, colours: tuple[int, ...]) -> list[Rule]:
    found = []
    for family in (4, 6):
        if family == 6:
            found.append(Rule(6, PRIORITY_FIRST, 0, 0, TABLE_ADJACENT))
        if plan.mode == SEGMENTS or plan.paths:
            # Our own packets need no mark: so a connection knows its route's MTU from the start.
            found.append(Rule(family, PRIORITY_FIRST + 1, 0, 0, TABLE_SOURCE, is_own=True))
            marked = (PRIORITY_FIRST + 2, SOURCE_MARK, SOURCE_MARK, TABLE_SOURCE)
            found.append(Rule(family, *marked))
        if plan.stamp in colours:
            own = (PRIORITY_FIRST + 1, 0, 0, colour_table(plan.stamp))
            found.append(Rule(family, *own, is_own=True))
        for colour in colours:
            mark = colour << COLOUR_SHIFT
            priority, table = PRIORITY_FIRST + 2 + colour, colour_table(colour)
            found.append(Rule(family, priority, mark, COLOUR_MASK, table))
    return found


def adjacent_routes(plan: NodePlan, view: View) -> list[Route]:
    """One route to each live neighbour's segment identifier, straight to it."""
    return [
        Route(TABLE_ADJACENT, f"{plan.sids[node]}/128", (NextHop(near.device, near.address),))
        for node, near in sorted(view.neighbours.items())
        if node in plan.sids and node != plan.node
    ]


def _reached(plan: NodePlan) -> dict[int, list[str]]:
    """Prefixes by the hotspot they are behind, its own address first."""
    result = {node: [f"{address}/128"] for node, address in plan.addresses.items()}
    for prefix, node in plan.prefixes:
        result[node].append(prefix)
    return result


# --- segments -------------------------------------------------------------------------------------


def source_routes(plan: NodePlan, view: View) -> list[Route]:
    """Source routes to every target of the plan that can be reached at all."""
    planned: dict[int, list[tuple[int, Hops]]] = {}
    for weight, hops in plan.paths:
        planned.setdefault(hops[-1], []).append((weight, hops))
    prefixes, routes = _reached(plan), []
    for target in sorted(planned):
        paths = live_paths(plan.node, planned[target], view)
        if paths:
            ways = _together([_next_hop(plan, view, w, path) for w, path in paths])
            mtu = _room(paths, view)
            routes += [Route(TABLE_SOURCE, prefix, ways, mtu) for prefix in prefixes[target]]
    return routes


def entry_routes(plan: NodePlan, view: View) -> list[Route]:
    """Weighted first hops of what enters here, where nobody has segments.

    Who gets such a packet sends it on by the base protocol, also where that leads back here: then
    it came from the mesh and isn't steered again, so it is diverted once at most.
    """
    weights: dict[int, dict[int, int]] = {}
    for weight, hops in plan.paths:
        if view.is_whole(hops):
            to = weights.setdefault(hops[-1], {})
            to[hops[1]] = min(WEIGHT_MAX, to.get(hops[1], 0) + weight)
    prefixes, routes = _reached(plan), []
    for target, shares in sorted(weights.items()):
        near = [(view.neighbours[hop], weight) for hop, weight in sorted(shares.items())]
        ways = _together([NextHop(at.device, at.address, weight) for at, weight in near])
        routes += [Route(TABLE_SOURCE, prefix, ways) for prefix in prefixes[target]]
    return routes


def live_paths(
    node: int, planned: list[tuple[int, Hops]], view: View
) -> list[tuple[int, Hops]]:
    """Return the paths whose links are all alive; else the repair, fewest hops; else nothing."""
    whole = [(weight, hops) for weight, hops in planned if view.is_whole(hops)]
    if whole:
        return whole
    repair = fewest_hops(node, planned[0][1][-1], view)
    return [(1, repair)] if repair else []


def fewest_hops(node: int, target: int, view: View) -> Hops | None:
    """Return a path of fewest hops over what is alive, lowest numbers first; None if there is none.

    The first hop is a neighbour that is heard, whatever the alive graph knows of it.
    """
    before = {node: node}
    edge = [node]
    for _ in range(HOPS_MAX - 1):
        following = []
        for at in edge:
            near = view.neighbours.keys() if at == node else view.alive.get(at, frozenset())
            for other in sorted(near):
                if other not in before:
                    before[other] = at
                    following.append(other)
        if target in before:
            break
        edge = following
    if target not in before:
        return None
    hops = [target]
    while hops[-1] != node:
        hops.append(before[hops[-1]])
    return tuple(reversed(hops))


def _together(hops: list[NextHop]) -> tuple[NextHop, ...]:
    """In one order; a next hop that is alone has no weight, as the kernel will say."""
    return tuple(sorted(hops)) if len(hops) > 1 else (replace(hops[0], weight=1),)


def _next_hop(plan: NodePlan, view: View, weight: int, hops: Hops) -> NextHop:
    first = view.neighbours[hops[1]]
    # A neighbour needs no segments: the route goes straight to it.
    segments = tuple(plan.sids[hop] for hop in hops[1:]) if len(hops) > 2 else ()
    return NextHop(first.device, first.address, weight, segments)


def _entry_mtu(plan: NodePlan, view: View) -> int:
    """What fits through the longest planned path and two more hops, for repairs; 0 for any.

    Also where that is over Ethernet's 1,500: people's devices may have as much as the mesh. Of the
    plan and not of what is alive, so that the marking rules stay as they are.
    """
    longest = max((len(hops) for _, hops in plan.paths), default=0)
    if plan.mode != SEGMENTS or not longest:
        return 0
    device = min((near.mtu for near in view.neighbours.values()), default=_USUAL_MTU)
    return max(IPV6_MIN_MTU, device - _overhead(longest + 1))


def _overhead(segments: int) -> int:
    return _OUTER_BYTES + _HEADER_BYTES + _SEGMENT_BYTES * segments


def _room(paths: list[tuple[int, Hops]], view: View) -> int:
    """MTU of a route whose packets get an outer header; 0 where none of them does."""
    longest = max(len(hops) - 1 for _, hops in paths)
    if longest < 2:
        return 0
    device = min(view.neighbours[hops[1]].mtu for _, hops in paths)
    return max(IPV6_MIN_MTU, device - _overhead(longest))


# --- multipath ------------------------------------------------------------------------------------


def live_colours(plan: NodePlan, view: View) -> tuple[int, ...]:
    """Return the colours with a live next hop to every target that they have splits for."""
    return tuple(
        table.colour
        for table in sorted(plan.tables, key=lambda table: table.colour)
        if all(_alive_choices(choices, view) for choices in table.splits.values())
    )


def _alive_choices(choices: Choices, view: View) -> list[tuple[int, int]]:
    return [choice for choice in choices if choice[0] in view.neighbours]


def colour_routes(plan: NodePlan, colour: int, view: View) -> list[Route]:
    """Routes of a live colour: per target the weighted next hops that are alive."""
    splits = next(table.splits for table in plan.tables if table.colour == colour)
    prefixes, routes = _reached(plan), []
    for target in sorted(splits):
        hops = []
        for near, weight in _alive_choices(splits[target], view):
            at = view.neighbours[near]
            hops.append(NextHop(at.device, at.address, weight))
        routes += [
            Route(colour_table(colour), prefix, _together(hops)) for prefix in prefixes[target]
        ]
    return routes
