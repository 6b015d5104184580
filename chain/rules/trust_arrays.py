"""The power iterations of chain/rules/trust.py over arrays: the same integers, many at a time.

`chain.rules.trust.compute_trust_by_rounds` is the rule, this is a faster way to the same numbers
for large networks where numpy is installed (a test compares them bit for bit). Everything is int64
and nothing can overflow: the trust of all hotspots together never exceeds TOTAL = 2^40, since a
round passes on at most what it got; the largest products are TOTAL times 1,000 (damping, in
permille) and times the cap of an edge, checked to stay below 2^63 for any parameters.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from chain.optional import get_numpy
from chain.params import Params

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

FULL_PERMILLE = 1_000
INT64_END = 1 << 63


def fits_arrays(total: int, before: list[int], params: Params) -> bool:
    """Whether no product or sum of the iterations can leave int64."""
    largest = max(FULL_PERMILLE, params.trust_damping_permille, params.trust_edge_cap)
    is_damped = 0 <= params.trust_damping_permille <= FULL_PERMILLE
    return is_damped and sum(before) <= total and total * largest < INT64_END


class LinkArrays:
    """Links in both directions, sorted by where they lead.

    `slots[k]` is `source * cap + weight - 1` of the k-th; those that lead to `nodes[i]` begin at
    `starts[i]`. `outflow` is the sum of weights per hotspot, 1 where there are no links.
    """

    def __init__(self, np: Any, links: dict[tuple[int, int], int], count: int, cap: int) -> None:
        ends = np.fromiter(chain.from_iterable(links), np.int64, 2 * len(links)).reshape(-1, 2)
        capped = np.minimum(np.fromiter(links.values(), np.int64, len(links)), cap)
        bits = (count * cap).bit_length()  # a hotspot more than 2^28 of a cap of 4 has no index
        targets = np.concatenate((ends[:, 1], ends[:, 0]))
        slots = np.concatenate((ends[:, 0], ends[:, 1])) * cap + np.tile(capped - 1, 2)
        packed = targets << bits | slots
        packed.sort()  # by target; the order of a sum's terms is all the same
        degree = np.bincount(targets, minlength=count)
        self.nodes = np.flatnonzero(degree)
        self.starts = (np.cumsum(degree) - degree)[self.nodes]
        self.slots = packed & (1 << bits) - 1
        self.outflow = np.ones(count, np.int64)
        self.outflow[self.nodes] = np.add.reduceat(self.slots % cap + 1, self.starts)


def compute_trust_by_arrays(
    links: dict[tuple[int, int], int], source: list[int], before: list[int], params: Params
) -> list[int]:
    """Trust after `trust_rounds` iterations from `before`; call `fits_arrays` first.

    Needs numpy and at least one link.
    """
    np, cap, damping = get_numpy(), params.trust_edge_cap, params.trust_damping_permille
    arrays = LinkArrays(np, links, len(before), cap)
    fresh: NDArray[numpy.int64] = (
        np.array(source, np.int64) * (FULL_PERMILLE - damping) // FULL_PERMILLE
    )
    trust: NDArray[numpy.int64] = np.array(before, np.int64)
    steps, outflow = np.arange(1, cap + 1), arrays.outflow[:, None]
    for _ in range(params.trust_rounds):
        passed = trust * damping // FULL_PERMILLE
        shares = (passed[:, None] * steps // outflow).ravel()  # by source and weight
        trust = fresh.copy()
        trust[arrays.nodes] += np.add.reduceat(shares[arrays.slots], arrays.starts)
    result: list[int] = trust.tolist()
    return result
