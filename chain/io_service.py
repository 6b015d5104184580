"""The ledger's HTTP service, a thin skin over the sequencer; docs/ledger-api.md has every path."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

from aiohttp import web

from chain import views
from chain.errors import UserError
from chain.io_explain import explain, payment_json
from chain.io_http import Handler, application, json_response
from chain.io_ledger import DurableLedger, Sequencer
from chain.io_store import Store
from chain.records import Signed
from chain.rules.trust import compute_trust_ppm
from chain.rules.verdicts import NO_RSSI, REASONS
from chain.wire import decode, unpack_receptions

MAX_RECORDS_PER_REQUEST = 1_000
MAX_PAGE = 1_000
PARAMETERS = {
    "/v1/records": ("from", "limit"),
    "/v1/payments": ("from", "limit"),
    "/v1/verdicts": ("epoch",),
    "/v1/beacons": ("epoch",),
    "/v1/consistency": ("old", "new"),
}
SEQUENCER: web.AppKey[Sequencer] = web.AppKey("sequencer", Sequencer)


def build(durable: DurableLedger) -> web.Application:
    """The application; its sequencer starts and stops with it."""
    app = application(known_parameters)
    app[SEQUENCER] = Sequencer(durable)
    app.add_routes(
        [
            web.post("/v1/records", post_records),
            web.get("/v1/records", get_records),
            web.get("/v1/records/{id}", get_record),
            web.get("/v1/head", get_head),
            web.get("/v1/genesis", get_genesis),
            web.get("/v1/mix/{epoch}", get_mix),
            web.get("/v1/hotspots", get_hotspots),
            web.get("/v1/hotspots/{id}", get_hotspot),
            web.get("/v1/accounts/{key}", get_account),
            web.get("/v1/sessions/{index}", get_session),
            web.get("/v1/verdicts", get_verdicts),
            web.get("/v1/beacons", get_beacons),
            web.get("/v1/payments", get_payments),
            web.get("/v1/consistency", get_consistency),
            web.get("/v1/explain/{id}", get_explain),
            web.get("/v1/stats", get_stats),
        ]
    )
    app.on_startup.append(_start)
    app.on_cleanup.append(_stop)
    return app


async def _start(app: web.Application) -> None:
    app[SEQUENCER].start()


async def _stop(app: web.Application) -> None:
    await app[SEQUENCER].stop()


def _durable(request: web.Request) -> DurableLedger:
    return request.app[SEQUENCER].durable


def _integer(
    request: web.Request, name: str, default: int | None, high: int = 1 << 62, low: int = 0
) -> int:
    """An integer of the query, or of the path; UserError that names it if it is none."""
    text = request.match_info.get(name) or request.query.get(name)
    if text is None and default is not None:
        return default
    plain = text is not None and text.isascii() and text.isdecimal() and len(text) < 20
    value = int(text) if text is not None and plain else -1
    if not low <= value <= high:
        said = "nothing" if text is None else repr(text[:40])
        problem = f"{said} is no whole number from {low} to {high}"
        raise UserError(name, problem, f"give {name}=NUMBER")
    return value


@web.middleware
async def known_parameters(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse query parameters that the path doesn't know, or that are given twice."""
    resource = request.match_info.route.resource
    known = PARAMETERS.get(resource.canonical, ()) if resource is not None else ()
    for name in request.query if resource is not None else ():
        if name not in known:
            raise UserError(name, "unknown parameter", f"known here: {', '.join(known) or 'none'}")
        if len(request.query.getall(name)) > 1:
            raise UserError(name, "given more than once", "give it once")
    return await handler(request)


