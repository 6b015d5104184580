"""Frames and power steps through hotspot-netd, which holds CAP_NET_ADMIN so that hotspotd needn't.

netd sends for others (verbs `frame` and `power`, docs/netd.md) and hands nothing up; what hears is
another radio, such as a monitor interface, for which CAP_NET_RAW is enough.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections import Counter
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from hotspot.netd.io_client import SOCKET, NetdClient

_SIOCGIFHWADDR = 0x8927
_SOURCE_AT = 10


def has_netd(path: Path = SOCKET) -> bool:
    """Whether a netd runs here, or did."""
    return path.is_socket()


class NetdPower:
    """Power steps by netd; see `io_power.PowerControl`."""

    def __init__(self, device: str, path: Path = SOCKET) -> None:
        self._device = device
        self._client = NetdClient(path)

    def set_power(self, power_cdbm: int | None) -> None:
        """Ask netd; OSError where it refuses or is away."""
        try:
            self._client.set_power(self._device, power_cdbm)
        except UserError as error:
            raise OSError(errno.EACCES, f"{error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class NetdRadio:
    """Speaks through netd; the Radio of `hotspot/radio/io_radio.py`, without ears."""

    def __init__(self, device: str, path: Path = SOCKET, mac: bytes | None = None) -> None:
        """`mac` is the device's own address, if it is known already."""
        self.counts: Counter[str] = Counter()
        self._device = device
        self._mac = mac_address(device) if mac is None else mac
        self._client = NetdClient(path)
        self._never = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def description(self) -> str:
        """Name the radio in a few words."""
        return f"nl80211 frames on {self._device} through netd"

    def fileno(self) -> int:
        """A descriptor that is never readable."""
        return self._never

    def receive(self) -> list[bytes]:
        """Nothing: frames come from the listener beside."""
        return []

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Let netd send a frame from the device's own address."""
        self.counts["power_step_ignored"] += power_step_db != 0
        mpdu = frame[int.from_bytes(frame[2:4], "little") :]
        own = mpdu[:_SOURCE_AT] + self._mac + mpdu[_SOURCE_AT + 6 :]
        try:
            self._client.send_frame(self._device, own)
            self.counts["sent"] += 1
        except UserError:
            self.counts["send_failed"] += 1

    def dropped(self) -> int:
        """Return 0: it hears nothing that could be lost."""
        return 0

    def device_frames(self) -> int:
        """Return 0: it hears nothing."""
        return 0

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
        os.close(self._never)


def mac_address(device: str) -> bytes:
    """A device's own address. UserError where there is no such device."""
    request = struct.pack("16s24x", device.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFHWADDR, request)
        except OSError as error:
            said = f"{device}: {error.strerror}"
            raise UserError("radio", said, "see `ip link`", exit_code=EXIT_FAILED) from error
    return bytes(answer[18:24])
