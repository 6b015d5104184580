"""Carrier B's radio: an access point's own beacons, through hostapd's control socket.

It needs no capability, only the right to write to hostapd's socket (`ctrl_interface_group`). It
can't hear; `PairedRadio` puts a listener beside it. That hostapd says OK is no evidence that a
beacon left: what neighbours report is.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter

from chain.errors import EXIT_FAILED, UserError
from hotspot.carriers.hostapd import WINDOW_MS, ElementWindow, payload_of
from hotspot.radio.io_radio import Radio

ANSWER_BYTES = 4096
PROBE_S = 2.0
ANSWER_S = 0.1


class HostapdRadio:
    """Speaks through one access point; the Radio of `hotspot/radio/io_radio.py`, without ears."""

    def __init__(self, path: str, keep: bytes = b"", window_ms: int = WINDOW_MS) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._lock = threading.RLock()  # the window's timer is a thread
        self._timer: threading.Timer | None = None
        self._window = ElementWindow(keep, window_ms)
        self._socket = _connect(path)
        # A process that died in its window left its element there, so: begin with a clean beacon.
        self._give(self._window.clear(time.monotonic_ns()))

    @property
    def description(self) -> str:
        """Name the radio in a few words."""
        return f"beacons of the access point at {self._path}"

    def fileno(self) -> int:
        """The control socket's descriptor: readable when hostapd has answered."""
        return self._socket.fileno()

    def receive(self) -> list[bytes]:
        """Read hostapd's answers; frames come from the listener beside."""
        with self._lock:
            self._read_answers()
            self._window.expire(time.monotonic_ns())
            self._count()
        return []

    def _read_answers(self) -> None:
        while True:
            try:
                answer = self._socket.recv(ANSWER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.counts["receive_failed"] += 1
                return
            self._window.receive(answer.decode("ascii", "replace"))

    def _count(self) -> None:
        self.counts["sent"] = self._window.done
        self.counts["send_failed"] = self._window.failed + self.counts["refused"]

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Put the frame's element into the beacons for a window."""
        self.counts["power_step_ignored"] += power_step_db != 0
        payload = payload_of(frame)
        if payload is None:
            self.counts["refused"] += 1
            self._count()
            return
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            now_ns = time.monotonic_ns()
            is_given = self._give(self._window.send(payload, now_ns))
            self.counts["refused"] += not is_given
            self._wait_for_answers()
            self._timer = threading.Timer(
                ((self._window.ends_ns or now_ns) - now_ns) / 1e9, self._end_window
            )
            self._timer.daemon = True
            self._timer.start()

    def _wait_for_answers(self) -> None:
        """A moment: hostapd answers at once, and the caller wants to know whether it was sent."""
        until = time.monotonic() + ANSWER_S
        while self._window.waits and time.monotonic() < until:
            select.select([self._socket], [], [], until - time.monotonic())
            self._read_answers()
        self._count()

    def _end_window(self) -> None:
        with self._lock:
            if self._socket.fileno() >= 0:
                self._give(self._window.handle_time(time.monotonic_ns()))

    def _give(self, commands: list[str]) -> bool:
        """Send commands; an access point that is away is joined again where it came back."""
        for again in (False, True):
            try:
                for command in commands:
                    self._socket.send(command.encode())
                return True
            except OSError:
                if again or not self._join_again():
                    return False
        return False

    def _join_again(self) -> bool:
        with contextlib.suppress(OSError):
            self._socket.connect(self._path)
            return True
        return False

    def dropped(self) -> int:
        """Return 0: it hears nothing that could be lost."""
        return 0

    def device_frames(self) -> int:
        """Return 0: it hears nothing."""
        return 0

    def close(self) -> None:
        """End the window and give the socket back."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._give(self._window.clear(time.monotonic_ns()))
            self._socket.close()


def _connect(path: str) -> socket.socket:
    """A socket to hostapd that has answered a PING; UserError otherwise."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        control.bind("")  # an abstract name of the kernel's choice, so that answers find us
        control.settimeout(PROBE_S)
        control.connect(path)
        control.send(b"PING")
        if control.recv(ANSWER_BYTES).strip() != b"PONG":
            raise OSError(0, "is no control socket of hostapd")
    except (OSError, ValueError) as error:
        control.close()
        said = getattr(error, "strerror", None) or str(error) or "no answer"
        remedy = "set ctrl_interface in hostapd.conf, and ctrl_interface_group to this user's group"
        raise UserError("radio", f"{path}: {said}", remedy, exit_code=EXIT_FAILED) from error
    control.setblocking(False)
    return control


class PairedRadio:
    """One radio that speaks and one that hears, behind one descriptor."""

    def __init__(self, speaks: Radio, hears: Radio) -> None:
        self._speaks = speaks
        self._hears = hears
        self._both = select.epoll()
        for radio in (speaks, hears):
            self._both.register(radio.fileno(), select.EPOLLIN)

    @property
    def counts(self) -> Counter[str]:
        """Both radios' counts, added up."""
        return self._speaks.counts + self._hears.counts

    @counts.setter
    def counts(self, counts: Counter[str]) -> None:
        self._hears.counts = counts

    @property
    def description(self) -> str:
        """Name both."""
        return f"{self._speaks.description}; hears by {self._hears.description}"

    def fileno(self) -> int:
        """A descriptor that is readable when either is."""
        return self._both.fileno()

    def receive(self) -> list[bytes]:
        """Frames of the one that hears."""
        self._speaks.receive()
        return self._hears.receive()

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Send by the one that speaks."""
        self._speaks.send(frame, power_step_db)

    def dropped(self) -> int:
        """What the one that hears lost."""
        return self._hears.dropped()

    def device_frames(self) -> int:
        """What the device of the one that hears received."""
        return self._hears.device_frames()

    def close(self) -> None:
        """Close both."""
        self._both.close()
        self._speaks.close()
        self._hears.close()
