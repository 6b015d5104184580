"""Registrations: key, place, radio and hash chain; they bind epochs ahead and lock a bond."""

from __future__ import annotations

from chain.records import Refusal, Registration, Signed
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.state import Assertion, Chain, Hotspot, State


def process_registration(
    state: State, signed: Signed, registration: Registration, verify: Verify
) -> Verdict:
    """Add a hotspot, or replace what one asserts."""
    index = state.index_of.get(registration.key)
    hotspot = None if index is None else state.hotspots[index]
    if hotspot and any(a.record_id == signed.record_id for a in hotspot.assertions):
        return Accepted(index, ALREADY)
    if refusal := get_registration_refusal(state, signed, registration, hotspot, verify):
        return refusal
    if hotspot is None:
        hotspot = Hotspot(len(state.hotspots), registration.key, [])
        state.hotspots.append(hotspot)
        state.index_of[registration.key] = hotspot.index
    process_bond(state, hotspot, registration)
    process_assertion(state, hotspot, signed, registration)
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
    if hotspot and signed.record_id in hotspot.retired:
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


def process_assertion(
    state: State, hotspot: Hotspot, signed: Signed, registration: Registration
) -> None:
    """Queue the assertion to bind; one that hasn't bound yet gives way to it."""
    bind_epoch = max(state.epoch + state.params.bind_epochs, registration.first_epoch)
    while hotspot.assertions and hotspot.newest.bind_epoch >= bind_epoch:
        hotspot.retired.append(hotspot.assertions.pop().record_id)
    forget_before = state.epoch - state.params.late_epochs
    while len(hotspot.assertions) > 1 and hotspot.assertions[1].bind_epoch < forget_before:
        hotspot.retired.append(hotspot.assertions.pop(0).record_id)
    chain = get_chain(hotspot, registration)
    hotspot.assertions.append(Assertion(registration, signed.record_id, bind_epoch, chain))


def get_chain(hotspot: Hotspot, registration: Registration) -> Chain:
    """The hash chain of an assertion: shared with the one before if it is the same chain."""
    wanted = (registration.first_epoch, registration.chain_length, registration.anchor)
    for assertion in hotspot.assertions:
        chain = assertion.chain
        if (chain.first_epoch, chain.length, chain.anchor) == wanted:
            return chain
    first = registration.first_epoch
    return Chain(*wanted, tip_epoch=first - 1, tip=registration.anchor)
