"""The router: telemetry in; paths, placements and job promises out. Standard library only.

A round (at most one per `round_ms`, and only when samples came) settles what the last round's plans
really cost, takes new forecasts, lets the guard name the expert in use, and plans for every pair
that asked lately. Between rounds answers come from the round's costs. Every answer is a simple path
over live links, and never one that cost more than shortest path on the recent samples; a flow
leaves its path only for a clear gain. A planner, where there is one, plans all pairs at once every
`plan_ms`; its paths are one more expert, judged as the others, and its splits are dealt out to new
flows by the key that they bring.

The forecaster is anything with `predict(history)`: routing.forecast.live.Forecaster where LightGBM
is installed, None on a small router.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from chain.records import Refusal
from routing.cost import MAX_WAIT_US, estimate_of, is_usable
from routing.experts import EXPERT_REASONS, Beliefs
from routing.forecast.health import ForecastHealth, HealthParams, fault_in
from routing.graph import Costs, LinkGraph, links_of, path_cost, shortest_paths
from routing.guard import (
    EXPERTS,
    PLAN,
    SHORTEST_PATH,
    Guard,
    GuardParams,
)
from routing.jobs.capacity import JobCapacity
from routing.jobs.promises import JobParams, JobStatus
from routing.jobs.schedule import Pricer, Solver
from routing.jobs.traffic import JobTraffic, JobView
from routing.mesh_plan import FULL, PathPlanner, pick
from routing.placement import PlacementParams, Placer
from routing.plan_desk import PlanDesk, Split
from routing.telemetry.history import History
from routing.types import (
    AiRequest,
    FlowClass,
    Forecast,
    Job,
    JobPromise,
    Link,
    LinkSample,
    Path,
    Placement,
    ProviderState,
)

Hops = tuple[int, ...]
Pair = tuple[int, int]


class Predictor(Protocol):
    """What the router needs of a forecast."""

    def predict(self, history: History) -> dict[Link, Forecast] | Refusal:
        """Forecast every link that has enough history."""


@dataclass(frozen=True, slots=True)
class RouterParams:
    """Times in ms, shares in permille; `switch_permille`: the gain that a change of path needs."""

    round_ms: int = 1_000
    forecast_ms: int = 5_000
    plan_ms: int = 10_000
    max_age_ms: int = 90_000
    busy_ms: int = 60_000
    max_pairs: int = 32
    recent_samples: int = 6
    switch_permille: int = 100
    path_options: int = 4
    history: int = 64
    max_links: int = 4_096
    guard: GuardParams = field(default_factory=GuardParams)
    health: HealthParams = field(default_factory=HealthParams)
    jobs: JobParams = field(default_factory=JobParams)
    placement: PlacementParams = field(default_factory=PlacementParams)


@dataclass(frozen=True, slots=True)
class _Round:
    """One round's plans for the pairs that were busy: per expert, and what was in use."""

    time_ms: int
    expert: str
    plans: dict[str, dict[Pair, Split]]
    used: dict[Pair, Split]


