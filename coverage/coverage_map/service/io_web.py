"""Serves the built page: index.html, and assets whose names hold their hash.

The build packs assets as small as they get (Brotli and gzip at their best levels); a browser that
takes neither gets them as they are. Browsers take Brotli over TLS and from this machine only.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from coverage_map.service.io_reply import IMMUTABLE, REVALIDATE, Body, problem, reply, takes

WEB = Path(__file__).parents[1] / "web"
DIST = WEB / "dist"
MEDIA = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
PACKED = {"br": ".br", "gzip": ".gz"}  # best first
NOT_BUILT = "the page is not built; run: python -m coverage_map.io_web_build"


class Asset(Body):
    """A file of the page with what the build packed it to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.read_bytes(), MEDIA[path.suffix])
        for way, suffix in PACKED.items():
            beside = path.with_name(path.name + suffix)
            if beside.is_file():
                self._packed[way] = beside.read_bytes()

    def way_for(self, accepted: str) -> str:
        """What the build packed, smallest first; else as any answer."""
        ready = (way for way in PACKED if way in self._packed and takes(accepted, way))
        return next(ready, "") or super().way_for(accepted)


def add_page(app: web.Application, dist: Path = DIST) -> None:
    """Register the page's files; each is read once."""
    bodies: dict[str, Asset] = {}

    async def serve(request: web.Request) -> web.StreamResponse:
        name = "index.html" if request.path == "/" else request.path.lstrip("/")
        path = dist / name
        if name not in bodies:
            if not (path.is_file() and path.suffix in MEDIA):
                return problem(404, "Not found", NOT_BUILT if name == "index.html" else name)
            bodies[name] = Asset(path)
        cache = IMMUTABLE if name.startswith("assets/") else REVALIDATE
        response = reply(request, bodies[name], cache)
        if bodies[name].media.startswith("text/"):
            response.charset = "utf-8"
        return response

    app.router.add_get("/", serve)
    app.router.add_get("/icon.svg", serve)
    app.router.add_get("/LICENSES.txt", serve)
    app.router.add_get("/assets/{name:[A-Za-z0-9._-]+}", serve)
