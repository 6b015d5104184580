"""The timetable of all jobs of one gateway: who is let in, who moves aside, who goes when.

A newcomer is let in if with it, and with every promise made before, a timetable exists on the
capacity that is sure. Its ways are tried from the cheapest; if none fits, one of the jobs in its
way is moved to another of that job's ways. The price is what one more kbit would cost: the way's
own price while there is room, and more when somebody must take a dearer way for it.

The timetable is made again every few seconds from what is left and what is sure then. A job that
would come short gets another way; and since what was sure may turn out not to be, jobs send ahead
of the timetable, in the order of their due times, whatever else is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from routing.jobs.plan import Lane, Room, Rooms, Task, Timetable, edges, fill, rooms_of

Solver = Callable[[Sequence[Task], Sequence[int], Rooms], Timetable]
Pricer = Callable[[Task, Timetable], float]
Wish = Callable[[Task, int], float]
MAX_MOVES = 6  # ways of others that are tried for a newcomer
KBIT_PER_MIB = 8_388.608
NARROWER = 1.1  # uses, against those of before


def _is_narrower(lane: Lane, before: Lane) -> bool:
    return any(uses > NARROWER * before.uses.get(r, uses) for r, uses in lane.uses.items())


@dataclass(slots=True)
class _Entry:
    task: Task
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A place in the timetable: by which way, until when, for how much in all (ucr)."""

    lane: Lane
    finish_ms: int
    price_ucr: int


def _harms_nobody(short: Mapping[str, float], before: Mapping[str, float]) -> bool:
    """Tell whether nobody comes short who wouldn't have, nor by more: the newcomer included.

    A job that came short when a link failed must not keep everybody else out.
    """
    return all(missing <= 1.000_001 * before.get(job, 0.0) for job, missing in short.items())


