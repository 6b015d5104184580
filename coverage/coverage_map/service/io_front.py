"""Tiles before the framework: a GET of a binary tile is answered from its first line.

A tile costs two binary searches and some kilobytes of compression; parsing, routing and writing the
headers of an ordinary request cost more than that. So a connection's bytes are looked at first: a
plain question for a tile, complete in one piece, is answered here with bytes that are ready to be
sent. Everything else, and every odd case of a tile, goes to the application unchanged, which gives
the same answer the long way.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web

from chain.errors import EXIT_FAILED, UserError
from chain.io_http import MAX_PORT, STOP_S
from coverage_map import cells
from coverage_map.service import openapi
from coverage_map.service.io_reply import IMMUTABLE, OPEN, REVALIDATE, SECURITY, Body
from coverage_map.service.io_service import SERVICE, Service
from coverage_map.service.io_tiles import STEPS_MAX, make_tile
from coverage_map.service.parameters import LIVE
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.view import View
from coverage_map.tiles.binary import USUAL

QUESTION = re.compile(rb"GET /tiles/([0-9a-f]{16}|live)/h3/([0-9a-f]{15})/(\d\d?) HTTP/1\.1\r\n")
# What makes a question unusual: conditions, bodies, closing, upgrades, ranges.
UNUSUAL = re.compile(
    rb"\r\n(if-|connection: *(close|upgrade)|content-length|transfer-encoding|expect|range"
    rb"|upgrade)",
    re.IGNORECASE,
)
ACCEPTS = re.compile(rb"\r\naccept-encoding:([^\r]*)", re.IGNORECASE)
END = b"\r\n\r\n"
REMEMBERED_BYTES = 1 << 28


class Front:
    """Answers that are ready to be sent, by question."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._ready: dict[tuple[str, bytes, bytes, str], bytes] = {}
        self._bytes = 0

    def answer(self, data: bytes) -> bytes | None:
        """The whole answer to a plain question for a tile; None for everything else."""
        asked = QUESTION.match(data)
        if asked is None or data.find(END) != len(data) - 4 or UNUSUAL.search(data):
            return None
        accepts = ACCEPTS.search(data)
        way = _way(accepts.group(1)) if accepts else ""
        name, cell, resolution = asked.groups()
        view = self.service.view({"snapshot": name.decode()})
        if view is None or not way:
            return None
        key = (view.identity, cell, resolution, way)
        found = self._ready.pop(key, None) or self._make(view, *key[1:], name.decode() == LIVE)
        if found is not None:
            self._ready[key] = found
        return found

    def _make(
        self, view: View, cell: bytes, level: bytes, way: str, is_live: bool
    ) -> bytes | None:
        parent, resolution = cells.parse(cell.decode()), int(level)
        if parent is None:
            return None
        own = parent >> 52 & 0xF
        if not max(COARSEST, own) <= resolution <= min(FINEST, own + STEPS_MAX):
            return None
        body = make_tile(view, parent, resolution, USUAL)
        made = _whole(body, body.way_for(way), REVALIDATE if is_live else IMMUTABLE)
        self._bytes += len(made)
        while self._bytes > REMEMBERED_BYTES:
            self._bytes -= len(self._ready.pop(next(iter(self._ready))))
        return made


def _way(accepted: bytes) -> str:
    """The way to pack, where a client names one without conditions."""
    if b"q=0" in accepted:
        return ""
    return "zstd" if b"zstd" in accepted else "gzip" if b"gzip" in accepted else ""


def _whole(body: Body, way: str, cache: str) -> bytes:
    content = body.packed(way)
    tag = f"{body.tag}-{way}" if way else body.tag
    headers = {"ETag": f'"{tag}"', "Cache-Control": cache, **OPEN, **SECURITY}
    headers |= {"Content-Encoding": way} if way else {}
    headers |= {"Content-Type": openapi.TILE, "Content-Length": str(len(content))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + content


class Connection(asyncio.Protocol):
    """One connection: tiles are answered here, the rest by the application's own protocol."""

    def __init__(self, front: Front, inner: Any) -> None:
        self._front, self._inner = front, inner
        self._is_clean = True
        self._is_slow = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport: Any = transport
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Answer, or pass on."""
        if self._is_clean and not self._is_slow and self._is_idle():
            found = self._front.answer(data)
            if found is not None:
                self._transport.write(found)
                return
        # In the midst of a question to the application nothing that comes is a question to us.
        self._is_clean = data.startswith(b"GET ") and data.find(END) == len(data) - 4
        self._inner.data_received(data)

    def _is_idle(self) -> bool:
        """Whether the application owes this client nothing; where that can't be told, it may."""
        current = getattr(self._inner, "_current_request", self)
        return current is None and not getattr(self._inner, "_messages", True)

    def eof_received(self) -> bool | None:
        """The client won't ask any more."""
        ended: bool | None = self._inner.eof_received()
        return ended

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads too slowly: leave it to the application, which waits."""
        self._is_slow = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._is_slow = False
        self._inner.resume_writing()


class FrontRunner(web.AppRunner):
    """A runner whose connections look for tiles first."""

    def __init__(self, app: web.Application, service: Service, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._front = Front(service)

    @property
    def server(self) -> Any:
        """What makes the protocol of a connection; sites ask for it."""
        server = super().server
        if server is None:
            return None
        return _Factory(server, self._front)


async def serve_front(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen on TCP with tiles in front; the caller closes with `await runner.cleanup()`.

    Port 0 takes a free one. UserError in one line where the port can't be had.
    """
    if not 0 <= port <= MAX_PORT:
        raise UserError("port", f"{port} is no TCP port", f"use 0 to {MAX_PORT}")
    runner = FrontRunner(app, app[SERVICE], STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        where, why = f"{host}:{port}", error.strerror or str(error)
        remedy = "choose another one, or stop the program that uses it"
        raise UserError("port", f"{where}: {why}", remedy, exit_code=EXIT_FAILED) from error
    return runner


class _Factory:
    """Makes connections; sites only call it."""

    def __init__(self, server: web.Server, front: Front) -> None:
        self._server, self._front = server, front

    def __call__(self) -> Connection:
        return Connection(self._front, self._server())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)
