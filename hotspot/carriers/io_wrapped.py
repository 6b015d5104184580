"""A radio around another: what a wrapper doesn't change of it passes through."""

from __future__ import annotations

import threading
from collections import Counter

from hotspot.radio.io_radio import Radio


class WrappedRadio:
    """Another radio, as it is; who changes something of it overrides that.

    `_lock` guards the inner radio's sending where a timer's thread sends as well.
    """

    def __init__(self, inner: Radio) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def counts(self) -> Counter[str]:
        """The inner radio's counts, and the wrapper's own."""
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
        """Frames of the inner radio."""
        return self._inner.receive()

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
        """Stop the timer, let the wrapper end what it has begun, and close the inner radio."""
        with self._lock:
            self._stop_timer()
            self._end()
            self._inner.close()

    def _end(self) -> None:
        """What a wrapper does before the inner radio is closed; the lock is held."""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
