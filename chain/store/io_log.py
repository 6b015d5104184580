"""The log as the database keeps it: proofs from stored roots of subtrees, not from all records."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable

from chain.proofs.log import HASH_BYTES, CompactRange, LogReader, node_hash

# Roots of subtrees of 16, 256, 4,096, ... leaves are kept, among them all that C2SP tiles hold: 3
# bytes a record more on the disk, and at most 8 reads for a root in between. Records are read for
# the lowest levels alone: each may be on pages of its own.
STEP = 4
NODES_CACHED = 1 << 14  # about 2 MB
TreeRow = tuple[int, int, bytes]  # level, position, hash
SIZE_BYTES = 8


def grow(edge: CompactRange, ids: Iterable[bytes]) -> tuple[CompactRange, list[TreeRow]]:
    """A log's right edge after more leaves, and the subtrees to keep that became complete."""
    grown, rows = CompactRange(), []
    grown.peaks = peaks = list(edge.peaks)
    size = edge.size
    for node in ids:
        position, level = size, 0
        while position & 1:
            node = node_hash(peaks.pop(), node)
            position, level = position >> 1, level + 1
            if level % STEP == 0:
                rows.append((level, position, node))
        peaks.append(node)
        size += 1
    grown.size = size
    return grown, rows


def encode_edge(edge: CompactRange) -> bytes:
    """A log's right edge as bytes."""
    return edge.size.to_bytes(SIZE_BYTES, "big") + b"".join(edge.peaks)


def decode_edge(raw: bytes) -> CompactRange:
    """The right edge of `encode_edge`; ValueError for bytes that are none."""
    edge = CompactRange()
    edge.size = int.from_bytes(raw[:SIZE_BYTES], "big")
    edge.peaks = [raw[i : i + HASH_BYTES] for i in range(SIZE_BYTES, len(raw), HASH_BYTES)]
    if len(raw) != SIZE_BYTES + HASH_BYTES * edge.size.bit_count():
        raise ValueError("the right edge of the log has not as many roots as its size says")
    return edge


class StoreLog(LogReader):
    """Roots and proofs in O(log n) reads; `edge` is what was appended so far.

    IndexError where the database lacks what it must have.
    """

    def __init__(self, connection: sqlite3.Connection, edge: CompactRange) -> None:
        self.connection = connection
        self.edge = edge
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def __len__(self) -> int:
        return self.edge.size

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree."""
        key = (level, index)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._compute(level, index)
            if len(self._cache) > NODES_CACHED:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return found

    def nodes(self, level: int, start: int, count: int) -> list[bytes]:
        """Roots of complete subtrees side by side, in one read where they are kept."""
        if level % STEP:
            return super().nodes(level, start, count)
        found = self._read(level, start, count)
        if len(found) != count:
            raise IndexError(f"the log lacks level {level} from {start} to {start + count}")
        return found

    def _compute(self, level: int, index: int) -> bytes:
        above = level % STEP
        nodes = self._read(level - above, index << above, 1 << above)
        if len(nodes) != 1 << above:
            raise IndexError(f"the log lacks level {level} position {index}")
        while len(nodes) > 1:
            nodes = [node_hash(*nodes[i : i + 2]) for i in range(0, len(nodes), 2)]
        return nodes[0]

    def _read(self, level: int, start: int, count: int) -> list[bytes]:
        """Hashes of one level, in order."""
        if level == 0:
            sql = "SELECT id FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq"
            rows = self.connection.execute(sql, (start, start + count - 1))
        else:
            sql = (
                "SELECT hash FROM tree WHERE level = ? AND position BETWEEN ? AND ?"
                " ORDER BY position"
            )
            rows = self.connection.execute(sql, (level, start, start + count - 1))
        return [row[0] for row in rows]
