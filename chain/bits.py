"""Sets of small numbers as byte strings: bit n of the little-endian integer says whether n is in.

Trailing zero bytes are left out, so that one set has one form.
"""

from __future__ import annotations

from collections.abc import Iterable


def of(numbers: Iterable[int]) -> bytes:
    """The set of these numbers; ValueError for a negative one."""
    value = 0
    for number in numbers:
        value |= 1 << number
    return _pack(value)


def full(count: int) -> bytes:
    """The set of 0 to count - 1."""
    return _pack((1 << count) - 1)


def has(members: bytes, number: int) -> bool:
    """Whether a number from 0 on is in the set."""
    place = number >> 3
    return place < len(members) and bool(members[place] >> (number & 7) & 1)


def union(one: bytes, other: bytes) -> bytes:
    """What is in either set."""
    return _pack(int.from_bytes(one, "little") | int.from_bytes(other, "little"))


def without(one: bytes, other: bytes) -> bytes:
    """What is in the first set and not in the second."""
    return _pack(int.from_bytes(one, "little") & ~int.from_bytes(other, "little"))


def members(packed: bytes) -> list[int]:
    """The numbers in a set, ascending."""
    return [number for number in range(8 * len(packed)) if has(packed, number)]


def _pack(value: int) -> bytes:
    return value.to_bytes(value.bit_length() + 7 >> 3, "little")
