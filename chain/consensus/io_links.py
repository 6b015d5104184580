"""Links between the peers of a test network that can be cut, slowed and healed: TCP proxies.

A cut link holds every byte back instead of closing the connection, as a broken path does: neither
end learns of it before its own timeouts. A slow one delivers in order, each byte so much later.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self

READ_BYTES = 1 << 16


class Link:
    """One proxy to a port of loopback; `port` is where to dial it. Set `delay_s` any time."""

    def __init__(self, target: int, loop: asyncio.AbstractEventLoop) -> None:
        self.target = target
        self.port = 0
        self._loop = loop
        self._whole = asyncio.Event()
        self._whole.set()
        self.delay_s = 0.0
        self.carried = 0  # bytes, both directions

    def cut(self) -> None:
        """Hold every byte back from now on; new connections wait too."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def heal(self) -> None:
        """Deliver what was held back, and go on."""
        self._loop.call_soon_threadsafe(self._whole.set)

    async def open(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._wait_whole()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._one_way(reader, far_writer)),
            asyncio.create_task(self._one_way(far_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, far_writer):
            end.close()

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read without waiting, deliver when it is time: a delay doesn't limit the rate."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        feeder = asyncio.create_task(self._read(reader, waiting))
        loop = asyncio.get_running_loop()
        try:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._wait_whole()
                if not data:
                    return
                self.carried += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)

    async def _read(
        self, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            try:
                data = await reader.read(READ_BYTES)
            except ConnectionError:
                data = b""
            await waiting.put((loop.time() + self.delay_s, data))

    async def _wait_whole(self) -> None:
        await self._whole.wait()


class Links:
    """All links of a test network, in a thread of their own; use it as a context."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, target: int) -> Link:
        """A new link to a port of loopback."""
        link = Link(target, self._loop)
        self._servers.append(self._call(link.open()))
        return link

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
