"""The guard: bad forecasts cost nothing, whatever is wrong with them."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from routing.experts import Beliefs
from routing.forecast.health import DriftAlarm, ForecastHealth, HealthParams
from routing.graph import LinkGraph, shortest_path
from routing.guard import EXPERTS, MODEL, NO_MODEL, PLAN, SHORTEST_PATH, Guard, GuardParams
from routing.replay import DEFAULT_FLOWS, Flow, World, run
from routing.router import Router, RouterParams
from routing.telemetry.history import History
from routing.types import FlowClass, Forecast, LinkSample, Path

WEIGHTLESS = tuple(replace(flow, rate_kbps=0) for flow in DEFAULT_FLOWS)
SECONDS = 150


class Persistence:
    """A sane forecaster without LightGBM: what was last seen, with margins."""

    def predict(self, history):
        return {link: self.forecast(history.newest(link)) for link in history.links()}

    def forecast(self, sample):
        load, rate = float(sample.load_kbps), float(sample.rate_kbps)
        high = min(rate, 1.5 * load)
        both = (sample.time_ms, (10_000, 60_000), (load, load), (high, high), (rate, rate))
        return Forecast(*both)


class Permuted(Persistence):
    """Every link gets the forecast of another one."""

    def predict(self, history):
        good = super().predict(history)
        links = sorted(good)
        return {
            link: replace(good[links[i * 7 % len(links)]], time_ms=good[link].time_ms)
            for i, link in enumerate(links)
        }


class Frozen(Persistence):
    """Says for ever what it said first, with the time of now."""

    first = None

    def predict(self, history):
        good = super().predict(history)
        self.first = self.first or good
        first = self.first
        return {link: replace(first.get(link, f), time_ms=f.time_ms) for link, f in good.items()}


class Stale(Persistence):
    """Stopped being fed."""

    first = None

    def predict(self, history):
        self.first = self.first or super().predict(history)
        return self.first


class NotANumber(Persistence):
    def forecast(self, sample):
        good = super().forecast(sample)
        return replace(good, load_p50_kbps=(float("nan"), float("nan")))


class Refusing(Persistence):
    def predict(self, history):
        return Refusal("forecast-not-finite", "the model's output is not a number")


class SuddenlyBad(Persistence):
    """Honest for a while, and then calls half of the links full and the others empty."""

    honest_ms = 80_000

    def forecast(self, sample):
        good = super().forecast(sample)
        if sample.time_ms < self.honest_ms:
            return good
        full = (sample.source + sample.target) % 4 == 1
        wrong = 0.97 * sample.rate_kbps - sample.load_kbps // 50 if full else sample.load_kbps / 9
        return replace(good, load_p50_kbps=(wrong, wrong), load_p90_kbps=(wrong, wrong))


class AlwaysWrong(SuddenlyBad):
    honest_ms = 0


BAD = [Permuted, Frozen, Stale, NotANumber, Refusing, SuddenlyBad, AlwaysWrong]


def router(forecaster, *allowed):
    guard = GuardParams(allowed=allowed or EXPERTS)
    return Router(forecaster, RouterParams(guard=guard))


@cache
def delay_us(forecaster, calm, *allowed):
    """Mean delay of weightless flows, in a calm world or in a congested one."""
    chooser = router(forecaster and forecaster(), *allowed)
    return run(world(calm), chooser, SECONDS, WEIGHTLESS).mean_delay_us


def world(calm):
    return World(5, wave_permille=100, surge_permille=0) if calm else World(5)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("calm", [True, False])
def test_bad_forecasts_never_cost_more_than_shortest_path(bad, calm):
    assert delay_us(bad, calm) <= delay_us(None, calm, SHORTEST_PATH) * 1.006


@pytest.mark.parametrize("bad", BAD)
def test_bad_forecasts_cost_little_over_no_model_at_all(bad):
    assert delay_us(bad, False) <= delay_us(None, False) * 1.05


class Unguarded:
    """Believes the forecast blindly: shows that the worlds above do punish that."""

    def __init__(self, forecaster):
        self.forecaster, self.history, self.graph = forecaster, History(), LinkGraph()

    def observe(self, samples, now_ms):
        for sample in samples:
            self.history.add(sample)
            self.graph.observe(sample)
        forecasts = self.forecaster.predict(self.history)
        beliefs = Beliefs(self.graph, self.history, forecasts)
        self.costs = beliefs.costs(MODEL, FlowClass.BEST_EFFORT, now_ms)

    def carried(self, hops, size_bytes):
        pass

    def path(self, source, target, flow, now_ms, key):
        return Path(shortest_path(self.costs, source, target), 0, MODEL, "blind")


def test_without_the_guard_a_wrong_forecast_is_expensive():
    calm = run(world(True), Unguarded(AlwaysWrong()), SECONDS, WEIGHTLESS).mean_delay_us
    assert calm > delay_us(None, True, SHORTEST_PATH) * 1.05
    congested = run(world(False), Unguarded(Permuted()), SECONDS, WEIGHTLESS).mean_delay_us
    assert congested > delay_us(None, False) * 1.1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Frozen, "frozen"),
        (Stale, "stale"),
        (NotANumber, "not-finite"),
        (Refusing, "forecast-not-finite"),
        (AlwaysWrong, "drift coverage"),
    ],
)
def test_the_reason_is_named(bad, reason):
    chooser = router(bad())
    run(world(False), chooser, 120, WEIGHTLESS)
    assert chooser.summary(120_000)["forecast_problem"] in reason.split()
    assert chooser.summary(120_000)["expert"] != MODEL


def test_a_forecast_that_is_fit_is_used_and_dropped_when_it_goes_bad():
    chooser = router(SuddenlyBad(), SHORTEST_PATH, MODEL)
    run(world(False), chooser, 78, WEIGHTLESS)
    assert chooser.summary(78_000)["expert"] == MODEL
    chooser = router(SuddenlyBad(), SHORTEST_PATH, MODEL)
    run(world(False), chooser, SECONDS, WEIGHTLESS)
    assert chooser.summary(SECONDS * 1_000)["expert"] == SHORTEST_PATH


COSTS = st.tuples(*[st.integers(0, 10_000)] * len(EXPERTS))


@settings(max_examples=100, deadline=None)
@given(st.lists(COSTS, min_size=1, max_size=200), st.booleans())
def test_the_price_of_learning_is_bounded_whatever_happens(rounds, spiteful):
    params = GuardParams()
    guard = Guard(params)
    regret = dict.fromkeys(EXPERTS, 0)
    for costs in rounds:
        planned = dict(zip(EXPERTS, costs, strict=True))
        used = guard.choose(None, None)
        if spiteful and used != SHORTEST_PATH:
            # The one in use always disappoints, and shines again when it isn't.
            planned = {name: 10_000 if name == used else 1_000 for name in EXPERTS}
        guard.settle(planned, used, planned[used])
        regret[used] += planned[used] - planned[SHORTEST_PATH]
    bound = (params.budget_rounds * 10_000 + 10_000) * (1 + 0.001 * len(rounds)) + len(rounds)
    assert regret[NO_MODEL] <= bound
    assert regret[MODEL] <= bound
    assert regret[PLAN] <= bound


def test_an_expert_that_wasted_its_budget_is_out_until_half_is_forgiven():
    guard = Guard(GuardParams(forgive_permille=100))
    for _ in range(12):
        guard.settle(dict.fromkeys(EXPERTS, 1_000), NO_MODEL, 2_000)
    assert guard.obstacle(NO_MODEL, None) == "cost more than shortest path"
    assert guard.choose(None) == SHORTEST_PATH
    for _ in range(20):
        guard.settle(dict.fromkeys(EXPERTS, 1_000), SHORTEST_PATH, 1_000)
    assert guard.obstacle(NO_MODEL, None) is None


def test_a_small_gain_does_not_move_the_choice():
    guard = Guard(GuardParams(min_rounds=1))
    for _ in range(30):
        guard.settle({SHORTEST_PATH: 2_000, NO_MODEL: 1_000, MODEL: 990}, NO_MODEL, 1_000)
        assert guard.choose(None) == NO_MODEL
    for _ in range(30):
        guard.settle({SHORTEST_PATH: 2_000, NO_MODEL: 1_000, MODEL: 900}, guard.in_use, 1_000)
        guard.choose(None)
    assert guard.in_use == MODEL


def test_drift_alarm_is_quiet_on_good_rounds_rises_on_bad_and_ends_on_recovery():
    alarm = DriftAlarm(HealthParams())
    for ratio in [0.7, 1.1] * 100:
        alarm.add(ratio)
        assert not alarm.raised
    for _ in range(10):
        alarm.add(2.0)
    assert alarm.raised
    for _ in range(6):
        alarm.add(0.9)
    assert alarm.raised
    for _ in range(6):
        alarm.add(0.9)
    assert not alarm.raised


@pytest.mark.parametrize(("high", "problem"), [(1_000.0, None), (10.0, "coverage")])
def test_coverage_out_of_bounds_is_a_problem(high, problem):
    health, history = ForecastHealth(HealthParams(window=50, drift_alarm=1e9)), History(keep=300)
    for second in range(120):
        load = 100 if second % 10 else 2_000
        history.add(LinkSample(1, 2, second * 1_000, 9_000, load, 0, 0, 0, 0))
        health.settle(history, second * 1_000)
        values = ((1_000,), (10.0,), (high,), (9_000.0,))
        health.take({(1, 2): Forecast(second * 1_000, *values)}, history)
    # The constant median is frozen too; the checks are asked in order, so look at coverage itself.
    low, top = HealthParams().coverage_low, HealthParams().coverage_high
    assert (low <= health.coverage() <= top) == (problem is None)


def test_unusual_flows_do_not_break_a_round():
    result = run(world(True), router(Persistence()), 20, [Flow(0, 0, 1), Flow(0, 99, 1)])
    assert result.mean_delay_us == 500_000
