"""The live state as JSON values, for the HTTP API and the commands; keys are hexadecimal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from chain.header import Header
from chain.ledger import Ledger
from chain.records import Asserted, SubmitResult
from chain.rules.refuted import get_refuted
from chain.rules.trust import get_trust_ppm
from chain.service.admission_views import hotspot_end_json
from chain.service.claim_views import held_json
from chain.service.hold_views import hotspot_hold_json, refuted_json
from chain.state import Hotspot, Session, State, compute_held_ucr, get_rules, is_conserved

Json = dict[str, Any]
ASSERTED = tuple(field.name for field in fields(Asserted))


def head_json(ledger: Ledger) -> Json:
    """Where the ledger stands, with the mix of the current epoch and the length of epochs."""
    head, state, params = ledger.head, ledger.state, ledger.params
    return {
        "network_id": ledger.network_id.hex(),
        "preset": params.name,
        "rules": get_rules(state),
        "start_ms": state.genesis.start_ms,
        "epoch_ms": params.epoch_ms,
        "epoch": state.epoch,
        "epoch_start_ms": state.genesis.start_ms + state.epoch * params.epoch_ms,
        "mix": state.mixes[state.epoch].hex(),
        "settlement": state.settlement,
        **header_json(head),
    }


def header_json(header: Header) -> Json:
    """A block header."""
    return {
        "height": header.height,
        "time_ms": header.time_ms,
        "record_count": header.record_count,
        "log_root": header.log_root.hex(),
        "state_root": header.state_root.hex(),
        "previous": header.previous.hex(),
        "hash": header.hash().hex(),
    }


def genesis_json(ledger: Ledger, wire: str) -> Json:
    """The genesis record, and its wire in base64."""
    genesis = ledger.state.genesis
    return {
        "network_id": ledger.network_id.hex(),
        "network": genesis.network,
        "preset": genesis.preset,
        "start_ms": genesis.start_ms,
        "operators": [key.hex() for key in genesis.operators],
        "threshold": genesis.threshold,
        "seeds": [key.hex() for key in genesis.seeds],
        "wire": wire,
    }


def hotspots_json(state: State, indexes: Sequence[int]) -> list[Json]:
    """The hotspots of these indexes."""
    refuted = get_refuted(state)
    return [hotspot_json(state, state.hotspots[i], refuted) for i in indexes]


def hotspot_json(state: State, hotspot: Hotspot, refuted: frozenset[int] | None = None) -> Json:
    """One hotspot with its newest assertion; `refuted` are all refuted ones, if they are known."""
    assertion = hotspot.newest
    asserted = {name: getattr(assertion.registration, name) for name in ASSERTED}
    return {
        "index": hotspot.index,
        **asserted,
        "key": hotspot.key.hex(),
        "owner": hotspot.owner.hex(),
        "cell": f"{assertion.registration.cell:x}",
        "bind_epoch": assertion.bind_epoch,
        "last_epoch": None if hotspot.last_epoch < 0 else hotspot.last_epoch,
        "trust_ppm": get_trust_ppm(state, hotspot),
        "bond_ucr": hotspot.bond_ucr,
        "earned_ucr": hotspot.earned_ucr,
        "hold": hotspot_hold_json(state, hotspot.index),
        "refuted": refuted_json(state, hotspot.index, refuted),
        **get_keys_json(state, hotspot.index),
        **hotspot_end_json(state, hotspot.index),
    }


def get_keys_json(state: State, hotspot: int) -> Json:
    """The keys of a hotspot that are not its key now: the next one, and those of before."""
    pending, former = state.rotations.get(hotspot), state.former_keys.get(hotspot)
    rotation = pending and {
        "id": pending.record_id.hex(),
        "new_key": pending.new_key.hex(),
        "from_epoch": pending.from_epoch,
        "by": "owner" if pending.by_owner else "keys",
    }
    before = former.keys if former else ()
    return {
        "rotation": rotation,
        "former_keys": [{"key": key.hex(), "until_epoch": until} for until, key in before],
    }


def session_json(state: State, session: Session) -> Json:
    """One session, with what was claimed so far, and what an open claim of its relay says of it."""
    return {
        "index": session.index,
        "payer": session.payer,
        "payee": session.payee,
        "nonce": session.nonce,
        "relay_price_ucr": session.relay_price_ucr,
        "ai_price_ucr": session.ai_price_ucr,
        "cap_ucr": session.cap_ucr,
        "expiry_epoch": session.expiry_epoch,
        "claimed_ucr": session.claimed_ucr,
        "sequence": session.sequence,
        "relayed_bytes": session.relayed_bytes,
        "ai_tokens": session.ai_tokens,
        "ai_requests": session.ai_requests,
        "last_hash": session.last_hash.hex(),
        "claim": held_json(state, session),
    }


def account_json(state: State, account: bytes) -> Json:
    """One account with the hotspots that it owns."""
    owned = [hotspot for hotspot in state.hotspots if hotspot.owner == account]
    return {
        "account": account.hex(),
        "balance_ucr": state.balance(account),
        "bonds_ucr": sum(hotspot.bond_ucr for hotspot in owned),
        "escrow_ucr": sum(s.escrow_ucr for s in state.sessions.values() if s.account == account),
        "hotspots": [hotspot.index for hotspot in owned],
    }


def result_json(result: SubmitResult) -> Json:
    """The answer to one submitted record."""
    return {
        "record_id": result.record_id.hex(),
        "accepted": result.accepted,
        "index": result.index,
        "reason": result.reason,
        "detail": result.detail,
    }


def stats_json(ledger: Ledger) -> Json:
    """Totals since the start: verdicts by reason, credits by kind, traffic, and the supply."""
    state, stats = ledger.state, ledger.state.stats
    return {
        "epoch": state.epoch,
        "hotspots": len(state.hotspots),
        "records": ledger.log.size,
        "sessions_open": len(state.sessions),
        "beacons_judged": stats["beacons_judged"],
        "verdicts": _part(stats, "verdict_", ""),
        "paid_ucr": _part(stats, "paid_", "_ucr"),
        "credits_paid_ucr": sum(_part(stats, "paid_", "_ucr").values()),
        "relayed_bytes": stats["relayed_bytes"],
        "ai_requests": stats["ai_requests"],
        "ai_tokens": stats["ai_tokens"],
        "burned_ucr": stats["burned_ucr"],
        "dust_ucr": stats["dust_ucr"],
        "links": len(state.links),
        "state_bytes": sum(ledger.state_bytes().values()),
        "state_bytes_by_table": {k: v for k, v in sorted(ledger.state_bytes().items()) if v},
        "state_bytes_per_hotspot": _per_hotspot(ledger),
        "supply": {
            "deposited_ucr": state.supply.deposited,
            "minted_ucr": state.supply.minted,
            "destroyed_ucr": state.supply.destroyed,
            "withdrawn_ucr": state.supply.withdrawn,
            "held_ucr": compute_held_ucr(state),
            "waiting_in_pools_ucr": sum(state.pools.values()),
            "conserved": is_conserved(state),
        },
    }


def _per_hotspot(ledger: Ledger) -> int:
    """Bytes that a hotspot keeps for good: its row, and that of its owner's account."""
    kept = ledger.state_bytes()
    count = len(ledger.state.hotspots)
    return -(-(kept["hotspots"] + kept["accounts"]) // count) if count else 0


def _part(stats: dict[str, int], prefix: str, suffix: str) -> dict[str, int]:
    return {
        name[len(prefix) : len(name) - len(suffix)]: value
        for name, value in sorted(stats.items())
        if name.startswith(prefix) and name.endswith(suffix)
    }
