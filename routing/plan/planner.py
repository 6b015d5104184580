"""One plan after another: matrices and forecasts in, splits out, the guard in between.

A step is: settle what the last plans would have cost with the demand that came; look at the
forecast; let every expert plan around the plan in use (so that changing the expert moves little);
refuse what recent matrices speak against; use the plan of the expert that the guard names. When
nothing is ready by the deadline, the plan in use stays: that is always an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from routing.guard import MODEL, NO_MODEL, SHORTEST_PATH
from routing.plan.convex import convex_shares
from routing.plan.guard import SCENARIOS, PlanGuard, PlanGuardParams
from routing.plan.network import Array, Network, Pair
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import Hops, Plan, decompose, plan_of, utilisation_of
from routing.plan.program import (
    Cut,
    PathPool,
    ProgramParams,
    ScenarioProgram,
    cheapest_paths,
    plan_from_shares,
)
from routing.plan.scenarios import (
    DemandForecast,
    DemandHealth,
    DemandHealthParams,
    ResidualScenarios,
)

# A pool this small costs no time, and its paths may be wanted again.
_SMALL_POOL = 2_000


@dataclass(frozen=True, slots=True)
class PlannerParams:
    """`scenarios` to plan for; `pool_paths`: per pair, above which unused paths are dropped."""

    scenarios: int = 24
    pool_paths: int = 4
    program: ProgramParams = field(default_factory=ProgramParams)
    guard: PlanGuardParams = field(default_factory=PlanGuardParams)
    health: DemandHealthParams = field(default_factory=DemandHealthParams)


class Planner:
    """Plans `pairs` of one network, step by step; ValueError if a pair is out of reach."""

    def __init__(
        self, network: Network, pairs: Sequence[Pair], params: PlannerParams | None = None
    ) -> None:
        self.params = params or PlannerParams()
        self.network, self.pairs = network, tuple(pairs)
        self._pool = PathPool(network, pairs)
        self._edges = EdgeProgram(network, pairs)
        self._guard = PlanGuard(self.params.guard)
        self._health = DemandHealth(self.params.health)
        self._around = {
            SCENARIOS: ResidualScenarios(self.params.scenarios),
            MODEL: ResidualScenarios(self.params.scenarios),
        }
        self._recent: deque[Array] = deque(maxlen=self.params.guard.recent_steps)
        self._step = -1
        self._plans: dict[str, Plan] = {}
        self._late: set[str] = set()
        self._bound: dict[str, list[Cut]] = {}
        self.problem: str | None = None
        self.shortest = self._shortest_path()
        self.plan = self.shortest

    def _shortest_path(self) -> Plan:
        paths = cheapest_paths(self.network, self.pairs, np.ones(self.network.resources))
        reached = {(path[0], path[-1]): {path: 1.0} for path in paths}
        lost = [pair for pair in self.pairs if pair not in reached]
        if lost:
            raise ValueError(f"pairs: no path {lost[0]}; leave pairs out of reach out")
        self._pool.add(paths)
        return plan_of(self.pairs, reached, SHORTEST_PATH)

    def step(self, demand_kbps: Array, forecast: DemandForecast | None = None) -> Plan:
        """Take the newest demands [pairs], kbps, and return the plan for the next step."""
        if demand_kbps.shape != (len(self.pairs),) or not bool(np.all(np.isfinite(demand_kbps))):
            raise ValueError("demand: not one finite figure per pair; give kbps in pair order")
        self._step += 1
        self._settle(demand_kbps)
        self._recent.append(demand_kbps)
        self._late.clear()
        plans = self._make_plans(demand_kbps, forecast)
        seen = np.stack(self._recent)
        recent = {
            name: float(utilisation_of(self.network, plan, seen).max(axis=1).mean())
            for name, plan in plans.items()
        }
        chosen = self._guard.choose(recent, self.problem)
        self._plans = plans
        self._use(plans[chosen])
        return self.plan

    @property
    def plans(self) -> dict[str, Plan]:
        """Every expert's plan of the newest step, used or not."""
        return dict(self._plans)

    def _use(self, plan: Plan) -> None:
        same = plan.hops == self.plan.hops and np.array_equal(plan.share, self.plan.share)
        version = self.plan.version + (0 if same else 1)
        late = "past the deadline: as before" if plan.expert in self._late else None
        self.plan = replace(plan, version=version, reason=late or self._guard.reason)

    def _settle(self, demand_kbps: Array) -> None:
        if not self._plans:
            return
        now = demand_kbps[None, :]
        realised = {
            name: float(utilisation_of(self.network, plan, now).max())
            for name, plan in self._plans.items()
        }
        self._guard.settle(realised)
        self._health.settle(self._recent[-1], demand_kbps)
        for scenarios in self._around.values():
            scenarios.settle(demand_kbps)

    def _make_plans(
        self, demand_kbps: Array, forecast: DemandForecast | None
    ) -> dict[str, Plan]:
        plans = {SHORTEST_PATH: self.shortest}
        optimum = self._grow_pool(demand_kbps)
        allowed = self.params.guard.allowed
        if NO_MODEL in allowed and optimum > 0:
            limit = self.params.program.time_limit_s
            shares = convex_shares(self._pool, demand_kbps, optimum, limit)
            if shares is None:
                self._keep_plan(plans, NO_MODEL)
            else:
                plans[NO_MODEL] = plan_from_shares(self._pool, shares, NO_MODEL)
        if SCENARIOS in allowed and optimum > 0:
            self._add_scenario_plan(plans, SCENARIOS, demand_kbps, optimum)
        self._take_forecast(forecast)
        if forecast is not None and self.problem is None and MODEL in allowed and optimum > 0:
            self._add_scenario_plan(plans, MODEL, forecast.demand_kbps, optimum)
        return plans

    def _take_forecast(self, forecast: DemandForecast | None) -> None:
        """Judge the forecast by its form and its past; its scenarios are remembered either way."""
        if forecast is None or forecast.demand_kbps.shape != (len(self.pairs),):
            self.problem = "no-forecast"
            return
        self.problem = self._health.problem(forecast, self._step)
        if self.problem not in ("not-finite", "stale"):
            moved = len(self._recent) > 1 and not np.array_equal(self._recent[-1], self._recent[-2])
            scenarios = self._around[MODEL].make(forecast.demand_kbps)
            self._health.take(forecast.demand_kbps, scenarios, moved)

    def _add_scenario_plan(
        self, plans: dict[str, Plan], name: str, forecast_kbps: Array, optimum: float
    ) -> None:
        scenarios = self._around[name].make(forecast_kbps)
        if len(scenarios) == self.params.scenarios and name in self._bound:
            # The oldest error fell out of the window, so every scenario is one place further up.
            self._bound[name] = [(k - 1, r) for k, r in self._bound[name] if k > 0]
        weights = np.full(len(scenarios), 1.0 / (len(scenarios) * optimum))
        plan: Plan | None = None
        for _ in range(1 + self.params.program.pricing_rounds):
            # Before the first plan nothing of ours is on any path, so that one moves for nothing.
            held = self._pool.shares_of(self.plan) if self._plans else None
            program = ScenarioProgram(
                *(self._pool, scenarios, weights, held, self.params.program),
                expected=self._bound.get(name, ()),
            )
            solved = program.solve()
            if solved is None:
                break
            self._bound[name] = program.binding(solved[1])
            plan = plan_from_shares(self._pool, solved[0], name)
            if self._pool.add(program.price_paths(solved[1])) == 0:
                break
        if plan is None:
            self._keep_plan(plans, name)
        else:
            plans[name] = plan

    def _keep_plan(self, plans: dict[str, Plan], name: str) -> None:
        """Past the deadline an expert stands by its plan of before; the guard still looks at it."""
        before = self.plan if self.plan.expert == name else self._plans.get(name)
        if before is not None:
            plans[name] = before
            self._late.add(name)

    def _grow_pool(self, demand_kbps: Array) -> float:
        """Add the paths that this matrix' optimum takes; return its utilisation."""
        if self._pool_is_large():
            kept: list[Hops] = [*self.shortest.hops, *self.plan.hops]
            for plan in self._plans.values():
                kept += plan.hops
            self._pool.trim(kept)
        flow = self._edges.solve(demand_kbps)
        if flow is None:
            return 0.0
        amounts = decompose(self.network, flow, self.pairs, demand_kbps)
        self._pool.add([hops for paths in amounts.values() for hops in paths])
        return flow.utilisation

    def _pool_is_large(self) -> bool:
        limit = max(_SMALL_POOL, self.params.pool_paths * len(self.pairs))
        return len(self._pool.hops) > limit

    def summary(self) -> dict[str, object]:
        """Return who plans and why, the scores, and what ails the forecast."""
        scores = {name: self._guard.score(name) for name in (SHORTEST_PATH, *self._plans)}
        return {
            "expert": self.plan.expert,
            "reason": self._guard.reason,
            "version": self.plan.version,
            "forecast_problem": self.problem,
            "scores": scores,
            "paths": len(self._pool.hops),
        }
