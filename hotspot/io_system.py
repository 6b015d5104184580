"""What the daemon asks of the machine beneath it: clocks, supervisor, device counters, a hook."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import time
from pathlib import Path

from hotspot.clock import Moment

TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # struct timex has 208; the kernel fills in its part
NETWORK_DEVICES = Path("/proc/net/dev")  # of this process's network namespace; /sys is not
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_synchronised() -> bool:
    """Whether the kernel says that a time service holds the clock; False if it can't say."""
    try:
        import ctypes

        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (ImportError, OSError, AttributeError):  # routers ship ctypes as a package of its own
        return False
    return 0 <= int(state) < TIME_ERROR


def look_at_clocks(synchronised: bool) -> Moment:
    """Both clocks now, and what the kernel said of the wall clock when it was asked last."""
    return Moment(time.time_ns(), boot_ns(), synchronised)


def boot_ns() -> int:
    """Nanoseconds since the machine started, sleep included; nobody sets this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Which start of the machine this is; empty where the kernel doesn't say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def device_frames(interface: str, table: Path = NETWORK_DEVICES) -> int | None:
    """Frames that a device received since it appeared, ours or not; None if there is none such."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, colon, numbers = line.partition(":")
        if colon and name.strip() == interface:
            return int(numbers.split()[1])
    return None


def start_hook(command: str, interface: str) -> int | None:
    """Start the owner's command with the interface as its last word; its process id, or None."""
    words = [*shlex.split(command), interface]
    try:
        return os.posix_spawnp(words[0], words, os.environ)
    except OSError:
        return None


def hook_result(pid: int) -> int | None:
    """Exit code of a hook that has ended, None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


class Supervisor:
    """systemd's notify protocol, sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names.

    procd and a shell set no such socket; then nothing is said.
    """

    def __init__(self, address: str | None = None) -> None:
        name = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket: socket.socket | None = None
        if name:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def say(self, *lines: str) -> None:
        """Send lines such as READY=1, WATCHDOG=1, STOPPING=1, STATUS=text."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a supervisor that is away must not stop us
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
