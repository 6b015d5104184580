"""Answers to "why": a beacon, a hotspot, a record or an account, from the database."""

from __future__ import annotations

import json
from typing import Any

from chain import wire
from chain.errors import UserError
from chain.explain import explain_beacon
from chain.io_store import UNREADABLE, Store, damaged
from chain.ledger import Ledger
from chain.records import Refusal
from chain.rules.verdicts import REASONS, Judgement

Answer = dict[str, Any]
RECENT = 20


def accept_all(*_: object) -> bool:
    """Stand in for signature checks where records were checked before they were stored."""
    return True


def load_ledger(store: Store, *, until_epoch: int | None = None) -> Ledger:
    """Replay a database into memory, up to the close of an epoch if given; UserError if damaged."""
    ledger: Ledger | None = None
    try:
        for block in store.blocks():
            if ledger is None:
                genesis = wire.decode(block.wires[0])
                if isinstance(genesis, Refusal):
                    raise ValueError("block 0 holds no genesis")
                ledger = Ledger(genesis, accept_all)
            else:
                ledger.replay(block)
            if until_epoch is not None and block.epoch > until_epoch:
                break
    except (*UNREADABLE, ValueError, IndexError, TypeError) as error:
        raise damaged(store.path, error) from error
    if ledger is None:
        raise damaged(store.path, "it holds no genesis")
    return ledger


def find_judgement(store: Store, epoch: int, ledger: Ledger | None = None) -> Judgement | None:
    """The judgement on an epoch: recent ones from memory, older ones by replaying the records."""
    if ledger is not None and (recent := ledger.verdicts(epoch)):
        return recent
    return load_ledger(store, until_epoch=epoch + 1).verdicts(epoch)


def explain(store: Store, identifier: str, ledger: Ledger | None = None) -> Answer:
    """Explain HOTSPOT:EPOCH:SEQ, a hotspot index or key, a record id, or an account key.

    UserError (404) if nothing has this id, and if it isn't an id at all.
    """
    parts = identifier.split(":")
    if len(parts) == 3 and all(part.isdecimal() for part in parts):
        hotspot, epoch, sequence = map(int, parts)
        return _explain_beacon(store, hotspot, epoch, sequence, ledger)
    if identifier.isdecimal() and len(identifier) < 12:
        answer = _explain_hotspot(store, "result_index = ?", int(identifier))
    else:
        answer = _explain_hex(store, _parse_hex(identifier))
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


def _explain_hex(store: Store, value: bytes) -> Answer | None:
    return _explain_record(store, value) or _explain_key(store, value)


def _explain_beacon(
    store: Store, hotspot: int, epoch: int, sequence: int, ledger: Ledger | None
) -> Answer:
    judgement = find_judgement(store, epoch, ledger)
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
    judged = store.rows("SELECT * FROM verdicts WHERE record_id = ?", (record_id,))
    if judged:
        answer["report_epoch"] = judged[0]["epoch"]
        answer["verdicts"] = count_codes([judged[0]["codes"]])
    return answer


def count_codes(rows: list[bytes]) -> dict[str, int]:
    """How often each reason occurs in stored verdict codes."""
    joined = b"".join(rows)
    return {REASONS[code]: joined.count(code) for code in sorted(set(joined))}


def _explain_key(store: Store, key: bytes) -> Answer | None:
    balance = store.rows("SELECT balance_ucr FROM balances WHERE account = ?", (key,))
    hotspot = _explain_hotspot(store, "instr(wire, ?) > 0", key)
    if hotspot is not None and hotspot["key"] == key.hex():
        return hotspot
    if not balance:
        return None
    sums = store.rows(
        "SELECT kind, sum(amount_ucr) AS ucr FROM payments WHERE account = ? GROUP BY kind", (key,)
    )
    return {
        "kind": "account",
        "account": key.hex(),
        "balance_ucr": balance[0]["balance_ucr"],
        "earned_ucr": {row["kind"]: row["ucr"] for row in sums},
        "payments": _payments(store, "account = ?", key),
    }


def _explain_hotspot(store: Store, condition: str, value: int | bytes) -> Answer | None:
    rows = store.rows(
        f"SELECT wire, result_index FROM records WHERE substr(wire, 2, 1) = x'02' AND {condition}"
        " ORDER BY seq DESC LIMIT 1",
        (value,),
    )
    signed = wire.decode(rows[0]["wire"]) if rows else Refusal("", "")
    if isinstance(signed, Refusal):
        return None
    index = rows[0]["result_index"]
    return {
        "kind": "hotspot",
        "hotspot": index,
        "key": getattr(signed.record, "key", b"").hex(),
        "owner": getattr(signed.record, "owner", b"").hex(),
        "as_witness": _witness_counts(store, index),
        "as_beaconer": _beacon_counts(store, index),
        "payments": _payments(store, "hotspot = ?", index),
    }


def _witness_counts(store: Store, index: int) -> dict[str, int]:
    sql = "SELECT codes FROM verdicts WHERE witness = ? ORDER BY epoch DESC LIMIT ?"
    return count_codes([row["codes"] for row in store.rows(sql, (index, RECENT))])


def _beacon_counts(store: Store, index: int) -> dict[str, Any]:
    """Of the newest beacons: what became of them, and the verdicts on who heard them."""
    sql = "SELECT * FROM beacons WHERE beaconer = ? ORDER BY epoch DESC, sequence LIMIT ?"
    beacons: dict[str, int] = {}
    receptions: dict[str, int] = {}
    rows = store.rows(sql, (index, RECENT))
    for row in rows:
        beacons[row["verdict"]] = beacons.get(row["verdict"], 0) + 1
        for reason, count in json.loads(row["counts"]).items():
            receptions[reason] = receptions.get(reason, 0) + count
    newest = [f"{row['beaconer']}:{row['epoch']}:{row['sequence']}" for row in rows[:3]]
    return {"beacons": beacons, "receptions": receptions, "newest": newest}


def _payments(store: Store, condition: str, value: int | bytes) -> list[Answer]:
    rows = store.rows(
        f"SELECT * FROM payments WHERE {condition} ORDER BY seq DESC LIMIT {RECENT}", (value,)
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
