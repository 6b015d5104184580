"""Registrations: key, place, radio and hash chain; they bind epochs ahead and lock a bond."""

from __future__ import annotations

from dataclasses import replace

from chain.cells import cell_centre
from chain.draws import digest
from chain.geo import distance_m
from chain.params import Params
from chain.records import Refusal, Registration, Signed
from chain.rules.bonds import compute_bond_due, is_slashed, process_registration_bond
from chain.rules.moves import process_planned_move
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.rules.regions import get_region_refusal
from chain.rules.rotations import get_pending_refusal
from chain.rules.treasury import get_balance_refusal
from chain.state import ANCHOR_BYTES, Assertion, Chain, Hotspot, State
from chain.wire import body_of

# Replaced assertions are told apart by this much of a hash: to reuse one, a hotspot would have to
# make two of its own collide, and would then be refused its own registration.
RETIRED_BYTES = 8
# Centres of cells are rounded to micro-degrees, a tenth of a metre, perhaps by other libraries.
CENTRE_TOLERANCE_M = 2
UNSIGNED = "signatures: the hotspot, its owner, and the former owner if that changes, must sign"


def process_registration(
    state: State, signed: Signed, registration: Registration, verify: Verify
) -> Verdict:
    """Add a hotspot, or replace what one asserts."""
    index = state.index_of.get(registration.key)
    hotspot = None if index is None else state.hotspots[index]
    if hotspot and is_asserted(hotspot, registration) and hotspot.index not in state.ended:
        if not is_signed_by_all(state, signed, registration, hotspot, verify):
            return Refusal("bad_signature", UNSIGNED)
        return Accepted(index, ALREADY)
    if refusal := get_registration_refusal(state, signed, registration, hotspot, verify):
        return refusal
    if hotspot is None:
        hotspot = Hotspot(len(state.hotspots), registration.key, [])
        state.hotspots.append(hotspot)
        state.index_of[registration.key] = hotspot.index
    process_registration_bond(state, hotspot, registration)
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
    if hotspot and is_slashed(state, hotspot.index):
        return Refusal("slashed", "key: fraud was proven of it; register a new one")
    if hotspot and (refusal := get_rotated_refusal(state, hotspot, registration)):
        return refusal
    if hotspot and is_replayed(hotspot, registration):
        return Refusal("duplicate", "registration: was said before; sign a new one")
    if not is_signed_by_all(state, signed, registration, hotspot, verify):
        return Refusal("bad_signature", UNSIGNED)
    if not is_at_centre(registration):
        latitude, longitude = cell_centre(registration.cell)
        return Refusal(
            "wrong_place",
            f"latitude_udeg, longitude_udeg: must be {latitude}, {longitude}, the cell's centre",
        )
    if refusal := get_region_refusal(state.params, registration):
        return refusal
    due = compute_bond_due(state, hotspot, registration)
    return get_balance_refusal(state, registration.owner, due, "owner: the bond")


def get_rotated_refusal(
    state: State, hotspot: Hotspot, registration: Registration
) -> Refusal | None:
    """Why a key can't assert anything, or not now, because of a rotation."""
    if refusal := get_pending_refusal(state, hotspot.index):
        return refusal
    if registration.key != hotspot.key:
        until = next(u for u, k in state.former_keys[hotspot.index].keys if k == registration.key)
        detail = f"gave way to {hotspot.key.hex()} in epoch {until}; sign with that one"
        return Refusal("rotated", f"key: {detail}")
    return None


def is_at_centre(registration: Registration) -> bool:
    """Whether the position is the centre of the cell, give or take `CENTRE_TOLERANCE_M`.

    Physics is checked by the position, pay goes by the cell: they must be one place.
    """
    place = (registration.latitude_udeg, registration.longitude_udeg)
    return distance_m(*cell_centre(registration.cell), *place) <= CENTRE_TOLERANCE_M


def is_asserted(hotspot: Hotspot, registration: Registration) -> bool:
    """Whether a hotspot asserts this already."""
    return shorten(registration) in [a.registration for a in hotspot.assertions]


def is_replayed(hotspot: Hotspot, registration: Registration) -> bool:
    """Whether a hotspot asserted this before: anybody could send it again."""
    retired = compute_assertion_id(shorten(registration)) in hotspot.retired
    return retired or is_asserted(hotspot, registration)


def is_signed_by_all(
    state: State,
    signed: Signed,
    registration: Registration,
    hotspot: Hotspot | None,
    verify: Verify,
) -> bool:
    """Whether the hotspot, its owner and, if it is another, its former owner signed, in order.

    Without the former owner whoever steals a hotspot's key could sign it over to himself.
    """
    keys = [registration.key, registration.owner]
    if hotspot is not None and hotspot.owner != registration.owner:
        keys.append(hotspot.owner)
    name, network_id = registration.NAME, state.network_id
    return len(signed.signatures) == len(keys) and all(
        verify(key, name, network_id, signed.body, signature)
        for key, signature in zip(keys, signed.signatures, strict=True)
    )


def shorten(registration: Registration) -> Registration:
    """A registration as the state keeps it: with the start of its anchor alone."""
    return replace(registration, anchor=registration.anchor[:ANCHOR_BYTES])


def compute_assertion_id(registration: Registration) -> bytes:
    """What tells a shortened registration from the others of its hotspot once it is gone."""
    return digest("retired", body_of(registration))[:RETIRED_BYTES]


def get_bind_epoch(params: Params, epoch: int, registration: Registration) -> int:
    """From when a registration binds that was accepted in an epoch."""
    return max(epoch + params.bind_epochs, registration.first_epoch)


def process_assertion(state: State, hotspot: Hotspot, registration: Registration) -> None:
    """Queue the assertion to bind; one that hasn't bound yet gives way to it."""
    bind_epoch = get_bind_epoch(state.params, state.epoch, registration)
    process_planned_move(state, hotspot, registration, bind_epoch)
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
