"""Registrations: key, place, radio and hash chain; they bind epochs ahead and lock a bond."""

from __future__ import annotations

from dataclasses import replace

from chain.draws import digest
from chain.records import Refusal, Registration, Signed
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.state import ANCHOR_BYTES, Assertion, Chain, Hotspot, State
from chain.wire import body_of

# Replaced assertions are told apart by this much of a hash: to reuse one, a hotspot would have to
# make two of its own collide, and would then be refused its own registration.
RETIRED_BYTES = 8


def process_registration(
    state: State, signed: Signed, registration: Registration, verify: Verify
) -> Verdict:
    """Add a hotspot, or replace what one asserts."""
    index = state.index_of.get(registration.key)
    hotspot = None if index is None else state.hotspots[index]
    if hotspot and shorten(registration) in [a.registration for a in hotspot.assertions]:
        return Accepted(index, ALREADY)
    if refusal := get_registration_refusal(state, signed, registration, hotspot, verify):
        return refusal
    if hotspot is None:
        hotspot = Hotspot(len(state.hotspots), registration.key, [])
        state.hotspots.append(hotspot)
        state.index_of[registration.key] = hotspot.index
    process_bond(state, hotspot, registration)
    process_assertion(state, hotspot, registration)
    state.touch("hotspots", hotspot.index)
    binds = hotspot.newest.bind_epoch
    return Accepted(hotspot.index, detail=f"binds in epoch {binds}")


def get_registration_refusal(
    state: State,
    signed: Signed,
    registration: Registration,
    hotspot: Hotspot | None,
    verify: Verify,
) -> Refusal | None:
    """Why a registration can't be taken, if so."""
    if hotspot and compute_assertion_id(shorten(registration)) in hotspot.retired:
        return Refusal("duplicate", "registration: was replaced since; sign a new one")
    if not is_signed_by_both(state, signed, registration, verify):
        return Refusal("bad_signature", "signatures: the hotspot and then its owner must sign")
    needed = compute_bond_due(state, hotspot, registration)
    held = state.balance(registration.owner)
    if held < needed:
        return Refusal(
            "insufficient_balance",
            f"owner: holds {held} ucr, the bond takes {needed}; deposit the difference",
        )
    return None


def is_signed_by_both(
    state: State, signed: Signed, registration: Registration, verify: Verify
) -> bool:
    """Whether the hotspot and its owner signed, in this order."""
    name, network_id = registration.NAME, state.network_id
    return len(signed.signatures) == 2 and all(
        verify(key, name, network_id, signed.body, signature)
        for key, signature in zip(
            (registration.key, registration.owner), signed.signatures, strict=True
        )
    )


def compute_bond_due(state: State, hotspot: Hotspot | None, registration: Registration) -> int:
    """What the owner must lock now: nothing if its bond is locked already."""
    locked = hotspot is not None and hotspot.owner == registration.owner
    return 0 if locked else state.params.bond_ucr


def process_bond(state: State, hotspot: Hotspot, registration: Registration) -> None:
    """Lock the new owner's bond and return the one of an owner before."""
    due = compute_bond_due(state, hotspot if hotspot.assertions else None, registration)
    if not due:
        return
    if hotspot.bond_ucr:
        state.credit(hotspot.owner, hotspot.bond_ucr)
    state.debit(registration.owner, due)
    hotspot.bond_ucr = due


def shorten(registration: Registration) -> Registration:
    """A registration as the state keeps it: with the start of its anchor alone."""
    return replace(registration, anchor=registration.anchor[:ANCHOR_BYTES])


def compute_assertion_id(registration: Registration) -> bytes:
    """What tells a shortened registration from the others of its hotspot once it is gone."""
    return digest("retired", body_of(registration))[:RETIRED_BYTES]


def process_assertion(state: State, hotspot: Hotspot, registration: Registration) -> None:
    """Queue the assertion to bind; one that hasn't bound yet gives way to it."""
    bind_epoch = max(state.epoch + state.params.bind_epochs, registration.first_epoch)
    while hotspot.assertions and hotspot.newest.bind_epoch >= bind_epoch:
        hotspot.retired.append(compute_assertion_id(hotspot.assertions.pop().registration))
    forget_before = state.epoch - state.params.late_epochs
    while len(hotspot.assertions) > 1 and hotspot.assertions[1].bind_epoch < forget_before:
        hotspot.retired.append(compute_assertion_id(hotspot.assertions.pop(0).registration))
    chain = get_chain(hotspot, registration)
    state.account(registration.owner)  # its slot stands for it from now on
    kept = shorten(registration)
    hotspot.assertions.append(Assertion(hotspot.index, kept, bind_epoch, chain))


def get_chain(hotspot: Hotspot, registration: Registration) -> Chain:
    """The hash chain of an assertion: shared with the one before if it is the same chain."""
    first, anchor = registration.first_epoch, registration.anchor
    wanted = (first, registration.chain_length, anchor[:ANCHOR_BYTES])
    for assertion in hotspot.assertions:
        chain = assertion.chain
        if (chain.first_epoch, chain.length, chain.anchor) == wanted:
            return chain
    return Chain(*wanted, tip_epoch=first - 1, tip=anchor)
