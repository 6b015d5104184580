"""Tiles in front of the framework: the same answers, and everything else goes through unharmed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zstandard
from aiohttp import web
from store_helpers import make_rows

from chain.errors import UserError
from chain.io_http import bound_port, problem_middleware
from coverage_map.cells import parents
from coverage_map.service.io_api import add_routes, secured
from coverage_map.service.io_events import Hub
from coverage_map.service.io_front import serve_front
from coverage_map.service.io_service import SERVICE, Service
from coverage_map.store.io_keeper import KIND_WITNESS, Keeper
from coverage_map.tiles.binary import decode

Ask = Callable[[bytes], Awaitable[tuple[bytes, dict[str, str], bytes]]]
ZSTD = b"Accept-Encoding: gzip, deflate, br, zstd\r\n"


def serving(scenario: Callable[[Ask, Keeper, int], Awaitable[None]]) -> None:
    async def run() -> None:
        keeper = Keeper(None)
        rows = make_rows(3_000, 1, spread=0.05)
        keeper.receive(rows, np.full(len(rows), KIND_WITNESS, np.uint8), 1_000)
        keeper.publish(None, 0)
        sync: Any = SimpleNamespace(keeper=keeper, ready=True, feed=None)
        app = web.Application(middlewares=[secured, problem_middleware])
        app[SERVICE] = Service(sync, Hub())
        add_routes(app, app[SERVICE])
        runner = await serve_front(app, "127.0.0.1", 0)
        port = bound_port(runner) or 0
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def ask(request: bytes) -> tuple[bytes, dict[str, str], bytes]:
            writer.write(request)
            return await answer(reader)

        try:
            await scenario(ask, keeper, port)
        finally:
            writer.close()
            await runner.cleanup()
            keeper.close()

    asyncio.run(run())


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str], bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
    status, *lines = head.strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    size = int(headers.get("Content-Length", 0))
    return status.encode(), headers, await reader.readexactly(size)


def question(keeper: Keeper, extra: bytes = ZSTD, name: str = "", res: int = 9) -> bytes:
    cells = keeper.view.levels[9]["cells"]
    found, counts = np.unique(parents(cells, 5), return_counts=True)
    parent = int(found[np.argmax(counts)])
    name = name or keeper.view.snapshot
    line = f"GET /tiles/{name}/h3/{parent:x}/{res} HTTP/1.1\r\nHost: x\r\n".encode()
    return line + extra + b"\r\n"


def test_the_front_answers_as_the_application_does() -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        status, headers, body = await ask(question(keeper))
        # A condition that doesn't hold makes the application answer.
        other, theirs, same = await ask(question(keeper, ZSTD + b'If-None-Match: "x"\r\n'))
        assert status == other == b"HTTP/1.1 200 OK"
        assert body == same
        assert {k: v for k, v in theirs.items() if k not in ("Date", "Server")} == headers
        tile = decode(zstandard.ZstdDecompressor().decompress(body))
        assert (tile.cells == keeper.view.under(9, tile.parent)["cells"]).all()
        assert "immutable" in headers["Cache-Control"]

    serving(scenario)


def test_a_client_that_has_the_tile_gets_304_and_the_connection_goes_on() -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        _, headers, body = await ask(question(keeper))
        tag = headers["ETag"].encode()
        status, _, nothing = await ask(question(keeper, ZSTD + b"If-None-Match: " + tag + b"\r\n"))
        assert status.split()[1] == b"304"
        assert nothing == b""
        assert (await ask(question(keeper)))[2] == body

    serving(scenario)


def test_gzip_and_nothing_at_all_are_served_too() -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        _, headers, packed = await ask(question(keeper, b"Accept-Encoding: gzip\r\n"))
        assert headers["Content-Encoding"] == "gzip"
        _, plain_headers, plain = await ask(question(keeper, b""))
        assert "Content-Encoding" not in plain_headers
        assert gzip.decompress(packed) == plain
        _, _, refused = await ask(question(keeper, b"Accept-Encoding: zstd;q=0\r\n"))
        assert refused == plain

    serving(scenario)


@pytest.mark.parametrize("res", [2, 12, 99])
def test_what_the_front_does_not_know_the_application_refuses(res: int) -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        status, headers, _ = await ask(question(keeper, res=res))
        assert status.split()[1] == b"404"
        assert headers["Content-Type"].startswith("application/problem+json")
        assert (await ask(question(keeper)))[0] == b"HTTP/1.1 200 OK"

    serving(scenario)


def test_live_tiles_show_what_just_arrived() -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        _, before, _ = await ask(question(keeper, name="live"))
        assert before["Cache-Control"] == "no-cache"
        rows = make_rows(3_000, 2, spread=0.05)
        keeper.receive(rows, np.full(len(rows), KIND_WITNESS, np.uint8), 1_001)
        _, after, body = await ask(question(keeper, name="live"))
        tile = decode(zstandard.ZstdDecompressor().decompress(body))
        assert (tile.cells == keeper.view.under(9, tile.parent)["cells"]).all()
        assert after["ETag"] != before["ETag"]

    serving(scenario)


def test_questions_in_pieces_and_two_at_once_are_answered_in_their_order() -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        whole = (await ask(question(keeper)))[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = question(keeper)
        for at in range(0, len(asked), 20):
            writer.write(asked[at : at + 20])
            await writer.drain()
            await asyncio.sleep(0.002)
        assert (await answer(reader))[2] == whole
        writer.write(b"GET /conformance HTTP/1.1\r\nHost: x\r\n\r\n" + asked)
        first, second = await answer(reader), await answer(reader)
        assert b"conformsTo" in first[2]
        assert second[2] == whole
        writer.close()

    serving(scenario)


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    async def scenario(ask: Ask, keeper: Keeper, port: int) -> None:
        app = web.Application()
        app[SERVICE] = Service(SimpleNamespace(), Hub())  # type: ignore[arg-type]
        with pytest.raises(UserError, match=str(port)):
            await serve_front(app, "127.0.0.1", port)

    serving(scenario)
