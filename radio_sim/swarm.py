"""Swarm testing: many short worlds whose faults are drawn from their seed, watched by all checkers.

A world's seed decides everything: size, which kinds of faults it has at all (each in half of the
worlds, so that rare mixes come up: Groce et al., Swarm testing, ISSTA 2012), their rates and times.
So a world that fails is told by its seed. Each world runs twice, the second time unwatched, and
both must come to the same digest. Pure: no clock, no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from chain.params import PRESETS
from radio_sim.checkers.base import Panel
from radio_sim.checkers.every import make_panel
from radio_sim.city import make_city
from radio_sim.draws import draw_below, draw_u64, draw_uniform
from radio_sim.faults.specs import (
    BEHAVIOURS,
    LAYERS,
    Clock,
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
from radio_sim.scenario import Scenario

SMALLEST, LARGEST = 4, 24  # hotspots: what the rules need, in worlds of a second each
MAX_SEED = 1 << 63


@dataclass(frozen=True, slots=True)
class Outcome:
    """One world: what its checkers found, by checker; nothing anywhere is good."""

    seed: int
    seconds: float
    preset: str
    scenario: str
    digest: str
    ledger_root: str
    faults: dict[str, int]
    problems: dict[str, list[str]]

    @property
    def is_good(self) -> bool:
        """Whether no invariant was broken."""
        return not any(self.problems.values())

    def replay_command(self) -> str:
        """The one line that runs this world again."""
        return (
            f"wavecomb sim run --swarm --seed {self.seed} --runs 1"
            f" --seconds {self.seconds:g} --preset {self.preset}"
        )


def draw_scenario(seed: int, seconds: float) -> Scenario:
    """A small city with faults; the same seed and length, the same scenario."""
    hotspots = SMALLEST + draw_below(LARGEST - SMALLEST + 1, seed, "swarm", "hotspots")
    city = make_city(hotspots, draw_below(1 << 32, seed, "swarm", "city"))
    return replace(
        city,
        name=f"swarm-{seed}",
        description="Drawn by its seed.",
        radio=replace(city.radio, real_fields=_is_drawn(seed, "real fields")),
        faults=_draw_faults(seed, seconds),
    )


def _is_drawn(seed: int, kind: str) -> bool:
    return draw_below(2, seed, "swarm", kind) == 1


def _between(low: float, high: float, seed: int, *name: int | str) -> float:
    return round(low + (high - low) * draw_uniform(seed, "swarm", *name), 3)


def _draw_faults(seed: int, seconds: float) -> Faults:
    """Each kind in half of the worlds, several times in a run where it comes at all."""
    makers: dict[str, Callable[[int, float], object]] = {
        "power_cut": _power_cut, "crash": _crash, "noise": _noise, "partition": _partition,
        "clock": _clock, "liar": _liar, "walk": _walk,
    }  # fmt: skip
    drawn = {
        kind: (make(seed, seconds),) if _is_drawn(seed, kind) else ()
        for kind, make in makers.items()
    }
    load = _load(seed) if _is_drawn(seed, "load") else Load()
    return Faults(**drawn, load=load)  # type: ignore[arg-type]


def _rate_per_hour(seed: int, kind: str, seconds: float) -> float:
    """Half a time to four times in a run."""
    return round(min(3_600.0, 3_600.0 / seconds * _between(0.5, 4.0, seed, kind, "rate")), 3)


def _share(seed: int, kind: str) -> float:
    return _between(0.1, 0.6, seed, kind, "share")


def _power_cut(seed: int, seconds: float) -> PowerCut:
    rate = _rate_per_hour(seed, "power_cut", seconds)
    length = _between(1.0, seconds / 4, seed, "power_cut", "length")
    return PowerCut(share=_share(seed, "power_cut"), per_hour=rate, duration_s=length)


def _crash(seed: int, seconds: float) -> Crash:
    rate = 4.0 * _rate_per_hour(seed, "crash", seconds)
    length = _between(0.05, 8.0, seed, "crash", "length")
    return Crash(share=_share(seed, "crash"), per_hour=min(rate, 3_600.0), duration_s=length)


def _noise(seed: int, seconds: float) -> Noise:
    return Noise(
        share=_share(seed, "noise"),
        per_hour=_rate_per_hour(seed, "noise", seconds),
        duration_s=_between(1.0, seconds / 4, seed, "noise", "length"),
        rise_db=_between(3.0, 40.0, seed, "noise", "rise"),
    )


def _partition(seed: int, seconds: float) -> Partition:
    layers = tuple(layer for layer in LAYERS if _is_drawn(seed, f"partition {layer}")) or LAYERS
    return Partition(
        share=_share(seed, "partition"),
        per_hour=_rate_per_hour(seed, "partition", seconds),
        duration_s=_between(1.0, seconds / 4, seed, "partition", "length"),
        layers=layers,
    )


def _clock(seed: int, seconds: float) -> Clock:
    return Clock(
        share=_share(seed, "clock"),
        spread_ppm=_between(0.0, 200.0, seed, "clock", "spread"),
        per_hour=_rate_per_hour(seed, "clock", seconds),
        jump_ms=_between(-15_000.0, 15_000.0, seed, "clock", "jump"),
    )


def _liar(seed: int, _seconds: float) -> Liar:
    return Liar(
        share=_between(0.05, 0.4, seed, "liar", "share"),
        behaviour=BEHAVIOURS[draw_below(len(BEHAVIOURS), seed, "swarm", "liar", "behaviour")],
        inflate_db=_between(-30.0, 40.0, seed, "liar", "inflate"),
        distance_m=_between(100.0, 20_000.0, seed, "liar", "distance"),
        per_epoch=1 + draw_below(8, seed, "swarm", "liar", "per epoch"),
    )


def _walk(seed: int, _seconds: float) -> Walk:
    return Walk(
        share=_between(0.1, 0.4, seed, "walk", "share"),
        speed_mps=_between(0.5, 15.0, seed, "walk", "speed"),
        range_m=_between(50.0, 1_000.0, seed, "walk", "range"),
        step_s=_between(2.0, 20.0, seed, "walk", "step"),
    )


def _load(seed: int) -> Load:
    return Load(
        frames_per_hour=_between(0.0, 1_200.0, seed, "load", "frames"),
        datagrams_per_hour=_between(0.0, 1_200.0, seed, "load", "datagrams"),
        start_hour=_between(0.0, 24.0, seed, "load", "hour"),
    )


def run_world(
    scenario: Scenario,
    seed: int,
    preset: str,
    seconds: float,
    make: Callable[[], Panel] = make_panel,
    *,
    repeats: bool = True,
) -> Outcome:
    """Run a world under its checkers, once more without, and say what was found.

    A world that raises is a finding too: no fault may bring the simulator or a daemon down.
    """
    panel = make()
    problems: dict[str, list[str]] = {}
    digest = root = ""
    counts: Counter[str] = Counter()
    try:
        digest, root, counts = _watched(scenario, seed, preset, seconds, panel)
        if repeats:
            fleet = Fleet(scenario, seed, preset)
            _advance(fleet, seconds, Panel(()))
            summary = fleet.summary()
            if (summary.digest, summary.ledger_root) != (digest, root):
                problems["repeat"] = [f"a second run came to {summary.digest}, not {digest}"]
    except Exception as error:
        problems["raised"] = [f"{type(error).__name__}: {error}"]
    problems |= {name: texts for name, texts in panel.verdicts().items() if texts}
    return Outcome(
        seed, seconds, preset, scenario.name, digest, root, dict(sorted(counts.items())), problems
    )


def _watched(
    scenario: Scenario, seed: int, preset: str, seconds: float, panel: Panel
) -> tuple[str, str, Counter[str]]:
    fleet = Fleet(scenario, seed, preset, [panel])
    panel.attach(fleet)
    _advance(fleet, seconds, panel)
    panel.finish()
    summary = fleet.summary()
    return summary.digest, summary.ledger_root, fleet.faults.counts


def _advance(fleet: Fleet, seconds: float, panel: Panel) -> None:
    """Run in slices of an epoch, each followed by a look."""
    slice_s, done_s = PRESETS[fleet.params.name].epoch_ms / 1000.0, 0.0
    while done_s < seconds:
        part_s = min(slice_s, seconds - done_s)
        fleet.run(part_s)
        done_s += part_s
        panel.look()


def swarm_seed(first: int, number: int) -> int:
    """Seed of the n-th world of a swarm: the first seed's own world comes first."""
    return first if number == 0 else draw_u64(first, "swarm", number) % MAX_SEED


def run_swarm_world(
    seed: int, preset: str, seconds: float, make: Callable[[], Panel] = make_panel
) -> Outcome:
    """Draw a world from a seed and run it."""
    return run_world(draw_scenario(seed, seconds), seed, preset, seconds, make)
