"""Handlers of what the ledger knows now: hotspots, accounts, sessions, totals."""

from __future__ import annotations

from chain import views
from chain.errors import UserError
from chain.io_call import Answer, Call, Handler, missing
from chain.rules.trust import compute_trust_ppm


async def get_mix(call: Call) -> Answer:
    """R of an epoch: the current one or one of the few before."""
    epoch = call.values["epoch"]
    mix = call.durable.ledger.mix(epoch)
    if mix is None or epoch > call.state.epoch:
        raise missing("epoch", epoch)
    return {"epoch": epoch, "mix": mix.hex()}


async def get_hotspots(call: Call) -> Answer:
    """All hotspots."""
    return {"hotspots": views.hotspots_json(call.state)}


async def get_hotspot(call: Call) -> Answer:
    """One hotspot by index or key."""
    index = find_hotspot(call)
    return views.hotspot_json(call.state.hotspots[index], compute_trust_ppm(call.state)[index])


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


async def get_stats(call: Call) -> Answer:
    """Totals."""
    return views.stats_json(call.durable.ledger)


HANDLERS: dict[str, Handler] = {
    "get_mix": get_mix,
    "get_hotspots": get_hotspots,
    "get_hotspot": get_hotspot,
    "get_account": get_account,
    "get_session": get_session,
    "get_stats": get_stats,
}
