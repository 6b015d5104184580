"""A generic netlink socket of the standard library, for the always-on process (pyroute2: 34 MiB).

The kernel answers a request before `sendmsg` returns, so `Requests.ask` never really waits. Events
come to a socket of their own, whose descriptor the daemon's loop watches.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from typing import Protocol

from chain.errors import EXIT_FAILED, UserError
from chain.records import Refusal
from hotspot.carriers.netlink import (
    NLMSG_DONE,
    Generic,
    Message,
    family_request,
    read_error,
    read_family,
    read_generic,
    read_messages,
)

NETLINK_GENERIC, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 16, 270, 1
ANSWER_S = 2.0
BUFFER_BYTES = 1 << 16
EVENT_BUFFER_BYTES = 1 << 20


class Door(Protocol):
    """What is asked of a netlink socket; a test gives one that plays the kernel."""

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def send(self, data: bytes) -> int:
        """Hand a message to the kernel."""

    def recv(self, size: int) -> bytes:
        """Take the next buffer; BlockingIOError or TimeoutError where there is none."""

    def join(self, group: int) -> None:
        """Listen to a multicast group."""

    def close(self) -> None:
        """Give the descriptor back."""


class KernelDoor:
    """The kernel's."""

    def __init__(self, *, timeout_s: float | None) -> None:
        """Wait up to `timeout_s` for an answer; None: never wait."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, EVENT_BUFFER_BYTES)
        self._socket.bind((0, 0))
        if timeout_s is None:
            self._socket.setblocking(False)
        else:
            self._socket.settimeout(timeout_s)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, data: bytes) -> int:
        """Send to the kernel (port 0)."""
        return self._socket.send(data)

    def recv(self, size: int) -> bytes:
        """Receive one buffer."""
        return self._socket.recv(size)

    def join(self, group: int) -> None:
        """Join a multicast group."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Requests:
    """Numbered requests over a door, each with all its answers."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._sequence = 0

    def next_sequence(self) -> int:
        """A number for the next request."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence

    def ask(self, request: bytes) -> list[Generic]:
        """Send a request and gather what comes until its acknowledgement. OSError as it says."""
        self._door.send(request)
        sequence = int.from_bytes(request[8:12], sys.byteorder)
        answers: list[Generic] = []
        while True:
            for message in read_messages(self._door.recv(BUFFER_BYTES)):
                if isinstance(message, Refusal):
                    raise OSError(errno.EPROTO, message.detail)
                if message.sequence == sequence and _is_last(message, answers):
                    return answers

    def family(self, name: str) -> tuple[int, dict[str, int]]:
        """A family's number and groups; UserError where the kernel has none such."""
        remedy = "use another radio: monitor:INTERFACE, or hostapd:SOCKET"
        try:
            answers = self.ask(family_request(name, self.next_sequence()))
        except OSError as error:
            said = f"this kernel has no {name} ({os.strerror(error.errno or 0)})"
            raise UserError("radio", said, remedy, exit_code=EXIT_FAILED) from error
        for answer in answers:
            if (found := read_family(answer)) is not None:
                return found
        raise UserError("radio", f"this kernel has no {name}", remedy, exit_code=EXIT_FAILED)

    def close(self) -> None:
        """Close the door."""
        self._door.close()


def _is_last(message: Message, answers: list[Generic]) -> bool:
    """Note an answer; True for the message that ends them, OSError for a refusal."""
    code = read_error(message)
    if code:
        raise OSError(code, os.strerror(code))
    if code == 0 or message.kind == NLMSG_DONE:
        return True
    generic = read_generic(message)
    if not isinstance(generic, Refusal):
        answers.append(generic)
    return False


def events(door: Door, limit: int) -> Iterator[Generic]:
    """What waits at a door that never blocks, at most `limit` buffers."""
    for _ in range(limit):
        try:
            data = door.recv(BUFFER_BYTES)
        except (BlockingIOError, TimeoutError):
            return
        for message in read_messages(data):
            generic = None if isinstance(message, Refusal) else read_generic(message)
            if isinstance(generic, Generic):
                yield generic
