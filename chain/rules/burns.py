"""What claimed work burns of a session's escrow, and who gets which share of it.

A record brings hundreds of receipts; what they burn is gathered and booked once per payee, pool and
kind, so that a payment row says what one record paid one hotspot out of one payer's burn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from chain.geo import cell_parent
from chain.params import MIB
from chain.rules.outcome import Effects
from chain.rules.payments import Payment
from chain.state import Session, State

BASIS_POINTS = 10_000
TOKENS_PER_PRICE = 1_000
RELAY, AI = "relay", "ai"


class Burn(NamedTuple):
    """What a receipt adds to what its session burned, by the kind of work, in ucr."""

    relay_ucr: int
    ai_ucr: int


# A session with its new totals: relayed bytes, tokens, requests.
Work = tuple[Session, int, int, int]
# What is paid together: the kind of work, the payee, and in which cell whose burn pays it.
Source = tuple[str, int, int, bytes]
_parent = lru_cache(maxsize=1 << 16)(cell_parent)


def get_reward_cell(state: State, hotspot: int) -> int:
    """The cell in which a hotspot's demand counts, and in which it measures."""
    cell = state.hotspots[hotspot].assertions[-1].registration.cell
    return _parent(cell, state.params.reward_resolution)


def compute_relay_due(session: Session, relayed_bytes: int) -> int:
    """What relaying so many bytes costs in this session."""
    return relayed_bytes * session.relay_price_ucr // MIB


def compute_ai_due(session: Session, ai_tokens: int) -> int:
    """What answering so many tokens costs in this session."""
    return ai_tokens * session.ai_price_ucr // TOKENS_PER_PRICE


def compute_burn(session: Session, relayed_bytes: int, ai_tokens: int) -> Burn:
    """What new totals burn: their work at the session's prices, never more than is in escrow."""
    left = session.cap_ucr - session.claimed_ucr
    relay = compute_relay_due(session, relayed_bytes)
    relay = min(relay - compute_relay_due(session, session.relayed_bytes), left)
    if ai_tokens == session.ai_tokens:
        return Burn(relay, 0)
    ai = compute_ai_due(session, ai_tokens) - compute_ai_due(session, session.ai_tokens)
    return Burn(relay, min(ai, left - relay))


def process_burns(state: State, works: Iterable[Work], effects: Effects) -> None:
    """Move sessions to new totals and take what that burns out of their escrow.

    Of each burn a part is destroyed, a part goes to the pool of the payer's cell, the rest to the
    payee.
    """
    fee_bp, coverage_bp = state.params.fee_bp, state.params.coverage_share_bp
    shares: dict[Source, tuple[int, int]] = {}
    total = _Totals()
    for session, relayed_bytes, ai_tokens, ai_requests in works:
        relay, ai = compute_burn(session, relayed_bytes, ai_tokens)
        total.relayed_bytes += relayed_bytes - session.relayed_bytes
        total.ai_tokens += ai_tokens - session.ai_tokens
        total.ai_requests += ai_requests - session.ai_requests
        session.relayed_bytes = relayed_bytes
        session.ai_tokens = ai_tokens
        session.ai_requests = ai_requests
        state.touch("sessions", session.index)
        burned = relay + ai
        if not burned:
            continue
        session.claimed_ucr += burned
        cell = get_reward_cell(state, session.payer)
        source = (AI if ai > relay else RELAY, session.payee, cell, session.account)
        coverage = burned * coverage_bp // BASIS_POINTS
        fee = burned * fee_bp // BASIS_POINTS
        paid, pooled = shares.get(source, (0, 0))
        shares[source] = (paid + burned - coverage - fee, pooled + coverage)
        total.burned_ucr += burned
        total.fee_ucr += fee
    process_shares(state, shares, effects)
    process_totals(state, total)


@dataclass(slots=True)
class _Totals:
    relayed_bytes: int = 0
    ai_tokens: int = 0
    ai_requests: int = 0
    burned_ucr: int = 0
    fee_ucr: int = 0


def process_shares(
    state: State, shares: dict[Source, tuple[int, int]], effects: Effects
) -> None:
    """Credit the payees' owners and the pools of the payers' cells; a payment line each."""
    earned: dict[int, int] = {}
    for (kind, payee, cell, account), (paid, pooled) in shares.items():
        owner = state.hotspots[payee].owner
        earned[payee] = earned.get(payee, 0) + paid
        effects.payments.append(Payment(state.epoch, kind, owner, payee, cell, paid, account))
        if pooled:
            state.add("pools", (cell, account), pooled)
    for payee, amount in earned.items():
        hotspot = state.hotspots[payee]
        hotspot.earned_ucr += amount
        state.credit(hotspot.owner, amount)
        state.touch("hotspots", payee)
    for kind in (RELAY, AI):
        paid = sum(amount for source, (amount, _) in shares.items() if source[0] == kind)
        if paid:
            state.add("stats", f"paid_{kind}_ucr", paid)


def process_totals(state: State, total: _Totals) -> None:
    """Destroy the fee, and keep the totals that people ask for."""
    state.supply.destroyed += total.fee_ucr
    for name in ("relayed_bytes", "ai_tokens", "ai_requests", "burned_ucr"):
        state.add("stats", name, getattr(total, name))
