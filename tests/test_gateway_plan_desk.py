"""What enters the mesh here becomes netd's document: demand, paths, versions, addresses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import UserError
from chain.records import Refusal
from hotspot.gateway.config import parse_gateway_config
from hotspot.gateway.kernel_desk import LINGER_MS, KernelDesk, Reading, nearer_only
from hotspot.gateway.kernel_settings import KernelSection, parse_kernel
from routing.kernel.desired import Neighbour, Place, View, desired_state
from routing.kernel.loops import Held, find_loop
from routing.kernel.nodeplan import MULTIPATH, SEGMENTS, NodePlan, parse_node_plan, plan_to_json
from routing.kernel.state import TABLE_SOURCE
from routing.mesh_plan import FULL, MeshPlan, MeshView
from routing.plan.own import OwnPlanner
from routing.types import LinkSample

SETTINGS = parse_kernel(KernelSection(netd="netd.sock", plan_ms=1_000))
DIAMOND = [(0, 1), (1, 3), (0, 2), (2, 3)]
HOST_3 = "fd57:2:0:4::2"
FULL_KBPS = 4_000


class Fixed:
    """A planner that always says the same."""

    def __init__(self, outcome: MeshPlan | Refusal) -> None:
        self.outcome = outcome
        self.views: list[MeshView] = []

    def plan(self, view: MeshView) -> MeshPlan | Refusal:
        self.views.append(view)
        return self.outcome


def samples(now_ms: int, load_kbps: int = 0) -> list[LinkSample]:
    both = [*DIAMOND, *((b, a) for a, b in DIAMOND)]
    return [LinkSample(a, b, now_ms, FULL_KBPS, load_kbps, 0, 0, 0, 500) for a, b in both]


def reading(version: int | None = None, *, has_segments: bool = True) -> Reading:
    return Reading(version, has_segments)


def fed(desk: KernelDesk, kbps: int, seconds: int = 10, start_ms: int = 0) -> int:
    """Let so much enter for hotspot 3's people; the time then."""
    for second in range(seconds):
        now_ms = start_ms + 1_000 * second
        desk.take_links(samples(now_ms), now_ms)
        desk.take_demand({HOST_3: kbps * 125 * second, "ff02::5743": 900 * second}, now_ms)
        desk.plan(now_ms)
    return start_ms + 1_000 * seconds


def test_heavy_demand_takes_both_ways_round_and_netd_accepts_the_document() -> None:
    desk = KernelDesk(0, SETTINGS, OwnPlanner())
    now_ms = fed(desk, 3_000, 15)
    plan = desk.document(reading(), None, now_ms)
    assert parse_node_plan(plan_to_json(plan)) == plan
    assert {hops for _, hops in plan.paths} == {(0, 1, 3), (0, 2, 3)}
    assert min(weight for weight, _ in plan.paths) >= 20  # about half of 64 each
    assert plan.addresses == {0: "fd57::1", 1: "fd57::2", 2: "fd57::3", 3: "fd57::4"}
    assert ("fd57:2:0:4::/64", 3) in plan.prefixes


def test_without_demand_or_planner_the_document_has_no_path_but_all_neighbours() -> None:
    for planner in (OwnPlanner(), None):
        desk = KernelDesk(0, SETTINGS, planner)
        now_ms = fed(desk, 0)
        plan = desk.document(reading(), None, now_ms)
        assert plan.paths == ()
        assert set(plan.sids) == {0, 1, 2, 3}
        assert "unplanned" in desk.summary()


def test_the_first_reading_and_a_counter_that_begins_anew_are_no_flood() -> None:
    desk = KernelDesk(0, SETTINGS, None)
    desk.take_links(samples(0), 0)
    desk.take_demand({HOST_3: 10**12}, 0)
    desk.take_demand({HOST_3: 10**12 + 125_000}, 1_000)
    assert desk.demands == {(0, 3): 200}  # 1,000 kbps, smoothed over five seconds
    desk.take_demand({HOST_3: 1_250}, 2_000)
    assert desk.demands[0, 3] <= 200


