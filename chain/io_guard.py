"""Connections to an HTTP service: how many at once, and how long one may take to ask something.

Whoever opens connections and says nothing, or a header byte by byte, would hold a service's files
and memory for ever. Beyond the cap a connection gets 503 and is closed; one that has not brought a
whole request header within the time is cut off. What comes later on a connection has limits of its
own: bodies theirs, a kept connection that is silent 75 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections at once, and seconds until a new one's first header must be there.

    512 leave half of the 1,024 files that a process may have open by default to the database and to
    calls of its own; a client on a slow radio link needs two round trips, not ten seconds.
    """

    connections: int = 512
    header_s: float = 10.0


class Silent:
    """Connections that have not brought a request yet."""

    def __init__(self) -> None:
        self._handlers: set[asyncio.BaseProtocol] = set()

    def add(self, handler: asyncio.BaseProtocol) -> None:
        """A new connection."""
        self._handlers.add(handler)

    def remove(self, handler: asyncio.BaseProtocol) -> bool:
        """It has asked something, or its time is over; whether it was silent so far."""
        was_silent = handler in self._handlers
        self._handlers.discard(handler)
        return was_silent


class Guard:
    """Makes the protocol of each new connection."""

    def __init__(self, server: web.Server, silent: Silent, limits: Limits) -> None:
        self._server, self._silent, self._limits = server, silent, limits

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of one more connection."""
        if len(self._server.connections) >= self._limits.connections:
            return Busy()
        handler = self._server()
        self._silent.add(handler)
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.header_s, self._cut_off, handler)
        return handler

    def _cut_off(self, handler: web.RequestHandler) -> None:
        if self._silent.remove(handler) and handler.transport is not None:
            handler.transport.abort()


class Busy(asyncio.Protocol):
    """Tells a connection that there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close."""
        if isinstance(transport, asyncio.Transport):
            transport.write(BUSY)
            transport.close()


def _note_requests(silent: Silent) -> Any:
    """A middleware that notes whose connection brought a whole header."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        silent.remove(request.protocol)
        return await handler(request)

    return note


class GuardedRunner(web.AppRunner):
    """A runner whose sites accept within limits; its application must not be frozen yet."""

    def __init__(self, app: web.Application, limits: Limits, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._limits, self._silent = limits, Silent()
        app.middlewares.insert(0, _note_requests(self._silent))

    @property
    def server(self) -> web.Server | None:
        """What makes the protocol of a connection; sites ask for it."""
        server = super().server
        if server is None:
            return None
        guard = Guard(server, self._silent, self._limits)
        return guard  # type: ignore[return-value]  # sites only call it
