"""Moves: what a hotspot takes along when it asserts another place, and what stays behind.

Trust says that people around a place heard a hotspot there; it would follow the key to wherever it
is asserted next, and fade over six settlements only: trusted keys would be worth buying to vouch
for an empty place. So when another cell binds, its trust and its links of this settlement are gone,
and a good name as a witness with them: what it hears is to be proven anew. A bad one comes along.
An honest mover is heard by its new neighbours within an epoch, and the next settlement trusts it
again; until then its witnessing isn't paid. What it covered before is paid by its new trust.

A finer or coarser cell of the same place is no move, another height, gain or power neither: trust
and slopes don't depend on them. Every new assertion must be heard anew, though: what was heard of
the one before counts for no mutual hearing (chain/rules/mutual.py).
"""

from __future__ import annotations

from chain.geo import cell_parent, cell_resolution
from chain.records import Registration
from chain.rules.hearing import is_blind
from chain.state import Hotspot, State


def is_same_place(one: int, other: int) -> bool:
    """Whether one of two cells holds the other."""
    coarse, fine = sorted((one, other), key=cell_resolution)
    return cell_parent(fine, cell_resolution(coarse)) == coarse


def process_planned_move(
    state: State, hotspot: Hotspot, registration: Registration, bind_epoch: int
) -> None:
    """Note that a registration, which isn't among the hotspot's assertions yet, may be a move."""
    if not state.params.moves_reset or not hotspot.assertions:
        return
    if any(a.registration.cell != registration.cell for a in hotspot.assertions):
        state.moves[hotspot.index] = bind_epoch
        state.touch("moves", hotspot.index)


def process_moves(state: State) -> None:
    """Let trust stay behind where another place binds from the epoch on that has just begun."""
    due = sorted(index for index, epoch in state.moves.items() if epoch <= state.epoch)
    moved = {index for index in due if has_moved(state, state.hotspots[index])}
    for index in due:
        del state.moves[index]
        state.touch("moves", index)
    for index in sorted(moved):
        process_move(state, state.hotspots[index])
    for link in [link for link in state.links if moved and not moved.isdisjoint(link)]:
        del state.links[link]
        state.touch("links", link)


def has_moved(state: State, hotspot: Hotspot) -> bool:
    """Whether what binds now is elsewhere than what bound an epoch before."""
    now, before = (hotspot.assertion_at(epoch) for epoch in (state.epoch, state.epoch - 1))
    if now is None or before is None:
        return False
    return not is_same_place(now.registration.cell, before.registration.cell)


def process_move(state: State, hotspot: Hotspot) -> None:
    """Forget what was known of a hotspot at the place that it left."""
    hotspot.trust, state.reached = 0, None
    if not is_blind(state.params, hotspot):
        hotspot.slope_db2 = hotspot.spread_db2 = 0
    state.touch("hotspots", hotspot.index)
