"""A plan's splits as what kernels can hold: weighted source routes, or next hops per target.

A plan says which share of a pair's traffic takes which path. With segments every source keeps its
own paths. With multipath all traffic to a target shares its next hops, so the paths to one target
are added up, weighed by demand, and circles among them cancelled: what is left is a directed
acyclic graph that carries the same amounts over the same links, or less, never more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from routing.kernel.nodeplan import (
    HOPS_MAX,
    MULTIPATH,
    PATHS_PER_TARGET_MAX,
    SEGMENTS,
    WEIGHT_MAX,
    Choices,
    Hops,
    NodePlan,
    Table,
)

Pair = tuple[int, int]
Splits = Mapping[Pair, Mapping[Hops, float]]
_DUST = 1e-6  # a share below it is rounding, not traffic
WEIGHT_TOTAL = 64  # steps of 1.6 %; next hops hash flows far more coarsely than that


def compute_weights(amounts: Sequence[float], total: int = WEIGHT_TOTAL) -> list[int]:
    """Return whole weights as the amounts, adding up to `total` (largest remainder).

    Every amount above zero gets at least 1, so the sum may be more where there are many small ones.
    """
    whole = sum(amounts)
    if whole <= 0 or min(amounts) < 0:
        raise ValueError("amounts: none above zero, or one below it")
    exact = [amount / whole * total for amount in amounts]
    result = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda i: (result[i] - exact[i], i))
    for index in order[: total - sum(result)]:
        result[index] += 1
    paired = zip(result, amounts, strict=True)
    return [max(1, min(WEIGHT_MAX, w)) if a > 0 else 0 for w, a in paired]


# --- segments -------------------------------------------------------------------------------------


def paths_of(splits: Splits, source: int) -> tuple[tuple[int, Hops], ...]:
    """Return a source's weighted paths to all its targets; the largest shares where too many."""
    result: list[tuple[int, Hops]] = []
    for (start, _), shares in sorted(splits.items()):
        if start != source:
            continue
        usable = [(s, h) for h, s in shares.items() if s > _DUST and len(h) <= HOPS_MAX]
        kept = sorted(usable, reverse=True)[:PATHS_PER_TARGET_MAX]
        if kept:
            weights = compute_weights([share for share, _ in kept])
            result += [(w, hops) for w, (_, hops) in zip(weights, kept, strict=True)]
    return tuple(result)


# --- multipath ------------------------------------------------------------------------------------


def flows_to(splits: Splits, demand: Mapping[Pair, float], target: int) -> dict[Pair, float]:
    """Return the traffic to a target on every link, circles cancelled, in demand's unit.

    A pair without demand counts as a trickle, so that it has a way all the same.
    """
    trickle = max([*demand.values(), 1.0]) * 1e-6
    flow: dict[Pair, float] = {}
    for pair, shares in sorted(splits.items()):
        if pair[1] == target:
            amount = max(demand.get(pair, 0.0), trickle)
            for hops, share in sorted(shares.items()):
                for link in pairwise(hops):
                    flow[link] = flow.get(link, 0.0) + amount * share
    return cancel_circles(flow)


def cancel_circles(flow: Mapping[Pair, float]) -> dict[Pair, float]:
    """Take the least of every circle off all its links until there are no circles left."""
    left = {link: amount for link, amount in flow.items() if amount > 0}
    while circle := find_circle(left):
        least = min(left[link] for link in circle)
        for link in circle:
            left[link] -= least
            if left[link] <= least * 1e-12:
                del left[link]
    return left


def find_circle(links: Mapping[Pair, float]) -> list[Pair]:
    """Return the links of one circle, or none; the same circle every time."""
    following: dict[int, list[int]] = {}
    for tail, head in sorted(links):
        following.setdefault(tail, []).append(head)
    done: set[int] = set()
    for start in sorted(following):
        path: list[int] = []
        stack = [iter((start,))]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                if path:
                    done.add(path.pop())
            elif node in path:
                circle = [*path[path.index(node) :], node]
                return list(pairwise(circle))
            elif node not in done:
                path.append(node)
                stack.append(iter(following.get(node, ())))
    return []


def choices_to(flow: Mapping[Pair, float], target: int) -> dict[int, Choices]:
    """Return each node's weighted next hops of an acyclic flow to the target."""
    by_node: dict[int, list[tuple[float, int]]] = {}
    for (tail, head), amount in flow.items():
        if tail != target:
            by_node.setdefault(tail, []).append((amount, head))
    result: dict[int, Choices] = {}
    for node, rows in sorted(by_node.items()):
        kept = sorted(rows, reverse=True)[:PATHS_PER_TARGET_MAX]
        weights = compute_weights([amount for amount, _ in kept])
        result[node] = tuple(sorted((hop, w) for w, (_, hop) in zip(weights, kept, strict=True)))
    return result


def splits_by_node(
    splits: Splits, demand: Mapping[Pair, float]
) -> dict[int, dict[int, Choices]]:
    """Return node > target > weighted next hops, for all targets of the plan."""
    result: dict[int, dict[int, Choices]] = {}
    for target in sorted({target for _, target in splits}):
        for node, choices in choices_to(flows_to(splits, demand, target), target).items():
            result.setdefault(node, {})[target] = choices
    return result


# --- documents ------------------------------------------------------------------------------------


def node_plans(
    base: NodePlan,
    splits: Splits,
    demand: Mapping[Pair, float],
    version: int,
    colour: int = 1,
) -> dict[int, NodePlan]:
    """Return every hotspot's part of a plan; `base` has addresses, prefixes, lease and mode.

    With multipath all of it is installed under `colour`, and stamped.
    """
    if base.mode == SEGMENTS:
        return {
            node: replace(base, version=version, node=node, paths=paths_of(splits, node))
            for node in sorted(base.addresses)
        }
    by_node = splits_by_node(splits, demand)
    return {
        node: replace(
            base,
            version=version,
            node=node,
            mode=MULTIPATH,
            tables=(Table(colour, version, by_node.get(node, {})),),
            stamp=colour,
        )
        for node in sorted(base.addresses)
    }
