"""`wavecomb routing`: the congestion forecast, and insights into what ails a mesh."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, add_command, print_json
from routing.charts import importance_svg
from routing.forecast.io_datasets import NAMES, SPANS, TRACES, horizons_for, load_series
from routing.forecast.model import TARGETS, Model, dump_model, export_model, load_model
from routing.forecast.refresh import refresh
from routing.forecast.tables import build_table, common_step_ms, cut_times, split
from routing.forecast.training import BASELINES, TrainOptions, evaluate, explain, train
from routing.io_insights import add_insights, run_insights

_DEFAULTS = TrainOptions()
_EXAMPLES = """
  wavecomb routing train --data replay -o model.json
  wavecomb routing train --data telemetry.csv -o model.json --json
  wavecomb routing evaluate --data telemetry.csv --model model.json
  wavecomb routing explain --model model.json --svg importance.svg
  wavecomb routing refresh --data newest.csv --model model.json -o model.json
  wavecomb routing export --model model.json -o model.wce
  wavecomb routing insights --data telemetry.csv
  wavecomb routing insights --gateway http://127.0.0.1:8300 --hotspot 7
"""


def build_parser() -> Parser:
    """Describe the command's arguments."""
    parser = Parser(
        prog="wavecomb routing",
        description="Train, evaluate, explain, refresh and export the congestion forecast; "
        "find hotspots about to fail and what the mesh wastes.",
        examples=_EXAMPLES,
    )
    commands = parser.add_commands()
    one = add_command(commands, "train", "train a model and write its file")
    _add_data(one)
    one.add_argument("-o", "--output", required=True, metavar="FILE", help="model to write (JSON)")
    one.add_argument(
        "--horizons", metavar="STEPS", help="steps ahead, such as 10,60 (default: 10 s and 60 s)"
    )
    one.add_argument(
        "--rounds",
        type=int,
        default=_DEFAULTS.rounds,
        metavar="N",
        help="most trees per booster (default: %(default)s)",
    )
    two = add_command(commands, "evaluate", "score a model beside simple forecasts")
    _add_data(two)
    two.add_argument("--model", required=True, metavar="FILE", help="model file")
    two.add_argument("--all", action="store_true", help="score on all data, not on its last part")
    three = add_command(commands, "explain", "show which features a model leans on")
    three.add_argument("--model", required=True, metavar="FILE", help="model file")
    three.add_argument(
        "--top", type=int, default=15, metavar="N", help="features to show (default: %(default)s)"
    )
    three.add_argument("--svg", metavar="FILE", help="also draw them into this SVG file")
    four = add_command(commands, "refresh", "bring a model up to date with newer data, in seconds")
    _add_data(four)
    five = add_command(commands, "export", "write a model for routers without LightGBM or NumPy")
    for command in (four, five):
        command.add_argument("--model", required=True, metavar="FILE", help="model file")
        command.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    for command in (one, two, three, four, five, add_insights(commands)):
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(NAMES)
    parser.add_argument(
        "--data", required=True, help=f"{names}, or a CSV file of link samples (docs/forecast.md)"
    )
    parser.add_argument(
        "--traces",
        type=Path,
        default=TRACES,
        metavar="DIR",
        help="folder of the public traces abilene, ucc5g and servegen",
    )


def parse_horizons(text: str) -> tuple[int, ...]:
    """Read steps such as `10,60`; UserError unless they are positive and ascending."""
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise UserError("--horizons", f"{text!r} is not a list of steps", "write for example 10,60")
    steps = tuple(int(part) for part in parts)
    if list(steps) != sorted(set(steps)) or steps[0] < 1:
        raise UserError("--horizons", "steps must be positive and ascending", "write 10,60")
    return steps


