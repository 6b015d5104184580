"""Overlay datagrams over UDP: on loopback through the demo's medium, or over veth pairs.

A packet is `source u32, target u32, overlay datagram`. Where the medium is another process, every
packet goes to its one address (`air`), and it delivers with loss and delay; else a table says where
each neighbour listens. Packets from any other address are dropped and counted. The medium may also
speak for itself: source MEDIUM carries a link report for the target.

A neighbour is best named by its link-local address, `[fe80::1%mesh0]:9000`: no plan in the kernel
leads such packets another way round, so what is measured of a link is that link. Each packet leaves
with the DSCP of what it carries, for the queues of the devices on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import cast

from chain.errors import EXIT_FAILED, UserError
from hotspot.overlay.datagrams import MAX_DATAGRAM, dscp_of
from hotspot.overlay.linkstate import LinkReport

MEDIUM = 0xFFFF_FFFF
_HEAD = struct.Struct(">II")
_REPORT = struct.Struct(">IIHIHI")

Address = tuple[str, int]
SocketAddress = tuple[str, int] | tuple[str, int, int, int]
OnDatagram = Callable[[bytes, int], None]
OnReport = Callable[[LinkReport], None]


def pack(source: int, target: int, datagram: bytes) -> bytes:
    """One packet."""
    return _HEAD.pack(source, target) + datagram


def unpack(packet: bytes) -> tuple[int, int, bytes] | None:
    """(source, target, datagram), or None for what is no packet."""
    if not _HEAD.size <= len(packet) <= _HEAD.size + MAX_DATAGRAM:
        return None
    source, target = _HEAD.unpack_from(packet)
    return source, target, packet[_HEAD.size :]


def pack_report(target: int, report: LinkReport) -> bytes:
    """What the medium tells a hotspot about one of its links."""
    body = _REPORT.pack(
        *(report.peer, report.rate_kbps, report.busy_permille, report.queue_bytes),
        *(report.loss_permille, report.rtt_us),
    )
    return pack(MEDIUM, target, body)


def parse_address(text: str, field: str) -> Address:
    """Read `HOST:PORT`; UserError names the field."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UserError(field, f"{text!r} is not HOST:PORT", "write it like 127.0.0.1:9001")
    return host.strip("[]"), int(port)


def scoped(address: Address) -> SocketAddress | None:
    """An address as sockets know it, a device's name replaced by its number; None: no such device.

    A device that comes later gets its number later, so this is asked of every packet.
    """
    host, percent, device = address[0].partition("%")
    if not percent:
        return address
    try:
        return host, address[1], 0, socket.if_nametoindex(device)
    except OSError:
        return None


class UdpLink(asyncio.DatagramProtocol):
    """All links of one hotspot over one UDP socket."""

    def __init__(
        self,
        index: int,
        on_datagram: OnDatagram,
        on_report: OnReport,
        *,
        air: Address | None = None,
        peers: Mapping[int, Address] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._index = index
        self._on_datagram = on_datagram
        self._on_report = on_report
        self._air = air
        self._peers = dict(peers or {})
        self._transport: asyncio.DatagramTransport | None = None
        self._dscp = 0

    async def open(self, listen: Address) -> Address:
        """Bind; return the address that was bound. UserError for a busy one."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=listen)
        except OSError as error:
            where = f"{listen[0]}:{listen[1]} can't be used: {error.strerror or error}"
            remedy = "choose another address"
            raise UserError("link.listen", where, remedy, exit_code=EXIT_FAILED) from error
        host, port = transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: SocketAddress) -> None:
        """Take a packet (called by asyncio)."""
        unpacked = unpack(data)
        if unpacked is None or unpacked[1] != self._index:
            self.counts["bad_packet"] += 1
            return
        source, _, datagram = unpacked
        if not self._is_from(source, addr):
            self.counts["unknown_sender"] += 1
        elif source != MEDIUM:
            self.counts["received"] += 1
            self._on_datagram(datagram, source)
        elif len(datagram) == _REPORT.size:
            self._on_report(LinkReport(*_REPORT.unpack(datagram)))

    def _is_from(self, source: int, addr: SocketAddress) -> bool:
        known = self._air if self._air is not None else self._peers.get(source)
        expected = scoped(known) if known is not None else None
        return expected is not None and expected == addr[: len(expected)]

    def error_received(self, exc: Exception) -> None:  # noqa: ARG002 - asyncio names it
        """Count a send that the kernel refused, for instance while a neighbour is away."""
        self.counts["send_errors"] += 1

    def send(self, peer: int, datagram: bytes) -> None:
        """Send to a neighbour; lost if nobody knows where it is."""
        known = self._air or self._peers.get(peer)
        address = scoped(known) if known is not None else None
        if address is None or self._transport is None or self._transport.is_closing():
            self.counts["no_address"] += 1
            return
        self.counts["sent"] += 1
        self._mark(dscp_of(datagram))
        self._transport.sendto(pack(self._index, peer, datagram), address)

    def _mark(self, dscp: int) -> None:
        """Let what is sent from now on leave with this DSCP; a kernel that won't is no failure."""
        if dscp == self._dscp or self._transport is None:
            return
        self._dscp = dscp
        door = self._transport.get_extra_info("socket")
        if door is not None:
            is_ipv6 = door.family == socket.AF_INET6
            level = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if is_ipv6 else (
                socket.IPPROTO_IP, socket.IP_TOS
            )  # fmt: skip
            with contextlib.suppress(OSError):
                door.setsockopt(*level, dscp << 2)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()
