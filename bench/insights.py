"""How well failing hotspots are foreseen: `python -m bench.insights --json [--write FILE]`.

Meshes of 40 hotspots for 7 days (radio_sim/trouble.py), by seeds in three parts that share nothing:
trees learn on the first, thresholds and the rule's limits are chosen on the second, and figures
come from the third. `precision`, `recall` and `lead_minutes` are of the trees with what gossip
carries; `with_snr` has a driver's SNR besides; `rule_*` is the best of 80 threshold rules, in the
same run. `recall_possible` is what is left without failures that give no sign.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import process_time
from typing import Any

from chain.io_terminal import Progress, print_json
from radio_sim.trouble import make_record
from routing.insights.failures import (
    FailureModel,
    Quality,
    Told,
    best_rule,
    best_threshold,
    judge,
    told_of,
    train_failures,
)

TRAIN, CHOOSE, TEST = 1, 1_001, 2_001  # first seeds


def meshes(first: int, count: int, has_snr: bool, bar: Progress) -> tuple[list[Told], list[str]]:
    """Return meshes by seed, and the causes of all their failures."""
    made, causes = [], []
    for seed in range(first, first + count):
        record = make_record(seed, has_snr=has_snr)
        made.append(told_of(record.grid, {f.hotspot: f.step for f in record.failures}))
        causes += [failure.cause for failure in record.failures]
        bar.update(seed - first + 1)
    return made, causes


def figures(quality: Quality) -> dict[str, float]:
    """Return the figures of one judgement."""
    return {
        "precision": round(quality.precision, 4),
        "recall": round(quality.recall, 4),
        "f1": round(quality.f1, 4),
        "lead_minutes": quality.lead_minutes,
        "alarms": quality.alarms,
        "failures": quality.failures,
    }


def measure(options: argparse.Namespace) -> tuple[FailureModel, dict[str, Any]]:
    """Train, choose and test."""
    begin = process_time()
    bar = Progress("meshes", options.train, quiet=options.json)
    seen = [m for snr in (False, True) for m in meshes(TRAIN, options.train, snr, bar)[0]]
    chosen = {s: meshes(CHOOSE, options.choose, s, bar)[0] for s in (False, True)}
    bar.close()
    table = train_failures(seen, options.rounds)
    model = FailureModel(table, 0.5, {})
    both = [*chosen[False], *chosen[True]]
    threshold = best_threshold(both, [model.probabilities(mesh.signs) for mesh in both])
    rule = best_rule(chosen[False])
    result: dict[str, Any] = {"train_s": round(process_time() - begin, 1), "threshold": threshold}
    for has_snr in (False, True):
        test, causes = meshes(TEST, options.test, has_snr, bar)
        scores = [model.probabilities(mesh.signs) for mesh in test]
        own = figures(judge(test, scores, threshold))
        result |= {"with_snr": own} if has_snr else own
        if not has_snr:
            plain = judge(test, [rule.scores(mesh.signs) for mesh in test], 0.5)
            result |= {f"rule_{name}": value for name, value in figures(plain).items()}
            silent = causes.count("sudden") / max(1, len(causes))
            result["recall_possible"] = round(1.0 - silent, 4)
    result["bytes"] = len(table.to_bytes())
    told = ("precision", "recall", "lead_minutes", "rule_f1", "f1")
    kept = {name: result[name] for name in told} | {"with_snr": result["with_snr"]["f1"]}
    return FailureModel(table, threshold, kept), result


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.insights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, count in (("train", 30), ("choose", 10), ("test", 15), ("rounds", 250)):
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the model")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    model, result = measure(options)
    if options.write:
        options.write.write_text(model.to_json(), encoding="ascii")
    print_json(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
