"""Relay and AI money: escrow at the opening, receipts signed by both ends, burn at the claim."""

from __future__ import annotations

from dataclasses import dataclass

from chain.geo import cell_parent
from chain.params import MIB
from chain.records import Receipt, Refusal, SessionClaim, SessionOpen, Signed
from chain.rules.outcome import ALREADY, Accepted, Effects, Payment, Verdict, Verify
from chain.state import Session, State
from chain.wire import receipt_body, receipt_hash

BASIS_POINTS = 10_000
TOKENS_PER_PRICE = 1_000


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


@dataclass(frozen=True, slots=True)
class Burn:
    """What a receipt adds to what its session burned, and how that is shared."""

    relay_ucr: int
    ai_ucr: int
    payee_ucr: int
    coverage_ucr: int
    fee_ucr: int


def process_session_claim(
    state: State, claim: SessionClaim, verify: Verify, effects: Effects
) -> Verdict:
    """Burn what the receipts of a batch add; all of them or none."""
    if refusal := get_claim_refusal(state, claim, verify):
        return refusal
    fresh = [receipt for receipt in claim.receipts if not is_claimed(state, receipt)]
    if not fresh:
        return Accepted(reason=ALREADY)
    for receipt in fresh:
        process_receipt(state, receipt, effects)
    return Accepted()


def get_claim_refusal(state: State, claim: SessionClaim, verify: Verify) -> Refusal | None:
    """Why a batch can't be taken, if so; names the receipt."""
    sessions = [receipt.session for receipt in claim.receipts]
    if len(set(sessions)) != len(sessions):
        return Refusal("duplicate", "receipts: two of one session; send the newest only")
    for number, receipt in enumerate(claim.receipts):
        if refusal := get_receipt_refusal(state, receipt, verify):
            return Refusal(refusal.reason, f"receipt {number}: {refusal.detail}")
    return None


def get_receipt_refusal(state: State, receipt: Receipt, verify: Verify) -> Refusal | None:
    """Why a receipt can't be claimed, if so."""
    session = state.sessions.get(receipt.session)
    if session is None:
        return Refusal("unknown_session", f"session: {receipt.session} is not open; open it anew")
    if is_claimed(state, receipt):
        return None
    if receipt.sequence <= session.sequence:
        return Refusal(
            "stale_receipt", f"sequence: {session.sequence} was claimed; send a newer receipt"
        )
    if not is_cumulative(session, receipt):
        return Refusal("stale_receipt", "totals: must not fall below those claimed before")
    body = receipt_body(receipt)
    ends = ((session.payer, receipt.payer_signature), (session.payee, receipt.payee_signature))
    for index, signature in ends:
        key = state.hotspots[index].key
        if not verify(key, receipt.NAME, state.network_id, body, signature):
            return Refusal("bad_signature", f"signature: hotspot {index} did not sign this")
    return None


def is_claimed(state: State, receipt: Receipt) -> bool:
    """Whether this very receipt is the newest that its session was claimed with."""
    session = state.sessions[receipt.session]
    return receipt.sequence == session.sequence and receipt_hash(receipt) == session.last_hash


def is_cumulative(session: Session, receipt: Receipt) -> bool:
    """Whether no total falls."""
    return (
        receipt.relayed_bytes >= session.relayed_bytes
        and receipt.ai_tokens >= session.ai_tokens
        and receipt.ai_requests >= session.ai_requests
    )


def compute_relay_due(session: Session, relayed_bytes: int) -> int:
    """What relaying so many bytes costs in this session."""
    return relayed_bytes * session.relay_price_ucr // MIB


def compute_ai_due(session: Session, ai_tokens: int) -> int:
    """What answering so many tokens costs in this session."""
    return ai_tokens * session.ai_price_ucr // TOKENS_PER_PRICE


def compute_burn(state: State, session: Session, receipt: Receipt) -> Burn:
    """What a receipt burns: its work at the session's prices, never more than is left in escrow."""
    relay = compute_relay_due(session, receipt.relayed_bytes)
    relay -= compute_relay_due(session, session.relayed_bytes)
    ai = compute_ai_due(session, receipt.ai_tokens) - compute_ai_due(session, session.ai_tokens)
    relay = min(relay, session.escrow_ucr)
    ai = min(ai, session.escrow_ucr - relay)
    burned = relay + ai
    fee = burned * state.params.fee_bp // BASIS_POINTS
    coverage = burned * state.params.coverage_share_bp // BASIS_POINTS
    return Burn(relay, ai, burned - fee - coverage, coverage, fee)


def process_receipt(state: State, receipt: Receipt, effects: Effects) -> None:
    """Burn a receipt's part of the escrow."""
    session = state.sessions[receipt.session]
    burn = compute_burn(state, session, receipt)
    count_receipt(state, session, receipt, burn)
    session.claimed_ucr += burn.relay_ucr + burn.ai_ucr
    session.sequence = receipt.sequence
    session.relayed_bytes = receipt.relayed_bytes
    session.ai_tokens = receipt.ai_tokens
    session.ai_requests = receipt.ai_requests
    session.last_hash = receipt_hash(receipt)
    state.touch("sessions", session.index)
    process_burn(state, session, burn, effects)


def process_burn(state: State, session: Session, burn: Burn, effects: Effects) -> None:
    """Give each share of a burn to where it belongs."""
    payee = state.hotspots[session.payee]
    cell = get_reward_cell(state, session.payer)
    state.credit(payee.owner, burn.payee_ucr)
    payee.earned_ucr += burn.payee_ucr
    state.touch("hotspots", payee.index)
    state.supply.destroyed += burn.fee_ucr
    if burn.coverage_ucr:
        state.add("pools", (cell, session.account), burn.coverage_ucr)
    kind = "ai" if burn.ai_ucr > burn.relay_ucr else "relay"
    if burn.payee_ucr:
        effects.payments.append(
            Payment(
                *(state.epoch, kind, payee.owner, payee.index, cell),
                *(burn.payee_ucr, session.account),
            )
        )
        state.add("stats", f"paid_{kind}_ucr", burn.payee_ucr)


def get_reward_cell(state: State, hotspot: int) -> int:
    """The cell in which a hotspot's demand counts, and in which it measures."""
    cell = state.hotspots[hotspot].newest.registration.cell
    return cell_parent(cell, state.params.reward_resolution)


def count_receipt(state: State, session: Session, receipt: Receipt, burn: Burn) -> None:
    """Keep the totals that people ask for."""
    state.add("stats", "relayed_bytes", receipt.relayed_bytes - session.relayed_bytes)
    state.add("stats", "ai_tokens", receipt.ai_tokens - session.ai_tokens)
    state.add("stats", "ai_requests", receipt.ai_requests - session.ai_requests)
    state.add("stats", "burned_ucr", burn.relay_ucr + burn.ai_ucr)


def process_expired_sessions(state: State) -> None:
    """Return what nobody claimed of sessions past their expiry, and forget them."""
    expired = [s for s in state.sessions.values() if s.expiry_epoch < state.epoch]
    for session in expired:
        if session.escrow_ucr:
            state.credit(session.account, session.escrow_ucr)
        key = (session.payer, session.payee, session.nonce)
        del state.sessions[session.index]
        del state.openings[key]
        state.touch("sessions", session.index)
        state.touch("openings", key)
