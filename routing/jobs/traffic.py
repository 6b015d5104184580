"""The jobs of one gateway on its network: ways, admission, rates of the moment, plans made again.

`routing/jobs/promises.py` keeps promises in a timetable; this says what ways there are, what each
surely holds by when, and when to look again: every `replan_ms`, and at once when a job's way has
become narrower. A job that would come short then takes another way that it can pay for, if one
helps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from chain.records import Refusal
from routing.graph import Costs, alternatives, path_cost
from routing.jobs.capacity import ROOM, Hops, JobCapacity
from routing.jobs.plan import Lane, Resource
from routing.jobs.promises import (
    RUNNING,
    JobBook,
    JobParams,
    JobStatus,
    price_ucr,
    rate_needed_kbps,
)
from routing.jobs.schedule import Pricer, Solver
from routing.types import Job, JobPromise, Path

Pair = tuple[int, int]
FULL = 1_000
REASON = "capacity by the deadline"


@dataclass(frozen=True, slots=True)
class JobView:
    """The network as jobs see it in one round; `fair`: permille of its rate by pair."""

    expert: str
    costs: Costs
    capacity: JobCapacity
    fair: Callable[[Pair], int]


def _whole(_resource: Resource, _from_ms: int, _to_ms: int) -> float:
    """The room of a radio for jobs: lanes say what of it is theirs, and when."""
    return ROOM


class JobTraffic:
    """Jobs by id; every call says what the network looks like now."""

    def __init__(self, params: JobParams, path_options: int) -> None:
        self.book = JobBook(params)
        self._params = params
        self._path_options = path_options
        self._prices_ucr: Mapping[int, int] = {}
        self._paced: set[str] = set()
        self._next_plan_ms = 0

    def use_program(self, solver: Solver, pricer: Pricer) -> None:
        """Plan with a linear program too, and price by its duals."""
        self.book.schedule.use_program(solver, pricer)

    def admit(
        self, job: Job, now_ms: int, prices_ucr: Mapping[int, int], view: JobView
    ) -> JobPromise | Refusal:
        """Promise a job its bytes by its deadline, or say what is in the way."""
        self.book.expire(now_ms)
        self._prices_ucr = prices_ucr
        options = self._options(job, now_ms, view)
        if not options or job.source == job.target:
            return Refusal("no-route", f"target {job.target}: no live links lead there")
        return self.book.admit(job, now_ms, options, prices_ucr, _whole)

    def resume(
        self, job_id: str, now_ms: int, prices_ucr: Mapping[int, int], view: JobView
    ) -> JobPromise | Refusal:
        """Admit a paused job again for what is left of it."""
        status = self.book.status(job_id)
        if isinstance(status, Refusal):
            return status
        self._prices_ucr = prices_ucr
        options = self._options(status.job, now_ms, view)
        return self.book.resume(job_id, now_ms, options, prices_ucr, _whole)

    def rate_kbps(self, job_id: str, now_ms: int, view: JobView) -> int:
        """Return how fast (kbps) to send a job's bytes now; 0 when it has ended."""
        status = self.book.status(job_id)
        if isinstance(status, Refusal):
            return 0
        if now_ms >= self._next_plan_ms:
            self._replan(now_ms, view)
        found = self._way(job_id, now_ms, view)
        if found is None:
            return 0
        status, hops = found
        capacity = view.capacity
        payable = capacity.payable_kbps(status.job, hops)
        wish_kbps = None
        if status.state == RUNNING:
            lane = self._lane(hops, now_ms, view)
            if self.book.use_lane(job_id, lane, payable):
                self._next_plan_ms = now_ms
            wish_kbps = self.book.wish_kbps(job_id, now_ms, _whole)
        available = capacity.available_kbps(hops, self.book.pace_kbps(job_id))
        rate = self.book.rate_kbps(job_id, now_ms, available, payable, wish_kbps)
        return self._fair_kbps(status, rate, now_ms, view)

    def _way(
        self, job_id: str, now_ms: int, view: JobView
    ) -> tuple[JobStatus, Hops] | None:
        """Return a job and its way; another one, where that is down."""
        status = self.book.status(job_id)
        if isinstance(status, Refusal):
            return None
        hops = status.promise.path.hops
        if path_cost(view.costs, hops) is not None:
            return status, hops
        options = self._options(status.job, now_ms, view)
        if not options:
            return None
        own = self.book.pace_kbps(job_id)
        widest = max(options, key=lambda row: view.capacity.available_kbps(row[0].hops, own))
        self.book.reroute(job_id, widest[0])
        return status, widest[0].hops

    def _replan(self, now_ms: int, view: JobView) -> None:
        self._next_plan_ms = now_ms + self._params.replan_ms
        lanes = {
            status.job.job_id: found
            for status in self.book.running()
            if (found := self._lanes(status, now_ms, view))
        }
        self.book.replan(lanes, now_ms, _whole)

    def _lanes(self, status: JobStatus, now_ms: int, view: JobView) -> list[Lane]:
        """Return a job's way and the others that it can pay for, its own first if it is up."""
        held = status.promise.path.hops
        found = [
            lane
            for path, _, lane in self._options(status.job, now_ms, view)
            if path.hops != held and self._is_paid(status.job, path.hops)
        ]
        is_up = path_cost(view.costs, held) is not None
        return [self._lane(held, now_ms, view), *found] if is_up else found

    def _is_paid(self, job: Job, hops: Hops) -> bool:
        if not all(hop in self._prices_ucr for hop in hops[1:-1]):
            return False
        cost = price_ucr(job.size_bytes, (self._prices_ucr[hop] for hop in hops[1:-1]))
        return job.budget_ucr == 0 or cost <= job.budget_ucr

    def _options(
        self, job: Job, now_ms: int, view: JobView
    ) -> list[tuple[Path, int, Lane]]:
        """Return paths for a job with the kbps that relays can be paid for, and what they use."""
        found = alternatives(view.costs, job.source, job.target, self._path_options)
        paths = [Path(h, path_cost(view.costs, h) or 0, view.expert, REASON) for h in found]
        payable = view.capacity.payable_kbps
        return [(p, payable(job, p.hops), self._lane(p.hops, now_ms, view)) for p in paths]

    def _lane(self, hops: Hops, now_ms: int, view: JobView) -> Lane:
        lane = view.capacity.lane(hops, self.book.paces_by_node(), now_ms)
        return replace(lane, price_ucr=sum(self._prices_ucr.get(hop, 0) for hop in hops[1:-1]))

    def _fair_kbps(
        self, status: JobStatus, rate_kbps: int, now_ms: int, view: JobView
    ) -> int:
        """Return a job's rate cut to its class's fair share, but to no less than its promise needs.

        A planner says what is fair, where not all of our classes fit.
        """
        job = status.job
        self._paced.add(job.job_id)
        share = view.fair((job.source, job.target))
        left = job.size_bytes - status.delivered_bytes
        reserve = self._params.reserve_permille
        needed = rate_needed_kbps(left, job.deadline_ms - now_ms, reserve)
        return min(rate_kbps, max(needed, rate_kbps * share // FULL))

    def paces_by_pair(self) -> dict[Pair, int]:
        """Return what running jobs are paced at, by pair."""
        found: dict[Pair, int] = {}
        for job_id in sorted(self._paced):
            status = self.book.status(job_id)
            pace = self.book.pace_kbps(job_id)
            if isinstance(status, Refusal) or pace == 0:
                self._paced.discard(job_id)
                continue
            pair = (status.job.source, status.job.target)
            found[pair] = found.get(pair, 0) + pace
        return found
