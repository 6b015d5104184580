"""A ledger service in a thread, on the virtual clock of a small town: real HTTP, no waiting."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chain.io_http import bound_port, serve
from chain.io_keyring import Keyring
from chain.io_keys import save_seed
from chain.io_ledger import DATABASE, DurableLedger
from chain.ledger import Sealed
from chain.proofs.io_site import CHECKPOINT
from chain.records import Receipt
from chain.service.io_service import SERVICE, build
from chain.store.io_store import Store

from .chain_helpers import OPERATOR, Town


def town_on_disk(folder: Path, epochs: int = 5) -> Town:
    """A town with verdicts, a session and payments, saved; it keeps its own virtual time."""
    blocks: list[Sealed] = []
    town = Town(3, on_block=blocks.append)
    town.join()
    town.run(2, 3)
    town.submit(town.open_session(0, 1))
    town.submit(town.claim(town.receipt(0, 1, Receipt(0, 1, 1 << 21, 40, 1, bytes(32)))))
    if epochs > 3:
        town.run(4, epochs)
    store = Store.create(str(folder / DATABASE))
    store.append(blocks)
    store.close()
    return town


def with_checkpoint(durable: DurableLedger) -> web.Application:
    """As with_keys; the newest close is signed already, as a moment after the start."""
    app = with_keys(durable)
    publisher = app[SERVICE].publisher
    assert publisher is not None
    state = durable.ledger.state
    close = state.closes[max(state.closes)]
    publisher.note = publisher.sign(close.text)
    assert publisher.note is not None
    (Path(durable.store.path).parent / CHECKPOINT).write_bytes(publisher.note.encode())
    return app


def with_keys(durable: DurableLedger, **engine: Any) -> web.Application:
    """The service with the town's operator, who is its sequencer, in the ledger's folder."""
    folder = Path(durable.store.path).parent
    if not (folder / "operator.key").exists():
        save_seed(folder / "operator.key", OPERATOR)
    return build(durable, keyring=Keyring(folder), **engine)


class Running:
    """A service in a thread; `make` builds the application around the durable ledger."""

    def __init__(
        self,
        folder: Path,
        town: Town,
        monkeypatch: pytest.MonkeyPatch,
        make: Callable[[DurableLedger], web.Application] = build,
    ) -> None:
        self.town, self.folder, self._make = town, folder, make
        self.ready = threading.Event()
        self.now_ms = town.ledger.state.time_ms
        monkeypatch.setattr("chain.io_ledger.now_ms", lambda: self.now_ms)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.thread.start()
        assert self.ready.wait(120)

    async def _serve(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.durable = DurableLedger.open(self.folder)
        self.app = self._make(self.durable)
        runner = await serve(self.app, "127.0.0.1", 0, str(self.folder / "s.sock"))
        self.port = bound_port(runner)
        self.url = f"http://127.0.0.1:{self.port}"
        self.ready.set()
        await self.stop.wait()
        await runner.cleanup()
        self.durable.store.close()

    def close(self) -> None:
        if not self.thread.is_alive():
            return
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(120)

    def on_loop(self, action: Callable[[], Any]) -> Any:
        """Run something in the service's own thread."""
        done: list[Any] = []
        event = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (done.append(action()), event.set()))
        assert event.wait(120)
        return done[0]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """A raw HTTP exchange: status, headers, body."""
        assert self.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """An exchange whose answer is JSON."""
        status, _, raw = self.ask(method, path, body)
        return status, json.loads(raw)
