"""The one door to HiGHS, the linear solver.

highspy rather than scipy.optimize.linprog: scipy starts every solve from nothing, and here each
plan differs from the last by a right-hand side or a few rows. Keeping the basis makes the edge
program of Abilene ten times faster (0.4 ms instead of 4), and rows and columns can be added to a
program that is already solved. Its time limit counts all runs of one solver, which is just what a
deadline needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from routing.plan.network import Array, Csr

INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Solution:
    """An optimal basis: objective, columns [n], row duals [m] (sign: d objective / d bound)."""

    objective: float
    columns: Array
    duals: Array


class Solver:
    """A linear program that grows by rows: minimise costs @ x between its bounds."""

    def __init__(self, time_limit_s: float = INFINITY) -> None:
        import highspy

        library: Any = highspy
        self._highs = library.Highs()
        self._optimal = library.HighsModelStatus.kOptimal
        for name, value in (
            ("output_flag", False),
            ("log_to_console", False),
            ("threads", 1),
            ("random_seed", 1),
            ("time_limit", time_limit_s),
        ):
            self._highs.setOptionValue(name, value)
        self.columns = 0
        self.rows = 0

    def add_columns(self, costs: Array, upper: Array | None = None) -> None:
        """Add columns that are in no row yet, from 0 to `upper` (no bound if not given)."""
        count = len(costs)
        bounds = np.full(count, INFINITY) if upper is None else upper
        self._highs.addVars(count, np.zeros(count), bounds)
        index = np.arange(self.columns, self.columns + count, dtype=np.int32)
        self._highs.changeColsCost(count, index, np.asarray(costs, dtype=np.float64))
        self.columns += count

    def add_rows(self, matrix: Csr, lower: Array, upper: Array) -> None:
        """Add rows lower <= matrix @ x <= upper; matrix is csr [m, columns]."""
        self._highs.addRows(
            matrix.shape[0],
            np.asarray(lower, dtype=np.float64),
            np.asarray(upper, dtype=np.float64),
            matrix.nnz,
            matrix.indptr[:-1].astype(np.int32),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.float64),
        )
        self.rows += int(matrix.shape[0])

    def set_equal(self, first_row: int, values: Array) -> None:
        """Set rows first_row... to be equal to values."""
        index = np.arange(first_row, first_row + len(values), dtype=np.int32)
        self._highs.changeRowsBounds(len(values), index, values, values)

    def run(self) -> Solution | None:
        """Solve from the last basis; None if there is no optimum within the time limit."""
        self._highs.run()
        if self._highs.getModelStatus() != self._optimal:
            return None
        solution = self._highs.getSolution()
        objective = float(self._highs.getInfo().objective_function_value)
        columns = np.asarray(solution.col_value, dtype=np.float64)
        return Solution(objective, columns, np.asarray(solution.row_dual, dtype=np.float64))
