"""Link costs and loop-free paths."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.cost import LinkEstimate, loaded_us, transmission_us, unloaded_us
from routing.graph import LinkGraph, alternatives, path_cost, shortest_path
from routing.types import LinkSample

COSTS = st.dictionaries(
    st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda link: link[0] != link[1]),
    st.integers(1, 50),
    max_size=20,
)


def sample(source=1, target=2, time_ms=0, rate=10_000, load=0, busy=0, queue=0, loss=0):
    return LinkSample(source, target, time_ms, rate, load, busy, queue, loss, 0)


def every_simple_path(costs, source, target):
    others = [n for n in range(6) if n not in (source, target)]
    for size in range(len(others) + 1):
        for middle in permutations(others, size):
            hops = (source, *middle, target)
            if path_cost(costs, hops) is not None:
                yield hops


@given(COSTS)
def test_shortest_path_is_the_cheapest_of_all_simple_paths(costs):
    found = shortest_path(costs, 0, 5)
    paths = list(every_simple_path(costs, 0, 5))
    if not paths:
        assert found is None
        return
    best = min(paths, key=lambda hops: (path_cost(costs, hops), len(hops), hops))
    assert found == best


@given(COSTS, st.integers(1, 4))
def test_alternatives_are_different_simple_paths_cheapest_first(costs, count):
    found = alternatives(costs, 0, 5, count)
    assert len(found) == len(set(found)) <= count
    assert all(len(set(hops)) == len(hops) for hops in found)
    prices = [path_cost(costs, hops) for hops in found]
    assert prices == sorted(prices)
    assert (shortest_path(costs, 0, 5) in found) == bool(found)


def test_alternatives_leave_the_shared_bottleneck():
    costs = {(0, 1): 10, (1, 5): 10, (0, 2): 11, (2, 5): 11, (1, 2): 1, (2, 1): 1}
    assert (0, 2, 5) in alternatives(costs, 0, 5, 2)


def test_transmission_of_1500_bytes_at_10_mbps_takes_1200_us_and_doubles_at_half_loss():
    assert transmission_us(10_000, 0) == 1_200
    assert transmission_us(10_000, 500) == 2_400


def test_backlog_waits_as_long_as_it_takes_to_drain():
    estimate = LinkEstimate(8_000, 0, 0, 100_000, 0)
    assert loaded_us(estimate) - unloaded_us(estimate) == 100_000


@given(
    st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 1_000), st.integers(0, 10**7)
)
def test_load_never_makes_a_link_cheaper(rate, load, busy, queue):
    idle = LinkEstimate(rate, 0, 0, 0, 0)
    assert loaded_us(LinkEstimate(rate, load, busy, queue, 0)) >= loaded_us(idle)


def test_a_busy_channel_costs_although_the_link_itself_is_idle():
    idle = LinkEstimate(10_000, 0, 0, 0, 0)
    assert loaded_us(LinkEstimate(10_000, 0, 900, 0, 0)) > loaded_us(idle)


def test_silent_links_grow_dearer_and_then_leave():
    graph = LinkGraph(max_age_ms=10_000)
    graph.observe(sample())

    def price(now_ms):
        return graph.costs(now_ms, lambda link: 1_000)

    assert price(5_000) == {(1, 2): 1_000}
    assert price(10_000) == {(1, 2): 2_000}
    assert price(10_001) == {}


@pytest.mark.parametrize("dead", [{"rate": 0}, {"loss": 1_000}])
def test_a_link_that_carries_nothing_leaves_at_once(dead):
    graph = LinkGraph()
    graph.observe(sample())
    graph.observe(sample(time_ms=1_000, **dead))
    assert graph.alive(1_000) == []


def test_smoothing_settles_on_a_steady_value():
    graph = LinkGraph()
    for second in range(60):
        graph.observe(sample(time_ms=second * 1_000, load=7 if second else 5_000))
    assert 7 <= graph.quick((1, 2)).load_kbps <= 8
