"""Answers with strong ETags, compression and headers that browsers and caches need."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from aiohttp import web

from chain.io_http import problem_response

GZIP_FROM_BYTES = 860
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


def dump(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Body:
    """Bytes of an answer with their tag; compressed once, however often they are sent."""

    def __init__(self, content: bytes, media: str) -> None:
        self.content = content
        self.media = media
        self.tag = sha256(content).hexdigest()[:20]
        small = len(content) < GZIP_FROM_BYTES
        self.packed = None if small else gzip.compress(content, 5, mtime=0)


def reply(request: web.Request, body: Body, cache: str = REVALIDATE) -> web.Response:
    """The body, or 304 when the client has it; gzip when the client takes it."""
    packed = body.packed is not None and "gzip" in request.headers.get("Accept-Encoding", "")
    tag = f'"{body.tag}-gz"' if packed else f'"{body.tag}"'
    headers = {
        "ETag": tag,
        "Cache-Control": cache,
        "Vary": "Accept-Encoding",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "ETag",
        "X-Content-Type-Options": "nosniff",
    }
    known = [
        part.strip().removeprefix("W/")
        for part in request.headers.get("If-None-Match", "").split(",")
    ]
    if tag in known or "*" in known:
        return web.Response(status=304, headers=headers)
    if packed and body.packed is not None:
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=body.packed, content_type=body.media, headers=headers)
    return web.Response(body=body.content, content_type=body.media, headers=headers)


class Remembered:
    """Bodies by key, oldest use forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bodies: dict[tuple[Any, ...], Body] = {}

    def get(self, key: tuple[Any, ...], make: Callable[[], Body]) -> Body:
        """The body of a key, made when it isn't there."""
        body = self._bodies.pop(key, None) or make()
        self._bodies[key] = body
        if len(self._bodies) > self._most:
            del self._bodies[next(iter(self._bodies))]
        return body


def problem(status: int, title: str, detail: str) -> web.Response:
    """An RFC 9457 problem that pages of other origins may read too."""
    headers = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}
    return problem_response(status, title, detail, headers=headers)
