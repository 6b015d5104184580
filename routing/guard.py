"""Who may choose paths: experts scored on what really happened, with shortest path as the floor.

Four experts plan for every busy pair at every round: `shortest_path` (ignores load), `no_model`
(load as last measured), `model` (load as forecast) and, where a planner runs, `plan` (all pairs at
once, routing/plan/own.py, which has a guard of its own). A round later the samples say what each
plan would have cost; an EWMA of that is the expert's score, whether it was in use or not.

    in use      may hand over to       when
    any         itself                 it is admissible and no other scores below `engage`
    any         a better scorer        admissible and score <= engage x score of the one in use
    any         the best admissible    the one in use is not admissible any more

    an expert is admissible when
    shortest_path   always
    no_model        its account is open, and its score is no worse than shortest path's
    model           the same, its forecast is healthy, and it has `min_rounds` rounds of evidence
    plan            the same as no_model, there is a plan, and it has `min_rounds` of evidence

The account of an expert sums what it cost above shortest path while in use; it forgets `forgive`
of itself per round, holds no more than `budget` of savings, and closes when it owes more than
`budget` until it owes less than half of that. A round is settled before the next decision.
Therefore, with budget B, largest loss of one round L and forgiveness f, over T rounds an expert
costs at most

    (B + L) (1 + f T)

above shortest path, whatever it does and however its scores mislead: that is the price of learning.
B is `budget_rounds` times shortest path's own cost, so in the long run that is budget_rounds x f of
it (0.6 % with the defaults) plus f L.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routing.chooser import Chooser

SHORTEST_PATH = "shortest_path"
NO_MODEL = "no_model"
MODEL = "model"
PLAN = "plan"
EXPERTS = (SHORTEST_PATH, NO_MODEL, MODEL, PLAN)
NO_PLANNER = "no planner"


@dataclass(frozen=True, slots=True)
class GuardParams:
    """Shares in permille; `budget_rounds` in rounds of shortest path's smoothed cost.

    `allowed` leaves experts out, for comparisons; shortest path is always in.
    """

    memory_permille: int = 970
    engage_permille: int = 980
    budget_rounds: int = 6
    forgive_permille: int = 1
    min_rounds: int = 20
    start: str = NO_MODEL
    allowed: tuple[str, ...] = EXPERTS


@dataclass(slots=True)
class _Record:
    """One expert: smoothed cost (thousandths of a us), rounds seen, account in us."""

    score: int | None = None
    rounds: int = 0
    account_us: int = 0
    closed: bool = False


class Guard:
    """Scores experts and names the one in use."""

    def __init__(self, params: GuardParams) -> None:
        self._params = params
        self._records = {name: _Record() for name in EXPERTS}
        self._floor = self._records[SHORTEST_PATH]
        self._chooser = Chooser(params.start, params.allowed, SHORTEST_PATH, "costs less than")

    @property
    def in_use(self) -> str:
        """The expert that chooses now."""
        return self._chooser.in_use

    @property
    def reason(self) -> str:
        """Why it does, for people."""
        return self._chooser.reason

    def settle(self, planned_us: Mapping[str, int], used: str, used_us: int) -> None:
        """Take a round's realised costs: of each plan there was, and of what was really used."""
        for name, cost in planned_us.items():
            self._score(self._records[name], cost)
        budget = self.budget_us()
        for name, record in self._records.items():
            loss = used_us - planned_us[SHORTEST_PATH] if name == used != SHORTEST_PATH else 0
            self._charge(record, loss, budget)

    def _score(self, record: _Record, cost_us: int) -> None:
        fine = 1_000 * cost_us
        keep = self._params.memory_permille
        known = fine if record.score is None else record.score
        record.score = (known * keep + fine * (1_000 - keep)) // 1_000
        record.rounds += 1

    def _charge(self, record: _Record, loss_us: int, budget_us: int) -> None:
        left = record.account_us * (1_000 - self._params.forgive_permille) // 1_000
        record.account_us = max(-budget_us, left + loss_us)
        if record.account_us > budget_us:
            record.closed = True
        elif record.account_us <= budget_us // 2:
            record.closed = False

    def budget_us(self) -> int:
        """Return how much an expert may owe: rounds of shortest path's smoothed cost."""
        return self._params.budget_rounds * (self._floor.score or 0) // 1_000

    def score_us(self, expert: str) -> int | None:
        """Return an expert's smoothed realised cost."""
        score = self._records[expert].score
        return None if score is None else score // 1_000

    def obstacle(
        self, expert: str, forecast_problem: str | None, plan_problem: str | None = NO_PLANNER
    ) -> str | None:
        """Return why an expert may not choose now, or None."""
        record = self._records[expert]
        if expert == SHORTEST_PATH:
            return None
        if expert not in self._params.allowed:
            return "switched off"
        if expert == MODEL and forecast_problem:
            return f"forecast {forecast_problem}"
        if expert == PLAN and plan_problem:
            return plan_problem
        if expert in (MODEL, PLAN) and record.rounds < self._params.min_rounds:
            return "too little evidence"
        if record.closed:
            return "cost more than shortest path"
        if record.score is not None and record.score > (self._floor.score or 0):
            return "scores worse than shortest path"
        return None

    def choose(
        self, forecast_problem: str | None, plan_problem: str | None = NO_PLANNER
    ) -> str:
        """Name the expert in use from now on, and remember why in `reason`."""
        problems = (forecast_problem, plan_problem)
        obstacles = {name: self.obstacle(name, *problems) for name in EXPERTS}
        return self._chooser.choose(obstacles, self._rank, self._is_better)

    def _rank(self, name: str) -> tuple[int, int]:
        score = self._records[name].score
        return (0 if score is None else score, EXPERTS.index(name))

    def _is_better(self, name: str, than: str) -> bool:
        other, mine = self._records[name].score, self._records[than].score
        if mine is None or other is None:
            return False
        return other * 1_000 <= mine * self._params.engage_permille
