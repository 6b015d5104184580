"""Sessions between two hotspots: escrow at the opening, what is left of it back at the end."""

from __future__ import annotations

from chain.records import Refusal, SessionOpen, Signed
from chain.rules.bonds import get_end_refusal
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.state import Session, State


def process_session_open(
    state: State, signed: Signed, opening: SessionOpen, verify: Verify
) -> Verdict:
    """Put the cap of a new session into escrow."""
    index = state.openings.get((opening.payer, opening.payee, opening.nonce))
    if index is not None and state.sessions[index].record_id == signed.record_id:
        return Accepted(index, ALREADY)
    if refusal := get_opening_refusal(state, signed, opening, verify):
        return refusal
    session = Session(
        index=state.next_session,
        record_id=signed.record_id,
        payer=opening.payer,
        payee=opening.payee,
        nonce=opening.nonce,
        relay_price_ucr=opening.relay_price_ucr,
        ai_price_ucr=opening.ai_price_ucr,
        cap_ucr=opening.cap_ucr,
        expiry_epoch=opening.expiry_epoch,
        account=state.hotspots[opening.payer].owner,
    )
    state.debit(session.account, session.cap_ucr)
    state.next_session += 1
    state.sessions[session.index] = session
    key = (opening.payer, opening.payee, opening.nonce)
    state.openings[key] = session.index
    state.touch("sessions", session.index)
    state.touch("openings", key)
    return Accepted(session.index)


def get_opening_refusal(
    state: State, signed: Signed, opening: SessionOpen, verify: Verify
) -> Refusal | None:
    """Why a session can't be opened, if so."""
    for name, index in (("payer", opening.payer), ("payee", opening.payee)):
        if index >= len(state.hotspots):
            return Refusal("unknown_hotspot", f"{name}: {index} is not registered; register first")
        # From the retirement on, not only when it binds: the key may be in a thief's hands.
        if refusal := get_end_refusal(state, index, state.epoch + state.params.bind_epochs):
            return refusal
    if opening.payer == opening.payee:
        return Refusal("self", "payee: must not be the payer; name another hotspot")
    if (opening.payer, opening.payee, opening.nonce) in state.openings:
        return Refusal("duplicate", "nonce: was used between these two; take another")
    last = state.epoch + state.params.session_epochs_max
    if not state.epoch < opening.expiry_epoch <= last:
        return Refusal("wrong_epoch", f"expiry_epoch: must be from {state.epoch + 1} to {last}")
    payer = state.hotspots[opening.payer]
    if len(signed.signatures) != 1 or not verify(
        payer.key, opening.NAME, state.network_id, signed.body, signed.signatures[0]
    ):
        return Refusal("bad_signature", "signatures: the payer's key must sign, once")
    held = state.balance(payer.owner)
    if held < opening.cap_ucr:
        return Refusal(
            "insufficient_balance",
            f"cap_ucr: {opening.cap_ucr}, but the account holds {held}; deposit or lower it",
        )
    return None


def process_expired_sessions(state: State) -> None:
    """Return what nobody claimed of sessions past their expiry, and forget them.

    One in a relay's open claim stays until the first settlement after that claim.
    """
    over = (s for s in state.sessions.values() if s.expiry_epoch < state.epoch)
    expired = [session for session in over if not session.claim]
    for session in expired:
        if session.escrow_ucr:
            state.credit(session.account, session.escrow_ucr)
        key = (session.payer, session.payee, session.nonce)
        del state.sessions[session.index]
        del state.openings[key]
        state.touch("sessions", session.index)
        state.touch("openings", key)
