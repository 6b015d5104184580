"""The kernel's filter for beacons of either carrier, as a classic BPF program. Pure.

Carrier A is a Public Action frame that names our vendor at a fixed place. Carrier B is an access
point's beacon or probe response, where hostapd and the kernel put the vendor elements last: so the
program looks at the end of the frame, once as if a checksum stood there and once as if not. All
else on the channel never wakes the daemon. Instructions: the kernel's
Documentation/networking/filter.rst.
"""

from __future__ import annotations

import struct

from hotspot.radio.frame import ELEMENT_TYPE, FCS_BYTES, OUI, PAYLOAD_BYTES, VENDOR_ELEMENT

FRAME_MAX_BYTES = 4096
_ELEMENT_BYTES = PAYLOAD_BYTES + 6

# Code, jump if true, jump if false, operand.
Instruction = tuple[int, int, int, int]
LOAD_BYTE, LOAD_BYTE_X, LOAD_HALF_X, LOAD_WORD_X, LOAD_LENGTH = 0x30, 0x50, 0x48, 0x40, 0x80
SHIFT_LEFT, OR_X, A_TO_X, SUBTRACT, EQUAL, GREATER_EQUAL = 0x64, 0x4C, 0x07, 0x14, 0x15, 0x35
STORE, LOAD_SCRATCH, RETURN = 0x02, 0x60, 0x06

# X = length of the radiotap header, a little-endian u16 at offset 2.
_RADIOTAP: tuple[Instruction, ...] = (
    (LOAD_BYTE, 0, 0, 2),
    (STORE, 0, 0, 0),
    (LOAD_BYTE, 0, 0, 3),
    (SHIFT_LEFT, 0, 0, 8),
    (A_TO_X, 0, 0, 0),
    (LOAD_SCRATCH, 0, 0, 0),
    (OR_X, 0, 0, 0),
    (A_TO_X, 0, 0, 0),
)


def _at_end(oui: bytes, behind: int, refuse: int) -> list[Instruction]:
    """Accept where our element ends `behind` bytes before the end; else fall through.

    `refuse` is how far behind these instructions the program's refusal stands.
    """
    size = _ELEMENT_BYTES + behind
    head = VENDOR_ELEMENT << 24 | (PAYLOAD_BYTES + 4) << 16 | int.from_bytes(oui[:2], "big")
    tail = oui[2] << 8 | ELEMENT_TYPE
    return [
        (LOAD_LENGTH, 0, 0, 0),
        (GREATER_EQUAL, 0, 7 + refuse, size),
        (SUBTRACT, 0, 0, size),
        (A_TO_X, 0, 0, 0),
        (LOAD_WORD_X, 0, 0, 0),
        (EQUAL, 0, 3, head),
        (LOAD_HALF_X, 0, 0, 4),
        (EQUAL, 0, 1, tail),
        (RETURN, 0, 0, FRAME_MAX_BYTES),
    ]


def carrier_filter(oui: bytes = OUI) -> bytes:
    """The program for frames behind radiotap, as `attach_filter` takes it."""
    action: list[Instruction] = [
        (LOAD_HALF_X, 0, 0, 24),
        (EQUAL, 0, 5, 0x0409),
        (LOAD_HALF_X, 0, 0, 26),
        (EQUAL, 0, 3, int.from_bytes(oui[:2], "big")),
        (LOAD_BYTE_X, 0, 0, 28),
        (EQUAL, 0, 1, oui[2]),
        (RETURN, 0, 0, FRAME_MAX_BYTES),
        (RETURN, 0, 0, 0),
    ]
    bare = _at_end(oui, 0, 0)
    ends = [*_at_end(oui, FCS_BYTES, len(bare)), *bare]
    to_ends = len(action)
    kinds: list[Instruction] = [
        (LOAD_BYTE_X, 0, 0, 0),
        (EQUAL, 3, 0, 0xD0),
        (EQUAL, 2 + to_ends, 0, 0x80),
        (EQUAL, 1 + to_ends, 0, 0x50),
        (RETURN, 0, 0, 0),
    ]
    program = [*_RADIOTAP, *kinds, *action, *ends, (RETURN, 0, 0, 0)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
