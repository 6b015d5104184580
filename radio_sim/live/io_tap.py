"""Simulated radios that the kernel takes for real ones: TAP devices of link type radiotap.

A TAP device made with IFF_TAP | IFF_NO_PI and given link type 803 while it is down is, to every
program, a monitor-mode interface: our daemon, tcpdump and airodump-ng open it unchanged. What they
inject is read from the file descriptor that stays with the simulator, and what is written there is
what they hear. A device vanishes with its descriptor; a namespace is a mount and does not, so names
carry the process that made them and `cleanup` removes those whose maker is gone. Needs root.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from chain.errors import EXIT_FAILED, UserError

PREFIX = "wvc-"
MTU_BYTES = 2304
_FRAME_MAX_BYTES = 4096
_NETNS_FOLDER = Path("/run/netns")
_TUN = "/dev/net/tun"
_TUNSETIFF, _TUNSETLINK = 0x400454CA, 0x400454CD
_IFF_TAP, _IFF_NO_PI, _IFF_NOARP = 0x0002, 0x1000, 0x80
_ARPHRD_RADIOTAP = 803
_NEEDED = 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN


@dataclass(frozen=True, slots=True)
class Tap:
    """The simulator's end of one radio; `interface` lives in the namespace of the same name."""

    interface: str
    descriptor: int

    def fileno(self) -> int:
        """Return the descriptor, readable when the radio's owner has injected a frame."""
        return self.descriptor

    def read(self) -> bytes | None:
        """Take the next injected frame, or None."""
        try:
            return os.read(self.descriptor, _FRAME_MAX_BYTES)
        except BlockingIOError:
            return None

    def write(self, frame: bytes) -> bool:
        """Let the radio hear a frame; False where it is down, full, or the frame too short."""
        try:
            os.write(self.descriptor, frame)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EAGAIN, errno.EINVAL, errno.ENOBUFS):
                return False
            raise
        return True

    def close(self) -> None:
        """Remove the device."""
        os.close(self.descriptor)


def radio_name(number: int) -> str:
    """Name a radio of this process and its namespace; at most 15 bytes, as the kernel wants."""
    return f"{PREFIX}{os.getpid():x}-{number}"


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the block in a network namespace; processes and devices made in it belong there."""
    netns.pushns(namespace)
    try:
        yield
    finally:
        netns.popns()


def open_radio_tap(name: str) -> Tap:
    """Make a namespace and in it a radio of the same name, up. Raises UserError without root."""
    check_permission()
    netns.create(name)
    try:
        with inside(name):
            tap = _make_device(name)
            try:
                _bring_up(name)
            except BaseException:
                tap.close()
                raise
            return tap
    except BaseException:
        netns.remove(name)
        raise


def can_make_radios() -> bool:
    """Tell whether this process may make namespaces and devices; root in a container may not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                held = int(line.split()[1], 16)
                return held & _NEEDED == _NEEDED and os.access(_TUN, os.W_OK)
    return False


def refused_by_device(name: str) -> int:
    """Count frames that the device had no room for: the sender's `send` had succeeded."""
    with inside(name), IPRoute() as route:
        link = route.get_links(*route.link_lookup(ifname=name))[0]
        return int(link.get_attr("IFLA_STATS64")["tx_dropped"])


def check_permission() -> None:
    """Raise UserError where this process may make no devices."""
    if not can_make_radios():
        raise UserError(
            "sim live",
            "needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN) and /dev/net/tun",
            "run with sudo, or use `wavecomb demo`, which needs neither",
            exit_code=EXIT_FAILED,
        )


def _make_device(name: str) -> Tap:
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        fcntl.ioctl(descriptor, _TUNSETLINK, _ARPHRD_RADIOTAP)
    except OSError:
        os.close(descriptor)
        raise
    return Tap(name, descriptor)


def _bring_up(name: str) -> None:
    with IPRoute() as route:
        index = route.link_lookup(ifname=name)[0]
        route.link("set", index=index, mtu=MTU_BYTES, flags=_IFF_NOARP, change=_IFF_NOARP)
        route.link("set", index=index, state="up")


def remove_namespace(name: str) -> None:
    """Remove a namespace and end what still runs in it."""
    for process in processes_inside(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        netns.remove(name)


def processes_inside(name: str) -> list[int]:
    """List the processes whose network namespace is this one, ascending."""
    try:
        wanted = (_NETNS_FOLDER / name).stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            own = (entry / "ns" / "net").stat()
            if (own.st_dev, own.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry.name))
    return sorted(found)


def our_namespaces() -> list[str]:
    """List all namespaces of simulated radios on this machine."""
    return sorted(name for name in netns.listnetns() if name.startswith(PREFIX))


def cleanup() -> list[str]:
    """Remove what killed runs left behind and name it; runs that live are left alone."""
    removed = []
    for name in our_namespaces():
        if not _maker_alive(name):
            remove_namespace(name)
            removed.append(name)
    removed += _remove_stray_devices()
    return removed


def _maker_alive(name: str) -> bool:
    try:
        maker = int(name[len(PREFIX) :].split("-")[0], 16)
    except ValueError:
        return False
    return Path(f"/proc/{maker}").exists()


def _remove_stray_devices() -> list[str]:
    """Remove devices of dead runs from our own namespace, where one died while making them."""
    removed = []
    with IPRoute() as route:
        for link in route.get_links():
            name = link.get_attr("IFLA_IFNAME")
            if name.startswith(PREFIX) and not _maker_alive(name):
                with contextlib.suppress(NetlinkError):
                    route.link("del", index=link["index"])
                    removed.append(name)
    return removed
