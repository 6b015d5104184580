"""Receipts that both ends of a session signed: the newest of a session burns what it adds.

Two records carry them: `session-claim` as CBOR arrays, `receipts` packed. Both stand or fall whole:
one bad receipt and none of the record burns, so that whoever sends it learns which one, and nothing
is half done.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from chain.packed import PackedError, receipt_body, receipt_hash, unpack_receipts
from chain.records import Receipt, Receipts, Refusal, SessionClaim
from chain.rules.burns import process_burns
from chain.rules.former_keys import is_signed_by_hotspot
from chain.rules.outcome import ALREADY, Accepted, Effects, Verdict, Verify
from chain.state import Session, State

# A receipt that may burn, the session that it burns, and its hash.
Fresh = tuple[Session, Receipt, bytes]


def process_session_claim(
    state: State, claim: SessionClaim, verify: Verify, effects: Effects
) -> Verdict:
    """Burn what the receipts of a batch add; all of them or none."""
    sessions = [receipt.session for receipt in claim.receipts]
    if len(set(sessions)) != len(sessions):
        return Refusal("duplicate", "receipts: two of one session; send the newest only")
    return process_batch(state, claim.receipts, verify, effects)


def process_receipts(state: State, record: Receipts, verify: Verify, effects: Effects) -> Verdict:
    """Burn what packed receipts add; all of them or none."""
    try:
        receipts = unpack_receipts(record.entries)
    except PackedError as error:
        return Refusal("bad_shape", f"entries: {error}")
    return process_batch(state, receipts, verify, effects)


def process_batch(
    state: State, receipts: Sequence[Receipt], verify: Verify, effects: Effects
) -> Verdict:
    """Check every receipt, then burn what the fresh ones add."""
    fresh: list[Fresh] = []
    for number, receipt in enumerate(receipts):
        checked = check_receipt(state, receipt, verify)
        if isinstance(checked, Refusal):
            detail = f"receipt {number} (session {receipt.session}): {checked.detail}"
            return Refusal(checked.reason, detail)
        if checked is not None:
            fresh.append(checked)
    if not fresh:
        return Accepted(reason=ALREADY)
    works = ((s, r.relayed_bytes, r.ai_tokens, r.ai_requests) for s, r, _ in fresh)
    process_burns(state, works, effects)
    for session, receipt, digest in fresh:
        session.sequence = receipt.sequence
        session.last_hash = digest
    return Accepted()


def check_receipt(state: State, receipt: Receipt, verify: Verify) -> Fresh | Refusal | None:
    """A receipt that may burn, or why not; None for the one that was claimed last already."""
    session = state.sessions.get(receipt.session)
    if session is None:
        return Refusal("unknown_session", "session: is not open; open it anew")
    if session.claim:
        return Refusal(
            "claim_pending",
            f"session: is in claim {session.claim - 1} of its relay; wait until that is settled",
        )
    if receipt.sequence <= session.sequence:
        if is_claimed(session, receipt):
            return None
        return Refusal(
            "stale_receipt", f"sequence: {session.sequence} was claimed; send a newer receipt"
        )
    if not is_cumulative(session, receipt):
        return Refusal("stale_receipt", "totals: must not fall below those claimed before")
    body = receipt_body(receipt)
    if refusal := get_signature_refusal(state, session, receipt, body, verify):
        return refusal
    return session, receipt, sha256(body).digest()


def get_signature_refusal(
    state: State, session: Session, receipt: Receipt, body: bytes, verify: Verify
) -> Refusal | None:
    """Which end of the session did not sign the receipt's body, if one did not."""
    ends = ((session.payer, receipt.payer_signature), (session.payee, receipt.payee_signature))
    for index, signature in ends:
        hotspot = state.hotspots[index]
        if not is_signed_by_hotspot(state, hotspot, Receipt.NAME, body, signature, verify):
            return Refusal("bad_signature", f"signature: hotspot {index} did not sign this")
    return None


def is_claimed(session: Session, receipt: Receipt) -> bool:
    """Whether this very receipt is the newest that its session was claimed with."""
    return receipt.sequence == session.sequence and receipt_hash(receipt) == session.last_hash


def is_cumulative(session: Session, receipt: Receipt) -> bool:
    """Whether no total falls."""
    return (
        receipt.relayed_bytes >= session.relayed_bytes
        and receipt.ai_tokens >= session.ai_tokens
        and receipt.ai_requests >= session.ai_requests
    )
