"""Key rotation: another key and another hash chain speak for the same hotspot from an epoch on.

    accepted in r        both keys and the owner signed; or the new key and the owner alone, where
                         the old key is lost: then the change is `rotation_delay_epochs` away
    until from_epoch     the old key speaks; it may object to what the owner asked for alone
    from_epoch begins    the new key speaks, with a chain whose anchor was said two epochs before

Index, place, trust, links, bond, holds, findings, sessions and the account that is paid belong to
the hotspot and stay. So do the epochs of the old key: fraud in them is still proven of it, and
slashes the hotspot (chain/rules/findings.py). A key speaks for one hotspot once: neither the old
one nor the next can be registered or rotated to by anybody. While a rotation is pending nothing
else may be asserted, so that what is taken over is what was there when it was signed.
"""

from __future__ import annotations

from dataclasses import replace

from chain.records import KeyRotation, KeyRotationObjection, Refusal, Signed
from chain.rotations import FormerKeys, Rotation
from chain.rules.bonds import get_end_refusal
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.state import ANCHOR_BYTES, Assertion, Chain, Hotspot, State

PLANNED_SIGNATURES, OWNER_SIGNATURES = 3, 2
UNSIGNED = (
    "signatures: the old key, the new one and the owner must sign, in this order;"
    " of a lost key the new one and the owner"
)


def process_key_rotation(
    state: State, signed: Signed, rotation: KeyRotation, verify: Verify
) -> Verdict:
    """Note a hotspot's next key."""
    pending = state.rotations.get(rotation.hotspot)
    if pending is not None and pending.record_id == signed.record_id:
        return Accepted(rotation.hotspot, ALREADY)
    by_owner = len(signed.signatures) == OWNER_SIGNATURES
    refusal = (
        get_hotspot_refusal(state, rotation)
        or get_epoch_refusal(state, rotation, by_owner=by_owner)
        or get_key_refusal(state, rotation)
    )
    if refusal is not None:
        return refusal
    if not is_signed_by_all(state, signed, rotation, verify):
        return Refusal("bad_signature", UNSIGNED)
    values = (rotation.new_key, rotation.from_epoch, rotation.chain_length, rotation.anchor)
    state.rotations[rotation.hotspot] = Rotation(signed.record_id, *values, int(by_owner))
    state.index_of[rotation.new_key] = rotation.hotspot
    state.touch("rotations", rotation.hotspot)
    objects = ", unless the old key objects" if by_owner else ""
    detail = f"the new key speaks from epoch {rotation.from_epoch} on{objects}"
    return Accepted(rotation.hotspot, detail=detail)


def get_hotspot_refusal(state: State, rotation: KeyRotation) -> Refusal | None:
    """Why a hotspot can't change its key now, if so."""
    if not state.params.keys_rotate:
        return Refusal("not_active", "type: keys rotate by rules 2; wait for their activation")
    if rotation.hotspot >= len(state.hotspots):
        return Refusal("unknown_hotspot", f"hotspot: {rotation.hotspot} is not registered")
    if refusal := get_end_refusal(state, rotation.hotspot, rotation.from_epoch):
        return refusal
    if refusal := get_pending_refusal(state, rotation.hotspot):
        return refusal
    former = state.former_keys.get(rotation.hotspot)
    if former is None:
        return None
    first = former.newest_epoch + state.params.rotation_grace_epochs
    if state.epoch < first:
        detail = f"the key before stands for receipts until epoch {first}; rotate then"
        return Refusal("too_early", f"hotspot: {detail}")
    return None


def get_pending_refusal(state: State, hotspot: int) -> Refusal | None:
    """Why nothing else can be said of a hotspot while its next key waits, if so."""
    pending = state.rotations.get(hotspot)
    if pending is None:
        return None
    return Refusal(
        "rotating",
        f"hotspot: {hotspot} takes another key in epoch {pending.from_epoch}; wait for that",
    )


def get_epoch_refusal(
    state: State, rotation: KeyRotation, *, by_owner: bool
) -> Refusal | None:
    """Why a rotation can't bind when it says, if so."""
    params = state.params
    ahead = params.rotation_delay_epochs if by_owner else params.bind_epochs
    first = state.epoch + ahead
    last = first + params.rotation_delay_epochs
    if not first <= rotation.from_epoch <= last:
        return Refusal("wrong_epoch", f"from_epoch: must be from {first} to {last}")
    binds = state.hotspots[rotation.hotspot].newest.bind_epoch
    if rotation.from_epoch <= binds:
        detail = f"an assertion binds in {binds}; name a later one"
        return Refusal("not_bound_yet", f"from_epoch: {detail}")
    return None


