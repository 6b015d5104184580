"""The edge program: least maximum utilisation for one demand matrix, over all paths there are.

Multicommodity flow with one commodity per source (a demand's target doesn't matter to the source's
flow until it is decomposed), or per target where those are fewer, on the network turned round; so
N x E columns instead of pairs x E, and E alone from any number of hotspots to the gateways. It says
what hindsight could have had, and its flows are where the plans' paths come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from routing.plan.network import Array, Csr, Ints, Network, Pair, reverse
from routing.plan.solver import Solver

# Prefers less work among equally good optima, and keeps circulations out: above the solver's
# tolerance of 1e-7, too small to be seen in the optimum.
_FRUGAL = 1e-6


@dataclass(frozen=True, slots=True)
class EdgeFlow:
    """`utilisation` of the fullest resource, and kbps [commodities, E] by commodity.

    A commodity is a source, or a target if `is_reversed`: then links carry it from head to tail.
    """

    utilisation: float
    sources: tuple[int, ...]
    flow_kbps: Array
    is_reversed: bool = False


class EdgeProgram:
    """Solves matrix after matrix for the same network and pairs, each from the last basis."""

    def __init__(self, network: Network, pairs: Sequence[Pair]) -> None:
        if not pairs:
            raise ValueError("pairs: none; name at least one source and target")
        self.is_reversed = len({t for _, t in pairs}) < len({s for s, _ in pairs})
        if self.is_reversed:
            network, pairs = reverse(network), [(target, source) for source, target in pairs]
        self.network = network
        self.sources = tuple(sorted({source for source, _ in pairs}))
        row_of = {source: row for row, source in enumerate(self.sources)}
        self._commodity = np.array([row_of[source] for source, _ in pairs], dtype=np.int64)
        self._source = np.array([source for source, _ in pairs], dtype=np.int64)
        self._target = np.array([target for _, target in pairs], dtype=np.int64)
        # HiGHS has absolute tolerances, so utilisation and demands come to it near 1.
        self._unit = 1.0 / float(np.median(network.usage.data))
        self._solver = self._build()

    def _build(self) -> Solver:
        network, commodities = self.network, len(self.sources)
        scaled = network.usage * self._unit
        frugal = np.tile(_FRUGAL * np.asarray(scaled.sum(axis=0)).ravel(), commodities)
        solver = Solver()
        solver.add_columns(np.append(frugal, 1.0))
        balance = sparse.kron(sparse.eye_array(commodities), _incidence(network), format="csr")
        zeros = np.zeros(balance.shape[0])
        solver.add_rows(_widened(balance, 1), zeros, zeros)
        usage = sparse.hstack(
            [sparse.hstack([scaled] * commodities), -np.ones((network.resources, 1))],
            format="csr",
        )
        no_limit = np.full(network.resources, -np.inf)
        solver.add_rows(usage, no_limit, np.zeros(network.resources))
        return solver

    def solve(self, demand_kbps: Array) -> EdgeFlow | None:
        """Return the best flow for demands [pairs] in kbps; None if some target is out of reach."""
        largest = float(np.max(demand_kbps, initial=0.0))
        shape = (len(self.sources), len(self.network.links))
        if largest <= 0:
            return EdgeFlow(0.0, self.sources, np.zeros(shape), self.is_reversed)
        self._solver.set_equal(0, self._balance(demand_kbps / largest))
        solution = self._solver.run()
        if solution is None:
            return None
        flow = np.maximum(solution.columns[:-1], 0.0).reshape(shape) * largest
        utilisation = float(solution.columns[-1]) * largest / self._unit
        return EdgeFlow(utilisation, self.sources, flow, self.is_reversed)

    def _balance(self, demand_kbps: Array) -> Array:
        """Return what each node takes out of each commodity, [commodities * nodes]."""
        nodes = self.network.nodes
        need = np.zeros(len(self.sources) * nodes)
        np.add.at(need, self._commodity * nodes + self._target, demand_kbps)
        np.add.at(need, self._commodity * nodes + self._source, -demand_kbps)
        return need


def _incidence(network: Network) -> Csr:
    """Return csr [nodes, E]: +1 where a link ends, -1 where it begins."""
    edges = len(network.links)
    ends: Ints = np.array(network.links, dtype=np.int64)
    rows = np.concatenate([ends[:, 1], ends[:, 0]])
    columns = np.tile(np.arange(edges), 2)
    values = np.concatenate([np.ones(edges), -np.ones(edges)])
    return sparse.csr_array((values, (rows, columns)), shape=(network.nodes, edges))


def _widened(matrix: Csr, columns: int) -> Csr:
    return sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], columns))], format="csr")
