"""Handlers of what the ledger knows now: hotspots, accounts, sessions, totals."""

from __future__ import annotations

from collections.abc import Sequence

from chain.errors import UserError
from chain.service import admission_views, views
from chain.service.claim_views import claim_json
from chain.service.hold_views import holds_json
from chain.service.io_call import Answer, Call, Handler, missing


async def get_mix(call: Call) -> Answer:
    """R of an epoch: the current one or one of the few before."""
    epoch = call.values["epoch"]
    mix = call.durable.ledger.mix(epoch)
    if mix is None or epoch > call.state.epoch:
        raise missing("epoch", epoch)
    return {"epoch": epoch, "mix": mix.hex()}


async def get_hotspots(call: Call) -> Answer:
    """Hotspots from an index on, or those of some keys."""
    state, start, keys = call.state, call.values["from"], call.values["keys"]
    wanted: Sequence[int] = range(start, len(state.hotspots))
    if keys is not None:
        found = (state.index_of.get(key, -1) for key in keys)
        wanted = sorted({index for index in found if index >= start})
    return {"hotspots": views.hotspots_json(state, wanted)}


async def get_hotspot(call: Call) -> Answer:
    """One hotspot by index or key."""
    return views.hotspot_json(call.state, call.state.hotspots[find_hotspot(call)])


def find_hotspot(call: Call) -> int:
    """The index that the path's `id` names, by index or key; UserError 400 or 404."""
    text = call.values["id"]
    if text.isascii() and text.isdecimal() and len(text) < 12:
        index = int(text)
    else:
        index = call.state.index_of.get(_parse_key(text), -1)
    if not 0 <= index < len(call.state.hotspots):
        raise missing("id", text)
    return index


def _parse_key(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        problem = f"{text[:70]!r} is no key or index"
        raise UserError("id", problem, "give an index or 64 hexadecimal digits")
    return value


async def get_account(call: Call) -> Answer:
    """One account; an account that never held anything has zeros."""
    key = call.values["key"]
    account = call.state.accounts.get(key)
    nonce = 0 if account is None else account.nonce
    return {**views.account_json(call.state, key), "nonce": nonce}


async def get_session(call: Call) -> Answer:
    """One open session."""
    session = call.state.sessions.get(call.values["index"])
    if session is None:
        raise missing("index", call.values["index"])
    return views.session_json(call.state, session)


async def get_claims(call: Call) -> Answer:
    """Relays' claims that are still open, by number."""
    return {"claims": [claim_json(claim) for _, claim in sorted(call.state.claims.items())]}


async def get_claim(call: Call) -> Answer:
    """One open claim."""
    claim = call.state.claims.get(call.values["index"])
    if claim is None:
        raise missing("index", call.values["index"])
    return claim_json(claim)


async def get_bounties(call: Call) -> Answer:
    """Bounties that still hold something, by cell."""
    rows = sorted(call.state.bounties.items())
    return {
        "bounties": [
            {
                "cell": f"{cell:x}",
                "number": number,
                "sponsor": bounty.sponsor.hex(),
                "left_ucr": bounty.left_ucr,
                "per_settlement_ucr": bounty.per_settlement_ucr,
                "until_epoch": bounty.until_epoch,
            }
            for (cell, number), bounty in rows
        ]
    }


async def get_appointments(call: Call) -> Answer:
    """Who holds which role, and every appointment that was made."""
    return admission_views.appointments_json(call.state)


async def get_findings(call: Call) -> Answer:
    """Frauds that were proven, and faults of validators."""
    state = call.state
    return {
        "findings": admission_views.findings_json(state),
        "faults": admission_views.faults_json(state),
    }


async def get_holds(call: Call) -> Answer:
    """Findings that hold pay back, and the newest that ended."""
    return holds_json(call.state)


async def get_stats(call: Call) -> Answer:
    """Totals."""
    return views.stats_json(call.durable.ledger)


HANDLERS: dict[str, Handler] = {
    "get_mix": get_mix,
    "get_hotspots": get_hotspots,
    "get_hotspot": get_hotspot,
    "get_account": get_account,
    "get_session": get_session,
    "get_claims": get_claims,
    "get_claim": get_claim,
    "get_bounties": get_bounties,
    "get_appointments": get_appointments,
    "get_findings": get_findings,
    "get_holds": get_holds,
    "get_stats": get_stats,
}
