"""Connections beyond the cap get 503; one that asks nothing in time is cut off, others stay."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from aiohttp import web

from chain.cli.io_cli import main
from chain.io_guard import Limits
from chain.io_http import application, bound_port, json_response, serve
from chain.io_terminal import run_command


async def say(request: web.Request) -> web.Response:
    return json_response({"path": request.path})


@contextmanager
def serving(limits: Limits) -> Iterator[int]:
    """A small service in a thread; its port."""
    ready, ports = threading.Event(), list[int | None]()

    async def run() -> None:
        app = application()
        app.router.add_get("/{name}", say)
        runner = await serve(app, "127.0.0.1", 0, limits=limits)
        ports.append(bound_port(runner))
        stopping.append((asyncio.get_running_loop(), asyncio.Event()))
        ready.set()
        await stopping[0][1].wait()
        await runner.cleanup()

    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(120)
    assert ports[0] is not None
    try:
        yield ports[0]
    finally:
        stopping[0][0].call_soon_threadsafe(stopping[0][1].set)
        thread.join(120)


def ask(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    connection.request("GET", "/x")
    response = connection.getresponse()
    response.read()
    return response.status, response.headers["Retry-After"]


def connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=120)


def test_connections_beyond_the_cap_are_told_to_come_again() -> None:
    with serving(Limits(3, 60.0)) as port:
        kept = [connect(port) for _ in range(3)]
        assert [ask(each) for each in kept] == [(200, None)] * 3
        late = connect(port)
        assert ask(late) == (503, "1")
        assert [ask(each) for each in kept] == [(200, None)] * 3
        for each in (late, kept.pop()):
            each.close()
        for _ in range(200):  # the service sees the end of a connection soon
            again = connect(port)
            status, _ = ask(again)
            again.close()
            if status == 200:
                break
        assert status == 200
        for each in kept:
            each.close()


@pytest.mark.parametrize("said", [b"", b"GET /x HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_connection_that_asks_nothing_in_time_is_cut_off(said: bytes) -> None:
    with serving(Limits(8, 1.0)) as port:
        good = connect(port)
        assert ask(good) == (200, None)
        with socket.create_connection(("127.0.0.1", port), timeout=120) as slow:
            slow.sendall(said)
            with suppress(ConnectionResetError):
                assert slow.recv(100) == b""
        assert ask(good) == (200, None)  # on the connection that it had, after the same time
        good.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-connections", "0"), ("--header-timeout", "0"), ("--header-timeout", "nan")],
)
def test_limits_that_can_not_be_are_one_clear_line(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, ["run", "--dir", "nowhere", option, value]) == 2
    said = capsys.readouterr().err
    assert option.removeprefix("--") in said
    assert said.count("\n") == 1
