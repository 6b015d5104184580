"""The splits of own traffic that add the least congestion to a mesh that others load too.

The fullest radio of a mesh is often one that no plan of ours touches, so for a hotspot's own
traffic its maximum says nothing. What own traffic can be held to is what it adds:

    minimise   sum_k w_k sum_r  cost(b[k, r] + own[k, r]) - cost(b[k, r])   +  churn x (moved share)

over the splits of each pair, with b what others take of resource r in moment k and `cost` the
convex price of a full link of Fortz and Thorup (IEEE INFOCOM 2000, section IV): slope 1 while it is
empty, 70 from nine tenths on and 5,000 beyond its capacity. Costs, not maxima, add up, so relieving
a radio that stays the second fullest still counts.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from routing.plan.network import Array, Csr
from routing.plan.paths import Hops
from routing.plan.program import PathPool, ProgramParams, cheapest_paths
from routing.plan.solver import Solver

BENDS = np.array([0.0, 1 / 3, 2 / 3, 0.9, 1.0, 1.1])
SLOPES = np.array([1.0, 3.0, 10.0, 70.0, 500.0, 5_000.0])
_ENDS = np.append(BENDS[1:], np.inf)


def congestion(utilisation: Array) -> Array:
    """Return the cost of resources that are this full, in the argument's shape."""
    inside = np.clip(utilisation[..., None], BENDS, _ENDS) - BENDS
    result: Array = inside @ SLOPES
    return result


def added_cost(background: Array, own: Array) -> Array:
    """Return what own utilisation [K, R] costs on top of a background [K, R], [K]."""
    cost: Array = (congestion(background + own) - congestion(background)).sum(axis=1)
    return cost


class CongestionProgram:
    """One such program over a pool; `solve` it, then ask which paths would help it further.

    `demands_kbps` [K, pairs], `background` [K, R] and `held` [paths], the shares of the plan in
    use, as in `program.ScenarioProgram`; all moments weigh alike.
    """

    def __init__(
        self,
        pool: PathPool,
        demands_kbps: Array,
        background: Array,
        held: Array,
        params: ProgramParams,
    ) -> None:
        self._pool, self._held = pool, held
        self._demands, self._background = demands_kbps, background
        self._pair, self._usage = pool.pair, pool.usage
        self._touched = np.flatnonzero(np.diff(self._usage.indptr))
        self._loses = np.flatnonzero(held > 0)
        self._price = np.zeros(pool.network.resources)
        before = added_cost(background, self._own(held))
        mean = demands_kbps.mean(axis=0)
        part = mean / max(1e-12, float(mean.sum()))
        self._move = params.churn * float(before.mean()) * part[self._pair]
        self._solver = Solver(params.time_limit_s)
        self._build()

    def _own(self, shares: Array) -> Array:
        own: Array = (self._usage @ (shares[:, None] * self._demands[:, self._pair].T)).T
        return own

    def _build(self) -> None:
        pairs, paths = len(self._pool.pairs), len(self._pair)
        moments, full = len(self._demands), len(self._touched) * len(BENDS)
        taken = self._background[:, self._touched]
        room = np.maximum(0.0, _ENDS - np.maximum(BENDS, taken[..., None]))
        self._solver.add_columns(self._move)
        self._solver.add_columns(np.zeros(len(self._loses)), self._held[self._loses])
        self._solver.add_columns(
            np.tile(SLOPES / moments, moments * len(self._touched)), room.ravel()
        )
        ones = sparse.csr_array((np.ones(paths), (self._pair, np.arange(paths))), (pairs, paths))
        rest = sparse.csr_array((pairs, moments * full))
        choose = sparse.hstack([ones, -ones.tocsc()[:, self._loses], rest], format="csr")
        self._solver.add_rows(choose, np.zeros(pairs), np.zeros(pairs))
        usage = sparse.vstack([self._moment_rows(k) for k in range(moments)], format="csr")
        rows = moments * len(self._touched)
        parts = -sparse.kron(sparse.eye_array(rows), np.ones((1, len(BENDS))))
        matrix = sparse.hstack([usage, -usage.tocsc()[:, self._loses], parts], format="csr")
        level = -(usage @ self._held)
        self._solver.add_rows(matrix, level, level)

    def _moment_rows(self, moment: int) -> Csr:
        carried = sparse.diags_array(self._demands[moment, self._pair])
        return self._usage[self._touched] @ carried

    def solve(self) -> Array | None:
        """Return the shares over the pool's paths, [paths]; None past the deadline."""
        solution = self._solver.run()
        if solution is None:
            return None
        paths = len(self._pair)
        shares = self._held + solution.columns[:paths]
        shares[self._loses] -= solution.columns[paths : paths + len(self._loses)]
        # A row's dual is what one more of its resource would cost; a resource that no path of the
        # pool touches costs the slope where it stands.
        at = np.searchsorted(BENDS, self._background, side="right") - 1
        price = SLOPES[at] / len(self._demands)
        duals = -solution.duals[len(self._pool.pairs) :]
        price[:, self._touched] = np.maximum(0.0, duals.reshape(len(self._demands), -1))
        self._price = price.T @ self._demands.sum(axis=1)
        return np.maximum(0.0, shares)

    def price_paths(self) -> list[Hops]:
        """Return the cheapest paths under the prices of the last solution, in the pool or not."""
        return cheapest_paths(self._pool.network, self._pool.pairs, self._price)
