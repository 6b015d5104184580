"""How many deadline jobs could be in time at all: the bound that bench/jobs.py prints beside them.

Knows every second of every link and every job to come, splits a job over its four ways, may send
parts of a file only, and counts those parts: a linear program, in slots of ten seconds. No policy
can do better over these ways, and none can know this much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from routing.jobs.plan import Lane, Resource

SLOT_S = 10
Array = npt.NDArray[np.float64]
Wanted = tuple[float, int, int, Sequence[Lane]]  # kbits, from s, until s, ways


def most_in_time(jobs: Sequence[Wanted], kbits_per_s: Mapping[Resource, Array]) -> float:
    """Return an upper bound on the jobs that are whole in time; capacities [s] by link."""
    links = {link: number for number, link in enumerate(sorted(kbits_per_s))}
    slots = -(-max(len(row) for row in kbits_per_s.values()) // SLOT_S)
    room = np.zeros((len(links), slots))
    for link, number in links.items():
        row = np.resize(np.append(kbits_per_s[link], np.zeros(SLOT_S)), slots * SLOT_S)
        row[len(kbits_per_s[link]) :] = 0.0
        room[number] = row.reshape(slots, SLOT_S).sum(axis=1)
    # Columns: of each job the share that is done, then what goes by which way in which slot.
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    count, base = len(jobs), len(links) * slots
    for number, (kbits, first_s, last_s, ways) in enumerate(jobs):
        rows.append(base + number)
        columns.append(number)
        values.append(1.0)
        for lane in ways:
            for slot in range(first_s // SLOT_S, min(slots, -(-last_s // SLOT_S))):
                rows += [links[link] * slots + slot for link in lane.uses] + [base + number]
                columns += [count] * (len(lane.uses) + 1)
                # In units of the job, so that the program is well scaled.
                values += [kbits * uses for uses in lane.uses.values()] + [-1.0]
                count += 1
    matrix = coo_matrix((values, (rows, columns)), shape=(base + len(jobs), count))
    gain = np.zeros(count)
    gain[: len(jobs)] = -1.0
    most = np.append(room.ravel(), np.zeros(len(jobs)))
    solved = linprog(gain, A_ub=matrix.tocsr(), b_ub=most, bounds=(0.0, 1.0), method="highs")
    if solved.x is None:
        raise ArithmeticError(f"bound of {len(jobs)} jobs: {solved.message}")
    return float(-solved.fun)
