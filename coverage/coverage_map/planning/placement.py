"""Which k of many candidate sites cover most: greedy, swaps, and how far from the best that can be.

    placed = place(make_problem(cells_of_candidate, weight), 20)
    placed.chosen, placed.share      # at least so much of what any 20 could cover

Greedy gives 63 % of the best at least (Nemhauser and others, Mathematical Programming 14, 1978);
gains stay exact as cells get covered, so no candidate is ever looked at twice. Then one site is
replaced by another as long as that gains, and some are dropped and chosen anew, drawn by a seed.
The bound above is Lagrange's (placement_kernels.bound); `place_exactly` asks HiGHS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.seeded import uniforms
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Shorts = NDArray[np.int32]
Tell = Callable[[float], None]

ROUNDS = 200  # of dropping some sites and choosing anew
WORK = 4e8  # entries of the matrix that all rounds may look at: some two seconds
DROPPED = (0.1, 0.2, 0.3, 0.5)  # the share of them, turn by turn
BOUND_ROUNDS = 400
# Shares of subgradients mixed into their mean, and of the rounds: averages first, they are faster;
# plain ones then, which don't get stuck on small problems.
MIXED = ((0.1, 0.7), (1.0, 0.3))
NEAR = 1e-4  # a bound that close says as much as one that is equal


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Which cells each candidate covers, both ways round, and what each cell is worth."""

    start: Longs
    cells: Shorts
    back: Longs
    owners: Shorts
    weight: Floats

    @property
    def candidates(self) -> int:
        """How many there are."""
        return len(self.start) - 1

    def covered_by(self, candidate: int) -> Shorts:
        """Cells of a candidate."""
        return self.cells[self.start[candidate] : self.start[candidate + 1]]

    def value(self, chosen: ArrayLike) -> float:
        """Weight of all cells that some chosen candidate covers."""
        parts = [self.covered_by(int(j)) for j in np.asarray(chosen, np.int64)]
        found = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int32)
        return float(self.weight[found].sum())


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Chosen candidates, each the best after those before it, and what each adds.

    covered: their weight in all. bound: no choice of as many covers more.
    """

    chosen: Longs
    gains: Floats
    covered: float
    bound: float

    @property
    def share(self) -> float:
        """Least share of the best possible that was reached."""
        return self.covered / self.bound if self.bound > 0.0 else 1.0


def make_problem(covered: Sequence[ArrayLike], weight: ArrayLike) -> Problem:
    """Problem from each candidate's cells (indexes into `weight`), and the cells' weights.

    Cells without weight are left out. Raises ValueError that names the input.
    """
    value = np.ascontiguousarray(weight, np.float64)
    if not len(covered):
        raise InvalidInputError("candidates", "none", "name places where a site could stand")
    if not np.all(np.isfinite(value) & (value >= 0.0)):
        raise InvalidInputError("weight", "negative or no number", "give people or 1 a cell")
    parts = [np.unique(np.asarray(part, np.int32)) for part in covered]
    joined = np.concatenate(parts)
    if len(joined) and not 0 <= joined.min() <= joined.max() < len(value):
        raise InvalidInputError("covered", "a cell outside the weights", "number cells from 0")
    row = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    worth = value[joined] > 0.0
    joined, row = joined[worth], row[worth]
    start = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(parts)))))
    order = np.argsort(joined, kind="stable")
    back = np.concatenate(([0], np.cumsum(np.bincount(joined, minlength=len(value)))))
    return Problem(
        start.astype(np.int64), joined, back.astype(np.int64), row[order], value
    )  # fmt: skip


class Search:
    """A choice under way; `chosen` has -1 where nothing more gained."""

    def __init__(self, problem: Problem, size: int) -> None:
        from coverage_map.planning import placement_kernels as kernels

        self.problem, self._kernels = problem, kernels
        self.least = kernels.LEAST * float(problem.weight.sum())
        self.total = np.empty(problem.candidates)
        kernels.sums(problem.start, problem.cells, problem.weight, self.total)
        self.gain = self.total.copy()
        self.held = np.zeros(len(problem.weight), np.int64)
        self.holder = np.zeros(len(problem.weight), np.int64)
        self.chosen = np.full(size, -1, np.int64)
        self.dropped = np.empty(0, np.int64)

    def covered(self) -> float:
        """Weight of the cells that are held."""
        return float(self.problem.weight[self.held > 0].sum())

    def fill(self) -> None:
        """Greedy: fill empty places as long as a site gains."""
        p = self.problem
        matrix = (p.start, p.cells, p.back, p.owners, p.weight)
        state = (self.held, self.holder, self.gain, self.least)
        self._kernels.fill(self.chosen, *matrix, *state, self.dropped)
        self.dropped = np.empty(0, np.int64)

    def improve(self) -> None:
        """Fill empty places, then swap until no swap gains."""
        self.fill()
        p = self.problem
        matrix = (p.start, p.cells, p.back, p.owners, p.weight)
        state = (self.held, self.holder, self.gain, self.least)
        if (self.chosen >= 0).all():
            self._kernels.swap(self.chosen, *matrix, *state, self.total)

    def choose(self, chosen: Longs) -> None:
        """Replace the choice by another one."""
        p = self.problem
        matrix = (p.start, p.cells, p.back, p.owners, p.weight)
        for place, (old, new) in enumerate(zip(self.chosen, chosen, strict=True)):
            if old == new:
                continue
            state = (self.held, self.holder, self.gain)
            if old >= 0:
                self._kernels.take(int(old), place, *matrix, *state)
            if new >= 0:
                self._kernels.put(int(new), place, *matrix, *state)
            self.chosen[place] = new

    def drop(self, seed: int, turn: int) -> None:
        """Give up a drawn part of the sites, which aren't chosen again at once."""
        size = len(self.chosen)
        draws = uniforms(seed, turn * size + np.arange(size))
        left = np.where(draws < DROPPED[turn % len(DROPPED)], -1, self.chosen)
        self.dropped = self.chosen[(left < 0) & (self.chosen >= 0)]
        self.choose(left)


