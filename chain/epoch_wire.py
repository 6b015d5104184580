"""The usual form of an epoch message, read in one go: nearly all that a ledger ever decodes.

Only the one canonical encoding with one signature is taken, and only if every field has its length.
Anything else is None: `chain.wire.decode` then reads it item by item and says what is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from chain.records import MAX_WIRE_BYTES, RECEPTION_BYTES, EpochMessage

HEAD = b"\x84\x04\x01"  # an array of four: type 4, version 1
TAIL = b"\x81\x58\x40"  # an array of one string of 64 bytes
TAIL_BYTES = len(TAIL) + 64
HASH_HEAD = b"\x58\x20"
Read = tuple[int, int]  # a number and where it ends


def read_length(data: bytes, at: int) -> Read | None:
    """Length of the byte string whose head is at `at`, and where its bytes begin."""
    head = data[at]
    if 0x40 <= head < 0x58:
        return head - 0x40, at + 1
    if head == 0x58 and data[at + 1] >= 24:
        return data[at + 1], at + 2
    if head == 0x59 and data[at + 1]:
        return data[at + 1] << 8 | data[at + 2], at + 3
    return None


def read_number(data: bytes, at: int) -> Read | None:
    """An unsigned number of 32 bits at most, in its shortest form, and where it ends."""
    head = data[at]
    if head < 24:
        return head, at + 1
    if head == 24 and data[at + 1] >= 24:
        return data[at + 1], at + 2
    if head == 25 and data[at + 1]:
        return data[at + 1] << 8 | data[at + 2], at + 3
    if head == 26:
        number = int.from_bytes(data[at + 1 : at + 5], "big")
        return (number, at + 5) if number > 0xFFFF else None
    return None


def read_epoch_wire(raw: bytes) -> tuple[EpochMessage, bytes, bytes] | None:
    """Message, body and signature of a wire of the usual form; None for any other."""
    if not raw.startswith(HEAD) or not TAIL_BYTES + 8 < len(raw) <= MAX_WIRE_BYTES:
        return None
    found, end = read_length(raw, len(HEAD)), len(raw) - TAIL_BYTES
    if found is None or sum(found) != end or not raw.startswith(TAIL, end):
        return None
    body = raw[found[1] : end]
    message = read_body(body)
    return None if message is None else (message, body, raw[end + len(TAIL) :])


def read_body(body: bytes) -> EpochMessage | None:
    """The message of a body of the usual form."""
    try:
        return _read_body(body)
    except IndexError:
        return None


def _read_body(body: bytes) -> EpochMessage | None:
    hotspot = read_number(body, 1) if body[0] == 0x85 else None
    epoch = hotspot and read_number(body, hotspot[1])
    if not hotspot or not epoch or not body.startswith(HASH_HEAD, epoch[1]):
        return None
    at = epoch[1] + 34
    length = read_length(body, at)
    if length is None or length[0] % RECEPTION_BYTES:
        return None
    end = sum(length)
    if len(body) != end + 34 or not body.startswith(HASH_HEAD, end):
        return None
    report = body[length[1] : end]
    if not is_sorted(report):
        return None
    return EpochMessage(hotspot[0], epoch[0], body[at - 32 : at], report, body[end + 2 :])


def is_sorted(report: bytes) -> bool:
    """Whether the receptions of a report are in ascending order."""
    entries = _get_layout(len(report) // RECEPTION_BYTES).unpack(report)
    return list(entries) == sorted(entries)


@lru_cache(maxsize=256)
def _get_layout(count: int) -> Struct:
    return Struct(f"{RECEPTION_BYTES}s" * count)
