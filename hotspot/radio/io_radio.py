"""The radio as one narrow door: frames in, frames out, a file descriptor to wait on.

`MonitorRadio` is a monitor-mode interface through AF_PACKET. The kernel hands up only our own
action frames (a BPF program that skips the radiotap header), so a busy channel costs the daemon
nothing. `ReplayRadio` reads a capture, `MockRadio` is fed by a test. That `send` returns is no
evidence that anything went on the air: drivers drop injected frames without a word.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from chain.errors import EXIT_FAILED, UserError
from hotspot.carriers.bpf import FRAME_MAX_BYTES, carrier_filter
from hotspot.io_system import device_frames

BATCH_FRAMES = 256  # then the caller's loop gets to look at its deadlines
RECEIVE_BUFFER_BYTES = 8 << 20

ARPHRD_RADIOTAP = 803
_ETH_P_ALL = 0x0003
_SIOCGIFFLAGS, _SIOCGIFHWADDR, _IFF_UP = 0x8913, 0x8927, 0x1
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_PACKET_OUTGOING = 4
# What a device that vanishes or is switched off makes of a call; it may come back.
_AWAY = (errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.ENOBUFS, errno.EAGAIN)


class Radio(Protocol):
    """What the daemon asks of a radio. `counts` are for the owner's screen."""

    counts: Counter[str]

    @property
    def description(self) -> str:
        """Name the radio in a few words."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `receive` has something."""

    def receive(self) -> list[bytes]:
        """Return frames with their radiotap header, at most BATCH_FRAMES; never waits."""

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Hand a frame (transmit radiotap and MPDU) to the device; failures are counted."""

    def dropped(self) -> int:
        """Return how many frames were lost between device and us since the start."""

    def device_frames(self) -> int:
        """Return how many frames the device received, ours or not: a radio that lives counts."""

    def close(self) -> None:
        """Give the device back."""


def open_radio(kind: str, interface: str) -> Radio:
    """Open the radio that the settings name. Raises UserError with the remedy."""
    if kind == "monitor":
        return MonitorRadio(interface)
    if kind == "replay":
        return ReplayRadio(Path(interface))
    raise UserError("radio.kind", f"{kind!r} is unknown", "use monitor or replay")


def attach_filter(listener: socket.socket, program: bytes) -> None:
    """Give the kernel a BPF program for this socket; it copies the program during the call."""
    code = array("B", program)
    address, length = code.buffer_info()
    listener.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", length // 8, address)
    )


class MonitorRadio:
    """A monitor-mode interface. Needs CAP_NET_RAW, nothing else."""

    def __init__(self, interface: str) -> None:
        self.counts: Counter[str] = Counter()
        self._interface = interface
        self._dropped = 0
        self._only_incoming = False
        try:
            # Protocol 0: nothing arrives before the filter stands and the device is chosen.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise UserError(
                "radio",
                "no permission for raw sockets",
                "put sudo before it; at boot the service has CAP_NET_RAW: wavecomb hotspot service",
                exit_code=EXIT_FAILED,
            ) from error
        try:
            check_monitor(self._socket, interface)
            self._prepare()
        except BaseException:
            self._socket.close()
            raise

    def _prepare(self) -> None:
        self._socket.setblocking(False)
        attach_filter(self._socket, carrier_filter())
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                break
        with contextlib.suppress(OSError):  # kernels before 4.20 send us what we sent
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._only_incoming = True
        self._socket.bind((self._interface, _ETH_P_ALL))

    @property
    def description(self) -> str:
        """Name the radio in a few words."""
        return f"monitor interface {self._interface}"

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def receive(self) -> list[bytes]:
        """Return what has arrived; a device that is away has nothing, and is counted."""
        frames: list[bytes] = []
        try:
            if self._only_incoming:  # an address costs Python a system call to name the device
                while len(frames) < BATCH_FRAMES:
                    frames.append(self._socket.recv(FRAME_MAX_BYTES))
            else:
                self._receive_with_address(frames)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in _AWAY:
                raise
            self.counts["receive_failed"] += 1
        self.counts["received"] += len(frames)
        return frames

    def _receive_with_address(self, frames: list[bytes]) -> None:
        for _ in range(BATCH_FRAMES):
            frame, address = self._socket.recvfrom(FRAME_MAX_BYTES)
            if address[2] != _PACKET_OUTGOING:
                frames.append(frame)

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Inject a frame at the device's power: AF_PACKET knows none, so no step is taken.

        Settings say `can_set_power = false` for such a device, and its node asks for step 0.
        """
        self.counts["power_step_ignored"] += power_step_db != 0
        try:
            self._socket.send(frame)
            self.counts["sent"] += 1
        except OSError as error:
            if error.errno not in _AWAY:
                raise
            self.counts["send_failed"] += 1

    def dropped(self) -> int:
        """Return how many of our frames the kernel dropped because we were slow."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._dropped += struct.unpack("II", statistics)[1]  # the kernel restarts it at each call
        return self._dropped

    def device_frames(self) -> int:
        """Return the device's own count; what we received where the kernel shows none."""
        counted = device_frames(self._interface)
        return self.counts["received"] if counted is None else counted

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def check_monitor(probe: socket.socket, interface: str) -> None:
    """Raise UserError unless the interface exists, is up, and speaks radiotap."""
    request = struct.pack("16s24x", interface.encode()[:15])
    try:
        hardware = fcntl.ioctl(probe, _SIOCGIFHWADDR, request)
        flags = fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
    except OSError as error:
        raise UserError(
            "radio.interface",
            f"{interface}: {error.strerror}",
            "see `ip link`; make one with: iw phy phy0 interface add mon0 type monitor",
            exit_code=EXIT_FAILED,
        ) from error
    kind = struct.unpack_from("H", hardware, 16)[0]
    if kind != ARPHRD_RADIOTAP:
        raise UserError(
            "radio.interface",
            f"{interface} is of link type {kind}, not {ARPHRD_RADIOTAP} (radiotap)",
            "name a monitor-mode interface: iw phy phy0 interface add mon0 type monitor",
            exit_code=EXIT_FAILED,
        )
    if not struct.unpack_from("H", flags, 16)[0] & _IFF_UP:
        raise UserError(
            "radio.interface",
            f"{interface} is down",
            f"run: ip link set {interface} up",
            exit_code=EXIT_FAILED,
        )