def place_greedily(problem: Problem, size: int) -> Placement:
    """The greedy choice alone, without a bound: what `place` begins with."""
    search = Search(problem, size)
    search.fill()
    found, gains = ranked(problem, search.chosen[search.chosen >= 0])
    return Placement(found, gains, search.covered(), float(problem.weight.sum()))


def place(
    problem: Problem, size: int, seed: int = 1, rounds: int | None = None,
    bound_rounds: int = BOUND_ROUNDS, tell: Tell = lambda _: None,
) -> Placement:  # fmt: skip
    """The `size` candidates that cover most, or fewer where more add nothing; seeded.

    `rounds` of choosing some anew: by default as many as WORK allows, ROUNDS at most. `tell` hears
    how far it is, 0 to 1. `bound_rounds` 0 leaves the bound at the sum of all.
    """
    if not 0 < size <= problem.candidates:
        raise InvalidInputError("sites", "not from 1 to the candidates", "ask for fewer sites")
    if rounds is None:
        rounds = min(ROUNDS, int(WORK / max(len(problem.cells), 1)))
    search = Search(problem, size)
    search.improve()
    best, chosen = search.covered(), search.chosen.copy()
    for turn in range(rounds if (chosen >= 0).all() else 0):
        tell(turn / (rounds + 1))
        search.drop(seed, turn)
        search.improve()
        if search.covered() > best + search.least:
            best, chosen = search.covered(), search.chosen.copy()
        else:
            search.choose(chosen)
    found, gains = ranked(problem, chosen[chosen >= 0])
    tell(rounds / (rounds + 1))
    most, _ = upper_bound(problem, size, best, bound_rounds)
    return Placement(found, gains, best, most)


