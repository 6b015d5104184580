"""Checkpoints of epoch closes, and the cosigners' signatures on them.

When an epoch closes, before any record of the next one, its checkpoint is fixed: the log so far and
the balances of the newest settlement (docs/records.md, Checkpoint). The newest `closes_kept` can be
cosigned on the ledger, so that everybody sees who watches and who is silent.
"""

from __future__ import annotations

from chain.admission import Close, Member, Role
from chain.keys import verify_message
from chain.proofs.checkpoint import Checkpoint, origin_of
from chain.proofs.note import cosigned_message
from chain.records import Cosignature, Refusal, Signed
from chain.rules.appointments import get_keys
from chain.rules.outcome import ALREADY, Accepted, Verdict
from chain.rules.settled import get_balances
from chain.state import State


def process_close(state: State, epoch: int) -> None:
    """Fix the checkpoint of an epoch that has just closed; forget the oldest."""
    origin, log = origin_of(state.network_id), state.log
    checkpoint = Checkpoint(origin, log.size, log.root(), get_balances(state))
    state.closes[epoch] = Close(checkpoint.text)
    state.touch("closes", epoch)
    for old in [old for old in state.closes if old <= epoch - state.params.closes_kept]:
        del state.closes[old]
        state.touch("closes", old)


def process_cosignature(state: State, signed: Signed, cosignature: Cosignature) -> Verdict:
    """Note that a cosigner signed the checkpoint of an epoch."""
    if signed.signatures:
        return Refusal("bad_signature", "signatures: the body carries the one needed; send none")
    close = state.closes.get(cosignature.epoch)
    if close is None:
        kept = f"{min(state.closes, default=0)} to {max(state.closes, default=0)}"
        return Refusal("unknown_checkpoint", f"epoch: of {kept}; cosign the newest")
    bit = get_cosigner_bit(state, cosignature.epoch, cosignature.cosigner)
    if bit is None:
        return Refusal("not_appointed", "cosigner: has no appointment as cosigner; ask operators")
    if close.cosigned >> bit & 1:
        return Accepted(reason=ALREADY)
    message = cosigned_message(close.text, cosignature.timestamp).encode()
    if not verify_message(cosignature.cosigner, message, cosignature.signature):
        return Refusal("bad_signature", "signature: not the cosigner's over this checkpoint")
    close.cosigned |= 1 << bit
    state.touch("closes", cosignature.epoch)
    return Accepted()


def get_cosigner_bit(state: State, epoch: int, key: bytes) -> int | None:
    """The place of a cosigner among those of an epoch; None if it wasn't one."""
    keys = [member.key for member in get_keys(state, Role.COSIGNER, epoch)]
    return keys.index(key) if key in keys else None


def get_cosigned(state: State, epoch: int) -> tuple[Member, ...]:
    """Who cosigned the checkpoint of an epoch, ascending by key; nobody for one not kept."""
    close = state.closes.get(epoch)
    members = get_keys(state, Role.COSIGNER, epoch)
    return tuple(m for bit, m in enumerate(members) if close and close.cosigned >> bit & 1)
