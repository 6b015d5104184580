"""One settlement under way: who gets what, gathered, and booked once per hotspot and account."""

from __future__ import annotations

from dataclasses import dataclass, field

from chain.rules.burns import BASIS_POINTS
from chain.rules.cell_work import CellWork, MappingPlace, get_cell_work
from chain.rules.outcome import NO_HOTSPOT, Effects, Payment
from chain.rules.split import compute_split
from chain.state import State

COVERAGE, BOUNTY, BOOTSTRAP = "coverage", "bounty", "bootstrap"
WITNESS, MAPPER = "witness", "mapper"
NO_PAYER = b""
# A cell of resolution 8 holds seven of resolution 9.
MAPPED_CELLS = 7


@dataclass(slots=True)
class Payday:
    """What a settlement pays, before it is booked: by hotspot, by account, by kind."""

    state: State
    work: dict[int, CellWork]
    owners: list[bytes]
    payments: list[Payment] = field(default_factory=list)
    earned: dict[int, int] = field(default_factory=dict)
    credits: dict[bytes, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    dust_ucr: int = 0

    def note(self, kind: str, ucr: int) -> None:
        """Count what is paid for one kind of work."""
        self.kinds[kind] = self.kinds.get(kind, 0) + ucr


def get_payday(state: State) -> Payday:
    """A settlement with everybody's work and nothing paid."""
    return Payday(state, get_cell_work(state), [hotspot.owner for hotspot in state.hotspots])


def get_strangers(day: Payday, weights: dict[int, int], source: bytes) -> dict[int, int]:
    """Those of other owners than the one who pays."""
    if not source:
        return weights
    return {h: weight for h, weight in weights.items() if day.owners[h] != source}


def compute_full_mapper_units(day: Payday) -> int:
    """Units of a cell whose every part was mapped after the longest time by who heard the most."""
    params = day.state.params
    return MAPPED_CELLS * params.mapper_age_units[0][1] * params.mapper_heard_permille[-1] // 1_000


def compute_mapper_fee_ucr(day: Payday, amount_ucr: int, units: int) -> int:
    """What mappers get of an amount: the fee as far as they made the cell's map surer."""
    full = compute_full_mapper_units(day)
    fee_bp = day.state.params.mapper_fee_bp
    return amount_ucr * fee_bp * min(units, full) // (BASIS_POINTS * full)


def process_cell_pay(day: Payday, cell: int, amount_ucr: int, kind: str, source: bytes) -> int:
    """Pay an amount to a cell's strangers; what was paid, which is all or nothing."""
    work, params = day.work[cell], day.state.params
    coverage = get_strangers(day, work.coverage, source)
    if not coverage:
        return 0
    witnesses = get_strangers(day, work.witnesses, source)
    measuring = amount_ucr * params.witness_fee_bp // BASIS_POINTS if witnesses else 0
    mapping = compute_mapper_fee_ucr(day, amount_ucr, work.mapper_units)
    process_shares(day, cell, amount_ucr - measuring - mapping, coverage, kind, source)
    if measuring:
        process_shares(day, cell, measuring, witnesses, WITNESS, source)
    if mapping:
        process_mapper_shares(day, mapping, work.mappers)
    return amount_ucr


def process_shares(
    day: Payday, cell: int, amount_ucr: int, weights: dict[int, int], kind: str, source: bytes
) -> None:
    """Split an amount over hotspots; their owners get it."""
    split = compute_split(amount_ucr, list(weights.values()))
    day.dust_ucr += split.dust_ucr
    day.note(kind, amount_ucr)
    epoch, owners, earned, make = day.state.epoch, day.owners, day.earned, Payment._make
    for index, share in zip(weights, split.shares, strict=True):
        if share:
            earned[index] = earned.get(index, 0) + share
            day.payments.append(make((epoch, kind, owners[index], index, cell, share, source)))


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
    for index, ucr in sorted(day.earned.items()):
        state.hotspots[index].earned_ucr += ucr
        state.touch("hotspots", index)
        state.credit(day.owners[index], ucr)
    for key, ucr in day.credits.items():
        state.credit(key, ucr)
    for kind, ucr in sorted(day.kinds.items()):
        state.add("stats", f"paid_{kind}_ucr", ucr)
    state.add("stats", "dust_ucr", day.dust_ucr)
    effects.payments.extend(day.payments)
