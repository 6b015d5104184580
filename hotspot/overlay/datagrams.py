"""The relay overlay's datagrams: what hotspots send to neighbours over a `Link`, byte by byte.

Every datagram starts with version and kind. There are two families:

- *Routed* (DATA, CONTROL): `version, kind, flags, position, hops, flow u32`, then the source
route as `hops`
  u32 hotspot indexes, then, for DATA only, the session that pays each hop (u32, NO_SESSION for
  the ends), then the payload. `position` is the place on the route of whoever receives the
  datagram next, so a relay forwards by changing one byte. The route is chosen by the payer and
  travels with the bytes: relays keep no routing table, and a plan can't loop (a route that names
  a hotspot twice is refused).
- *One hop* (LINKSTATE, PROBE, ECHO): gossip and round-trip probes between neighbours.

A parser never raises: it returns a packet or a `Refusal` that names the field.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from chain.records import Refusal

VERSION = 1
DATA, CONTROL, LINKSTATE, PROBE, ECHO = 1, 2, 3, 4, 5
MAX_DATAGRAM = 1400
MAX_HOPS = 16
NO_SESSION = 0xFFFF_FFFF
FROM_INITIATOR = 1  # flag: sent by the end that opened the flow, who is also the payer
# Flags' bits 1 and 2: what the flow wants, so that every hop's kernel may queue it accordingly.
# Others' older versions leave them alone, and send them as they came.
PLAIN_FLOW, JOB_FLOW, AI_FLOW = 0, 1, 2
_CLASS_SHIFT, _CLASS_MASK = 1, 0b110
# DSCPs that netd reads (RFC 2597, 3246, 4594): AF11 for jobs, EF for AI requests, CS6 for control.
_DSCP_OF_CLASS = {JOB_FLOW: 10, AI_FLOW: 46}
_DSCP_CONTROL = 48

_HEAD = struct.Struct(">BBBBBI")
_PROBE = struct.Struct(">BBIQ")
MAX_PAYLOAD = MAX_DATAGRAM - _HEAD.size - 8 * MAX_HOPS

TOO_LONG = Refusal("too_long", f"datagram: longer than {MAX_DATAGRAM} bytes")
TOO_SHORT = Refusal("truncated", "datagram: shorter than its header says")
BAD_VERSION = Refusal("bad_version", f"version: this hotspot speaks version {VERSION}")
BAD_KIND = Refusal("bad_kind", "kind: not DATA, CONTROL, LINKSTATE, PROBE or ECHO")
BAD_ROUTE = Refusal("bad_route", f"route: needs 2 to {MAX_HOPS} different hotspots")
BAD_POSITION = Refusal("bad_position", "position: outside the route")


@dataclass(frozen=True, slots=True)
class Routed:
    """A source-routed datagram; `sessions` runs beside `route` and is empty for CONTROL."""

    kind: int
    flags: int
    position: int
    flow: int
    route: tuple[int, ...]
    sessions: tuple[int, ...]
    payload: bytes

    @property
    def is_at_end(self) -> bool:
        """True at the last hotspot of the route."""
        return self.position == len(self.route) - 1

    @property
    def payer(self) -> int:
        """The hotspot that opened the flow and pays for both directions."""
        return self.route[0] if self.flags & FROM_INITIATOR else self.route[-1]


@dataclass(frozen=True, slots=True)
class Gossip:
    """Link-state gossip of a neighbour; the body is read by `hotspot/overlay/linkstate.py`."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """A round-trip probe, or its echo; `stamp_ns` is the prober's own clock, sent back unread."""

    is_echo: bool
    sequence: int
    stamp_ns: int


Packet = Routed | Gossip | Probe


def pack_routed(
    kind: int,
    flags: int,
    flow: int,
    route: Sequence[int],
    payload: bytes,
    sessions: Sequence[int] = (),
) -> bytes:
    """A routed datagram as it leaves the first hotspot of `route`, addressed to the second."""
    head = _HEAD.pack(VERSION, kind, flags, 1, len(route), flow)
    words = tuple(route) + (tuple(sessions) if kind == DATA else ())
    return head + struct.pack(f">{len(words)}I", *words) + payload


def forward(data: bytes) -> bytes:
    """The same routed datagram, addressed to the next hotspot on its route."""
    return data[:3] + bytes((data[3] + 1,)) + data[4:]


def with_class(data: bytes, flow_class: int) -> bytes:
    """The same DATA datagram, saying what its flow wants."""
    flags = data[2] & ~_CLASS_MASK | flow_class << _CLASS_SHIFT
    return data[:2] + bytes((flags,)) + data[3:]


def class_of(flags: int) -> int:
    """What a DATA datagram's flow wants, by its flags."""
    return (flags & _CLASS_MASK) >> _CLASS_SHIFT


def dscp_of(data: bytes) -> int:
    """The DSCP that a datagram of ours leaves with."""
    if data[1] != DATA:
        return _DSCP_CONTROL
    return _DSCP_OF_CLASS.get(class_of(data[2]), 0)


def pack_gossip(body: bytes) -> bytes:
    """A link-state datagram."""
    return bytes((VERSION, LINKSTATE)) + body


def pack_probe(probe: Probe) -> bytes:
    """A probe or an echo, 14 bytes."""
    return _PROBE.pack(VERSION, ECHO if probe.is_echo else PROBE, probe.sequence, probe.stamp_ns)


def parse(data: bytes) -> Packet | Refusal:
    """Read a datagram. Never raises."""
    if len(data) > MAX_DATAGRAM:
        return TOO_LONG
    if len(data) < 2:
        return TOO_SHORT
    if data[0] != VERSION:
        return BAD_VERSION
    kind = data[1]
    if kind in (DATA, CONTROL):
        return _parse_routed(data)
    if kind == LINKSTATE:
        return Gossip(data[2:])
    if kind in (PROBE, ECHO):
        return _parse_probe(data)
    return BAD_KIND


def _parse_probe(data: bytes) -> Probe | Refusal:
    if len(data) != _PROBE.size:
        return TOO_SHORT
    _, kind, sequence, stamp_ns = _PROBE.unpack(data)
    return Probe(kind == ECHO, sequence, stamp_ns)


def _parse_routed(data: bytes) -> Routed | Refusal:
    if len(data) < _HEAD.size:
        return TOO_SHORT
    _, kind, flags, position, hops, flow = _HEAD.unpack_from(data)
    if not 2 <= hops <= MAX_HOPS:
        return BAD_ROUTE
    if not 1 <= position < hops:
        return BAD_POSITION
    words = 2 * hops if kind == DATA else hops
    end = _HEAD.size + 4 * words
    if len(data) < end:
        return TOO_SHORT
    numbers = struct.unpack_from(f">{words}I", data, _HEAD.size)
    route = numbers[:hops]
    if len(set(route)) != hops:
        return BAD_ROUTE
    return Routed(kind, flags, position, flow, route, numbers[hops:], data[end:])
