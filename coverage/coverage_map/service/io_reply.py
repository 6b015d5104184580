"""Answers with strong ETags, compression and headers that browsers and caches need."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import zstandard
from aiohttp import web

from chain.io_http import problem_response

CALLER = web.RequestKey("caller", str)  # name of the key that a request came with
PACK_FROM_BYTES = 860
ZSTD_LEVEL = 3
CSP = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
OPEN = {
    "Vary": "Accept-Encoding, Accept",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Link",
    "X-Content-Type-Options": "nosniff",
}


def dump(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Body:
    """Bytes of an answer with their tag; compressed once per way, however often they are sent."""

    def __init__(self, content: bytes, media: str, tag: str | None = None) -> None:
        self.content = content
        self.media = media
        self.tag = tag or sha256(content).hexdigest()[:20]
        self._packed: dict[str, bytes] = {}

    def packed(self, way: str) -> bytes:
        """The bytes as sent: way is "zstd", "gzip" or "" for as they are."""
        if not way:
            return self.content
        if way not in self._packed:
            pack = _zstd if way == "zstd" else _gzip
            self._packed[way] = pack(self.content)
        return self._packed[way]

    def way_for(self, accepted: str) -> str:
        """The best way that a client takes, by its Accept-Encoding."""
        if len(self.content) < PACK_FROM_BYTES:
            return ""
        return "zstd" if takes(accepted, "zstd") else "gzip" if takes(accepted, "gzip") else ""


def takes(accepted: str, way: str) -> bool:
    """Whether an Accept-Encoding names a way and doesn't refuse it with q=0."""
    if way not in accepted:
        return False
    for part in accepted.split(","):
        name, _, quality = part.partition(";")
        if name.strip() == way:
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


_COMPRESSOR = zstandard.ZstdCompressor(level=ZSTD_LEVEL)  # of the loop's thread: it has a state


def _zstd(content: bytes) -> bytes:
    return _COMPRESSOR.compress(content)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 5, mtime=0)


def has_it(request: web.Request, tag: str) -> bool:
    """Whether the client named this tag as what it has."""
    known = request.headers.get("If-None-Match")
    if known is None:
        return False
    return any(part.strip().removeprefix("W/") in (tag, "*") for part in known.split(","))


def reply(
    request: web.Request,
    body: Body,
    cache: str = REVALIDATE,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The body, or 304 when the client has it; compressed if the client takes that."""
    way = body.way_for(request.headers.get("Accept-Encoding", ""))
    tag = f'"{body.tag}-{way}"' if way else f'"{body.tag}"'
    told = {"ETag": tag, "Cache-Control": cache, **OPEN, **(headers or {})}
    if has_it(request, tag):
        return web.Response(status=304, headers=told)
    if way:
        told["Content-Encoding"] = way
    told["Content-Type"] = body.media
    return web.Response(body=body.packed(way), headers=told)


class Remembered:
    """Bodies by key, up to so many and so many bytes; oldest use forgotten first."""

    def __init__(self, most: int, most_bytes: int = 1 << 28) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0
        self._bodies: dict[Any, Body] = {}

    def find(self, key: Any) -> Body | None:
        """The body of a key, if it is there."""
        body = self._bodies.pop(key, None)
        if body is not None:
            self._bodies[key] = body
        return body

    def keep(self, key: Any, body: Body) -> Body:
        """Remember a body."""
        self._bodies[key] = body
        self._bytes += len(body.content)
        while len(self._bodies) > self._most or self._bytes > self._most_bytes:
            oldest = self._bodies.pop(next(iter(self._bodies)))
            self._bytes -= len(oldest.content)
        return body

    def get(self, key: Any, make: Callable[[], Body]) -> Body:
        """The body of a key, made when it isn't there."""
        return self.find(key) or self.keep(key, make())


def problem(status: int, title: str, detail: str) -> web.Response:
    """An RFC 9457 problem that pages of other origins may read too."""
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Retry-After",
        "X-Content-Type-Options": "nosniff",
    }
    return problem_response(status, title, detail, headers=headers)
