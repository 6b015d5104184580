"""The auditors' speed and calibration: `python -m bench.audit --json`.

Measures receptions per second into link statistics, and seconds for all tests over a network, on
one core. `--calibrate` prints the table of coverage_map/audit/calibrated.py: 34 honest networks of
300 hotspots (`bench.audit_networks`: city, suburb and farmland; a tenth of the drivers drops 80 %
of frames, others lack RSSI or can't set power; cuts, weeks offline, wrong clocks, moves), seeds
1000 to 1033, 200 epochs each, half of them with 60. Tests use other seeds. `--check` counts how
many honest hotspots exceed the threshold in as many networks that the calibration didn't see, seeds
from 3000 on.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from bench.audit_networks import honest_network
from chain.io_terminal import Progress, print_json
from coverage_map.audit.calibrated import THRESHOLD
from coverage_map.audit.links import compute_evidence
from coverage_map.audit.network import build_network
from coverage_map.audit.scores import TESTS, combine, judge, score_evidence

NETWORKS, HOTSPOTS = 34, 300
FIRST_SEED, CHECK_SEED = 1_000, 3_000


def epochs_of(number: int) -> int:
    """Epochs of the n-th network of the calibration."""
    return 200 if number % 2 == 0 else 60


def draw_nats(networks: int) -> np.ndarray:
    """Nats of all tests over honest networks, [hotspots, tests]."""
    progress, found = Progress("honest networks", networks), []
    for number in range(networks):
        hearings, claims, _ = honest_network(HOTSPOTS, epochs_of(number), FIRST_SEED + number)
        evidence = compute_evidence([hearings], claims)
        network = build_network(evidence, claims, np.zeros(len(claims), np.bool_))
        outcomes = judge(network, np.inf).outcomes
        found.append(np.column_stack([outcomes[test].nats for test in TESTS]))
        progress.update(number + 1)
    progress.close()
    return np.concatenate(found)


def compute_tail(nats: np.ndarray) -> tuple[float, float, float]:
    """Median, 99 % quantile, and mean excess beyond it, at least 1."""
    known = nats[~np.isnan(nats)]
    middle, rare = np.quantile(known, [0.5, 0.99])
    beyond = known[known > rare] - rare
    return float(middle), float(rare), max(1.0, float(beyond.mean()) if len(beyond) else 1.0)


def calibrate(networks: int) -> dict[str, object]:
    """Tails per test and the threshold at 0.1 %, from honest networks."""
    from coverage_map.audit import scores

    nats = draw_nats(networks)
    tails = {
        test: tuple(round(value, 2) for value in compute_tail(nats[:, column]))
        for column, test in enumerate(TESTS)
    }
    scores.TAILS.update(tails)
    combined = combine(scores.compute_surprises(nats))
    known = combined[~np.isnan(combined)]
    quantiles = {f"q{q}": round(float(np.quantile(known, q)), 2) for q in (0.99, 0.995, 0.999, 1)}
    return {"hotspots": len(known), "tails": tails, "combined": quantiles}


def check(networks: int) -> dict[str, object]:
    """Honest hotspots above the threshold, in networks of other seeds, with all rounds."""
    progress, combined = Progress("honest networks", networks), []
    for number in range(networks):
        hearings, claims, _ = honest_network(HOTSPOTS, epochs_of(number), CHECK_SEED + number)
        evidence = compute_evidence([hearings], claims)
        combined.append(score_evidence(evidence, claims).combined)
        progress.update(number + 1)
    progress.close()
    scores = np.concatenate(combined)
    known = scores[~np.isnan(scores)]
    above = int(np.count_nonzero(known > THRESHOLD))
    return {
        "hotspots": len(scores),
        "scored": len(known),
        "above": above,
        "fpr": round(above / len(known), 5),
        "highest": round(float(known.max()), 2),
    }


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
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    if options.calibrate:
        found = calibrate(options.networks)
    elif options.check:
        found = check(options.networks)
    else:
        found = dict(measure(options.hotspots, options.epochs))
    if options.json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name:<20}{value}")


if __name__ == "__main__":
    main()
