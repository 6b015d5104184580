"""Settling large networks over arrays: what chain/rules/payday.py pays, to the unit.

Used where numpy is installed and the network is large; `PlainPayday` is the rule, and a test
compares both. Everything is int64. Products of amounts and weights don't fit, so a share is worked
out digit by digit, as one divides on paper: with weights that add up to less than 2^T, digits of
62 - T bits keep every intermediate below 2^63. A hotspot's quality is 576 beacons a day * 5
witnesses * 512 units at most; times 10^6 ppm of trust and 1,993 permille of ranks that is below
2^52, and T = 54 leaves room; smaller totals take larger digits, so fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from chain.geo import cell_parents
from chain.optional import get_numpy
from chain.rules.burns import BASIS_POINTS
from chain.rules.payday import (
    WITNESS,
    Payday,
    compute_mapper_fee_ucr,
    process_mapper_shares,
)
from chain.rules.payment_columns import Jobs, SharedPayments
from chain.rules.payments import Payments
from chain.rules.trust import FULL_PPM, compute_trust_ppm
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
    fits = permille[-1] == 0 and total < 1 << MAX_TOTAL_BITS and pays < 1 << 62
    largest = max(state.params.bootstrap_ucr, state.params.value_cap_ucr)
    return fits and largest * BASIS_POINTS < 1 << 62


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
        self.trust_ppm = self._get_cell_trust(trust, cells)
        self._low, self._high = self._get_slot_spans()
        self.jobs = Jobs(np)
        self._shared_at = -1  # payments before the first of those that `finish` works out

    def _get_coverage(self, trust: Any) -> tuple[Any, Any, Any, Any]:
        """Covered cells; and by cell and rank: number of the cell, hotspot, weight."""
        np, state = self.np, self.state
        cell, hotspot, quality = get_table(np, state.quality)
        self._heard = cell, hotspot
        score = quality * trust[hotspot]
        cell, hotspot, score = (values[score > 0] for values in (cell, hotspot, score))
        cells, number = np.unique(cell, return_inverse=True)
        order = sort_within(np, number, score.max(initial=0) - score, hotspot)
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
        standing = [hotspot.assertions[-1].registration.cell for hotspot in state.hotspots]
        cell = cell_parents(np, np.array(standing, np.int64), state.params.reward_resolution)
        number = np.minimum(np.searchsorted(cells, cell), max(0, len(cells) - 1))
        sums = np.zeros(len(cells), np.int64)
        inside = cells[number] == cell if len(cells) else np.zeros(len(trust), bool)
        np.add.at(sums, number[inside], trust[inside])
        result: list[int] = sums.tolist()
        return result

    def _get_slot_spans(self) -> tuple[Any, Any]:
        """The lowest and the highest slot of an account among who covers, and who measured, a cell.

        Two rows, by number of the cell; NOBODY where there is none, and behind the last cell.
        """
        np, starts = self.np, self.bounds[:-1]
        some = np.flatnonzero(self.bounds[1:] > starts)
        spans = []
        for extreme in (np.minimum, np.maximum):
            found = np.full(len(starts), NOBODY, np.int64)
            if len(some):
                found[some] = extreme.reduceat(self.entry_slots, starts[some])
            rows = found.reshape(2, -1)
            spans.append(np.concatenate((rows, np.full((2, 1), NOBODY)), axis=1))
        return spans[0], spans[1]

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
        covers, measures = self._has_others(number, self._get_slot(source)).tolist()
        return covers, measures

    def _has_others(self, number: Any, slot: Any) -> Any:
        """Whether others than the account of a slot cover, and measured, the cell of a number."""
        low, high = self._low[:, number], self._high[:, number]
        return (low != NOBODY) & ((low != slot) | (high != slot))

    def share(self, cell: int, ucr: int, kind: str, source: bytes) -> None:
        """See Payday; the splitting waits for `finish`."""
        self._note_place()
        number = self.number[cell] + (len(self.cells) if kind == WITNESS else 0)
        self.jobs.add(number, ucr, kind, source)
        self.note(kind, ucr)

    def _note_place(self) -> None:
        """What is shared is paid after the payments so far, and before those to come."""
        if self._shared_at < 0:
            self._shared_at = len(self.payments)

    def find_heard(self, hotspots: set[int]) -> Iterable[tuple[int, int]]:
        """See Payday."""
        np = self.np
        cell, hotspot = self._heard
        is_wanted = np.zeros(len(self.owners) + 1, bool)
        is_wanted[[index for index in hotspots if index < len(self.owners)]] = True
        at = np.flatnonzero(is_wanted[hotspot])
        return zip(cell[at].tolist(), hotspot[at].tolist(), strict=True)

    def find_payable(self, bills: Sequence[tuple[int, bytes]]) -> Sequence[bool]:
        """See Payday."""
        covers: list[bool] = self._find_others(bills)[1].tolist()
        return covers

    def _find_others(self, bills: Sequence[tuple[int, bytes]]) -> tuple[Any, Any, Any, Any]:
        """Per bill the number of its cell, whether others cover it and measured it, and of whose.

        Cells that nobody covers share a number behind the last, under which there is nobody.
        """
        np, jobs = self.np, self.jobs
        none = len(self.cells)
        number = np.array([self.number.get(cell, none) for cell, _ in bills], np.int64)
        source = np.array([jobs.number_source(payer) for _, payer in bills], np.int64)
        slot = np.array([self._get_slot(payer) for payer in jobs.sources], np.int64)[source]
        covers, measures = self._has_others(number, slot)
        return number, covers, measures, source

    def pay_all(
        self, bills: Sequence[tuple[int, bytes]], amounts: Sequence[int], kind: str
    ) -> int:
        """See Payday; the splitting waits for `finish`."""
        if not bills:
            return 0
        np, count, jobs = self.np, len(self.cells), self.jobs
        self._note_place()
        number, covers, measures, source = self._find_others(bills)
        ucr = np.array(amounts, np.int64) * covers
        measuring = ucr * self.state.params.witness_fee_bp // BASIS_POINTS * measures
        mapping = self._share_mapping(bills, ucr) if self.mapper_units else 0
        kinds = np.array([jobs.number_kind(kind), jobs.number_kind(WITNESS)])
        pairs = (
            (number, number + count),
            (ucr - measuring - mapping, measuring),
            np.broadcast_to(kinds[:, None], (2, len(bills))),
            (source, source),
        )
        kept = np.stack((ucr > 0, measuring > 0), axis=1)
        jobs.add_all(*(np.stack(pair, axis=1)[kept] for pair in pairs))
        for name, part, is_kept in zip((kind, WITNESS), pairs[1], kept.T, strict=True):
            if is_kept.any():
                self.note(name, int(part[is_kept].sum()))
        return int(ucr.sum())

    def _share_mapping(self, bills: Sequence[tuple[int, bytes]], ucr: Any) -> Any:
        """Put mappers' part of every bill aside; the parts."""
        parts = self.np.zeros(len(bills), self.np.int64)
        for at, ((cell, _), amount) in enumerate(zip(bills, ucr.tolist(), strict=True)):
            units = self.mapper_units.get(cell, 0)
            if amount and units and (fee := compute_mapper_fee_ucr(self.state, amount, units)):
                process_mapper_shares(self, fee, self.mappers[cell])
                parts[at] = fee
        return parts

    def finish(self) -> None:
        """Split every amount, in the order in which they were shared."""
        np, state = self.np, self.state
        numbers, amounts, _, sources = self.jobs.columns()
        if not len(numbers):
            return
        slots = np.array([self._get_slot(source) for source in self.jobs.sources], np.int64)
        job, entry = self._expand(numbers, slots[sources])
        shares, dust_ucr = compute_shares(np, job, amounts, self.weights[entry])
        self.dust_ucr += dust_ucr
        paid = shares > 0
        job, hotspots, shares = job[paid], self.hotspots[entry[paid]], shares[paid]
        earned = np.zeros(len(self.owners), np.int64)
        np.add.at(earned, hotspots, shares)
        places = np.array(self.cells, np.int64)[numbers % len(self.cells)]
        if self.held:
            earned[list(self.held)] = 0
            kept = np.flatnonzero(np.isin(hotspots, list(self.held)))
            lines = (hotspots[kept], places[job[kept]], shares[kept])
            for index, cell, ucr in zip(*(part.tolist() for part in lines), strict=True):
                self.keep_back(index, cell, ucr)
        who = np.flatnonzero(earned)
        self.earned = dict(zip(who.tolist(), earned[who].tolist(), strict=True))
        shared = SharedPayments(
            *(state.epoch, self.jobs, places, self.payees, job, hotspots, shares)
        )
        single, self.payments = self.payments[:], Payments()
        for part in (single[: self._shared_at], shared, single[self._shared_at :]):
            self.payments.extend(part)

    def _expand(self, numbers: Any, slots: Any) -> tuple[Any, Any]:
        """(job, entry) of every entry that shares in a job, by job."""
        np = self.np
        sizes = self.bounds[numbers + 1] - self.bounds[numbers]
        job = np.repeat(np.arange(len(numbers)), sizes)
        entry = np.arange(len(job)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        entry += np.repeat(self.bounds[numbers], sizes)
        strangers = self.entry_slots[entry] != slots[job]
        return job[strangers], entry[strangers]


def sort_within(np: Any, group: Any, value: Any, tie: Any) -> Any:
    """The order by group, then value, then tie; none negative, groups and values below 2^62.

    One sort where group and value fit 63 bits together; where they don't, or several are alike, a
    second one of those that the first can't tell apart.
    """
    bits = int(value.max(initial=0)).bit_length()
    cut = max(0, bits + int(group.max(initial=0)).bit_length() - 63)
    key = (group << bits - cut) | (value >> cut)
    order = np.argsort(key, kind="stable")
    key = key[order]
    alike = np.zeros(len(key) + 1, bool)
    alike[1:-1] = key[1:] == key[:-1]
    at = np.flatnonzero(alike[1:] | alike[:-1])
    part = order[at]
    order[at] = part[np.lexsort((tie[part], value[part], group[part]))]
    return order


def compute_shares(np: Any, job: Any, amounts: Any, weights: Any) -> tuple[Any, int]:
    """Shares of `amounts[job]` by weights within each job, and the dust of all; job ascending.

    As `compute_split`, for jobs 0, 1, ... that all have a weight; totals below 2^MAX_TOTAL_BITS.
    """
    starts = np.searchsorted(job, np.arange(len(amounts)))
    totals = np.add.reduceat(weights, starts)
    total, bits = totals[job], 62 - int(totals.max()).bit_length()
    shares, rest = np.zeros(len(job), np.int64), np.zeros(len(job), np.int64)
    for shift in range(int(amounts.max()).bit_length() // bits * bits, -1, -bits):
        digit = (amounts >> shift & (1 << bits) - 1)[job]
        rest = (rest << bits) + digit * weights
        shares = (shares << bits) + rest // total
        rest %= total
    dust = amounts - np.add.reduceat(shares, starts)
    order = sort_within(np, job, total - rest, np.arange(len(job)))
    rank = np.arange(len(job)) - starts[job]
    shares[order[rank < dust[job]]] += 1
    return shares, int(dust.sum())
