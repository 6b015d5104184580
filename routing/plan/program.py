"""The scenario program: the splits that fill the fullest resource least, averaged over scenarios.

    minimise   sum_k t_k  +  churn x (share of the traffic that changes its path)
    over       splits x of every pair over the paths of the pool, and t_k
    such that  w_k sum_i usage[r, i] demand[k, pair(i)] x_i  <=  t_k   for scenario k, resource r

A weight w_k is the scenario's probability over the least utilisation that is possible with it, so
that busy and quiet scenarios count alike and sum_k t_k is what bench/te.py measures. The churn term
is linear (L1), the moved share itself: it ends oscillation and costs no utilisation to speak of.

Nearly all rows (k, r) never bind, so they are added when a solution breaks them (Benders' cuts, in
the plain words of a path program); the few that bind are found in two or three rounds. Paths join
the pool the same way, when the duals say that one would help (`price_paths`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from routing.plan.network import Array, Csr, Ints, Network, Pair
from routing.plan.paths import Hops, Plan, path_usage
from routing.plan.solver import Solution, Solver

_BROKEN = 1e-4
_DROP_SHARE = 1e-3
_CUTS_PER_SCENARIO = 4
_MAX_ROUNDS = 30
Cut = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ProgramParams:
    """`churn`: what moving all traffic must gain, in optimal utilisations; `frugal`: so much work.

    `pricing_rounds`: how often to look for new paths; `time_limit_s` is HiGHS's own run time.
    """

    churn: float = 0.4
    frugal: float = 1e-4
    pricing_rounds: int = 1
    time_limit_s: float = float("inf")


class PathPool:
    """Simple paths per pair; only grows until `trim` throws out what no plan used lately."""

    def __init__(self, network: Network, pairs: Sequence[Pair]) -> None:
        self.network = network
        self.pairs = tuple(pairs)
        self._index_of = {pair: index for index, pair in enumerate(self.pairs)}
        self.hops: list[Hops] = []
        self._column: dict[Hops, int] = {}
        self._pair: list[int] = []
        self._usage: Csr | None = None

    def add(self, paths: Sequence[Hops]) -> int:
        """Take new paths in; return how many were new."""
        before = len(self.hops)
        for path in paths:
            if path not in self._column:
                self._column[path] = len(self.hops)
                self.hops.append(path)
                self._pair.append(self._index_of[path[0], path[-1]])
        if len(self.hops) > before:
            fresh = path_usage(self.network, self.hops[before:])
            self._usage = (
                fresh if self._usage is None else sparse.hstack([self._usage, fresh], format="csr")
            )
        return len(self.hops) - before

    def trim(self, keep: Sequence[Hops]) -> None:
        """Forget all other paths."""
        self.hops, self._pair, self._column, self._usage = [], [], {}, None
        self.add(sorted(set(keep)))

    @property
    def pair(self) -> Ints:
        """The pair of every path, [paths]."""
        return np.array(self._pair, dtype=np.int64)

    @property
    def usage(self) -> Csr:
        """Resource shares per kbps on a path, csr [R, paths]."""
        if self._usage is None:
            raise ValueError("pool: no paths; add some first")
        return self._usage

    def shares_of(self, plan: Plan) -> Array:
        """Return a plan's shares over the pool's paths; its paths must have been added."""
        shares = np.zeros(len(self.hops))
        for hops, share in zip(plan.hops, plan.share, strict=True):
            shares[self._column[hops]] = share
        return shares


class ScenarioProgram:
    """One scenario program over a pool, solved with cuts; see the module's text for the formula.

    Columns are what each split gains and, where it is not zero now, what it loses, so the plan in
    use is the starting basis and moved traffic is a plain sum. `held`: shares over the pool that
    moving away from costs; None for a first plan, which moves for nothing. `background` [K, R]: the
    utilisation that traffic outside this program adds.
    """

    def __init__(
        self,
        pool: PathPool,
        demands_kbps: Array,
        weights: Array,
        held: Array | None,
        params: ProgramParams,
        background: Array | None = None,
        expected: Sequence[Cut] = (),
    ) -> None:
        """`expected`: rows that bound lately, to begin with instead of finding them again."""
        self._pool, self._params = pool, params
        known = len(demands_kbps), pool.network.resources
        self._expected = [(k, r) for k, r in expected if k < known[0] and r < known[1]]
        self._demands, self._weights = demands_kbps, weights
        self._pair, self._usage = pool.pair, pool.usage
        shape = (len(demands_kbps), pool.network.resources)
        self._background = np.zeros(shape) if background is None else background
        self._held = held if held is not None else _first_of_each(self._pair)
        self._churn = params.churn if held is not None else 0.0
        self._loses = np.flatnonzero(self._held > 0)
        mean = demands_kbps.mean(axis=0)
        self._part = mean / max(1e-12, float(mean.sum()))
        self._solver = Solver(params.time_limit_s)
        self._cuts: dict[tuple[int, int], None] = {}
        self._pair_rows = 0
        self._build()

    def _build(self) -> None:
        pair, loses = self._pair, self._loses
        cost = self._path_costs()
        self._solver.add_columns(cost + self._churn * self._part[pair])
        self._solver.add_columns(-cost[loses], self._held[loses])
        self._solver.add_columns(np.ones(len(self._demands)))
        pairs = len(self._pool.pairs)
        ones = np.ones(len(pair))
        gains = sparse.csr_array((ones, (pair, np.arange(len(pair)))), shape=(pairs, len(pair)))
        rest = sparse.csr_array((pairs, len(self._demands)))
        matrix = sparse.hstack([gains, -gains.tocsc()[:, loses], rest], format="csr")
        self._solver.add_rows(matrix, np.zeros(pairs), np.zeros(pairs))
        self._pair_rows = pairs

    def _path_costs(self) -> Array:
        """Prefer less work among equals: a path's work, over that of the pair's least."""
        pair = self._pair
        work = np.asarray(self._usage.sum(axis=0)).ravel()
        least = np.full(len(self._part), np.inf)
        np.minimum.at(least, pair, work)
        ratio: Array = work / np.maximum(least[pair], 1e-300)
        costs: Array = self._params.frugal * self._part[pair] * ratio
        return costs

    def solve(self) -> tuple[Array, Solution] | None:
        """Return shares over the pool's paths [paths] and the solution; None past the deadline."""
        paths, scenarios = len(self._pair), len(self._demands)
        shares, tops = self._held, np.zeros(scenarios)
        solution: Solution | None = None
        for _ in range(_MAX_ROUNDS):
            if not self._cut(shares, tops):
                break
            solution = self._solver.run()
            if solution is None:
                return None
            shares = self._held + solution.columns[:paths]
            shares[self._loses] -= solution.columns[paths : paths + len(self._loses)]
            tops = solution.columns[-scenarios:]
        return (np.maximum(shares, 0.0), solution) if solution is not None else None

    def _cut(self, shares: Array, tops: Array) -> bool:
        """Add the rows that the shares break most, per scenario; tell whether there were any."""
        live = np.flatnonzero(shares)
        carried = shares[live, None] * self._demands[:, self._pair[live]].T
        filled = (self._usage[:, live] @ carried).T + self._background
        filled *= self._weights[:, None]
        worst = np.argsort(-filled, axis=1, kind="stable")[:, :_CUTS_PER_SCENARIO]
        peak = filled.max(axis=1)
        broken = peak > tops + _BROKEN * float(peak.mean())
        new = [
            (k, r)
            for k in np.flatnonzero(broken | (len(self._cuts) == 0)).tolist()
            for r in worst[k].tolist()
            if (k, r) not in self._cuts and filled[k, r] > tops[k]
        ]
        if new and self._expected:
            new = list(dict.fromkeys([*new, *self._expected]))
            self._expected = []
        if new:
            self._add_cuts(new)
        return bool(new)

    def binding(self, solution: Solution) -> list[Cut]:
        """Return the rows (scenario, resource) that hold the solution up."""
        duals = solution.duals[self._pair_rows :]
        return [cut for cut, dual in zip(self._cuts, duals.tolist(), strict=True) if dual < 0.0]

    def _add_cuts(self, new: list[tuple[int, int]]) -> None:
        rows = self._usage[[r for _, r in new]]
        scenario = np.array([k for k, _ in new])
        row_of = np.repeat(np.arange(len(new)), np.diff(rows.indptr))
        demand = self._demands[scenario[row_of], self._pair[rows.indices]]
        values = rows.data * demand * self._weights[scenario[row_of]]
        gains = sparse.csr_array((values, rows.indices, rows.indptr), shape=rows.shape)
        gains.eliminate_zeros()
        tops = sparse.csr_array(
            (-np.ones(len(new)), (np.arange(len(new)), scenario)),
            shape=(len(new), len(self._demands)),
        )
        matrix = sparse.hstack([gains, -gains.tocsc()[:, self._loses], tops], format="csr")
        resource = np.array([r for _, r in new])
        taken = self._background[scenario, resource] * self._weights[scenario]
        room = -(gains @ self._held) - taken
        self._solver.add_rows(matrix, np.full(len(new), -np.inf), room)
        self._cuts |= dict.fromkeys(new)

    def price_paths(self, solution: Solution) -> list[Hops]:
        """Return paths outside the pool that the duals call cheaper than those inside.

        One price per link for all pairs, as if every pair's demand moved with the total, so that
        one Dijkstra per source does. A path that doesn't help stays at zero in the next solve.
        """
        duals = -solution.duals[self._pair_rows :]
        total = self._demands.sum(axis=1)
        typical = np.zeros(self._pool.network.resources)
        for (k, r), dual in zip(self._cuts, duals.tolist(), strict=True):
            typical[r] += max(0.0, dual) * self._weights[k] * total[k]
        return cheapest_paths(self._pool.network, self._pool.pairs, typical)


