"""The gateway's HTTP side: what OpenAI's clients expect, and what owners and monitors ask.

Thin: it checks key, host and budget, turns a body into an `AiCall`, and turns actions into HTTP. A
key is made at first run. The Host header must name this machine, so that a web page which points a
name of its own at 127.0.0.1 reaches nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from chain.errors import UserError
from chain.io_http import bound_port, json_response, serve
from chain.records import Refusal
from hotspot.actions import AnswerChunk, AnswerEnd, AnswerHead, RequestFailed
from hotspot.gateway.ai import MAX_REQUEST, AiCall, AnswerCounter, prompt_blocks, prompt_tokens
from hotspot.gateway.io_jobs import JobRoutes
from hotspot.gateway.io_node import Answers, Gateway
from hotspot.gateway.io_providers import error_body, read_inputs
from hotspot.overlay.io_link import parse_address

KEY_PREFIX = "wvc-"
CLIENT_POLL_S = 0.25
GOAL_HEADER, HEDGE_HEADER = "X-Wavecomb-TTFT-Ms", "X-Wavecomb-Hedge-Ms"
MAX_GOAL_MS = 600_000
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
STATUS_OF = {
    "bad_request": 400,
    "insufficient_balance": 402,
    "over_cap": 402,
    "over_escrow": 402,
    "too_large": 413,
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """An error for the client, in OpenAI's shape."""

    def __init__(self, status: int, kind: str, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind, param=param or None, code=code)


def bad_request(param: str, message: str) -> ApiError:
    """Return the error for a body that the client can mend."""
    return ApiError(400, "invalid_request_error", "bad_request", message, param)


def api_error_of(refusal: RequestFailed | Refusal) -> ApiError:
    """Return the error for a request that the network did not answer."""
    status = STATUS_OF.get(refusal.reason, 503)
    return ApiError(status, "wavecomb_error", refusal.reason, refusal.detail)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every error OpenAI's shape."""
    try:
        return await handler(request)
    except ApiError as error:
        return _error_response(error.status, error.body)
    except UserError as error:
        body = error_body(
            str(error), "invalid_request_error", param=error.field, code="bad_request"
        )
        return _error_response(error.status, body)
    except web.HTTPException as error:
        text = f"{request.method} {request.path}: {error.reason}"
        return _error_response(error.status, error_body(text, "invalid_request_error"))


def _error_response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def load_or_create_keys(path: Path) -> tuple[str, ...]:
    """Return the bearer keys of a 0600 file, one a line; a new file gets one new key."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(KEY_PREFIX + secrets.token_urlsafe(32) + "\n")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        remedy = f"run: chmod 600 {path}"
        raise UserError("gateway.api_key_file", f"mode {mode:04o} lets others read it", remedy)
    keys = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    keys = tuple(key for key in keys if key and not key.startswith("#"))
    if not keys:
        remedy = "write one key a line, or delete the file"
        raise UserError("gateway.api_key_file", f"{path} holds no key", remedy)
    return keys


def key_name(key: str) -> str:
    """Return what stands for a key in the usage table."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass(slots=True)
class _Asked:
    """A running request of a client, wherever it is answered."""

    answers: Answers
    close: Callable[[], None]
    call: AiCall

    @property
    def limit(self) -> int:
        """What it may cost at most, in tokens."""
        return self.call.prompt_tokens + self.call.max_tokens


