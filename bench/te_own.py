"""The live half of bench/te.py: heavy flows of one hotspot, with plans in its router or without."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from time import process_time
from typing import Any

from routing.guard import EXPERTS, NO_MODEL, PLAN, SHORTEST_PATH, GuardParams
from routing.plan.own import CHURN, OwnPlanner, OwnPlanParams
from routing.plan.program import ProgramParams
from routing.replay import Flow, World, run
from routing.router import Router, RouterParams

TARGETS = (15, 15, 12, 3, 10, 14, 7, 13)
KBPS = (1_500, 1_500, 1_200, 1_500, 1_500, 1_000, 500, 900)
FLOWS = tuple(Flow(0, target, kbps) for target, kbps in zip(TARGETS, KBPS, strict=True))
ROWS = {
    "shortest_path": (SHORTEST_PATH,),
    "no_model": (SHORTEST_PATH, NO_MODEL),
    "plan": (SHORTEST_PATH, PLAN),
    "all": EXPERTS,
}


def measure_own(seconds: int = 300, seeds: Sequence[int] = range(2, 8)) -> dict[str, Any]:
    """Return delay, path changes and the router's time per second, the mean of some worlds.

    `worlds` has the delay in each, since one world more or less moves a mean.
    """
    result: dict[str, Any] = {}
    for name, allowed in ROWS.items():
        runs, begin = [], process_time()
        for seed in seeds:
            wired = OwnPlanParams(wired=True, program=ProgramParams(CHURN))
            planner = OwnPlanner(wired) if PLAN in allowed else None
            router = Router(None, RouterParams(guard=GuardParams(allowed=allowed)), planner)
            runs.append(run(World(seed), router, seconds, FLOWS))
        spent_s = process_time() - begin
        result[name] = {
            "mean_delay_us": round(mean(one.mean_delay_us for one in runs)),
            "changes": round(mean(one.changes for one in runs), 1),
            "ms_per_s": round(1_000 * spent_s / (seconds * len(seeds)), 2),
            "worlds": [one.mean_delay_us for one in runs],
        }
    return result
