"""The status page, served from the daemon's own loop: a few lines of HTTP/1.1, nothing imported.

    GET /         the page          GET /json      the status
    GET /main     its live part     GET /metrics   the same for Prometheus

One answer per connection, few connections at a time, small requests, ten seconds: whoever is slow
is cut off, and the radio never waits. Nothing can be changed here. A Host header that is a name of
the outside world is refused: a web page elsewhere must not read this one through the browser.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from hotspot.config import parse_address
from hotspot.io_wake import Loop
from hotspot.screen import SCRIPT, STYLE, main_html, metrics_text, page_html

CONNECTIONS_MAX = 16
REQUEST_MAX_BYTES = 8_192
PATIENCE_S = 10.0
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:"
)

Status = Callable[[], dict[str, Any]]


class Page:
    """A listening socket and its connections, all behind one descriptor in the caller's loop."""

    def __init__(self, address: tuple[str, int], loop: Loop, status: Status) -> None:
        """Listen. OSError where the address can't be had."""
        self._loop = loop
        self._selector = selectors.EpollSelector()
        self._status = status
        self._open: dict[socket.socket, _Connection] = {}
        self._socket = socket.create_server(
            address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET, backlog=16
        )
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        loop.register(self._selector, self._answer_all)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """End all connections and stop to listen."""
        for connection in list(self._open.values()):
            self._drop(connection)
        self._loop.unregister(self._selector)
        self._selector.close()
        self._socket.close()

    def _answer_all(self) -> None:
        for key, _ in self._selector.select(0):
            key.data()

    def _accept(self) -> None:
        try:
            peer, _ = self._socket.accept()
        except OSError:
            return
        now_s = time.monotonic()
        for connection in [c for c in self._open.values() if now_s - c.since_s > PATIENCE_S]:
            self._drop(connection)
        if len(self._open) >= CONNECTIONS_MAX:
            self._drop(min(self._open.values(), key=lambda c: c.since_s))
        peer.setblocking(False)
        connection = _Connection(peer, now_s)
        self._open[peer] = connection
        self._selector.register(peer, selectors.EVENT_READ, lambda: self._serve(connection))

    def _serve(self, connection: _Connection) -> None:
        """Read or write as far as it goes; anything unusual ends the connection."""
        try:
            if not connection.out:
                data = connection.peer.recv(REQUEST_MAX_BYTES)
                connection.request += data
                if not data or len(connection.request) > REQUEST_MAX_BYTES:
                    self._drop(connection)
                    return
                if b"\r\n\r\n" not in connection.request:
                    return
                connection.out = answer(connection.request, self._status)
            sent = connection.peer.send(connection.out)
            connection.out = connection.out[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if not connection.out:
            self._drop(connection)
        else:
            events = selectors.EVENT_WRITE
            self._selector.modify(connection.peer, events, lambda: self._serve(connection))

    def _drop(self, connection: _Connection) -> None:
        if self._open.pop(connection.peer, None) is not None:
            self._selector.unregister(connection.peer)
            connection.peer.close()


class _Connection:
    """One browser: what it asked so far, and what it still gets."""

    def __init__(self, peer: socket.socket, since_s: float) -> None:
        self.peer = peer
        self.since_s = since_s
        self.request = b""
        self.out = b""


def answer(request: bytes, status: Status) -> bytes:
    """The whole answer to a whole request."""
    lines = request.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    hosts = [line[5:].strip() for line in lines[1:] if line[:5].lower() == "host:"]
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(hosts) != 1:
        return _reply(400, "text/plain", "bad request\n")
    if not is_local_name(hosts[0]):
        return _reply(403, "text/plain", "ask by address, such as http://127.0.0.1:8710/\n")
    if words[0] not in ("GET", "HEAD"):
        return _reply(405, "text/plain", "only GET\n")
    reply = _reply(*_content(words[1].split("?")[0], status))
    return reply if words[0] == "GET" else reply.split(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _content(path: str, status: Status) -> tuple[int, str, str]:
    if path == "/":
        return 200, "text/html", page_html(status())
    if path == "/main":
        return 200, "text/html", main_html(status())
    if path == "/json":
        return 200, "application/json", json.dumps(status()) + "\n"
    if path == "/metrics":
        return 200, "text/plain; version=0.0.4", metrics_text(status())
    fixed = {"/style.css": ("text/css", STYLE), "/page.js": ("text/javascript", SCRIPT)}
    if path in fixed:
        return 200, *fixed[path]
    return 404, "text/plain", "there is /, /json and /metrics\n"


def is_local_name(host: str) -> bool:
    """Whether a Host header names an address, localhost, a router's plain name, or NAME.local."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.startswith("["):
        return True
    plain = name.replace("-", "").replace(".", "")
    is_address = plain.isdigit() and name.count(".") == 3
    return is_address or "." not in name or name.endswith((".local", ".lan", ".home.arpa"))


_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed"}


def _reply(code: int, kind: str, body: str) -> bytes:
    data = body.encode()
    text = kind if "charset" in kind or kind == "application/json" else f"{kind}; charset=utf-8"
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: {text}\r\n"
        f"Content-Length: {len(data)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
        f"Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + data


def open_page(
    address: str, loop: Loop, status: Status, log: Callable[[str, str], None]
) -> Page | None:
    """The page at HOST:PORT, or none where that is empty or taken: a hotspot works without."""
    if not address:
        return None
    host, port = parse_address("hotspot.page", address)
    try:
        page = Page((host, port), loop, status)
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else str(error)
        log("warning", f"no status page on {address}: {said}; name another port there")
        return None
    log("info", f"status page on http://{host}:{page.port}/")
    return page
