"""Capture files: pcap and pcapng in, pcap out. Pure; a damaged file yields its good packets first.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Both byte orders, microseconds and
nanoseconds, the `modified` pcap variant with longer record headers, and several interfaces and
sections per file. Link types are 16 bits wide; writers store other things above them. pcapng is
written by `hotspot/radio/pcapng.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chain.records import Refusal

LINK_IEEE802_11 = 105
LINK_PRISM = 119
LINK_RADIOTAP = 127
LINK_PPI = 192

_SECTION, _INTERFACE, _PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_OPTION_END, _OPTION_COMMENT, _OPTION_NAME = 0, 1, 2
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_PACKET_MAX_BYTES = 1 << 24

NOT_A_CAPTURE = Refusal("not_a_capture", "capture: neither pcap nor pcapng; check the file")
CUT_SHORT = Refusal("cut_short", "capture: ends inside a packet; the rest is lost")
BAD_BLOCK = Refusal("bad_block", "capture: a length that cannot be; the rest is lost")

# Magic number as stored: byte order, nanoseconds per unit of the fraction, record header bytes.
_PCAP_KINDS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16),
    b"\xa1\xb2\xcd\x34": (">", 1000, 24),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24),
}


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured packet: link type, time since 1970 in ns, and its bytes.

    Of pcapng also the interface's name and the comment, which don't take part in comparisons.
    """

    link_type: int
    time_ns: int
    data: bytes
    interface: str = field(default="", compare=False)
    comment: str = field(default="", compare=False)


@dataclass(slots=True)
class _Interface:
    link_type: int
    snap_bytes: int
    units_per_second: int = 1_000_000
    offset_s: int = 0
    name: str = ""


@dataclass(slots=True)
class _Section:
    order: str
    interfaces: list[_Interface] = field(default_factory=list)


def read_capture(data: bytes) -> Iterator[Packet | Refusal]:
    """Yield the packets of a capture file; where it is damaged, a refusal ends the sequence."""
    if data[:4] in _PCAP_KINDS:
        return _read_pcap(data)
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return _read_pcapng(data)
    return iter((NOT_A_CAPTURE,))


def _read_pcap(data: bytes) -> Iterator[Packet | Refusal]:
    order, fraction_ns, header_bytes = _PCAP_KINDS[data[:4]]
    if len(data) < 24:
        yield CUT_SHORT
        return
    link_type = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    record = struct.Struct(order + "IIII")
    offset = 24
    while offset < len(data):
        if offset + header_bytes > len(data):
            yield CUT_SHORT
            return
        seconds, fraction, captured, _ = record.unpack_from(data, offset)
        offset += header_bytes
        if captured > _PACKET_MAX_BYTES:
            yield BAD_BLOCK
            return
        if offset + captured > len(data):
            yield CUT_SHORT
            return
        time_ns = seconds * 1_000_000_000 + fraction * fraction_ns
        yield Packet(link_type, time_ns, data[offset : offset + captured])
        offset += captured


def _read_pcapng(data: bytes) -> Iterator[Packet | Refusal]:
    section = _Section("<")
    offset = 0
    while offset < len(data):
        if offset + 12 > len(data):
            yield CUT_SHORT
            return
        if data[offset : offset + 4] == b"\x0a\x0d\x0d\x0a":
            order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(
                data[offset + 8 : offset + 12]
            )
            if order is None:
                yield BAD_BLOCK
                return
            section = _Section(order)
        kind, length = struct.unpack_from(section.order + "II", data, offset)
        if length < 12 or length % 4 or length > _PACKET_MAX_BYTES:
            yield BAD_BLOCK
            return
        if offset + length > len(data):
            yield CUT_SHORT
            return
        outcome = _read_block(section, kind, data[offset + 8 : offset + length - 4])
        if outcome is not None:
            yield outcome
        if isinstance(outcome, Refusal):
            return
        offset += length


def _read_block(section: _Section, kind: int, body: bytes) -> Packet | Refusal | None:
    """Take one block's body: a packet, a refusal, or None for a block without a packet."""
    try:
        if kind == _INTERFACE:
            section.interfaces.append(_read_interface(section.order, body))
            return None
        if kind == _ENHANCED_PACKET:
            index, high, low, captured = struct.unpack_from(section.order + "IIII", body)
            return _packet(section, index, high << 32 | low, captured, body[20:])
        if kind == _PACKET:
            index, _, high, low, captured = struct.unpack_from(section.order + "HHIII", body)
            return _packet(section, index, high << 32 | low, captured, body[20:])
        if kind == _SIMPLE_PACKET:
            original = struct.unpack_from(section.order + "I", body)[0]
            snap_bytes = section.interfaces[0].snap_bytes or original
            return _packet(section, 0, 0, min(original, snap_bytes), body[4:])
    except (struct.error, IndexError):
        return BAD_BLOCK
    return None


def _packet(
    section: _Section, index: int, ticks: int, captured: int, rest: bytes
) -> Packet | Refusal:
    interface = section.interfaces[index]
    if captured > len(rest):
        return BAD_BLOCK
    time_ns = interface.offset_s * 1_000_000_000
    time_ns += ticks * 1_000_000_000 // interface.units_per_second
    options = dict(_options(section.order, rest, captured + -captured % 4))
    comment = options.get(_OPTION_COMMENT, b"").decode(errors="replace")
    return Packet(interface.link_type, time_ns, rest[:captured], interface.name, comment)


def _read_interface(order: str, body: bytes) -> _Interface:
    link_type, _, snap_bytes = struct.unpack_from(order + "HHI", body)
    interface = _Interface(link_type, snap_bytes)
    for option, value in _options(order, body, 8):
        if option == _OPTION_RESOLUTION and len(value) == 1:
            interface.units_per_second = _units_per_second(value[0])
        elif option == _OPTION_OFFSET and len(value) == 8:
            interface.offset_s = struct.unpack(order + "q", value)[0]
        elif option == _OPTION_NAME:
            interface.name = value.decode(errors="replace")
    return interface


def _options(order: str, body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield the (code, value) pairs from `offset` up to the end mark."""
    while offset + 4 <= len(body):
        option, length = struct.unpack_from(order + "HH", body, offset)
        if option == _OPTION_END:
            return
        yield option, body[offset + 4 : offset + 4 + length]
        offset += 4 + length + -length % 4


def _units_per_second(resolution: int) -> int:
    """Read if_tsresol: a negative power of 10, or of 2 with the top bit set."""
    exponent = resolution & 0x7F
    return int(2**exponent if resolution & 0x80 else 10**exponent)


def pcap_header(link_type: int = LINK_RADIOTAP) -> bytes:
    """Return the head of a pcap file with nanosecond times."""
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, link_type)


def pcap_record(time_ns: int, data: bytes) -> bytes:
    """Return one packet as a record of such a file."""
    seconds, fraction_ns = divmod(time_ns, 1_000_000_000)
    return struct.pack("<IIII", seconds, fraction_ns, len(data), len(data)) + data


def write_pcap(packets: Iterable[tuple[int, bytes]], link_type: int = LINK_RADIOTAP) -> bytes:
    """Make a whole pcap file from (time in ns, bytes)."""
    return pcap_header(link_type) + b"".join(pcap_record(when, data) for when, data in packets)
