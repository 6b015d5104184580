"""Which key speaks for a hotspot: for an epoch, and under a receipt that was signed before.

What is about an epoch is signed by the key of that epoch, however late it comes: so reports that
waited in a queue are still taken, and fraud is still proven of a key that gave way to another.
Receipts name no epoch. What a payer signed must not lose its worth because the payer takes another
key, so a former one stands for `rotation_grace_epochs` more: time to claim, and time to open.
"""

from __future__ import annotations

from chain.rules.outcome import Verify
from chain.state import Hotspot, State


def get_key_at(state: State, hotspot: Hotspot, epoch: int) -> bytes:
    """The key that signs for a hotspot in an epoch."""
    if state.former_keys and (former := state.former_keys.get(hotspot.index)):
        for until, key in former.keys:
            if epoch < until:
                return key
    return hotspot.key


def get_grace_key(state: State, hotspot: Hotspot) -> bytes | None:
    """The former key whose receipts are still taken, if there is one."""
    former = state.former_keys.get(hotspot.index)
    if former is None:
        return None
    until, key = former.keys[-1]
    return key if state.epoch < until + state.params.rotation_grace_epochs else None


def is_signed_by_hotspot(
    state: State, hotspot: Hotspot, name: str, body: bytes, signature: bytes, verify: Verify
) -> bool:
    """Whether a hotspot signed what names no epoch: with its key, or with one in its grace."""
    if verify(hotspot.key, name, state.network_id, body, signature):
        return True
    former = get_grace_key(state, hotspot)
    return former is not None and verify(former, name, state.network_id, body, signature)
