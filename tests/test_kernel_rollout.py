"""No packet goes round in a circle, whatever the order in which hotspots hear of a new version."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import base_plan, base_to, near_of

from routing.kernel.loops import Held, find_loop, travel_segments
from routing.kernel.nodeplan import MULTIPATH, Choices, NodePlan
from routing.kernel.rollout import LEASE_MARGIN_MS, STEADY, Rollout
from routing.kernel.state import COLOURS

LEASE_MS = 5_000
EVENTS = [*["some"] * 3, *["all"] * 3, "lose", "crash", "wait", "long"]
MESSAGE_LIFE_MS = 1_000  # an unanswered call is given up by then: docs/kernel.md
ByNode = dict[int, dict[int, Choices]]
Message = tuple[int, int, NodePlan | int]


@st.composite
def meshes(draw: st.DrawFn) -> tuple[int, dict[int, frozenset[int]]]:
    nodes = draw(st.integers(4, 7))
    edges = {(draw(st.integers(0, node - 1)), node) for node in range(1, nodes)}
    spare = [(a, b) for b in range(nodes) for a in range(b) if (a, b) not in edges]
    if spare:
        edges |= set(draw(st.lists(st.sampled_from(spare), max_size=6, unique=True)))
    return nodes, near_of(edges)


def random_version(
    draw: st.DrawFn, nodes: int, near: dict[int, frozenset[int]]
) -> ByNode:
    """Acyclic next hops to each of three targets, along a random order of the hotspots."""
    by_node: ByNode = {}
    for target in range(3):
        # Hotspots join in a random order, each with ways to some that joined before it.
        joined = [target]
        waiting = list(draw(st.permutations([n for n in range(nodes) if n != target])))
        while True:
            able = [n for n in waiting if near[n] & set(joined)]
            if not able:
                break
            node = able[0]
            ways = sorted(near[node] & set(joined))
            chosen = draw(st.lists(st.sampled_from(ways), min_size=1, unique=True))
            by_node.setdefault(node, {})[target] = tuple((hop, 1) for hop in sorted(chosen))
            joined.append(node)
            waiting.remove(node)
    return by_node


@dataclass
class Spot:
    """What netd does: take the newer document, forget it when the lease is over or at a crash."""

    plan: NodePlan | None = None
    until_ms: int = 0
    newest: int = 0

    def hear(self, plan: NodePlan, now_ms: int) -> bool:
        if self.plan is not None and plan.version < self.plan.version:
            return False
        self.plan, self.until_ms = plan, now_ms + plan.lease_ms
        return True

    def held(self, now_ms: int) -> Held:
        if self.plan is None or now_ms >= self.until_ms:
            return Held()
        return Held({t.colour: t.splits for t in self.plan.tables}, self.plan.stamp)


@dataclass
class Net:
    """Documents and answers on their way, each to arrive whenever the test likes, or never."""

    spots: dict[int, Spot]
    waiting: list[Message] = field(default_factory=list)

    def deliver(self, message: Message, rollout: Rollout, now_ms: int) -> None:
        """A document to its hotspot, whose answer is then on its way; or an answer."""
        _, node, what = message
        if isinstance(what, int):
            rollout.acknowledge(node, what, now_ms)
        elif self.spots[node].hear(what, now_ms):
            self.waiting.append((now_ms, node, what.version))

    def expire(self, now_ms: int) -> None:
        self.waiting = [m for m in self.waiting if now_ms - m[0] <= MESSAGE_LIFE_MS]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_order_of_news_losses_crashes_and_expiry_makes_a_loop(data: st.DataObject) -> None:
    draw = data.draw
    nodes, near = draw(meshes())
    bases = [base_to(near, target) for target in range(3)]
    rollout = Rollout(base_plan(nodes, MULTIPATH, LEASE_MS), drain_ms=1_000)
    net = Net({node: Spot() for node in range(nodes)})
    now_ms = 0
    for _ in range(draw(st.integers(40, 100))):
        if rollout.phase == STEADY:
            assert rollout.begin(random_version(draw, nodes, near), now_ms)
        for node, plan in rollout.poll(now_ms):
            net.waiting.append((now_ms, node, plan))
        event = draw(st.sampled_from(EVENTS))
        if event in ("some", "all"):
            order = draw(st.permutations(net.waiting)) if net.waiting else []
            for message in order if event == "all" else order[:1]:
                net.waiting.remove(message)
                net.deliver(message, rollout, now_ms)
                check(net, bases, now_ms)
        elif event == "lose" and net.waiting:
            net.waiting.pop(draw(st.integers(0, len(net.waiting) - 1)))
        elif event == "crash":
            net.spots[draw(st.integers(0, nodes - 1))] = Spot()
        elif event in ("wait", "long"):
            now_ms += draw(st.integers(1, 900 if event == "wait" else LEASE_MS + LEASE_MARGIN_MS))
            net.expire(now_ms)
        check(net, bases, now_ms)


def check(net: Net, bases: list[dict[int, int]], now_ms: int) -> None:
    held = {node: spot.held(now_ms) for node, spot in net.spots.items()}
    for target, base in enumerate(bases):
        assert find_loop(held, base, target) is None


def test_a_rollout_comes_to_its_end_and_takes_turns_with_the_colours() -> None:
    rollout, spots = Rollout(base_plan(3, MULTIPATH, LEASE_MS)), [Spot() for _ in range(3)]
    version: ByNode = {1: {0: ((0, 1),)}, 2: {0: ((1, 1),)}}
    now_ms, seen = 0, []
    for _ in range(3):
        assert rollout.begin(version, now_ms)
        assert not rollout.begin(version, now_ms)
        while rollout.phase != STEADY:
            for node, plan in rollout.poll(now_ms):
                spots[node].hear(plan, now_ms)
                rollout.acknowledge(node, plan.version, now_ms)
            now_ms += 100
        seen.append(rollout.colour)
        assert [set(spot.held(now_ms).tables) for spot in spots] == [{rollout.colour}] * 3
    assert len(set(seen)) > 1
    assert set(seen) <= set(COLOURS)
    renewals = [n for t in range(0, LEASE_MS, 100) for n, _ in rollout.poll(now_ms + t)]
    assert sorted(set(renewals)) == [0, 1, 2]


def test_a_silent_hotspot_holds_the_rollout_up_for_its_lease_and_no_longer() -> None:
    rollout = Rollout(base_plan(2, MULTIPATH, LEASE_MS))
    rollout.begin({1: {0: ((0, 1),)}}, 0)
    for now_ms in range(0, 4 * (LEASE_MS + LEASE_MARGIN_MS) + 3_000, 100):
        for node, plan in rollout.poll(now_ms):
            if node == 0:
                rollout.acknowledge(0, plan.version, now_ms)
        if now_ms < LEASE_MS + LEASE_MARGIN_MS:
            assert rollout.phase == "install"
    assert rollout.phase == STEADY


def test_the_checker_finds_the_loop_of_an_update_without_colours() -> None:
    """What happens when hotspots change one table each when they hear of it."""
    old: ByNode = {1: {0: ((0, 1),)}, 2: {0: ((1, 1),)}}
    new: ByNode = {2: {0: ((0, 1),)}, 1: {0: ((2, 1),)}}
    mixed = {0: Held(), 1: Held({1: new[1]}, 1), 2: Held({1: old[2]}, 1)}
    loop = find_loop(mixed, {1: 0, 2: 0}, 0)
    assert loop is not None
    assert {node for node, _ in loop} == {1, 2}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_segments_bring_a_packet_on_whatever_neighbours_are_known(data: st.DataObject) -> None:
    nodes, near = data.draw(meshes())
    base = {target: base_to(near, target) for target in range(nodes)}
    hops = tuple(data.draw(st.permutations(range(nodes)))[: data.draw(st.integers(2, nodes))])
    known = {
        node: frozenset(data.draw(st.sets(st.sampled_from(sorted(others)))))
        for node, others in near.items()
    }
    visited = travel_segments(hops, known, base)
    assert visited is not None
    assert visited[-1] == hops[-1]


def test_the_checker_finds_a_base_that_goes_round() -> None:
    assert travel_segments((0, 3), {}, {3: {0: 1, 1: 2, 2: 1}}) is None


@pytest.mark.parametrize("phase_ms", [0, 250])
def test_an_unanswered_document_is_repeated(phase_ms: int) -> None:
    rollout = Rollout(base_plan(2, MULTIPATH, LEASE_MS))
    rollout.begin({1: {0: ((0, 1),)}}, phase_ms)
    assert len(rollout.poll(phase_ms)) == 2
    assert rollout.poll(phase_ms + 100) == []
    assert len(rollout.poll(phase_ms + 600)) == 2
