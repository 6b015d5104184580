"""The virtual network's speed: `python -m bench.world --hotspots 10000 --json`.

A seeded city of shipping hotspot nodes in which a beacon is heard by about twenty others, with a
ledger in memory, on one core: signatures, verdicts, epoch closes and settlements included. Each
cadence is a run of its own: four epochs to get going, until every epoch closes with verdicts, then
what is measured.

  cadence   preset    beacons per hotspot       measured   key
  epoch     mainnet   1 per epoch of 600 s      6 epochs   realtime_factor
  minute    testbed   1 per epoch of 60 s       10 epochs  realtime_factor_minute
  mainnet   mainnet   4 per epoch, as it is     3 epochs   realtime_factor_mainnet
  testbed   testbed   6 per epoch, as it is     5 epochs   realtime_factor_testbed

`--preset NAME` instead runs a sparser city (nine others hear a beacon) from its first second on.
By default who hears the same bytes shares one check of their signature (its outcome is a function
of these bytes); `--verify every` makes each receiver check by itself. Factors are by the wall
clock, `..._cpu` by processor time, which other programs disturb less. The last line is JSON; the
same arguments give the same digests. Without --json progress goes to stderr.

`rss_mib` rises for a while and then stays: the ledger keeps the ids of its newest 65,536 records,
by which it knows what comes again (105 bytes each; 1,000 hotspots at an epoch a minute fill that in
65 minutes), each node a second row of 64 secrets from epoch 64 on (4 KiB), and the reader of
messages 1,024 layouts by their lengths.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from chain.io_terminal import Progress
from radio_sim.city import HOTSPOTS_PER_KM2, make_city
from radio_sim.fleet import Fleet
from radio_sim.io_memory import resident_mib, without_collector

RSS_SAMPLES = 6  # beside the one at the start: memory that only grows shows as a slope
WARMUP_EPOCHS = 4
PER_KM2 = 28.0  # at which a beacon is heard by twenty others


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often hotspots beacon, and how many epochs of that are measured."""

    preset: str
    beacons: int | None
    epochs: int
    key: str


CADENCES = {
    "epoch": Cadence("mainnet", 1, 6, "realtime_factor"),
    "minute": Cadence("testbed", 1, 10, "realtime_factor_minute"),
    "mainnet": Cadence("mainnet", None, 3, "realtime_factor_mainnet"),
    "testbed": Cadence("testbed", None, 5, "realtime_factor_testbed"),
}


def measure(fleet: Fleet, seconds: float, name: str, quiet: bool) -> dict[str, Any]:
    """Run a fleet for some simulated seconds; its figures for that time."""
    counts = fleet.world.medium.counts
    sent, delivered = counts["sent"], counts["delivered"]
    wall, cpu = time.perf_counter(), time.process_time()
    rss_mib = run_with_progress(fleet, seconds, name, quiet)
    took, cpu_took = time.perf_counter() - wall, time.process_time() - cpu
    sent, delivered = counts["sent"] - sent, counts["delivered"] - delivered
    return {
        "simulated_s": round(seconds),
        "realtime_factor": round(seconds / took, 2),
        "realtime_factor_cpu": round(seconds / cpu_took, 2),
        "run_s": round(took, 2),
        "transmissions": sent,
        "heard_by": round(delivered / max(1, sent), 2),
        "us_per_transmission": round(1e6 * cpu_took / max(1, sent), 1),
        "us_per_reception": round(1e6 * cpu_took / max(1, delivered), 2),
        "rss_mib": rss_mib,
    }


def run_with_progress(fleet: Fleet, seconds: float, name: str, quiet: bool) -> list[int]:
    """Run a fleet under a progress bar; resident memory on the way, in MiB."""
    rss_mib, progress = [resident_mib()], Progress(name, round(seconds), quiet=quiet)

    def note(done: int, text: str) -> None:
        progress.update(done, text)
        if done * RSS_SAMPLES >= len(rss_mib) * seconds:
            rss_mib.append(resident_mib())

    with without_collector():
        fleet.run(seconds, note)
    progress.close()
    return rss_mib


