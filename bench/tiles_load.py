"""Load for bench.tiles: connections that ask one after the other, and how long each answer took.

A process of its own, so that the server's processor time is the server's alone. Requests are bytes
prepared beforehand and an answer is read no further than its length: the generator must not be
what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Any

import numpy as np
import uvloop


class Asker(asyncio.Protocol):
    """One connection with one question under way."""

    def __init__(self, requests: list[bytes], spent: list[float], done: asyncio.Event) -> None:
        self.requests, self.spent, self.done = requests, spent, done
        self.buffer, self.wanted, self.bytes, self.bad = bytearray(), -1, 0, 0
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first question."""
        self.transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        if not self.requests:
            self.done.set()
            self.transport.close()
            return
        self.started = time.perf_counter()
        self.transport.write(self.requests.pop())

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer; ask the next question when it is whole."""
        self.buffer += data
        if self.wanted < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            at = head.index(b"content-length:") + 15
            size = int(head[at:].split(b"\r\n", 1)[0])
            self.bytes += size
            self.wanted = end + 4 + size
            self.bad += not head.startswith(b"http/1.1 200")
        if len(self.buffer) >= self.wanted:
            self.spent.append(time.perf_counter() - self.started)
            self.buffer.clear()
            self.wanted = -1
            self._ask()


async def run(port: int, paths: list[str], connections: int) -> dict[str, float]:
    """Ask for all paths over so many connections; times in seconds."""
    text = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: zstd\r\n\r\n"
    requests = [text.format(path).encode() for path in reversed(paths)]
    spent: list[float] = []
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    askers = []
    for _ in range(connections):
        make = partial(Asker, requests, spent, asyncio.Event())
        _, asker = await loop.create_connection(make, "127.0.0.1", port)
        askers.append(asker)
    for asker in askers:
        await asker.done.wait()
    wall = time.perf_counter() - started
    times = np.sort(spent)
    return {
        "answers": len(times),
        "bad": sum(asker.bad for asker in askers),
        "bytes": sum(asker.bytes for asker in askers),
        "wall_s": wall,
        "p50_ms": float(times[len(times) // 2] * 1e3),
        "p99_ms": float(times[int(len(times) * 0.99)] * 1e3),
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    found = uvloop.run(run(asked["port"], asked["paths"], asked["connections"]))
    print(json.dumps(found))
