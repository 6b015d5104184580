"""The timetable of jobs as a linear program (HiGHS), and what one more kbit would cost.

Variables: kbits of each job in each slot before its due time, and what of it is left over. The
program first leaves over as little as possible, weighted so that it is the last resort; then it
pays relays as little as possible and sends early. Source-pinned ways keep it small: a job has one
way at a time, and `routing/jobs/promises.py` tries others.

The duals of the rooms say what more room is worth: the sum over a way's resources in the cheapest
slot, and the way's own price, is the price of one more kbit before a due time (a second bidder's
loss, in the manner of Pretium; Jalaparti et al., SIGCOMM 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from routing.jobs.plan import Resource, Rooms, Task, Timetable, share_until

Limit = tuple[Resource, int, int]  # a resource, a slot, and until when within the slot
KBIT_PER_MIB = 8_388.608
SHORT_UCR = 1e6  # what a kbit that is left over counts: far above any price
EARLY_UCR = 1e-4  # what a kbit gains by going one slot earlier, so that spare time stays at the end
_ENOUGH = 1e-6


def solve(tasks: Sequence[Task], cuts: Sequence[int], rooms: Rooms) -> Timetable:
    """Return the cheapest timetable; `short` names what can't be in time."""
    columns = [
        (number, slot)
        for number, task in enumerate(tasks)
        for slot in range(len(cuts) - 1)
        if share_until(cuts, slot, task.due_ms) > 0.0
    ]
    count = len(columns) + len(tasks)
    limits, upper = _limits(tasks, cuts, rooms)
    cost, most = np.full(count, SHORT_UCR), np.full(count, np.inf)
    by_slot: dict[int, list[tuple[int, Task]]] = {}
    for column, (number, slot) in enumerate(columns):
        task = tasks[number]
        cost[column] = task.lane.price_ucr / KBIT_PER_MIB + EARLY_UCR * slot
        span_s = (cuts[slot + 1] - cuts[slot]) / 1_000
        most[column] = task.most_kbps * share_until(cuts, slot, task.due_ms) * span_s
        by_slot.setdefault(slot, []).append((column, task))
    entries = [
        (row, column, task.lane.uses_between(cuts[slot], cuts[slot + 1])[resource])
        for row, (resource, slot, due_ms) in enumerate(limits)
        for column, task in by_slot.get(slot, ())
        if resource in task.lane.uses and (task.due_ms <= due_ms or due_ms == cuts[slot + 1])
    ]
    result = linprog(
        cost,
        A_ub=_matrix(entries, len(upper), count),
        b_ub=np.maximum(0.0, np.array(upper)),
        A_eq=_demands(columns, len(tasks), count),
        b_eq=np.array([task.kbits for task in tasks]),
        bounds=np.stack((np.zeros(count), most), axis=1),
        method="highs",
    )
    if result.x is None:
        raise ArithmeticError(f"timetable of {len(tasks)} jobs: {result.message}")
    return _timetable(tasks, cuts, columns, result, limits)


def _limits(
    tasks: Sequence[Task], cuts: Sequence[int], rooms: Rooms
) -> tuple[list[Limit], list[float]]:
    """What a resource holds of a slot, and of the part of it before each job that is due within.

    Within a slot those go first that are due first, so its first part holds all of theirs.
    """
    limits: list[Limit] = []
    upper: list[float] = []
    for resource in sorted({resource for task in tasks for resource in task.lane.uses}):
        users = [task for task in tasks if resource in task.lane.uses]
        for slot, whole in enumerate(rooms[resource]):
            dues = {t.due_ms for t in users if cuts[slot] < t.due_ms < cuts[slot + 1]}
            for due_ms in (*sorted(dues), cuts[slot + 1]):
                limits.append((resource, slot, due_ms))
                upper.append(whole * share_until(cuts, slot, due_ms))
    return limits, upper


def _matrix(entries: Sequence[tuple[int, int, float]], height: int, width: int) -> coo_matrix:
    at = [(row, column) for row, column, _ in entries]
    values = [value for _, _, value in entries]
    where = tuple(zip(*at, strict=True)) if at else ((), ())
    return coo_matrix((values, where), shape=(height, width))


def _demands(columns: Sequence[tuple[int, int]], tasks: int, width: int) -> coo_matrix:
    entries = [(number, column, 1.0) for column, (number, _) in enumerate(columns)]
    entries += [(number, len(columns) + number, 1.0) for number in range(tasks)]
    return _matrix(entries, tasks, width)


def _timetable(
    tasks: Sequence[Task],
    cuts: Sequence[int],
    columns: Sequence[tuple[int, int]],
    result: object,
    limits: Sequence[Limit],
) -> Timetable:
    values = result.x  # type: ignore[attr-defined]
    duals = result.ineqlin.marginals  # type: ignore[attr-defined]
    table = np.zeros((len(tasks), len(cuts) - 1))
    for column, (number, slot) in enumerate(columns):
        table[number, slot] = max(0.0, values[column])
    left = values[len(columns) :]
    return Timetable(
        tuple(cuts),
        {task.job_id: tuple(table[n].tolist()) for n, task in enumerate(tasks)},
        {t.job_id: float(left[n]) for n, t in enumerate(tasks) if left[n] > _ENOUGH * t.kbits},
        {key: -float(duals[at]) for at, key in enumerate(limits) if duals[at] < -1e-12},
    )


def price_of_kbit(task: Task, timetable: Timetable) -> float:
    """Return what one more kbit of a job would cost in the cheapest of its slots, ucr."""
    found = []
    for slot in range(len(timetable.edges_ms) - 1):
        if share_until(timetable.edges_ms, slot, task.due_ms) > 0.0:
            span = timetable.edges_ms[slot], timetable.edges_ms[slot + 1]
            rents = [
                task.lane.uses_between(*span)[resource] * rent
                for (resource, at, due_ms), rent in timetable.scarcity.items()
                if at == slot and resource in task.lane.uses
                and (task.due_ms <= due_ms or due_ms == timetable.edges_ms[slot + 1])
            ]
            found.append(sum(rents))
    return task.lane.price_ucr / KBIT_PER_MIB + min(found, default=0.0)
