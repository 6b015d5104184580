"""Plans of a hotspot's own traffic: what they cost, what they gain, and what a bad one may do."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from routing.cost import LinkEstimate
from routing.experts import moved_estimate
from routing.guard import EXPERTS, NO_MODEL, PLAN, SHORTEST_PATH, GuardParams
from routing.mesh_plan import FULL, FlowMeter, MeshPlan, MeshView, permille_of, pick
from routing.plan.congestion import CongestionProgram, added_cost, congestion
from routing.plan.network import wired
from routing.plan.own import CHURN, NOTHING_TO_PLAN, OwnPlanner, OwnPlanParams
from routing.plan.program import PathPool, ProgramParams
from routing.replay import Flow, World, run
from routing.router import Router, RouterParams
from routing.types import FlowClass, Forecast, Job, LinkSample, Path

ENDS = [(0, 15, 1500), (0, 12, 1200), (0, 3, 1500), (0, 10, 1500), (0, 14, 1000), (0, 7, 500)]
FLOWS = tuple(Flow(*row) for row in ENDS)
DIAMOND = {(0, 1): 40_000, (1, 3): 40_000, (0, 2): 20_000, (2, 3): 20_000}
SURE = ProgramParams(CHURN)
WIRED = OwnPlanParams(wired=True, program=SURE)


def view(demand, loads=None, rates=DIAMOND, **more):
    own = more.pop("own", {})
    return MeshView(0, rates, loads or dict.fromkeys(rates, 0), {(0, 3): demand}, own, **more)


# Costs and programs.


@given(st.lists(st.floats(0, 2), min_size=3, max_size=3).map(sorted))
def test_congestion_costs_more_the_fuller_a_link_is(levels):
    low, middle, high = (float(congestion(np.array([x]))[0]) for x in levels)
    assert low <= middle <= high
    if levels[2] - levels[0] > 1e-6:
        share = (levels[1] - levels[0]) / (levels[2] - levels[0])
        assert middle <= low + share * (high - low) + 1e-6


@settings(max_examples=30, deadline=None)
@given(st.floats(100, 90_000), st.floats(0, 45_000), st.floats(0, 25_000))
def test_the_program_finds_the_best_split_of_two_paths(demand, above, below):
    network = wired(list(DIAMOND), [float(rate) for rate in DIAMOND.values()])
    pool = PathPool(network, [(0, 3)])
    pool.add([(0, 1, 3), (0, 2, 3)])
    loads = np.array([[above, above, below, below]])
    background = (network.usage @ loads.T).T
    free = ProgramParams(churn=0.0)
    asked = np.array([[demand]])
    program = CongestionProgram(pool, asked, background, np.array([1.0, 0.0]), free)
    shares = program.solve()
    assert shares.sum() == pytest.approx(1.0)

    def cost(share):
        parts = np.array([share, 1 - share]) * demand
        return float(added_cost(background, (pool.usage @ parts)[None])[0])

    best = min(cost(x) for x in np.linspace(0, 1, 501))
    assert cost(shares[0]) <= best * (1 + 1e-6) + 1e-9


def test_moving_has_its_price():
    network = wired(list(DIAMOND), [float(rate) for rate in DIAMOND.values()])
    pool = PathPool(network, [(0, 3)])
    pool.add([(0, 1, 3), (0, 2, 3)])
    # The other way is a little better; not by as much as moving costs.
    background = np.array([[0.40, 0.40, 0.0, 0.0]])
    asked = np.array([[1_000.0]])
    held = np.array([1.0, 0.0])
    for churn, stays in ((10.0, True), (0.0, False)):
        program = CongestionProgram(pool, asked, background, held, ProgramParams(churn=churn))
        assert (program.solve()[0] > 0.99) == stays


# What a plan says.


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=9), st.integers(0, 10**6))
def test_splits_add_up_and_flows_are_dealt_out_by_them(shares, first):
    split = permille_of({(0, n, 99): share for n, share in enumerate(shares)})
    assert sum(share for _, share in split) == FULL
    assert pick(split, 0) == split[0][0]
    taken = [pick(split, first + key) for key in range(600)]
    for hops, share in split:
        assert taken.count(hops) / 600 == pytest.approx(share / FULL, abs=0.02)


def test_a_meter_tells_demands_by_pair_and_loads_by_link():
    meter = FlowMeter()
    assert meter.rates(0) == ({}, {})
    for second in range(1, 31):
        meter.carry((0, 1, 3), 125_000)
        meter.carry((0, 2, 3), 62_500)
        meter.carry((0, 1), 12_500)
        pairs, links = meter.rates(1_000 * second)
    assert pairs[0, 3] == pytest.approx(1_500, rel=0.01)
    assert links[0, 1] == pytest.approx(1_100, rel=0.01)
    assert links[2, 3] == pytest.approx(500, rel=0.01)
    for second in range(31, 90):
        pairs, links = meter.rates(1_000 * second)
    assert pairs == {} == links


def test_traffic_that_moves_takes_its_queue_with_it():
    full = LinkEstimate(10_000, 9_900, 990, 100_000, 0)
    assert moved_estimate(full, -5_000).queue_bytes == 0
    assert moved_estimate(full, -100).queue_bytes == 100_000
    assert moved_estimate(LinkEstimate(10_000, 2_000, 200, 0, 0), 9_000).queue_bytes == 250_000
    assert moved_estimate(full, -99_999).load_kbps == 0


# The planner.


def test_traffic_too_large_for_one_path_is_split_around_what_others_send():
    planner = OwnPlanner(WIRED)
    for _ in range(3):
        plan = planner.plan(view(45_000))
    split = dict(plan.splits[0, 3])
    assert set(split) == {(0, 1, 3), (0, 2, 3)}
    assert 500 < split[0, 1, 3] < 900
    crowded = {(0, 1): 38_000, (1, 3): 38_000, (0, 2): 0, (2, 3): 0}
    planner = OwnPlanner(WIRED)
    for _ in range(3):
        plan = planner.plan(view(5_000, crowded))
    assert plan.splits[0, 3] == (((0, 2, 3), FULL),)
    assert plan.expert != SHORTEST_PATH


def test_own_load_is_not_taken_for_others():
    own = {(0, 1): 30_000, (1, 3): 30_000}
    planner = OwnPlanner(WIRED)
    loads = {**dict.fromkeys(DIAMOND, 0), **own}
    for _ in range(4):
        plan = planner.plan(view(30_000, loads, own=own))
    assert plan.splits[0, 3][0][0] == (0, 1, 3)


def test_a_forecast_moves_traffic_before_the_load_comes_once_it_has_proved_itself():
    even = dict.fromkeys(DIAMOND, 40_000)

    def crowd(step):
        """Others fill one way and then the other, a step each."""
        full = {(0, 1), (1, 3)} if step % 2 else {(0, 2), (2, 3)}
        return {link: 36_000 * (link in full) for link in even}

    def told(step):
        said = {
            link: Forecast(0, (10_000,), (float(kbps),), (float(kbps),), (1.0,))
            for link, kbps in crowd(step + 1).items()
        }
        return view(6_000, crowd(step), even, forecasts=said, problem=None)

    planner = OwnPlanner(WIRED)
    for step in range(40):
        plan = planner.plan(told(step))
    assert plan.expert == "model"
    assert dict(plan.splits[0, 3])[0, 1, 3] > 900
    assert dict(planner.plan(told(40)).splits[0, 3])[0, 2, 3] > 900


def test_links_that_are_none_are_left_out():
    odd = {**DIAMOND, (1, 1): 5_000, (3, 0): 0}
    plan = OwnPlanner(WIRED).plan(view(45_000, rates=odd))
    assert set(dict(plan.splits[0, 3])) <= {(0, 1, 3), (0, 2, 3)}


def test_without_links_or_targets_there_is_nothing_to_plan():
    assert OwnPlanner().plan(view(1_000, rates={})) is NOTHING_TO_PLAN
    assert OwnPlanner().plan(MeshView(0, DIAMOND, DIAMOND, {(0, 9): 5}, {})) is NOTHING_TO_PLAN


def test_a_path_whose_link_died_is_left_even_past_the_deadline():
    planner = OwnPlanner(WIRED)
    for _ in range(3):
        planner.plan(view(45_000))
    planner.params = OwnPlanParams(wired=True, program=ProgramParams(time_limit_s=0.0))
    alive = {link: rate for link, rate in DIAMOND.items() if 1 not in link}
    plan = planner.plan(view(45_000, rates=alive))
    assert plan.splits[0, 3] == (((0, 2, 3), FULL),)


def test_past_the_deadline_the_plan_of_before_stays():
    planner = OwnPlanner(WIRED)
    for _ in range(4):
        before = planner.plan(view(45_000))
    planner.params = OwnPlanParams(wired=True, program=ProgramParams(time_limit_s=0.0))
    late = planner.plan(view(45_000))
    assert (late.splits, late.version) == (before.splits, before.version)
    assert "deadline" in late.reason


# Fairness among classes.


def test_nothing_is_held_back_while_all_fits():
    planner = OwnPlanner(WIRED)
    assert planner.plan(view(45_000, job_kbps={(0, 3): 20_000})).fair == {}


def test_jobs_make_do_with_what_ai_requests_leave_by_weight():
    planner = OwnPlanner(WIRED)
    # 60 Mbit/s of ways, 20 of them taken by others; 80 asked for, half of it by jobs.
    crowd = {(0, 1): 20_000, (1, 3): 20_000, (0, 2): 0, (2, 3): 0}
    for _ in range(4):
        plan = planner.plan(view(80_000, crowd, job_kbps={(0, 3): 40_000}))
    ai, jobs = (plan.fair[name, (0, 3)] for name in (FlowClass.AI, FlowClass.JOB))
    assert ai == pytest.approx(4 * jobs, rel=0.02)
    assert 20 < 40 * (ai + jobs) / FULL < 40


def test_a_job_is_paced_down_to_its_share_and_never_below_its_promise():
    class Scarce:
        def plan(self, view):
            pairs = view.demands_kbps
            fair = {(FlowClass.JOB, pair): 250 for pair in pairs}
            return MeshPlan({p: (((*p,), FULL),) for p in pairs}, "s", "", 1, fair)

    def paced(planner):
        chooser = Router(None, None, planner)
        links = [LinkSample(a, b, 0, 20_000, 0, 0, 0, 0, 900) for a, b in ((0, 1), (1, 0))]
        chooser.observe(links, 0)
        promise = chooser.admit(Job("j", 0, 1, 1_000_000, 60_000), 0, {})
        chooser.path(0, 1, FlowClass.JOB, 0)
        for second in range(1, 4):
            now_ms = 1_000 * second
            chooser.observe([replace(link, time_ms=now_ms) for link in links], now_ms)
            rate = chooser.job_rate("j", now_ms)
        return promise, rate

    promise, free = paced(None)
    _, fair = paced(Scarce())
    assert fair == pytest.approx(free / 4, abs=2)
    assert fair > promise.rate_kbps

    Scarce.plan = lambda self, view: MeshPlan(
        {}, "s", "", 1, {(FlowClass.JOB, pair): 0 for pair in view.demands_kbps}
    )
    promise, fair = paced(Scarce())
    assert promise.rate_kbps <= fair <= 1.1 * promise.rate_kbps


# In the router.


def router(planner, *allowed):
    return Router(None, RouterParams(guard=GuardParams(allowed=allowed or EXPERTS)), planner)


@cache
def replayed(make, *allowed):
    return run(World(3), router(make and make(), *allowed), 150, FLOWS)


def good():
    return OwnPlanner(WIRED)


def test_plans_cut_delay_and_path_changes_of_heavy_traffic():
    plain, planned = replayed(None), replayed(good)
    assert planned.mean_delay_us < 0.85 * plain.mean_delay_us
    assert planned.changes < 0.6 * plain.changes
    assert planned.experts.get(PLAN, 0) > 300


def test_the_same_world_gives_the_same_plans():
    assert replayed(good) == run(World(3), router(good()), 150, FLOWS)


class Detours:
    """Plans the longest way round that it finds."""

    def plan(self, view):
        splits = {}
        for source, target in view.demands_kbps:
            stack, longest = [(source,)], ()
            for _ in range(200):
                if not stack:
                    break
                hops = stack.pop()
                if hops[-1] == target:
                    longest = max(longest, hops, key=len)
                    continue
                stack += [
                    (*hops, b) for a, b in view.rates_kbps if a == hops[-1] and b not in hops
                ]
            if longest:
                splits[source, target] = ((longest, FULL),)
        return MeshPlan(splits, "detours", "because", 1)


class DeadLinks:
    """Plans over links that are not there."""

    def plan(self, view):
        pairs = view.demands_kbps
        return MeshPlan({p: (((p[0], 77, p[1]), FULL),) for p in pairs}, "dead", "", 1)


class Refusing:
    def plan(self, view):
        return NOTHING_TO_PLAN


@pytest.mark.parametrize("bad", [Detours, DeadLinks, Refusing])
def test_a_bad_planner_costs_next_to_nothing_over_none(bad):
    assert replayed(bad).mean_delay_us <= replayed(None).mean_delay_us * 1.05
    assert replayed(bad, SHORTEST_PATH, PLAN).mean_delay_us <= (
        replayed(None, SHORTEST_PATH).mean_delay_us * 1.01
    )


def test_every_planned_path_is_simple_and_alive():
    world, chooser = World(3), router(good(), SHORTEST_PATH, PLAN)
    run(world, chooser, 60, FLOWS)
    for key in range(50):
        for flow in FLOWS:
            path = chooser.path(flow.source, flow.target, FlowClass.AI, 60_000, key)
            assert isinstance(path, Path)
            assert len(set(path.hops)) == len(path.hops)
            assert set(pairwise(path.hops)) <= world.rates.keys()


def test_a_router_says_what_its_plan_is():
    chooser = router(good())
    assert chooser.summary(0)["plan"] == {"problem": "no plan yet"}
    run(World(3), chooser, 40, FLOWS)
    assert chooser.summary(40_000)["plan"]["version"] >= 1
    assert router(None).summary(0)["plan"] == {"problem": "no planner"}
    refused = router(Refusing())
    run(World(3), refused, 20, FLOWS)
    assert refused.plan_problem() == "no plan: nothing-to-plan"
    assert isinstance(NOTHING_TO_PLAN, Refusal)
    assert NO_MODEL in refused.summary(20_000)["scores_us"]
