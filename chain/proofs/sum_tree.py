"""Merkle trees whose nodes add up what was issued and spent (docs/records.md, Balance tree).

A node is 64 bytes: its hash, issued u128, spent u128. Its parent hashes 0x01 and two nodes side by
side, so a level of the tree is one buffer and the next is hashed straight from it. A last
node without a neighbour moves up as it is, which gives the shape of RFC 6962. A million leaves hash
in about two seconds because sums below 2^64 are packed by one Struct; larger ones go slower.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from chain.optional import get_numpy

HASH_BYTES = 32
SUM_BYTES = 16
NODE_BYTES = HASH_BYTES + 2 * SUM_BYTES
SUM_LIMIT = 1 << 8 * SUM_BYTES
EMPTY_NODE = bytes(NODE_BYTES)
# From so many nodes on arrays add up faster, and the time to import numpy is worth it.
ARRAYS_FROM = 20_000
_PAIR = struct.Struct(f"{2 * NODE_BYTES}s")
_SUMS = struct.Struct(">32xQQQQ32xQQQQ")
_NODE = struct.Struct(">32sQQQQ")
_ACCOUNT = struct.Struct(">2s32s8xQ8xQ")
_HOTSPOT = struct.Struct(">2s32sI8xQ")


@dataclass(frozen=True, slots=True)
class SumNode:
    """The root of a tree or part of one: its hash and what it adds up, in ucr."""

    hash: bytes
    issued_ucr: int
    spent_ucr: int

    def encode(self) -> bytes:
        """The node's 64 bytes; OverflowError for sums beyond u128."""
        return self.hash + _sums_bytes(self.issued_ucr, self.spent_ucr)


def decode_node(raw: bytes) -> SumNode:
    """A node from its 64 bytes; ValueError for another length."""
    if len(raw) != NODE_BYTES:
        raise ValueError(f"a node is {NODE_BYTES} bytes, not {len(raw)}")
    issued, spent = raw[HASH_BYTES:-SUM_BYTES], raw[-SUM_BYTES:]
    return SumNode(raw[:HASH_BYTES], int.from_bytes(issued, "big"), int.from_bytes(spent, "big"))


def _sums_bytes(issued_ucr: int, spent_ucr: int) -> bytes:
    return issued_ucr.to_bytes(SUM_BYTES, "big") + spent_ucr.to_bytes(SUM_BYTES, "big")


def account_node(key: bytes, issued_ucr: int, spent_ucr: int) -> bytes:
    """The leaf of an account, as a node's 64 bytes."""
    try:
        leaf = _ACCOUNT.pack(b"\x00a", key, issued_ucr, spent_ucr)
    except struct.error:
        leaf = b"\x00a" + key + _sums_bytes(issued_ucr, spent_ucr)
    return sha256(leaf).digest() + leaf[-2 * SUM_BYTES :]


def hotspot_node(key: bytes, index: int, earned_ucr: int) -> bytes:
    """The leaf of a hotspot: what it ever earned, issued and spent at once."""
    try:
        leaf = _HOTSPOT.pack(b"\x00h", key, index, earned_ucr)
    except struct.error:
        leaf = b"\x00h" + key + index.to_bytes(4, "big") + earned_ucr.to_bytes(SUM_BYTES, "big")
    earned = leaf[-SUM_BYTES:]
    return sha256(leaf).digest() + earned + earned


def account_nodes(rows: Iterable[tuple[bytes, int, int]]) -> Iterable[bytes]:
    """Leaves of (key, issued, spent), each in two parts; twice as fast as one at a time."""
    digest, pack, listed = sha256, _ACCOUNT.pack, list(rows)
    try:
        leaves = [pack(b"\x00a", key, issued, spent) for key, issued, spent in listed]
    except struct.error:
        return [account_node(*row) for row in listed]
    return [part for leaf in leaves for part in (digest(leaf).digest(), leaf[-2 * SUM_BYTES :])]


def hotspot_nodes(rows: Iterable[tuple[bytes, int]]) -> Iterable[bytes]:
    """Leaves of (key, earned) from index 0 on, each in three parts."""
    digest, pack, listed = sha256, _HOTSPOT.pack, list(rows)
    try:
        leaves = [pack(b"\x00h", key, index, ucr) for index, (key, ucr) in enumerate(listed)]
    except struct.error:
        return [hotspot_node(key, index, ucr) for index, (key, ucr) in enumerate(listed)]
    return [
        part
        for leaf in leaves
        for part in (digest(leaf).digest(), leaf[-SUM_BYTES:], leaf[-SUM_BYTES:])
    ]


def held_node(name: str, amount_ucr: int) -> bytes:
    """The leaf of what no account holds: escrow, bonds, pools and the like."""
    amount = amount_ucr.to_bytes(SUM_BYTES, "big")
    return sha256(b"\x00p" + name.encode() + amount).digest() + amount + bytes(SUM_BYTES)


def parent_node(left: bytes, right: bytes) -> bytes:
    """The node above two nodes, all of 64 bytes; OverflowError where a sum leaves u128."""
    issued, spent = (
        int.from_bytes(left[start : start + SUM_BYTES], "big")
        + int.from_bytes(right[start : start + SUM_BYTES], "big")
        for start in (HASH_BYTES, HASH_BYTES + SUM_BYTES)
    )
    return sha256(b"\x01" + left + right).digest() + _sums_bytes(issued, spent)


