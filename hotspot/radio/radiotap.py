"""The radiotap header that drivers put before a received frame (radiotap.org).

A header is `version u8, pad u8, length u16, present u32...` and then the fields whose bits are
set in the present words, in bit order, each aligned to its natural size from the start of the
header. Three things make it more than a struct: bit 31 of a present word announces another word
(drivers use this for one signal figure per antenna); bit 29 starts the numbering of fields again;
bit 30 opens a vendor's own namespace, whose length stands in the data. A field that comes several
times counts the first time: drivers put the combined figure first. An unknown field ends the
walk, because its size is unknown; all that we want has low numbers.

Without vendor namespaces the offsets depend on the present words alone. A driver uses a handful of
them for years, so `locate` remembers the layout of each (bounded: the words come from outside).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from chain.records import Refusal

HEADER_BYTES = 8  # version, pad, length, first present word
FLAG_FCS_AT_END = 0x10
FLAG_BAD_FCS = 0x40

TSFT, FLAGS, RATE, CHANNEL, DBM_SIGNAL, DBM_NOISE, ANTENNA = 0, 1, 2, 3, 5, 6, 11
MCS = 19
RADIOTAP_NAMESPACE, VENDOR_NAMESPACE, EXTENDED = 29, 30, 31

# Alignment and size of each field, by bit number. Bit 28 (TLV) and above have no fixed size.
FIELDS = (
    *((8, 8), (1, 1), (1, 1), (2, 4), (2, 2), (1, 1), (1, 1), (2, 2)),
    *((2, 2), (2, 2), (1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2)),
    *((1, 1), (1, 1), (4, 8), (1, 3), (4, 8), (2, 12), (8, 12), (2, 12)),
    *((2, 12), (2, 6), (1, 1), (2, 4)),
)
_VENDOR_HEADER_BYTES = 6  # OUI, sub-namespace u8, length of the data u16
_CACHED_WORDS_MAX_BYTES = 64

TRUNCATED = Refusal(
    "truncated", "radiotap: the frame ends inside its header; check the capture length"
)
BAD_RADIOTAP = Refusal(
    "bad_radiotap", "radiotap: not a version 0 header; check that the device is a monitor"
)


class Field(NamedTuple):
    """Where a field lies: its bit, its offset from the header's start, its size in bytes."""

    bit: int
    offset: int
    size: int


class Layout(NamedTuple):
    """Offsets of the fields that a witness uses (-1 = absent) and the end of the last field."""

    tsft: int
    flags: int
    channel: int
    signal: int
    noise: int
    end: int


@dataclass(frozen=True, slots=True)
class Radiotap:
    """The first value of each field a witness uses; None where the driver gives none."""

    length: int
    flags: int
    tsft_us: int | None
    frequency_mhz: int | None
    signal_dbm: int | None
    noise_dbm: int | None


_RECEIVED_CHANNEL = 1 << CHANNEL
_RECEIVED_SIGNAL = 1 << DBM_SIGNAL


def build_received(frequency_mhz: int | None, signal_dbm: int | None) -> bytes:
    """A header for a frame that came by another door than a monitor, with what that door said."""
    present, body = 0, b""
    if frequency_mhz is not None and 0 <= frequency_mhz < 1 << 16:
        present |= _RECEIVED_CHANNEL
        body += frequency_mhz.to_bytes(2, "little") + bytes(2)
    if signal_dbm is not None and -128 <= signal_dbm < 128:
        present |= _RECEIVED_SIGNAL
        body += bytes((signal_dbm & 0xFF,))
    length = HEADER_BYTES + len(body)
    return bytes((0, 0)) + length.to_bytes(2, "little") + present.to_bytes(4, "little") + body


def signed_byte(value: int) -> int:
    """Read a byte as two's complement."""
    return value - 256 if value > 127 else value


def present_bytes(data: bytes, length: int) -> bytes | None:
    """Return the present words of a header of `length` bytes; None where they overrun it."""
    end = HEADER_BYTES
    while data[end - 1] & 0x80:
        end += 4
        if end > length:
            return None
    return data[4:end]


def walk(words: bytes, header: bytes = b"") -> Iterator[Field]:
    """List the fields in order; a vendor namespace is one field with bit 30, data included.

    `words` are the present words as they stand from offset 4 on. `header`, the whole header, is
    needed only to measure vendor namespaces. Fields may lie beyond the header's end.
    """
    offset = 4 + len(words)
    vendor, base = False, 0
    for start in range(0, len(words), 4):
        word = int.from_bytes(words[start : start + 4], "little")
        for bit in range(RADIOTAP_NAMESPACE):
            if vendor or not word >> bit & 1:
                continue
            if base + bit >= len(FIELDS):
                return
            align, size = FIELDS[base + bit]
            offset += -offset % align
            yield Field(bit, offset, size)
            offset += size
        base += 32
        if word >> RADIOTAP_NAMESPACE & 1:
            vendor, base = False, 0
        if word >> VENDOR_NAMESPACE & 1:
            offset += offset % 2
            size = _VENDOR_HEADER_BYTES + int.from_bytes(header[offset + 4 : offset + 6], "little")
            yield Field(VENDOR_NAMESPACE, offset, size)
            offset += size
            vendor = True


def _layout(words: bytes, header: bytes = b"") -> Layout:
    first: dict[int, int] = {}
    end = HEADER_BYTES
    for field in walk(words, header):
        first.setdefault(field.bit, field.offset)
        end = field.offset + field.size
    tsft, flags, channel = first.get(TSFT, -1), first.get(FLAGS, -1), first.get(CHANNEL, -1)
    return Layout(tsft, flags, channel, first.get(DBM_SIGNAL, -1), first.get(DBM_NOISE, -1), end)


_cached_layout = lru_cache(maxsize=256)(_layout)


def locate(data: bytes, length: int) -> Layout | None:
    """Say where the fields lie in a header of `length` bytes; None if it is malformed.

    `data` must hold at least `length` bytes, and `length` must be at least 8.
    """
    if data[7] < 0x20:  # one present word, no namespace change: nearly every frame
        layout = _cached_layout(data[4:8])
        return layout if layout.end <= length else None
    words = present_bytes(data, length)
    if words is None:
        return None
    if len(words) <= _CACHED_WORDS_MAX_BYTES and not any(byte & 0x40 for byte in words[3::4]):
        layout = _cached_layout(words)
    else:
        layout = _layout(words, data[:length])
    return layout if layout.end <= length else None


def parse_radiotap(data: bytes) -> Radiotap | Refusal:
    """Read the header at the start of `data`. Never raises."""
    if len(data) < HEADER_BYTES:
        return TRUNCATED
    length = data[2] | data[3] << 8
    if data[0] != 0 or length < HEADER_BYTES:
        return BAD_RADIOTAP
    if len(data) < length:
        return TRUNCATED
    layout = locate(data, length)
    if layout is None:
        return BAD_RADIOTAP
    tsft, flags, channel, signal, noise, _ = layout
    return Radiotap(
        length,
        0 if flags < 0 else data[flags],
        None if tsft < 0 else int.from_bytes(data[tsft : tsft + 8], "little"),
        None if channel < 0 else int.from_bytes(data[channel : channel + 2], "little"),
        None if signal < 0 else signed_byte(data[signal]),
        None if noise < 0 else signed_byte(data[noise]),
    )
