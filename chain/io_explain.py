"""Answers to "why": a beacon, a hotspot, a record or an account, from the database."""

from __future__ import annotations

import json
from typing import Any

from chain import wire
from chain.errors import UserError
from chain.explain import explain_beacon
from chain.io_explain_coverage import explain_coverage
from chain.io_judgement import load_judgement
from chain.keys import KEY_BYTES
from chain.ledger import Ledger
from chain.records import EpochMessage, Refusal
from chain.rules.verdicts import REASONS
from chain.store.hotspot_row import unpack_numbers
from chain.store.io_restore import load_params
from chain.store.io_schema import REGISTRATION
from chain.store.io_store import WEAKER, Store
from chain.store.tables import TABLES

Answer = dict[str, Any]
RECENT = 20
EPOCHS_SEARCHED = 1_008  # a week of the longest epochs: who was away longer has nothing recent


def explain(
    store: Store, identifier: str, ledger: Ledger | None = None, *, reached: int | None = None
) -> Answer:
    """Explain HOTSPOT:EPOCH:SEQ, a hotspot index or key, a record id, or an account key.

    With `reached`, how many hotspots have trust, a hotspot's coverage is explained too.
    UserError (404) if nothing has this id, and if it isn't an id at all.
    """
    parts = identifier.split(":")
    answer: Answer | None = None
    if len(parts) == 3 and all(part.isdecimal() for part in parts):
        if max(map(len, parts)) < 12:  # longer numbers name nothing, and no database holds them
            hotspot, epoch, sequence = map(int, parts)
            return _explain_beacon(store, hotspot, epoch, sequence, ledger)
    elif identifier.isdecimal() and len(identifier) < 12:
        answer = _explain_hotspot(store, int(identifier), reached)
    else:
        answer = _explain_hex(store, _parse_hex(identifier), reached)
    if answer is None:
        raise UserError(
            "id", f"{identifier} is unknown here", "see /v1/hotspots and /v1/records", status=404
        )
    return answer


def _parse_hex(identifier: str) -> bytes:
    try:
        value = bytes.fromhex(identifier)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise UserError(
            "id",
            f"{identifier} is no id",
            "give HOTSPOT:EPOCH:SEQ, a hotspot index, or 64 hexadecimal digits of a key or record",
        )
    return value


def _explain_hex(store: Store, value: bytes, reached: int | None) -> Answer | None:
    return _explain_record(store, value) or _explain_key(store, value, reached)


def _explain_beacon(
    store: Store, hotspot: int, epoch: int, sequence: int, ledger: Ledger | None
) -> Answer:
    judgement = ledger.verdicts(epoch) if ledger is not None else None
    if judgement is None:  # older than what is at hand
        judgement = load_judgement(store, epoch, hotspot)
    if judgement is None:
        raise UserError(
            "id",
            f"epoch {epoch} has no verdicts",
            "they come when the epoch after it has closed, if anybody reported",
            status=404,
        )
    return explain_beacon(judgement, hotspot, sequence)


def _explain_record(store: Store, record_id: bytes) -> Answer | None:
    rows = store.rows("SELECT * FROM records WHERE id = ?", (record_id,))
    if not rows:
        return None
    row = rows[0]
    signed = wire.decode(row["wire"])
    name = "damaged" if isinstance(signed, Refusal) else signed.record.NAME
    answer: Answer = {
        "kind": "record",
        "type": name,
        "seq": row["seq"],
        "block": row["height"],
        "result": row["reason"],
        "index": row["result_index"],
    }
    if not isinstance(signed, Refusal) and isinstance(signed.record, EpochMessage):
        place = (signed.record.epoch - 1, signed.record.hotspot)
        sql = "SELECT * FROM verdicts WHERE epoch = ? AND witness = ? AND record_id = ?"
        answer |= _judged(store.rows(sql, (*place, record_id)))
    elif name == "mapper-report":
        answer |= _judged(store.rows("SELECT * FROM mapped WHERE record_id = ?", (record_id,)))
    return answer


def _judged(rows: list[Answer]) -> Answer:
    """What became of the receptions of a report, if they were judged already."""
    return {
        name: value
        for row in rows
        for name, value in (
            ("report_epoch", row["epoch"]),
            ("verdicts", count_codes([row["codes"]])),
        )
    }


def count_codes(rows: list[bytes]) -> dict[str, int]:
    """How often each reason occurs in stored verdict codes."""
    joined = b"".join(rows)
    return {REASONS[code]: joined.count(code) for code in sorted(set(joined))}


def _explain_key(store: Store, key: bytes, reached: int | None) -> Answer | None:
    sql = "SELECT key FROM state WHERE name = 'hotspots' AND substr(row, 1, 32) = ?"
    other = "SELECT key FROM state WHERE name IN ('rotations', 'former_keys') AND instr(row, ?)"
    if rows := store.rows(sql, (key,)) or store.rows(other, (key,)):
        return _explain_hotspot(store, int.from_bytes(rows[0]["key"], "big"), reached)
    account = store.rows("SELECT row FROM state WHERE name = 'accounts' AND key = ?", (key,))
    if not account:
        return None
    found = TABLES["accounts"].row.unpack(account[0]["row"])
    return {
        "kind": "account",
        "account": key.hex(),
        "balance_ucr": found.balance_ucr,
        "earned_ucr": _earned(store, "account", found.slot),
        "payments": _payments(store, "slot = ?", found.slot),
    }


