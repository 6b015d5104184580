"""Refuted claims: whom a confirmed finding costs the trust of its place, and for how long.

A hold alone waits; confirmed, what it kept back goes to those who cover the cells. Without more,
the same claim would have to be held and confirmed again and again, and what others are due would
wait for an appeal each time. So a hotspot that auditors confirmed not to be where it claims has no
trust and gives none, until it claims another place (where it must be heard anew,
chain/rules/moves.py), or until the evidence is as old as evidence may be. A newer hold that ends
otherwise ends this too. As of open holds there are no more of them than a third of all hotspots:
those of whom it was said first.
"""

from __future__ import annotations

from chain.holds import Outcome, PastHold
from chain.rules.moves import is_same_place
from chain.state import State


def get_refuted(state: State) -> frozenset[int]:
    """Hotspots whose claims are refuted."""
    if not state.params.refuted_rest:
        return frozenset()
    found = sorted(
        (past.ended_epoch, index)
        for index, past in state.past_holds.items()
        if is_claimed_still(state, index, past)
    )
    most = 1 + len(state.hotspots) * state.params.hold_open_permille // 1_000
    return frozenset(index for _, index in found[:most])


def is_claimed_still(state: State, index: int, past: PastHold) -> bool:
    """Whether a hotspot still claims the place about which the finding was confirmed."""
    if past.outcome != Outcome.CONFIRMED:
        return False
    hotspot = state.hotspots[index]
    now = hotspot.assertion_at(state.epoch) or hotspot.newest
    then = hotspot.assertion_at(past.last_epoch) or hotspot.assertions[0]
    return is_same_place(now.registration.cell, then.registration.cell)


def get_refuted_until(state: State, past: PastHold) -> int:
    """The epoch from which a refuted claim is believed again, if nothing else ends it."""
    return past.last_epoch + state.params.hold_epochs_max + 1
