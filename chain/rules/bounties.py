"""Bounties: what a sponsor locks for coverage of cells, and gets back as far as nobody earned it.

All of it is locked at once. At every settlement each cell pays at most `per_settlement_ucr` of what
is left, by the same split as what payers burned there, to other owners' hotspots than the sponsor's
own. The fee is destroyed first, as of every burned credit: sponsoring oneself always loses.
"""

from __future__ import annotations

from chain.records import Bounty, Refusal, Signed
from chain.rules.outcome import Accepted, Verdict, Verify
from chain.rules.treasury import (
    get_account_refusal,
    get_balance_refusal,
    get_nonce_refusal,
    process_nonce,
)
from chain.state import BountyCell, State


def process_bounty(state: State, signed: Signed, bounty: Bounty, verify: Verify) -> Verdict:
    """Lock a bounty's amount for each of its cells; the index is that of the bounty."""
    if refusal := get_bounty_refusal(state, signed, bounty, verify):
        return refusal
    process_nonce(state, bounty.sponsor, bounty.nonce)
    state.debit(bounty.sponsor, bounty.amount_ucr * len(bounty.cells))
    number = state.next_bounty
    state.next_bounty += 1
    for cell in bounty.cells:
        state.bounties[cell, number] = BountyCell(
            bounty.sponsor, bounty.amount_ucr, bounty.per_settlement_ucr, bounty.until_epoch
        )
        state.touch("bounties", (cell, number))
    return Accepted(number)


def get_bounty_refusal(
    state: State, signed: Signed, bounty: Bounty, verify: Verify
) -> Refusal | None:
    """Why a bounty can't be taken, if so."""
    return (
        get_terms_refusal(state, bounty)
        or get_nonce_refusal(state, bounty.sponsor, bounty.nonce)
        or get_account_refusal(state, signed, bounty.sponsor, "sponsor", verify)
        or get_balance_refusal(
            state, bounty.sponsor, bounty.amount_ucr * len(bounty.cells), "amount_ucr"
        )
    )


def get_terms_refusal(state: State, bounty: Bounty) -> Refusal | None:
    """Why a bounty's terms make no sense, if so."""
    least, last = state.params.bounty_min_ucr, state.epoch + state.params.bounty_epochs_max
    if bounty.amount_ucr < least:
        return Refusal("under_minimum", f"amount_ucr: must be at least {least} per cell; raise it")
    if bounty.per_settlement_ucr > bounty.amount_ucr:
        return Refusal("over_cap", "per_settlement_ucr: exceeds amount_ucr; lower it")
    if not state.epoch < bounty.until_epoch <= last:
        return Refusal("wrong_epoch", f"until_epoch: must be from {state.epoch + 1} to {last}")
    return None


def process_bounty_paid(state: State, cell: int, number: int, paid_ucr: int) -> None:
    """Take what was paid, fee included, out of a bounty."""
    state.bounties[cell, number].left_ucr -= paid_ucr
    state.touch("bounties", (cell, number))


def process_expired_bounties(state: State) -> None:
    """Return what nobody earned of bounties past their last epoch, and forget empty ones."""
    ended = [
        place
        for place, bounty in sorted(state.bounties.items())
        if bounty.until_epoch < state.epoch or not bounty.left_ucr
    ]
    for place in ended:
        bounty = state.bounties.pop(place)
        if bounty.left_ucr:
            state.credit(bounty.sponsor, bounty.left_ucr)
        state.touch("bounties", place)
