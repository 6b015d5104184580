"""The usual form of an epoch message, read in one go: nearly all that a ledger ever decodes.

The length of a wire and the sizes of its two numbers leave one canonical encoding with one
signature, and so one place for every field: `get_form` works it out, once for all wires of that
form. Anything else is None: `chain.wire.decode` then reads it item by item and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

from chain.records import MAX_WIRE_BYTES, RECEPTION_BYTES, EpochMessage

HEAD = b"\x84\x04\x01"  # an array of four: type 4, version 1
TAIL = b"\x81\x58\x40"  # an array of one string of 64 bytes
TAIL_BYTES = len(TAIL) + 64
HASH_HEAD = b"\x58\x20"
FIVE = b"\x85"  # an array of five
# Without its report, a body is the array's head, two numbers, two hashes with their heads.
BODY_BYTES = len(FIVE) + 2 * (len(HASH_HEAD) + 32)
LEAST_BYTES = len(HEAD) + 2 + BODY_BYTES + 3 + TAIL_BYTES
# Bytes of a number of at most 32 bits by its first one; none for what begins no such number.
SIZES = bytes((*[1] * 24, 2, 3, 5, *[0] * 229))
# How such a number is unpacked, and the least one that has no shorter form.
NUMBERS = {1: ("B", 0), 2: ("xB", 24), 3: ("xH", 0x100), 5: ("xI", 0x1_0000)}
# The size of a byte string's head, and the lengths that have it.
STRINGS = ((1, range(24)), (2, range(24, 0x100)), (3, range(0x100, 0x1_0000)))


class Form(NamedTuple):
    """Where everything is in wires of one length with numbers of these sizes."""

    unpack: Callable[[bytes], tuple[Any, ...]]
    start: int  # of the body
    end: int
    head: bytes  # all before the first number
    least: int  # that the first number can be, and the second
    least_epoch: int
    report_head: bytes


def read_epoch_wire(raw: bytes) -> tuple[EpochMessage, bytes, bytes] | None:
    """Message, body and signature of a wire of the usual form; None for any other."""
    length = len(raw)
    if not LEAST_BYTES <= length <= MAX_WIRE_BYTES:
        return None
    at = 7 if raw[3] == 0x59 else 6  # a body is never so short that its length takes no byte
    size = SIZES[raw[at]]
    form = get_form(length, size, SIZES[raw[at + size]])
    if form is None:
        return None
    unpack, start, end, known, least, least_epoch, known_report = form
    values = unpack(raw)
    head, hotspot, epoch, first, commit, report_head, report, second, reveal, tail, sealed = values
    if head != known or first != HASH_HEAD or report_head != known_report:
        return None
    if second != HASH_HEAD or tail != TAIL or hotspot < least or epoch < least_epoch:
        return None
    if not is_sorted(report):
        return None
    return EpochMessage(hotspot, epoch, commit, report, reveal), raw[start:end], sealed


@lru_cache(maxsize=1024)
def get_form(length: int, size: int, size_epoch: int) -> Form | None:
    """The usual form of wires of a length, from the sizes of their numbers; None if none is."""
    body_bytes = get_held(length - len(HEAD) - TAIL_BYTES)
    if not size or not size_epoch or body_bytes is None:
        return None
    report_bytes = get_held(body_bytes - BODY_BYTES - size - size_epoch)
    if report_bytes is None or report_bytes % RECEPTION_BYTES:
        return None
    head = HEAD + get_string_head(body_bytes) + FIVE
    report_head = get_string_head(report_bytes)
    (number, least), (number_epoch, least_epoch) = NUMBERS[size], NUMBERS[size_epoch]
    layout = Struct(
        f">{len(head)}s{number}{number_epoch}2s32s{len(report_head)}s{report_bytes}s2s32s3s64s"
    )
    start = len(head) - len(FIVE)
    end = start + body_bytes
    return Form(layout.unpack, start, end, head, least, least_epoch, report_head)


def get_string_head(length: int) -> bytes:
    """CBOR's head of a byte string of at most 65,535 bytes."""
    if length < 24:
        return bytes((0x40 + length,))
    return bytes((0x58, length)) if length < 0x100 else b"\x59" + length.to_bytes(2, "big")


def get_held(length: int) -> int | None:
    """How long a byte string is that takes so many bytes with its head; None if there is none."""
    fits = (length - head for head, held in STRINGS if length - head in held)
    return next(fits, None)


def is_sorted(report: bytes) -> bool:
    """Whether the receptions of a report are in ascending order."""
    entries = _get_entries(len(report) // RECEPTION_BYTES)(report)
    return entries == tuple(sorted(entries))


@lru_cache(maxsize=256)
def _get_entries(count: int) -> Callable[[bytes], tuple[Any, ...]]:
    return Struct(f"{RECEPTION_BYTES}s" * count).unpack