def test_what_is_metered_is_own_load_along_the_plan() -> None:
    split = (((0, 1, 3), 750), ((0, 2, 3), 250))
    planner = Fixed(MeshPlan({(0, 3): split}, "scenarios", "", 1))
    desk = KernelDesk(0, SETTINGS, planner)
    fed(desk, 1_000, 40)
    own = planner.views[-1].own_kbps
    assert own[0, 1] == own[1, 3] == pytest.approx(3 * own[0, 2], rel=0.05)
    assert own[0, 1] + own[0, 2] == pytest.approx(1_000, rel=0.05)


def test_a_target_that_went_quiet_leaves_the_plan_after_a_while() -> None:
    desk = KernelDesk(0, SETTINGS, OwnPlanner())
    now_ms = fed(desk, 3_000)
    for later in range(0, LINGER_MS + 40_000, 1_000):
        at = now_ms + later
        desk.take_links(samples(at), at)
        desk.take_demand({HOST_3: 3_000 * 125 * 9}, at)
        desk.plan(at)
    assert desk.document(reading(), None, now_ms + LINGER_MS + 40_000).paths == ()


def test_a_version_rises_only_with_its_content_and_above_what_netd_has() -> None:
    planner = Fixed(MeshPlan({(0, 3): (((0, 1, 3), FULL),)}, "scenarios", "", 1))
    desk = KernelDesk(0, SETTINGS, planner)
    now_ms = fed(desk, 1_000)
    first = desk.document(reading(41), None, now_ms)
    assert first.version == 42
    assert desk.document(reading(42), first, now_ms) is first
    planner.outcome = MeshPlan({(0, 3): (((0, 2, 3), FULL),)}, "scenarios", "", 2)
    desk.plan(now_ms + 1_000)
    changed = desk.document(reading(42), first, now_ms + 1_000)
    assert (changed.version, changed.paths) == (43, ((64, (0, 2, 3)),))


# --- kernels without segments ---------------------------------------------------------------------


def test_without_segments_the_first_hop_alone_is_steered() -> None:
    split = (((0, 1, 3), 750), ((0, 2, 3), 250))
    desk = KernelDesk(0, SETTINGS, Fixed(MeshPlan({(0, 3): split}, "scenarios", "", 1)))
    now_ms = fed(desk, 1_000)
    plan = desk.document(reading(has_segments=False), None, now_ms)
    assert plan.mode == MULTIPATH
    assert parse_node_plan(plan_to_json(plan)) == plan
    near = {1: Neighbour("m1", "fe80::1"), 2: Neighbour("m2", "fe80::2")}
    alive = {n: frozenset(b if a == n else a for a, b in DIAMOND if n in (a, b)) for n in range(4)}
    state = desired_state(plan, View(near, alive), Place(("m1", "m2")))
    route = state.routes[TABLE_SOURCE, "fd57:2:0:4::/64"]
    assert [(hop.device, hop.weight, hop.segments) for hop in route.hops] == [
        ("m1", 48, ()), ("m2", 16, ()),
    ]  # fmt: skip
    assert {rule.table for rule in state.rules if rule.family == 4} == {TABLE_SOURCE}
    dead = desired_state(plan, View({2: near[2]}, alive), Place(("m1", "m2")))
    assert [hop.device for hop in dead.routes[TABLE_SOURCE, "fd57:2:0:4::/64"].hops] == ["m2"]
    none = desired_state(plan, View({}, alive), Place(("m1", "m2")))
    assert not [key for key in none.routes if key[0] == TABLE_SOURCE]


def test_paths_and_tables_together_are_refused() -> None:
    split = (((0, 1, 3), FULL),)
    desk = KernelDesk(0, SETTINGS, Fixed(MeshPlan({(0, 3): split}, "scenarios", "", 1)))
    now_ms = fed(desk, 1_000)
    value = plan_to_json(desk.document(reading(has_segments=False), None, now_ms))
    with pytest.raises(UserError, match="both would steer"):
        parse_node_plan(value | {"tables": [[1, 1, [[3, [[1, 1]]]]]], "stamp": 1})


