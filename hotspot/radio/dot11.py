"""802.11 as far as a listener needs it: whose frame it is and which elements it carries.

The receive path of the daemon doesn't come here (`frame.parse_frame` does less and is faster);
this serves `listen`, captures and the comparison with scapy. IEEE 802.11-2020, 9.2.4 and 9.3.3.
Pure; nothing raises on foreign bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chain.records import Refusal

MANAGEMENT, CONTROL, DATA, EXTENSION = 0, 1, 2, 3
TO_DS, FROM_DS, PROTECTED = 0x01, 0x02, 0x40

# Subtypes of control frames that carry a transmitter address (9.3.1); CTS and Ack do not.
_CONTROL_WITH_TRANSMITTER = frozenset((4, 5, 6, 8, 9, 10, 11, 14, 15))
# Bytes of fixed fields before the elements, by management subtype (9.3.3).
_FIXED_BYTES = {0: 4, 1: 6, 2: 10, 3: 6, 4: 0, 5: 12, 8: 12, 11: 6}

TRUNCATED = Refusal("truncated", "frame: ends inside its MAC header; check the capture length")


@dataclass(frozen=True, slots=True)
class MacHeader:
    """Type, subtype, second control byte, transmitter (if any) and where the body starts."""

    frame_type: int
    subtype: int
    control: int
    transmitter: bytes | None
    body: int


def read_mac(data: bytes, start: int, end: int) -> MacHeader | Refusal:
    """Read the MAC header of the frame in `data[start:end]` (FCS excluded)."""
    if start + 10 > end:
        return TRUNCATED
    frame_type, subtype, control = data[start] >> 2 & 3, data[start] >> 4, data[start + 1]
    length = _header_bytes(frame_type, subtype, control)
    if start + length > end:
        return TRUNCATED
    transmitter = data[start + 10 : start + 16] if length >= 16 else None
    return MacHeader(frame_type, subtype, control, transmitter, start + length)


def _header_bytes(frame_type: int, subtype: int, control: int) -> int:
    if frame_type == CONTROL:
        return 16 if subtype in _CONTROL_WITH_TRANSMITTER else 10
    if frame_type == EXTENSION:
        return 10
    if frame_type == DATA and control & TO_DS and control & FROM_DS:
        return 30
    return 24


def element_start(header: MacHeader) -> int | None:
    """Return where the elements of a management frame begin; None for a frame without any."""
    fixed = _FIXED_BYTES.get(header.subtype)
    if header.frame_type != MANAGEMENT or fixed is None or header.control & PROTECTED:
        return None
    return header.body + fixed


def read_elements(data: bytes, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (element id, contents) up to `end`; an element that overruns it is left out."""
    while offset + 2 <= end:
        following = offset + 2 + data[offset + 1]
        if following > end:
            return
        yield data[offset], data[offset + 2 : following]
        offset = following
