"""What a hold does to pay: kept back at settlements, given back or forfeited at its end.

Only what a hotspot earns by being present is kept back: coverage, bounties, bootstrap and the fee
of witnesses. What it relays and answers is paid as ever. A forfeited amount goes back to the pools
of the cells that it came from, under the owner's name, so that only others who cover them share it;
every step is a payment line.
"""

from __future__ import annotations

from collections.abc import Iterable

from chain.holds import RELEASING, OpenHold, Outcome, PastHold, Pay
from chain.rules.payments import NOBODY, Payment, Payments
from chain.state import State

RELEASE, FORFEIT, DEPOSIT = "release", "forfeit", "hold_deposit"


def get_held(state: State) -> frozenset[int]:
    """Hotspots whose presence pay is kept back."""
    return frozenset(state.holds)


def add_pay(pay: Pay, more: Iterable[tuple[int, int]]) -> Pay:
    """Amounts by cell, with more of them."""
    sums = dict(pay)
    for cell, ucr in more:
        sums[cell] = sums.get(cell, 0) + ucr
    return tuple(sorted(sums.items()))


def process_held_pay(state: State, pay: dict[int, dict[int, int]]) -> None:
    """Keep back what held hotspots earned at a settlement, by hotspot and cell."""
    for index, cells in sorted(pay.items()):
        hold = state.holds[index]
        hold.pay = add_pay(hold.pay, cells.items())
        state.touch("holds", index)
        state.add("stats", "held_ucr", sum(cells.values()))


def process_hold_end(
    state: State, index: int, outcome: Outcome, ruling: bytes, payments: Payments
) -> PastHold:
    """End the hold of a hotspot: pay and deposit go where the outcome sends them."""
    hold = state.holds.pop(index)
    owner = state.hotspots[index].owner
    if outcome in RELEASING:
        process_release(state, index, hold, payments)
    else:
        process_forfeit(state, index, hold, payments)
    for auditor in hold.auditors:
        process_open_count(state, auditor, -1)
    if hold.deposit_ucr:
        to = [owner] if outcome in RELEASING else list(hold.auditors)
        for account in to:
            share = hold.deposit_ucr // len(to)
            state.credit(account, share)
            payments.append(Payment(state.epoch, DEPOSIT, account, index, 0, share, b""))
    past = PastHold(
        *(hold.record_id, hold.test, hold.last_epoch, hold.opened_epoch, state.epoch),
        *(int(outcome), hold.pay_ucr, hold.deposit_ucr, ruling),
    )
    state.past_holds[index] = past
    for table in ("holds", "past_holds"):
        state.touch(table, index)
    return past


def process_release(state: State, index: int, hold: OpenHold, payments: Payments) -> None:
    """Give an owner all that was kept back, in full."""
    hotspot = state.hotspots[index]
    if hold.pay_ucr:
        hotspot.earned_ucr += hold.pay_ucr
        state.credit(hotspot.owner, hold.pay_ucr)
        state.touch("hotspots", index)
        state.add("stats", "released_ucr", hold.pay_ucr)
    for cell, ucr in hold.pay:
        payments.append(Payment(state.epoch, RELEASE, hotspot.owner, index, cell, ucr, b""))


def process_forfeit(state: State, index: int, hold: OpenHold, payments: Payments) -> None:
    """Give the cells back what a hotspot that wasn't there took from who was."""
    owner = state.hotspots[index].owner
    for cell, ucr in hold.pay:
        state.add("pools", (cell, owner), ucr)
        payments.append(Payment(state.epoch, FORFEIT, NOBODY, index, cell, ucr, b""))
    if hold.pay_ucr:
        state.add("stats", "forfeited_ucr", hold.pay_ucr)


def process_open_count(state: State, auditor: bytes, change: int) -> None:
    """Count the open holds that an auditor signed."""
    count = state.hold_open.get(auditor, 0) + change
    if count:
        state.hold_open[auditor] = count
    else:
        state.hold_open.pop(auditor, None)
    state.touch("hold_open", auditor)


def process_expired_holds(state: State, payments: Payments) -> None:
    """End holds that nobody confirmed in time; forget evidence that is too old to come again."""
    due = [index for index, hold in state.holds.items() if hold.expiry_epoch <= state.epoch]
    for index in sorted(due):
        process_hold_end(state, index, Outcome.EXPIRED, b"", payments)
    oldest = state.epoch - state.params.hold_epochs_max
    for index in [i for i, past in state.past_holds.items() if past.last_epoch < oldest]:
        del state.past_holds[index]
        state.touch("past_holds", index)
