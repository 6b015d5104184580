"""What claimed work burns of a session's escrow, and who gets which share of it.

A record brings hundreds of receipts; what they burn is gathered and booked once per payee, pool and
kind, so that a payment row says what one record paid one hotspot out of one payer's burn.
"""

from __future__ import annotations

from typing import NamedTuple

from chain.geo import cell_parent
from chain.params import MIB
from chain.rules.outcome import Effects, Payment
from chain.state import Session, State

BASIS_POINTS = 10_000
TOKENS_PER_PRICE = 1_000
RELAY, AI = "relay", "ai"


class Burn(NamedTuple):
    """What a receipt adds to what its session burned, by the kind of work, in ucr."""

    relay_ucr: int
    ai_ucr: int


class Source(NamedTuple):
    """What is paid together: the kind of work, the payee, and whose burn in which cell pays it."""

    kind: str
    payee: int
    cell: int
    account: bytes


def get_reward_cell(state: State, hotspot: int) -> int:
    """The cell in which a hotspot's demand counts, and in which it measures."""
    cell = state.hotspots[hotspot].newest.registration.cell
    return cell_parent(cell, state.params.reward_resolution)


def compute_relay_due(session: Session, relayed_bytes: int) -> int:
    """What relaying so many bytes costs in this session."""
    return relayed_bytes * session.relay_price_ucr // MIB


def compute_ai_due(session: Session, ai_tokens: int) -> int:
    """What answering so many tokens costs in this session."""
    return ai_tokens * session.ai_price_ucr // TOKENS_PER_PRICE


def compute_burn(session: Session, relayed_bytes: int, ai_tokens: int) -> Burn:
    """What new totals burn: their work at the session's prices, never more than is in escrow."""
    relay = compute_relay_due(session, relayed_bytes)
    relay -= compute_relay_due(session, session.relayed_bytes)
    ai = compute_ai_due(session, ai_tokens) - compute_ai_due(session, session.ai_tokens)
    left = session.escrow_ucr
    relay = min(relay, left)
    return Burn(relay, min(ai, left - relay))


class Burns:
    """Burns of one record or one claim, gathered; nothing is credited before `process`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._paid: dict[Source, int] = {}
        self._pooled: dict[tuple[int, bytes], int] = {}
        self._bytes = self._tokens = self._requests = self._burned = self._fee = 0

    def add(
        self, session: Session, relayed_bytes: int, ai_tokens: int, ai_requests: int
    ) -> None:
        """Move a session to new totals and take what they burn out of its escrow."""
        burn = compute_burn(session, relayed_bytes, ai_tokens)
        burned = burn.relay_ucr + burn.ai_ucr
        self._bytes += relayed_bytes - session.relayed_bytes
        self._tokens += ai_tokens - session.ai_tokens
        self._requests += ai_requests - session.ai_requests
        session.claimed_ucr += burned
        session.relayed_bytes = relayed_bytes
        session.ai_tokens = ai_tokens
        session.ai_requests = ai_requests
        self._state.touch("sessions", session.index)
        if burned:
            self._share(session, burned, AI if burn.ai_ucr > burn.relay_ucr else RELAY)

    def _share(self, session: Session, burned: int, kind: str) -> None:
        params = self._state.params
        fee = burned * params.fee_bp // BASIS_POINTS
        coverage = burned * params.coverage_share_bp // BASIS_POINTS
        cell = get_reward_cell(self._state, session.payer)
        source = Source(kind, session.payee, cell, session.account)
        self._paid[source] = self._paid.get(source, 0) + burned - fee - coverage
        if coverage:
            pool = (cell, session.account)
            self._pooled[pool] = self._pooled.get(pool, 0) + coverage
        self._burned += burned
        self._fee += fee

    def process(self, effects: Effects) -> None:
        """Give each share to where it belongs: payee, pool, nobody (the fee)."""
        state = self._state
        for source, amount in self._paid.items():
            payee = state.hotspots[source.payee]
            state.credit(payee.owner, amount)
            payee.earned_ucr += amount
            state.touch("hotspots", payee.index)
            state.add("stats", f"paid_{source.kind}_ucr", amount)
            kind, index, cell, account = source
            effects.payments.append(
                Payment(state.epoch, kind, payee.owner, index, cell, amount, account)
            )
        for pool, amount in self._pooled.items():
            state.add("pools", pool, amount)
        state.supply.destroyed += self._fee
        state.add("stats", "relayed_bytes", self._bytes)
        state.add("stats", "ai_tokens", self._tokens)
        state.add("stats", "ai_requests", self._requests)
        state.add("stats", "burned_ucr", self._burned)
