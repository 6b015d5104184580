"""A plan's document is read strictly, and becomes what the kernel should hold."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import address, base_plan, near_of, sid, view_of

from chain.errors import UserError
from routing.kernel.desired import Neighbour, Place, View, desired_state, fewest_hops
from routing.kernel.nodeplan import MULTIPATH, NodePlan, Table, parse_node_plan, plan_to_json
from routing.kernel.state import (
    TABLE_ADJACENT,
    TABLE_SOURCE,
    KernelState,
    Marking,
    NextHop,
    Operation,
    colour_table,
    compute_operations,
    dscp_of,
)

DIAMOND = near_of([(0, 1), (0, 2), (1, 3), (2, 3)])
PLACE = Place(mesh=("mesh1", "mesh2"))
SEGMENTS_PLAN = replace(
    base_plan(4), paths=((43, (0, 1, 3)), (21, (0, 2, 3))), prefixes=(("10.57.3.0/24", 3),)
)
DOCUMENT = plan_to_json(
    replace(
        SEGMENTS_PLAN,
        tables=(Table(1, 4, {3: ((1, 2), (2, 1))}),),
        stamp=1,
        rates_kbps=(("mesh1", 40_000),),
        trusted=("ap0",),
    )
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 0),
        ("version", True),
        ("lease_ms", 999),
        ("node", 9),
        ("mode", "magic"),
        ("extra", 1),
        ("nodes", [[0, "fd57::1", "fd57::1"]]),
        ("nodes", [[0, "fe80::1", "fd57::2"]]),
        ("nodes", [[0, "::1", "fd57::2"]]),
        ("nodes", [[0, "10.0.0.1", "fd57::2"]]),
        ("prefixes", [["10.0.0.1/8", 1]]),
        ("prefixes", [["fe80::/64", 1]]),
        ("prefixes", [["10.0.0.0/8", 77]]),
        ("paths", [[1, [0]]]),
        ("paths", [[1, [1, 3]]]),
        ("paths", [[1, [0, 1, 0, 3]]]),
        ("paths", [[1, [0, 77]]]),
        ("paths", [[0, [0, 1, 3]]]),
        ("paths", [[257, [0, 1, 3]]]),
        ("paths", [[1, [0, 1, 3]], [2, [0, 1, 3]]]),
        ("tables", [[4, 1, []]]),
        ("tables", [[1, 1, [[3, []]]]]),
        ("tables", [[1, 1, [[3, [[0, 1]]]]]]),
        ("tables", [[1, 1, [[0, [[1, 1]]]]]]),
        ("stamp", 2),
        ("rates", [["../etc", 100]]),
        ("rates", [["lo", 100]]),
        ("rates", [["mesh1", 1]]),
        ("trusted", ["a very long name of a device"]),
    ],
)
def test_what_is_wrong_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        parse_node_plan({**DOCUMENT, field: value})
    assert caught.value.field.startswith(f"plan.{field}")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("fd57::9"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(DOCUMENT)), values, max_size=4))
def test_any_document_is_read_whole_or_refused(changes: dict[str, Any]) -> None:
    try:
        plan = parse_node_plan({**DOCUMENT, **changes})
    except UserError:
        return
    assert parse_node_plan(json.loads(json.dumps(plan_to_json(plan)))) == plan


def test_the_document_of_the_docs_is_accepted() -> None:
    text = (ROOT / "docs" / "kernel.md").read_text()
    plan = parse_node_plan(json.loads(text.split("```json\n")[1].split("```")[0]))
    assert plan.paths == ((64, (0, 1, 3)),)


def routes(plan: NodePlan, down: tuple[tuple[int, int], ...] = ()) -> KernelState:
    return desired_state(plan, view_of(plan.node, DIAMOND, down), PLACE)


def test_source_routes_are_weighted_segment_lists() -> None:
    state = routes(SEGMENTS_PLAN)
    route = state.routes[TABLE_SOURCE, f"{address(3)}/128"]
    assert route.hops == (
        NextHop("mesh1", "fe80::2", 43, (sid(1), sid(3))),
        NextHop("mesh2", "fe80::3", 21, (sid(2), sid(3))),
    )
    assert route.mtu == 1500 - 40 - 8 - 2 * 16
    assert state.routes[TABLE_SOURCE, "10.57.3.0/24"].hops == route.hops
    assert (TABLE_ADJACENT, f"{sid(1)}/128") in state.routes
    assert state.addresses == {f"{address(0)}/128", f"{sid(0)}/128"}


def test_a_dead_link_far_away_takes_the_path_out_and_the_other_gets_all() -> None:
    state = routes(SEGMENTS_PLAN, ((1, 3),))
    (hop,) = state.routes[TABLE_SOURCE, f"{address(3)}/128"].hops
    assert hop.segments == (sid(2), sid(3))


def test_without_a_planned_path_the_fewest_live_hops_are_taken() -> None:
    only = replace(SEGMENTS_PLAN, paths=((1, (0, 1, 3)),), prefixes=())
    (hop,) = routes(only, ((0, 1),)).routes[TABLE_SOURCE, f"{address(3)}/128"].hops
    assert hop.segments == (sid(2), sid(3))
    lost = routes(only, ((0, 1), (2, 3)))
    assert (TABLE_SOURCE, f"{address(3)}/128") not in lost.routes


def test_a_neighbour_needs_no_segments() -> None:
    direct = replace(SEGMENTS_PLAN, paths=((1, (0, 1)),), prefixes=())
    route = routes(direct).routes[TABLE_SOURCE, f"{address(1)}/128"]
    assert (route.hops, route.mtu) == ((NextHop("mesh1", "fe80::2"),), 0)


def test_a_colour_that_can_not_go_on_to_some_target_is_not_live() -> None:
    table = Table(2, 1, {3: ((1, 2), (2, 1)), 1: ((1, 1),)})
    plan = replace(base_plan(4, MULTIPATH), tables=(table,), stamp=2)
    whole = routes(plan)
    assert isinstance(whole.marking, Marking)
    assert (whole.marking.colours, whole.marking.stamp) == ((2,), 2)
    assert len(whole.routes[colour_table(2), f"{address(3)}/128"].hops) == 2
    half = routes(plan, ((0, 2),))
    assert len(half.routes[colour_table(2), f"{address(3)}/128"].hops) == 1
    gone = routes(plan, ((0, 1),))  # its only next hop to hotspot 1
    assert isinstance(gone.marking, Marking)
    assert (gone.marking.colours, gone.marking.stamp) == ((), 0)
    assert not [key for key in gone.routes if key[0] == colour_table(2)]


def test_without_a_plan_only_devices_of_people_are_counted() -> None:
    view = view_of(0, DIAMOND)
    assert desired_state(None, view, Place(("mesh1",), ("ap0",))) == KernelState(
        access=("ap0",), demand=("mesh1",)
    )


def test_fewest_hops_need_only_what_is_alive() -> None:
    view = view_of(0, DIAMOND, ((0, 1),))
    assert fewest_hops(0, 1, view) == (0, 2, 3, 1)
    assert fewest_hops(0, 9, view) is None


def kinds(operations: list[Operation]) -> list[tuple[str, str]]:
    return [(o.verb, o.kind) for o in operations]


def test_changes_are_made_before_anything_is_broken() -> None:
    before, after = routes(SEGMENTS_PLAN), routes(SEGMENTS_PLAN, ((0, 1),))
    steps = compute_operations(before, after)
    verbs = [step.verb for step in steps]
    assert verbs == sorted(verbs, key=("put", "drop").index)
    assert compute_operations(after, after) == []
    setting_up = kinds(compute_operations(KernelState(), before))
    assert setting_up.index(("put", "route")) < setting_up.index(("put", "rule"))
    assert setting_up[-1] == ("put", "marking")
    tearing_down = kinds(compute_operations(before, KernelState()))
    assert tearing_down[0] == ("drop", "marking")
    assert tearing_down.index(("drop", "rule")) < tearing_down.index(("drop", "route"))


def test_rules_of_marks_are_known_again_by_their_digest() -> None:
    state = routes(SEGMENTS_PLAN)
    assert isinstance(state.marking, Marking)
    known = replace(state, marking=state.marking.digest)
    assert compute_operations(known, state) == []


def test_every_class_and_colour_has_a_code_of_its_own_in_the_local_pool() -> None:
    codes = [dscp_of(kind, colour) for kind in range(4) for colour in range(4)]
    assert len(set(codes)) == 16
    assert all(0 <= code < 64 and code & 0b11 == 0b11 for code in codes)


@pytest.mark.parametrize(("mtu", "fits"), [(1_500, 1_500 - 112), (2_304, 2_304 - 112)])
def test_tcp_that_enters_is_told_what_fits_beside_the_segments(mtu: int, fits: int) -> None:
    near = {1: Neighbour("mesh1", "fe80::2", mtu), 2: Neighbour("mesh2", "fe80::3", mtu)}
    state = desired_state(SEGMENTS_PLAN, View(near, {}), Place(("mesh1", "mesh2")))
    assert isinstance(state.marking, Marking)
    assert state.marking.mtu == fits  # one hop longer than planned, for repairs
