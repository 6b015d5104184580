"""Mutual hearing over several epochs: who heard whom lately, compactly.

A reception counts if the beaconer plausibly heard the witness too: in the same epoch, or in one of
the `mutual_epochs` - 1 before it. Drivers that drop most frames seldom hear both ways in one epoch.
Nobody gains by it: every reception still needs its own tag, strength and distance in its own epoch,
a beaconer is paid only for epochs in which it was heard, and what either end heard before it
asserted what it asserts now doesn't count. Trust still grows by epochs in which both heard.

A row of the table `hearing` belongs to the lower index of both ends and holds two things per link,
ascending by the higher index: a byte, 11 a + b, where a is when the lower heard the higher, b when
the higher heard the lower, each as epoch mod 10 + 1, or 0; and the higher index less the one before
it (the first less the lower), as a varint. chain/rules/mutual_arrays.py does it for large epochs.
"""

from __future__ import annotations

from collections.abc import Mapping

from chain.packed import varint
from chain.rules.verdicts import Judgement
from chain.state import State

# When the lower of both ends heard the higher, and the other way round; 0 for not lately.
Stamps = tuple[int, int]
# Bits of a pair in an epoch: who of both heard the other.
LOWER, HIGHER = 1, 2
CYCLE = 10  # no less than any `mutual_epochs`, so that a stamp means one epoch
STAMPS = CYCLE + 1


def get_stamp(epoch: int) -> int:
    """An epoch as one of ten numbers."""
    return epoch % CYCLE + 1


def pack_row(low: int, stamps: Mapping[int, Stamps]) -> bytes:
    """The bytes of a row, from the stamps of each higher index."""
    parts, before = bytearray(), low
    for high in sorted(stamps):
        gap, before = high - before, high
        lower, higher = stamps[high]
        parts.append(lower * STAMPS + higher)
        parts += varint(gap)
    return bytes(parts)


def unpack_row(low: int, row: bytes) -> dict[int, Stamps]:
    """The stamps of each higher index; IndexError for bytes that are no row."""
    stamps: dict[int, Stamps] = {}
    at, high = 0, low
    while at < len(row):
        both, at, shift = row[at], at + 1, 0
        while (byte := row[at]) >= 0x80:
            high += (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
        high += byte << shift
        stamps[high] = (both // STAMPS, both % STAMPS)
        at += 1
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
        stamps = unpack_row(low, before)
        found = marks.get(low, {})
        for high, bits in found.items():
            if bits != LOWER | HIGHER and high in stamps:
                process_one_way(judgement, low, high, bits, stamps[high])
        kept = pack_row(low, compute_stamps(stamps, found, get_stamp(epoch), stale))
        if kept:
            state.hearing[low] = kept
        else:
            state.hearing.pop(low, None)
        if kept != before:
            state.touch("hearing", low)


def process_one_way(judgement: Judgement, low: int, high: int, bits: int, stamps: Stamps) -> None:
    """Of a pair that heard one way, note that the other way was heard lately, if it was."""
    stamp = stamps[1] if bits == LOWER else stamps[0]
    age = (judgement.epoch + 1 - stamp) % CYCLE
    if not stamp or not 0 < age < judgement.params.mutual_epochs:
        return
    ends = (judgement.assertions[low], judgement.assertions[high])
    if judgement.epoch - age >= max(end.bind_epoch for end in ends):
        judgement.recent.add((high, low) if bits == LOWER else (low, high))


def compute_stamps(
    stamps: Mapping[int, Stamps], found: Mapping[int, int], fresh: int, stale: int
) -> dict[int, Stamps]:
    """The stamps of a row after an epoch: what is too old left out, what was heard set."""
    after = {}
    for high in stamps.keys() | found.keys():
        lower, higher = (0 if stamp == stale else stamp for stamp in stamps.get(high, (0, 0)))
        bits = found.get(high, 0)
        both = (fresh if bits & LOWER else lower, fresh if bits & HIGHER else higher)
        if both != (0, 0):
            after[high] = both
    return after
