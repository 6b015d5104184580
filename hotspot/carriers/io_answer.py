"""A radio that answers neighbours' test frames by itself (`hotspot/probe.py`), for whom it serves.

What it answers it still hands up: the daemon takes such a frame for a beacon of no epoch of its
own. Answers leave from a timer's thread, a fraction of a second later, and are few.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from hotspot.io_radio import Radio
from hotspot.probe import Answerer


class AnsweringRadio:
    """Another radio, with answers."""

    def __init__(self, inner: Radio, answerer: Answerer) -> None:
        self._inner = inner
        self._answerer = answerer
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_closed = False

    @property
    def counts(self) -> Counter[str]:
        """The inner radio's counts, and of tests answered."""
        return self._inner.counts

    @counts.setter
    def counts(self, counts: Counter[str]) -> None:
        self._inner.counts = counts

    @property
    def description(self) -> str:
        """Name the radio in a few words."""
        return self._inner.description

    def fileno(self) -> int:
        """The inner radio's descriptor."""
        return self._inner.fileno()

    def receive(self) -> list[bytes]:
        """Frames of the inner radio; test frames among them will be answered."""
        frames = self._inner.receive()
        now_ns = time.monotonic_ns()
        if sum(self._answerer.receive_frame(frame, now_ns) for frame in frames):
            with self._lock:
                self._set_timer(now_ns)
        return frames

    def _set_timer(self, now_ns: int) -> None:
        due_ns = self._answerer.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ns is not None and not self._is_closed:
            self._timer = threading.Timer(max(0, due_ns - now_ns) / 1e9, self._answer)
            self._timer.daemon = True
            self._timer.start()

    def _answer(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            now_ns = time.monotonic_ns()
            for frame in self._answerer.handle_deadline(now_ns):
                self._inner.send(frame, 0)
                self.counts["tests_answered"] += 1
            self._set_timer(now_ns)

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Send by the inner radio."""
        with self._lock:
            self._inner.send(frame, power_step_db)

    def dropped(self) -> int:
        """What the inner radio lost."""
        return self._inner.dropped()

    def device_frames(self) -> int:
        """What the inner radio's device received."""
        return self._inner.device_frames()

    def close(self) -> None:
        """Let no more answers leave, and close the inner radio."""
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._inner.close()
