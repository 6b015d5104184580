"""Swarm: worlds follow from their seed, failures are told by it, and a planted bug is found."""

from __future__ import annotations

import json

import pytest

from chain.io_terminal import run_command
from radio_sim import swarm
from radio_sim.checkers.base import Checker, Panel
from radio_sim.checkers.every import make_panel
from radio_sim.fates import Fate, Hearing
from radio_sim.faults.specs import KINDS
from radio_sim.fleet import Fleet
from radio_sim.io_cli import main
from radio_sim.medium import Transmission
from radio_sim.scenario import format_scenario, parse_scenario
from radio_sim.swarm import draw_scenario, run_swarm_world, run_world, swarm_seed

SECONDS = 40


class NoNoise(Checker):
    """A planted bug: an invariant that every world breaks sooner or later."""

    name = "planted"

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        if (hearing.fates == Fate.NOISE).any():
            self.fail(f"frame {sent.number} was lost in noise")


def planted() -> Panel:
    return Panel([NoNoise()])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(main, ["run", "--swarm", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_world_follows_from_its_seed_and_every_kind_of_fault_comes_up() -> None:
    worlds = [draw_scenario(swarm_seed(9, number), SECONDS) for number in range(60)]
    assert worlds == [draw_scenario(swarm_seed(9, number), SECONDS) for number in range(60)]
    assert len({world.name for world in worlds}) == 60
    for kind in KINDS:
        share = sum(bool(getattr(world.faults, kind)) for world in worlds) / 60
        assert 0.25 < share < 0.75, kind
    assert len({len(world.hotspots) for world in worlds}) > 10
    for world in worlds:
        assert parse_scenario(format_scenario(world)) == world


def test_worlds_are_good_and_repeat() -> None:
    outcomes = [run_swarm_world(swarm_seed(3, number), "minimal", SECONDS) for number in range(6)]
    assert [outcome.problems for outcome in outcomes] == [{}] * 6
    assert len({outcome.digest for outcome in outcomes}) == 6
    assert sum(sum(outcome.faults.values()) for outcome in outcomes) > 20


def test_a_failing_run_prints_its_seed_and_the_line_that_replays_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed line alone, typed again, fails for the same reason; without the bug it passes."""
    real = swarm.run_swarm_world
    monkeypatch.setattr(
        "radio_sim.io_run.run_swarm_world",
        lambda seed, preset, seconds: real(seed, preset, seconds, planted),
    )
    code, out, err = run(capsys, "--seed", "11", "--runs", "2", "--seconds", "30", "--json")
    result = json.loads(out)
    assert code == 1
    assert result["failed"] == 2
    line = result["failures"][1]["replay"]
    assert line in err
    seed = result["failures"][1]["seed"]
    assert f"--seed {seed} --runs 1" in line
    assert f"seed {seed}: planted: frame" in err
    words = line.split()[4:]  # after: wavecomb sim run --swarm
    code, again, _ = run(capsys, *words, "--json")
    assert code == 1
    assert json.loads(again)["failures"][0] == result["failures"][1]
    monkeypatch.setattr("radio_sim.io_run.run_swarm_world", real)
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert "failed               0" in out


def test_a_world_that_differs_the_second_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter([1, 2])

    def unsteady(scenario: object, _seed: int, *rest: object) -> object:
        return Fleet(scenario, next(seeds), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(swarm, "Fleet", unsteady)
    scenario = draw_scenario(5, SECONDS)
    outcome = run_world(scenario, 5, "minimal", SECONDS, lambda: Panel(()))
    assert [*outcome.problems] == ["repeat"]
    assert not outcome.is_good


def test_a_world_that_raises_is_a_finding_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Checker):
        name = "broken"

        def look(self) -> None:
            raise KeyError("planted")

    outcome = run_swarm_world(5, "minimal", SECONDS, lambda: Panel([Broken()]))
    assert outcome.problems["raised"] == ["KeyError: 'planted'"]
    assert outcome.replay_command() == (
        f"wavecomb sim run --swarm --seed 5 --runs 1 --seconds {SECONDS} --preset minimal"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--runs", "0"), "--runs: 0 is out of range"),
        (("builtin:city",), "a swarm draws its worlds"),
        (("--preset", "x"), "--preset: no 'x'"),
        (("--seconds", "-4"), "--seconds: -4 is out of range"),
        (("--out", "x"), "leave out --swarm"),
    ],
)
def test_each_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize(("preset", "seconds"), [("minimal", 80), ("testbed", 480)])
def test_many_worlds_are_good(preset: str, seconds: float) -> None:
    for number in range(100):
        outcome = run_swarm_world(swarm_seed(77, number), preset, seconds, make_panel)
        assert outcome.is_good, (outcome.replay_command(), outcome.problems)
