"""One settlement under way: who gets what, gathered, and booked once per hotspot and account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chain.rules.burns import BASIS_POINTS
from chain.rules.cell_work import CellWork, MappingPlace, get_cell_work
from chain.rules.held import get_held, process_held_pay
from chain.rules.outcome import Effects
from chain.rules.payments import NO_HOTSPOT, NOBODY, Payment, Payments
from chain.rules.split import compute_split
from chain.state import State

COVERAGE, BOUNTY, BOOTSTRAP = "coverage", "bounty", "bootstrap"
WITNESS, MAPPER = "witness", "mapper"
NO_PAYER = b""
# A cell of resolution 8 holds seven of resolution 9.
MAPPED_CELLS = 7


class Payday:
    """What a settlement pays, before it is booked: by hotspot, by account, by kind.

    `mappers` has the units of mappings, by cell, part of it, and place; `mapper_units` their sum
    over the best of each part. `payees` are the owners, but NOBODY of a hotspot whose pay is held;
    `held_pay` is what those earned, by hotspot and cell. chain/rules/payday_arrays.py does the same
    for large networks.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.owners = [hotspot.owner for hotspot in state.hotspots]
        self.held = get_held(state)
        self.payees = [NOBODY if n in self.held else key for n, key in enumerate(self.owners)]
        self.held_pay: dict[int, dict[int, int]] = {}
        self.payments = Payments()
        self.earned: dict[int, int] = {}
        self.credits: dict[bytes, int] = {}
        self.kinds: dict[str, int] = {}
        self.dust_ucr = 0
        self.mappers: dict[int, dict[int, dict[MappingPlace, int]]] = {}
        self.mapper_units: dict[int, int] = {}

    def note(self, kind: str, ucr: int) -> None:
        """Count what is paid for one kind of work."""
        self.kinds[kind] = self.kinds.get(kind, 0) + ucr

    def keep_back(self, index: int, cell: int, ucr: int) -> None:
        """Note what a held hotspot earned in a cell."""
        cells = self.held_pay.setdefault(index, {})
        cells[cell] = cells.get(cell, 0) + ucr

    def get_covered(self) -> dict[int, int]:
        """Cells that somebody covers, ascending, with the trust (ppm) of who stands in them."""
        raise NotImplementedError

    def find_heard(self, hotspots: set[int]) -> Iterable[tuple[int, int]]:
        """(cell, hotspot) wherever a witness that counts heard one of these hotspots."""
        return (place for place in self.state.quality if place[1] in hotspots)

    def find_strangers(self, cell: int, source: bytes) -> tuple[bool, bool]:
        """Whether others than the one who pays cover a cell, and whether others measured it."""
        raise NotImplementedError

    def find_payable(self, bills: Sequence[tuple[int, bytes]]) -> Sequence[bool]:
        """Of each (cell, who pays), whether others than that one cover the cell."""
        return [self.find_strangers(cell, source)[0] for cell, source in bills]

    def share(self, cell: int, ucr: int, kind: str, source: bytes) -> None:
        """Split an amount over a cell's witnesses (kind WITNESS) or hotspots that cover it.

        Who pays gets nothing of it; call `find_strangers` first.
        """
        raise NotImplementedError

    def pay_all(
        self, bills: Sequence[tuple[int, bytes]], amounts: Sequence[int], kind: str
    ) -> int:
        """`process_cell_pay` for each (cell, who pays) with its amount; what was paid in all."""
        return sum(
            process_cell_pay(self, cell, amount, kind, source)
            for (cell, source), amount in zip(bills, amounts, strict=True)
            if amount
        )

    def finish(self) -> None:
        """Work out what was put off."""


