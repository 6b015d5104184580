"""Bandwidth jobs: bytes by a deadline. Admission promises a rate, pacing keeps to it.

A job is admitted when some path surely has the rate that its bytes need until the deadline, with a
tenth of the time in reserve. The rate is reserved on every link of the path, so two promises never
lean on the same capacity. Unless its deadline needs more, a job takes half of what nobody else uses
and no more: interactive traffic finds room at once. What was delivered stays delivered:
cancel and expiry say how much.

Sizes and rates count what goes over the air, headers and acknowledgements included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from chain.records import Refusal
from routing.graph import links_of
from routing.types import Job, JobPromise, Link, Path

MIB = 1 << 20
RUNNING, DONE, CANCELLED, EXPIRED = "running", "done", "cancelled", "expired"


@dataclass(frozen=True, slots=True)
class JobParams:
    """Permille: of the time to the deadline kept in reserve, of spare capacity a job may take.

    `setup_ms`: sessions are opened, the offer is answered, and the stream finds its speed.
    """

    setup_ms: int = 1_500
    reserve_permille: int = 100
    spare_permille: int = 500
    max_jobs: int = 256


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job stands: `state` is running, done, cancelled or expired."""

    job: Job
    promise: JobPromise
    delivered_bytes: int
    state: str


def rate_needed_kbps(size_bytes: int, time_left_ms: int, reserve_permille: int) -> int:
    """Return the rate that carries the bytes in the time less the reserve; bits per ms are kbps."""
    usable_ms = max(1, time_left_ms * (1_000 - reserve_permille) // 1_000)
    return -(-size_bytes * 8 // usable_ms)


def price_ucr(size_bytes: int, prices_ucr: Iterable[int]) -> int:
    """Return what relays that ask these prices per MiB get for the bytes."""
    return -(-size_bytes * sum(prices_ucr) // MIB)


class JobBook:
    """Jobs by id, and what they have reserved."""

    def __init__(self, params: JobParams) -> None:
        self._params = params
        self._jobs: dict[str, JobStatus] = {}
        self._paces: dict[str, int] = {}

    def admit(
        self,
        job: Job,
        now_ms: int,
        options: Sequence[tuple[Path, int]],
        prices_ucr: Mapping[int, int],
    ) -> JobPromise | Refusal:
        """Promise the cheapest option that is fast enough.

        `options` are paths with their kbps, `prices_ucr` what each hotspot asks per MiB; a relay
        without a price is not used.
        """
        self.expire(now_ms)
        fault = self._fault(job, now_ms)
        if fault is not None:
            return fault
        begin_ms = now_ms + self._params.setup_ms
        needed = rate_needed_kbps(
            job.size_bytes, job.deadline_ms - begin_ms, self._params.reserve_permille
        )
        fast = [path for path, rate in options if rate >= needed]
        if fast and not any(_is_priced(path, prices_ucr) for path in fast):
            detail = "a relay on every fast path asks more than this hotspot pays"
            return Refusal("job-price", f"{detail}; raise the limit or give a later deadline")
        fast = [path for path in fast if _is_priced(path, prices_ucr)]
        offers = [_offer(job, begin_ms, needed, path, prices_ucr) for path in fast]
        if not offers:
            best = max((rate for _, rate in options), default=0)
            detail = f"size_bytes needs {needed} kbps, the network surely has {best}"
            return Refusal("job-capacity", f"{detail}; give a later deadline")
        promise = min(offers, key=lambda offer: (offer.price_ucr, offer.path.hops))
        if 0 < job.budget_ucr < promise.price_ucr:
            detail = f"budget_ucr {job.budget_ucr} is below the price {promise.price_ucr}"
            return Refusal("job-budget", f"{detail}; raise it or give a later deadline")
        self._jobs[job.job_id] = JobStatus(job, promise, 0, RUNNING)
        return promise

    def _fault(self, job: Job, now_ms: int) -> Refusal | None:
        if job.size_bytes <= 0:
            return Refusal("job-size", "size_bytes must be positive")
        if job.deadline_ms <= now_ms:
            return Refusal("job-deadline", "deadline_ms has passed; give a later one")
        known = self._jobs.get(job.job_id)
        if known is not None and known.state == RUNNING:
            return Refusal("job-known", f"job_id {job.job_id} is running; give another one")
        if sum(1 for status in self._jobs.values() if status.state == RUNNING) >= (
            self._params.max_jobs
        ):
            return Refusal("job-limit", "too many jobs are running; try again later")
        return None

    def restore(self, job: Job, promise: JobPromise, delivered_bytes: int) -> None:
        """Take back a running job after a restart: a promise is kept, not asked for again."""
        self._jobs[job.job_id] = JobStatus(job, promise, delivered_bytes, RUNNING)

    def status(self, job_id: str) -> JobStatus | Refusal:
        """Return where a job stands."""
        known = self._jobs.get(job_id)
        return known or Refusal("job-unknown", f"job_id {job_id} is not known here")

    def reserved(self, without: str = "") -> dict[Link, int]:
        """Return the kbps reserved per link, leaving out the job `without`."""
        result: dict[Link, int] = {}
        for job_id, status in self._jobs.items():
            if status.state == RUNNING and job_id != without:
                for link in links_of(status.promise.path.hops):
                    result[link] = result.get(link, 0) + status.promise.rate_kbps
        return result

    def rate_kbps(self, job_id: str, now_ms: int, available_kbps: int, payable_kbps: int) -> int:
        """Return how fast to send now: what it takes to be in time, within what is there."""
        self.expire(now_ms)
        status = self._jobs.get(job_id)
        if status is None or status.state != RUNNING:
            return 0
        left = status.job.size_bytes - status.delivered_bytes
        needed = rate_needed_kbps(
            left, status.job.deadline_ms - now_ms, self._params.reserve_permille
        )
        spare = available_kbps * self._params.spare_permille // 1_000
        wanted = max(needed, status.promise.rate_kbps, spare)
        pace = min(available_kbps, payable_kbps, wanted)
        self._paces[job_id] = pace
        return pace

    def pace_kbps(self, job_id: str) -> int:
        """Return the rate last allowed: how much of the measured load is this job's own."""
        return self._paces.get(job_id, 0)

    def deliver(self, job_id: str, size_bytes: int, now_ms: int) -> JobStatus | Refusal:
        """Count bytes that arrived in time; the job is done when all have."""
        self.expire(now_ms)
        status = self.status(job_id)
        if isinstance(status, Refusal) or status.state != RUNNING:
            return status
        total = min(status.job.size_bytes, status.delivered_bytes + max(0, size_bytes))
        state = DONE if total == status.job.size_bytes else RUNNING
        self._jobs[job_id] = replace(status, delivered_bytes=total, state=state)
        return self._jobs[job_id]

    def reroute(self, job_id: str, path: Path) -> None:
        """Move a running job's reservation to another path."""
        status = self._jobs[job_id]
        promise = replace(status.promise, path=path)
        self._jobs[job_id] = replace(status, promise=promise)

    def cancel(self, job_id: str) -> JobStatus | Refusal:
        """Stop a job and free what it reserved; what was delivered stays delivered and owed."""
        status = self.status(job_id)
        if isinstance(status, Refusal) or status.state != RUNNING:
            return status
        self._jobs[job_id] = replace(status, state=CANCELLED)
        return self._jobs[job_id]

    def expire(self, now_ms: int) -> None:
        """End jobs whose deadline has passed, and forget the oldest of those that ended."""
        for job_id, status in self._jobs.items():
            if status.state == RUNNING and status.job.deadline_ms <= now_ms:
                self._jobs[job_id] = replace(status, state=EXPIRED)
        ended = [job_id for job_id, status in self._jobs.items() if status.state != RUNNING]
        for job_id in ended[: max(0, len(ended) - self._params.max_jobs)]:
            del self._jobs[job_id]
            self._paces.pop(job_id, None)


def _is_priced(path: Path, prices_ucr: Mapping[int, int]) -> bool:
    return all(hop in prices_ucr for hop in path.hops[1:-1])


def _offer(
    job: Job, begin_ms: int, rate: int, path: Path, prices_ucr: Mapping[int, int]
) -> JobPromise:
    price = price_ucr(job.size_bytes, (prices_ucr[hop] for hop in path.hops[1:-1]))
    finish_ms = begin_ms + -(-job.size_bytes * 8 // rate)
    return JobPromise(job.job_id, price, finish_ms, rate, path)
