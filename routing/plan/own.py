"""Plans for one hotspot's own traffic around everybody else's: what a live gateway runs.

routing/plan/planner.py plans a network whose every demand is known. A hotspot knows its own, and
of the rest the load that links report. So here the others' load is a background that the program
plans around (as blocks do, routing/plan/blocks.py), and a scenario is a moment: own demands and
background together, as they erred together lately. Where all hotspots plan so, each finds in the
load what the others' last plans took.

Experts, guard, churn term and deadline are those of the planner: `no_model` plans for the moment as
it is, `scenarios` for it and its recent errors, `model` for the loads forecast and theirs; scores
are the congestion that each plan's traffic would have added (routing/plan/congestion.py); a plan
worse than shortest path on the recent moments is refused; an expert past its deadline stands by its
plan of before.

Every radio is taken for half duplex unless `wired` says that links don't share one: a cable planned
as a radio is only planned too carefully.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from chain.records import Refusal
from routing.guard import MODEL, NO_MODEL, SHORTEST_PATH
from routing.mesh_plan import FULL, Hops, MeshPlan, MeshView, Pair, permille_of
from routing.plan.congestion import CongestionProgram, added_cost
from routing.plan.fairness import compute_shares, pair_usage
from routing.plan.guard import SCENARIOS, PlanGuard, PlanGuardParams
from routing.plan.network import Array, half_duplex, wired
from routing.plan.paths import Plan, plan_of, utilisation_of
from routing.plan.program import PathPool, ProgramParams, cheapest_paths, plan_from_shares
from routing.types import FlowClass, Link

Shares = dict[Pair, dict[Hops, float]]
# A convex cost falls less at its margin than in its mean: moving is priced below planner.py's 0.4.
CHURN = 0.1
# What isn't a job is AI requests and best effort, which nobody paces; jobs can wait.
CLASSES, WEIGHTS = (FlowClass.AI, FlowClass.JOB), (4.0, 1.0)
NOTHING_TO_PLAN = Refusal("nothing-to-plan", "no live link leads to any hotspot that is sent to")


@dataclass(frozen=True, slots=True)
class OwnPlanParams:
    """`scenarios` to plan for; `ahead_ms`: which horizon of a link forecast a plan looks at."""

    scenarios: int = 8
    ahead_ms: int = 10_000
    wired: bool = False
    program: ProgramParams = field(default_factory=lambda: ProgramParams(CHURN, time_limit_s=0.15))
    guard: PlanGuardParams = field(default_factory=PlanGuardParams)


@dataclass(frozen=True, slots=True)
class Moment:
    """Own demands by pair and others' loads by link, kbps; or the error of a forecast of them."""

    demands: Mapping[Pair, float]
    loads: Mapping[Link, float]

    def less(self, other: Moment) -> Moment:
        """Return the difference; what one of both doesn't know is no error."""
        demands = {k: v - other.demands.get(k, v) for k, v in self.demands.items()}
        return Moment(demands, {k: v - other.loads.get(k, v) for k, v in self.loads.items()})


