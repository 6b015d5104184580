"""A radio that answers neighbours' test frames by itself (radio/probe.py), for whom it serves.

What it answers it still hands up: the daemon takes such a frame for a beacon of no epoch of its
own. Answers leave from a timer's thread, a fraction of a second later, and are few.
"""

from __future__ import annotations

import threading
import time

from hotspot.carriers.io_wrapped import WrappedRadio
from hotspot.radio.io_radio import Radio
from hotspot.radio.probe import Answerer


class AnsweringRadio(WrappedRadio):
    """Another radio, with answers."""

    def __init__(self, inner: Radio, answerer: Answerer) -> None:
        super().__init__(inner)
        self._answerer = answerer
        self._is_closed = False

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
        self._stop_timer()
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

    def _end(self) -> None:
        self._is_closed = True