class Schedule:
    """All running jobs; `solver` and `pricer` are those of `job_program.py`, if it is there."""

    def __init__(self, solver: Solver | None = None, pricer: Pricer | None = None) -> None:
        self.timetable = Timetable((0, 1), {}, {}, {})
        self._solver, self._pricer = solver, pricer
        self._entries: dict[str, _Entry] = {}

    def use_program(self, solver: Solver, pricer: Pricer) -> None:
        """Take a solver and a pricer."""
        self._solver, self._pricer = solver, pricer

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._entries

    def lane_of(self, job_id: str) -> Lane:
        """Return the way that a job takes now."""
        return self._entries[job_id].task.lane

    # --- coming and going -----------------------------------------------------------------------

    def admit(
        self, task: Task, lanes: Sequence[Lane], now_ms: int, room: Room
    ) -> Admitted | None:
        """Let a job in by one of `lanes`, or None; `task.lane` doesn't matter."""
        others = [entry.task for entry in self._entries.values()]
        cuts = edges(now_ms, [t.due_ms for t in (*others, task)])
        ordered = sorted(lanes, key=lambda lane: (lane.price_ucr, lane.hops))
        rooms = self._rooms(cuts, room, ordered)
        before = fill(others, cuts, rooms).short
        for tasks in self._ways_in(task, ordered, others):
            timetable = fill(tasks, cuts, rooms)
            if _harms_nobody(timetable.short, before):
                return self._let_in(tasks, ordered, timetable, rooms)
        for lane in ordered if self._solver is not None else ():
            tasks = [*others, replace(task, lane=lane)]
            timetable = self._solver(tasks, cuts, rooms) if self._solver else timetable
            if timetable.is_feasible:
                return self._let_in(tasks, ordered, timetable, rooms)
        return None

    def _ways_in(
        self, task: Task, lanes: Sequence[Lane], others: Sequence[Task]
    ) -> Iterator[list[Task]]:
        for lane in lanes:
            yield [*others, replace(task, lane=lane)]
        moves = 0
        for lane in lanes:
            for moved in self._moves_beside(lane):
                moves += 1
                if moves > MAX_MOVES:
                    return
                rest = [t for t in others if t.job_id != moved.job_id]
                yield [*rest, moved, replace(task, lane=lane)]

    def _moves_beside(self, lane: Lane) -> Iterator[Task]:
        """Jobs that share a resource with a way, each on another way of its own."""
        for entry in self._entries.values():
            if entry.task.lane.uses.keys() & lane.uses.keys():
                for other in entry.lanes:
                    if other.hops != entry.task.lane.hops:
                        yield replace(entry.task, lane=other)

    def _rooms(self, cuts: Sequence[int], room: Room, lanes: Sequence[Lane]) -> Rooms:
        own = [lane for entry in self._entries.values() for lane in entry.lanes]
        return rooms_of([*own, *lanes], cuts, room)

    def _let_in(
        self, tasks: Sequence[Task], lanes: Sequence[Lane], timetable: Timetable, rooms: Rooms
    ) -> Admitted:
        task = tasks[-1]
        for other in tasks[:-1]:
            self._entries[other.job_id].task = other
        self._entries[task.job_id] = _Entry(task, tuple(lanes))
        self.timetable = timetable
        per_kbit = task.lane.price_ucr / KBIT_PER_MIB
        if self._pricer is not None and self._solver is not None:
            priced = self._solver(tasks, timetable.edges_ms, rooms)
            per_kbit = max(per_kbit, self._pricer(task, priced))
        price = -int(-per_kbit * task.kbits // 1)  # rounded up
        return Admitted(task.lane, timetable.finish_ms(task.job_id), price)

    def renew(self, task: Task) -> bool:
        """Take a job's way as it is now; one from before a restart comes in by this.

        Tells whether it is news: unknown till now, or a way that has become so much narrower.
        """
        known = self._entries.get(task.job_id)
        is_news = known is None or _is_narrower(task.lane, known.task.lane)
        lanes = known.lanes if known is not None else ()
        others = tuple(lane for lane in lanes if lane.hops != task.lane.hops)
        due_ms = known.task.due_ms if known is not None else task.due_ms
        self._entries[task.job_id] = _Entry(replace(task, due_ms=due_ms), (task.lane, *others))
        return is_news

    def remove(self, job_id: str) -> None:
        """A job is done or was given up: its room is free."""
        self._entries.pop(job_id, None)

    # --- as time goes on ------------------------------------------------------------------------

    def progress(self, job_id: str, kbits: float) -> None:
        """So much of a job is left."""
        entry = self._entries.get(job_id)
        if entry is not None:
            entry.task = replace(entry.task, kbits=max(kbits, 1e-9))

    def update(
        self, lanes: Mapping[str, Sequence[Lane]], now_ms: int, room: Room
    ) -> list[str]:
        """Make the timetable again; return jobs that come short even so.

        `lanes`: ways by job, for those whose ways have changed.
        """
        for job_id, found in lanes.items():
            self._take_lanes(self._entries[job_id], found)
        tasks = [entry.task for entry in self._entries.values()]
        if not tasks:
            self.timetable = Timetable((now_ms, now_ms + 1), {}, {}, {})
            return []
        cuts = edges(now_ms, [max(now_ms + 1, t.due_ms) for t in tasks])
        rooms = self._rooms(cuts, room, ())
        self.timetable = fill(tasks, cuts, rooms)
        for job_id in sorted(self.timetable.short):
            self._try_other_lanes(job_id, cuts, rooms)
        return sorted(self.timetable.short)

    def _take_lanes(self, entry: _Entry, lanes: Iterable[Lane]) -> None:
        entry.lanes = tuple(lanes)
        same = [lane for lane in entry.lanes if lane.hops == entry.task.lane.hops]
        if same or entry.lanes:
            entry.task = replace(entry.task, lane=(same or entry.lanes)[0])

    def _try_other_lanes(self, job_id: str, cuts: Sequence[int], rooms: Rooms) -> None:
        entry = self._entries[job_id]
        best, least = entry.task, sum(self.timetable.short.values())
        for lane in entry.lanes:
            moved = replace(entry.task, lane=lane)
            tasks = [e.task if e is not entry else moved for e in self._entries.values()]
            timetable = fill(tasks, cuts, rooms)
            if sum(timetable.short.values()) < least:
                best, least = moved, sum(timetable.short.values())
                self.timetable = timetable
        entry.task = best

    def needs_kbps(self, now_ms: int, room: Room) -> dict[str, float]:
        """Return what each job needs now, as far as more urgent ones leave it.

        Besides a constant rate that is what can't wait: what is sure later may be less than now.
        """
        must = self._must_kbps(now_ms, room)
        return self.rates_kbps(
            now_ms, room, (self._needed_kbps, lambda task, _: must[task.job_id])
        )

    def _must_kbps(self, now_ms: int, room: Room) -> dict[str, float]:
        """What has no room later, by job; all that there is for one that comes short."""
        tasks = [entry.task for entry in self._entries.values()]
        cuts = edges(now_ms, [max(now_ms + 1, t.due_ms) for t in tasks])
        latest = fill(tasks, cuts, self._rooms(cuts, room, ()), is_late=True)
        short = latest.short.keys()
        return {
            t.job_id: float("inf") if t.job_id in short else latest.rate_kbps(t.job_id, now_ms)
            for t in tasks
        }

    def rates_kbps(
        self, now_ms: int, room: Room, wishes: Sequence[Wish] = ()
    ) -> dict[str, float]:
        """Return how fast each job may send now, by the room there is at this moment.

        First to each what its due time needs at a constant rate, so that a loss of capacity is
        shared and not the last one's alone; then what the timetable says; then whatever is free,
        to those due first.
        """
        tasks = sorted(
            (entry.task for entry in self._entries.values()), key=lambda t: (t.due_ms, t.job_id)
        )
        left = {r: room(r, now_ms, now_ms + 1_000) for t in tasks for r in t.lane.uses}
        rates = dict.fromkeys((task.job_id for task in tasks), 0.0)
        for wish in wishes or (self._needed_kbps, self._planned_kbps, _all_kbps):
            for task in tasks:
                got = min(wish(task, now_ms), task.most_kbps) - rates[task.job_id]
                for resource, uses in task.lane.uses.items():
                    got = min(got, left[resource] / uses)
                got = max(0.0, got)
                for resource, uses in task.lane.uses.items():
                    left[resource] -= got * uses
                rates[task.job_id] += got
        return rates

    def _needed_kbps(self, task: Task, now_ms: int) -> float:
        return task.kbits * 1_000 / max(1_000, task.due_ms - now_ms)

    def _planned_kbps(self, task: Task, now_ms: int) -> float:
        return self.timetable.rate_kbps(task.job_id, now_ms)


def _all_kbps(_task: Task, _now_ms: int) -> float:
    return float("inf")