class _Frame:
    """One view as arrays: hotspots numbered from 0, pairs that can be reached, their resources."""

    def __init__(self, view: MeshView, is_wired: bool) -> None:
        # Gossip is others' word: a link to oneself is none.
        rates_of = view.rates_kbps.items()
        links = sorted(link for link, rate in rates_of if rate > 0 and link[0] != link[1])
        self.names = sorted({node for link in links for node in link})
        self.number = {name: index for index, name in enumerate(self.names)}
        self.links = links
        self.pairs: tuple[Pair, ...] = ()
        if not links:
            return
        inside = [(self.number[a], self.number[b]) for a, b in links]
        rates = [float(view.rates_kbps[link]) for link in links]
        self.network = (wired if is_wired else half_duplex)(inside, rates)
        known = [p for p in sorted(view.demands_kbps) if p[0] != p[1]]
        asked = [p for p in known if p[0] in self.number and p[1] in self.number]
        inner = [(self.number[a], self.number[b]) for a, b in asked]
        self.shortest = cheapest_paths(self.network, inner, np.ones(self.network.resources))
        self.inner = tuple((path[0], path[-1]) for path in self.shortest)
        self.pairs = tuple((self.names[a], self.names[b]) for a, b in self.inner)
        self._links = frozenset(inside)

    def plan(self, shares: Shares, expert: str) -> Plan:
        """Return shares as a plan over what is alive; a pair left without takes shortest path."""
        amounts: dict[Pair, dict[Hops, float]] = {}
        for index, pair in enumerate(self.pairs):
            alive = {
                inner: share
                for hops, share in shares.get(pair, {}).items()
                if (inner := self._inner(hops)) is not None
            }
            amounts[self.inner[index]] = alive or {self.shortest[index]: 1.0}
        return plan_of(self.inner, amounts, expert)

    def _inner(self, hops: Hops) -> Hops | None:
        if not all(node in self.number for node in hops):
            return None
        inner = tuple(self.number[node] for node in hops)
        return inner if self._links.issuperset(pairwise(inner)) else None

    def shares(self, plan: Plan) -> Shares:
        """Return a plan's shares under the hotspots' own indexes."""
        return {
            (self.names[a], self.names[b]): {
                tuple(self.names[node] for node in hops): share for hops, share in paths.items()
            }
            for (a, b), paths in plan.splits().items()
        }

    def demands(self, moments: list[Moment]) -> Array:
        """Return own demands, kbps [K, pairs]; a pair that is still silent counts for a trace."""
        rows = [[max(1.0, m.demands.get(pair, 0.0)) for pair in self.pairs] for m in moments]
        return np.array(rows, dtype=np.float64)

    def background(self, moments: list[Moment]) -> Array:
        """Return the utilisation that others' traffic makes, [K, resources]."""
        rows = [[max(0.0, m.loads.get(link, 0.0)) for link in self.links] for m in moments]
        filled: Array = (self.network.usage @ np.array(rows, dtype=np.float64).T).T
        return filled

    def cost(self, plan: Plan, moments: list[Moment]) -> float:
        """Return the congestion that the plan adds in the mean over some moments."""
        own = utilisation_of(self.network, plan, self.demands(moments))
        return float(added_cost(self.background(moments), own).mean())


    def fair(self, plan: Plan, now: Moment, view: MeshView) -> dict[tuple[FlowClass, Pair], int]:
        """Return which classes must make do with less than they ask for, and with what share.

        Weighted max-min over the plan's paths (routing/plan/fairness.py), in the room that others
        leave.
        """
        room = np.maximum(0.0, 1.0 - self.background([now])[0])
        usage = pair_usage(self.network, plan)
        whole = self.demands([now])[0]
        if bool(np.all(usage @ whole <= room)):
            return {}
        jobs = np.minimum(whole, [float(view.job_kbps.get(pair, 0)) for pair in self.pairs])
        shares = compute_shares(usage, np.stack([whole - jobs, jobs]), np.array(WEIGHTS), room)
        return {
            (name, pair): int(FULL * share)
            for name, row in zip(CLASSES, shares, strict=True)
            for pair, share in zip(self.pairs, row.tolist(), strict=True)
            if share < 1.0 - 1e-6
        }


