"""Mutual hearing over several epochs: who heard whom lately, compactly.

A reception counts if the beaconer plausibly heard the witness too: in the same epoch, or in one of
the `mutual_epochs` - 1 before it. Drivers that drop most frames seldom hear both ways in one epoch.
Nobody gains by it: every reception still needs its own tag, strength and distance in its own epoch,
a beaconer is paid only for epochs in which it was heard, and what either end heard before it
asserted what it asserts now doesn't count. Trust still grows by epochs in which both heard.

A row of the table `hearing` belongs to the lower index of both ends and holds per link the higher
one, as a varint less the one before it, and a byte: the upper half is when the lower heard the
higher, the lower half when the higher heard the lower, each as epoch mod 15 + 1, or 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from chain.packed import varint
from chain.rules.verdicts import Judgement
from chain.state import State

# Bits of a pair in an epoch: who of both heard the other.
LOWER, HIGHER = 1, 2
CYCLE = 15  # more than any `mutual_epochs`, so that a stamp means one epoch


def get_stamp(epoch: int) -> int:
    """An epoch in half a byte."""
    return epoch % CYCLE + 1


def pack_row(stamps: Mapping[int, int]) -> bytes:
    """The bytes of a row, from a byte per higher index."""
    parts, before = bytearray(), 0
    for high in sorted(stamps):
        gap, before = high - before, high
        parts += varint(gap)
        parts.append(stamps[high])
    return bytes(parts)


def unpack_row(row: bytes) -> dict[int, int]:
    """A byte per higher index; IndexError for bytes that are no row."""
    stamps: dict[int, int] = {}
    at = high = 0
    while at < len(row):
        shift = 0
        while (byte := row[at]) >= 0x80:
            high += (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
        high += byte << shift
        stamps[high] = row[at + 1]
        at += 2
    return stamps


def get_marks(judgement: Judgement) -> dict[int, dict[int, int]]:
    """Per lower index, who of each pair plausibly heard the other in this epoch."""
    marks: dict[int, dict[int, int]] = {}
    for witness, heard in judgement.plausible:
        low, high, bit = (
            (witness, heard, LOWER) if witness < heard else (heard, witness, HIGHER)
        )
        row = marks.setdefault(low, {})
        row[high] = row.get(high, 0) | bit
    return marks


def process_hearing(state: State, judgement: Judgement) -> None:
    """Note who heard the other lately of pairs that heard one way only, and remember this epoch."""
    span = judgement.params.mutual_epochs
    if span <= 1:
        return
    marks, epoch = get_marks(judgement), judgement.epoch
    stale = get_stamp(epoch - span)
    for low in sorted(state.hearing.keys() | marks.keys()):
        before = state.hearing.get(low, b"")
        stamps = unpack_row(before)
        found = marks.get(low, {})
        for high, bits in found.items():
            if bits != LOWER | HIGHER and high in stamps:
                process_one_way(judgement, low, high, bits, stamps[high])
        kept = pack_row(compute_stamps(stamps, found, get_stamp(epoch), stale))
        if kept:
            state.hearing[low] = kept
        else:
            state.hearing.pop(low, None)
        if kept != before:
            state.touch("hearing", low)


def process_one_way(judgement: Judgement, low: int, high: int, bits: int, stamps: int) -> None:
    """Of a pair that heard one way, note that the other way was heard lately, if it was."""
    stamp = stamps & 0xF if bits == LOWER else stamps >> 4
    age = (judgement.epoch + 1 - stamp) % CYCLE
    if not stamp or not 0 < age < judgement.params.mutual_epochs:
        return
    ends = (judgement.assertions[low], judgement.assertions[high])
    if judgement.epoch - age >= max(end.bind_epoch for end in ends):
        judgement.recent.add((high, low) if bits == LOWER else (low, high))


def compute_stamps(
    stamps: Mapping[int, int], found: Mapping[int, int], fresh: int, stale: int
) -> dict[int, int]:
    """The stamps of a row after an epoch: those of it set, those that are too old left out."""
    after = dict(stamps)
    for high, bits in found.items():
        kept = after.get(high, 0)
        if bits & LOWER:
            kept = kept & 0x0F | fresh << 4
        if bits & HIGHER:
            kept = kept & 0xF0 | fresh
        after[high] = kept
    for high, byte in after.items():
        lower = byte & 0xF0 if byte >> 4 != stale else 0
        after[high] = lower | (byte & 0x0F if byte & 0x0F != stale else 0)
    return {high: byte for high, byte in after.items() if byte}
