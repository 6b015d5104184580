"""Bandwidth jobs: bytes by a deadline. Admission promises a place in a timetable, pacing keeps it.

A job is admitted when a timetable exists (`job_schedule.py`) that holds it and every job promised
before, each done with a tenth of its time in reserve, on the capacity that is sure. So two
promises never lean on the same capacity, and one that isn't urgent waits for one that is. Unless
its deadline needs more, a job takes half of what nobody else uses and no more: interactive traffic
finds room at once. What was delivered stays delivered: cancel, pause and expiry say how much. A
paused job holds no room; to go on it has to be admitted again.

Sizes and rates count what goes over the air, headers and acknowledgements included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from chain.records import Refusal
from routing.jobs.plan import Lane, Room, Task
from routing.jobs.schedule import Schedule
from routing.types import Job, JobPromise, Path

MIB = 1 << 20
RUNNING, PAUSED, DONE, CANCELLED, EXPIRED = "running", "paused", "done", "cancelled", "expired"


@dataclass(frozen=True, slots=True)
class JobParams:
    """Permille: of the time to the deadline kept in reserve, of spare capacity a job may take.

    `setup_ms`: sessions are opened, the offer is answered, and the stream finds its speed.
    `replan_ms`: how often the timetable is made again while nothing goes wrong.
    """

    setup_ms: int = 1_500
    reserve_permille: int = 100
    spare_permille: int = 500
    replan_ms: int = 5_000
    max_jobs: int = 256


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job stands: `state` is running, paused, done, cancelled or expired.

    `short_bytes`: what surely won't fit before its time by the newest plan; 0 when all is well.
    """

    job: Job
    promise: JobPromise
    delivered_bytes: int
    state: str
    short_bytes: int = 0


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
        self.schedule = Schedule()
        self._rates: tuple[int, dict[str, float]] = (-1, {})

    def admit(
        self,
        job: Job,
        now_ms: int,
        options: Sequence[tuple[Path, int, Lane]],
        prices_ucr: Mapping[int, int],
        room: Room,
    ) -> JobPromise | Refusal:
        """Promise the cheapest option by which it and all others are in time.

        `options` are paths with the kbps that relays on them can be paid for, and what they use of
        what; `prices_ucr` what each hotspot asks per MiB: a relay without a price is not used.
        """
        self.expire(now_ms)
        fault = self._fault(job, now_ms)
        if fault is not None:
            return fault
        placed = self._place(job, 0, now_ms, options, prices_ucr, room)
        if isinstance(placed, Refusal):
            return placed
        if 0 < job.budget_ucr < placed.price_ucr:
            self.schedule.remove(job.job_id)
            detail = f"budget_ucr {job.budget_ucr} is below the price {placed.price_ucr}"
            return Refusal("job-budget", f"{detail}; raise it or give a later deadline")
        self._jobs[job.job_id] = JobStatus(job, placed, 0, RUNNING)
        return placed

    def _place(
        self,
        job: Job,
        delivered: int,
        now_ms: int,
        options: Sequence[tuple[Path, int, Lane]],
        prices_ucr: Mapping[int, int],
        room: Room,
    ) -> JobPromise | Refusal:
        begin_ms = now_ms + self._params.setup_ms
        left = job.size_bytes - delivered
        reserve = self._params.reserve_permille
        needed = rate_needed_kbps(left, job.deadline_ms - begin_ms, reserve)
        fast = [option for option in options if option[1] >= needed]
        if fast and not any(_is_priced(path, prices_ucr) for path, _, _ in fast):
            detail = "a relay on every fast path asks more than this hotspot pays"
            return Refusal("job-price", f"{detail}; raise the limit or give a later deadline")
        fast = [option for option in fast if _is_priced(option[0], prices_ucr)]
        self._note_progress()
        due_ms = begin_ms + max(1, (job.deadline_ms - begin_ms) * (1_000 - reserve) // 1_000)
        lanes = {path.hops: lane for path, _, lane in fast}
        admitted = None
        if fast and due_ms > begin_ms:
            task = Task(job.job_id, fast[0][2], left * 8 / 1_000, due_ms)
            admitted = self.schedule.admit(task, list(lanes.values()), begin_ms, room)
        if admitted is None:
            best = max((min(rate, _rate_of(lane, room)) for _, rate, lane in options), default=0)
            detail = f"size_bytes needs {needed} kbps, the network surely has {best} for all jobs"
            return Refusal("job-capacity", f"{detail}; give a later deadline")
        self._rates = (-1, {})
        self._take_moves()
        path = next(path for path, _, _ in fast if path.hops == admitted.lane.hops)
        price = price_ucr(left, (prices_ucr[hop] for hop in path.hops[1:-1]))
        price = max(price, admitted.price_ucr)
        finish_ms = min(job.deadline_ms, begin_ms + -(-left * 8 // max(1, needed)))
        return JobPromise(job.job_id, price, finish_ms, needed, path)

    def _note_progress(self) -> None:
        for job_id, status in self._jobs.items():
            left = status.job.size_bytes - status.delivered_bytes
            self.schedule.progress(job_id, left * 8 / 1_000)

    def _take_moves(self) -> None:
        """A newcomer may have moved others to another way of theirs."""
        for job_id, status in list(self._jobs.items()):
            if status.state == RUNNING and job_id in self.schedule:
                hops = self.schedule.lane_of(job_id).hops
                if hops != status.promise.path.hops:
                    self.reroute(job_id, replace(status.promise.path, hops=hops))

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
        self._rates = (-1, {})

    def replan(self, lanes: Mapping[str, Sequence[Lane]], now_ms: int, room: Room) -> None:
        """Make the timetable again on what is left and what is sure now.

        `lanes`: each job's ways, its own first. Who would come short takes another, if that helps.
        """
        self._note_progress()
        known = {job_id: ways for job_id, ways in lanes.items() if job_id in self.schedule}
        self.schedule.update(known, now_ms, room)
        short = self.schedule.timetable.short
        for status in self.running():
            job_id = status.job.job_id
            missing = round(short.get(job_id, 0.0) * 1_000 / 8)
            self._jobs[job_id] = replace(status, short_bytes=missing)
        self._rates = (-1, {})
        self._take_moves()

    def use_lane(self, job_id: str, lane: Lane, most_kbps: int) -> bool:
        """Say what a job's way takes now; True if that calls for a new plan."""
        status = self._jobs[job_id]
        left = (status.job.size_bytes - status.delivered_bytes) * 8 / 1_000
        due_ms = status.promise.finish_ms  # its deadline less the reserve
        task = Task(job_id, lane, max(left, 1e-9), due_ms, float(most_kbps))
        return self.schedule.renew(task)

    def running(self) -> list[JobStatus]:
        """Return the jobs that are on their way."""
        return [status for status in self._jobs.values() if status.state == RUNNING]

    def wish_kbps(self, job_id: str, now_ms: int, room: Room) -> int:
        """Return what the timetable gives a job now; worked out for all jobs at once."""
        if self._rates[0] != now_ms:
            self._note_progress()
            self._rates = (now_ms, self.schedule.needs_kbps(now_ms, room))
        return round(self._rates[1].get(job_id, 0.0))

    def status(self, job_id: str) -> JobStatus | Refusal:
        """Return where a job stands."""
        known = self._jobs.get(job_id)
        return known or Refusal("job-unknown", f"job_id {job_id} is not known here")

    def rate_kbps(
        self,
        job_id: str,
        now_ms: int,
        available_kbps: int,
        payable_kbps: int,
        wish_kbps: int | None = None,
    ) -> int:
        """Return how fast to send now: what it takes to be in time, within what is there.

        `wish_kbps`: what the timetable gives this job now: more than a constant rate where less is
        sure later, less where more urgent ones need the rest.
        """
        self.expire(now_ms)
        status = self._jobs.get(job_id)
        if status is None or status.state != RUNNING:
            return 0
        left = status.job.size_bytes - status.delivered_bytes
        needed = rate_needed_kbps(
            left, status.job.deadline_ms - now_ms, self._params.reserve_permille
        )
        spare = available_kbps * self._params.spare_permille // 1_000
        if wish_kbps is not None:
            needed = wish_kbps
        wanted = max(needed, spare)
        pace = min(available_kbps, payable_kbps, wanted)
        self._paces[job_id] = pace
        return pace

    def pace_kbps(self, job_id: str) -> int:
        """Return the rate last allowed: how much of the measured load is this job's own."""
        return self._paces.get(job_id, 0)

    def paces_by_node(self) -> dict[int, int]:
        """Return the kbps that jobs send through each hotspot."""
        found: dict[int, int] = {}
        for status in self.running():
            for node in status.promise.path.hops:
                found[node] = found.get(node, 0) + self.pace_kbps(status.job.job_id)
        return found

    def deliver(self, job_id: str, size_bytes: int, now_ms: int) -> JobStatus | Refusal:
        """Count bytes that arrived in time; the job is done when all have."""
        self.expire(now_ms)
        status = self.status(job_id)
        if isinstance(status, Refusal) or status.state != RUNNING:
            return status
        total = min(status.job.size_bytes, status.delivered_bytes + max(0, size_bytes))
        state = DONE if total == status.job.size_bytes else RUNNING
        self._jobs[job_id] = replace(status, delivered_bytes=total, state=state)
        if state == DONE:
            self._release(job_id)
        return self._jobs[job_id]

    def _release(self, job_id: str) -> None:
        self.schedule.remove(job_id)
        self._rates = (-1, {})

    def reroute(self, job_id: str, path: Path) -> None:
        """Move a running job's reservation to another path."""
        status = self._jobs[job_id]
        promise = replace(status.promise, path=path)
        self._jobs[job_id] = replace(status, promise=promise)

    def cancel(self, job_id: str) -> JobStatus | Refusal:
        """Stop a job and free what it reserved; what was delivered stays delivered and owed."""
        status = self.status(job_id)
        if isinstance(status, Refusal) or status.state not in (RUNNING, PAUSED):
            return status
        self._jobs[job_id] = replace(status, state=CANCELLED)
        self._release(job_id)
        return self._jobs[job_id]

    def pause(self, job_id: str) -> JobStatus | Refusal:
        """Stop sending and free the room; the deadline stays."""
        status = self.status(job_id)
        if isinstance(status, Refusal) or status.state != RUNNING:
            return status
        self._jobs[job_id] = replace(status, state=PAUSED)
        self._release(job_id)
        return self._jobs[job_id]

    def resume(
        self,
        job_id: str,
        now_ms: int,
        options: Sequence[tuple[Path, int, Lane]],
        prices_ucr: Mapping[int, int],
        room: Room,
    ) -> JobPromise | Refusal:
        """Admit a paused job again for what is left of it; if it has no place, it stays paused."""
        self.expire(now_ms)
        status = self.status(job_id)
        if isinstance(status, Refusal):
            return status
        if status.state != PAUSED:
            return Refusal("job-not-paused", f"job_id {job_id} is {status.state}")
        delivered = status.delivered_bytes
        placed = self._place(status.job, delivered, now_ms, options, prices_ucr, room)
        if not isinstance(placed, Refusal):
            self._jobs[job_id] = replace(status, promise=placed, state=RUNNING)
        return placed

    def expire(self, now_ms: int) -> None:
        """End jobs whose deadline has passed, and forget the oldest of those that ended."""
        for job_id, status in self._jobs.items():
            if status.state in (RUNNING, PAUSED) and status.job.deadline_ms <= now_ms:
                self._jobs[job_id] = replace(status, state=EXPIRED)
                self._release(job_id)
        alive = (RUNNING, PAUSED)
        ended = [job_id for job_id, status in self._jobs.items() if status.state not in alive]
        for job_id in ended[: max(0, len(ended) - self._params.max_jobs)]:
            del self._jobs[job_id]
            self._paces.pop(job_id, None)


def _is_priced(path: Path, prices_ucr: Mapping[int, int]) -> bool:
    return all(hop in prices_ucr for hop in path.hops[1:-1])


def _rate_of(lane: Lane, room: Room) -> int:
    return int(min((room(r, 0, 1_000) / uses for r, uses in lane.uses.items()), default=0.0))
