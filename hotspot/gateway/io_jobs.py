"""Jobs over HTTP: submit, follow and cancel what we send; list, fetch and remove what arrived.

Errors are problem details (RFC 9457) whose `reason` is the stable name of a refusal.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from chain.errors import UserError
from chain.io_http import json_response, problem_response
from chain.records import Refusal
from hotspot.gateway.io_node import Gateway
from hotspot.jobs.desk import UNKNOWN_JOB
from hotspot.jobs.inbox import Received
from hotspot.jobs.io_files import READ_BYTES, Spooled
from hotspot.jobs.messages import MAX_NAME, RUNNING, JobRecord, Offer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_FIELD = 1_024
FIELDS = ("to", "deadline_s", "max_price_ucr", "name")
MAX_DEADLINE_S = 30 * 86_400
MULTIPART_SPARE = 64 * 1024


class JobRoutes:
    """The paths /v1/jobs and /v1/received of one gateway."""

    def __init__(self, gateway: Gateway, authorise: Callable[[web.Request], str]) -> None:
        self._gateway = gateway
        self._authorise = authorise

    def add_to(self, app: web.Application) -> None:
        """Add the paths."""
        rows: tuple[tuple[str, str, Handler], ...] = (
            ("POST", "/v1/jobs", self._submit),
            ("GET", "/v1/jobs", self._list),
            ("GET", "/v1/jobs/{id}", self._show),
            ("DELETE", "/v1/jobs/{id}", self._cancel),
            ("POST", "/v1/jobs/{id}/pause", self._pause),
            ("POST", "/v1/jobs/{id}/resume", self._resume),
            ("GET", "/v1/received", self._received),
            ("GET", "/v1/received/{id}", self._download),
            ("DELETE", "/v1/received/{id}", self._remove),
        )
        for method, path, handler in rows:
            app.router.add_route(method, path, self._guarded(handler))

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            self._authorise(request)
            try:
                return await handler(request)
            except UserError as error:
                return problem_response(error.status, error.problem, str(error), field=error.field)

        return guarded

    # --- what we send ---------------------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        name = f"out-{secrets.token_hex(16)}"
        try:
            fields, spooled = await self._take_upload(request, name)
            offer, budget_ucr = self._read_offer(fields, spooled)
            promise = self._gateway.submit_job(offer, budget_ucr)
        except BaseException:
            self._gateway.files.drop(name)
            raise
        if isinstance(promise, Refusal):
            self._gateway.files.drop(name)
            return _refused(promise, 409)
        row = self._job_row(self._gateway.node.jobs.records[name])
        return json_response(row, status=201, headers={"Location": f"/v1/jobs/{row['id']}"})

    async def _take_upload(self, request: web.Request, name: str) -> tuple[dict[str, str], Spooled]:
        limit = self._gateway.config.jobs.max_file_bytes
        if (request.content_length or 0) > limit + MULTIPART_SPARE:
            remedy = "send less, or raise jobs.max_file_bytes"
            raise UserError("file", f"longer than {limit} bytes", remedy, status=413)
        fields = dict(request.query)
        spool = self._gateway.files.spool
        try:
            if not request.content_type.startswith("multipart/"):
                chunks = request.content.iter_chunked(READ_BYTES)
                return fields, await spool(name, chunks, limit)
            return await _take_multipart(request, fields, name, spool, limit)
        except (ValueError, AssertionError) as error:
            raise UserError("body", f"is no multipart form: {error}", "send a form") from error
        except OSError as error:
            remedy = "free some space"
            raise UserError("jobs.folder", str(error), remedy, status=507) from error

    def _read_offer(self, fields: Mapping[str, str], spooled: Spooled) -> tuple[Offer, int]:
        for field in fields:
            if field not in FIELDS:
                raise UserError(field, "unknown field", f"known: file, {', '.join(FIELDS)}")
        gateway = self._gateway
        now_ms = gateway.now_ns() // 1_000_000
        deadline_s = _number(fields, "deadline_s", 1, MAX_DEADLINE_S)
        name = fields.get("name") or "file"
        if len(name) > MAX_NAME or not name.isprintable() or "/" in name:
            remedy = f"use up to {MAX_NAME} printable characters without /"
            raise UserError("name", "is no file name", remedy)
        if spooled.size == 0:
            raise UserError("file", "is empty", "send some bytes")
        offer = Offer(
            job_id=bytes.fromhex(spooled.name.removeprefix("out-")),
            source=gateway.index,
            target=self._read_target(fields),
            size=spooled.size,
            sha256=spooled.sha256,
            name=name,
            deadline_ms=now_ms + 1_000 * deadline_s,
        )
        return offer, _number(fields, "max_price_ucr", 0, 1 << 48, "0")

    def _read_target(self, fields: Mapping[str, str]) -> int:
        text = fields.get("to", "")
        if len(text) == 64 and all(c in "0123456789abcdef" for c in text.lower()):
            index = self._gateway.directory.index_of(bytes.fromhex(text))
            if index is None:
                raise UserError("to", "no hotspot has this key", "see the ledger's list")
        else:
            index = _number(fields, "to", 0, (1 << 32) - 2)
        if index == self._gateway.index:
            raise UserError("to", "is this hotspot itself", "name another one")
        return index

    async def _list(self, _request: web.Request) -> web.StreamResponse:
        records = sorted(self._gateway.node.jobs.records.values(), key=lambda r: r.created_ms)
        return json_response({"jobs": [self._job_row(record) for record in records]})

    def _find(self, request: web.Request) -> JobRecord | None:
        return self._gateway.node.jobs.records.get(f"out-{request.match_info['id']}")

    async def _show(self, request: web.Request) -> web.StreamResponse:
        record = self._find(request)
        if record is None:
            return _refused(UNKNOWN_JOB, 404)
        return json_response(self._job_row(record))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        record = self._find(request)
        if record is None:
            return _refused(UNKNOWN_JOB, 404)
        refusal = self._gateway.cancel_job(record.key)
        return _refused(refusal, 409) if refusal else json_response(self._job_row(record))

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        return self._hold(request, resume=False)

    async def _resume(self, request: web.Request) -> web.StreamResponse:
        return self._hold(request, resume=True)

    def _hold(self, request: web.Request, *, resume: bool) -> web.StreamResponse:
        record = self._find(request)
        if record is None:
            return _refused(UNKNOWN_JOB, 404)
        refusal = self._gateway.hold_job(record.key, resume=resume)
        return _refused(refusal, 409) if refusal else json_response(self._job_row(record))

    def _job_row(self, record: JobRecord) -> dict[str, Any]:
        offer, promise = record.offer, record.promise
        speed = self._gateway.node.jobs.speed_kbps(record.key)
        path, short_bytes = self._gateway.node.jobs.outlook(record.key)
        return {
            "id": record.job_id,
            "name": offer.name,
            "to": offer.target,
            "size_bytes": offer.size,
            "sha256": offer.sha256.hex(),
            "state": record.state,
            "reason": record.reason,
            "detail": record.detail,
            "created_ms": record.created_ms,
            "deadline_ms": offer.deadline_ms,
            "ended_ms": record.ended_ms or None,
            "delivered_bytes": record.delivered,
            "rate_kbps": speed,
            "finish_estimate_ms": self._finish_ms(record, speed),
            "path": list(path),
            "short_bytes": short_bytes,
            "spent_ucr": record.spent_ucr,
            "max_price_ucr": record.budget_ucr or None,
            "promise": {
                "price_ucr": promise.price_ucr,
                "finish_ms": promise.finish_ms,
                "rate_kbps": promise.rate_kbps,
                "path": list(promise.path.hops),
            },
        }

    def _finish_ms(self, record: JobRecord, speed_kbps: int) -> int | None:
        if record.state != RUNNING:
            return record.ended_ms or None
        if speed_kbps == 0:
            return record.promise.finish_ms
        left_bits = 8 * (record.offer.size - record.delivered)
        return self._gateway.now_ns() // 1_000_000 + left_bits // speed_kbps

    # --- what arrived ---------------------------------------------------------------------------

    async def _received(self, _request: web.Request) -> web.StreamResponse:
        files = sorted(self._gateway.node.inbox.files.items(), key=lambda item: item[1].since_ms)
        return json_response({"received": [_received_row(key, file) for key, file in files]})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        key = f"in-{request.match_info['id']}"
        file = self._gateway.node.inbox.files.get(key)
        if file is None:
            return _refused(Refusal("unknown_file", "no such file has arrived"), 404)
        if file.stored != file.offer.size:
            detail = f"{file.stored} of {file.offer.size} bytes have arrived; try again later"
            return _refused(Refusal("partial", detail), 409)
        quoted = quote(file.offer.name, safe="")
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quoted}",
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": file.offer.sha256.hex(),
        }
        return web.FileResponse(self._gateway.files.path(key), headers=headers)

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        if not self._gateway.remove_received(f"in-{request.match_info['id']}"):
            return _refused(Refusal("unknown_file", "no such file has arrived"), 404)
        return json_response({"removed": request.match_info["id"]})


def _received_row(key: str, file: Received) -> dict[str, Any]:
    offer = file.offer
    return {
        "id": key.removeprefix("in-"),
        "name": offer.name,
        "from": offer.source,
        "size_bytes": offer.size,
        "stored_bytes": file.stored,
        "sha256": offer.sha256.hex(),
        "state": file.state,
        "since_ms": file.since_ms,
        "deadline_ms": offer.deadline_ms,
    }


def _refused(refusal: Refusal, status: int) -> web.Response:
    body = {"type": "about:blank", "title": "refused", "status": status}
    text = json.dumps(body | {"reason": refusal.reason, "detail": refusal.detail})
    return web.Response(text=text, status=status, content_type="application/problem+json")


def _number(
    fields: Mapping[str, str], name: str, least: int, most: int, default: str | None = None
) -> int:
    text = fields.get(name, default)
    if text is None:
        raise UserError(name, "is missing", f"give a whole number from {least} to {most}")
    if not (text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most):
        raise UserError(name, f"{text[:40]!r} is out of range", f"use {least} to {most}")
    return int(text)


Spool = Callable[[str, AsyncIterator[bytes], int], Awaitable[Spooled]]


async def _take_multipart(
    request: web.Request, fields: dict[str, str], name: str, spool: Spool, limit: int
) -> tuple[dict[str, str], Spooled]:
    spooled: Spooled | None = None
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            raise UserError("body", "holds a part without a name", "name it file, or as a field")
        if part.name == "file" and spooled is None:
            fields.setdefault("name", part.filename or "file")
            spooled = await spool(name, _chunks(part), limit)
        else:
            raw = await part.read_chunk(MAX_FIELD)
            fields[part.name] = raw.decode("utf-8", "replace").strip()
    if spooled is None:
        raise UserError("file", "is missing", "add a part named file")
    return fields, spooled


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(READ_BYTES):
        yield bytes(chunk)
