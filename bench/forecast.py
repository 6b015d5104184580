"""The forecast beside simple ones, and what it is worth: `python -m bench.forecast --json`.

Per data set and horizon: WAPE and p90 pinball (over the mean load) of the model, persistence and
EWMA on held-out data, and the coverage of p90. Abilene and the replay are split by time; the 5G
traces are cross-validated by trace. `paths` is the mean delay of five flows in the fluid world
under shortest path, without a model and with one. Absent data sets are named with the reason.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from chain.errors import UserError
from chain.io_terminal import Progress, print_json
from routing.crossval import cross_validate
from routing.forecast import Forecaster
from routing.guard import EXPERTS, NO_MODEL, SHORTEST_PATH, GuardParams
from routing.io_datasets import HORIZONS, TRACES, load_series
from routing.model import TARGETS, Model
from routing.replay import World, run
from routing.router import Router, RouterParams
from routing.training import TrainOptions, train

_FOLDS = 5
_SEEDS = (2, 3)
_SECONDS = 300


def line(scores: dict[str, Any]) -> dict[str, Any]:
    """Return one horizon's figures under the names that the table of figures uses."""
    model = scores["model"]
    result = {key: model[key] for key in ("wape", "pinball90", "coverage90", "rows")}
    for name in ("persistence", "ewma", "seasonal"):
        if scores.get(name):
            result[f"wape_{name}"] = scores[name]["wape"]
            result[f"pinball90_{name}"] = scores[name]["pinball90"]
    return result


def by_time(name: str, traces: Path, quiet: bool) -> tuple[dict[str, Any], Model]:
    """Train on the past of a data set and score on its future."""
    series = load_series(name, traces)
    options = TrainOptions(horizons=HORIZONS[name])
    bar = Progress(name, len(options.horizons) * len(TARGETS), quiet=quiet)
    model = train(series, name, options, lambda done, _, note: bar.update(done, note))
    bar.close()
    lines = {
        f"{horizon * model.step_ms // 1_000}s": line(model.metrics[str(horizon)])
        for horizon in model.horizons
    }
    nearest = next(iter(lines.values()))
    return {**nearest, "split": "by time", "horizons": lines}, model


def by_trace(name: str, traces: Path, quiet: bool) -> dict[str, Any]:
    """Cross-validate a set of recordings at its nearest horizon."""
    series = load_series(name, traces)
    bar = Progress(name, _FOLDS * len(TARGETS), quiet=quiet)
    done = 0

    def step(note: str) -> None:
        nonlocal done
        done += 1
        bar.update(done, note)

    horizon = HORIZONS[name][0]
    scores = cross_validate(series, horizon, _FOLDS, TrainOptions(), step)
    bar.close()
    figures = line({key: value.as_json() for key, value in scores.items()})
    return {**figures, "split": f"by trace, {_FOLDS} folds", "horizon_s": horizon}


def paths(model: Model) -> dict[str, Any]:
    """Mean delay (us per 1,500 bytes) of the replay's flows, by who may choose."""
    rows = {
        "shortest_path": (None, (SHORTEST_PATH,)),
        "no_model": (None, (SHORTEST_PATH, NO_MODEL)),
        "model": (model, EXPERTS),
    }
    result: dict[str, Any] = {}
    for name, (chosen, allowed) in rows.items():
        total, changes = 0, 0
        for seed in _SEEDS:
            forecaster = Forecaster(chosen) if chosen else None
            router = Router(forecaster, RouterParams(guard=GuardParams(allowed=allowed)))
            outcome = run(World(seed), router, _SECONDS)
            total += outcome.mean_delay_us
            changes += outcome.changes
        result[name] = {"mean_delay_us": total // len(_SEEDS), "path_changes": changes}
    return result


def measure(traces: Path, quiet: bool) -> dict[str, Any]:
    """Run every part; what is absent is named with the reason."""
    result: dict[str, Any] = {"skipped": {}}
    for name in ("abilene", "ucc5g"):
        try:
            if name == "ucc5g":
                result[name] = by_trace(name, traces, quiet)
            else:
                result[name], _ = by_time(name, traces, quiet)
        except UserError as error:
            result["skipped"][name] = str(error)
    result["replay"], model = by_time("replay", traces, quiet)
    result["paths"] = paths(model)
    return result


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.forecast",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of the public traces")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    print_json(measure(options.traces, options.json))
    return 0


if __name__ == "__main__":
    sys.exit(main())
