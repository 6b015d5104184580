"""Server-sent events: one hub, a bounded queue per listener; who can't keep up is let go."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

QUEUE_MAX = 256
HEARTBEAT_S = 15.0


class Hub:
    """Sends every published event to all who listen."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()

    def __len__(self) -> int:
        return len(self._queues)

    def publish(self, event: str, data: Any) -> None:
        """Queue an event for every listener."""
        line = encode(event, data)
        for queue in list(self._queues):
            if queue.full():
                self._queues.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(line)

    def close(self) -> None:
        """End every stream."""
        for queue in list(self._queues):
            if not queue.full():
                queue.put_nowait(None)

    async def serve(self, request: web.Request, first: list[bytes]) -> web.StreamResponse:
        """Stream events to one listener, starting with `first`."""
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "Access-Control-Allow-Origin": "*",
            }
        )
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MAX)
        self._queues.add(queue)
        try:
            await response.write(b"retry: 1500\n\n" + b"".join(first))
            while (line := await next_line(queue)) is not None:
                await response.write(line)
        except ConnectionResetError:
            pass  # the listener left, as listeners do
        except asyncio.CancelledError:
            with contextlib.suppress(ConnectionResetError):
                await response.write_eof()
            raise
        finally:
            self._queues.discard(queue)
        return response


async def next_line(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    """The next event, or a comment that keeps the connection open."""
    try:
        return await asyncio.wait_for(queue.get(), HEARTBEAT_S)
    except TimeoutError:
        return b": still here\n\n"


def encode(event: str, data: Any) -> bytes:
    """One event in the wire form of the HTML standard."""
    text = json.dumps(data, separators=(",", ":"))
    return f"event: {event}\ndata: {text}\n\n".encode()
