"""A radio whose transmit power is lowered for the milliseconds of a beacon, then raised again.

AF_PACKET knows no power; `NL80211_CMD_SET_WIPHY` does, for the whole radio. So the step is taken
just before the frame and given back a moment after it: everybody else's frames of those
milliseconds go out weaker as well. Needs CAP_NET_ADMIN, or whoever holds it.
"""

from __future__ import annotations

import threading
from typing import Protocol

from hotspot.carriers.io_wrapped import WrappedRadio
from hotspot.radio.io_radio import Radio

# A frame waits for a free channel: 99 in 100 leave a half-busy channel within 30 ms.
HOLD_S = 0.03


class PowerControl(Protocol):
    """Who sets a radio's power; OSError where that fails."""

    def set_power(self, power_cdbm: int | None) -> None:
        """Fix the transmit power, hundredths of a dBm; None: as the driver likes."""

    def close(self) -> None:
        """Give it back."""


class PoweredRadio(WrappedRadio):
    """Another radio, with power steps; steps that failed are counted with it."""

    def __init__(
        self, inner: Radio, control: PowerControl, full_cdbm: int, hold_s: float = HOLD_S
    ) -> None:
        """`full_cdbm` is the conducted power of step 0: EIRP less antenna gain."""
        super().__init__(inner)
        self._control = control
        self._full_cdbm = full_cdbm
        self._hold_s = hold_s
        self._is_lowered = False

    @property
    def description(self) -> str:
        """Name the radio in a few words."""
        return f"{self._inner.description}, with power steps"

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Send a frame so many dB below full power."""
        with self._lock:
            self._stop_timer()
            if power_step_db:
                self._set(self._full_cdbm - 100 * power_step_db)
                self._is_lowered = True
            elif self._is_lowered:
                self._raise_again()
            self._inner.send(frame, 0)
            if self._is_lowered:
                self._timer = threading.Timer(self._hold_s, self._end_step)
                self._timer.daemon = True
                self._timer.start()

    def _set(self, power_cdbm: int) -> None:
        try:
            self._control.set_power(power_cdbm)
        except OSError:
            self.counts["power_step_failed"] += 1

    def _raise_again(self) -> None:
        self._is_lowered = False
        self._set(self._full_cdbm)

    def _end_step(self) -> None:
        with self._lock:
            if self._is_lowered:
                self._raise_again()

    def _end(self) -> None:
        if self._is_lowered:
            self._raise_again()
        self._control.close()