class PlainPayday(Payday):
    """The rule, cell by cell."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.work: dict[int, CellWork] = get_cell_work(state)

    def get_covered(self) -> dict[int, int]:
        """See Payday."""
        return {cell: work.trust_ppm for cell, work in self.work.items() if work.coverage}

    def find_strangers(self, cell: int, source: bytes) -> tuple[bool, bool]:
        """See Payday."""
        work = self.work.get(cell)
        if work is None:
            return False, False
        covers, measures = (
            any(self.owners[hotspot] != source for hotspot in weights)
            for weights in (work.coverage, work.witnesses)
        )
        return covers, measures

    def share(self, cell: int, ucr: int, kind: str, source: bytes) -> None:
        """See Payday."""
        work, owners = self.work[cell], self.owners
        every = work.witnesses if kind == WITNESS else work.coverage
        weights = {h: weight for h, weight in every.items() if owners[h] != source}
        split = compute_split(ucr, list(weights.values()))
        self.dust_ucr += split.dust_ucr
        self.note(kind, ucr)
        for index, share in zip(weights, split.shares, strict=True):
            if share:
                if index in self.held:
                    self.keep_back(index, cell, share)
                else:
                    self.earned[index] = self.earned.get(index, 0) + share
                payee, epoch = self.payees[index], self.state.epoch
                self.payments.append(Payment(epoch, kind, payee, index, cell, share, source))


def compute_full_mapper_units(state: State) -> int:
    """Units of a cell whose every part was mapped after the longest time by who heard the most."""
    params = state.params
    return MAPPED_CELLS * params.mapper_age_units[0][1] * params.mapper_heard_permille[-1] // 1_000


def compute_mapper_fee_ucr(state: State, amount_ucr: int, units: int) -> int:
    """What mappers get of an amount: the fee as far as they made the cell's map surer."""
    full = compute_full_mapper_units(state)
    fee_bp = state.params.mapper_fee_bp
    return amount_ucr * fee_bp * min(units, full) // (BASIS_POINTS * full)


def process_cell_pay(day: Payday, cell: int, amount_ucr: int, kind: str, source: bytes) -> int:
    """Pay an amount to a cell's strangers; what was paid, which is all or nothing."""
    covers, measures = day.find_strangers(cell, source)
    if not covers:
        return 0
    measuring = amount_ucr * day.state.params.witness_fee_bp // BASIS_POINTS if measures else 0
    units = day.mapper_units.get(cell, 0)
    mapping = compute_mapper_fee_ucr(day.state, amount_ucr, units) if units else 0
    day.share(cell, amount_ucr - measuring - mapping, kind, source)
    if measuring:
        day.share(cell, measuring, WITNESS, source)
    if mapping:
        process_mapper_shares(day, mapping, day.mappers[cell])
    return amount_ucr


def process_mapper_shares(
    day: Payday, amount_ucr: int, mappers: dict[int, dict[MappingPlace, int]]
) -> None:
    """Put a fee aside for mappings: over the parts of a cell by their best, within a part by units.

    chain/rules/mappings.py pays it out: at once where somebody agrees already.
    """
    parts = list(mappers.values())
    between = compute_split(amount_ucr, [max(units.values()) for units in parts])
    day.dust_ucr += between.dust_ucr
    for ucr, units in zip(between.shares, parts, strict=True):
        within = compute_split(ucr, list(units.values()))
        day.dust_ucr += within.dust_ucr
        for place, share in zip(units, within.shares, strict=True):
            day.state.mappings[place].held_ucr += share


def process_mapper_pay(day: Payday, cell: int, key: bytes, amount_ucr: int) -> None:
    """Pay a mapper's account what was put aside for it."""
    if amount_ucr:
        day.credits[key] = day.credits.get(key, 0) + amount_ucr
        day.note(MAPPER, amount_ucr)
        payment = Payment(day.state.epoch, MAPPER, key, NO_HOTSPOT, cell, amount_ucr, NO_PAYER)
        day.payments.append(payment)


def process_payday(day: Payday, effects: Effects) -> None:
    """Book it all."""
    state = day.state
    day.finish()
    hotspots, owners = state.hotspots, day.owners
    for index, ucr in sorted(day.earned.items()):
        hotspots[index].earned_ucr += ucr
        state.credit(owners[index], ucr)
    state.touch_all("hotspots", day.earned)
    process_held_pay(state, day.held_pay)
    for key, ucr in day.credits.items():
        state.credit(key, ucr)
    for kind, ucr in sorted(day.kinds.items()):
        state.add("stats", f"paid_{kind}_ucr", ucr)
    state.add("stats", "dust_ucr", day.dust_ucr)
    effects.payments.extend(day.payments)
