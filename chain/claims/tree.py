"""The sum tree of a relay's claim (docs/records.md, type 16): dues add up, receipts hash in.

Its shape is that of RFC 6962: a last node without a neighbour moves up as it is. A node is kept as
40 bytes, hash and due, which is also how paths carry siblings.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from chain.packed import Entry

HASH_BYTES = 32
NODE_BYTES = 40
_LEAF = Struct(">BIIQQI32sQ")


class Root(NamedTuple):
    """The root of a claim: its hash, and what all leaves add up to."""

    hash: bytes
    total_ucr: int


def leaf_node(entry: Entry, receipt_hash: bytes, due_ucr: int) -> bytes:
    """A leaf as 40 bytes; struct.error for a field beyond its width."""
    leaf = sha256(_LEAF.pack(0, *entry, receipt_hash, due_ucr)).digest()
    return leaf + due_ucr.to_bytes(8, "big")


def join_nodes(left: bytes, right: bytes) -> bytes:
    """The node above two; OverflowError if their dues exceed 64 bits."""
    due = int.from_bytes(left[HASH_BYTES:], "big") + int.from_bytes(right[HASH_BYTES:], "big")
    return sha256(b"\x01" + left + right).digest() + due.to_bytes(8, "big")


class ClaimTree:
    """A whole tree, for the relay that builds it; ValueError without leaves.

    `leaves` are nodes of 40 bytes, in the order of the claim's entries.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise ValueError("a claim needs a leaf")
        self.levels = [list(leaves)]
        while len(below := self.levels[-1]) > 1:
            above = [join_nodes(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            if len(below) & 1:
                above.append(below[-1])
            self.levels.append(above)

    def root(self) -> Root:
        """The root and the total."""
        return split_node(self.levels[-1][0])

    def path(self, position: int) -> bytes:
        """The siblings of a leaf from the bottom up; IndexError for a place beyond the leaves."""
        if not 0 <= position < len(self.levels[0]):
            raise IndexError(f"leaf {position} is not among {len(self.levels[0])}")
        parts: list[bytes] = []
        for level in self.levels[:-1]:
            sibling = position ^ 1
            if sibling < len(level):
                parts.append(level[sibling])
            position >>= 1
        return b"".join(parts)


def split_node(node: bytes) -> Root:
    """Hash and due of a node's 40 bytes."""
    return Root(node[:HASH_BYTES], int.from_bytes(node[HASH_BYTES:], "big"))


def compute_root(position: int, count: int, leaf: bytes, path: bytes) -> Root | None:
    """Where a path leads from a leaf of a tree of `count`; None if no such path fits that tree."""
    if not 0 <= position < count:
        return None
    node, at, last = leaf, 0, count - 1
    while last:
        if position & 1 or position < last:
            sibling = path[at : at + NODE_BYTES]
            if len(sibling) != NODE_BYTES:
                return None
            pair = (sibling, node) if position & 1 else (node, sibling)
            try:
                node = join_nodes(*pair)
            except OverflowError:
                return None
            at += NODE_BYTES
        position, last = position >> 1, last >> 1
    return split_node(node) if at == len(path) else None
