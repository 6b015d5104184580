"""Relays' open claims as JSON values: for relays that must open leaves, and payers who check."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from chain import bits
from chain.packed import Entry
from chain.rules.claims import get_entries, get_totals
from chain.state import OpenClaim, Session, State

Json = dict[str, Any]


def claim_json(claim: OpenClaim) -> Json:
    """One open claim: what it asks for, which leaves were asked for, which are open, until when."""
    return {
        "index": claim.index,
        "relay": claim.relay,
        "epoch": claim.epoch,
        "accepted_epoch": claim.accepted_epoch,
        "deadline_epoch": claim.deadline_epoch,
        "root": claim.root.hex(),
        "total_ucr": claim.total_ucr,
        "sessions": len(get_entries(claim.entries)),
        "drawn": bits.members(claim.drawn),
        "disputed": bits.members(claim.disputed),
        "opened": bits.members(claim.opened),
    }


def held_json(state: State, session: Session) -> Json | None:
    """What an open claim says of a session, in all; None if none holds it."""
    claim = state.claims.get(session.claim - 1) if session.claim else None
    if claim is None:
        return None
    entries = get_entries(claim.entries)
    position = bisect_left(entries, Entry(session.index, 0, 0, 0, 0))
    relayed_bytes, ai_tokens, ai_requests = get_totals(session, entries[position])
    return {
        "index": claim.index,
        "position": position,
        "deadline_epoch": claim.deadline_epoch,
        "sequence": entries[position].sequence,
        "relayed_bytes": relayed_bytes,
        "ai_tokens": ai_tokens,
        "ai_requests": ai_requests,
    }
