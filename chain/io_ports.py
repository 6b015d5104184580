"""Ports for programs that must be told one before they start, as each other's peers.

Between the choice and its use seconds pass. A port of the range from which the kernel serves those
who ask for any would often be gone by then; below that range only a program that was told the same
number takes it.
"""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

FIRST, BEHIND = 16_384, 32_768
# Processes begin this far from each other: few ask for more.
APART = 61
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_numbers = itertools.count(APART * os.getpid())


def free_ports(count: int, kind: int = socket.SOCK_STREAM) -> list[int]:
    """Ports of loopback, of `kind` SOCK_STREAM or SOCK_DGRAM, that nobody has now; all different.

    OSError if there are none.
    """
    behind = _get_behind()
    found: list[int] = []
    for number in itertools.islice(_numbers, behind - FIRST):
        if len(found) == count:
            return found
        port = FIRST + number % (behind - FIRST)
        if _is_free(port, kind):
            found.append(port)
    raise OSError(f"no {count} free ports from {FIRST} to {behind - 1}")


def _get_behind() -> int:
    """The first port behind those to choose from: the kernel's own begin there, if it says so."""
    try:
        first = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return BEHIND
    return first if first > FIRST else BEHIND


def _is_free(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
