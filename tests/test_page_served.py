"""How the page is served: packed as small as can be for whoever takes it, and quietly."""

from __future__ import annotations

import asyncio
import gzip
import logging
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from coverage_map.service.io_events import Hub, encode
from coverage_map.service.io_web import Asset, add_page

CODE = b"export const wave = 'comb';\n" * 200


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A built page of one script, packed to bytes that say which they are."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "assets" / "app-1.js").write_bytes(CODE)
    (tmp_path / "assets" / "app-1.js.br").write_bytes(b"the brotli bytes")
    (tmp_path / "assets" / "app-1.js.gz").write_bytes(gzip.compress(CODE, 9, mtime=0))
    (tmp_path / "assets" / "bare-2.js").write_bytes(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("accepts", "way"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("zstd", "zstd"),
        ("identity", ""),
        ("", ""),
    ],
)
def test_a_browser_gets_the_smallest_way_that_it_takes(dist: Path, accepts: str, way: str) -> None:
    assert Asset(dist / "assets" / "app-1.js").way_for(accepts) == way


def test_what_the_build_did_not_pack_is_packed_as_any_answer(dist: Path) -> None:
    asset = Asset(dist / "assets" / "bare-2.js")
    assert asset.way_for("gzip, br") == "gzip"
    assert gzip.decompress(asset.packed("gzip")) == CODE


def test_over_http_the_packed_bytes_and_their_tags_differ(dist: Path) -> None:
    async def ask() -> list[tuple[str, str, bytes]]:
        app, found = web.Application(), []
        add_page(app, dist)
        async with TestServer(app) as server, ClientSession(auto_decompress=False) as session:
            for accepts in ("br", "gzip", "identity"):
                headers = {"Accept-Encoding": accepts}
                async with session.get(server.make_url("/assets/app-1.js"), headers=headers) as got:
                    way = got.headers.get("Content-Encoding", "")
                    found.append((way, got.headers["ETag"], await got.read()))
                    assert got.headers["Vary"].startswith("Accept-Encoding")
        return found

    brotli, packed, bare = asyncio.run(ask())
    assert (brotli[0], brotli[2]) == ("br", b"the brotli bytes")
    assert (packed[0], gzip.decompress(packed[2])) == ("gzip", CODE)
    assert (bare[0], bare[2]) == ("", CODE)
    assert len({brotli[1], packed[1], bare[1]}) == 3


def test_a_packed_file_is_no_asset_of_its_own(dist: Path) -> None:
    async def ask() -> int:
        app = web.Application()
        add_page(app, dist)
        async with (
            TestServer(app) as server,
            ClientSession() as session,
            session.get(server.make_url("/assets/app-1.js.br")) as got,
        ):
            return got.status

    assert asyncio.run(ask()) == 404


def test_a_listener_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub()

    async def events(request: web.Request) -> web.StreamResponse:
        return await hub.serve(request, [encode("stats", {})])

    async def leave() -> int:
        app = web.Application()
        app.router.add_get("/events", events)
        async with TestServer(app) as server:
            url = server.make_url("/events")
            async with ClientSession() as session, session.get(url) as got:
                await got.content.readline()
            for _ in range(1_000):  # the server hears of it only when it writes
                hub.publish("news", [1])
                await asyncio.sleep(0.05)
                if not len(hub):
                    break
            return len(hub)

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(leave()) == 0
    assert caplog.records == []
