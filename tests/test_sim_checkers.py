"""Checkers: silent over a good run, and each finds the bug that is planted for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chain.records import Refusal, SubmitResult
from radio_sim.checkers.base import PROBLEMS_MAX, Checker, Panel
from radio_sim.checkers.bounded import EVENTS_PER_HOTSPOT
from radio_sim.checkers.every import CHECKERS, make_panel
from radio_sim.city import make_city
from radio_sim.fates import Fate, Hearing
from radio_sim.faults.behaviours import Fabricate, Ring
from radio_sim.faults.clocks import Clock, ClockedRouter
from radio_sim.faults.specs import Clock as ClockFault
from radio_sim.faults.specs import (
    Crash,
    Faults,
    Liar,
    Load,
    Noise,
    Partition,
    PowerCut,
    Walk,
)
from radio_sim.fleet import Fleet
from radio_sim.medium import Transmission

CITY = make_city(10, 1)
SECOND = 1_000_000_000
EPOCH_S = 10
NO_FAULTS = Faults()
REFUSED = Refusal("planted", "planted: by a test")

Plant = Callable[[Fleet], None]


def watch(plant: Plant | None, faults: Faults = NO_FAULTS, seconds: int = 70) -> Panel:
    """Run with all checkers; the bug is planted when the network has settled."""
    panel = make_panel()
    fleet = Fleet(replace(CITY, faults=faults), 1, "minimal", [panel])
    panel.attach(fleet)
    for passed in range(0, seconds, EPOCH_S):
        if passed == 30 and plant is not None:
            plant(fleet)
        fleet.run(EPOCH_S)
        panel.look()
    panel.finish()
    return panel


def found(panel: Panel) -> set[str]:
    return {name for name, problems in panel.verdicts().items() if problems}


# --- planted bugs ---------------------------------------------------------------------------------


def mint(fleet: Fleet) -> None:
    fleet.ledger.state.supply.minted += 1


def give_twice(fleet: Fleet) -> None:
    """An account gets credits that no payment speaks of, and the supply agrees."""
    account = next(iter(fleet.ledger.state.accounts.values()))
    account.issued_ucr += 500
    fleet.ledger.state.supply.deposited += 500


def forget_receptions(fleet: Fleet) -> None:
    """A hotspot loses half of what it had stored."""
    node = fleet.agents[4].node
    for rows in node.memory.receptions.values():
        for row in sorted(rows)[::2]:
            rows.discard(row)


def swallow_an_answer(fleet: Fleet) -> None:
    """The ledger says yes and writes nothing."""
    honest = fleet.ledger.submit

    def submit(wires: Any, time_ms: int) -> list[SubmitResult]:
        results = honest(wires[1:], time_ms)
        return [SubmitResult(bytes(32), True, 99, "ok", ""), *results] if wires else results

    fleet.ledger.submit = submit  # type: ignore[method-assign, assignment]


def pass_by_the_air(fleet: Fleet) -> None:
    """Beacons of hotspot 0 reach its neighbours by another way than the medium."""
    world, honest = fleet.world, fleet.world.medium.queue

    def queue(sender: int, frame: bytes, step: int, mhz: int, now: int) -> Any:
        if sender != 0:
            return honest(sender, frame, step, mhz, now)
        for number in range(1, len(fleet.agents)):
            fleet.agents[number].receive_frame(with_level(frame), now)
            world.settle(number)
        return REFUSED

    world.medium.queue = queue  # type: ignore[method-assign, assignment]


def with_level(frame: bytes) -> bytes:
    """As received: channel 2437 MHz at -70 dBm."""
    header = bytes.fromhex("0000 0d00 28000000 8509 a000 ba".replace(" ", ""))
    return header + frame[frame[2] | frame[3] << 8 :]


def lie_in_secret(fleet: Fleet) -> None:
    """Hotspots invent receptions, and nobody has declared them liars."""
    ring = Ring(fleet.world.settle)
    liars = {n: Fabricate(n, 1, 8, EPOCH_S * SECOND, ring) for n in (2, 3)}
    fleet.dresser.behaviours = dict(liars)
    for number in liars:
        fleet.crash(number)
        fleet.restart(number)
    fleet.dresser.behaviours = {}


def touch_a_bond(fleet: Fleet) -> None:
    fleet.ledger.state.hotspots[2].bond_ucr += 1  # any change at all: the preset's bond is 0


def meddle(fleet: Fleet) -> None:
    """The state changes outside of any block, and the next close commits to it."""
    fleet.ledger.state.hotspots[1].trust += 12_345
    fleet.ledger.state.touch("hotspots", 1)


class Deaf(ClockedRouter):
    """Right about the time, and hears nothing."""

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        del data, now_ns


def drop_deliveries(fleet: Fleet) -> None:
    """A driver loses what the air delivered."""
    fleet.world.restart(1, Deaf(fleet.agents[1], Clock(0)))


def turn_back_a_clock(fleet: Fleet) -> None:
    """A clock that steps back two epochs, and is declared to be right."""
    wrong = ClockedRouter(fleet.agents[5], Clock(0, 0, 0))
    fleet.agents[5] = fleet.world.agents[5] = wrong

    def step(_now_ns: int) -> None:
        wrong.clock.step(-25 * SECOND)
        fleet.agents[5].node._enter_epoch(wrong.clock.local_ns(fleet.world.now_ns))

    fleet.world.call_at(fleet.world.now_ns + SECOND, step)


def leak_events(fleet: Fleet) -> None:
    for number in range(EVENTS_PER_HOTSPOT * (len(fleet.agents) + 2)):
        fleet.world.call_at(fleet.world.now_ns + 10_000 * SECOND + number, lambda _: None)


PLANTED: list[tuple[str, Plant]] = [
    ("supply", mint),
    ("payments", give_twice),
    ("acknowledged", forget_receptions),
    ("acknowledged", swallow_an_answer),
    ("beacons", pass_by_the_air),
    ("honest", lie_in_secret),
    ("honest", touch_a_bond),
    ("replay", meddle),
    ("frames", drop_deliveries),
    ("clocks", turn_back_a_clock),
    ("bounded", leak_events),
]


@pytest.mark.parametrize(
    ("name", "plant"), PLANTED, ids=lambda value: getattr(value, "__name__", value)
)
def test_each_checker_finds_its_bug(name: str, plant: Plant) -> None:
    panel = watch(plant)
    assert name in found(panel), panel.verdicts()


def test_every_checker_has_a_bug_planted_for_it() -> None:
    assert {kind.name for kind in CHECKERS} == {name for name, _ in PLANTED}


def test_a_good_run_is_silent() -> None:
    assert found(watch(None)) == set()


ALL = Faults(
    power_cut=(PowerCut(share=0.5, per_hour=100, duration_s=8),),
    crash=(Crash(per_hour=100, duration_s=1),),
    noise=(Noise(share=0.5, per_hour=100, duration_s=8),),
    partition=(Partition(share=0.4, per_hour=60, duration_s=15),),
    clock=(ClockFault(share=0.4, spread_ppm=100, per_hour=60, jump_ms=-7000),),
    liar=(Liar(share=0.3),),
    walk=(Walk(share=0.2, step_s=5),),
    load=Load(frames_per_hour=1200, datagrams_per_hour=1200),
)


def test_faults_break_no_invariant() -> None:
    assert found(watch(None, ALL)) == set()


def test_checkers_leave_no_trace_in_the_run() -> None:
    def digest(watchers: list[Panel]) -> tuple[str, str]:
        fleet = Fleet(replace(CITY, faults=ALL), 2, "minimal", watchers)
        for panel in watchers:
            panel.attach(fleet)
        fleet.run(50)
        summary = fleet.summary()
        return summary.digest, summary.ledger_root

    assert digest([make_panel()]) == digest([])


def test_a_checker_that_fails_often_keeps_the_first_words() -> None:
    checker = Checker()
    for number in range(1000):
        checker.fail(f"problem {number}")
    assert len(checker.problems) == PROBLEMS_MAX
    assert checker.problems[0] == "problem 0"
    assert checker.violations == 1000


def test_a_frame_heard_by_the_dead_is_found() -> None:
    panel = make_panel()
    fleet = Fleet(CITY, 1, "minimal", [panel])
    panel.attach(fleet)
    fleet.crash(1)
    links = fleet.world.medium.links
    reaches = {n: links.neighbours[links.starts[n] : links.starts[n + 1]] for n in range(2, 10)}
    sender, reach = next((n, reach) for n, reach in reaches.items() if 1 in reach)
    fates = np.where(reach == 1, Fate.DELIVERED, Fate.NOISE).astype(np.int8)
    zeros = np.zeros(len(reach))
    sent = Transmission(1, sender, bytes(30), 1000, 0, 2437, 0, 0, 1)
    panel.on_air(sent, Hearing(reach, zeros, zeros, fates))
    assert "without power" in " ".join(panel.verdicts()["frames"])
