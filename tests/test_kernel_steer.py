"""Plans as kernels can hold them: weights, next hops without circles, nothing lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import base_plan

from routing.kernel.nodeplan import MULTIPATH, parse_node_plan, plan_to_json
from routing.kernel.steer import (
    Splits,
    cancel_circles,
    choices_to,
    compute_weights,
    find_circle,
    flows_to,
    node_plans,
    paths_of,
)

amounts = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12)


@given(amounts)
def test_weights_are_the_amounts_in_whole_numbers(given_amounts: list[float]) -> None:
    weights = compute_weights(given_amounts)
    whole = sum(given_amounts)
    for amount, weight in zip(given_amounts, weights, strict=True):
        assert weight >= 1
        assert weight == 1 or abs(weight - amount / whole * 64) <= 1


def test_amounts_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="none above zero"):
        compute_weights([0.0, 0.0])


@st.composite
def random_splits(draw: st.DrawFn) -> tuple[int, Splits]:
    """Random simple paths of up to eight hotspots to target 0, with shares."""
    nodes = draw(st.integers(3, 8))
    splits: dict[tuple[int, int], dict[tuple[int, ...], float]] = {}
    for source in range(1, nodes):
        paths = {}
        for _ in range(draw(st.integers(1, 3))):
            others = [n for n in range(1, nodes) if n != source]
            middle = draw(st.permutations(others))[: draw(st.integers(0, len(others)))]
            paths[(source, *middle, 0)] = draw(st.floats(0.1, 1.0))
        whole = sum(paths.values())
        splits[source, 0] = {hops: share / whole for hops, share in paths.items()}
    return nodes, splits


@settings(max_examples=150, deadline=None)
@given(random_splits(), st.data())
def test_next_hops_have_no_circle_and_carry_the_same_with_no_link_fuller(
    given_splits: tuple[int, Splits], data: st.DataObject
) -> None:
    nodes, splits = given_splits
    demand = {pair: data.draw(st.floats(1, 1_000)) for pair in splits}
    load: dict[tuple[int, int], float] = {}
    for pair, shares in splits.items():
        for hops, share in shares.items():
            for link in pairwise(hops):
                load[link] = load.get(link, 0.0) + demand[pair] * share
    flow = flows_to(splits, demand, 0)
    assert find_circle(flow) == []
    assert all(amount <= load[link] * (1 + 1e-9) for link, amount in flow.items())
    for node in range(1, nodes):
        out = sum(a for (tail, _), a in flow.items() if tail == node)
        came = sum(a for (_, head), a in flow.items() if head == node)
        assert out - came == pytest.approx(demand[node, 0], rel=1e-6)
    assert set(choices_to(flow, 0)) == set(range(1, nodes))


def test_a_circle_is_found_and_cancelled() -> None:
    flow = {(1, 2): 3.0, (2, 3): 3.0, (3, 1): 2.0, (3, 0): 1.0}
    assert find_circle(flow) == [(1, 2), (2, 3), (3, 1)]
    assert cancel_circles(flow) == {(1, 2): 1.0, (2, 3): 1.0, (3, 0): 1.0}


def test_every_hotspot_gets_its_part_and_can_read_it_back() -> None:
    splits = {(0, 3): {(0, 1, 3): 2 / 3, (0, 2, 3): 1 / 3}, (3, 0): {(3, 1, 0): 1.0}}
    demand = {(0, 3): 60.0, (3, 0): 5.0}
    segments = node_plans(base_plan(4), splits, demand, version=5)
    assert segments[0].paths == ((43, (0, 1, 3)), (21, (0, 2, 3)))
    assert paths_of(splits, 3) == ((64, (3, 1, 0)),)
    assert segments[1].paths == ()
    multipath = node_plans(base_plan(4, MULTIPATH), splits, demand, version=5, colour=2)
    assert multipath[0].tables[0].splits == {3: ((1, 43), (2, 21))}
    assert multipath[1].tables[0].splits == {3: ((3, 64),), 0: ((0, 64),)}
    for plan in (*segments.values(), *multipath.values()):
        assert parse_node_plan(plan_to_json(plan)) == plan
