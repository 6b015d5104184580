"""How near plans come to hindsight: `python -m bench.te --json [--matrices NPZ --topology FILE]`.

Every step decides on the matrices so far and is scored on the next one: its maximum utilisation
over what was possible in hindsight. The forecast is trained on the first five sevenths (of Abilene:
until 2004-03-10) and the rest is the test. One pass gives all rows: `mlu_ratio_*` is the plan that
the guard used; `rows` has what each expert's plan would have had then: `shortest_path`, `no_model`
(convex cost on the last matrix), `scenarios` (persistence, no model either), `model`.
`poisoned_mean` is the worst of five poisons over the last `--poison-steps` steps, beside no_model's
on the same steps. `meshes`, `times` and `own` are shares of the optimum on measured meshes,
processor time of a step, and delays of a hotspot's own flows in the replay (docs/routing.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.te_meshes import measure_meshes, measure_times
from bench.te_own import measure_own
from chain.errors import UserError
from chain.io_terminal import Progress, print_json
from routing.forecast.io_datasets import TRACES
from routing.guard import NO_MODEL
from routing.plan.demands import DemandTable, train_demands
from routing.plan.io_matrices import Matrices, load_matrices
from routing.plan.network import Array
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import Plan, moved_share, utilisation_of
from routing.plan.planner import Planner, PlannerParams
from routing.plan.scenarios import DemandForecast

_TRAIN = 5 / 7
_WARM_UP = 24
_LEAST_TAUGHT = 36
MOST_STEPS = 4_032  # two weeks of five minutes; a network of 12 nodes plans ten a second
PARTS = ("abilene", "geant", "meshes", "times", "own")
_KNOWN = {
    "abilene": ("abilene_5min_4032tm_mbps.npz", "abilene_topology_caps_ospf.txt"),
    "geant": ("geant_15min_324tm_sndlib.npz", "geant.xml"),
}
Forecasts = dict[int, Array]
Poison = Callable[[Forecasts, int], DemandForecast]


def honest(forecasts: Forecasts, step: int) -> DemandForecast:
    """Return the forecast as made."""
    return DemandForecast(step, forecasts[step])


def permuted(forecasts: Forecasts, step: int) -> DemandForecast:
    """Give every pair another one's demand, the same way every time."""
    order = np.random.default_rng(7).permutation(len(forecasts[step]))
    return DemandForecast(step, forecasts[step][order])


def frozen(forecasts: Forecasts, step: int) -> DemandForecast:
    """Say for ever what was said first, as if it were new."""
    return DemandForecast(step, forecasts[min(forecasts)])


def stale(forecasts: Forecasts, step: int) -> DemandForecast:
    """Stop being fed."""
    return replace(frozen(forecasts, step), made_step=min(forecasts))


def not_a_number(forecasts: Forecasts, step: int) -> DemandForecast:
    """Break down."""
    return DemandForecast(step, np.full_like(forecasts[step], np.nan))


def suddenly_bad(forecasts: Forecasts, step: int) -> DemandForecast:
    """Be honest for a third of the time, and permuted after that."""
    first, last = min(forecasts), max(forecasts)
    return (honest if 3 * (step - first) < last - first else permuted)(forecasts, step)


POISONS: dict[str, Poison] = {
    "permuted": permuted,
    "frozen": frozen,
    "stale": stale,
    "not_a_number": not_a_number,
    "suddenly_bad": suddenly_bad,
}


class Race:
    """Runs planners over one data set; hindsight's optima are worked out once."""

    def __init__(self, data: Matrices, most_steps: int, quiet: bool) -> None:
        self.data, self._quiet = data, quiet
        self._edges = EdgeProgram(data.network, data.pairs)
        self._optima: dict[int, float] = {}
        self.first = int(len(data.demands_kbps) * _TRAIN)
        table = DemandTable(data.demands_kbps, data.pairs, data.step_s, data.start_s)
        begin = self.first - 1 - _WARM_UP
        if begin < _LEAST_TAUGHT:
            least = int((_LEAST_TAUGHT + 1 + _WARM_UP) / _TRAIN) + 1
            problem = f"{len(data.demands_kbps)} of them are too few to train and test on"
            raise UserError("--matrices", problem, f"give at least {least}")
        model = train_demands(table, begin)
        self.first = max(self.first, len(data.demands_kbps) - most_steps)
        steps = range(max(begin, self.first - 1 - _WARM_UP), len(data.demands_kbps) - 1)
        self.forecasts = {step: model.predict(table, step) for step in steps}

    def optimum(self, step: int) -> float:
        """Return the least maximum utilisation that was possible."""
        if step not in self._optima:
            flow = self._edges.solve(self.data.demands_kbps[step])
            self._optima[step] = flow.utilisation if flow else 0.0
        return self._optima[step]

    def run(self, poison: Poison, first: int, last: int, params: PlannerParams) -> dict[str, Any]:
        """Plan steps first .. last - 1 (after a warm-up) and score each on the step after it."""
        data, demands = self.data, self.data.demands_kbps
        planner = Planner(data.network, data.pairs, params)
        used: list[Plan] = []
        ratios: dict[str, list[float]] = {"used": []}
        moved: dict[str, list[float]] = {"used": []}
        before: dict[str, Plan] = {}
        begin = max(0, first - _WARM_UP)
        here = {step: self.forecasts[step] for step in range(begin, last)}
        bar = Progress(poison.__name__, last - begin, quiet=self._quiet)
        for step in range(begin, last):
            said = poison(here, step)
            own_step = replace(said, made_step=said.made_step - begin)
            used.append(planner.step(demands[step], own_step))
            bar.update(step - begin)
            if step < first or not data.is_known[step + 1] or self.optimum(step + 1) <= 0:
                continue
            now = demands[step + 1]
            plans = {"used": planner.plan, **planner.plans}
            for name, plan in plans.items():
                top = utilisation_of(data.network, plan, now[None, :]).max()
                ratios.setdefault(name, []).append(float(top) / self.optimum(step + 1))
                if name in before:
                    moved.setdefault(name, []).append(moved_share(before[name], plan, now))
            before = plans
        bar.close()
        rows = {name: _row(ratios[name], moved.get(name, [])) for name in ratios if ratios[name]}
        return {"rows": rows, "experts": _counts([plan.expert for plan in used[first - begin :]])}


