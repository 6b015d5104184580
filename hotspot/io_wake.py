"""How a loop waits: on descriptors, on another thread through a pipe, on a signal that ends it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from typing import Protocol


class Readable(Protocol):
    """What can be waited on."""

    def fileno(self) -> int:
        """Its descriptor."""


class Loop:
    """Descriptors and what reads them. `selectors` costs as much as reading a frame: this is bare.

    A descriptor that was read with `once` is not looked at again until `resume`.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}

    def register(
        self, source: Readable, read: Callable[[], None], *, once: bool = False
    ) -> None:
        """Call `read` whenever there is something to read."""
        descriptor = source.fileno()
        self._epoll.register(descriptor, select.EPOLLIN | (select.EPOLLONESHOT if once else 0))
        self._readers[descriptor] = read

    def resume(self, source: Readable) -> None:
        """Look again at one that was registered with `once`."""
        self._epoll.modify(source.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def unregister(self, source: Readable) -> None:
        """Look no more; before it is closed."""
        del self._readers[source.fileno()]
        self._epoll.unregister(source.fileno())

    def wait(self, timeout_s: float) -> None:
        """Wait at most so long, then read all that can be read."""
        for descriptor, _ in self._epoll.poll(timeout_s):
            read = self._readers.get(descriptor)
            if read is not None:
                read()

    def close(self) -> None:
        """Give the kernel's side back."""
        self._epoll.close()


class Waker:
    """A pipe to wait on beside sockets; any thread may ring it."""

    def __init__(self) -> None:
        self.stopping = False
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)

    def fileno(self) -> int:
        """What to wait on."""
        return self._reader

    def ring(self) -> None:
        """Wake the loop; ringing once too often does nothing."""
        with contextlib.suppress(OSError):
            os.write(self._writer, b"w")

    def answer(self) -> None:
        """Forget all rings so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT set `stopping`; a waiting system call returns at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        del number, frame
        self.stopping = True
        self.ring()