def _hex(text: str, name: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise UserError(name, f"{text!r} is no key or id", "give 64 hexadecimal digits")
    return value


def _missing(name: str, value: object) -> UserError:
    return UserError(name, f"{value} is unknown here", "check it against the lists", status=404)


async def post_records(request: web.Request) -> web.Response:
    """Take records; answer once they are durable."""
    results = await request.app[SEQUENCER].submit(_wires(await _body(request)))
    return json_response({"results": [views.result_json(result) for result in results]})


async def _body(request: web.Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError) as error:
        raise UserError("body", "is no JSON", 'send {"records": ["BASE64", ...]}') from error


def _wires(body: Any) -> list[bytes]:
    records = body.get("records") if isinstance(body, dict) else None
    for name in body if isinstance(body, dict) else ():
        if name != "records":
            raise UserError(name[:40], "unknown member", 'send {"records": ["BASE64", ...]}')
    if not isinstance(records, list) or not all(isinstance(item, str) for item in records):
        raise UserError("records", "is no array of text", 'send {"records": ["BASE64", ...]}')
    if len(records) > MAX_RECORDS_PER_REQUEST:
        raise UserError(
            "records", f"{len(records)} at once", f"send at most {MAX_RECORDS_PER_REQUEST}"
        )
    try:
        return [base64.b64decode(item, validate=True) for item in records]
    except (binascii.Error, ValueError) as error:
        raise UserError("records", "holds text that is no base64", "encode each wire") from error


async def get_head(request: web.Request) -> web.Response:
    """Where the ledger stands."""
    sequencer = request.app[SEQUENCER]
    head = views.head_json(sequencer.durable.ledger)
    return json_response({**head, "fault": sequencer.fault})


async def get_genesis(request: web.Request) -> web.Response:
    """The genesis record."""
    durable = _durable(request)
    row = durable.store.rows("SELECT wire FROM records WHERE seq = 0")[0]
    return json_response(views.genesis_json(durable.ledger, _base64(row["wire"])))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def get_mix(request: web.Request) -> web.Response:
    """R of an epoch: the current one or one of the few before."""
    epoch = _integer(request, "epoch", None)
    mix = _durable(request).ledger.mix(epoch)
    if mix is None or epoch > _durable(request).ledger.state.epoch:
        raise _missing("epoch", epoch)
    return json_response({"epoch": epoch, "mix": mix.hex()})


async def get_hotspots(request: web.Request) -> web.Response:
    """All hotspots."""
    return json_response({"hotspots": views.hotspots_json(_durable(request).ledger.state)})


async def get_hotspot(request: web.Request) -> web.Response:
    """One hotspot by index or key."""
    state, text = _durable(request).ledger.state, request.match_info["id"]
    short = text.isdecimal() and len(text) < 12
    index = int(text) if short else state.index_of.get(_hex(text, "id"), -1)
    if not 0 <= index < len(state.hotspots):
        raise _missing("id", text)
    return json_response(views.hotspot_json(state.hotspots[index], compute_trust_ppm(state)[index]))


async def get_account(request: web.Request) -> web.Response:
    """One account; an account that never held anything has zeros."""
    key = _hex(request.match_info["key"], "key")
    return json_response(views.account_json(_durable(request).ledger.state, key))


async def get_session(request: web.Request) -> web.Response:
    """One open session."""
    index = _integer(request, "index", None)
    session = _durable(request).ledger.state.sessions.get(index)
    if session is None:
        raise _missing("index", index)
    return json_response(views.session_json(session))


async def get_records(request: web.Request) -> web.Response:
    """A page of the log."""
    start = _integer(request, "from", 0)
    limit = _integer(request, "limit", 100, MAX_PAGE, low=1)
    store = _durable(request).store
    sql = "SELECT * FROM records WHERE seq >= ? ORDER BY seq LIMIT ?"
    rows = store.rows(sql, (start, limit))
    blocks = _block_columns(store, rows)
    records = [{**_record_json(row), **blocks[row["height"]]} for row in rows]
    return json_response({"records": records, "next": start + len(rows)})


def _block_columns(store: Store, rows: list[dict[str, Any]]) -> dict[int, dict[str, int]]:
    if not rows:
        return {}
    span = (rows[0]["height"], rows[-1]["height"])
    found = store.rows("SELECT * FROM blocks WHERE height BETWEEN ? AND ?", span)
    return {row["height"]: {"epoch": row["epoch"], "time_ms": row["time_ms"]} for row in found}


def _record_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "seq": row["seq"],
        "block": row["height"],
        "id": row["id"].hex(),
        "wire": _base64(row["wire"]),
        "result": {"accepted": True, "index": row["result_index"], "reason": row["reason"]},
    }


