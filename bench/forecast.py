"""The forecast beside simple ones, and what it is worth: `python -m bench.forecast --json`.

Per data set and horizon: WAPE and p90 pinball (over the mean load) of the model, persistence and
EWMA on held-out data, and the coverage of p90. Abilene, ServeGen and the replay are split by time;
the 5G traces are cross-validated by trace, row by row as published errors are (`ucc5g`) and on even
seconds (`ucc5g_seconds`). `later` trains on the first fifth of a data set only and says how p90
covers each later tenth of it: as trained (`frozen`) and as in service (`online`). `refresh_s` is
the time that 20,000 rows take, per booster; `table` is the router's table of 100 trees of 31
leaves. `ttft` is the time to first token of AI requests (bench/forecast_ttft.py). `paths` is the
mean delay of five flows in the fluid world under shortest path, without a model and with one.
Absent data sets are named with the reason.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from bench.forecast_ttft import SPEEDS, measure_ttft
from chain.errors import UserError
from chain.io_terminal import Progress, print_json
from routing.forecast.crossval import cross_validate
from routing.forecast.evaluation import score
from routing.forecast.io_datasets import HORIZONS, SPANS, TRACES, load_series
from routing.forecast.live import Forecaster
from routing.forecast.model import TARGETS, Model, predict_ratio
from routing.forecast.online import apply_online
from routing.forecast.refresh import RefreshOptions, refresh_booster
from routing.forecast.table import table_of_booster
from routing.forecast.tables import build_table, cut_times, split
from routing.forecast.training import TrainOptions, apply_model, assemble, fit_all, fit_split, train
from routing.guard import EXPERTS, NO_MODEL, SHORTEST_PATH, GuardParams
from routing.replay import World, replay_series, run
from routing.router import Router, RouterParams

_FOLDS = 10
# Few leaves where few days are known; columns drawn more sparsely where many say the same.
_OPTIONS: dict[str, dict[str, Any]] = {
    "servegen": {"leaves": 7, "rounds": 300, "feature_share": 0.4},
    "ucc5g-rows": {
        "feature_share": 0.4,
        "rounds": 350,
        "learning_rate": 0.03,
        "min_leaf_rows": 100,
    },
}
_HEADLINE = {"servegen": 6}  # the horizon whose figures stand for the data set
_EARLY_SHARE, _LATER_PARTS = 0.2, 10
_ROWS = 20_000
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


def options_for(name: str) -> TrainOptions:
    """Return the training options of a data set."""
    return TrainOptions(
        horizons=HORIZONS[name], span=SPANS.get(name, 0), **_OPTIONS.get(name, {})
    )


def by_time(name: str, traces: Path, quiet: bool) -> tuple[dict[str, Any], Model]:
    """Train on the past of a data set and score on its future."""
    series = load_series(name, traces)
    options = options_for(name)
    bar = Progress(name, len(options.horizons) * len(TARGETS), quiet=quiet)
    model = train(series, name, options, lambda done, _, note: bar.update(done, note))
    bar.close()
    lines = {
        f"{horizon * model.step_ms // 1_000}s": line(model.metrics[str(horizon)])
        for horizon in model.horizons
    }
    main = lines[f"{_HEADLINE.get(name, model.horizons[0]) * model.step_ms // 1_000}s"]
    return {**main, "split": "by time", "horizons": lines}, model


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
    scores = cross_validate(series, horizon, _FOLDS, options_for(name), step)
    bar.close()
    figures = line({key: value.as_json() for key, value in scores.items()})
    return {**figures, "split": f"by trace, {_FOLDS} folds", "horizon_s": horizon}


def later(name: str, traces: Path) -> dict[str, Any]:
    """Train once on the first fifth; score the coverage of p90 on the rest and on its last tenth.

    The last tenth of two weeks is as far from the training as the data reaches; `frozen` keeps the
    offsets of training, `online` moves them as in service.
    """
    series = load_series(name, traces)
    horizon = _HEADLINE.get(name, HORIZONS[name][0])
    options = replace(options_for(name), horizons=(horizon,))
    calibrate_ms, test_ms = cut_times(series, 1.0 - _EARLY_SHARE, _EARLY_SHARE / 4)
    parts = split(build_table(series, horizon, options.span), calibrate_ms, test_ms)
    fitted = {horizon: fit_split(parts, options, lambda _: None)}
    model = assemble(series, name, options, fitted, {})
    highs = {
        "frozen": apply_model(model, parts.test)["load_p90"],
        "online": apply_online(model, TARGETS[1], parts.test),
    }
    last = parts.test.time_ms >= np.quantile(parts.test.time_ms, 1.0 - 1.0 / _LATER_PARTS)
    days = float(parts.test.time_ms.max() - test_ms) / 86_400_000
    result: dict[str, Any] = {"days": round(days, 1)}
    for kind, high in highs.items():
        hit = parts.test.load <= high
        result[kind] = round(float(np.mean(hit)), 4)
        result[f"{kind}_last"] = round(float(np.mean(hit[last])), 4)
        result[f"{kind}_pinball90"] = score(parts.test.load, high, high).as_json()["pinball90"]
    return result


def refreshing() -> dict[str, Any]:
    """Time of 20,000 rows by both ways of refreshing, after training on as many; best of three."""
    table = build_table(replay_series(1, 900), 10)
    old, new = (table.select(np.arange(table.length) // _ROWS == part) for part in (0, 1))
    options, target = TrainOptions(horizons=(10,)), TARGETS[0]
    text = fit_all(old, target, options, 200)
    result: dict[str, Any] = {"rows": new.length}
    for way, most in (("trees", 10_000), ("refit", 0)):
        settings = RefreshOptions(most_trees=most)

        def work(settings: RefreshOptions = settings) -> object:
            return refresh_booster(text, new, target, options, settings)

        result[f"{way}_s"] = round(min(_seconds(work) for _ in range(3)), 3)
    return result


def table_figures(rows: int = 2_000) -> dict[str, Any]:
    """Size of the router's table of 100 trees, time per row, and rows that differ from LightGBM."""
    table = build_table(replay_series(1, 300), 10)
    text = fit_all(table, TARGETS[0], TrainOptions(horizons=(10,)), 100)
    small = table_of_booster(text)
    matrix = table.matrix[:rows]
    plain = matrix.tolist()
    seconds = min(_seconds(lambda: [small.predict(row) for row in plain]) for _ in range(3))
    expected = predict_ratio(lightgbm.Booster(model_str=text), matrix).tolist()
    differ = sum(small.predict(row) != y for row, y in zip(plain, expected, strict=True))
    return {
        "bytes": len(small.to_bytes()),
        "us_per_row": round(1e6 * seconds / len(plain), 1),
        "rows": len(plain),
        "rows_that_differ": differ,
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


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
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "abilene": lambda: by_time("abilene", traces, quiet)[0],
        "servegen": lambda: by_time("servegen", traces, quiet)[0],
        "ucc5g": lambda: by_trace("ucc5g-rows", traces, quiet),
        "ucc5g_seconds": lambda: by_trace("ucc5g", traces, quiet),
        "ttft": lambda: {name: measure_ttft(name) for name in SPEEDS},
        "later": lambda: {name: later(name, traces) for name in ("abilene", "servegen")},
    }
    for name, part in parts.items():
        try:
            result[name] = part()
        except UserError as error:
            result["skipped"][name] = str(error)
    result["refresh"] = refreshing()
    result["table"] = table_figures()
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
