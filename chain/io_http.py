"""HTTP, once for all services: problem details (RFC 9457), JSON, and serving with clear errors."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from chain.errors import EXIT_FAILED, UserError
from chain.io_guard import GuardedRunner, Limits

MAX_PORT = 65_535
STOP_S = 2.0  # requests under way get this long when a service stops
TRY_LATER = (429, 503)
PATH_SHOWN = 200  # characters of a path that a refusal repeats
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A compact JSON response."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return web.json_response(text=text, status=status, headers=headers)


def problem_response(
    status: int, title: str, detail: str, *, field: str = "", headers: dict[str, str] | None = None
) -> web.Response:
    """An RFC 9457 problem; `field` names what the client should mend."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if field:
        body["field"] = field
    return web.Response(
        text=json.dumps(body, ensure_ascii=False),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what people can mend, and what HTTP itself refuses, into problem details."""
    try:
        return await handler(request)
    except UserError as error:
        later = {"Retry-After": "1"} if error.status in TRY_LATER else None
        return problem_response(
            error.status, error.problem, str(error), field=error.field, headers=later
        )
    except web.HTTPException as error:
        if error.status < 400:
            raise
        path = request.path
        if len(path) > PATH_SHOWN:
            path = path[:PATH_SHOWN] + "..."
        detail = f"{request.method} {path}: {error.text or error.reason}"
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem_response(error.status, error.reason, detail, headers=headers)


def application(*inner: Any) -> web.Application:
    """An application with problem details, for bodies up to 16 MiB, and perhaps more middleware."""
    return web.Application(middlewares=[problem_middleware, *inner], client_max_size=1 << 24)


async def serve(
    app: web.Application,
    host: str | None = None,
    port: int | None = None,
    unix_path: str | None = None,
    limits: Limits | None = None,
) -> web.AppRunner:
    """Listen on TCP, a unix socket, or both; the caller closes with `await runner.cleanup()`.

    `limits` are those of connections, if there are any. UserError in one line if the port is taken
    or may not be used. Port 0 takes a free one; see `bound_port`. The socket file of a dead process
    is replaced.
    """
    if port is not None and not 0 <= port <= MAX_PORT:
        raise UserError("port", f"{port} is no TCP port", f"use 0 to {MAX_PORT}")
    runner = (
        web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
        if limits is None
        else GuardedRunner(app, limits, shutdown_timeout=STOP_S)
    )
    await runner.setup()
    try:
        if port is not None:
            await web.TCPSite(runner, host or "127.0.0.1", port).start()
        if unix_path is not None:
            _remove_dead_socket(unix_path)
            await web.UnixSite(runner, unix_path).start()
    except OSError as error:
        await runner.cleanup()
        raise _listen_error(error, host, port, unix_path) from error
    except UserError:
        await runner.cleanup()
        raise
    return runner


def bound_port(runner: web.AppRunner) -> int | None:
    """The TCP port that a runner really listens on."""
    ports = [address[1] for address in runner.addresses if isinstance(address, tuple)]
    return int(ports[0]) if ports else None


def _remove_dead_socket(path: str) -> None:
    if not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise UserError(
        "unix",
        f"{path} is served by another process",
        "stop it or take another path",
        exit_code=EXIT_FAILED,
    )


def _listen_error(
    error: OSError, host: str | None, port: int | None, unix_path: str | None
) -> UserError:
    field, where = ("port", f"{host}:{port}") if port is not None else ("unix", str(unix_path))
    problems = {
        errno.EADDRINUSE: f"{where} is in use",
        errno.EACCES: f"{where} may not be used",
        errno.EADDRNOTAVAIL: f"{where} is no address of this machine",
    }
    problem = problems.get(error.errno or 0, f"{where}: {error.strerror or error}")
    remedy = "choose another one, or stop the program that uses it"
    return UserError(field, problem, remedy, exit_code=EXIT_FAILED)


async def run_until(stop: asyncio.Event, runner: web.AppRunner) -> None:
    """Serve until asked to stop, then close every connection."""
    try:
        await stop.wait()
    finally:
        await runner.cleanup()
