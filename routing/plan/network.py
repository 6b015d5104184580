"""What a plan may fill: links, and the resources that sending on them takes.

A *resource* is anything that runs out: a wire's capacity, or the air time of a radio. Row r, column
e of `usage` is the share of resource r that one kbps on link e takes, so that the utilisation of
every resource is `usage @ link_loads_kbps`, and one program serves wires and air alike:

    wired           a row per link                            1 / capacity
    half duplex     a row per radio, over its links           1 / rate: it sends or it receives
    shared channel  a row per clique of radios that all hear  1 / rate of every link that touches
                    one another                               the clique: one at a time

The clique rows hold the half-duplex rows, since a radio is a part of some clique. They are exact
under the rule that two links conflict when an end of one is, or hears, an end of the other (what
RTS and CTS enforce); without RTS less conflicts, so a plan stays on the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from chain.errors import UserError
from routing.types import Link

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# scipy ships no types: this is a scipy.sparse.csr_array.
Csr = Any
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes 0..nodes-1, directed links [E], and `usage` [R, E], shares of a resource per kbps."""

    nodes: int
    links: tuple[Link, ...]
    usage: Csr

    @property
    def resources(self) -> int:
        """Number of resources, R."""
        return int(self.usage.shape[0])

    def utilisation(self, loads_kbps: Array) -> Array:
        """Return the utilisation of every resource, [R], under link loads [E]."""
        result: Array = self.usage @ loads_kbps
        return result

    def link_index(self) -> dict[Link, int]:
        """Return the column of every link."""
        return {link: column for column, link in enumerate(self.links)}


def reverse(network: Network) -> Network:
    """Turn every link round; what it takes stays the same."""
    links = tuple((head, tail) for tail, head in network.links)
    return Network(network.nodes, links, network.usage)


def with_gateways(network: Network, gateways: Sequence[int]) -> tuple[Network, int]:
    """Add a node behind all gateways, and return it: a demand to it may leave by any of them.

    The links to it and from it take nothing. ValueError without a gateway in the network.
    """
    ends = sorted(set(gateways))
    if not ends or ends[0] < 0 or ends[-1] >= network.nodes:
        raise ValueError("gateways: none, or one outside the network; name nodes of it")
    sink = network.nodes
    extra = tuple((end, sink) for end in ends) + tuple((sink, end) for end in ends)
    free = sparse.csr_array((network.resources, len(extra)))
    usage = sparse.hstack([network.usage, free], format="csr")
    return Network(sink + 1, network.links + extra, usage), sink


def _checked(links: Sequence[Link], rates_kbps: Sequence[float]) -> Array:
    rates = np.asarray(rates_kbps, dtype=np.float64)
    if len(rates) != len(links) or not links:
        raise ValueError(f"rates: {len(rates)} for {len(links)} links; give one rate per link")
    if not bool(np.all(np.isfinite(rates) & (rates > 0))):
        raise ValueError("rates: not all finite and above zero; leave dead links out")
    if len(set(links)) != len(links) or any(a == b or min(a, b) < 0 for a, b in links):
        raise ValueError("links: a link twice, to itself or negative; give each direction once")
    return rates


def _network(links: Sequence[Link], rows: Sequence[Sequence[int]], rates: Array) -> Network:
    """Make a network whose resource r is shared by the links `rows[r]`."""
    columns = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    starts = np.cumsum([0, *(len(row) for row in rows)])
    usage = sparse.csr_array((1.0 / rates[columns], columns, starts), shape=(len(rows), len(links)))
    return Network(1 + max(max(link) for link in links), tuple(links), usage)


def wired(links: Sequence[Link], capacities_kbps: Sequence[float]) -> Network:
    """Return a network whose links don't disturb each other; ValueError if impossible."""
    rates = _checked(links, capacities_kbps)
    return _network(links, [[column] for column in range(len(links))], rates)


def half_duplex(links: Sequence[Link], rates_kbps: Sequence[float]) -> Network:
    """Return a mesh of point-to-point radios: each sends or receives, one link at a time."""
    rates = _checked(links, rates_kbps)
    return _network(links, list(_links_by_node(links).values()), rates)


def shared_channel(
    links: Sequence[Link], rates_kbps: Sequence[float], hearing: Mapping[int, set[int]]
) -> Network:
    """Return a mesh on one channel, where `hearing` names the radios that each radio hears."""
    rates = _checked(links, rates_kbps)
    by_node = _links_by_node(links)
    mutual = {
        node: {
            other
            for other in hearing.get(node, ())
            if other in by_node and node in hearing.get(other, ()) and other != node
        }
        for node in by_node
    }
    rows = [
        sorted({column for node in clique for column in by_node[node]})
        for clique in maximal_cliques(mutual)
    ]
    return _network(links, rows, rates)


def _links_by_node(links: Sequence[Link]) -> dict[int, list[int]]:
    result: dict[int, list[int]] = {}
    for column, link in enumerate(links):
        for node in link:
            result.setdefault(node, []).append(column)
    return dict(sorted(result.items()))


def maximal_cliques(
    neighbours: Mapping[int, set[int]], limit: int = 20_000
) -> list[tuple[int, ...]]:
    """Find all maximal cliques, ascending (Bron and Kerbosch 1973, with Tomita's pivot).

    UserError above `limit` of them: a channel that dense is planned per radio instead.
    """
    found: list[tuple[int, ...]] = []
    stack: list[tuple[tuple[int, ...], set[int], set[int]]] = [((), set(neighbours), set())]
    while stack:
        clique, open_nodes, done = stack.pop()
        if not open_nodes:
            if not done and clique:
                found.append(tuple(sorted(clique)))
            continue
        if len(found) > limit:
            raise UserError("hearing", f"more than {limit} cliques", "plan with half_duplex")
        pivot = max(sorted(open_nodes | done), key=lambda n: len(neighbours[n] & open_nodes))
        for node in sorted(open_nodes - neighbours[pivot]):
            near = neighbours[node]
            stack.append(((*clique, node), open_nodes & near, done & near))
            open_nodes = open_nodes - {node}
            done = done | {node}
    return sorted(found)
