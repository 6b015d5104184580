"""A running map over a town's real ledger, planner included, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp.test_utils import TestServer
from map_helpers import Town, ledger_app, until

from chain.io_http import bound_port
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.planning.io_provider import add_planning
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.io_front import serve_front


@contextmanager
def running_map(town: Town) -> Iterator[tuple[str, Sync]]:
    """The map's address once it has measurements, and what it follows the ledger with."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[tuple[str, Sync]] = []
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with TestServer(ledger_app(town)) as ledger:
            sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None))
            app = make_app(sync, Hub())
            add_planning(app, sync, sync.keeper.directory / "jobs")
            runner = await serve_front(app, "127.0.0.1", 0)
            await until(lambda: sync.snapshot and sync.keeper.view.level(10)["count"].any())
            found.append((f"http://127.0.0.1:{bound_port(runner)}", sync))
            ready.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        if not ready.wait(240):
            raise AssertionError("the map did not come up")
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(120)
        loop.close()