def read_model(path: str) -> Model:
    """Read a model file; UserError if it isn't one."""
    try:
        return load_model(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError("model", f"{path} is not text", "give a model file") from None


def _train(options: argparse.Namespace) -> int:
    if options.rounds < 1:
        raise UserError("--rounds", "must be at least 1", "leave it out for the default")
    if not Path(options.output).resolve().parent.is_dir():
        raise UserError("--output", f"{options.output}: no such folder", "make the folder first")
    series = load_series(options.data, options.traces)
    step_ms = common_step_ms(series)
    steps = options.horizons
    horizons = parse_horizons(steps) if steps else horizons_for(options.data, step_ms)
    bar = Progress(f"train {Path(options.data).name}", len(horizons) * len(TARGETS), quiet=False)
    bar.update(0)
    span = SPANS.get(options.data, 0)
    settings = TrainOptions(horizons=horizons, span=span, rounds=options.rounds)
    name = options.data if options.data in NAMES else Path(options.data).name
    model = train(series, name, settings, lambda done, _, note: bar.update(done, note))
    bar.close()
    Path(options.output).write_text(dump_model(model), encoding="utf-8")
    report = {
        "model": options.output,
        "data": model.data,
        "step_ms": model.step_ms,
        "horizons": list(model.horizons),
        "metrics": model.metrics,
    }
    if options.json:
        print_json(report)
    else:
        print(table_text(model.step_ms, model.metrics))
        print(f"wrote {options.output}")
    return EXIT_OK


def table_text(step_ms: int, metrics: dict[str, Any]) -> str:
    """Lay out metrics as a table: a row per horizon and forecaster."""
    lines = [f"{'ahead':>8}  {'forecast':<12}{'WAPE':>8}{'pinball90':>11}{'coverage90':>12}"]
    for horizon, result in metrics.items():
        ahead = f"{int(horizon) * step_ms / 1_000:g} s"
        for name in ("model", *BASELINES):
            row = result[name]
            if row is None:
                lines.append(f"{ahead:>8}  {name:<12}{'no day of history':>18}")
            else:
                figures = f"{row['wape']:8.4f}{row['pinball90']:11.4f}{row['coverage90']:12.3f}"
                lines.append(f"{ahead:>8}  {name:<12}{figures}")
    return "\n".join(lines)


def _evaluate(options: argparse.Namespace) -> int:
    model = read_model(options.model)
    series = load_series(options.data, options.traces)
    step_ms = common_step_ms(series)
    if step_ms != model.step_ms:
        problem = f"sampled every {step_ms} ms, the model every {model.step_ms} ms"
        raise UserError("--data", problem, "train a model on data like this")
    # The start of the data always calibrates the baselines; a foreign trace needs no more.
    shares = (0.9, 0.1) if options.all else (_DEFAULTS.test_share, _DEFAULTS.calibration_share)
    cuts = cut_times(series, *shares)
    metrics = {}
    for horizon in model.horizons:
        parts = split(build_table(series, horizon, int(model.options["span"])), *cuts)
        if parts.test.length == 0 or parts.calibrate.length == 0:
            raise UserError("--data", "too short to score on", "give a longer trace")
        metrics[str(horizon)] = evaluate(model, parts)
    if options.json:
        print_json({"data": options.data, "step_ms": step_ms, "metrics": metrics})
    else:
        print(table_text(step_ms, metrics))
    return EXIT_OK


def _explain(options: argparse.Namespace) -> int:
    model = read_model(options.model)
    shares = explain(model)[: max(1, options.top)]
    if options.svg:
        Path(options.svg).write_text(importance_svg(shares), encoding="utf-8")
    if options.json:
        features = [{"feature": name, "gain": round(share, 6)} for name, share in shares]
        print_json({"data": model.data, "horizons": list(model.horizons), "features": features})
        return EXIT_OK
    data = model.data
    print(f"trained on {data['name']}: {data['links']} links, {data['samples']} samples,")
    print(f"data sha256 {data['sha256']}")
    for name, share in shares:
        print(f"{name:<16}{100 * share:6.1f} %  {'#' * round(100 * share)}")
    return EXIT_OK


def _refresh(options: argparse.Namespace) -> int:
    model = read_model(options.model)
    series = load_series(options.data, options.traces)
    name = options.data if options.data in NAMES else Path(options.data).name
    fresh, done = refresh(model, series, name)
    write_whole(options.output, dump_model(fresh).encode())
    if options.json:
        print_json({"model": options.output, "data": fresh.data["refreshed"], "boosters": done})
    else:
        words = {"trees": "more trees", "refit": "new leaves", "kept": "better as it was"}
        for key, way in done.items():
            print(f"{key:<14}{words[way]}")
        print(f"wrote {options.output}")
    return EXIT_OK


def _export(options: argparse.Namespace) -> int:
    model = read_model(options.model)
    blob = export_model(model).to_bytes()
    write_whole(options.output, blob)
    trees = {key: len(table.trees) for key, table in export_model(model).tables.items()}
    if options.json:
        print_json({"output": options.output, "bytes": len(blob), "trees": trees})
    else:
        print(f"wrote {options.output}: {len(trees)} tables, {len(blob)} bytes")
    return EXIT_OK


def write_whole(path: str, content: bytes) -> None:
    """Write a file at once, so that who reads it while it changes sees the old or the new one."""
    target = Path(path)
    if not target.resolve().parent.is_dir():
        raise UserError("--output", f"{path}: no such folder", "make the folder first")
    beside = target.with_name(target.name + ".new")
    beside.write_bytes(content)
    beside.replace(target)


def main(argv: Sequence[str]) -> int:
    """Run `wavecomb routing` and return the exit code."""
    options = build_parser().parse_args(argv)
    commands = {
        "train": _train,
        "evaluate": _evaluate,
        "explain": _explain,
        "refresh": _refresh,
        "export": _export,
        "insights": run_insights,
    }
    return commands[options.command](options)
