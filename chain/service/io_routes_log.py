"""Handlers of the log: records in, records out, proofs, where it stands."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import asdict
from typing import Any

from chain.errors import UserError
from chain.io_http import json_response
from chain.proofs.promise import promise_json
from chain.service import views
from chain.service.api import MAX_RECORDS_PER_REQUEST
from chain.service.io_call import Answer, Call, Handler, missing
from chain.store.io_store import Store

BODY_S = 15  # 16 MiB in it are 9 Mb/s; whoever sends slower sends less at once
EXAMPLE = 'send {"records": ["BASE64", ...]}'


async def post_records(call: Call) -> Answer:
    """Take records; answer once they are durable."""
    call.service.engine.check_door(call.source)
    if call.values["promise"] or "respond-async" in call.request.headers.get("Prefer", ""):
        return await _post_promised(call)
    results = await call.service.engine.submit(_wires(await _body(call)), call.source)
    return {"results": [views.result_json(result) for result in results]}


async def _post_promised(call: Call) -> Answer:
    """Take records and answer at once with promises; what becomes of them is asked later."""
    promiser = call.service.promiser
    if promiser is None:
        raise UserError("promise", "this service makes none", "submit without it", status=503)
    promises = promiser.promise(_wires(await _body(call)), call.source)
    return json_response({"promises": [promise_json(p) for p in promises]}, status=202)


async def get_promise(call: Call) -> Answer:
    """What became of a promised record."""
    promiser, record_id = call.service.promiser, call.values["id"]
    fate = None if promiser is None else promiser.fate(record_id)
    if fate is None:
        raise missing("id", record_id.hex())
    return {**asdict(fate), "record_id": record_id.hex()}


async def _body(call: Call) -> Any:
    try:
        async with asyncio.timeout(BODY_S):
            return await call.request.json()
    except TimeoutError as error:
        problem = f"took longer than {BODY_S} s"
        raise UserError("body", problem, "send less at once", status=408) from error
    except (ValueError, RecursionError) as error:
        raise UserError("body", "is no JSON", EXAMPLE) from error


def _wires(body: Any) -> list[bytes]:
    records = body.get("records") if isinstance(body, dict) else None
    for name in body if isinstance(body, dict) else ():
        if name != "records":
            raise UserError(name[:40], "unknown member", EXAMPLE)
    if not isinstance(records, list) or not all(isinstance(item, str) for item in records):
        raise UserError("records", "is no array of text", EXAMPLE)
    if len(records) > MAX_RECORDS_PER_REQUEST:
        raise UserError(
            "records", f"{len(records)} at once", f"send at most {MAX_RECORDS_PER_REQUEST}"
        )
    try:
        return [base64.b64decode(item, validate=True) for item in records]
    except (binascii.Error, ValueError) as error:
        raise UserError("records", "holds text that is no base64", "encode each wire") from error


async def get_records(call: Call) -> Answer:
    """A page of the log."""
    start = call.values["from"]
    sql = "SELECT * FROM records WHERE seq >= ? ORDER BY seq LIMIT ?"
    rows = call.store.rows(sql, (start, call.values["limit"]))
    blocks = _block_columns(call.store, rows)
    records = [{**_record_json(call, row), **blocks[row["height"]]} for row in rows]
    return {"records": records, "next": start + len(rows)}


def _block_columns(store: Store, rows: list[dict[str, Any]]) -> dict[int, dict[str, int]]:
    if not rows:
        return {}
    span = (rows[0]["height"], rows[-1]["height"])
    found = store.rows("SELECT * FROM blocks WHERE height BETWEEN ? AND ?", span)
    return {row["height"]: {"epoch": row["epoch"], "time_ms": row["time_ms"]} for row in found}


def _record_json(call: Call, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the log; its wire is null if it was pruned and no archive has it."""
    wire = row["wire"] or call.service.archive.find(row["seq"], row["id"])
    return {
        "seq": row["seq"],
        "block": row["height"],
        "id": row["id"].hex(),
        "wire": None if wire is None else _base64(wire),
        "result": {"accepted": True, "index": row["result_index"], "reason": row["reason"]},
    }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def get_record(call: Call) -> Answer:
    """One record with its inclusion proof in the newest tree."""
    record_id, log = call.values["id"], call.durable.log
    rows = call.store.rows("SELECT * FROM records WHERE id = ?", (record_id,))
    if not rows:
        raise missing("id", record_id.hex())
    row, size = rows[0], len(log)
    proof = {
        "leaf_index": row["seq"],
        "tree_size": size,
        "root": log.root(size).hex(),
        "path": [node.hex() for node in log.inclusion_proof(row["seq"], size)],
    }
    block = _block_columns(call.store, rows)[row["height"]]
    return {**_record_json(call, row), **block, "proof": proof}


async def get_consistency(call: Call) -> Answer:
    """Proof that an older tree of the log is a prefix of a newer one."""
    log = call.durable.log
    new = len(log) if call.values["new"] is None else call.values["new"]
    old = call.values["old"]
    if new > len(log):
        raise UserError("new", f"{new} is more than the log holds", f"give at most {len(log)}")
    if not 0 < old <= new:
        raise UserError("old", f"is {old}", f"ask from 1 to {new}: all trees extend the empty one")
    path = [node.hex() for node in log.consistency_proof(old, new)]
    roots = {"old_root": log.root(old).hex(), "new_root": log.root(new).hex()}
    return {"old": old, "new": new, **roots, "path": path}


async def get_head(call: Call) -> Answer:
    """Where the ledger stands."""
    return {**views.head_json(call.durable.ledger), "fault": call.service.engine.fault}


async def get_genesis(call: Call) -> Answer:
    """The genesis record."""
    row = call.store.rows("SELECT wire FROM records WHERE seq = 0")[0]
    return views.genesis_json(call.durable.ledger, _base64(row["wire"]))


HANDLERS: dict[str, Handler] = {
    "post_records": post_records,
    "get_promise": get_promise,
    "get_records": get_records,
    "get_record": get_record,
    "get_consistency": get_consistency,
    "get_head": get_head,
    "get_genesis": get_genesis,
}
