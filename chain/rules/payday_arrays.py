"""Settling large networks over arrays: what chain/rules/payday.py pays, to the unit.

Used where numpy is installed and the network is large; `PlainPayday` is the rule, and a test
compares both. Everything is int64. Products of amounts and weights don't fit, so a share is worked
out digit by digit, as one divides on paper: with weights that add up to less than 2^T, digits of
62 - T bits keep every intermediate below 2^63. A hotspot's quality is 576 beacons a day * 5
witnesses * 128 units at most; times 10^6 ppm of trust and 1,993 permille of ranks that is below
2^50, and T = 54 leaves room.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, repeat
from typing import Any

from chain.rules.burns import get_reward_cell
from chain.rules.outcome import Payment
from chain.rules.payday import WITNESS, Payday
from chain.rules.trust import FULL_PPM, compute_trust_ppm
from chain.rules.trust_arrays import get_numpy
from chain.state import State

MAX_TOTAL_BITS = 54
NOBODY = -1


def get_table(np: Any, rows: dict[tuple[int, int], int]) -> tuple[Any, Any, Any]:
    """Cells, hotspots and numbers of a table."""
    keys = np.fromiter(chain.from_iterable(rows), np.int64, 2 * len(rows)).reshape(-1, 2)
    return keys[:, 0], keys[:, 1], np.fromiter(rows.values(), np.int64, len(rows))


def fits_arrays(state: State) -> bool:
    """Whether no weight, nor the sum of a cell's, nor anybody's pay can leave int64."""
    permille, best = state.params.overlap_permille, max(state.quality.values(), default=0)
    total = max(best * FULL_PPM * sum(permille), sum(state.measured.values()))
    pays = sum(state.pools.values()) + state.params.bootstrap_ucr
    pays += sum(bounty.left_ucr for bounty in state.bounties.values())
    # A last rank above 0 would mean that any number of hotspots may share a cell.
    return permille[-1] == 0 and total < 1 << MAX_TOTAL_BITS and pays < 1 << 62


class ArrayPayday(Payday):
    """The same pay, all cells at once; call `fits_arrays` first.

    Coverage and witnesses of all cells lie one after another: cell `k` has the coverage at
    `bounds[k]` to `bounds[k + 1]`, and the witnesses at `bounds[cells + k]` and on.
    """

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.np = np = get_numpy()
        trust = np.array(compute_trust_ppm(state), np.int64)
        cells, *coverage = self._get_coverage(trust)
        self.cells: list[int] = cells.tolist()
        self.number = {cell: k for k, cell in enumerate(self.cells)}
        witnesses = self._get_witnesses(trust, cells)
        self.hotspots = np.concatenate((coverage[1], witnesses[1]))
        self.weights = np.concatenate((coverage[2], witnesses[2]))
        sizes = [np.bincount(part[0], minlength=len(cells)) for part in (coverage, witnesses)]
        self.bounds = np.concatenate(([0], np.cumsum(np.concatenate(sizes))))
        slots = np.array([state.accounts[owner].slot for owner in self.owners], np.int64)
        self.entry_slots = slots[self.hotspots]
        self._slots: list[int] = self.entry_slots.tolist()
        self._bounds: list[int] = self.bounds.tolist()
        self.trust_ppm = self._get_cell_trust(trust, cells)
        self.jobs: list[tuple[int, int, int, str, bytes]] = []  # bounds, amount, slot, kind, source

    def _get_coverage(self, trust: Any) -> tuple[Any, Any, Any, Any]:
        """Covered cells; and by cell and rank: number of the cell, hotspot, weight."""
        np, state = self.np, self.state
        cell, hotspot, quality = get_table(np, state.quality)
        score = quality * trust[hotspot]
        cell, hotspot, score = (values[score > 0] for values in (cell, hotspot, score))
        cells, number = np.unique(cell, return_inverse=True)
        order = sort_by_rank(np, number, score, hotspot)
        number, hotspot, score = number[order], hotspot[order], score[order]
        size = np.bincount(number, minlength=len(cells))
        rank = np.arange(len(number)) - (np.cumsum(size) - size)[number]
        permille = np.array(state.params.overlap_permille, np.int64)
        weight = score * permille[np.minimum(rank, len(permille) - 1)]
        kept = weight > 0
        return cells, number[kept], hotspot[kept], weight[kept]

    def _get_witnesses(self, trust: Any, cells: Any) -> tuple[Any, Any, Any]:
        """By covered cell and hotspot: number of the cell, hotspot, corroborated receptions."""
        np = self.np
        cell, hotspot, count = get_table(np, self.state.measured)
        number = np.minimum(np.searchsorted(cells, cell), max(0, len(cells) - 1))
        kept = (trust[hotspot] > 0) & (len(cells) > 0)
        kept = kept & (cells[number] == cell) if len(cells) else kept
        number, hotspot, count = number[kept], hotspot[kept], count[kept]
        order = np.lexsort((hotspot, number))
        return number[order], hotspot[order], count[order]

    def _get_cell_trust(self, trust: Any, cells: Any) -> list[int]:
        """Per covered cell, the trust of who stands in it."""
        np, state = self.np, self.state
        standing = (get_reward_cell(state, hotspot) for hotspot in range(len(trust)))
        cell = np.fromiter(standing, np.int64, len(trust))
        number = np.minimum(np.searchsorted(cells, cell), max(0, len(cells) - 1))
        sums = np.zeros(len(cells), np.int64)
        inside = cells[number] == cell if len(cells) else np.zeros(len(trust), bool)
        np.add.at(sums, number[inside], trust[inside])
        result: list[int] = sums.tolist()
        return result

    def get_covered(self) -> dict[int, int]:
        """See Payday."""
        return dict(zip(self.cells, self.trust_ppm, strict=True))

    def _get_slot(self, source: bytes) -> int:
        account = self.state.accounts.get(source)
        return NOBODY if account is None else account.slot

    def find_strangers(self, cell: int, source: bytes) -> tuple[bool, bool]:
        """See Payday."""
        number = self.number.get(cell)
        if number is None:
            return False, False
        slot = self._get_slot(source)
        return self._has_other(number, slot), self._has_other(len(self.cells) + number, slot)

    def _has_other(self, number: int, slot: int) -> bool:
        start, end, slots = self._bounds[number], self._bounds[number + 1], self._slots
        if slot == NOBODY:
            return start < end
        return any(slots[entry] != slot for entry in range(start, end))

    def share(self, cell: int, ucr: int, kind: str, source: bytes) -> None:
        """See Payday; the splitting waits for `finish`."""
        number = self.number[cell] + (len(self.cells) if kind == WITNESS else 0)
        self.jobs.append((number, ucr, self._get_slot(source), kind, source))
        self.note(kind, ucr)

    def finish(self) -> None:
        """Split every amount, in the order in which they were shared."""
        if not self.jobs:
            return
        np = self.np
        numbers, amounts, slots = (
            np.fromiter((job[k] for job in self.jobs), np.int64, len(self.jobs)) for k in range(3)
        )
        job, entry = self._expand(numbers, slots)
        shares, dust_ucr = compute_shares(np, job, amounts, self.weights[entry])
        self.dust_ucr += dust_ucr
        paid = shares > 0
        job, hotspots, shares = job[paid], self.hotspots[entry[paid]], shares[paid]
        earned = np.zeros(len(self.owners), np.int64)
        np.add.at(earned, hotspots, shares)
        who = np.flatnonzero(earned)
        self.earned = dict(zip(who.tolist(), earned[who].tolist(), strict=True))
        self.payments[:0] = self._get_payments(job.tolist(), hotspots.tolist(), shares.tolist())

    def _expand(self, numbers: Any, slots: Any) -> tuple[Any, Any]:
        """(job, entry) of every entry that shares in a job, by job."""
        np = self.np
        sizes = self.bounds[numbers + 1] - self.bounds[numbers]
        job = np.repeat(np.arange(len(numbers)), sizes)
        entry = np.arange(len(job)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        entry += np.repeat(self.bounds[numbers], sizes)
        strangers = self.entry_slots[entry] != slots[job]
        return job[strangers], entry[strangers]

    def _get_payments(
        self, job: list[int], hotspots: list[int], shares: list[int]
    ) -> list[Payment]:
        cells = len(self.cells)
        kinds = [one[3] for one in self.jobs]
        sources = [one[4] for one in self.jobs]
        places = [self.cells[one[0] % cells] for one in self.jobs]
        return list(
            map(
                partial(tuple.__new__, Payment),  # as Payment._make, without a call in Python
                zip(
                    *(repeat(self.state.epoch), map(kinds.__getitem__, job)),
                    *(map(self.owners.__getitem__, hotspots), hotspots),
                    *(map(places.__getitem__, job), shares, map(sources.__getitem__, job)),
                    strict=False,
                ),
            )
        )


def sort_by_rank(np: Any, number: Any, score: Any, hotspot: Any) -> Any:
    """The order by cell, then falling score, then hotspot.

    In one sort where the three fit 63 bits, since scores take few values: several times faster.
    """
    values, level = np.unique(-score, return_inverse=True)
    bits = [int(top).bit_length() for top in (len(values), hotspot.max(initial=0))]
    if int(number.max(initial=0)).bit_length() + sum(bits) > 63:
        return np.lexsort((hotspot, -score, number))
    return np.argsort((number << sum(bits)) | (level << bits[1]) | hotspot)


def compute_shares(np: Any, job: Any, amounts: Any, weights: Any) -> tuple[Any, int]:
    """Shares of `amounts[job]` by weights within each job, and the dust of all; job ascending.

    As `compute_split`, for jobs 0, 1, ... that all have a weight; totals below 2^MAX_TOTAL_BITS.
    """
    starts = np.searchsorted(job, np.arange(len(amounts)))
    total = np.add.reduceat(weights, starts)[job]
    bits = 62 - MAX_TOTAL_BITS
    shares, rest = np.zeros(len(job), np.int64), np.zeros(len(job), np.int64)
    for shift in range(int(amounts.max()).bit_length() // bits * bits, -1, -bits):
        digit = (amounts >> shift & (1 << bits) - 1)[job]
        rest = (rest << bits) + digit * weights
        shares = (shares << bits) + rest // total
        rest %= total
    dust = amounts - np.add.reduceat(shares, starts)
    order = np.argsort(-rest, kind="stable")
    order = order[np.argsort(job[order], kind="stable")]
    rank = np.arange(len(job)) - starts[job]
    shares[order[rank < dust[job]]] += 1
    return shares, int(dust.sum())
