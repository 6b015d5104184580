"""pcapng out: an interface block for each device, nanosecond times, a comment for each packet.

Format: draft-ietf-opsawg-pcapng. Little endian, whatever the machine, and nothing of the machine or
its clock in the file: the same packets make the same bytes. `hotspot/radio/pcap.py` reads it back.
Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hotspot.radio.pcap import LINK_RADIOTAP

INBOUND, OUTBOUND = 1, 2
SNAP_BYTES = 65_535
COMMENT_MAX_BYTES = 65_532  # an option's length is 16 bits wide

_SECTION, _INTERFACE, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_COMMENT, _NAME, _DESCRIPTION, _RESOLUTION, _APPLICATION, _FLAGS = 1, 2, 3, 9, 4, 2
_NANOSECONDS = b"\x09"
_END = bytes(4)


def section_block(application: str, comment: str = "") -> bytes:
    """Return the head of a file: who wrote it, and a comment on the whole."""
    options = _option(_COMMENT, comment) + _option(_APPLICATION, application)
    return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + _finished(options))


def interface_block(name: str, description: str = "", link_type: int = LINK_RADIOTAP) -> bytes:
    """Return the block of one interface; packets name it by its place in the file, from 0."""
    options = _option(_NAME, name) + _option(_DESCRIPTION, description)
    options += _raw_option(_RESOLUTION, _NANOSECONDS)
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, SNAP_BYTES) + _finished(options))


def packet_block(
    interface: int, time_ns: int, data: bytes, comment: str = "", direction: int = 0
) -> bytes:
    """Return one packet; `direction` is INBOUND, OUTBOUND, or 0 where it is not known.

    Raises ValueError for a time before 1970 or after 2554, which 64 bits of nanoseconds can't hold.
    """
    if not 0 <= time_ns < 1 << 64:
        raise ValueError(f"time_ns: {time_ns} does not fit 64 bits; use nanoseconds since 1970")
    options = _option(_COMMENT, comment)
    if direction:
        options += _raw_option(_FLAGS, struct.pack("<I", direction))
    head = struct.pack(
        "<IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data)
    )
    return _block(_ENHANCED_PACKET, head + data + bytes(-len(data) % 4) + _finished(options))


def file_head(names: Sequence[str], application: str, comment: str = "") -> bytes:
    """Return the section and one interface block for each name."""
    return section_block(application, comment) + b"".join(map(interface_block, names))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body))
    return b"".join((struct.pack("<I", kind), length, body, length))


def _option(code: int, text: str) -> bytes:
    value = text.encode()[:COMMENT_MAX_BYTES].decode(errors="ignore").encode()
    return _raw_option(code, value) if value else b""


def _raw_option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _finished(options: bytes) -> bytes:
    return options + _END if options else b""
