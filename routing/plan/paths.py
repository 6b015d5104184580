"""Paths out of an optimal edge flow, and the plan: which share of a pair's traffic takes which.

Paths come from the edge program's own flow and not from k shortest paths: on a mesh four of those
can be 12 % off the optimum, since they share the bottleneck that one wants to avoid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import sparse

from routing.plan.network import Array, Csr, Ints, Network, Pair, reverse
from routing.plan.optimum import EdgeFlow

Hops = tuple[int, ...]
_DUST = 1e-9


@dataclass(frozen=True, slots=True)
class Plan:
    """Splits of `pairs` over simple paths: path i carries `share[i]` of pair `pair[i]`.

    Shares of a pair are positive and add up to 1; a pair without a path is out of reach. `expert`
    made it, `version` counts the plans that differ, `reason` is for people.
    """

    pairs: tuple[Pair, ...]
    hops: tuple[Hops, ...]
    pair: Ints
    share: Array
    expert: str
    version: int = 0
    reason: str = ""

    def splits(self) -> dict[Pair, dict[Hops, float]]:
        """Return the shares by pair and path."""
        result: dict[Pair, dict[Hops, float]] = {}
        for hops, pair, share in zip(self.hops, self.pair, self.share, strict=True):
            result.setdefault(self.pairs[int(pair)], {})[hops] = float(share)
        return result


def path_usage(network: Network, hops: Sequence[Hops]) -> Csr:
    """Return csr [R, paths]: the share of each resource that one kbps on a path takes."""
    index = network.link_index()
    columns = [index[link] for path in hops for link in pairwise(path)]
    starts = np.cumsum([0, *(len(path) - 1 for path in hops)])
    over = sparse.csr_array(
        (np.ones(len(columns)), columns, starts), shape=(len(hops), len(network.links))
    )
    return (network.usage @ over.T).tocsr()


def utilisation_of(network: Network, plan: Plan, demands_kbps: Array) -> Array:
    """Return the utilisation of every resource, [K, R], under demand matrices [K, pairs]."""
    carried = demands_kbps[:, plan.pair] * plan.share
    result: Array = (path_usage(network, plan.hops) @ carried.T).T
    return result


def moved_share(before: Plan, after: Plan, demand_kbps: Array) -> float:
    """Return the share of the traffic [pairs] that took another path under the plan of before."""
    old, moved = before.splits(), 0.0
    kept: dict[Pair, float] = {}
    for hops, pair, share in zip(after.hops, after.pair, after.share, strict=True):
        name = after.pairs[int(pair)]
        kept[name] = kept.get(name, 0.0) + min(float(share), old.get(name, {}).get(hops, 0.0))
    for name, demand in zip(after.pairs, demand_kbps, strict=True):
        if name in kept and name in old:
            moved += float(demand) * (1.0 - kept[name])
    return moved / max(_DUST, float(np.sum(demand_kbps)))


def decompose(
    network: Network, flow: EdgeFlow, pairs: Sequence[Pair], demand_kbps: Array
) -> dict[Pair, dict[Hops, float]]:
    """Take an edge flow apart into simple paths, kbps by pair and path.

    From each target back along the incoming link with the most flow left (Ford and Fulkerson's flow
    decomposition). Every path empties a link or fills a demand, so that ends.
    """
    if flow.is_reversed:
        # Links and pairs turned round, and the paths back again.
        turned = replace(flow, is_reversed=False)
        back = decompose(reverse(network), turned, [(t, s) for s, t in pairs], demand_kbps)
        return {
            (t, s): {hops[::-1]: kbps for hops, kbps in paths.items()}
            for (s, t), paths in back.items()
        }
    incoming: list[list[tuple[int, int]]] = [[] for _ in range(network.nodes)]
    for column, (tail, head) in enumerate(network.links):
        incoming[head].append((column, tail))
    wanted: dict[int, dict[int, float]] = {}
    for (source, target), demand in zip(pairs, demand_kbps, strict=True):
        if demand > 0:
            targets = wanted.setdefault(source, {})
            targets[target] = targets.get(target, 0.0) + float(demand)
    result: dict[Pair, dict[Hops, float]] = {}
    for row, source in enumerate(flow.sources):
        left = flow.flow_kbps[row].tolist()
        for target, demand in sorted(wanted.get(source, {}).items()):
            result[source, target] = _peel(incoming, left, source, target, demand)
    return result


def _peel(
    incoming: list[list[tuple[int, int]]], left: list[float], source: int, target: int, need: float
) -> dict[Hops, float]:
    """Take `need` kbps from source to target out of the flow that is left; changes `left`."""
    paths: dict[Hops, float] = {}
    floor = need * 1e-6
    while need > floor:
        walk = _walk_back(incoming, left, source, target)
        if walk is None:
            break
        hops, columns = walk
        amount = min(need, min(left[column] for column in columns))
        for column in columns:
            left[column] -= amount
        paths[hops] = paths.get(hops, 0.0) + amount
        need -= amount
    return paths


def _walk_back(
    incoming: list[list[tuple[int, int]]], left: list[float], source: int, target: int
) -> tuple[Hops, list[int]] | None:
    hops, columns, seen = [target], [], {target}
    while hops[-1] != source:
        options = [(left[c], -t, c) for c, t in incoming[hops[-1]] if t not in seen]
        if not options:
            return None
        flow, tail, column = max(options)
        if flow <= _DUST:
            return None
        hops.append(-tail)
        columns.append(column)
        seen.add(-tail)
    return tuple(reversed(hops)), columns


def plan_of(
    pairs: Sequence[Pair], amounts: Mapping[Pair, Mapping[Hops, float]], expert: str
) -> Plan:
    """Make a plan of amounts by pair and path; only their ratios within a pair count."""
    hops: list[Hops] = []
    pair: list[int] = []
    share: list[float] = []
    for index, name in enumerate(pairs):
        paths = amounts.get(name, {})
        total = sum(paths.values())
        for path in sorted(paths):
            if total > 0 and paths[path] > 0:
                hops.append(path)
                pair.append(index)
                share.append(paths[path] / total)
    return Plan(
        tuple(pairs), tuple(hops), np.array(pair, dtype=np.int64), np.array(share), expert
    )