def _earned(store: Store, column: str, value: int) -> dict[str, int]:
    """What it was ever paid, by kind: what payers burned for its coverage, say."""
    sql = f"SELECT kind, sum(amount_ucr) AS ucr FROM payments WHERE {column} = ? GROUP BY kind"
    return {row["kind"]: row["ucr"] for row in store.rows(sql, (value,))}


def _explain_hotspot(store: Store, index: int, reached: int | None) -> Answer | None:
    rows = store.rows(
        f"SELECT wire FROM records WHERE kind = {REGISTRATION} AND result_index = ?"
        " ORDER BY seq DESC LIMIT 1",
        (index,),
    )
    signed = wire.decode(rows[0]["wire"]) if rows else Refusal("", "")
    if isinstance(signed, Refusal):
        return None
    newest = store.rows("SELECT epoch FROM blocks ORDER BY height DESC LIMIT 1")[0]["epoch"]
    return {
        "kind": "hotspot",
        "hotspot": index,
        "owner": getattr(signed.record, "owner", b"").hex(),
        **_keys(store, index),
        "earned_ucr": _earned(store, "hotspot", index),
        **(
            {}
            if reached is None
            else {"coverage": explain_coverage(store, index, newest, reached)}
        ),
        "as_beaconer": _beacon_counts(store, index, newest),
        "as_witness": _witness_counts(store, index, newest),
        "power_steps": _power_steps(store, index, newest),
        "payments": _payments(store, "hotspot = ?", index),
    }


def _keys(store: Store, index: int) -> Answer:
    """The key of now, those of before with the epochs that ended them, and the next one."""
    rows = store.rows(
        "SELECT name, row FROM state WHERE key = ?"
        " AND name IN ('hotspots', 'rotations', 'former_keys')",
        (index.to_bytes(4, "big"),),
    )
    found = {row["name"]: row["row"] for row in rows}
    answer: Answer = {"key": found["hotspots"][:KEY_BYTES].hex(), "former_keys": []}
    if raw := found.get("former_keys"):
        keys = TABLES["former_keys"].row.unpack(raw).keys
        answer["former_keys"] = [{"key": k.hex(), "until_epoch": until} for until, k in keys]
    if raw := found.get("rotations"):
        pending = TABLES["rotations"].row.unpack(raw)
        who = "its owner asks" if pending.by_owner else "both keys and the owner signed"
        answer["rotation"] = {
            "new_key": pending.new_key.hex(),
            "from_epoch": pending.from_epoch,
            "words": f"From epoch {pending.from_epoch} on another key speaks for this hotspot:"
            f" {who}." + (" The key of now may object until then." if pending.by_owner else ""),
        }
    return answer


def _newest_rows(store: Store, sql: str, index: int, newest: int) -> list[Answer]:
    """The newest RECENT rows of a hotspot in a table whose key starts with the epoch."""
    rows: list[Answer] = []
    for epoch in range(newest, max(-1, newest - EPOCHS_SEARCHED), -1):
        rows += store.rows(sql, (epoch, index))
        if len(rows) >= RECENT:
            break
    return rows[:RECENT]


def _witness_counts(store: Store, index: int, newest: int) -> dict[str, int]:
    sql = "SELECT codes FROM verdicts WHERE epoch = ? AND witness = ?"
    return count_codes([row["codes"] for row in _newest_rows(store, sql, index, newest)])


def _power_steps(store: Store, index: int, newest: int) -> Answer:
    """How what it reports goes with the secret power of what it hears (chain/rules/slopes.py)."""
    sql = "SELECT row FROM state WHERE name = 'hotspots' AND key = ?"
    found = unpack_numbers(store.rows(sql, (index.to_bytes(4, "big"),))[0]["row"])
    params = load_params(store, newest)
    needed, cut = params.slope_spread_min_db2, params.slope_cut_percent
    follows = "proven" if 100 * found.slope_db2 >= cut * found.spread_db2 else "blind"
    return {
        "slope_db2": found.slope_db2,
        "spread_db2": found.spread_db2,
        "needed_db2": needed,
        "as": follows if found.spread_db2 >= needed else "abstains",
    }


def _beacon_counts(store: Store, index: int, newest: int) -> dict[str, Any]:
    """Of the newest beacons: what became of them, and the verdicts on who heard them."""
    sql = "SELECT * FROM beacons WHERE epoch = ? AND beaconer = ? ORDER BY sequence"
    beacons: dict[str, int] = {}
    receptions: dict[str, int] = {}
    rows = _newest_rows(store, sql, index, newest)
    for row in rows:
        beacons[row["verdict"]] = beacons.get(row["verdict"], 0) + 1
        counts = json.loads(row["counts"])
        counts.pop(WEAKER, None)
        for reason, count in counts.items():
            receptions[reason] = receptions.get(reason, 0) + count
    shown = [f"{row['beaconer']}:{row['epoch']}:{row['sequence']}" for row in rows[:3]]
    return {"beacons": beacons, "receptions": receptions, "newest": shown}


def _payments(store: Store, condition: str, value: int | bytes) -> list[Answer]:
    rows = store.rows(
        f"SELECT * FROM paid WHERE {condition} ORDER BY seq DESC LIMIT {RECENT}", (value,)
    )
    return [payment_json(row) for row in rows]


def payment_json(row: dict[str, Any]) -> Answer:
    """A row of payments as JSON."""
    return {
        "epoch": row["epoch"],
        "kind": row["kind"],
        "account": row["account"].hex(),
        "hotspot": row["hotspot"],
        "cell": f"{row['cell']:x}",
        "amount_ucr": row["amount_ucr"],
        "source": row["source"].hex(),
    }
