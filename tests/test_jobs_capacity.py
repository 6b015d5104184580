"""What jobs count on: forecasts by link and time; plans made again as bytes come and links fade."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_helpers import JobOverlay, content

from chain.records import Refusal
from routing.cost import estimate_of
from routing.forecast.health import ForecastHealth, HealthParams
from routing.jobs.capacity import RUNS, forecast_outlook, measured_outlook
from routing.jobs.plan import Lane, Segment, Task, edges, fill, rooms_of
from routing.jobs.program import solve
from routing.jobs.schedule import Schedule
from routing.router import Router
from routing.telemetry.history import History
from routing.types import Forecast, Job, JobPromise, Link, LinkSample

HORIZONS = (10_000, 60_000, 900_000, 3_600_000)
RATES = st.lists(st.integers(0, 50_000), min_size=4, max_size=4)
SPANS = st.lists(st.integers(1, 9_000_000), min_size=2, max_size=8, unique=True)
DIAMOND = ((0, 1), (1, 3), (0, 2), (2, 3))


def sample(link: Link, time_ms: int, rate: int = 10_000, load: int = 0) -> LinkSample:
    return LinkSample(*link, time_ms, rate, load, 0, 0, 0, 1_000)


def forecast(rates: Mapping[int, float], load: float = 0.0, time_ms: int = 0) -> Forecast:
    loads = (load,) * len(rates)
    return Forecast(time_ms, tuple(rates), loads, loads, tuple(rates.values()))


# --- outlooks ------------------------------------------------------------------------------------


@given(RATES, SPANS)
def test_spans_add_up_and_no_kbit_counts_twice(rates: list[int], cuts: list[int]) -> None:
    said = forecast(dict(zip(HORIZONS, map(float, rates), strict=True)))
    outlook = forecast_outlook(said, [sample((1, 2), 0, 60_000)])
    spans = list(pairwise([0, *sorted(cuts)]))
    parts = [outlook.rate_kbps(a, b) * (b - a) for a, b in spans]
    assert all(part >= -1e-6 for part in parts)
    assert sum(parts) == pytest.approx(outlook.rate_kbps(0, max(cuts)) * max(cuts))
    for horizon, rate in zip(HORIZONS, rates, strict=True):
        assert outlook.rate_kbps(0, horizon) >= rate - 1e-6


def test_a_forecast_counts_for_no_more_than_a_link_has_been_seen_to_carry() -> None:
    outlook = forecast_outlook(forecast({10_000: 1e9}), [sample((1, 2), 0, 7_000)])
    assert outlook.rate_kbps(0, 10_000) == 7_000


@given(st.lists(st.integers(1_000, 9_000), min_size=16, max_size=64), st.integers(1_000, 9_000))
def test_without_a_forecast_the_past_says_what_is_sure(rates: list[int], now: int) -> None:
    samples = [sample((1, 2), 1_000 * n, rate) for n, rate in enumerate(rates)]
    outlook = measured_outlook(samples, estimate_of(sample((1, 2), 0, now)))
    assert outlook is not None
    for run in RUNS:
        if 2 * run <= len(rates):
            means = [sum(rates[i : i + run]) / run for i in range(len(rates) - run + 1)]
            below = sum(mean < outlook.rate_kbps(0, 1_000 * run) - 1e-6 for mean in means)
            # Longer spans hold at least what shorter ones do, which may lift them a little.
            assert outlook.rate_kbps(0, 1_000 * run) <= now + 1e-6
            assert run > 1 or below <= len(means) // 10


def test_few_samples_say_nothing_of_later() -> None:
    few = [sample((1, 2), 1_000 * n) for n in range(7)]
    assert measured_outlook(few, estimate_of(few[-1])) is None


# --- timetables on lanes that change -------------------------------------------------------------


def fading(at_ms: int) -> Lane:
    """1,000 kbps until `at_ms`, a tenth after."""
    return Lane((0,), {(0,): 1.0}, 1, (Segment(0, {(0,): 1.0}), Segment(at_ms, {(0,): 10.0})))


def flat(_resource: object, _from_ms: int, _to_ms: int) -> float:
    return 1_000.0


def test_a_slot_counts_the_worst_of_its_time() -> None:
    lane = fading(10_000)
    assert lane.uses_between(0, 10_000)[0,] == 1.0
    assert lane.uses_between(10_000, 20_000)[0,] == 10.0
    assert lane.uses_between(5_000, 20_000)[0,] == 10.0


@pytest.mark.parametrize("kbits", [10_000, 15_000, 15_400])
def test_quick_filling_and_the_program_agree_on_a_lane_that_fades(kbits: int) -> None:
    # 10,000 kbits in the first ten seconds, 5,000 in the fifty after.
    task = Task("j", fading(10_000), float(kbits), 60_000)
    cuts = edges(0, [60_000])
    rooms = rooms_of([task.lane], cuts, flat)
    for timetable in (fill([task], cuts, rooms), solve([task], cuts, rooms)):
        assert timetable.is_feasible == (kbits <= 15_000)


def test_what_is_sure_now_is_used_before_it_is_gone() -> None:
    schedule = Schedule()
    # A constant rate would be 200 kbps; later only 100 are sure, so now it takes 700.
    assert schedule.admit(Task("j", fading(10_000), 12_000.0, 60_000), [fading(10_000)], 0, flat)
    assert schedule.needs_kbps(0, flat)["j"] == pytest.approx(700)
    steady = Schedule()
    lane = Lane((0,), {(0,): 1.0}, 1)
    assert steady.admit(Task("j", lane, 12_000.0, 60_000), [lane], 0, flat)
    assert steady.needs_kbps(0, flat)["j"] == pytest.approx(200)


@given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(1, 90)), min_size=1, max_size=6))
def test_filling_late_places_what_filling_early_does_on_one_radio(
    rows: list[tuple[int, int]],
) -> None:
    lane = Lane((0,), {(0,): 1.0}, 1)
    tasks = [Task(f"j{n}", lane, float(kbits), 1_000 * due) for n, (kbits, due) in enumerate(rows)]
    cuts = edges(0, [task.due_ms for task in tasks])
    rooms = rooms_of([lane], cuts, flat)
    early, late = fill(tasks, cuts, rooms), fill(tasks, cuts, rooms, is_late=True)
    assert sum(early.short.values()) == pytest.approx(sum(late.short.values()), abs=1e-3)
    if early.is_feasible:
        first = [sum(row[0] for row in one.kbits.values()) for one in (late, early)]
        assert first[0] <= first[1] + 1e-6


# --- the router ----------------------------------------------------------------------------------


class Said:
    """A forecaster that says what it is told."""

    def __init__(self, rates: Mapping[Link, Mapping[int, float]]) -> None:
        self.rates = rates

    def predict(self, history: History) -> dict[Link, Forecast] | Refusal:
        found = {}
        for link in history.links():
            newest = history.newest(link)
            assert newest is not None
            rates = self.rates.get(link, dict.fromkeys(HORIZONS, 10_000.0))
            found[link] = forecast(rates, time_ms=newest.time_ms)
        return found


def diamond_router(rates: Mapping[Link, Mapping[int, float]], seconds: int = 20) -> Router:
    router = Router(Said(rates))
    for second in range(seconds):
        # Loads that move a little: a forecast that never moved would be called frozen.
        router.observe(
            [
                sample(link, 1_000 * second, load=second % 3)
                for a, b in DIAMOND
                for link in ((a, b), (b, a))
            ],
            1_000 * second,
        )
    return router


PRICES = {1: 100, 2: 300}
NOW = 20_000


def job(kbits: int, seconds: int, budget: int = 0) -> Job:
    return Job(f"j{kbits}", 0, 3, kbits * 125, NOW + 1_000 * seconds, budget)


def test_a_link_that_will_fade_is_promised_for_as_long_as_it_lasts() -> None:
    fades = {(0, 1): {10_000: 10_000.0, 60_000: 2_000.0, 900_000: 500.0, 3_600_000: 500.0}}
    quick, slow = job(15_000, 8), job(200_000, 120)
    assert router_path(diamond_router(fades), quick) == (0, 1, 3)  # the cheapest, still good
    assert router_path(diamond_router({}), slow) == (0, 1, 3)
    assert router_path(diamond_router(fades), slow) == (0, 2, 3)


def router_path(router: Router, wanted: Job) -> tuple[int, ...]:
    promise = router.admit(wanted, NOW, PRICES)
    assert isinstance(promise, JobPromise), promise
    return promise.path.hops


def test_what_only_the_moment_carries_is_not_promised() -> None:
    fades = dict.fromkeys(HORIZONS, 1_000.0)
    router = diamond_router({(0, 1): fades, (0, 2): fades})
    refusal = router.admit(job(200_000, 120), NOW, PRICES)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "job-capacity"
    assert isinstance(diamond_router({}).admit(job(200_000, 120), NOW, PRICES), JobPromise)


def drop(router: Router, link: Link, rate: int, first_s: int, last_s: int) -> None:
    for second in range(first_s, last_s):
        rows = [
            sample(one, 1_000 * second, rate if set(one) == set(link) else 10_000)
            for a, b in DIAMOND
            for one in ((a, b), (b, a))
        ]
        router.observe(rows, 1_000 * second)


@pytest.mark.parametrize(("budget", "way"), [(0, (0, 2, 3)), (4_000, (0, 1, 3))])
def test_a_job_leaves_a_link_that_fades_if_it_can_pay_for_another(
    budget: int, way: tuple[int, ...]
) -> None:
    router = Router()
    drop(router, (9, 9), 0, 0, 20)
    wanted = job(100_000, 60, budget)  # 11.9 MiB: 1,193 ucr by relay 1, 3,577 by relay 2
    promise = router.admit(wanted, NOW, PRICES)
    assert isinstance(promise, JobPromise)
    assert promise.path.hops == (0, 1, 3)
    if budget:
        router.admit(Job("x", 0, 3, 1_000, NOW + 60_000), NOW, {**PRICES, 2: 9_000})
    drop(router, (0, 1), 400, 20, 30)
    rate = router.job_rate(wanted.job_id, 30_000)
    status = router.job_status(wanted.job_id)
    assert not isinstance(status, Refusal)
    assert status.promise.path.hops == way
    assert (status.short_bytes == 0) == (way == (0, 2, 3))
    # A job that is behind takes all there is.
    assert rate >= (2_200 if way == (0, 2, 3) else 150)


def test_what_is_missing_shrinks_as_bytes_come_and_goes_with_the_link_back() -> None:
    router = Router()
    drop(router, (9, 9), 0, 0, 20)
    wanted = job(100_000, 60)
    router.admit(wanted, NOW, {1: 100})
    drop(router, (0, 1), 400, 20, 30)
    short = []
    for second in (30, 36, 42):
        router.job_rate(wanted.job_id, 1_000 * second)
        status = router.job_status(wanted.job_id)
        assert not isinstance(status, Refusal)
        short.append(status.short_bytes)
        router.job_delivered(wanted.job_id, 3_000_000, 1_000 * second)
    assert short[0] > short[1] > short[2] > 0
    router.job_delivered(wanted.job_id, 3_000_000, 43_000)
    drop(router, (9, 9), 0, 43, 50)
    router.job_rate(wanted.job_id, 50_000)
    status = router.job_status(wanted.job_id)
    assert not isinstance(status, Refusal)
    assert status.short_bytes == 0


def test_rates_that_come_out_below_p10_end_the_trust_in_forecasts_of_them() -> None:
    health, history = ForecastHealth(HealthParams(window=20)), History()
    for second in range(60):
        history.add(sample((1, 2), 1_000 * second, 2_000, second % 5))
        health.settle(history, 1_000 * second)
        said = Forecast(1_000 * second, (1_000,), (second % 5,), (6.0,), (8_000.0,))
        health.take({(1, 2): said}, history)
    assert health.problem(59_000) != "rates"
    assert health.rate_problem(59_000) == "rates"


# --- through hotspots ----------------------------------------------------------------------------


def test_a_link_that_fades_in_mid_file_costs_no_promise() -> None:
    overlay = JobOverlay(4, DIAMOND, rate_kbps=8_000)
    overlay.run(15_000)
    promise = overlay.submit(0, 3, content(4_000_000), 30_000)
    assert isinstance(promise, JobPromise)
    overlay.run(4_000)
    record = overlay.job(0)
    way, short = overlay.nodes[0].jobs.outlook(record.key)
    assert (way, short) == (promise.path.hops, 0)
    relay = way[1]
    overlay.rates[min(relay, 3), max(relay, 3)] = 200
    record = overlay.run_job()
    assert (record.state, record.detail) == ("done", "")
    assert record.ended_ms <= record.offer.deadline_ms
    assert overlay.arrived(3) == [content(4_000_000)]
