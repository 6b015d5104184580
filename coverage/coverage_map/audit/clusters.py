"""Clusters: rings that hear each other, and hardly anybody else though they stand among them.

Trust walks from the seeds along mutual links; a cluster behind a narrow cut keeps little of it.
Ordered by trust over degree, a sweep finds the cut of least conductance (Andersen, Chung and Lang,
2006, "Local graph partitioning using PageRank vectors"); what lies behind it falls into clusters.
A narrow cut alone is no lie: a village is one. So the evidence is how many links across the cut the
claimed places would have, by the network's own law of loss, against how many there are.

Needs: seeds, or trust that came from some. Abstains otherwise.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from coverage_map.audit.law import OFFSET_SIGMA_DB, compute_hearing, get_reach
from coverage_map.audit.network import Floats, Ints, Network
from coverage_map.audit.outcome import Outcome, make_outcome

DAMPING = 0.85
ROUNDS = 40
LEAST_MEMBERS = 2
LIKELY = 0.5
# The narrowest of all cuts through an honest town lacks up to a quarter of the links by being that.
HONEST_SHARE = 0.6
# Silence has common reasons, a hill or a wall around all of a cluster: a third of the evidence.
COMMON_CAUSE = 1.0 / 3.0


def compute_clusters(network: Network) -> Outcome:
    """Evidence that a hotspot's cluster isn't where it claims; statistic: its conductance."""
    count, seeds = len(network), np.flatnonzero(network.claims.seed)
    graph = get_graph(network)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    if not len(seeds) or not degree[seeds].any():
        nothing = np.full(count, np.nan)
        return make_outcome(nothing, nothing, np.zeros(count))
    label = find_clusters(graph, walk(graph, degree, seeds), degree)
    conductance = compute_conductance(graph, degree, label)
    expected, observed = compute_crossings(network, label)
    expected = HONEST_SHARE * expected
    with np.errstate(divide="ignore", invalid="ignore"):
        fewer = expected - observed + observed * np.log(np.maximum(observed, 1e-9) / expected)
    # The crossings that a cluster lacks accuse all its members, the network's main part nobody.
    nats = np.where((observed < expected) & (expected > 0), COMMON_CAUSE * fewer, 0.0)
    nats[0] = 0.0
    active = network.evidence.active.any(axis=1)
    sizes = np.bincount(label, minlength=len(nats))
    return make_outcome(
        np.where(active, conductance[label], np.nan),
        np.where(active, nats[label], np.nan),
        sizes[label],
    )


def get_graph(network: Network) -> csr_array:
    """Mutual links as a symmetric matrix of ones."""
    pairs, count = network.pairs, len(network)
    rows = np.flatnonzero(pairs.mutual)
    one, other = pairs.first[rows], pairs.second[rows]
    ends = (np.concatenate([one, other]), np.concatenate([other, one]))
    return csr_array(coo_array((np.ones(2 * len(rows)), ends), shape=(count, count)))


def walk(graph: csr_array, degree: Floats, seeds: Ints) -> Floats:
    """Trust: where walks from the seeds that restart with chance 0.15 a step are found."""
    start = np.zeros(len(degree))
    start[seeds] = 1.0 / len(seeds)
    trust = start
    outflow = 1.0 / np.maximum(degree, 1.0)
    for _ in range(ROUNDS):
        trust = (1.0 - DAMPING) * start + DAMPING * (graph @ (trust * outflow))
    return np.asarray(trust, np.float64)


def find_clusters(graph: csr_array, trust: Floats, degree: Floats) -> Ints:
    """0 for the main part, else the number of the cluster behind the sweep's narrowest cut."""
    order = np.lexsort((np.arange(len(degree)), -trust / np.maximum(degree, 1.0)))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    edges = graph.tocoo()
    low = np.minimum(rank[edges.row], rank[edges.col])
    high = np.maximum(rank[edges.row], rank[edges.col])
    # An edge crosses every cut between its ends; each is in the matrix twice.
    steps = np.bincount(low, minlength=len(order)) - np.bincount(high, minlength=len(order))
    cut = np.cumsum(steps) / 2.0
    volume = np.cumsum(degree[order])
    rest = volume[-1] - volume
    inside = (rest > 0) & (rest <= volume)
    behind = np.zeros(len(order), np.bool_)
    if inside.any():
        at = np.flatnonzero(inside)
        narrowest = at[np.argmin(cut[at] / rest[at])]
        behind = rank > narrowest
    behind |= trust <= 0.0
    members = np.flatnonzero(behind)
    label = np.zeros(len(order), np.int64)
    _, parts = connected_components(graph[members][:, members], directed=False)
    sizes = np.bincount(parts, minlength=1)
    label[members] = np.where(sizes[parts] >= LEAST_MEMBERS, parts + 1, 0)
    return label


def compute_conductance(graph: csr_array, degree: Floats, label: Ints) -> Floats:
    """Per cluster: links that leave it over links that its members have."""
    edges, parts = graph.tocoo(), int(label.max(initial=0)) + 1
    leaves = label[edges.row] != label[edges.col]
    cut = np.bincount(label[edges.row][leaves], minlength=parts)
    volume = np.bincount(label, degree, parts)
    return np.asarray(cut / np.maximum(volume, 1.0), np.float64)


def compute_crossings(network: Network, label: Ints) -> tuple[Floats, Floats]:
    """Per cluster: links to anchors outside that its claimed places promise, and that there are."""
    pairs = network.pairs
    one, other = label[pairs.first], label[pairs.second]
    crosses = one != other
    crosses &= np.where(one > 0, network.anchor[pairs.second], network.anchor[pairs.first])
    columns = network.law_columns(pairs.kind)
    columns[:, [2, 5]] = np.hypot(columns[:, [2, 5]], OFFSET_SIGMA_DB)
    chance = compute_hearing(
        columns, get_reach(pairs.distance_m), _outside_offset(network, label), pairs.most_db
    )
    crosses &= chance > LIKELY  # far pairs are many, and the law is least sure about them
    parts = int(label.max(initial=0)) + 1
    expected, observed = np.zeros(parts), np.zeros(parts)
    # What a cluster says that it hears is its own say: the outsider must report it.
    for end, told in ((one, pairs.first_told), (other, pairs.second_told)):
        used = crosses & (end > 0)
        expected += np.bincount(end[used], chance[used], parts)
        observed += np.bincount(end[used], told[used], parts)
    return expected, observed


def _outside_offset(network: Network, label: Ints) -> Floats:
    """Twice the offset of the end outside: the cluster's own are what it made of them."""
    pairs, offset = network.pairs, network.offset_db
    inside_first = label[pairs.first] > 0
    return 2.0 * np.where(inside_first, offset[pairs.second], offset[pairs.first])
