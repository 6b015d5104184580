"""The plan without scenarios or forecast: a convex cost on the utilisation of the last matrix.

Fortz and Thorup (2000) price a link's utilisation by a piecewise linear function that rises steeply
towards full. Their breakpoints are for links near capacity; a backbone at 5 % or a mesh at 150 %
would only see one of its slopes, so here they are shares of the least maximum utilisation that the
matrix allows. That spreads traffic further than the maximum alone would ask for, and the room so
left is what the next matrix needs.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from routing.plan.network import Array
from routing.plan.program import PathPool
from routing.plan.solver import Solver

# Share of the optimum at which a slope begins, and the slope (Fortz and Thorup's).
_BENDS = ((0.0, 1.0), (1 / 3, 3.0), (2 / 3, 10.0), (0.9, 70.0), (1.0, 500.0), (1.1, 5_000.0))


def convex_shares(
    pool: PathPool, demand_kbps: Array, optimum: float, time_limit_s: float = float("inf")
) -> Array | None:
    """Return shares over the pool's paths [paths]; None past the deadline or without demand."""
    if optimum <= 0:
        return None
    pair, usage = pool.pair, pool.usage
    paths, resources, pairs = len(pair), pool.network.resources, len(pool.pairs)
    solver = Solver(time_limit_s)
    # Shares that carry nothing would be arbitrary, so every path costs a trace of its work.
    trace = 1e-7 * np.asarray(usage.sum(axis=0)).ravel() / float(usage.data.max(initial=1e-300))
    solver.add_columns(trace)
    # A column per resource and slope, as wide as the slope is long; cheap ones fill first.
    begins, slopes = np.array(_BENDS).T
    widths = np.append(np.diff(begins), np.inf)
    solver.add_columns(np.tile(slopes, resources), np.tile(widths, resources))
    choose = sparse.csr_array((np.ones(paths), (pair, np.arange(paths))), shape=(pairs, paths))
    choose = choose[np.diff(choose.indptr) > 0]
    one = np.ones(choose.shape[0])
    widen = sparse.csr_array((len(one), resources * len(slopes)))
    solver.add_rows(sparse.hstack([choose, widen], format="csr"), one, one)
    filled = usage @ sparse.diags_array(demand_kbps[pair] / optimum)
    parts = -sparse.kron(sparse.eye_array(resources), np.ones((1, len(slopes))))
    nothing = np.zeros(resources)
    solver.add_rows(sparse.hstack([filled, parts], format="csr"), nothing, nothing)
    solution = solver.run()
    return None if solution is None else solution.columns[:paths]