def _first_of_each(pair: Ints) -> Array:
    shares = np.zeros(len(pair))
    shares[np.unique(pair, return_index=True)[1]] = 1.0
    return shares


def cheapest_paths(network: Network, pairs: Sequence[Pair], price: Array) -> list[Hops]:
    """Return the cheapest path of every pair under prices [R] of the resources' shares."""
    toll = np.asarray(network.usage.T @ price).ravel()
    work = np.asarray(network.usage.sum(axis=0)).ravel()
    # A little of the work itself, so that free links are not wandered over.
    ends = np.array(network.links, dtype=np.int64)
    cost = toll + work * (1e-3 * float(toll.max(initial=0.0)) / float(work.max()))
    # A free link still counts as one, or csgraph would take it for no link.
    cost = np.maximum(cost, max(1e-300, 1e-9 * float(cost.max())))
    graph = sparse.csr_array((cost, (ends[:, 0], ends[:, 1])), shape=(network.nodes,) * 2)
    sources = sorted({source for source, _ in pairs})
    _, before = csgraph.dijkstra(graph, indices=sources, return_predecessors=True)
    row_of = {source: row for row, source in enumerate(sources)}
    found = (_trace(before[row_of[source]], source, target) for source, target in pairs)
    return [path for path in found if path]


def _trace(before: Ints, source: int, target: int) -> Hops:
    hops = [target]
    while hops[-1] != source:
        tail = int(before[hops[-1]])
        if tail < 0:
            return ()
        hops.append(tail)
    return tuple(reversed(hops))


def plan_from_shares(pool: PathPool, shares: Array, expert: str) -> Plan:
    """Make a plan of shares over the pool's paths; crumbs are swept up."""
    kept = np.where(shares >= _DROP_SHARE, shares, 0.0)
    total = np.bincount(pool.pair, kept, minlength=len(pool.pairs))
    index = np.flatnonzero(kept)
    pair = pool.pair[index]
    hops = tuple(pool.hops[i] for i in index.tolist())
    return Plan(pool.pairs, hops, pair, kept[index] / total[pair], expert)
