"""What must stay true of the shortcuts that make the virtual testbed fast."""

from __future__ import annotations

import gc

from hypothesis import given, settings
from hypothesis import strategies as st
from node_helpers import MS, START_MS, make_node, mix_of, received

from chain.draws import chain_link
from chain.params import PRESETS
from hotspot.actions import FetchMix, SendFrame
from hotspot.directory import Directory
from hotspot.secrets import STRIDE, SecretChain
from radio_sim.city import make_city
from radio_sim.fleet import build_fleet
from radio_sim.io_memory import without_collector

EPOCHS = 4
PARAMS = PRESETS["testbed"]
END_NS = (START_MS + EPOCHS * PARAMS.epoch_ms) * MS


@given(
    first=st.integers(0, 3 * STRIDE),
    length=st.integers(1, 3 * STRIDE),
    asked=st.lists(st.integers(0, 3 * STRIDE - 1), min_size=1, max_size=20),
)
@settings(max_examples=40, deadline=None)
def test_links_are_the_same_in_whatever_order_they_are_asked_for(
    first: int, length: int, asked: list[int]
) -> None:
    chain = SecretChain(b"s" * 32, first, length)
    link, links = chain.link(chain.last_epoch), {}
    for epoch in range(chain.last_epoch, first - 1, -1):
        links[epoch], link = link, chain_link(link)
    assert link == chain.anchor
    epochs = [first + offset % length for offset in asked]
    assert [chain.link(epoch) for epoch in epochs] == [links[epoch] for epoch in epochs]


def beacons_of(name: str, directory: Directory, index: int) -> list[tuple[int, bytes]]:
    """(time_ns, frame) of everything that a node on its own puts on the air."""
    node, sent = make_node(name, PARAMS, directory), []
    node.receive_registration(index, PARAMS.bind_epochs, START_MS * MS)
    while (due_ns := node.next_deadline()) is not None and due_ns < END_NS:
        node.handle_deadline(due_ns)
        for action in node.take_actions():
            if isinstance(action, FetchMix):
                node.receive_mix(action.epoch, mix_of(action.epoch), due_ns)
            elif isinstance(action, SendFrame):
                sent.append((due_ns, received(action.frame)))
    return sent


@given(heard=st.lists(st.integers(0, 60), max_size=30), mix_after_ms=st.integers(0, 6_000))
@settings(max_examples=25, deadline=None)
def test_nothing_is_due_before_the_deadline_and_something_is_at_it(
    heard: list[int], mix_after_ms: int
) -> None:
    """Frames and mixes that come in between move the remembered deadline as they should."""
    directory = Directory()
    air = [frame for n in (1, 2) for frame in beacons_of(f"n{n}", directory, n)]
    told = sorted(air[place % len(air)] for place in heard)
    node = make_node("a", PARAMS, directory)
    node.receive_registration(0, PARAMS.bind_epochs, START_MS * MS)
    node.take_actions()
    mixes: list[tuple[int, int]] = []  # (time_ns, epoch)
    while (due_ns := node.next_deadline()) is not None and due_ns < END_NS:
        now_ns = min([due_ns, *(event[0] for event in (*told[:1], *mixes[:1]))])
        if now_ns < due_ns:
            node.handle_deadline(now_ns)
            assert (node.take_actions(), node.next_deadline()) == ([], due_ns)
        before = (node.epoch, dict(node.counts))
        if mixes and mixes[0][0] == now_ns:
            node.receive_mix(mixes[0][1], mix_of(mixes.pop(0)[1]), now_ns)
            actions = node.take_actions()
        elif told and told[0][0] == now_ns:
            node.receive_frame(told.pop(0)[1], now_ns)
            actions = node.take_actions()
        else:
            node.handle_deadline(now_ns)
            actions = node.take_actions()
            assert actions or (node.epoch, dict(node.counts)) != before
            assert node.next_deadline() != due_ns
        asked = [action.epoch for action in actions if isinstance(action, FetchMix)]
        mixes += [(now_ns + mix_after_ms * MS, epoch) for epoch in asked]
    assert node.counts["messages"] == EPOCHS - PARAMS.bind_epochs
    assert node.counts["heard"] == len({air[n % len(air)] for n in heard})


def test_a_run_leaves_no_cycles_to_collect() -> None:
    """So a virtual run may do without the collector, and its memory stays bounded all the same."""
    fleet = build_fleet(make_city(60, 2), 2, "testbed")
    fleet.run(3 * 60)
    gc.collect()
    with without_collector():
        fleet.run(2 * 60)
        assert not gc.isenabled()
        assert gc.collect() == 0
    assert gc.isenabled()
    assert fleet.world.medium.counts["collided"]


def test_an_honest_city_is_believed() -> None:
    """The shadowing, the devices and the published cells of honest owners fit the envelope."""
    fleet = build_fleet(make_city(150, 3), 3, "testbed")
    fleet.run(6 * 60)
    verdicts = fleet.tally.verdicts
    refused = verdicts["rssi_too_high"] + verdicts["rssi_too_low"]
    assert fleet.tally.receptions > 10_000
    assert refused * 1_000 < fleet.tally.receptions
    assert not {"wrong_tag", "commit_mismatch", "no_commit", "late"} & verdicts.keys()