class _QueuedRadio:
    """Frames from a queue in memory, with a descriptor that is readable while there are any."""

    def __init__(self, frames: Iterable[bytes] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._frames = deque(frames)
        self._ready = os.eventfd(1 if self._frames else 0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return a descriptor that is readable while frames wait."""
        return self._ready

    def receive(self) -> list[bytes]:
        """Take the next frames off the queue."""
        batch = [self._frames.popleft() for _ in range(min(BATCH_FRAMES, len(self._frames)))]
        if not self._frames:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._ready)
        self.counts["received"] += len(batch)
        return batch

    def dropped(self) -> int:
        """Return 0: a queue in memory loses nothing."""
        return 0

    def device_frames(self) -> int:
        """Return how many frames were taken off the queue."""
        return self.counts["received"]

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._ready)


class ReplayRadio(_QueuedRadio):
    """The radiotap frames of a capture file, as fast as they are read. What is sent is counted."""

    def __init__(self, path: Path) -> None:
        from hotspot.radio import pcap  # the daemon on a roof needs no capture reader

        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(
                "radio.interface", f"{path}: {error.strerror}", "name a pcap file"
            ) from error
        packets = [item for item in pcap.read_capture(data) if isinstance(item, pcap.Packet)]
        frames = [item.data for item in packets if item.link_type == pcap.LINK_RADIOTAP]
        if not frames:
            raise UserError(
                "radio.interface",
                f"{path} holds no radiotap frames",
                "record one with: tcpdump -i mon0 -w FILE",
            )
        super().__init__(frames)
        self._path = path

    @property
    def description(self) -> str:
        """Name the capture."""
        return f"replay of {self._path}"

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Count the frame; a recording hears nothing."""
        del frame, power_step_db
        self.counts["sent"] += 1


class MockRadio(_QueuedRadio):
    """A radio that a test feeds and reads."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, int]] = []

    @property
    def description(self) -> str:
        """Say that it is none."""
        return "mock radio"

    def feed(self, frame: bytes) -> None:
        """Let the radio hear a frame."""
        self._frames.append(frame)
        os.eventfd_write(self._ready, 1)

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Keep the frame in `sent`."""
        self.sent.append((frame, power_step_db))


class NoRadio:
    """What stands for a radio that is away, until it is back."""

    def __init__(self, interface: str) -> None:
        self.counts: Counter[str] = Counter()
        self.description = f"no radio: {interface} is away"

    def fileno(self) -> int:
        """Return -1: there is nothing to wait for."""
        return -1

    def receive(self) -> list[bytes]:
        """Return nothing."""
        return []

    def send(self, frame: bytes, power_step_db: int) -> None:
        """Nothing leaves."""
        del frame, power_step_db
        self.counts["send_failed"] += 1

    def dropped(self) -> int:
        """Return 0."""
        return 0

    def device_frames(self) -> int:
        """Return 0."""
        return 0

    def close(self) -> None:
        """There is nothing to give back."""