class SumTree:
    """A tree over numbered leaves that can grow and change one at a time; 128 bytes a leaf."""

    __slots__ = ("levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.levels: list[bytearray] = [bytearray().join(leaves)]
        if len(self.levels[0]) % NODE_BYTES:
            raise ValueError(f"leaves are nodes of {NODE_BYTES} bytes")
        while len(self.levels[-1]) > NODE_BYTES:
            self.levels.append(_level_above(self.levels[-1]))

    def __len__(self) -> int:
        return len(self.levels[0]) // NODE_BYTES

    def root(self) -> bytes:
        """The root's 64 bytes; zeros for an empty tree."""
        return bytes(self.levels[-1]) if self.levels[0] else EMPTY_NODE

    def node(self, level: int, index: int) -> bytes:
        """A node's 64 bytes; IndexError where there is none."""
        at = index * NODE_BYTES
        raw = bytes(self.levels[level][at : at + NODE_BYTES])
        if not raw:
            raise IndexError(f"level {level} has no node {index}")
        return raw

    def set(self, changes: Sequence[tuple[int, bytes]]) -> None:
        """Replace leaves, or append in order, and hash each node above them once."""
        touched = []
        for index, leaf in sorted(changes):
            if not 0 <= index <= len(self) or len(leaf) != NODE_BYTES:
                raise IndexError(f"leaf {index} can't be set in a tree of {len(self)}")
            self.levels[0][index * NODE_BYTES : (index + 1) * NODE_BYTES] = leaf
            touched.append(index)
        for level in range(64):
            if len(self.levels[level]) <= NODE_BYTES:
                break
            if level + 1 == len(self.levels):
                self.levels.append(bytearray())
            touched = list(dict.fromkeys(index >> 1 for index in touched))
            self._climb(level, touched)

    def _climb(self, level: int, parents: Sequence[int]) -> None:
        below, above = self.levels[level], self.levels[level + 1]
        for index in parents:
            pair = bytes(below[index * 2 * NODE_BYTES : (index + 1) * 2 * NODE_BYTES])
            left, right = pair[:NODE_BYTES], pair[NODE_BYTES:]
            node = parent_node(left, right) if right else left
            above[index * NODE_BYTES : (index + 1) * NODE_BYTES] = node

    def path(self, index: int) -> list[bytes]:
        """The siblings on the way from a leaf to the root, each of 64 bytes."""
        if not 0 <= index < len(self):
            raise IndexError(f"leaf {index} is not among {len(self)}")
        return [self.node(level, at) for level, at in path_places(index, len(self))]


def _level_above(below: bytearray) -> bytearray:
    """All nodes of the next level."""
    odd = len(below) % (2 * NODE_BYTES)
    pairs = memoryview(below)[: len(below) - odd]
    np = get_numpy() if len(below) >= ARRAYS_FROM * NODE_BYTES else None
    try:
        above = hash_pairs(pairs) if np is None else hash_pairs_by_arrays(np, pairs)
    except struct.error:  # a sum left u64, here or below
        starts = range(0, len(pairs), 2 * NODE_BYTES)
        halves = ((bytes(pairs[i : i + 64]), bytes(pairs[i + 64 : i + 128])) for i in starts)
        above = bytearray().join(parent_node(*pair) for pair in halves)
    return above + below[len(below) - odd :]


def hash_pairs_by_arrays(np: Any, pairs: memoryview) -> bytearray:
    """As `hash_pairs`, with the sums of a level at once."""
    digest, prefix = sha256, b"\x01"
    hashes = b"".join([digest(prefix + pair).digest() for (pair,) in _PAIR.iter_unpack(pairs)])
    words = np.frombuffer(pairs, ">u8").reshape(-1, 2, 8)
    left, right = (words[:, side, 4:].astype(np.uint64) for side in range(2))
    sums = left + right
    if (sums < left).any():
        raise struct.error("half of a sum is beyond u64")
    above = np.empty((len(words), 8), ">u8")
    above[:, :4] = np.frombuffer(hashes, ">u8").reshape(-1, 4)
    above[:, 4:] = sums
    return bytearray(above)


def hash_pairs(pairs: memoryview) -> bytearray:
    """Parents of nodes whose low halves add up within u64; struct.error otherwise."""
    digest, pack, prefix = sha256, _NODE.pack, b"\x01"
    sums = _SUMS.iter_unpack(pairs)
    return bytearray().join(
        [
            pack(digest(prefix + pair).digest(), high + high2, low + low2, top + top2, end + end2)
            for (pair,), (high, low, top, end, high2, low2, top2, end2) in zip(
                _PAIR.iter_unpack(pairs), sums, strict=True
            )
        ]
    )


def path_places(index: int, size: int) -> list[tuple[int, int]]:
    """(level, index) of each sibling of a leaf on its way up; levels without one are left out."""
    places = []
    level, last = 0, size - 1
    while last:
        if index ^ 1 <= last:
            places.append((level, index ^ 1))
        level, index, last = level + 1, index >> 1, last >> 1
    return places


def climb(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """The root that a path leads to; None where it has the wrong length or adds up beyond u128."""
    places = path_places(index, size) if 0 <= index < size else []
    if not 0 <= index < size or len(path) != len(places):
        return None
    node = leaf
    try:
        for (_, at), sibling in zip(places, path, strict=True):
            node = parent_node(node, sibling) if at & 1 else parent_node(sibling, node)
    except OverflowError:
        return None
    return node
