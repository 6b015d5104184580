"""Netlink messages and attributes, as bytes; what `nl80211.py` stands on. Pure.

    message    length u32, type u16, flags u16, sequence u32, port u32, payload
    generic    command u8, version u8, reserved u16, attributes       (the payload of nl80211)
    attribute  length u16, type u16, value, padding to 4 bytes

Host byte order, as the kernel's. pyroute2 does this and far more, in 34 MiB that a router's
always-on process can't spare; tests hold both equal. Format: netlink(7), and the kernel's
Documentation/userspace-api/netlink/intro.rst. Nothing here raises on foreign bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chain.records import Refusal

NLMSG_ERROR, NLMSG_DONE = 2, 3
GENL_ID_CTRL = 0x10
F_REQUEST, F_MULTI, F_ACK, F_DUMP = 0x1, 0x2, 0x4, 0x300
CTRL_CMD_GETFAMILY = 3
CTRL_FAMILY_ID, CTRL_FAMILY_NAME, CTRL_MCAST_GROUPS = 1, 2, 7
_CTRL_GROUP_NAME, _CTRL_GROUP_ID = 1, 2
_TYPE_MASK = 0x3FFF  # above it: "nested" and "network byte order"

_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBxx")
_ATTRIBUTE = struct.Struct("=HH")

TRUNCATED = Refusal("truncated", "netlink: a length that its buffer doesn't have")


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message; `payload` is all behind its header."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Generic:
    """A generic netlink message: its command, and its attributes by type (the last of each)."""

    command: int
    attributes: dict[int, bytes]


def pack_attribute(kind: int, value: bytes) -> bytes:
    """One attribute with its padding. ValueError for a value over 65,531 bytes."""
    if len(value) > 0xFFFF - _ATTRIBUTE.size:
        raise ValueError("netlink: the attribute's value is too long")
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def pack_message(
    family: int, command: int, attributes: Iterable[tuple[int, bytes]], *, flags: int, sequence: int
) -> bytes:
    """A generic netlink request of version 0."""
    body = _GENERIC.pack(command, 0) + b"".join(pack_attribute(*one) for one in attributes)
    head = _HEADER.pack(_HEADER.size + len(body), family, flags | F_REQUEST, sequence, 0)
    return head + body


def read_messages(data: bytes) -> Iterator[Message | Refusal]:
    """Split what one `recv` brought; a length that can't be ends the walk with a refusal."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            yield TRUNCATED
            return
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += length + (-length % 4)


def read_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value); one whose length can't be ends the walk."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            return
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)


def read_generic(message: Message) -> Generic | Refusal:
    """Read a generic netlink message's command and attributes."""
    if len(message.payload) < _GENERIC.size:
        return TRUNCATED
    command, _ = _GENERIC.unpack_from(message.payload)
    return Generic(command, dict(read_attributes(message.payload[_GENERIC.size :])))


def read_error(message: Message) -> int | None:
    """The errno of an acknowledgement, 0 for success; None where the message is none."""
    if message.kind != NLMSG_ERROR or len(message.payload) < 4:
        return None
    return -int.from_bytes(message.payload[:4], sys.byteorder, signed=True)


def number(value: bytes | None, *, signed: bool = False) -> int | None:
    """An integer of any width in host order; None where the attribute is absent or empty."""
    return int.from_bytes(value, sys.byteorder, signed=signed) if value else None


def u32(value: int) -> bytes:
    """A u32 attribute's value; negative numbers as two's complement."""
    return struct.pack("=I", value & 0xFFFFFFFF)


def family_request(name: str, sequence: int) -> bytes:
    """Ask the kernel for a generic netlink family's number."""
    attributes = [(CTRL_FAMILY_NAME, name.encode() + b"\0")]
    return pack_message(
        GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attributes, flags=F_ACK, sequence=sequence
    )


def read_family(reply: Generic) -> tuple[int, dict[str, int]] | None:
    """(number, multicast groups by name) of a family; None where the reply names none."""
    family = number(reply.attributes.get(CTRL_FAMILY_ID))
    if family is None:
        return None
    groups = {}
    for _, nested in read_attributes(reply.attributes.get(CTRL_MCAST_GROUPS, b"")):
        row = dict(read_attributes(nested))
        name = row.get(_CTRL_GROUP_NAME, b"").rstrip(b"\0").decode("ascii", "replace")
        groups[name] = number(row.get(_CTRL_GROUP_ID)) or 0
    return family, groups
