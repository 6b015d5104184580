"""Crashes and cuts of a simulated network: what survives, what waits, what is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest

from chain.ledger import Sealed
from chain.records import EpochMessage, Signed, SubmitResult
from chain.wire import decode
from hotspot.actions import Action, KeepReceptions
from radio_sim.city import make_city
from radio_sim.fleet import START_MS, Fleet
from radio_sim.scenario import Scenario

CITY = make_city(12, 1)


class Stored(Fleet):
    """A fleet that also keeps, row by row, what drivers would store."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.stored: defaultdict[tuple[int, int], set[bytes]] = defaultdict(set)
        super().__init__(scenario, seed, "minimal")

    def _effect(self, agent: int, action: Action, now_ns: int) -> None:
        if isinstance(action, KeepReceptions):
            self.stored[agent, action.epoch].update(action.receptions)
        super()._effect(agent, action, now_ns)


class Messages:
    """Epoch messages that the ledger took: (hotspot, epoch) > report, and when."""

    def __init__(self) -> None:
        self.taken: dict[tuple[int, int], EpochMessage] = {}
        self.at_ms: dict[tuple[int, int], int] = {}

    def on_answers(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        del wires, results

    def on_kept(self, agent: int, epoch: int, rows: Sequence[bytes]) -> None:
        del agent, epoch, rows

    def on_block(self, sealed: Sealed) -> None:
        for wire in sealed.block.wires:
            record = decode(wire)
            assert isinstance(record, Signed)
            if isinstance(record.record, EpochMessage):
                key = (record.record.hotspot, record.record.epoch)
                assert key not in self.taken
                self.taken[key] = record.record
                self.at_ms[key] = sealed.block.time_ms


def test_a_nodes_memory_is_what_its_actions_stored() -> None:
    fleet = Stored(CITY, 1)
    for _ in range(60):
        fleet.run(1)
        for number, agent in enumerate(fleet.agents):
            for epoch, rows in agent.node.memory.receptions.items():
                assert rows == fleet.stored[number, epoch]
    assert sum(map(len, fleet.stored.values())) > 100


def test_a_crash_keeps_the_queue_and_loses_the_rest() -> None:
    fleet = Fleet(CITY, 1, "minimal")
    fleet.run(37)  # in the fourth epoch, which binds
    before = fleet.agents[3].node
    kept = {epoch: set(rows) for epoch, rows in before.memory.receptions.items()}
    assert any(kept.values())
    fleet.crash(3)
    fleet.run(2)
    assert fleet.world.agents[3] is None
    fleet.restart(3)
    after = fleet.agents[3].node
    assert after is not before
    for epoch, rows in after.memory.receptions.items():
        assert rows >= kept.get(epoch, set())
    assert after.counts["heard"] == 0
    fleet.run(30)
    assert after.counts["heard"] > 0
    assert fleet.counts()["beacons"] >= before.counts["beacons"] + after.counts["beacons"]


def test_no_crash_makes_a_second_message_for_an_epoch() -> None:
    messages = Messages()
    fleet = Fleet(CITY, 2, "minimal", [messages])
    for second in range(80):
        fleet.run(1)
        if second % 3 == 0:
            fleet.crash(5)
            fleet.restart(5)
    assert fleet.refused == {}
    own = [epoch for hotspot, epoch in messages.taken if hotspot == fleet.ledger_index(5)]
    assert len(own) >= 5


@pytest.mark.parametrize("cut", ["offline", "down"])
def test_what_was_signed_before_a_cut_waits_and_arrives_after_it(cut: str) -> None:
    messages = Messages()
    fleet = Fleet(CITY, 1, "minimal", [messages])
    fleet.run(39)
    index = fleet.ledger_index(3)
    if cut == "offline":
        fleet.offline.add(3)
    else:
        fleet.crash(3)
    fleet.run(41)
    during = {epoch for hotspot, epoch in messages.taken if hotspot == index}
    if cut == "offline":
        fleet.offline.discard(3)
    else:
        fleet.restart(3)
    fleet.run(20)
    after = {epoch for hotspot, epoch in messages.taken if hotspot == index}
    assert len(after - during) >= 3
    first_late = min(after - during)
    assert messages.at_ms[index, first_late] >= START_MS + 80_000
    assert fleet.refused == {}
