"""The log: RFC 6962 (and 9162) hashing, roots, inclusion and consistency proofs.

Leaf hash SHA-256(0x00 | record), node hash SHA-256(0x01 | left | right), unbalanced trees split at
the largest power of two below their size (RFC 6962, 2.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


class ProofError(ValueError):
    """A proof doesn't show what it claims to."""


def leaf_hash(record: bytes) -> bytes:
    """Hash of a leaf; for a record's wire this is the record id."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The log's right edge alone: enough to append and to know the root, in log2(size) hashes."""

    __slots__ = ("peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[bytes] = []  # roots of the complete subtrees, largest first

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of everything appended."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def _split(size: int) -> int:
    """The largest power of two smaller than a size above 1."""
    return 1 << (size - 1).bit_length() - 1


class LogReader(ABC):
    """Roots and proofs of a log whose complete subtrees can be read, wherever they are kept."""

    @abstractmethod
    def __len__(self) -> int:
        """How many leaves there are."""

    @abstractmethod
    def node(self, level: int, index: int) -> bytes:
        """The root of leaves index * 2^level up to (index + 1) * 2^level, all of them there."""

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Roots of complete subtrees side by side; IndexError where one isn't complete."""
        return [self.node(level, index) for index in range(start, start + count)]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves; IndexError for more than there are."""
        size = self._checked(size)
        return self._range_root(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The audit path of a leaf in the tree of the first `size` (RFC 6962, 2.1.1)."""
        size = self._checked(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} is not among the first {size}")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._range_root(middle, end))
                end = middle
            else:
                proof.append(self._range_root(start, middle))
                start = middle
        return proof[::-1]

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the tree of `old` leaves is a prefix of the one of `new` (RFC 6962, 2.1.2)."""
        new = self._checked(new)
        if not 0 < old <= new:
            raise IndexError(f"no consistency proof from {old} to {new} leaves")
        return self._subproof(old, 0, new, True) if old < new else []

    def _checked(self, size: int | None) -> int:
        wanted = len(self) if size is None else size
        if not 0 <= wanted <= len(self):
            raise IndexError(f"the log has {len(self)} leaves, not {wanted}")
        return wanted

    def _range_root(self, start: int, end: int) -> bytes:
        size = end - start
        level = size.bit_length() - 1
        if size == 1 << level and start % size == 0:
            return self.node(level, start >> level)
        middle = start + _split(size)
        return node_hash(self._range_root(start, middle), self._range_root(middle, end))

    def _subproof(self, old: int, start: int, end: int, whole: bool) -> list[bytes]:
        if old == end:
            return [] if whole else [self._range_root(start, end)]
        middle = start + _split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, whole), self._range_root(middle, end)]
        return [*self._subproof(old, middle, end, False), self._range_root(start, middle)]


class MerkleLog(LogReader):
    """A log with every complete subtree kept in memory, for proofs; 64 bytes per record."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) % 2 == 0:
            left, right = self._levels[level][-2:]
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node_hash(left, right))

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree."""
        return self._levels[level][index]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> None:
    """Check that a leaf hash is in a tree (RFC 9162, 2.1.3.2); ProofError if it isn't shown."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} can't be in a tree of {size}")
    if any(len(node) != HASH_BYTES for node in (leaf, root, *proof)):
        raise ProofError("a hash is not 32 bytes long")
    at, last, computed = index, size - 1, leaf
    for node in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if at & 1 or at == last:
            computed = node_hash(node, computed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            computed = node_hash(computed, node)
        at, last = at >> 1, last >> 1
    if last or computed != root:
        raise ProofError("the proof does not lead to the root")


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]
) -> None:
    """Check that a tree is a prefix of a later one (RFC 9162, 2.1.4.2); ProofError if not shown."""
    if not 0 < old <= new:
        raise ProofError(f"nothing can be shown between {old} and {new} leaves")
    if old == new:
        if proof or old_root != new_root:
            raise ProofError("trees of one size must have one root and an empty proof")
        return
    if get_shown_roots(old, new, old_root, proof) != (old_root, new_root):
        raise ProofError("the proof does not lead to both roots")


def get_shown_roots(
    old: int, new: int, old_root: bytes, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """The roots of `old` and of `new` > `old` leaves that a consistency proof really leads to.

    `old_root` is where the path begins if `old` is a power of two. A later root that is known, with
    an older one that isn't the signed one, proves that a log signed two histories.
    """
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path or any(len(node) != HASH_BYTES for node in path):
        raise ProofError("the proof is empty or holds what is no hash")
    return _climb(old - 1, new - 1, path)


def _climb(at: int, last: int, path: list[bytes]) -> tuple[bytes, bytes]:
    """Roots of the old and the new tree that a consistency path leads to."""
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    return old, new