def build(options: argparse.Namespace, preset: str, beacons: int | None, per_km2: float) -> Fleet:
    """A city's fleet at the start of its run."""
    city = make_city(options.hotspots, options.seed, per_km2=per_km2)
    every = options.verify == "every"
    return Fleet(city, options.seed, preset, beacons=beacons, verify_every=every)


def timed(make: Callable[[], Fleet], name: str, quiet: bool) -> tuple[Fleet, float]:
    """A fleet, and the seconds that it took to build; 10,000 hotspots take about fifteen."""
    progress = Progress(name, 1, quiet=quiet)
    progress.update(0, "keys, links, registrations")
    started = time.perf_counter()
    fleet = make()
    progress.close()
    return fleet, round(time.perf_counter() - started, 2)


def outcome(fleet: Fleet) -> dict[str, Any]:
    """What a run came to, as far as its seed decides it."""
    summary = fleet.summary()
    names = ("verdicts", "records_refused", "ledger_root", "digest")
    return {name: getattr(summary, name) for name in names}


def run_cadence(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """One cadence: build, get going, measure."""
    cadence = CADENCES[name]
    fleet, build_s = timed(
        partial(build, options, cadence.preset, cadence.beacons, options.per_km2 or PER_KM2),
        *(f"{name}: building", options.json),
    )
    epoch_s = fleet.params.epoch_ms / 1000
    run_with_progress(fleet, WARMUP_EPOCHS * epoch_s, f"{name}: warm-up", options.json)
    seconds = 60 * options.minutes if options.minutes else cadence.epochs * epoch_s
    result = measure(fleet, seconds, name, options.json)
    per_epoch = cadence.beacons or fleet.params.beacons_per_epoch
    return {"preset": cadence.preset, "beacons_per_epoch": per_epoch, "build_s": build_s} | (
        result | outcome(fleet)
    )


def run_preset(options: argparse.Namespace) -> dict[str, Any]:
    """A preset as it is, in the sparser city, from its first second on."""
    density = options.per_km2 or HOTSPOTS_PER_KM2
    make = partial(build, options, options.preset, None, density)
    fleet, build_s = timed(make, "building", options.json)
    seconds = 60 * (options.minutes or 60.0)
    result = measure(fleet, seconds, "simulating", options.json)
    return {"preset": options.preset, "build_s": build_s} | result | outcome(fleet)


def run_cadences(options: argparse.Namespace) -> dict[str, Any]:
    """All cadences asked for, their factors on top and one digest over theirs."""
    runs = {name: run_cadence(options, name) for name in options.cadence.split(",")}
    factors: dict[str, Any] = {}
    for name, run in runs.items():
        factors[CADENCES[name].key] = run["realtime_factor"]
        factors[CADENCES[name].key + "_cpu"] = run["realtime_factor_cpu"]
    joined = "".join(run["digest"] for run in runs.values())
    return factors | {
        "digest": hashlib.sha256(joined.encode()).hexdigest(),
        "degree": {name: run["heard_by"] for name, run in runs.items()},
        "rss_mib_max": max(max(run["rss_mib"]) for run in runs.values()),
        "runs": runs,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=1000)
    parser.add_argument("--minutes", type=float, help="simulated time to measure")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cadence", default="epoch,minute", help="default: %(default)s")
    parser.add_argument("--preset", help="run this preset instead (60 minutes by default)")
    parser.add_argument("--per-km2", type=float, help=f"hotspots per km2 (default: {PER_KM2:g})")
    parser.add_argument("--verify", choices=("once", "every"), default="once")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    unknown = set(options.cadence.split(",")) - set(CADENCES)
    if unknown:
        parser.error(f"--cadence: no {sorted(unknown)[0]!r}; use {', '.join(CADENCES)}")
    return options


def main() -> int:
    """Run and print."""
    options = parse()
    result = run_preset(options) if options.preset else run_cadences(options)
    head = {"hotspots": options.hotspots, "seed": options.seed, "verify": options.verify}
    print(json.dumps(head | {"workers": 1} | result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