def _row(ratios: list[float], moved: list[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(ratios)), 4),
        "p95": round(float(np.quantile(ratios, 0.95)), 4),
        "p99": round(float(np.quantile(ratios, 0.99)), 4),
        "churn": round(float(np.mean(moved)), 5) if moved else 0.0,
        "steps": len(ratios),
    }


def _counts(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def measure(
    data: Matrices, poison_steps: int, quiet: bool, most_steps: int = MOST_STEPS
) -> dict[str, Any]:
    """Run the honest forecast over the whole test and every poison over its end.

    Of a long test the last `most_steps` are run; `notes` say what was odd about the data.
    """
    race, params = Race(data, most_steps, quiet), PlannerParams()
    end = len(data.demands_kbps) - 1
    clean = race.run(honest, race.first - 1, end, params)
    if "used" not in clean["rows"]:
        raise UserError("--matrices", "no test step has demand", "give data with fewer gaps")
    used = clean["rows"].pop("used")
    result = {
        "mlu_ratio_mean": used["mean"],
        "mlu_ratio_p99": used["p99"],
        "churn": used["churn"],
        "no_model_mean": clean["rows"][NO_MODEL]["mean"],
        "steps": used["steps"],
        **clean,
    }
    start = max(race.first - 1, end - poison_steps)
    poisoned = {n: race.run(p, start, end, params) for n, p in POISONS.items()}
    if any("used" not in run["rows"] for run in poisoned.values()):
        raise UserError("--poison-steps", "no step of them has demand", "give more of them")
    worst = max(poisoned, key=lambda name: poisoned[name]["rows"]["used"]["mean"])
    result["poisoned_mean"] = poisoned[worst]["rows"]["used"]["mean"]
    result["poisoned_no_model_mean"] = poisoned[worst]["rows"][NO_MODEL]["mean"]
    result["poisoned"] = {
        name: {**run["rows"]["used"], "experts": run["experts"]} for name, run in poisoned.items()
    }
    return {**result, "notes": list(data.notes)} if data.notes else result


def build_parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.te",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forms = "NPZ (tm, ts, names), text, or a folder, tar or zip of SNDlib demand files"
    parser.add_argument("--matrices", type=Path, metavar="PATH", help=forms)
    forms = "numbered text, edge list, REPETITA, SNDlib XML or native, node-link JSON"
    parser.add_argument("--topology", type=Path, metavar="FILE", help=forms)
    parser.add_argument(
        "--most-steps", type=int, default=MOST_STEPS, metavar="N", help="test on the last N only"
    )
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of the public traces")
    parser.add_argument(
        "--poison-steps", type=int, default=144, metavar="N", help="length of each poisoned run"
    )
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    return parser


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for; Abilene's figures lead, absent data is named."""
    result: dict[str, Any] = {"skipped": {}}
    for name, files in _KNOWN.items():
        paths = [options.traces / name / file for file in files]
        if options.only not in (None, name):
            continue
        if not all(path.is_file() for path in paths):
            result["skipped"][name] = "not there: name the folder with --traces"
            continue
        data = load_matrices(*paths)
        figures = measure(data, options.poison_steps, options.json, options.most_steps)
        result = {**result, **figures} if name == "abilene" else {**result, name: figures}
    if options.only in (None, "meshes"):
        result["meshes"] = measure_meshes(options.traces / "mesh", options.json)
    if options.only in (None, "times"):
        result["times"] = measure_times(options.traces / "mesh")
    if options.only in (None, "own"):
        result["own"] = measure_own()
    return result


def main() -> int:
    """Measure and print."""
    options = build_parser().parse_args()
    try:
        if options.matrices or options.topology:
            if not (options.matrices and options.topology):
                raise UserError("--matrices", "needs --topology, and the reverse", "give both")
            data = load_matrices(options.matrices, options.topology)
            result = measure(data, options.poison_steps, options.json, options.most_steps)
        else:
            result = run_all(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print_json(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