class Front:
    """The HTTP application of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.url = ""
        self._gateway = gateway
        settings = gateway.config.gateway
        self._keys = load_or_create_keys(gateway.base / settings.api_key_file)
        self._host, self._port = parse_address(settings.listen, "gateway.listen")
        self._asked: dict[str, int] = {}  # tokens that running requests of a key may take
        self._hosts = LOOPBACK_NAMES | {self._host}
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen."""
        app = web.Application(
            middlewares=[error_middleware, self._check_host], client_max_size=MAX_REQUEST
        )
        app.router.add_get("/v1/models", self._models)
        for path in ("embeddings", "chat/completions", "completions"):
            app.router.add_post(f"/v1/{path}", self._complete)
        JobRoutes(self._gateway, self._authorise).add_to(app)
        app.router.add_get("/json", self._status)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/insights", self._insights)
        self._runner = await serve(app, self._host, self._port)
        self.url = f"http://{self._host}:{bound_port(self._runner)}/v1"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    # --- who may --------------------------------------------------------------------------------

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        name = host if host.endswith("]") else host.rsplit(":", 1)[0]
        if name not in self._hosts:
            message = f"Host {host!r} is not this gateway; use {self._host}"
            raise ApiError(403, "invalid_request_error", "bad_host", message)
        return await handler(request)

    def _authorise(self, request: web.Request) -> str:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        for key in self._keys if scheme.lower() == "bearer" else ():
            if hmac.compare_digest(key.encode(), shown.strip().encode(errors="replace")):
                return key_name(key)
        message = f"no valid key; send one of {self._gateway.config.gateway.api_key_file}"
        raise ApiError(401, "invalid_request_error", "invalid_api_key", message)

    def _check_budget(self, key: str, tokens: int) -> None:
        budget = self._gateway.config.gateway.budget_tokens
        used = self._gateway.queue.used(key) + self._asked.get(key, 0)
        if budget and used + tokens > budget:
            message = f"budget of {budget} tokens: {used} used, this request may take {tokens}"
            raise ApiError(429, "insufficient_quota", "insufficient_quota", message)

    # --- what is there --------------------------------------------------------------------------

    def _known_models(self) -> dict[str, str]:
        gateway = self._gateway
        own = gateway.backend.models if gateway.backend else ()
        known = dict.fromkeys(own, f"hotspot-{gateway.index}")
        for provider in gateway.node.table.providers(gateway.now_ns() // 1_000_000):
            for model in provider.models:
                known.setdefault(model, f"hotspot-{provider.hotspot}")
        return known

    async def _models(self, request: web.Request) -> web.Response:
        self._authorise(request)
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": owner}
            for name, owner in sorted(self._known_models().items())
        ]
        return json_response({"object": "list", "data": rows})

    async def _status(self, _request: web.Request) -> web.Response:
        return json_response(self._gateway.status())

    async def _insights(self, _request: web.Request) -> web.Response:
        gateway, now_ms = self._gateway, self._gateway.now_ns() // 1_000_000
        providers = gateway.node.table.providers(now_ms)
        find = gateway.routing.insights(gateway.index, now_ms, providers)
        return json_response({"insights": await asyncio.to_thread(find)})

    async def _metrics(self, _request: web.Request) -> web.Response:
        text = metrics_text(self._gateway.status())
        return web.Response(text=text, content_type="text/plain")

    # --- requests -------------------------------------------------------------------------------

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        key = self._authorise(request)
        path = request.path.removeprefix("/v1/")
        body = await read_body(request)
        goal_ms, hedge_ms = self._wishes(request)
        call = self._read_call(path, body, goal_ms, hedge_ms)
        limit = call.prompt_tokens + call.max_tokens
        self._check_budget(key, limit)
        asked = self._ask(call, body)
        self._asked[key] = self._asked.get(key, 0) + limit
        try:
            return await self._respond(request, asked, key)
        finally:
            self._asked[key] -= limit
            asked.close()

    def _wishes(self, request: web.Request) -> tuple[int, int]:
        """Time to first token and hedging, as configured or as the request's headers say."""
        settings = self._gateway.config.gateway
        goal_ms = _header(request, GOAL_HEADER, settings.ttft_goal_ms)
        return goal_ms, _header(request, HEDGE_HEADER, settings.hedge_ms)

    def _read_call(
        self, path: str, body: dict[str, Any], goal_ms: int, hedge_ms: int
    ) -> AiCall:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise bad_request("model", "model: must be a name; see /v1/models")
        if model not in self._known_models():
            message = f"model {model!r}: no hotspot in reach offers it; see /v1/models"
            raise ApiError(404, "invalid_request_error", "model_not_found", message, "model")
        check_content(path, body)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        if type(limit) is not int or not 0 <= limit < 1 << 24:
            raise bad_request("max_tokens", "max_tokens: must be a positive integer")
        if path == "embeddings":
            answer = 0
        else:
            answer = limit or self._gateway.config.gateway.max_tokens
            body["max_tokens"] = answer  # what is promised to be paid is what is asked for
            body.pop("max_completion_tokens", None)
        return AiCall(
            *(path, model, json.dumps(body).encode(), prompt_tokens(body), answer),
            *(goal_ms, hedge_ms, prompt_blocks(body) if path != "embeddings" else ()),
        )

    def _ask(self, call: AiCall, body: dict[str, Any]) -> _Asked:
        gateway = self._gateway
        if gateway.backend is not None and call.model in gateway.backend.models:
            answers: Answers = asyncio.Queue()
            task = asyncio.ensure_future(_answer_here(gateway, call, body, answers))
            return _Asked(answers, lambda: _cancel(task), call)
        request_id, answers = gateway.ask(call, secrets.token_bytes(32))
        return _Asked(answers, lambda: gateway.forget(request_id), call)

    # --- answers --------------------------------------------------------------------------------

    async def _respond(self, request: web.Request, asked: _Asked, key: str) -> web.StreamResponse:
        first = await _next_answer(request, asked)
        if isinstance(first, RequestFailed):
            raise api_error_of(first)
        if not isinstance(first, AnswerHead):
            raise ApiError(502, "wavecomb_error", "bad_answer", "the answer has no head")
        content_type = first.content_type.partition(";")[0].strip() or "application/json"
        if content_type == "text/event-stream" and first.status == 200:
            return await self._stream(request, asked, key)
        body = bytearray()
        while not isinstance(action := await _next_answer(request, asked), AnswerEnd):
            if isinstance(action, RequestFailed):
                raise api_error_of(action)
            body += action.data if isinstance(action, AnswerChunk) else b""
        self._use(key, action.tokens)
        return web.Response(status=first.status, body=bytes(body), content_type=content_type)

    async def _stream(self, request: web.Request, asked: _Asked, key: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-cache"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        counter = AnswerCounter(asked.call.path)
        tokens = None
        try:
            while not isinstance(action := await _next_answer(request, asked), AnswerEnd):
                if isinstance(action, AnswerChunk):
                    counter.feed(action.data)
                    await response.write(action.data)
                elif isinstance(action, RequestFailed):
                    error = api_error_of(action)
                    await response.write(b"data: " + error.body + b"\n\n")
                    break
            else:
                tokens = action.tokens
        finally:  # who hangs up has used what had come by then
            counted = min(asked.limit, asked.call.prompt_tokens + counter.close())
            self._use(key, counted if tokens is None else tokens)
        await response.write_eof()
        return response

    def _use(self, key: str, tokens: int) -> None:
        self._gateway.queue.use(key, tokens)


def _header(request: web.Request, name: str, default: int) -> int:
    text = request.headers.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not 0 <= int(text[:9]) <= MAX_GOAL_MS:
        raise bad_request(name, f"{name}: must be 0 to {MAX_GOAL_MS}")
    return int(text)


def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()


def check_content(path: str, body: dict[str, Any]) -> None:
    """ApiError, or UserError, that names what a request can't be made of."""
    messages = body.get("messages")
    if path == "embeddings":
        read_inputs(body)
    elif path == "completions" and not (isinstance(body.get("prompt"), str) and body["prompt"]):
        raise bad_request("prompt", "prompt: must be a text that is not empty")
    elif path == "chat/completions" and not (
        isinstance(messages, list) and messages and all(isinstance(row, dict) for row in messages)
    ):
        raise bad_request("messages", "messages: must be a list of objects, one or more")
    for name, kind in (("stream", bool), ("stream_options", dict)):
        if not isinstance(body.get(name), kind | None):
            raise bad_request(name, f"{name}: must be a {kind.__name__}")


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request; ApiError in one clear line."""
    try:
        raw = await request.read()
        body = json.loads(raw)
        if b"\\ud" in raw.lower():  # half a surrogate pair is JSON, but no text
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise bad_request("body", f"body: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise bad_request("body", "body: must be a JSON object")
    return body


async def _next_answer(request: web.Request, asked: _Asked) -> Any:
    """Wait for the next action; stop waiting when the client hangs up."""
    while True:
        try:
            return await asyncio.wait_for(asked.answers.get(), CLIENT_POLL_S)
        except TimeoutError:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client went away") from None


class _LocalSink:
    """Hands the answer of our own model to a client of our own."""

    def __init__(self, answers: Answers, provider: int) -> None:
        self._answers = answers
        self._provider = provider

    def begin(self, status: int, content_type: str) -> None:
        """Start the answer."""
        self._answers.put_nowait(AnswerHead(b"", self._provider, status, content_type))

    def chunk(self, data: bytes) -> None:
        """Pass bytes on."""
        self._answers.put_nowait(AnswerChunk(b"", data))


async def _answer_here(
    gateway: Gateway, call: AiCall, body: dict[str, Any], answers: Answers
) -> None:
    if gateway.backend is None:
        return
    try:
        sink = _LocalSink(answers, gateway.index)
        tokens = await gateway.backend.answer(call.path, body, sink)
        answers.put_nowait(AnswerEnd(b"", tokens))
    except Exception as error:  # a model's bug is the answer of this request, not of the gateway
        detail = f"the model failed: {type(error).__name__}: {error}"
        answers.put_nowait(RequestFailed(b"", "provider_failed", detail))


def metrics_text(status: dict[str, Any]) -> str:
    """Return the status as Prometheus text."""
    requests, ledger = status["requests"], status["ledger"]
    rows = [
        ("requests_ok_total", "counter", requests["ok"]),
        ("requests_failed_total", "counter", requests["failed"]),
        ("requests_answered_total", "counter", requests["answered"]),
        ("requests_running", "gauge", requests["running"]),
        ("requests_retried_total", "counter", requests["retries"]),
        ("requests_waiting", "gauge", requests["waiting"]),
        ("requests_cancelled_total", "counter", requests["cancelled"]),
        ("providers", "gauge", len(status["providers"])),
        ("hotspots_known", "gauge", len(status["known"])),
        ("ledger_up", "gauge", 0 if ledger["problem"] else 1),
        ("ledger_outbox", "gauge", ledger["outbox"]),
        ("jobs_running", "gauge", status["jobs"]["running"]),
        ("sessions_paying", "gauge", len(status["paying"])),
        ("sessions_paid", "gauge", len(status["paid"])),
        ("kernel_steered", "gauge", int(status["kernel"]["state"] == "steered")),
        ("kernel_paths", "gauge", status["kernel"]["paths"]),
        ("forwarded_bytes_total", "counter", status["counts"].get("forwarded_bytes", 0)),
    ]
    lines = []
    for name, kind, value in rows:
        lines += [f"# TYPE wavecomb_gateway_{name} {kind}", f"wavecomb_gateway_{name} {value}"]
    for link in status["links"]:
        label = f'{{target="{link["target"]}"}}'
        lines.append(f"wavecomb_gateway_link_rtt_us{label} {link['rtt_us']}")
        lines.append(f"wavecomb_gateway_link_loss_permille{label} {link['loss_permille']}")
    return "\n".join(lines) + "\n"
