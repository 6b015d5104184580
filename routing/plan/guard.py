"""Who may plan: experts scored on the utilisation that their plans would really have had.

Four experts plan every step:

    shortest_path   the least work per byte, whatever the load; the floor
    no_model        convex cost on the last matrix
    scenarios       the scenario program around persistence: no model either
    model           the scenario program around the forecast

A step later the matrix says how full each plan would have made the fullest resource. The score of
an expert is an EWMA of that over shortest path's. The one in use hands over

    when                                              to
    it is not admissible any more                     the best admissible
    another scores below `engage` x its score         that one, if admissible

and an expert is admissible (shortest path always) when

    forecast    `model`: the forecast passes DemandHealth, and `min_steps` steps were scored
    score       it is no worse than shortest path's
    recent      its plan is no worse than shortest path's on the last `recent_steps` matrices
                (a rule about the plan, not the expert: it is asked of every plan, every step)
    sane        `model` and `scenarios`: nor `sane` times worse than `no_model`'s there

So a forecast that goes bad costs at most the step in which it did, until the health, the score or
the recent matrices say so, whichever is first; a test replays that with five kinds of poison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routing.chooser import Chooser
from routing.guard import MODEL, NO_MODEL, SHORTEST_PATH

SCENARIOS = "scenarios"
PLAN_EXPERTS = (SHORTEST_PATH, NO_MODEL, SCENARIOS, MODEL)


@dataclass(frozen=True, slots=True)
class PlanGuardParams:
    """`memory` of the scores per step; `allowed` leaves experts out, for comparisons."""

    memory: float = 0.95
    engage: float = 0.99
    min_steps: int = 12
    recent_steps: int = 6
    sane: float = 1.05
    start: str = SCENARIOS
    allowed: tuple[str, ...] = PLAN_EXPERTS


class PlanGuard:
    """Scores experts by their plans and names the one in use, with the reason."""

    def __init__(self, params: PlanGuardParams) -> None:
        self._params = params
        self._scores: dict[str, float] = {}
        self._steps = dict.fromkeys(PLAN_EXPERTS, 0)
        self._chooser = Chooser(params.start, params.allowed, SHORTEST_PATH, "fills less than")

    @property
    def in_use(self) -> str:
        """The expert that plans now."""
        return self._chooser.in_use

    @property
    def reason(self) -> str:
        """Why it does, for people."""
        return self._chooser.reason

    def settle(self, utilisation: Mapping[str, float]) -> None:
        """Take the realised maximum utilisation of each expert's last plan."""
        floor = utilisation[SHORTEST_PATH]
        if floor <= 0:
            return
        for name, value in utilisation.items():
            cost, keep = value / floor, self._params.memory
            known = self._scores.get(name, cost)
            self._scores[name] = keep * known + (1.0 - keep) * cost
            self._steps[name] += 1

    def score(self, expert: str) -> float | None:
        """Return an expert's smoothed utilisation over shortest path's."""
        return self._scores.get(expert)

    def obstacle(
        self, expert: str, recent: Mapping[str, float], forecast_problem: str | None
    ) -> str | None:
        """Return why an expert may not plan now, or None; `recent`: its plan's mean maximum."""
        if expert == SHORTEST_PATH:
            return None
        if expert not in self._params.allowed:
            return "switched off"
        if expert == MODEL and forecast_problem:
            return f"forecast {forecast_problem}"
        if expert not in recent:
            return "no plan within the deadline"
        if recent[expert] > recent[SHORTEST_PATH] * (1 + 1e-9):
            return "worse than shortest path on recent matrices"
        sane = recent.get(NO_MODEL, float("inf")) * self._params.sane
        if expert in (MODEL, SCENARIOS) and recent[expert] > sane:
            return "far worse than no_model on recent matrices"
        if expert == MODEL and self._steps[MODEL] < self._params.min_steps:
            return "too little evidence"
        if self._scores.get(expert, 1.0) > 1.0:
            return "scores worse than shortest path"
        return None

    def choose(self, recent: Mapping[str, float], forecast_problem: str | None) -> str:
        """Name the expert whose plan to use; `recent` holds the plans' recent mean maxima."""
        obstacles = {name: self.obstacle(name, recent, forecast_problem) for name in PLAN_EXPERTS}
        return self._chooser.choose(obstacles, self._rank, self._is_better)

    def _rank(self, name: str) -> tuple[float, int]:
        # Without evidence as good as the floor; among equals the later, which knows more.
        return self._scores.get(name, 1.0), -PLAN_EXPERTS.index(name)

    def _is_better(self, name: str, than: str) -> bool:
        mine, other = self._scores.get(than), self._scores.get(name)
        if mine is None or other is None:
            return False
        return other < mine * self._params.engage
