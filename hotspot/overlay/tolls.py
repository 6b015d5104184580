"""Paying for a path: sessions with everybody on it who is paid, ready before the first byte leaves.

AI requests pay the relays and the provider at the end, jobs the relays only. Both ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chain.params import Params
from chain.records import Refusal
from hotspot.overlay.linkstate import LinkStateTable
from hotspot.overlay.payer import PayerBook, PayerSession, Terms
from hotspot.overlay.sessions import Control, Sync, flight_bytes, work_of

PRICE_TOO_HIGH = Refusal("price_too_high", "a hotspot on the path asks more than we pay")
OVER_ESCROW = Refusal(
    "over_escrow",
    "max_tokens: may cost more than spending.escrow_ucr; lower one or raise the other",
)


@dataclass(frozen=True, slots=True)
class Spending:
    """What this hotspot is ready to pay: prices at most, escrow and lifetime of a session."""

    max_relay_price_ucr: int = 1_000_000
    max_ai_price_ucr: int = 10_000_000
    escrow_ucr: int = 1_000_000
    session_epochs: int = 100


class ControlPort(Protocol):
    """Sends a session message along a route that starts here."""

    def __call__(self, route: Sequence[int], message: Control) -> None:
        """Send it."""


class TollDesk:
    """Opens and readies the sessions that a path needs."""

    def __init__(
        self,
        params: Params,
        start_ms: int,
        table: LinkStateTable,
        payer: PayerBook,
        spending: Spending,
        send_control: ControlPort,
    ) -> None:
        self.spending = spending
        self._params = params
        self._start_ms = start_ms
        self._table = table
        self._payer = payer
        self._send_control = send_control

    def secure(
        self, route: Sequence[int], payees: int, now_ns: int, tokens: int = 0
    ) -> dict[int, int] | Refusal | None:
        """Sessions by hotspot once the first `payees` hops after us are ready, None until then.

        The session with the last of them must still cover `tokens` of AI work.
        """
        paid: dict[int, int] = {}
        waiting = False
        for position, hop in enumerate(route[1 : payees + 1], start=1):
            terms = self._terms(hop, tokens if position == payees else 0, now_ns)
            if isinstance(terms, Refusal):
                return terms
            session = self._payer.ensure(hop, terms, now_ns)
            if isinstance(session, Refusal):
                return session
            if session is None or not session.is_ready:
                waiting = True
                self._sync(session, route[: position + 1], now_ns)
            else:
                paid[hop] = session.info.session
        return None if waiting else paid

    def _sync(self, session: PayerSession | None, route: Sequence[int], now_ns: int) -> None:
        if session is not None and self._payer.wants_sync(session, now_ns):
            self._send_control(route, Sync(session.info.session))

    def _terms(self, hop: int, tokens: int, now_ns: int) -> Terms | Refusal:
        entry = self._table.entry(hop)
        relay = entry.relay_price_ucr if entry else 0
        ai = entry.provider.ai_price_ucr if entry and entry.provider else 0
        limit = self.spending
        if relay > limit.max_relay_price_ucr or ai > limit.max_ai_price_ucr:
            return PRICE_TOO_HIGH
        if ai * tokens // 1_000 > limit.escrow_ucr:
            return OVER_ESCROW
        epoch = self._params.epoch_at(self._start_ms, now_ns // 1_000_000)
        lifetime = min(limit.session_epochs, self._params.session_epochs_max)
        return Terms(relay, ai, limit.escrow_ucr, epoch + lifetime, tokens)

    def prices_ucr(self, now_ns: int) -> dict[int, int]:
        """What a MiB through each known hotspot costs us: by an open session, or as advertised.

        Hotspots that ask more than we pay are left out.
        """
        prices: dict[int, int] = {}
        for hop in self._table.ages_ms(now_ns // 1_000_000):
            terms = self._terms(hop, 0, now_ns)
            if not isinstance(terms, Refusal):
                session = self._payer.find(hop, terms)
                prices[hop] = session.info.relay_price_ucr if session else terms.relay_price_ucr
        return prices

    def flight_bytes(self, sessions: Sequence[int]) -> int:
        """Return the bytes per round trip at which every relay surely carries on."""
        known = [self._payer.sessions[s] for s in sessions if s in self._payer.sessions]
        paid = min((work_of(one.receipt).relayed_bytes for one in known), default=1 << 62)
        return flight_bytes(paid, self._params.chunk_bytes)

    def price_of(self, sessions: Sequence[int]) -> int:
        """Return what a MiB costs under all of these sessions together."""
        known = [self._payer.sessions[s] for s in sessions if s in self._payer.sessions]
        return sum(session.info.relay_price_ucr for session in known)
