"""Planners over time: poisoned forecasts cost nothing, recovery, deadlines, fair shares."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.guard import MODEL, NO_MODEL, SHORTEST_PATH
from routing.plan.blocks import BlockPlanner
from routing.plan.demands import DemandTable, train_demands
from routing.plan.fairness import compute_shares, pair_usage
from routing.plan.guard import PLAN_EXPERTS, SCENARIOS, PlanGuard, PlanGuardParams
from routing.plan.network import half_duplex, wired
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import moved_share, utilisation_of
from routing.plan.planner import Planner, PlannerParams
from routing.plan.program import PathPool, ProgramParams, ScenarioProgram
from routing.plan.scenarios import DemandForecast

EDGES = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (1, 4)]
LINKS = sorted(EDGES + [(b, a) for a, b in EDGES])
RATES = [20_000.0 + 3_000.0 * (i % 5) for i in range(len(LINKS))]
PAIRS = [(a, b) for a in range(6) for b in range(6) if a != b]
NETWORK = half_duplex(LINKS, RATES)
STEPS = 42


def demands(steps=STEPS + 1, seed=1):
    """Demands that swing with periods of their own, with noise: forecastable, in part."""
    draws = np.random.default_rng(seed)
    base, phase = draws.lognormal(6.0, 1.0, 30), draws.random(30) * 7
    swing = 1 + 0.6 * np.sin(np.arange(steps)[:, None] / 2.5 + phase)
    return base * swing * np.exp(0.05 * draws.standard_normal((steps, 30)))


DEMANDS = demands()


def honest(step):
    return DemandForecast(step, DEMANDS[step + 1] * 1.02)


def permuted(step):
    return DemandForecast(step, np.sort(DEMANDS[step])[::-1].copy())


def frozen(step):
    return DemandForecast(step, DEMANDS[0])


def stale(step):
    return DemandForecast(0, DEMANDS[1])


def not_a_number(step):
    return DemandForecast(step, np.full(30, np.nan))


def suddenly_bad(step):
    return (honest if step < 22 else permuted)(step)


BAD = [permuted, frozen, stale, not_a_number, suddenly_bad]


@cache
def run(forecaster, *allowed):
    """Return the mean maximum utilisation, the experts by step and the last summary."""
    guard = PlanGuardParams(allowed=allowed or PLAN_EXPERTS)
    planner = Planner(NETWORK, PAIRS, PlannerParams(scenarios=6, guard=guard))
    tops, experts, problems = [], [], []
    for step in range(STEPS):
        plan = planner.step(DEMANDS[step], forecaster and forecaster(step))
        tops.append(utilisation_of(NETWORK, plan, DEMANDS[step + 1 : step + 2]).max())
        experts.append(plan.expert)
        problems.append(planner.problem)
    return float(np.mean(tops)), experts, problems


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_forecast_costs_no_more_than_half_a_percent_over_none(bad):
    assert run(bad)[0] <= run(None)[0] * 1.005


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_forecast_is_not_in_use_at_the_end(bad):
    assert run(bad)[1][-1] != MODEL


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(frozen, "frozen"), (stale, "stale"), (not_a_number, "not-finite"), (permuted, "drift")],
)
def test_the_reason_is_named(bad, reason):
    assert reason in run(bad)[2][5:]


def test_a_good_forecast_is_trusted_pays_and_is_dropped_when_it_goes_bad():
    top, experts, _ = run(honest)
    assert experts[-1] == MODEL
    assert top < run(None)[0]
    _, experts, problems = run(suddenly_bad)
    assert experts[21] == MODEL
    assert MODEL not in experts[28:]
    assert "drift" in problems[23:28]


def test_a_forecast_that_recovers_is_used_again():
    def ill(step):
        return not_a_number(step) if 20 <= step < 26 else honest(step)

    experts = run(ill)[1]
    assert MODEL not in experts[20:26]
    assert experts[-1] == MODEL


def test_unguarded_the_permuted_forecast_is_expensive():
    believer = PlanGuardParams(min_steps=0, sane=1e9, start=MODEL)
    planner = Planner(NETWORK, PAIRS, PlannerParams(scenarios=6, guard=believer))
    tops = []
    for step in range(20):
        planner.step(DEMANDS[step], permuted(step))
        blind = planner.plans.get(MODEL, planner.plan)
        tops.append(utilisation_of(NETWORK, blind, DEMANDS[step + 1 : step + 2]).max())
    assert np.mean(tops[:8]) > run(None)[0] * 1.05


def test_scenarios_move_little_and_beat_shortest_path():
    planner = Planner(NETWORK, PAIRS, PlannerParams(scenarios=6))
    moved, before = [], None
    for step in range(20):
        plan = planner.step(DEMANDS[step])
        if before is not None:
            moved.append(moved_share(before, plan, DEMANDS[step]))
        before = plan
    assert np.mean(moved[5:]) < 0.05
    assert run(None)[0] < 0.9 * run(None, SHORTEST_PATH)[0]


def test_the_first_plan_moves_for_nothing():
    planner = Planner(NETWORK, PAIRS, PlannerParams(scenarios=4))
    plan = planner.step(DEMANDS[0])
    best = EdgeProgram(NETWORK, PAIRS).solve(DEMANDS[0]).utilisation
    top = utilisation_of(NETWORK, plan, DEMANDS[:1]).max()
    assert best <= top * (1 + 1e-6)
    assert top <= best * 1.001


def test_rows_that_bound_before_save_work_and_change_no_optimum():
    pool = PathPool(NETWORK, PAIRS)
    pool.add(Planner(NETWORK, PAIRS).shortest.hops)
    weights = np.full(6, 1 / 6)

    def solve(expected):
        held = np.zeros(len(pool.hops))
        held[: len(PAIRS)] = 1.0
        program = ScenarioProgram(
            pool, DEMANDS[:6], weights, held, ProgramParams(), expected=expected
        )
        return program, program.solve()[1]

    first, solution = solve(())
    pool.add(first.price_paths(solution))
    cold, once = solve(())
    _, again = solve(cold.binding(once))
    assert again.objective == pytest.approx(once.objective, rel=1e-3)
    assert once.objective <= solution.objective * (1 + 1e-6)


def test_the_same_inputs_give_the_same_plans():
    def last():
        planner = Planner(NETWORK, PAIRS, PlannerParams(scenarios=4))
        for step in range(6):
            plan = planner.step(DEMANDS[step])
        return plan.hops, plan.share.tolist(), plan.version

    assert last() == last()


def test_without_time_the_plan_in_use_stays():
    planner = Planner(NETWORK, PAIRS, PlannerParams(scenarios=4))
    for step in range(4):
        good = planner.step(DEMANDS[step])
    assert good.expert == SCENARIOS
    planner.params = replace(planner.params, program=ProgramParams(time_limit_s=0.0))
    late = planner.step(DEMANDS[4])
    assert late.splits() == good.splits()
    assert late.version == good.version
    assert "deadline" in late.reason


@pytest.mark.parametrize("bad", [np.zeros(3), np.full(30, np.nan)])
def test_a_matrix_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="demand"):
        Planner(NETWORK, PAIRS).step(bad)


def test_pairs_out_of_reach_are_named():
    with pytest.raises(ValueError, match=r"no path \(1, 0\)"):
        Planner(wired([(0, 1)], [1.0]), [(0, 1), (1, 0)])


def test_a_silent_network_keeps_shortest_paths():
    planner = Planner(NETWORK, PAIRS)
    plan = planner.step(np.zeros(30))
    assert plan.hops == planner.shortest.hops


def test_a_plan_worse_than_shortest_path_on_recent_matrices_is_refused():
    guard = PlanGuard(PlanGuardParams(min_steps=0))
    recent = {SHORTEST_PATH: 0.5, NO_MODEL: 0.4, SCENARIOS: 0.51, MODEL: 0.43}
    assert "shortest path on recent" in guard.obstacle(SCENARIOS, recent, None)
    assert "far worse than no_model" in guard.obstacle(MODEL, recent, None)
    assert guard.choose(recent, None) == NO_MODEL


def test_the_demand_forecast_beats_persistence_and_is_the_same_twice():
    table = DemandTable(demands(260, 4), PAIRS, 300)
    first, second = (train_demands(table, 200, rounds=30) for _ in range(2))
    said = np.stack([first.predict(table, step) for step in range(200, 259)])
    again = np.stack([second.predict(table, step) for step in range(200, 259)])
    assert said.tobytes() == again.tobytes()
    came, last = table.demands[201:260], table.demands[200:259]
    assert np.abs(said - came).sum() < 0.8 * np.abs(last - came).sum()


def test_features_know_nothing_of_the_future():
    values = demands(60, 5)
    changed = values.copy()
    changed[31:] *= 9.0
    rows = [DemandTable(v, PAIRS, 300).rows(30) for v in (values, changed)]
    assert rows[0].tobytes() == rows[1].tobytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0.1, 5.0))
def test_fair_shares_fit_and_nobody_could_have_more(seed, classes, load):
    draws = np.random.default_rng(seed)
    usage = draws.random((5, 7)) * (draws.random((5, 7)) < 0.5)
    asked = draws.random((classes, 7)) * load
    weights = draws.uniform(0.5, 4.0, classes)
    shares = compute_shares(usage, asked, weights)
    filled = usage @ (shares * asked).sum(axis=0)
    assert filled.max() <= 1 + 1e-6
    for c in range(classes):
        for p in range(7):
            if shares[c, p] >= 1 - 1e-6:
                continue
            level = shares[c, p] / weights[c]
            # Max-min: some full resource on its way carries nobody with a higher level.
            ways = np.flatnonzero((usage[:, p] > 0) & (filled > 1 - 1e-6))
            top = [(shares / weights[:, None])[:, usage[r] > 0].max() for r in ways]
            assert min(top) <= level + 1e-6


def test_classes_share_a_full_link_by_weight_and_leave_nothing_over():
    planner = Planner(wired([(0, 1)], [1_000.0]), [(0, 1)])
    usage = pair_usage(planner.network, planner.plan)
    asked = np.array([[1_000.0], [1_000.0], [1_000.0]])
    shares = compute_shares(usage, asked, np.array([4.0, 2.0, 1.0]))
    assert shares[:, 0] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    small = np.array([[100.0], [1_000.0], [1_000.0]])
    shares = compute_shares(usage, small, np.array([4.0, 2.0, 1.0]))
    assert shares[:, 0] == pytest.approx([1.0, 0.6, 0.3])
    with pytest.raises(ValueError, match="weights"):
        compute_shares(usage, small, np.array([1.0, 0.0, 1.0]))


def test_blocks_plan_a_mesh_that_is_too_large_for_one_program():
    draws = np.random.default_rng(3)
    edges = {(int(draws.integers(0, n)), n) for n in range(1, 16)}
    edges |= {(a, b) for a in range(16) for b in range(a + 1, 16) if draws.random() < 0.12}
    links = sorted(edges | {(b, a) for a, b in edges})
    network = half_duplex(links, draws.uniform(10_000, 60_000, len(links)).tolist())
    pairs = [(a, b) for a in range(16) for b in range(16) if a != b]
    asked = draws.lognormal(4.0, 1.0, len(pairs))
    planner = BlockPlanner(network, pairs, block_sources=8)
    plan = planner.step(asked, sweeps=3)
    totals = np.bincount(plan.pair, plan.share, minlength=len(pairs))
    assert totals == pytest.approx(np.ones(len(pairs)))
    best = EdgeProgram(network, pairs).solve(asked).utilisation
    floor = utilisation_of(network, Planner(network, pairs).shortest, asked[None]).max()
    top = utilisation_of(network, plan, asked[None]).max()
    assert best <= top * (1 + 1e-6)
    assert top <= min(floor, best / 0.9)


def test_blocks_refuse_what_they_cannot_plan():
    with pytest.raises(ValueError, match="out of reach"):
        BlockPlanner(wired([(0, 1)], [1.0]), [(0, 1), (1, 0)])
    with pytest.raises(ValueError, match="demand"):
        BlockPlanner(NETWORK, PAIRS).step(np.zeros(2))
