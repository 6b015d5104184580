"""The state root: a Merkle tree per table with a slot per row, a digest per other table.

It is computed when an epoch closes, over what was touched since the close before; docs/records.md,
"State root". Hashing in trees is that of RFC 6962; missing leaves of the padded tree are 32 zero
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct

from chain import cbor
from chain.draws import digest
from chain.state import State, Touched
from chain.store.tables import TABLES, Table, get_scalars

_EMPTY = bytes(32)
_LENGTHS = Struct(">HI")


class SlotTree:
    """A padded Merkle tree over numbered slots that can change one at a time."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]

    def update(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Put entries into their slots, ascending, and hash every node above them once.

        IndexError for a slot that leaves one before it free.
        """
        leaves, changed = self.levels[0], list[int]()
        for slot, entry in entries:
            node = sha256(b"\x00" + entry).digest()
            if slot == len(leaves):
                leaves.append(node)
            else:
                leaves[slot] = node
            changed.append(slot)
        level = 0
        while len(self.levels[level]) > 1:
            changed = self._hash_parents(level, changed)
            level += 1

    def _hash_parents(self, level: int, changed: list[int]) -> list[int]:
        """Hash again what is above some nodes of a level; where that is, ascending."""
        if level + 1 == len(self.levels):
            self.levels.append([])
            changed = list(range(len(self.levels[level])))  # a new level has none of its nodes yet
        nodes, parents = self.levels[level], self.levels[level + 1]
        above = list(dict.fromkeys(slot >> 1 for slot in changed))
        for parent in above:
            node = _node(nodes, parent)
            if parent == len(parents):
                parents.append(node)
            else:
                parents[parent] = node
        return above

    def root(self) -> bytes:
        """The root over all slots; zeros for none."""
        return self.levels[-1][0] if self.levels[0] else _EMPTY

    def __len__(self) -> int:
        return len(self.levels[0])


def _node(nodes: list[bytes], parent: int) -> bytes:
    left = nodes[2 * parent]
    right = nodes[2 * parent + 1] if 2 * parent + 1 < len(nodes) else _EMPTY
    return sha256(b"\x01" + left + right).digest()


def encode_entry(key: bytes, packed: bytes) -> bytes:
    """A packed key and row as one string that tells where the one ends."""
    return _LENGTHS.pack(len(key), len(packed)) + key + packed


def compute_digest(state: State, table: Table) -> bytes:
    """The hash of a whole table, row by row in the order of packed keys."""
    pack = _LENGTHS.pack
    entries = [pack(len(key), len(row)) + key + row for key, row in table.pack_all(state)]
    return sha256(b"".join(entries)).digest()


class StateRoot:
    """Keeps the root of one state up to date; the first update computes it from nothing."""

    def __init__(self) -> None:
        self._trees: dict[str, SlotTree] = {}
        self._digests: dict[str, bytes] = {}

    def update(self, state: State, touched: Touched) -> bytes:
        """The root after hashing again what was touched since the last call."""
        for name, table in TABLES.items():
            if table.rooted:
                self._update_table(state, table, touched.get(name, ()))
        return self._root(state)

    def _update_table(self, state: State, table: Table, touched: Iterable[object]) -> None:
        if not table.tree:
            if table.sparse and not table.count(state):
                self._digests.pop(table.name, None)
            elif touched or table.name not in self._digests:
                self._digests[table.name] = compute_digest(state, table)
            return
        if table.name not in self._trees:
            self._trees[table.name], touched = SlotTree(), table.keys(state)
        tree = self._trees[table.name]
        slots = sorted((table.slot(state, key), key) for key in touched)
        pack_key, pack_row = table.key.pack, table.pack_row
        tree.update(
            (slot, encode_entry(pack_key(key), pack_row(state, key) or b"")) for slot, key in slots
        )

    def _root(self, state: State) -> bytes:
        trees = [(name, len(tree), tree.root()) for name, tree in sorted(self._trees.items())]
        scalars = sorted(get_scalars(state).items())
        return digest("state", cbor.encode((scalars, trees, sorted(self._digests.items()))))


def compute_state_root(state: State) -> bytes:
    """The root of a whole state, from nothing; `StateRoot` gives the same, faster."""
    return StateRoot().update(state, {})
