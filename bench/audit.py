"""The auditors' speed and calibration: `python -m bench.audit --json`.

Measures receptions per second into link statistics, and seconds for all tests over a network, on
one core. `--calibrate` prints the table of coverage_map/audit/calibrated.py: 34 honest networks of
300 hotspots each of `bench.audit_networks` (city, suburb and farmland; a tenth of the drivers drops
80 % of frames, others lack RSSI or can't set power; cuts, weeks offline, wrong clocks, moves that
are asserted, antennas that are carried to another window), seeds 1000 to 1033, and 34 of the attack
laboratory, seeds 2^33 + 1000 to 1033; 200 epochs each, half of them with 60. Tests use other seeds.
`--check` counts how many honest hotspots exceed the threshold in as many networks that the
calibration didn't see, seeds from 9000 and 2^33 + 9000 on, with Wilson's 95 % interval.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.audit_networks import honest_network
from chain.io_terminal import Progress, print_json
from coverage_map.audit.calibrated import TAILS, THRESHOLD
from coverage_map.audit.links import Evidence, compute_evidence
from coverage_map.audit.network import build_network
from coverage_map.audit.scores import (
    TESTS,
    combine,
    compute_surprises,
    judge,
    score_evidence,
)
from coverage_map.audit.table import Claims
from coverage_map.audit.trust import with_trust
from radio_sim.attacks.figures import compute_wilson
from radio_sim.attacks.presence import HONEST
from radio_sim.attacks.run import compute_open_trust_ppm, get_claims, make_world, run_hearings

Floats = NDArray[np.float64]

NETWORKS, HOTSPOTS = 34, 300
FIRST_SEED, CHECK_SEED = 1_000, 9_000
LAB_SEED = 1 << 33  # of the laboratory's networks: far from what people type, and from its pool
KINDS = ("bench", "laboratory")
Task = tuple[str, int, int]  # kind, seed, epochs
# A ratio of likelihoods of e^x is seen in e^-x of the honest at most, so that a tail of 1 a nat is
# on the safe side. That of `vouched` is shorter, by what 40,000 of them show.
LEAST_EXCESS = {"vouched": 0.5}


def epochs_of(number: int) -> int:
    """Epochs of the n-th network of the calibration."""
    return 200 if number % 2 == 0 else 60


def get_tasks(networks: int, seed: int) -> list[Task]:
    """So many networks of each kind."""
    return [
        (kind, seed + number + (LAB_SEED if kind == "laboratory" else 0), epochs_of(number))
        for number in range(networks)
        for kind in KINDS
    ]


def draw_evidence(task: Task) -> tuple[Evidence, Claims]:
    """An honest network as auditors see it."""
    kind, seed, epochs = task
    if kind == "bench":
        hearings, claims, _ = honest_network(HOTSPOTS, epochs, seed)
    else:
        world = make_world(HONEST, hotspots=HOTSPOTS, epochs=epochs, share=0.0, seed=seed)
        hearings = run_hearings(world)
        claims = get_claims(world, compute_open_trust_ppm(world, hearings))
    return compute_evidence([hearings], claims), claims


def draw_nats(task: Task) -> Floats:
    """Nats of all tests over an honest network, [hotspots, tests]."""
    evidence, claims = draw_evidence(task)
    claims = with_trust(claims, evidence.links)
    network = build_network(evidence, claims, np.zeros(len(claims), np.bool_))
    outcomes = judge(network, np.inf).outcomes
    return np.column_stack([outcomes[test].nats for test in TESTS])


def draw_scores(task: Task) -> Floats:
    """Scores of an honest network, with all rounds."""
    return score_evidence(*draw_evidence(task)).combined


def run_all(run: Callable[[Task], Floats], tasks: list[Task], processes: int) -> list[Floats]:
    """Results in the order of the tasks."""
    progress, found = Progress("honest networks", len(tasks)), []
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        for each in workers.imap(run, tasks):
            found.append(each)
            progress.update(len(found))
    progress.close()
    return found


def compute_tail(test: str, nats: np.ndarray) -> tuple[float, float, float]:
    """Median, 99 % quantile, and mean excess beyond it, at least LEAST_EXCESS or 1."""
    known = nats[~np.isnan(nats)]
    middle, rare = np.quantile(known, [0.5, 0.99])
    beyond = known[known > rare] - rare
    excess = max(LEAST_EXCESS.get(test, 1.0), float(beyond.mean()) if len(beyond) else 1.0)
    return round(float(middle), 2), round(float(rare), 2), round(excess, 2)


def calibrate(networks: int, processes: int) -> dict[str, object]:
    """Tails per test and the threshold at 0.1 %, from honest networks."""
    nats = np.concatenate(run_all(draw_nats, get_tasks(networks, FIRST_SEED), processes))
    tails = {test: compute_tail(test, nats[:, column]) for column, test in enumerate(TESTS)}
    TAILS.update(tails)
    combined = combine(compute_surprises(nats))
    known = combined[~np.isnan(combined)]
    quantiles = {f"q{q}": round(float(np.quantile(known, q)), 2) for q in (0.99, 0.995, 0.999, 1)}
    return {"hotspots": len(known), "tails": tails, "combined": quantiles}


def check(networks: int, processes: int) -> dict[str, object]:
    """Honest hotspots above the threshold, in networks of other seeds, with all rounds."""
    tasks = get_tasks(networks, CHECK_SEED)
    found = run_all(draw_scores, tasks, processes)
    answer: dict[str, object] = {}
    for kind in ("", *KINDS):
        parts = [each for task, each in zip(tasks, found, strict=True) if kind in ("", task[0])]
        scores = np.concatenate(parts)
        known = scores[~np.isnan(scores)]
        above = int(np.count_nonzero(known > THRESHOLD))
        low, high = compute_wilson(above, len(known))
        answer[kind or "all"] = {
            "hotspots": len(scores),
            "scored": len(known),
            "above": above,
            "fpr": round(above / len(known), 5),
            "fpr_low": round(low, 5),
            "fpr_high": round(high, 5),
            "highest": round(float(known.max()), 2),
        }
    return answer


def measure(hotspots: int, epochs: int) -> dict[str, float]:
    """Speed over one honest network; the compiler's time is left out by a small run before."""
    small, small_claims, _ = honest_network(60, 8, 1)
    score_evidence(compute_evidence([small], small_claims), small_claims)
    hearings, claims, _ = honest_network(hotspots, epochs, 2)
    start = time.process_time()
    evidence = compute_evidence([hearings], claims)
    gathered = time.process_time()
    score_evidence(evidence, claims)
    done = time.process_time()
    return {
        "hotspots": hotspots,
        "epochs": epochs,
        "receptions": len(hearings),
        "links": len(evidence.links),
        "rows_per_s_core": round(len(hearings) / (gathered - start)),
        "tests_s": round(done - gathered, 2),
        "hotspots_per_s_core": round(hotspots / (done - gathered)),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hotspots", type=int, default=1_000, help="size (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="length (default: %(default)s)")
    parser.add_argument("--calibrate", action="store_true", help="print the calibration instead")
    parser.add_argument("--check", action="store_true", help="count false positives instead")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="to calibrate by")
    parser.add_argument("--processes", type=int, default=2, help="at a time (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    if options.calibrate:
        found = calibrate(options.networks, options.processes)
    elif options.check:
        found = check(options.networks, options.processes)
    else:
        found = dict(measure(options.hotspots, options.epochs))
    if options.json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name:<20}{value}")


if __name__ == "__main__":
    main()
