"""`wavecomb sim run`, `replay` and `bench`: worlds in virtual time, singly or as a swarm."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Progress, print_json
from chain.params import PRESETS
from radio_sim.city import make_city
from radio_sim.fleet import Fleet
from radio_sim.io_memory import resident_mib, without_collector
from radio_sim.io_runs import (
    Kept,
    Plan,
    read_folder,
    record_packets,
    run_plan,
    software,
)
from radio_sim.io_scenario import load_scenario
from radio_sim.swarm import Outcome, run_swarm_world, swarm_seed

DEFAULT_SECONDS, SWARM_SECONDS = 600.0, 80.0
RUNS_MAX = 1_000_000
EXIT_INTERRUPTED = 130


def run(options: argparse.Namespace) -> int:
    """Run one world, or a swarm."""
    if options.swarm:
        return _swarm(options)
    if options.scenario is None:
        raise UserError("SCENARIO", "missing", "name one, or add --swarm")
    if options.runs is not None:
        raise UserError("--runs", "only a swarm has several", "add --swarm")
    plan = _plan(options, seconds_of(options, DEFAULT_SECONDS))
    kept = Kept(options.out, options.pcapng, options.check)
    result = run_plan(plan, kept, quiet=options.json)
    show(result, options.json)
    if options.out is not None and not options.json:
        print(f"wavecomb sim render {options.out}")
    if result.get("problems"):
        return EXIT_FAILED
    return EXIT_INTERRUPTED if result.get("interrupted") else EXIT_OK


def _plan(options: argparse.Namespace, seconds: float) -> Plan:
    preset = preset_of(options.preset, "testbed")
    most = PRESETS[preset].beacons_per_epoch
    if options.beacons is not None and not 1 <= options.beacons <= most:
        raise UserError("--beacons", f"{options.beacons} is out of range", f"use 1 to {most}")
    scenario = load_scenario(options.scenario)
    return Plan(
        scenario, options.seed, preset, seconds, options.beacons, options.verify == "every"
    )


def preset_of(name: str | None, default: str) -> str:
    """A preset's name, or UserError."""
    if name is not None and name not in PRESETS:
        raise UserError("--preset", f"no {name!r}", f"use one of {', '.join(PRESETS)}")
    return name or default


def seconds_of(options: argparse.Namespace, default: float) -> float:
    """The length that the options ask for."""
    for name, unit in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0)):
        value = getattr(options, name)
        if value is not None:
            seconds = float(value * unit)
            if not 0 < seconds <= 31 * 86_400:
                raise UserError(f"--{name}", f"{value:g} is out of range", "use up to 31 days")
            return seconds
    return default


# --- swarm ----------------------------------------------------------------------------------------


def _swarm(options: argparse.Namespace) -> int:
    """Run many worlds; each that breaks an invariant is told with the line that replays it."""
    count = 20 if options.runs is None else options.runs
    if not 1 <= count <= RUNS_MAX:
        raise UserError("--runs", f"{count} is out of range", f"use 1 to {RUNS_MAX}")
    for name in ("scenario", "out", "pcapng", "beacons"):
        if getattr(options, name) is not None:
            raise UserError(name, "a swarm draws its worlds", "leave it out, or leave out --swarm")
    preset = preset_of(options.preset, "minimal")
    seconds = seconds_of(options, SWARM_SECONDS)
    outcomes: list[Outcome] = []
    progress = Progress("swarm", count, quiet=options.json)
    interrupted = False
    try:
        for number in range(count):
            outcomes.append(_world(swarm_seed(options.seed, number), preset, seconds))
            failed = sum(not outcome.is_good for outcome in outcomes)
            progress.update(number + 1, f"{failed} failed")
    except KeyboardInterrupt:
        interrupted = True
    if not interrupted:
        progress.close()
    _show_swarm(outcomes, options, interrupted)
    if not all(outcome.is_good for outcome in outcomes):
        return EXIT_FAILED
    return EXIT_INTERRUPTED if interrupted else EXIT_OK


