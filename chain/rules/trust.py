"""Trust: flows from the seeds of an epoch along links of mutual hearing, in fixed point.

A link's weight is the number of epochs with mutual hearing, capped, so that no single edge carries
much: whoever invents a thousand hotspots behind one friend shares what that one edge lets through.
"""

from __future__ import annotations

from chain.admission import Role
from chain.optional import get_numpy
from chain.params import Params
from chain.rules.appointments import get_keys, get_rows
from chain.rules.refuted import get_refuted
from chain.rules.trust_arrays import compute_trust_by_arrays, fits_arrays
from chain.state import Hotspot, State

TOTAL = 1 << 40  # the trust that all hotspots share
FULL_PERMILLE = 1_000
FULL_PPM = 1_000_000

# From so many links on arrays win, and the time to import numpy is worth it.
ARRAYS_FROM = 5_000

Links = dict[tuple[int, int], int]
Neighbours = dict[int, list[tuple[int, int]]]


def get_neighbours(links: Links, params: Params) -> Neighbours:
    """Who is linked to whom, with capped weights, in a fixed order."""
    neighbours: Neighbours = {}
    for (low, high), count in sorted(links.items()):
        weight = min(count, params.trust_edge_cap)
        neighbours.setdefault(low, []).append((high, weight))
        neighbours.setdefault(high, []).append((low, weight))
    return neighbours


def get_seed_indexes(state: State) -> list[int]:
    """Where trust starts: the registered seeds of the current epoch that have not ended.

    Everybody in a trial network that never had a seed.
    """
    if is_without_seeds(state):
        return [hotspot.index for hotspot in state.hotspots]
    keys = (member.key for member in get_keys(state, Role.SEED, state.epoch))
    indexes = sorted({state.index_of[key] for key in keys if key in state.index_of})
    return [index for index in indexes if not state.is_ended(index, state.epoch)]


def is_without_seeds(state: State) -> bool:
    """Whether neither the genesis nor an appointment that has begun named a seed."""
    begun = (row for _, row in get_rows(state, Role.SEED) if row.from_epoch <= state.epoch)
    return not state.genesis.seeds and not any(row.until_epoch for row in begun)


def compute_trust(links: Links, seeds: list[int], before: list[int], params: Params) -> list[int]:
    """Trust per hotspot index, out of TOTAL: `trust_rounds` power iterations from the last one."""
    source = [0] * len(before)
    for seed in seeds:
        source[seed] = TOTAL // len(seeds)
    start = before if any(before) else source
    if len(links) >= ARRAYS_FROM and get_numpy() and fits_arrays(TOTAL, start, params):
        return compute_trust_by_arrays(links, source, start, params)
    return compute_trust_by_rounds(links, source, start, params)


def compute_trust_by_rounds(
    links: Links, source: list[int], before: list[int], params: Params
) -> list[int]:
    """The rule: iterate from `before`, with new trust from `source`.

    t' = (1 - d) s + d * sum over neighbours j of t_j * w_ij / sum of j's weights, rounded down.
    """
    neighbours = get_neighbours(links, params)
    outflow = {index: sum(weight for _, weight in edges) for index, edges in neighbours.items()}
    trust = before
    for _ in range(params.trust_rounds):
        trust = compute_round(trust, source, neighbours, outflow, params.trust_damping_permille)
    return trust


def compute_round(
    trust: list[int],
    source: list[int],
    neighbours: Neighbours,
    outflow: dict[int, int],
    damping_permille: int,
) -> list[int]:
    """One power iteration."""
    rest = FULL_PERMILLE - damping_permille
    following = [share * rest // FULL_PERMILLE for share in source]
    for index, edges in neighbours.items():
        passed = trust[index] * damping_permille // FULL_PERMILLE
        for other, weight in edges:
            following[other] += passed * weight // outflow[index]
    return following


def process_trust(state: State) -> None:
    """Give every hotspot the trust that the links since the last settlement carry to it."""
    state.reached = None
    refuted, links = get_refuted(state), state.links
    if refuted:
        links = {link: count for link, count in links.items() if refuted.isdisjoint(link)}
    before = [0 if hotspot.index in refuted else hotspot.trust for hotspot in state.hotspots]
    seeds = [index for index in get_seed_indexes(state) if index not in refuted]
    trust = compute_trust(links, seeds, before, state.params)
    for hotspot, value in zip(state.hotspots, trust, strict=True):
        if hotspot.trust != value:
            hotspot.trust = value
            state.touch("hotspots", hotspot.index)


def compute_trust_ppm(state: State) -> list[int]:
    """Weight per hotspot index: its trust against the mean of who has any, at most FULL_PPM."""
    reached = compute_reached(state)
    return [min(FULL_PPM, FULL_PPM * reached * h.trust // TOTAL) for h in state.hotspots]


def compute_reached(state: State) -> int:
    """How many hotspots have any trust."""
    return sum(1 for hotspot in state.hotspots if hotspot.trust)


def get_reached(state: State) -> int:
    """`compute_reached`, counted once per settlement."""
    if state.reached is None:
        state.reached = compute_reached(state)
    return state.reached


def get_trust_ppm(state: State, hotspot: Hotspot) -> int:
    """`compute_trust_ppm` of one hotspot."""
    return min(FULL_PPM, FULL_PPM * get_reached(state) * hotspot.trust // TOTAL)


def get_trusted(state: State) -> frozenset[int]:
    """Whose receptions count now."""
    seeds, refuted = get_seed_indexes(state), get_refuted(state)
    if state.settlement == 0 or is_without_seeds(state):
        return get_reachable(state.links, seeds, state.params.trust_hops) - refuted
    floor = state.params.trust_floor_ppm
    above = (index for index, weight in enumerate(compute_trust_ppm(state)) if weight >= floor)
    return frozenset([*seeds, *above]) - refuted


def get_reachable(links: Links, seeds: list[int], hops: int) -> frozenset[int]:
    """Everybody within this many links of a seed."""
    neighbours: dict[int, list[int]] = {}
    for low, high in links:
        neighbours.setdefault(low, []).append(high)
        neighbours.setdefault(high, []).append(low)
    reached, edge = set(seeds), set(seeds)
    for _ in range(hops):
        edge = {other for index in edge for other in neighbours.get(index, ())} - reached
        reached |= edge
    return frozenset(reached)
