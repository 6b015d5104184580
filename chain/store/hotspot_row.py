"""How a hotspot is packed: about 144 bytes, and 47 more for an account of its own.

| bytes | fields |
|---|---|
| 32, 4 | key, newest epoch with a message + 1 |
| 2, 1, 1, 1, 2 | bits of `seen`; how many gap bytes, chains, assertions, retired ids follow |
| n | gaps: the clear bits of `seen`, no zero byte last; none for who missed no epoch |
| 52 each | chains: first epoch, length, tip epoch + 1, start of the anchor, tip |
| 34 each | assertions: number of chain, bind epoch, slot of the owner's account, place, radio |
| 8 each | retired ids |
| 1 + n each | bond, trust, earned, spread and slope, each with its length before it |
| 6 each | gaps before `seen`: first epoch, length less one; none for who was never away for long |

The slope s may be negative: it is kept as 2 s, or -2 s - 1 below zero.

Everything little-endian. At most one assertion of a hotspot binds per epoch, and those that ended
before any late message are forgotten, so that a byte counts them.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import NamedTuple

from chain.records import Registration
from chain.state import Assertion, Chain, Hotspot, State

_HEAD = Struct("<32sIHBBBH")
_CHAIN = Struct("<III8s32s")
_ASSERTION = Struct("<BIIQiiHhhHB")
_GAP = Struct("<IH")
_RETIRED_BYTES = 8


def pack_hotspot(state: State, hotspot: Hotspot) -> bytes:
    """A hotspot's row; the account of every owner of it must exist."""
    chains: list[Chain] = []
    assertions: list[bytes] = []
    for assertion in hotspot.assertions:
        number = next((i for i, c in enumerate(chains) if c is assertion.chain), len(chains))
        if number == len(chains):
            chains.append(assertion.chain)
        assertions.append(_pack_assertion(state, assertion, number))
    bits = hotspot.seen.bit_length()
    gaps = _pack_number(hotspot.seen ^ (1 << bits) - 1)
    counts = (bits, len(gaps), len(chains), len(assertions), len(hotspot.retired))
    slope = hotspot.slope_db2
    money = (
        *(hotspot.bond_ucr, hotspot.trust, hotspot.earned_ucr),
        *(hotspot.spread_db2, slope << 1 if slope >= 0 else ~(slope << 1)),
    )
    return b"".join(
        (
            *(_HEAD.pack(hotspot.key, hotspot.last_epoch + 1, *counts), gaps),
            *map(_pack_chain, chains),
            *assertions,
            *hotspot.retired,
            *map(_pack_sized, money),
            *(_GAP.pack(first, last - first) for first, last in hotspot.gaps),
        )
    )


def _pack_number(value: int) -> bytes:
    return value.to_bytes(value.bit_length() + 7 >> 3, "little")


def _pack_sized(value: int) -> bytes:
    raw = _pack_number(value)
    return bytes((len(raw),)) + raw


def _pack_chain(chain: Chain) -> bytes:
    return _CHAIN.pack(
        chain.first_epoch, chain.length, chain.tip_epoch + 1, chain.anchor, chain.tip
    )


def _pack_assertion(state: State, assertion: Assertion, chain: int) -> bytes:
    of = assertion.registration
    return _ASSERTION.pack(
        *(chain, assertion.bind_epoch, state.accounts[of.owner].slot),
        *(of.cell, of.latitude_udeg, of.longitude_udeg),
        *(of.height_m, of.gain_cdb, of.eirp_cdbm, of.frequency_mhz, of.flags),
    )


def unpack_hotspot(state: State, index: int, raw: bytes) -> Hotspot:
    """The hotspot of a row; the accounts must be there already. ValueError for bad bytes."""
    try:
        return _unpack(state, index, raw)
    except (struct.error, IndexError) as error:
        raise ValueError(f"hotspots: row {index} is damaged: {error}") from error


def _unpack(state: State, index: int, raw: bytes) -> Hotspot:
    key, last_epoch, bits, gap_bytes, chain_count, count, retired_count = _HEAD.unpack_from(raw)
    at = _HEAD.size + gap_bytes
    seen = int.from_bytes(raw[_HEAD.size : at], "little") ^ (1 << bits) - 1
    chains: list[Chain] = []
    for _ in range(chain_count):
        first, length, tip_epoch, anchor, tip = _CHAIN.unpack_from(raw, at)
        chains.append(Chain(first, length, anchor, tip_epoch - 1, tip))
        at += _CHAIN.size
    assertions: list[Assertion] = []
    for _ in range(count):
        assertions.append(_unpack_assertion(state, index, key, chains, raw, at))
        at += _ASSERTION.size
    end = at + retired_count * _RETIRED_BYTES
    retired = [raw[i : i + _RETIRED_BYTES] for i in range(at, end, _RETIRED_BYTES)]
    (bond, trust, earned, spread, slope), end = _unpack_sized(raw, end)
    gaps = tuple((first, first + more) for first, more in _GAP.iter_unpack(raw[end:]))
    return Hotspot(
        *(index, key, assertions, retired, last_epoch - 1, seen, bond, trust, earned),
        *(_unpack_signed(slope), spread),
        gaps,
    )


def _unpack_signed(number: int) -> int:
    return ~(number >> 1) if number & 1 else number >> 1


def _unpack_sized(raw: bytes, end: int) -> tuple[list[int], int]:
    """The five numbers of a row and where they end; IndexError if that is beyond its end."""
    found: list[int] = []
    for _ in range(5):
        at, end = end + 1, end + 1 + raw[end]
        found.append(int.from_bytes(raw[at:end], "little"))
    if end > len(raw):
        raise IndexError(f"{len(raw)} bytes, not {end}")
    return found, end


class Numbers(NamedTuple):
    """What a packed hotspot earned and is worth; slope and spread in dB^2."""

    bond_ucr: int
    trust: int
    earned_ucr: int
    spread_db2: int
    slope_db2: int


def unpack_numbers(raw: bytes) -> Numbers:
    """The numbers of a packed hotspot, without its accounts; IndexError if damaged."""
    *_, gap_bytes, chains, assertions, retired = _HEAD.unpack_from(raw)
    end = _HEAD.size + gap_bytes + chains * _CHAIN.size
    end += assertions * _ASSERTION.size + retired * _RETIRED_BYTES
    (bond, trust, earned, spread, slope), _ = _unpack_sized(raw, end)
    return Numbers(bond, trust, earned, spread, _unpack_signed(slope))


def _unpack_assertion(
    state: State, index: int, key: bytes, chains: list[Chain], raw: bytes, at: int
) -> Assertion:
    number, bind_epoch, slot, *place = _ASSERTION.unpack_from(raw, at)
    chain, owner = chains[number], state.account_keys[slot]
    values = [key, owner, *place, chain.first_epoch, chain.length, chain.anchor]
    return Assertion(index, Registration(*values), bind_epoch, chain)
