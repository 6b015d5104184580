"""Plans: the programs against known optima, flows taken apart, what a plan may never break."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from chain.errors import UserError
from routing.plan.convex import convex_shares
from routing.plan.network import (
    half_duplex,
    maximal_cliques,
    reverse,
    shared_channel,
    wired,
    with_gateways,
)
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import decompose, moved_share, plan_of, utilisation_of
from routing.plan.program import (
    PathPool,
    ProgramParams,
    ScenarioProgram,
    cheapest_paths,
    plan_from_shares,
)

DIAMOND = [(0, 1), (1, 3), (0, 2), (2, 3)]
RATES = [40_000.0, 40_000.0, 20_000.0, 20_000.0]


def both_ways(edges):
    return [*edges, *((b, a) for a, b in edges)]


@st.composite
def meshes(draw, most=9):
    """A connected mesh with rates, and demands between some of its nodes."""
    nodes = draw(st.integers(3, most))
    edges = {(draw(st.integers(0, node - 1)), node) for node in range(1, nodes)}
    extra = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    edges |= {(min(e), max(e)) for e in draw(st.lists(extra, max_size=12)) if e[0] != e[1]}
    links = both_ways(sorted(edges))
    rates = [draw(st.integers(1, 300)) * 1_000.0 for _ in links]
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=8, unique=True))
    demand = np.array([draw(st.integers(1, 50_000)) * 1.0 for _ in chosen])
    return links, rates, chosen, demand


def plain_optimum(network, pairs, demand):
    """The same optimum with a commodity per pair and another front end of the solver."""
    edges = len(network.links)
    rows = np.zeros((network.nodes, edges))
    for column, (tail, head) in enumerate(network.links):
        rows[tail, column] -= 1
        rows[head, column] += 1
    need = np.zeros((len(pairs), network.nodes))
    for index, (source, target) in enumerate(pairs):
        need[index, source] -= demand[index] / demand.max()
        need[index, target] += demand[index] / demand.max()
    unit = 1.0 / np.median(network.usage.data)
    equal = sparse.hstack(
        [sparse.kron(np.eye(len(pairs)), rows), np.zeros((need.size, 1))], format="csr"
    )
    below = sparse.hstack(
        [*([network.usage * unit] * len(pairs)), -np.ones((network.resources, 1))], format="csr"
    )
    cost = np.append(np.zeros(edges * len(pairs)), 1.0)
    done = linprog(cost, below, np.zeros(network.resources), equal, need.ravel())
    return done.fun * demand.max() / unit


@settings(max_examples=20, deadline=None)
@given(meshes(), st.sampled_from([wired, half_duplex]))
def test_the_edge_program_finds_what_a_commodity_per_pair_finds(mesh, kind):
    links, rates, pairs, demand = mesh
    network = kind(links, rates)
    found = EdgeProgram(network, pairs).solve(demand)
    assert found.utilisation == pytest.approx(plain_optimum(network, pairs, demand), rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(meshes(), st.sampled_from([wired, half_duplex]))
def test_paths_taken_from_the_flow_carry_everything_at_the_optimum(mesh, kind):
    links, rates, pairs, demand = mesh
    network = kind(links, rates)
    flow = EdgeProgram(network, pairs).solve(demand)
    plan = plan_of(pairs, decompose(network, flow, pairs, demand), "x")
    for hops in plan.hops:
        assert len(set(hops)) == len(hops)
        assert all(link in links for link in pairwise(hops))
    totals = np.bincount(plan.pair, plan.share, minlength=len(pairs))
    assert totals == pytest.approx(np.ones(len(pairs)))
    filled = utilisation_of(network, plan, demand[None, :]).max()
    assert filled == pytest.approx(flow.utilisation, rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(meshes(), st.integers(1, 6), st.integers(0, 10**6))
def test_cuts_find_the_optimum_over_all_rows(mesh, count, seed):
    links, rates, pairs, demand = mesh
    network = half_duplex(links, rates)
    draws = np.random.default_rng(seed)
    demands = demand * draws.uniform(0.2, 3.0, (count, len(pairs)))
    pool = PathPool(network, pairs)
    pool.add(cheapest_paths(network, pairs, np.ones(network.resources)))
    flow = EdgeProgram(network, pairs).solve(demand)
    paths = decompose(network, flow, pairs, demand)
    pool.add([hops for options in paths.values() for hops in options])
    weights = np.full(count, 1.0 / (count * flow.utilisation))
    program = ScenarioProgram(pool, demands, weights, None, ProgramParams(frugal=0.0))
    shares, _ = program.solve()
    reached = utilisation_of(network, plan_from_shares(pool, shares, "x"), demands).max(axis=1)
    assert weights @ reached == pytest.approx(_all_rows(pool, demands, weights), rel=5e-3)


def _all_rows(pool, demands, weights):
    """The scenario program written out in full, without cuts."""
    pair, paths, count = pool.pair, len(pool.hops), len(demands)
    blocks = [
        pool.usage @ sparse.diags_array(row[pair]) * w
        for row, w in zip(demands, weights, strict=True)
    ]
    resources = pool.network.resources
    tops = sparse.kron(sparse.eye_array(count), -np.ones((resources, 1)))
    below = sparse.hstack([sparse.vstack(blocks), tops], format="csr")
    pairs = len(pool.pairs)
    choose = sparse.csr_array((np.ones(paths), (pair, np.arange(paths))), (pairs, paths + count))
    cost = np.append(np.zeros(paths), np.ones(count))
    return linprog(cost, below, np.zeros(below.shape[0]), choose, np.ones(pairs)).fun


def test_the_diamond_is_split_by_capacity():
    network = wired(DIAMOND, RATES)
    flow = EdgeProgram(network, [(0, 3)]).solve(np.array([60_000.0]))
    assert flow.utilisation == pytest.approx(1.0)
    splits = plan_of([(0, 3)], decompose(network, flow, [(0, 3)], np.array([60_000.0])), "x")
    assert splits.splits()[0, 3] == pytest.approx({(0, 1, 3): 2 / 3, (0, 2, 3): 1 / 3})


def test_one_radio_at_each_end_halves_what_a_relay_carries():
    # Over the air node 0 sends on both links in turn and relays send what they receive.
    network = half_duplex(DIAMOND, RATES)
    flow = EdgeProgram(network, [(0, 3)]).solve(np.array([20_000.0]))
    # x Mbit/s over the fast relay keep it busy for 2 x / 40, and node 0 for x / 40 + (20 - x) / 20.
    best = min(max(x / 20, 1 - x / 40) for x in np.arange(0, 20.01, 0.01))
    assert flow.utilisation == pytest.approx(best, rel=1e-3)


def test_a_shared_channel_lets_one_at_a_time_speak():
    line = both_ways([(0, 1), (1, 2), (2, 3)])
    rates = [10_000.0] * len(line)
    everyone = {node: {0, 1, 2, 3} for node in range(4)}
    network = shared_channel(line, rates, everyone)
    assert network.resources == 1
    flow = EdgeProgram(network, [(0, 3)]).solve(np.array([1_000.0]))
    assert flow.utilisation == pytest.approx(0.3)
    # Radios that hear their neighbours only: three cliques, each over the links that touch it.
    near = {0: {1}, 1: {0, 2}, 2: {1, 3}, 3: {2}}
    assert shared_channel(line, rates, near).resources == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=24))
def test_cliques_are_all_the_maximal_ones(edges):
    near = {node: set() for node in range(8)}
    for a, b in edges:
        if a != b:
            near[a].add(b)
            near[b].add(a)
    whole = [
        {n for n in range(8) if mask >> n & 1}
        for mask in range(1, 256)
        if all(b in near[a] for a in range(8) for b in range(a) if mask >> a & 1 and mask >> b & 1)
    ]
    maximal = sorted(tuple(sorted(c)) for c in whole if not any(c < other for other in whole))
    assert maximal_cliques(near) == maximal


def test_too_many_cliques_are_named_with_a_way_out():
    # Moon and Moser: 3^(n/3) maximal cliques.
    near = {a: {b for b in range(21) if b // 3 != a // 3} for a in range(21)}
    with pytest.raises(UserError, match="half_duplex"):
        maximal_cliques(near, limit=1_000)


def test_any_gateway_will_do():
    network, sink = with_gateways(wired(both_ways([(0, 1), (1, 2)]), [10_000.0] * 4), [0, 2])
    flow = EdgeProgram(network, [(1, sink)]).solve(np.array([10_000.0]))
    assert flow.utilisation == pytest.approx(0.5)
    with pytest.raises(ValueError, match="gateways"):
        with_gateways(network, [99])


def test_many_sources_and_one_target_are_one_commodity():
    links = both_ways([(0, 1), (1, 2), (2, 3)])
    program = EdgeProgram(wired(links, [10_000.0] * 6), [(0, 3), (1, 3), (2, 3)])
    flow = program.solve(np.array([1_000.0, 1_000.0, 1_000.0]))
    assert flow.is_reversed
    assert flow.flow_kbps.shape == (1, 6)
    assert flow.utilisation == pytest.approx(0.3)
    assert reverse(reverse(program.network)).links == program.network.links


def test_moving_costs_so_a_small_gain_moves_nothing_and_a_large_one_does():
    network = wired(DIAMOND, [10_000.0] * 4)
    pool = PathPool(network, [(0, 3)])
    pool.add([(0, 1, 3), (0, 2, 3)])
    held = np.array([0.5, 0.5])
    demands = np.array([[8_000.0]])
    one = ScenarioProgram(pool, demands, np.array([1 / 0.4]), held, ProgramParams())
    assert one.solve()[0] == pytest.approx(held)
    alone = np.array([1.0, 0.0])
    two = ScenarioProgram(pool, demands, np.array([1 / 0.4]), alone, ProgramParams())
    assert two.solve()[0] == pytest.approx(held)
    dear = ScenarioProgram(pool, demands, np.array([1 / 0.4]), alone, ProgramParams(churn=3.0))
    assert dear.solve()[0] == pytest.approx(alone)


def test_the_duals_find_the_path_that_the_pool_lacks():
    network = wired(DIAMOND, [10_000.0] * 4)
    pool = PathPool(network, [(0, 3)])
    pool.add([(0, 1, 3)])
    program = ScenarioProgram(pool, np.array([[8_000.0]]), np.array([1.25]), None, ProgramParams())
    _, solution = program.solve()
    assert program.price_paths(solution) == [(0, 2, 3)]


def test_past_the_deadline_there_is_no_answer_rather_than_a_bad_one():
    network = wired(DIAMOND, RATES)
    pool = PathPool(network, [(0, 3)])
    pool.add([(0, 1, 3), (0, 2, 3)])
    late = ProgramParams(time_limit_s=0.0)
    demands = np.array([[30_000.0], [50_000.0]])
    assert ScenarioProgram(pool, demands, np.array([1.0, 1.0]), None, late).solve() is None
    assert convex_shares(pool, demands[0], 0.5, 0.0) is None


def test_the_convex_plan_spreads_what_the_maximum_alone_would_not():
    # The bottleneck 3 > 4 is full whatever happens before it; spreading still helps 0 > 3.
    links = [*DIAMOND, (3, 4)]
    network = wired(links, [10_000.0] * 4 + [5_000.0])
    pool = PathPool(network, [(0, 4)])
    pool.add([(0, 1, 3, 4), (0, 2, 3, 4)])
    shares = convex_shares(pool, np.array([4_000.0]), 0.8)
    assert min(shares) > 0.15


def test_moved_traffic_is_counted_once():
    before = plan_of([(0, 3)], {(0, 3): {(0, 1, 3): 1.0}}, "x")
    after = plan_of([(0, 3)], {(0, 3): {(0, 1, 3): 3.0, (0, 2, 3): 1.0}}, "x")
    assert moved_share(before, after, np.array([5_000.0])) == pytest.approx(0.25)
    assert moved_share(after, after, np.array([5_000.0])) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("links", "rates", "word"),
    [
        ([], [], "rates"),
        ([(0, 1)], [0.0], "rates"),
        ([(0, 1)], [float("nan")], "rates"),
        ([(0, 1), (0, 1)], [1.0, 1.0], "links"),
        ([(1, 1)], [1.0], "links"),
    ],
)
def test_impossible_networks_are_refused_with_the_field(links, rates, word):
    with pytest.raises(ValueError, match=word):
        wired(links, rates)
