"""The router as a whole: paths, AI placement, bandwidth jobs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path as Path_

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from routing.guard import SHORTEST_PATH, GuardParams
from routing.jobs.promises import CANCELLED, DONE, EXPIRED, MIB, price_ucr
from routing.replay import DEFAULT_FLOWS, World, run
from routing.router import Router, RouterParams
from routing.types import AiRequest, FlowClass, Job, JobPromise, LinkSample, Path, ProviderState

BEST = FlowClass.BEST_EFFORT
PRICES = {2: 1_000, 3: 1_000}  # ucr per MiB


def both_ways(one, other, time_ms, rate=10_000, load=0, loss=0):
    busy = min(1_000, 1_000 * load // max(1, rate))
    return [
        LinkSample(*link, time_ms, rate, load, busy, 0, loss, 1_000)
        for link in ((one, other), (other, one))
    ]


def diamond(time_ms=0, upper=0, lower=0):
    """1 > 4 over relay 2 (two quick links) or relay 3 (two links of half the rate)."""
    return [
        *both_ways(1, 2, time_ms, 20_000, upper),
        *both_ways(2, 4, time_ms, 20_000, upper),
        *both_ways(1, 3, time_ms, 10_000, lower),
        *both_ways(3, 4, time_ms, 10_000, lower),
    ]


def fed(*rounds, params=None):
    router = Router(None, params)
    for number, samples in enumerate(rounds):
        router.observe(samples, number * 1_000)
    return router


def test_the_first_samples_are_enough_for_a_path():
    path = fed(diamond()).path(1, 4, BEST, 0)
    assert path.hops == (1, 2, 4)
    assert path.cost_us > 0


def test_traffic_leaves_a_congested_relay_and_says_why():
    router = fed(*(diamond(t * 1_000, upper=19_900) for t in range(10)))
    path = router.path(1, 4, BEST, 10_000)
    assert (path.hops, path.expert) == ((1, 3, 4), "no_model")
    assert path.reason == "least delay at the load measured"


def test_no_route_and_self_are_answered():
    router = fed(diamond())
    assert router.path(1, 99, BEST, 0).reason == "no-route"
    assert router.path(1, 1, BEST, 0).hops == (1,)


def test_a_link_that_dies_between_rounds_is_left_at_once():
    router = fed(diamond())
    router.observe(both_ways(1, 2, 10, rate=0), 10)
    assert router.path(1, 4, BEST, 11).hops == (1, 3, 4)


def test_silence_ends_routes():
    router = fed(diamond())
    assert isinstance(router.path(1, 4, BEST, 200_000), Refusal)


def test_a_small_gain_does_not_move_a_flow_and_a_large_one_does():
    equal = [
        *both_ways(1, 2, 0),
        *both_ways(2, 4, 0),
        *both_ways(1, 3, 0),
        *both_ways(3, 4, 0),
    ]
    router = fed(equal)
    assert router.path(1, 4, BEST, 0).hops == (1, 2, 4)
    for second in range(1, 30):
        router.observe(both_ways(1, 2, second * 1_000, load=500), second * 1_000)
    held = router.path(1, 4, BEST, 30_000)
    assert (held.hops, held.reason) == ((1, 2, 4), "held: no clear gain elsewhere")
    for second in range(30, 60):
        router.observe(both_ways(1, 2, second * 1_000, load=9_000), second * 1_000)
    assert router.path(1, 4, BEST, 60_000).hops == (1, 3, 4)


SAMPLES = st.lists(
    st.builds(
        LinkSample,
        st.integers(0, 6),
        st.integers(0, 6),
        st.integers(0, 90_000),
        st.integers(0, 10**5),
        st.integers(0, 10**5),
        st.integers(0, 1_000),
        st.integers(0, 10**6),
        st.integers(0, 1_000),
        st.integers(0, 10**6),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(SAMPLES, st.sampled_from(list(FlowClass)))
def test_every_answer_is_a_simple_path_over_live_links(samples, flow):
    router = Router()
    alive = {}
    for sample in sorted(samples, key=lambda s: s.time_ms):
        router.observe([sample], sample.time_ms)
        link = (sample.source, sample.target)
        if alive.get(link, (-1, False))[0] < sample.time_ms:
            usable = sample.rate_kbps > 0 and sample.loss_permille < 1_000
            alive[link] = (sample.time_ms, usable)
        for target in range(1, 7):
            path = router.path(0, target, flow, sample.time_ms)
            if isinstance(path, Path):
                assert (path.hops[0], path.hops[-1]) == (0, target)
                assert len(set(path.hops)) == len(path.hops)
                links = zip(path.hops, path.hops[1:], strict=False)
                assert all(alive[link][1] for link in links)


def test_routing_by_load_beats_shortest_path_on_replayed_congestion():
    floor = Router(None, RouterParams(guard=GuardParams(allowed=(SHORTEST_PATH,))))
    shortest = run(World(2), floor, 150, DEFAULT_FLOWS)
    loaded = run(World(2), Router(), 150, DEFAULT_FLOWS)
    assert loaded.mean_delay_us < shortest.mean_delay_us // 3
    assert loaded.changes <= 150


def test_the_same_replay_gives_the_same_answer_twice():
    assert run(World(3), Router(), 40) == run(World(3), Router(), 40)


# AI requests.


def provider(hotspot, waiting=0, speed=1_000, age_ms=0, price=10, running=0):
    return ProviderState(hotspot, ("m",), running, waiting, speed, 0, age_ms, price)


REQUEST = AiRequest(1, "m", 400, 100, 0)


def test_the_idle_provider_wins_over_the_queue():
    placement = fed(diamond()).place(REQUEST, [provider(2, waiting=5), provider(4)], 0)
    assert placement.provider == 4
    assert placement.path.hops == (1, 2, 4)
    assert placement.expected_ttft_us >= 400 * 1_000_000 // 8_000


def test_the_near_provider_wins_when_all_else_is_equal():
    assert fed(diamond()).place(REQUEST, [provider(4), provider(2)], 0).provider == 2


def test_a_burst_from_one_gateway_spreads_over_equal_providers():
    router = fed(diamond())
    states = [provider(hotspot, age_ms=500) for hotspot in (2, 3, 4)]
    counts = {2: 0, 3: 0, 4: 0}
    for request in range(30):
        counts[router.place(REQUEST, states, 1 + request).provider] += 1
    assert min(counts.values()) >= 8


def test_a_stale_report_is_trusted_less():
    states = [provider(2, waiting=1, age_ms=50_000), provider(4, waiting=1)]
    assert fed(diamond()).place(REQUEST, states, 0).provider == 4


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ([], "ai-no-provider"),
        ([ProviderState(4, ("other",), 0, 0, 10, 0, 0, 1)], "ai-no-provider"),
        ([provider(99)], "ai-no-provider"),
        ([provider(4, age_ms=10**6)], "ai-no-provider"),
        ([provider(4, waiting=100)], "ai-deadline"),
    ],
)
def test_requests_that_cannot_be_placed_say_why(states, reason):
    request = AiRequest(1, "m", 400, 100, 1_000)
    answer = fed(diamond()).place(request, states, 0)
    assert (type(answer), answer.reason) == (Refusal, reason)


def test_a_provider_here_needs_no_path():
    placement = fed(diamond()).place(AiRequest(4, "m", 1, 1, 0), [provider(4), provider(2)], 0)
    assert (placement.provider, placement.path.hops) == (4, (4,))


# Jobs. The diamond's quick way surely carries 0.95 x 20 / 2 = 9,500 kbps, by its relay's airtime.


def job(job_id="a", size=10 * MIB, deadline_ms=100_000, budget=0):
    return Job(job_id, 1, 4, size, deadline_ms, budget)


def test_a_job_is_promised_its_bytes_before_the_deadline():
    promise = fed(diamond()).admit(job(), 0, PRICES)
    assert isinstance(promise, JobPromise)
    assert promise.finish_ms <= 100_000
    assert promise.rate_kbps * promise.finish_ms >= 10 * MIB * 8
    assert promise.price_ucr > 0


def test_capacity_is_airtime_of_the_relay_and_is_promised_once():
    router = fed(diamond())
    fits = 9_500 * 88_650 // 8  # 100 s less set-up and reserve
    assert isinstance(router.admit(job("big", fits), 0, PRICES), JobPromise)
    # 1 and 4 have 0.475 of their time left: 4,750 kbps, as much as the other relay has.
    assert router.admit(job("b", fits), 0, PRICES).reason == "job-capacity"
    assert isinstance(router.admit(job("c", fits // 2), 0, PRICES), JobPromise)
    assert router.admit(job("d", fits // 4), 0, PRICES).reason == "job-capacity"
    assert router.cancel("big").state == CANCELLED
    assert isinstance(router.admit(job("e", fits), 0, PRICES), JobPromise)


def test_a_loaded_network_promises_less():
    router = fed(*(diamond(t * 1_000, upper=12_000, lower=3_000) for t in range(20)))
    left_s = (100 - 19) * 0.9
    # Relay 2 has no time left; relay 3 has 0.95 - 2 x 0.3 of 10,000 / 2.
    assert (
        router.admit(job(size=int(1_800 * left_s * 125)), 19_000, PRICES).reason == "job-capacity"
    )
    assert isinstance(router.admit(job(size=int(1_700 * left_s * 125)), 19_000, PRICES), JobPromise)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (job(size=0), "job-size"),
        (job(deadline_ms=0), "job-deadline"),
        (job(budget=1), "job-budget"),
        (Job("a", 1, 99, 1, 100_000), "no-route"),
        (Job("a", 1, 1, 1, 100_000), "no-route"),
    ],
)
def test_jobs_that_cannot_be_admitted_say_why(wrong, reason):
    assert fed(diamond()).admit(wrong, 0, PRICES).reason == reason


def test_a_running_job_id_is_taken():
    router = fed(diamond())
    router.admit(job(), 0, PRICES)
    assert router.admit(job(), 0, PRICES).reason == "job-known"


def test_pacing_delivers_in_time():
    router = fed(diamond())
    router.admit(job(), 0, PRICES)
    for now_ms in range(0, 100_000, 1_000):
        router.observe(diamond(now_ms), now_ms)
        rate = router.job_rate("a", now_ms)
        if router.job_delivered("a", rate * 1_000 // 8, now_ms).state == DONE:
            break
    status = router.job_status("a")
    assert (status.state, status.delivered_bytes) == (DONE, 10 * MIB)
    assert now_ms <= 90_000
    assert router.job_rate("a", now_ms) == 0


def test_a_late_job_speeds_up_and_keeps_what_it_delivered_when_it_expires():
    router = fed(diamond())
    promise = router.admit(job(), 0, PRICES)
    router.observe(diamond(60_000), 60_000)
    assert router.job_rate("a", 60_000) > promise.rate_kbps
    router.job_delivered("a", 1_000, 60_000)
    router.observe(diamond(100_000), 100_000)
    assert router.job_rate("a", 100_000) == 0
    status = router.job_delivered("a", 5_000, 100_000)
    assert (status.state, status.delivered_bytes) == (EXPIRED, 1_000)


def test_a_job_moves_when_its_relay_dies():
    router = fed(diamond())
    assert router.admit(job(), 0, PRICES).path.hops == (1, 2, 4)
    router.observe([*both_ways(1, 2, 1_000, rate=0), *diamond(1_000)[4:]], 1_000)
    assert router.job_rate("a", 1_001) > 0
    assert router.job_status("a").promise.path.hops == (1, 3, 4)


def test_unknown_jobs_are_refused_by_name():
    router = fed(diamond())
    assert router.cancel("x").reason == "job-unknown"
    assert router.job_rate("x", 0) == 0


@given(st.integers(1, 10**12), st.lists(st.integers(0, 10**6), max_size=14))
def test_the_price_is_what_relays_ask_and_never_rounds_in_the_payers_favour(size, prices):
    price = price_ucr(size, prices)
    assert price * MIB >= size * sum(prices) > (price - 1) * MIB
    assert price_ucr(MIB, [1_000, 500]) == 1_500


def test_the_cheaper_of_two_fast_paths_is_promised():
    dear_above, dear_below = {2: 5_000, 3: 1_000}, {2: 1_000, 3: 5_000}
    assert fed(diamond()).admit(job(size=MIB), 0, dear_above).path.hops == (1, 3, 4)
    promise = fed(diamond()).admit(job(size=MIB), 0, dear_below)
    assert (promise.path.hops, promise.price_ucr) == ((1, 2, 4), 1_000)
    assert fed(diamond()).admit(job(size=MIB), 0, {3: 9_000}).path.hops == (1, 3, 4)
    assert fed(diamond()).admit(job(size=MIB), 0, {}).reason == "job-price"


def test_a_job_does_not_slow_down_for_its_own_load_but_leaves_others_half_of_the_rest():
    router = fed(diamond())
    router.admit(job(size=MIB), 0, PRICES)
    alone = router.job_rate("a", 0)
    assert alone == 9_500 // 2
    for now_ms in range(1_000, 20_000, 1_000):
        router.observe(diamond(now_ms, upper=alone), now_ms)
        assert router.job_rate("a", now_ms) >= 9 * alone // 10
    for now_ms in range(20_000, 40_000, 1_000):
        router.observe(diamond(now_ms, upper=alone + 3_000), now_ms)
        crowded = router.job_rate("a", now_ms)
    assert crowded < 2 * alone // 3


def test_no_job_is_promised_faster_than_its_relays_can_be_paid():
    router = fed(diamond())  # a round trip of 1 ms to the relay
    slow = Job("slow", 1, 4, 10 * MIB, 100_000, flight_bytes=100)
    assert router.admit(slow, 0, PRICES).reason == "job-capacity"
    assert isinstance(router.admit(replace(slow, flight_bytes=200), 0, PRICES), JobPromise)
    assert router.job_rate("slow", 0) <= 200 * 8


def test_a_restored_job_keeps_its_promise_and_its_reservation():
    first = fed(diamond())
    promise = first.admit(job(), 0, PRICES)
    router = fed(diamond())
    router.restore_job(job(), promise, 4 * MIB)
    assert router.job_status("a").delivered_bytes == 4 * MIB
    assert router.job_rate("a", 1_000) >= promise.rate_kbps
    fits = 9_500 * 88_650 // 8  # 100 s less set-up and reserve
    assert router.admit(job("b", fits), 0, PRICES).reason == "job-capacity"


def test_the_router_runs_on_the_standard_library_alone():
    code = (
        "import sys; import routing.router; "
        "sys.exit(bool({'numpy', 'lightgbm', 'scipy', 'aiohttp', 'asyncio'} & set(sys.modules)))"
    )
    root = Path_(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
