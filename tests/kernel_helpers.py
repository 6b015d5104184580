"""Small meshes for tests of kernel plans: links, base routes, views, plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from routing.kernel.desired import Neighbour, View
from routing.kernel.nodeplan import SEGMENTS, NodePlan

Edges = frozenset[tuple[int, int]]


def near_of(edges: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Neighbours by node."""
    near: dict[int, set[int]] = {}
    for a, b in edges:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    return {node: frozenset(others) for node, others in near.items()}


def base_to(near: Mapping[int, frozenset[int]], target: int) -> dict[int, int]:
    """Next hops of fewest hops to a target, as the base protocol would have them."""
    following: dict[int, int] = {}
    edge = [target]
    while edge:
        coming = []
        for node in edge:
            for other in sorted(near.get(node, ())):
                if other != target and other not in following:
                    following[other] = node
                    coming.append(other)
        edge = coming
    return following


def address(node: int) -> str:
    return f"fd57::{node + 1:x}"


def sid(node: int) -> str:
    return f"fd57:1::{node + 1:x}"


def base_plan(nodes: int, mode: str = SEGMENTS, lease_ms: int = 10_000) -> NodePlan:
    """Addresses of so many hotspots and nothing else."""
    return NodePlan(
        version=1,
        lease_ms=lease_ms,
        node=0,
        mode=mode,
        addresses={node: address(node) for node in range(nodes)},
        sids={node: sid(node) for node in range(nodes)},
    )


def view_of(
    node: int, near: Mapping[int, frozenset[int]], down: Iterable[tuple[int, int]] = ()
) -> View:
    """What a hotspot sees where these links are down."""
    dead = {frozenset(link) for link in down}
    alive = {
        a: frozenset(b for b in others if frozenset((a, b)) not in dead)
        for a, others in near.items()
    }
    neighbours = {
        other: Neighbour(f"mesh{other}", f"fe80::{other + 1:x}") for other in alive.get(node, ())
    }
    return View(neighbours, alive)
