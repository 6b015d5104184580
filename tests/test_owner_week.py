"""Days of a hotspot's life under drawn faults: named in time, nothing lost, nothing stuck."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.errors import UserError
from hotspot.health import Fault, State
from hotspot.io_daemon import Daemon
from radio_sim.io_virtual_machine import VirtualMachine, World, settings
from radio_sim.io_week import MINUTE, SECOND, Life


class Over(Exception):
    """The time of the test is over."""


def live_until(daemon: Daemon, world: World, wait_ns: int) -> None:
    def end() -> None:
        raise Over

    world.at(world.boot_ns + wait_ns, end)
    with pytest.raises(Over):
        daemon.run()


@pytest.mark.parametrize("seed", [2, 3])
def test_a_day_of_drawn_faults_ends_well(seed: int, tmp_path: Path) -> None:
    outcome = Life(seed, tmp_path).run(0.25)
    assert outcome.episodes
    assert outcome.is_good(), outcome
    assert outcome.kept > 250


@pytest.mark.slow
@pytest.mark.soak
def test_seven_days_of_drawn_faults_end_well(tmp_path: Path) -> None:
    for seed in range(1, 6):
        outcome = Life(seed, tmp_path / str(seed)).run(7.0)
        assert outcome.is_good(), outcome


def test_a_calm_day_has_no_faults(tmp_path: Path) -> None:
    outcome = Life(1, tmp_path, faults=False).run(0.0834)
    assert outcome.is_good()
    assert (outcome.episodes, outcome.kills, outcome.restarts) == ([], 0, 0)


def test_the_watch_sees_a_daemon_that_names_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotspot.health.Health._raise", lambda *_: None)
    outcome = Life(3, tmp_path).run(0.25)
    assert outcome.unnamed()


def test_a_deaf_radio_is_named_though_its_own_beacons_echo(tmp_path: Path) -> None:
    world = World(1)
    daemon = Daemon(settings(), tmp_path, VirtualMachine(world))
    live_until(daemon, world, 40 * MINUTE)
    world.switches.hears = False
    live_until(daemon, world, 5 * MINUTE)
    assert {t.fault for t in daemon._health.troubles()} == {Fault.RX_DEAD}


def test_a_clock_set_while_the_process_was_down_is_not_believed(tmp_path: Path) -> None:
    world = World(1)
    live_until(Daemon(settings(), tmp_path, VirtualMachine(world)), world, 40 * MINUTE)
    world.switches.synchronised = world.switches.ledger = False
    world.wall_offset_ns += 5 * 3_600 * SECOND
    daemon = Daemon(settings(), tmp_path, VirtualMachine(world))
    live_until(daemon, world, 30 * MINUTE)
    assert daemon._health.standing.state is State.CLOCK
    assert "was set" in daemon._health.standing.reason
    world.switches.ledger = True
    world.wall_offset_ns = world.true_offset_ns
    live_until(daemon, world, 30 * MINUTE)
    assert daemon._health.standing.state is State.BEACON
    assert max(world.messages.values()) == 1


def test_a_radio_that_came_back_under_another_name_is_waited_for_and_gets_its_own_again(
    tmp_path: Path,
) -> None:
    world = World(1)
    live_until(Daemon(settings(), tmp_path, VirtualMachine(world)), world, 40 * MINUTE)
    world.switches.device = "mon1"
    daemon = Daemon(settings(), tmp_path, VirtualMachine(world))
    live_until(daemon, world, 5 * MINUTE)
    assert daemon._health.standing.state is State.RADIO
    assert Fault.RX_DEAD in {t.fault for t in daemon._health.troubles()}
    live_until(daemon, world, 25 * MINUTE)
    assert world.hooks >= 1
    assert world.switches.device == "mon0"
    assert daemon._health.standing.state is State.BEACON


def test_a_radio_that_was_never_there_ends_the_start_with_one_line(tmp_path: Path) -> None:
    world = World(1)
    world.switches.has_device = False
    with pytest.raises(UserError, match="No such device"):
        Daemon(settings(), tmp_path, VirtualMachine(world))
