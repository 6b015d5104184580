"""Serves the built page: index.html, and assets whose names hold their hash."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from coverage_map.io_reply import IMMUTABLE, REVALIDATE, Body, problem, reply

WEB = Path(__file__).parent / "web"
DIST = WEB / "dist"
MEDIA = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
NOT_BUILT = "the page is not built; run: python -m coverage_map.io_web_build"


def add_page(app: web.Application, dist: Path = DIST) -> None:
    """Register the page's files; each is read and compressed once."""
    bodies: dict[str, Body] = {}

    async def serve(request: web.Request) -> web.StreamResponse:
        name = "index.html" if request.path == "/" else request.path.lstrip("/")
        path = dist / name
        if name not in bodies:
            if not (path.is_file() and path.suffix in MEDIA):
                return problem(404, "Not found", NOT_BUILT if name == "index.html" else name)
            bodies[name] = Body(path.read_bytes(), MEDIA[path.suffix])
        cache = IMMUTABLE if name.startswith("assets/") else REVALIDATE
        response = reply(request, bodies[name], cache)
        if bodies[name].media.startswith("text/"):
            response.charset = "utf-8"
        return response

    app.router.add_get("/", serve)
    app.router.add_get("/icon.svg", serve)
    app.router.add_get("/LICENSES.txt", serve)
    app.router.add_get("/assets/{name:[A-Za-z0-9._-]+}", serve)
