"""How a waiting loop is woken: by another thread through a pipe, and by a signal that ends it."""

from __future__ import annotations

import contextlib
import os
import signal


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