def get_key_refusal(state: State, rotation: KeyRotation) -> Refusal | None:
    """Why a key can't be a hotspot's next one, if so."""
    taken = state.index_of.get(rotation.new_key)
    if taken is None:
        return None
    if taken == rotation.hotspot:
        return Refusal("duplicate", "new_key: this hotspot has or had it; make a new one")
    return Refusal("key_taken", f"new_key: speaks or spoke for hotspot {taken}; make a new one")


def is_signed_by_all(
    state: State, signed: Signed, rotation: KeyRotation, verify: Verify
) -> bool:
    """Whether the old key (unless it is lost), the new one and the owner signed, in order."""
    hotspot = state.hotspots[rotation.hotspot]
    keys = (hotspot.key, rotation.new_key, hotspot.owner)
    count = len(signed.signatures)
    return count in (PLANNED_SIGNATURES, OWNER_SIGNATURES) and all(
        verify(key, rotation.NAME, state.network_id, signed.body, signature)
        for key, signature in zip(keys[-count:], signed.signatures, strict=True)
    )


def process_objection(
    state: State, signed: Signed, objection: KeyRotationObjection, verify: Verify
) -> Verdict:
    """Call a rotation off that the owner asked for alone: the old key isn't lost."""
    pending = state.rotations.get(objection.hotspot)
    if pending is None or pending.record_id != objection.rotation:
        detail = f"not pending for hotspot {objection.hotspot}"
        return Refusal("unknown_rotation", f"rotation: {detail}; see GET /v1/hotspots/{{id}}")
    if not pending.by_owner:
        return Refusal("not_owed", "rotation: the old key signed it itself; rotate again later")
    key = state.hotspots[objection.hotspot].key
    if len(signed.signatures) != 1 or not verify(
        key, objection.NAME, state.network_id, signed.body, signed.signatures[0]
    ):
        return Refusal("bad_signature", "signatures: the hotspot's key of now must sign, once")
    process_dropped(state, objection.hotspot)
    return Accepted(objection.hotspot, detail="the key stays what it is")


def process_dropped(state: State, hotspot: int) -> None:
    """Forget a pending rotation; its key may be used elsewhere."""
    del state.index_of[state.rotations.pop(hotspot).new_key]
    state.touch("rotations", hotspot)


def process_rotations(state: State) -> None:
    """Let the keys speak whose epoch has just begun; who ended meanwhile keeps the old one."""
    due = sorted(i for i, r in state.rotations.items() if r.from_epoch <= state.epoch)
    for index in due:
        if state.is_ended(index, state.epoch):
            process_dropped(state, index)
        else:
            process_rotation(state, state.hotspots[index], state.rotations.pop(index))
            for table in ("rotations", "former_keys", "hotspots"):
                state.touch(table, index)


def process_rotation(state: State, hotspot: Hotspot, rotation: Rotation) -> None:
    """Put the new key in the place of the old one, with its chain, at the same place.

    Assertions of before name the new key too, as they do once they were read from the disk: a
    hotspot's row holds its key once. Those that ended before any late message are forgotten, and
    needn't be told from others any more: what the old key signed is refused as a whole.
    """
    forget_before = state.epoch - state.params.late_epochs
    while len(hotspot.assertions) > 1 and hotspot.assertions[1].bind_epoch < forget_before:
        hotspot.assertions.pop(0)
    former = state.former_keys.get(hotspot.index, FormerKeys(()))
    ended = (rotation.from_epoch, hotspot.key)
    state.former_keys[hotspot.index] = FormerKeys((*former.keys, ended))
    hotspot.key = rotation.new_key
    for assertion in hotspot.assertions:
        assertion.registration = replace(assertion.registration, key=hotspot.key)
    first, length, anchor = rotation.from_epoch, rotation.chain_length, rotation.anchor
    kept = anchor[:ANCHOR_BYTES]
    changed = {"first_epoch": first, "chain_length": length, "anchor": kept}
    registration = replace(hotspot.newest.registration, **changed)  # type: ignore[arg-type]
    chain = Chain(first, length, kept, tip_epoch=first - 1, tip=anchor)
    hotspot.assertions.append(Assertion(hotspot.index, registration, first, chain))