meshes = st.sets(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda e: e[0] < e[1]), min_size=4
)


@given(meshes, st.integers(1, 7), st.data())
def test_a_first_hop_that_is_kept_never_leads_into_a_circle(
    edges: set[tuple[int, int]], target: int, data: st.DataObject
) -> None:
    """Whatever paths a planner names, and however the base protocol's equal ways fall out."""
    links = [*edges, *((b, a) for a, b in edges)]
    paths = simple_paths(links, 0, target)
    split = tuple((path, FULL) for path in paths[:6])
    kept = nearer_only({(0, target): split} if split else {}, links, 0)
    hops_left = distances(links, target)
    base = {
        node: data.draw(st.sampled_from(sorted(b for a, b in links if a == node
                                              and hops_left.get(b, 99) < hops_left[node])))
        for node in hops_left if node != target
    }  # fmt: skip
    for hops, _ in kept.get((0, target), ()):
        assert hops_left[hops[1]] < hops_left[0]
        # Steered packets are marked at their entry alone: colour 1 is known by nobody else.
        held = {0: Held({1: {target: ((hops[1], 1),)}}, 1), **{n: Held() for n in range(1, 8)}}
        assert find_loop(held, base, target) is None


def simple_paths(
    links: list[tuple[int, int]], source: int, target: int
) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    edge: list[tuple[int, ...]] = [(source,)]
    while edge:
        grown = [(*p, b) for p in edge for a, b in sorted(links) if a == p[-1] and b not in p]
        found += [p for p in grown if p[-1] == target]
        edge = [p for p in grown if p[-1] != target][:64]
    assert all(set(pairwise(p)) <= set(links) for p in found)
    return found


def distances(links: list[tuple[int, int]], target: int) -> dict[int, int]:
    left = {target: 0}
    for _ in range(8):
        for a, b in links:
            if b in left:
                left[a] = min(left.get(a, 99), left[b] + 1)
    return left


# --- settings -------------------------------------------------------------------------------------


def test_addresses_lead_back_to_their_hotspots() -> None:
    mesh = SETTINGS.mesh
    for index in (0, 1, 77, 2**32 - 2):
        assert mesh.target_of(mesh.address_of(index)) == index
        assert mesh.target_of(mesh.devices_of(index).replace("/64", "9")) == index
    assert mesh.target_of("fd57:2::1") is None
    assert mesh.target_of("2001:db8::1") is None
    owned = parse_kernel(KernelSection(networks=("0.0.0.0/0=3", "10.57.7.0/24=7"))).mesh
    assert (owned.target_of("10.57.7.9"), owned.target_of("9.9.9.9")) == (7, 3)
    assert ("10.57.7.0/24", 7) in owned.prefixes_of([7, 1])
    assert not [prefix for prefix, index in owned.prefixes_of([1]) if index != 1]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("lease_ms = 10", "kernel.lease_ms"),
        ("plan_ms = 1", "kernel.plan_ms"),
        ('addresses = "fd57::/120"', "kernel.addresses"),
        ('addresses = "10.0.0.0/8"', "kernel.addresses"),
        ('segments = "fd57::/64"', "kernel.segments"),
        ('devices = "fd57:2::/48"', "kernel.devices"),
        ('networks = ["10.0.0.0/8"]', "kernel.networks"),
        ("networks = [3]", "kernel.networks"),
        ('rates = ["mesh0"]', "kernel.rates"),
        ('rates = ["mesh0=1"]', "kernel.rates"),
        ('trusted = ["two words"]', "kernel.trusted"),
    ],
)
def test_a_mistake_in_the_settings_is_named(text: str, field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_gateway_config(f"[kernel]\n{text}\n", "FILE")
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_document_is_what_it_was_if_nothing_changed() -> None:
    desk = KernelDesk(0, SETTINGS, None)
    desk.take_links(samples(0), 0)
    plan = desk.document(reading(), None, 0)
    assert isinstance(plan, NodePlan)
    assert plan.mode == SEGMENTS
    assert desk.document(reading(1), replace(plan, lease_ms=9_000), 0).version == 2
