"""Settlement: what coverage, witnessing and mapping earn; docs/rewards.md has a worked table.

Three purses pay, cell by cell: what payers burned there (pools), bounties, and the bootstrap. Each
is split the same way (chain/rules/payday.py) by the same weights (chain/rules/cell_work.py).
"""

from __future__ import annotations

from collections import Counter

from chain.optional import get_numpy
from chain.rules.bounties import process_bounty_paid, process_expired_bounties
from chain.rules.burns import BASIS_POINTS, get_reward_cell
from chain.rules.mappings import (
    compute_agreed,
    process_mapping_work,
    process_new_mappings,
    process_old_maps,
    process_waiting_mappings,
)
from chain.rules.outcome import Effects
from chain.rules.payday import (
    BOOTSTRAP,
    BOUNTY,
    COVERAGE,
    NO_PAYER,
    Payday,
    PlainPayday,
    process_cell_pay,
    process_payday,
)
from chain.rules.payday_arrays import ArrayPayday, fits_arrays
from chain.rules.payments import NOBODY
from chain.rules.quality import get_counted
from chain.rules.sessions import process_expired_sessions
from chain.rules.trust import process_trust
from chain.rules.verdicts import Judgement
from chain.state import State

# From so many rows on arrays win, and the time to import numpy is worth it.
ARRAYS_FROM = 20_000


def process_counted(state: State, judgement: Judgement) -> None:
    """Add an epoch's counted receptions to what the next settlement pays for.

    A beacon that is heard in a cell covers that cell. Witnesses are paid for what others
    corroborate.
    """
    counted = list(get_counted(judgement))
    hearers = Counter([(item.beaconer, item.sequence) for item in counted if item.quality])
    quality: dict[tuple[int, int], int] = {}  # by witness and beaconer
    measured: dict[int, int] = {}
    for heard, sequence, witness, units, weight in counted:
        pair = (witness, heard)
        quality[pair] = quality.get(pair, 0) + units
        if hearers[heard, sequence] > bool(units):  # besides itself
            measured[witness] = measured.get(witness, 0) + weight
    cells = {index: get_reward_cell(state, index) for index in {pair[0] for pair in quality}}
    state.add_all("quality", (((cells[w], heard), n) for (w, heard), n in quality.items() if n))
    state.add_all("measured", (((cells[w], w), weight) for w, weight in measured.items()))


def get_payday(state: State) -> Payday:
    """A settlement with everybody's work and nothing paid."""
    is_large = len(state.quality) >= ARRAYS_FROM and get_numpy() is not None
    return ArrayPayday(state) if is_large and fits_arrays(state) else PlainPayday(state)


def compute_bootstrap_ucr(state: State) -> int:
    """Most that this settlement may mint: halves every `bootstrap_halving` settlements."""
    params = state.params
    return params.bootstrap_ucr >> state.settlement // params.bootstrap_halving


def compute_bootstrap_share_ucr(state: State, covered: int) -> int:
    """Most that each of so many covered cells gets of the bootstrap in this settlement."""
    cap = state.params.bootstrap_cell_cap_ucr
    return min(cap, compute_bootstrap_ucr(state) // covered)


def process_pools(day: Payday) -> None:
    """Pay what payers burned in each cell to whoever covers it, up to the value cap of the cell."""
    state, amounts, paid = day.state, [], []
    places = sorted(state.pools)
    bills = [(cell, NO_PAYER if account == NOBODY else account) for cell, account in places]
    here, left = -1, 0
    for place, is_payable in zip(places, day.find_payable(bills), strict=True):
        if place[0] != here:
            here, left = place[0], state.params.value_cap_ucr
        amount = min(state.pools[place], left) if is_payable else 0
        amounts.append(amount)
        if amount:
            left -= amount
            paid.append((place, amount))
    day.pay_all(bills, amounts, COVERAGE)
    for place, amount in paid:
        state.pools[place] -= amount
        if not state.pools[place]:
            del state.pools[place]
    state.touch_all("pools", (place for place, _ in paid))


def process_bounties(day: Payday) -> None:
    """Pay what sponsors offer for each cell, less the fee, to whoever covers it."""
    state = day.state
    for (cell, number), bounty in sorted(state.bounties.items()):
        offered = min(bounty.per_settlement_ucr, bounty.left_ucr)
        fee = offered * state.params.fee_bp // BASIS_POINTS
        if process_cell_pay(day, cell, offered - fee, BOUNTY, bounty.sponsor):
            process_bounty_paid(state, cell, number, offered)
            state.supply.destroyed += fee


def compute_trusted_share_ucr(state: State, share_ucr: int, trust_ppm: int) -> int:
    """What a cell gets of its bootstrap share, by the trust of the hotspots that stand in it."""
    full_ppm = state.params.bootstrap_trust_ppm
    return share_ucr * min(trust_ppm, full_ppm) // full_ppm


def process_bootstrap(day: Payday) -> None:
    """Mint the bootstrap: an equal, capped share per covered cell; the rest isn't minted."""
    state = day.state
    covered = day.get_covered()
    if not covered:
        return
    share = compute_bootstrap_share_ucr(state, len(covered))
    amounts = [compute_trusted_share_ucr(state, share, ppm) for ppm in covered.values()]
    bills = [(cell, NO_PAYER) for cell in covered]
    state.supply.minted += day.pay_all(bills, amounts, BOOTSTRAP)


def process_settlement(state: State, effects: Effects) -> None:
    """Trust, then pay by it, then return what expired and start counting anew."""
    process_trust(state)
    day = get_payday(state)
    agreed = compute_agreed(day)
    process_waiting_mappings(day, agreed)
    mappings = process_mapping_work(day, agreed)
    process_pools(day)
    process_bounties(day)
    process_bootstrap(day)
    process_new_mappings(day, mappings, agreed)
    process_payday(day, effects)
    process_expired_bounties(state)
    process_expired_sessions(state)
    process_old_maps(state)
    for table in ("quality", "measured", "links", "hold_new"):
        state.clear(table)
    state.settlement += 1