class OwnPlanner:
    """Plans a hotspot's own demands, view after view; routing.mesh_plan.PathPlanner."""

    def __init__(self, params: OwnPlanParams | None = None) -> None:
        self.params = params or OwnPlanParams()
        self._guard = PlanGuard(self.params.guard)
        count = self.params.scenarios
        self._errors: dict[str, deque[Moment]] = {
            name: deque(maxlen=count) for name in (SCENARIOS, MODEL)
        }
        self._said: dict[str, Moment] = {}
        self._recent: deque[Moment] = deque(maxlen=self.params.guard.recent_steps)
        self._plans: dict[str, Shares] = {}
        self._late: set[str] = set()
        self._used: Shares = {}
        self._version = 0

    def plan(self, view: MeshView) -> MeshPlan | Refusal:
        """Return who plans what of the view's demands, or why there is nothing to plan."""
        frame = _Frame(view, self.params.wired)
        if not frame.pairs:
            return NOTHING_TO_PLAN
        now = _moment_of(view)
        self._settle(frame, now)
        self._recent.append(now)
        plans = self._make_plans(frame, now, view)
        recent = {
            name: frame.cost(plan, list(self._recent)) for name, plan in plans.items()
        }
        chosen = self._guard.choose(recent, view.problem)
        self._plans = {name: frame.shares(plan) for name, plan in plans.items()}
        return replace(self._use(chosen), fair=frame.fair(plans[chosen], now, view))

    def _use(self, chosen: str) -> MeshPlan:
        shares = self._plans[chosen]
        self._version += shares != self._used
        self._used = shares
        late = f"{chosen}: past the deadline, as before" if chosen in self._late else ""
        splits = {pair: permille_of(paths) for pair, paths in sorted(shares.items())}
        return MeshPlan(splits, chosen, late or self._guard.reason, self._version)

    def _settle(self, frame: _Frame, now: Moment) -> None:
        """Score the last plans by what came, and remember how the forecasts erred."""
        if self._plans:
            self._guard.settle(
                {
                    name: frame.cost(frame.plan(shares, name), [now])
                    for name, shares in self._plans.items()
                }
            )
        for name, said in self._said.items():
            self._errors[name].append(now.less(said))

    def _make_plans(self, frame: _Frame, now: Moment, view: MeshView) -> dict[str, Plan]:
        held = frame.plan(self._used, "held")
        pool = PathPool(frame.network, frame.inner)
        pool.add([*frame.shortest, *held.hops])
        for shares in self._plans.values():
            pool.add(list(frame.plan(shares, "").hops))
        plans = {SHORTEST_PATH: frame.plan({}, SHORTEST_PATH)}
        self._late.clear()
        self._said = {SCENARIOS: now}
        if view.problem is None and view.forecasts:
            self._said[MODEL] = _forecast_moment(view, now, self.params.ahead_ms)
        around = {NO_MODEL: [now]}
        for name, said in self._said.items():
            around[name] = [_plus(said, error) for error in self._errors[name]] or [said]
        for name, moments in around.items():
            made = self._solve(frame, pool, held, moments, name)
            before = self._plans.get(name)
            if made is not None:
                plans[name] = made
            elif before is not None:
                plans[name] = frame.plan(before, name)
                self._late.add(name)
        return plans

    def _solve(
        self, frame: _Frame, pool: PathPool, held: Plan, moments: list[Moment], name: str
    ) -> Plan | None:
        demands, rest = frame.demands(moments), frame.background(moments)
        plan: Plan | None = None
        for _ in range(1 + self.params.program.pricing_rounds):
            before = pool.shares_of(held)
            program = CongestionProgram(pool, demands, rest, before, self.params.program)
            shares = program.solve()
            if shares is None:
                break
            plan = plan_from_shares(pool, shares, name)
            if pool.add(program.price_paths()) == 0:
                break
        return plan

    def summary(self) -> dict[str, object]:
        """Return who plans and why, the scores against shortest path, and the plans so far."""
        names = (SHORTEST_PATH, *sorted(self._plans))
        scores = {name: self._guard.score(name) for name in names}
        return {
            "expert": self._guard.in_use,
            "reason": self._guard.reason,
            "scores": {name: score for name, score in scores.items() if score is not None},
            "version": self._version,
            "pairs": len(self._used),
        }


def _moment_of(view: MeshView) -> Moment:
    loads = {
        link: float(max(0, load - view.own_kbps.get(link, 0)))
        for link, load in view.loads_kbps.items()
    }
    return Moment({pair: float(kbps) for pair, kbps in view.demands_kbps.items()}, loads)


def _forecast_moment(view: MeshView, now: Moment, ahead_ms: int) -> Moment:
    """Return the loads that the links' median forecasts leave to others, demands as they are."""
    loads = dict(now.loads)
    for link, forecast in view.forecasts.items():
        if link in loads:
            near = enumerate(forecast.horizons_ms)
            at = min(near, key=lambda row: (abs(row[1] - ahead_ms), row[0]))[0]
            loads[link] = max(0.0, forecast.load_p50_kbps[at] - view.own_kbps.get(link, 0))
    return Moment(now.demands, loads)


def _plus(said: Moment, error: Moment) -> Moment:
    demands = {k: v + error.demands.get(k, 0.0) for k, v in said.demands.items()}
    return Moment(demands, {k: v + error.loads.get(k, 0.0) for k, v in said.loads.items()})