class Router:
    """Chooses paths, places AI requests and admits jobs; see the module's text."""

    def __init__(
        self,
        forecaster: Predictor | None = None,
        params: RouterParams | None = None,
        planner: PathPlanner | None = None,
    ):
        self.params = params or RouterParams()
        self._forecaster = forecaster
        self._desk = PlanDesk(planner, self.params.plan_ms)
        self._history = History(self.params.history, self.params.max_links)
        self._graph = LinkGraph(self.params.max_age_ms)
        self._guard = Guard(self.params.guard)
        self._health = ForecastHealth(self.params.health)
        self._jobs = JobTraffic(self.params.jobs, self.params.path_options)
        self._capacity: JobCapacity | None = None
        self._forecasts: dict[Link, Forecast] = {}
        self._beliefs = Beliefs(self._graph, self._history, {})
        self._costs: dict[tuple[str, FlowClass], dict[Link, int]] = {}
        self._trees: dict[tuple[str, FlowClass, int], dict[int, Hops]] = {}
        self._answers: dict[tuple[int, int, FlowClass], Path] = {}
        self._recent: dict[Link, int] | None = None
        self._round: _Round | None = None
        self._next_round_ms = 0
        self._next_forecast_ms = 0
        self._next_ageing_ms = 0
        self._news = False
        self._asked_ms: dict[Pair, int] = {}
        self._held: dict[tuple[int, int, FlowClass], Path] = {}
        self.placer = Placer(self.params.placement)
        self._offered: tuple[Sequence[ProviderState], int] = ((), -1)
        self._draws = 0

    # Telemetry and rounds.

    def observe(self, samples: Iterable[LinkSample], now_ms: int) -> None:
        """Take link samples, and start a round if one is due."""
        for sample in samples:
            if self._history.add(sample):
                # A link that comes or dies is news at once; a load that moves waits for the round.
                before = self._graph.is_alive((sample.source, sample.target), now_ms)
                self._graph.observe(sample)
                if before != is_usable(estimate_of(sample)):
                    self._forget_costs()
                self._news = True
        self._start_round_if_due(now_ms)

    def _forget_costs(self) -> None:
        self._costs.clear()
        self._trees.clear()
        self._answers.clear()
        self._recent = None
        self._capacity = None
        self._offered = ((), -1)

    def _start_round_if_due(self, now_ms: int) -> None:
        if now_ms >= self._next_ageing_ms:
            self._age(now_ms)
        if now_ms < self._next_round_ms or not self._news:
            return
        self._next_round_ms = now_ms + self.params.round_ms
        self._news = False
        self._forget_costs()
        self._desk.measure(now_ms)
        self._settle_round(now_ms)
        self._take_forecasts(now_ms)
        self._take_plan(now_ms)
        self._choose(now_ms)
        self._plan_round(now_ms)

    def _age(self, now_ms: int) -> None:
        """Let silence count: links grow old, pairs stop being busy, a forecast goes stale."""
        self._next_ageing_ms = now_ms + self.params.forecast_ms
        self._forget_costs()
        self._choose(now_ms)
        oldest = now_ms - 4 * self.params.max_age_ms
        self._history.forget_before(oldest)
        self._graph.forget_before(oldest)
        quiet = now_ms - self.params.busy_ms
        self._asked_ms = {pair: at for pair, at in self._asked_ms.items() if at >= quiet}
        self._held = {key: path for key, path in self._held.items() if key[:2] in self._asked_ms}

    def _take_forecasts(self, now_ms: int) -> None:
        if self._forecaster is None or now_ms < self._next_forecast_ms:
            return
        self._next_forecast_ms = now_ms + self.params.forecast_ms
        self._health.settle(self._history, now_ms)
        forecasts = self._forecaster.predict(self._history)
        self._health.take(forecasts, self._history)
        if isinstance(forecasts, Refusal) or fault_in(forecasts) is not None:
            forecasts = {}
        self._forecasts = forecasts
        self._beliefs = Beliefs(self._graph, self._history, forecasts)

    def _choose(self, now_ms: int) -> None:
        self._guard.choose(self._health.problem(now_ms), self.plan_problem())

    def plan_problem(self) -> str | None:
        """Return why there is no plan of all pairs, or None."""
        return self._desk.problem()

    def carried(self, hops: Hops, size_bytes: int) -> None:
        """Count bytes that flows of ours sent along a path: the demand that a plan is made for."""
        self._desk.carry(hops, size_bytes)

    def _take_plan(self, now_ms: int) -> None:
        problem = self._health.problem(now_ms)
        known = (self._graph, self._forecasts, problem, self._jobs.paces_by_pair())
        self._desk.plan(now_ms, self._busy_pairs(), *known)

    def _settle_round(self, now_ms: int) -> None:
        """Charge the last round's plans with what their links cost since, by the samples."""
        if self._round is None or not self._round.used:
            return
        before = self._round
        samples = max(1, self.params.recent_samples // 2)
        realised = self._beliefs.recent_costs(samples, now_ms)
        planned = {}
        for name, plan in before.plans.items():
            shift = self._desk.shift_kbps(before.used, plan)
            costs = self._beliefs.recent_costs(samples, now_ms, shift) if shift else realised
            planned[name] = sum(self._realised(split, costs) for split in plan.values())
        used = sum(self._realised(split, realised) for split in before.used.values())
        self._guard.settle(planned, before.expert, used)

    def _realised(self, split: Split, costs: Costs) -> int:
        # A link that died under a plan costs what a full queue costs: more than any that works.
        total = 0
        for hops, share in split:
            total += share * sum(costs.get(link, MAX_WAIT_US) for link in links_of(hops))
        return total // FULL

    def _busy_pairs(self) -> list[Pair]:
        latest = sorted(self._asked_ms, key=lambda pair: (-self._asked_ms[pair], pair))
        return sorted(latest[: self.params.max_pairs])

    def _plan_round(self, now_ms: int) -> None:
        names = [name for name in EXPERTS if name != PLAN or self._desk.is_there]
        plans: dict[str, dict[Pair, Split]] = {name: {} for name in names}
        used: dict[Pair, Split] = {}
        for pair in self._busy_pairs():
            answer = self._answer(*pair, FlowClass.BEST_EFFORT, now_ms)
            if isinstance(answer, Refusal):
                continue
            floor = self._best(SHORTEST_PATH, FlowClass.BEST_EFFORT, pair, now_ms) or answer.hops
            for name in names:
                plans[name][pair] = self._options(name, pair, floor, now_ms)
            in_plan = self._guard.in_use == PLAN
            used[pair] = plans[PLAN][pair] if in_plan else ((answer.hops, FULL),)
        self._round = _Round(now_ms, self._guard.in_use, plans, used)

    def _options(self, name: str, pair: Pair, floor: Hops, now_ms: int) -> Split:
        """Return the paths that an expert would use, without those that recent samples refuse."""
        if name == PLAN:
            return self._planned(pair, floor, now_ms) or ((floor, FULL),)
        hops = self._best(name, FlowClass.BEST_EFFORT, pair, now_ms)
        return ((self._guarded(hops, floor, now_ms) or floor, FULL),)

    def _planned(self, pair: Pair, floor: Hops, now_ms: int) -> Split:
        """Return the plan's splits of a pair as far as the floor lets them; () where it has none.

        What is refused goes along shortest path, and not to the plan's other paths: those were
        given what they can bear.
        """
        shares: dict[Hops, int] = {}
        for hops, share in self._desk.split(pair):
            way = self._guarded(hops, floor, now_ms) or floor
            shares[way] = shares.get(way, 0) + share
        return tuple(sorted(shares.items(), key=lambda row: (-row[1], row[0])))

    # Paths.

    def path(
        self, source: int, target: int, flow: FlowClass, now_ms: int, key: int = 0
    ) -> Path | Refusal:
        """Return a loop-free source route, or why there is none.

        `key`: the flow's own number, by which a plan's splits are dealt out; a flow that gives the
        same one again keeps its path as long as the plan does.
        """
        self._start_round_if_due(now_ms)
        self._asked_ms[source, target] = now_ms
        if self._guard.in_use == PLAN:
            planned = self._planned_path((source, target), flow, now_ms, key)
            if planned is not None:
                return planned
        known = self._answers.get((source, target, flow))
        return known or self._answer(source, target, flow, now_ms)

    def _planned_path(self, pair: Pair, flow: FlowClass, now_ms: int, key: int) -> Path | None:
        floor = self._best(SHORTEST_PATH, flow, pair, now_ms)
        split = self._planned(pair, floor, now_ms) if floor is not None else ()
        if not split or floor is None:
            return None
        return self._make_path(pick(split, key), floor, PLAN, flow, now_ms)

    def _answer(self, source: int, target: int, flow: FlowClass, now_ms: int) -> Path | Refusal:
        if source == target:
            return Path((source,), 0, SHORTEST_PATH, "source is target")
        pair = (source, target)
        floor = self._best(SHORTEST_PATH, flow, pair, now_ms)
        if floor is None:
            detail = f"target {target}: no live links lead there from {source}"
            return Refusal("no-route", f"{detail}; wait for link states or bring up a relay")
        expert = self._guard.in_use
        wanted = self._best(expert, flow, pair, now_ms) or floor
        path = self._make_path(wanted, floor, expert, flow, now_ms)
        kept = self._keep_held(path, floor, flow, now_ms)
        self._held[source, target, flow] = kept
        self._answers[source, target, flow] = kept
        return kept

    def _make_path(
        self, wanted: Hops, floor: Hops, expert: str, flow: FlowClass, now_ms: int
    ) -> Path:
        hops = self._guarded(wanted, floor, now_ms) or floor
        if hops != wanted:
            reason = f"{expert} refused: worse than shortest path on recent samples"
            expert = SHORTEST_PATH
        else:
            reason = EXPERT_REASONS[expert]
        cost = path_cost(self._costs_of(self._guard.in_use, flow, now_ms), hops)
        return Path(hops, cost or 0, expert, reason)

    def _guarded(self, wanted: Hops | None, floor: Hops | None, now_ms: int) -> Hops | None:
        """Return the plan, or None if recent samples say that shortest path was better."""
        if wanted is None or floor is None or wanted == floor:
            return wanted
        if self._recent is None:
            self._recent = self._beliefs.recent_costs(self.params.recent_samples, now_ms)
        mine = path_cost(self._recent, wanted)
        theirs = path_cost(self._recent, floor)
        return wanted if mine is not None and theirs is not None and mine <= theirs else None

    def _keep_held(self, path: Path, floor: Hops, flow: FlowClass, now_ms: int) -> Path:
        """Stay on the path of before unless the new one is clearly better: no oscillation."""
        held = self._held.get((path.hops[0], path.hops[-1], flow))
        if held is None or held.hops == path.hops or self._guard.in_use == SHORTEST_PATH:
            return path
        cost = path_cost(self._costs_of(self._guard.in_use, flow, now_ms), held.hops)
        if cost is None or self._guarded(held.hops, floor, now_ms) is None:
            return path
        if path.cost_us * 1_000 < cost * (1_000 - self.params.switch_permille):
            return path
        return replace(held, cost_us=cost, reason="held: no clear gain elsewhere")

    def _costs_of(self, expert: str, flow: FlowClass, now_ms: int) -> dict[Link, int]:
        key = (expert, flow)
        if key not in self._costs:
            self._costs[key] = self._beliefs.costs(expert, flow, now_ms)
        return self._costs[key]

    def _best(self, expert: str, flow: FlowClass, pair: Pair, now_ms: int) -> Hops | None:
        source, target = pair
        key = (expert, flow, source)
        if key not in self._trees:
            self._trees[key] = shortest_paths(self._costs_of(expert, flow, now_ms), source)
        return self._trees[key].get(target)

    # AI requests.

    def place(
        self,
        request: AiRequest,
        providers: Sequence[ProviderState],
        now_ms: int,
        without: frozenset[int] = frozenset(),
    ) -> Placement | Refusal:
        """Choose who answers a request, or say why nobody can.

        The same list of providers again is not looked through again within a round.
        """
        offered, until_ms = self._offered
        if providers is not offered or now_ms >= until_ms:
            self._offered = (providers, now_ms + self.params.round_ms)
            self._draws += 1
            found = [
                (p, self.path(request.source, p.hotspot, FlowClass.AI, now_ms, self._draws))
                for p in providers
            ]
            options = [(state, path) for state, path in found if isinstance(path, Path)]
            self.placer.refresh(options, now_ms)
        return self.placer.place(request, now_ms, without)

    def began(self, ticket: int, ttft_us: int) -> None:
        """The first token of a placement came after so long."""
        self.placer.began(ticket, ttft_us)

    def ended(self, ticket: int, held_us: int = 0) -> None:
        """A placement is over; `held_us` is how long its answer took, 0 if it gave none."""
        self.placer.ended(ticket, held_us)

    def busy(self, ticket: int, request: AiRequest) -> None:
        """The provider of a placement can't begin to answer in time."""
        self.placer.busy(ticket, request)

    # Bandwidth jobs.

    def admit(self, job: Job, now_ms: int, prices_ucr: Mapping[int, int]) -> JobPromise | Refusal:
        """Promise a job its bytes by its deadline, or say what is in the way.

        `prices_ucr`: what each hotspot asks per MiB relayed; one that is not named is not used.
        """
        self._start_round_if_due(now_ms)
        return self._jobs.admit(job, now_ms, prices_ucr, self._job_view(now_ms))

    def use_program(self, solver: Solver, pricer: Pricer) -> None:
        """Plan jobs with a linear program too, and price them by its duals."""
        self._jobs.use_program(solver, pricer)

    def pause(self, job_id: str) -> JobStatus | Refusal:
        """Stop a job for a while; what it reserved is free for others."""
        return self._jobs.book.pause(job_id)

    def resume(
        self, job_id: str, now_ms: int, prices_ucr: Mapping[int, int]
    ) -> JobPromise | Refusal:
        """Let a paused job go on, under a new promise for what is left."""
        self._start_round_if_due(now_ms)
        return self._jobs.resume(job_id, now_ms, prices_ucr, self._job_view(now_ms))

    def restore_job(self, job: Job, promise: JobPromise, delivered_bytes: int) -> None:
        """Take back a running job after a restart."""
        self._jobs.book.restore(job, promise, delivered_bytes)

    def job_rate(self, job_id: str, now_ms: int) -> int:
        """Return how fast (kbps) to send an admitted job's bytes now; 0 when it has ended."""
        self._start_round_if_due(now_ms)
        return self._jobs.rate_kbps(job_id, now_ms, self._job_view(now_ms))

    def _job_view(self, now_ms: int) -> JobView:
        expert = self._guard.in_use
        if self._capacity is None:
            # Whoever chooses paths: what a forecast says of rates has a record of its own.
            trusted = {} if self._health.rate_problem(now_ms) else self._forecasts
            self._capacity = JobCapacity(self._beliefs, self._history, trusted)
        costs = self._costs_of(expert, FlowClass.JOB, now_ms)
        return JobView(expert, costs, self._capacity, self._fair_permille)

    def _fair_permille(self, pair: Pair) -> int:
        return self._desk.fair_permille(FlowClass.JOB, pair)

    def job_delivered(self, job_id: str, size_bytes: int, now_ms: int) -> JobStatus | Refusal:
        """Count bytes of a job that arrived."""
        return self._jobs.book.deliver(job_id, size_bytes, now_ms)

    def job_status(self, job_id: str) -> JobStatus | Refusal:
        """Return where a job stands."""
        return self._jobs.book.status(job_id)

    def cancel(self, job_id: str) -> JobStatus | Refusal:
        """Stop a job; what was delivered stays delivered and owed."""
        return self._jobs.book.cancel(job_id)

    # For status pages.

    def summary(self, now_ms: int) -> dict[str, object]:
        """Return the router's state for people: expert in use, why, scores, forecast's health."""
        return {
            "expert": self._guard.in_use,
            "reason": self._guard.reason,
            "scores_us": {
                name: self._guard.score_us(name)
                for name in EXPERTS
                if name != PLAN or self._desk.is_there
            },
            "forecast_problem": self._health.problem(now_ms),
            "coverage90": self._health.coverage(),
            "plan": self._desk.summary(),
            "links": len(self._graph.alive(now_ms)),
            "busy_pairs": len(self._asked_ms),
        }

    @property
    def history(self) -> History:
        """The samples that the router looks back on."""
        return self._history

    @property
    def forecasts(self) -> Mapping[Link, Forecast]:
        """The newest forecasts that were fit to be used."""
        return self._forecasts

    def costs_us(self, now_ms: int) -> Mapping[Link, int]:
        """Return what the expert in use believes 1,500 bytes cost on each live link, us."""
        return self._costs_of(self._guard.in_use, FlowClass.BEST_EFFORT, now_ms)