def ranked(problem: Problem, chosen: Longs) -> tuple[Longs, Floats]:
    """The chosen by what each adds to those before it, most first, and what that is."""
    held = np.zeros(len(problem.weight), bool)
    left, order, gains = sorted(chosen.tolist()), list[int](), list[float]()
    while left:
        fresh = [
            float((problem.weight * ~held)[problem.covered_by(j)].sum()) for j in left
        ]  # fmt: skip
        best = int(np.argmax(fresh))
        gains.append(fresh[best])
        order.append(left.pop(best))
        held[problem.covered_by(order[-1])] = True
    return np.array(order, np.int64), np.array(gains)


def upper_bound(
    problem: Problem, size: int, reached: float, rounds: int = BOUND_ROUNDS
) -> tuple[float, Floats]:
    """What no `size` candidates can exceed, and the prices of cells that prove it.

    Anybody can check it: sum(weight - price) + the `size` largest sums of prices of a candidate.
    """
    from coverage_map.planning import placement_kernels as kernels

    used = np.diff(problem.back) > 0
    number = (np.cumsum(used) - 1).astype(np.int32)
    weight, cells = problem.weight[used], number[problem.cells]
    # A start where a cell's price falls with how many could cover it.
    price = weight / np.sqrt(np.diff(problem.back)[used])
    most = float(weight.sum())
    if rounds and len(weight):
        for mixed, part in MIXED:
            turns = int(part * rounds)
            found = kernels.bound(
                problem.start, cells, weight, size, reached, turns, price, NEAR, mixed
            )
            most = min(most, max(float(found), reached))
    prices = np.zeros(len(problem.weight))
    prices[used] = price
    return most, prices


def linear_bound(problem: Problem, size: int, most_s: float = 600.0) -> float:
    """Optimum of the linear relaxation, by HiGHS; NaN where it isn't found in `most_s` seconds."""
    return _solve(problem, size, most_s, whole=False)[0]


def place_exactly(problem: Problem, size: int, most_s: float = 600.0) -> Placement:
    """The best choice, proven by HiGHS; ValueError where that takes longer than `most_s`."""
    value, chosen = _solve(problem, size, most_s, whole=True)
    if not np.isfinite(value):
        raise InvalidInputError("sites", "no proof in time", "allow more time, or use place()")
    found, gains = ranked(problem, chosen)
    return Placement(found, gains, problem.value(chosen), max(value, problem.value(chosen)))


def _solve(problem: Problem, size: int, most_s: float, *, whole: bool) -> tuple[float, Longs]:
    """Maximise sum(w y): y <= sum of x that cover it, sum of x = size, 0 <= x, y <= 1."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack

    used = np.flatnonzero(np.diff(problem.back) > 0)
    number = np.zeros(len(problem.weight), np.int64)
    number[used] = np.arange(len(used))
    row = number[problem.cells]
    column = np.repeat(np.arange(problem.candidates), np.diff(problem.start))
    shape = (len(used), problem.candidates)
    cover = csr_array((np.ones(len(row)), (row, column)), shape=shape)
    rows = hstack([cover, -eye_array(len(used))], format="csr")
    count = np.concatenate((np.ones(problem.candidates), np.zeros(len(used))))
    gain = np.concatenate((np.zeros(problem.candidates), problem.weight[used]))
    integral = np.concatenate((np.full(problem.candidates, int(whole)), np.zeros(len(used))))
    found = milp(
        -gain,
        constraints=[LinearConstraint(rows, 0.0), LinearConstraint(count[None, :], 0, size)],
        bounds=Bounds(0.0, 1.0),
        integrality=integral,
        options={"time_limit": most_s, "mip_rel_gap": 0.0},
    )
    if found.status != 0 or found.x is None:
        return float("nan"), np.empty(0, np.int64)
    return float(-found.fun), np.flatnonzero(found.x[: problem.candidates] > 0.5)
