"""When and by which way the bytes of jobs go: a timetable over slots of the capacity that is sure.

Time is cut where something changes: at the horizons that forecasts speak of, and where a job is
due. Within a slot a resource (a radio's airtime, or a link) has so much room, and a byte by some
way uses some of each resource on it. So a job that is not urgent makes room for one that is, and
catches up when that one is done; a constant rate until the deadline, as promised by itself, would
keep both from being admitted.

`fill` is the quick answer: jobs in order of their due times, each as early as room is left. It
finds a timetable whenever one exists on a single resource; with several it may miss one, and
`routing/jobs/program.py` finds it by linear programming where SciPy is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Resource = tuple[int, ...]
HORIZONS_MS = (10_000, 60_000, 300_000, 900_000, 3_600_000)
MAX_SLOTS = 8
SHORTEST_SLOT_MS = 500
_ENOUGH = 1e-6  # of a job that may be missing by rounding


@dataclass(frozen=True, slots=True)
class Segment:
    """What a kbit by a way takes of each resource, on what is sure, from some time on."""

    from_ms: int
    uses: Mapping[Resource, float]


@dataclass(frozen=True, slots=True)
class Lane:
    """A way: what a kbit takes of each resource now, and what a MiB costs in ucr.

    `later`: what plans count with, ascending and of the same resources; empty: as now.
    """

    hops: tuple[int, ...]
    uses: Mapping[Resource, float]
    price_ucr: int
    later: tuple[Segment, ...] = ()

    def uses_between(self, start_ms: int, end_ms: int) -> Mapping[Resource, float]:
        """Return the most that a kbit takes of each resource within a slot."""
        ends = [one.from_ms for one in self.later[1:]]
        known = [
            one.uses
            for one, until_ms in zip(self.later, (*ends, 1 << 62), strict=False)
            if one.from_ms < end_ms and start_ms < until_ms
        ]
        if len(known) < 2:
            return known[0] if known else self.uses
        return {resource: max(uses[resource] for uses in known) for resource in self.uses}


@dataclass(frozen=True, slots=True)
class Task:
    """What is left of a job: kbits until `due_ms`, at most `most_kbps` at any time."""

    job_id: str
    lane: Lane
    kbits: float
    due_ms: int
    most_kbps: float = float("inf")


@dataclass(frozen=True, slots=True)
class Timetable:
    """`edges_ms` has one more than slots; `kbits` by job and slot; `short` what doesn't fit.

    `scarcity`: what one more unit of a resource, in a slot, up to a time, would save, ucr; empty if
    not known.
    """

    edges_ms: tuple[int, ...]
    kbits: Mapping[str, tuple[float, ...]]
    short: Mapping[str, float]
    scarcity: Mapping[tuple[Resource, int, int], float]

    @property
    def is_feasible(self) -> bool:
        """Tell whether every job fits."""
        return not self.short

    def slot_at(self, now_ms: int) -> int:
        """Return the slot that holds a time; the last one after the end, -1 without any."""
        last = len(self.edges_ms) - 2
        for slot in range(last + 1):
            if now_ms < self.edges_ms[slot + 1]:
                return slot
        return last

    def rate_kbps(self, job_id: str, now_ms: int) -> float:
        """Return how fast a job goes now."""
        slot = self.slot_at(now_ms)
        if slot < 0 or job_id not in self.kbits or now_ms >= self.edges_ms[-1]:
            return 0.0
        length_ms = self.edges_ms[slot + 1] - self.edges_ms[slot]
        return self.kbits[job_id][slot] * 1_000 / length_ms

    def finish_ms(self, job_id: str) -> int:
        """Return when a job's last byte goes."""
        used = [slot for slot, kbits in enumerate(self.kbits[job_id]) if kbits > 0]
        return self.edges_ms[used[-1] + 1] if used else self.edges_ms[0]


def edges(now_ms: int, dues_ms: Sequence[int]) -> tuple[int, ...]:
    """Cut the time from now to the last due time into at most `MAX_SLOTS` slots.

    Slots end at a horizon or where a job is due; of too many edges, those are dropped that are
    nearest to the one before.
    """
    last = max(dues_ms, default=now_ms)
    cuts = {now_ms + ahead for ahead in HORIZONS_MS if now_ms + ahead < last}
    cuts |= {due for due in dues_ms if due > now_ms}
    kept = [now_ms]
    for cut in sorted(cuts):
        if cut - kept[-1] >= SHORTEST_SLOT_MS or cut == last:
            kept.append(cut)
    while len(kept) > MAX_SLOTS + 1:
        gaps = [(kept[i] - kept[i - 1], i) for i in range(1, len(kept) - 1)]
        del kept[min(gaps)[1]]
    return tuple(kept)


Room = Callable[[Resource, int, int], float]
Rooms = Mapping[Resource, Sequence[float]]


def rooms_of(lanes: Iterable[Lane], cuts: Sequence[int], room: Room) -> Rooms:
    """Return the room of every resource of these ways, per slot.

    `room(resource, from, to)` is the mean over the slot, in units per second.
    """
    resources = sorted({resource for lane in lanes for resource in lane.uses})
    spans = list(pairwise(cuts))
    return {
        resource: [max(0.0, room(resource, a, b)) * (b - a) / 1_000 for a, b in spans]
        for resource in resources
    }


def share_until(cuts: Sequence[int], slot: int, due_ms: int) -> float:
    """Return how much of a slot's time is before a due time, 0..1."""
    start, end = cuts[slot], cuts[slot + 1]
    return min(1.0, max(0.0, (due_ms - start) / (end - start)))


def fill(
    tasks: Sequence[Task], cuts: Sequence[int], rooms: Rooms, *, is_late: bool = False
) -> Timetable:
    """Put each job, the one due first before others, into the earliest room.

    A job may use a slot in which it is due up to there: those before it are due earlier still, so
    they go first within the slot as well. `is_late`: the other way round, each into the latest
    room; what then stands in the first slot can't wait.
    """
    used = {resource: [0.0] * (len(cuts) - 1) for resource in rooms}
    kbits: dict[str, tuple[float, ...]] = {}
    short: dict[str, float] = {}
    for task in sorted(tasks, key=lambda t: (t.due_ms, t.job_id), reverse=is_late):
        row = _place(task, cuts, rooms, used, is_late=is_late)
        kbits[task.job_id] = tuple(row)
        missing = task.kbits - sum(row)
        if missing > _ENOUGH * task.kbits:
            short[task.job_id] = missing
    return Timetable(tuple(cuts), kbits, short, {})


def _place(
    task: Task,
    cuts: Sequence[int],
    rooms: Rooms,
    used: Mapping[Resource, list[float]],
    *,
    is_late: bool,
) -> list[float]:
    """Return a job's kbits by slot, and count them in `used`."""
    row, missing = [0.0] * (len(cuts) - 1), task.kbits
    slots = range(len(row) - 1, -1, -1) if is_late else range(len(row))
    for slot in slots:
        share = share_until(cuts, slot, task.due_ms)
        if share <= 0.0 or missing <= 0.0:
            continue
        uses = task.lane.uses_between(cuts[slot], cuts[slot + 1])
        fits = min(missing, task.most_kbps * share * (cuts[slot + 1] - cuts[slot]) / 1_000)
        for resource, use in uses.items():
            whole, taken = rooms[resource][slot], used[resource][slot]
            free = min(whole * share, whole - taken) if is_late else whole * share - taken
            fits = min(fits, max(0.0, free) / use)
        for resource, use in uses.items():
            used[resource][slot] += fits * use
        row[slot] = fits
        missing -= fits
    return row