async def get_record(request: web.Request) -> web.Response:
    """One record with its inclusion proof in the newest tree."""
    record_id, durable = _hex(request.match_info["id"], "id"), _durable(request)
    rows = durable.store.rows("SELECT * FROM records WHERE id = ?", (record_id,))
    if not rows:
        raise _missing("id", record_id.hex())
    row, size = rows[0], len(durable.log)
    proof = {
        "leaf_index": row["seq"],
        "tree_size": size,
        "root": durable.log.root(size).hex(),
        "path": [node.hex() for node in durable.log.inclusion_proof(row["seq"], size)],
    }
    block = _block_columns(durable.store, rows)[row["height"]]
    return json_response({**_record_json(row), **block, "proof": proof})


async def get_consistency(request: web.Request) -> web.Response:
    """Proof that an older tree of the log is a prefix of a newer one."""
    log = _durable(request).log
    new = _integer(request, "new", len(log), len(log))
    old = _integer(request, "old", None, new)
    if old == 0:
        raise UserError("old", "is 0", "ask from size 1 on: every tree extends the empty one")
    path = [node.hex() for node in log.consistency_proof(old, new)]
    roots = {"old_root": log.root(old).hex(), "new_root": log.root(new).hex()}
    return json_response({"old": old, "new": new, **roots, "path": path})


async def get_verdicts(request: web.Request) -> web.Response:
    """Every reception of an epoch with its verdict."""
    epoch, store = _integer(request, "epoch", None), _durable(request).store
    sql = "SELECT v.*, r.wire FROM verdicts v JOIN records r ON r.id = v.record_id WHERE epoch = ?"
    steps = {
        (row["beaconer"], row["sequence"]): row["power_step_cdb"]
        for row in store.rows("SELECT * FROM beacons WHERE epoch = ?", (epoch,))
    }
    rows = [item for row in store.rows(sql, (epoch,)) for item in _verdicts_of(row, steps)]
    return json_response({"epoch": epoch, "verdicts": rows})


def _verdicts_of(
    row: dict[str, Any], steps: dict[tuple[int, int], int | None]
) -> list[dict[str, Any]]:
    signed = decode(row["wire"])
    assert isinstance(signed, Signed), "the ledger stores what it could decode"
    receptions = unpack_receptions(getattr(signed.record, "report", b""))
    return [
        {
            "witness": row["witness"],
            "beaconer": r.heard,
            "sequence": r.sequence,
            "reason": REASONS[code],
            "rssi_cdbm": None if r.flags & NO_RSSI else r.rssi_cdbm,
            "power_step_cdb": steps.get((r.heard, r.sequence)),
            "frequency_mhz": r.frequency_mhz,
            "record_id": row["record_id"].hex(),
        }
        for code, r in zip(row["codes"], receptions, strict=True)
    ]


async def get_beacons(request: web.Request) -> web.Response:
    """Every beacon of an epoch with what became of it."""
    epoch = _integer(request, "epoch", None)
    rows = _durable(request).store.rows(
        "SELECT beaconer, sequence, verdict, power_step_cdb, counts FROM beacons WHERE epoch = ?",
        (epoch,),
    )
    return json_response({"epoch": epoch, "beacons": rows})


async def get_payments(request: web.Request) -> web.Response:
    """A page of payments, oldest first; `from` is the number of the first."""
    start = _integer(request, "from", 0)
    limit = _integer(request, "limit", 100, MAX_PAGE, low=1)
    rows = _durable(request).store.rows(
        "SELECT * FROM payments WHERE seq >= ? ORDER BY seq LIMIT ?", (start, limit)
    )
    payments = [payment_json(row) for row in rows]
    return json_response({"payments": payments, "next": start + len(rows)})


async def get_explain(request: web.Request) -> web.Response:
    """Why something was or wasn't paid. An old beacon is judged again, in a thread of its own."""
    durable, identifier = _durable(request), request.match_info["id"]
    parts = identifier.split(":")
    old = len(parts) == 3 and parts[1].isdecimal()
    if old and durable.ledger.verdicts(int(parts[1])) is None:
        return json_response(await asyncio.to_thread(_explain_old, durable.store.path, identifier))
    return json_response(explain(durable.store, identifier, durable.ledger))


def _explain_old(path: str, identifier: str) -> dict[str, Any]:
    store = Store.open(path, read_only=True)
    try:
        return explain(store, identifier)
    finally:
        store.close()


async def get_stats(request: web.Request) -> web.Response:
    """Totals."""
    return json_response(views.stats_json(_durable(request).ledger))