def _world(seed: int, preset: str, seconds: float) -> Outcome:
    with without_collector():
        outcome = run_swarm_world(seed, preset, seconds)
    if not outcome.is_good:
        for name, texts in sorted(outcome.problems.items()):
            for text in texts:
                sys.stderr.write(f"seed {seed}: {name}: {text}\n")
        sys.stderr.write(f"{outcome.replay_command()}\n")
    return outcome


def _show_swarm(
    outcomes: list[Outcome], options: argparse.Namespace, interrupted: bool
) -> None:
    failed = [outcome for outcome in outcomes if not outcome.is_good]
    result: dict[str, Any] = {
        "worlds": len(outcomes),
        "failed": len(failed),
        "faults": sum(sum(outcome.faults.values()) for outcome in outcomes),
        "seed": options.seed,
    }
    if interrupted:
        result["interrupted"] = True
    if options.json:
        result["failures"] = [
            {"seed": f.seed, "problems": f.problems, "replay": f.replay_command()} for f in failed
        ]
        if len(outcomes) == 1:
            result |= {"digest": outcomes[0].digest, "ledger_root": outcomes[0].ledger_root}
    show(result, options.json)


# --- replay ---------------------------------------------------------------------------------------


def replay(options: argparse.Namespace) -> int:
    """Run a saved run again and compare digest, ledger root and packets."""
    plan, saved = read_folder(options.folder)
    fleet = Fleet(
        plan.scenario, plan.seed, plan.preset, beacons=plan.beacons, verify_every=plan.verify_every
    )
    packets = record_packets(plan, fleet)
    label = f"replay {plan.scenario.name[:16]}"
    progress = Progress(label, round(plan.seconds), quiet=options.json)
    epoch_s, done_s = PRESETS[plan.preset].epoch_ms / 1000.0, 0.0
    with without_collector():
        while done_s < plan.seconds:
            fleet.run(min(epoch_s, plan.seconds - done_s))
            done_s += epoch_s
            progress.update(round(min(done_s, plan.seconds)))
    progress.close()
    summary, before = fleet.summary(), saved["result"]
    again = {
        "digest": summary.digest,
        "ledger_root": summary.ledger_root,
        "packets_sha256": packets.digest(),
    }
    differs = [key for key, value in again.items() if before.get(key) != value]
    result: dict[str, Any] = {"same": not differs, **again}
    if differs:
        result["differs"] = differs
        result["software_differs"] = _differing(saved.get("software", {}))
    show(result, options.json)
    return EXIT_FAILED if differs else EXIT_OK


def _differing(before: dict[str, str]) -> list[str]:
    return [key for key, value in software().items() if before.get(key) != value]


# --- bench ----------------------------------------------------------------------------------------


def bench(options: argparse.Namespace) -> int:
    """Say how many times faster than real time a city runs here."""
    if not 2 <= options.hotspots <= 20_000:
        raise UserError("--hotspots", f"{options.hotspots} is out of range", "use 2 to 20000")
    if not 0 < options.minutes <= 1_440:
        raise UserError("--minutes", f"{options.minutes:g} is out of range", "use up to 1440")
    built = time.perf_counter()
    fleet = Fleet(make_city(options.hotspots, options.seed), options.seed, "testbed")
    started = time.perf_counter()
    progress = Progress("bench", round(60 * options.minutes), quiet=options.json)
    with without_collector():
        fleet.run(60 * options.minutes, progress.update)
    progress.close()
    took = time.perf_counter() - started
    sent = fleet.world.medium.counts["sent"]
    result = {
        "hotspots": options.hotspots,
        "minutes": options.minutes,
        "build_s": round(started - built, 2),
        "run_s": round(took, 2),
        "realtime_factor": round(60 * options.minutes / took, 1),
        "transmissions": sent,
        "us_per_transmission": round(1e6 * took / max(1, sent), 1),
        "rss_mib": resident_mib(),
        "digest": fleet.summary().digest,
    }
    show(result, options.json)
    return EXIT_OK


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result for a person, or as JSON."""
    if as_json:
        print_json(result)
        return
    for key, value in result.items():
        print(f"{key:<20} {value}")
