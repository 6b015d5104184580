"""Boosters as a small table that a router walks: standard library only, equal to LightGBM's bits.

A tree of a LightGBM text model (docs: "Tree structure" of its model format) becomes arrays of its
inner nodes and leaves. A node sends a row left when row[feature] <= threshold; where the value is
missing (NaN) the node says itself which way, because LightGBM decides that per node: by the
direction it learned, or, where training saw no NaN, as if the value were zero. Leaf values are
added in the order of the trees in double precision, which is LightGBM's own order, so sums agree to
the last bit.

    file        bytes                           content
    magic       4                               "WCT1"
    header      u32 trees, u16 features         little-endian, as all numbers below
    per tree    u8 inner nodes n
                n x (f64, u8, u8, i16, i16)     threshold, feature, NaN goes left, left, right
                (n + 1) x f64                   leaf values; a child < 0 is leaf ~child
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from chain.errors import UserError

_MAGIC = b"WCT1"
_HEAD = struct.Struct("<4sIH")
_NODE = struct.Struct("<dBBhh")
_MAX_NODES = 255
_MAX_FEATURES = 256
# LightGBM's decision_type, a bit set: categorical, default left, then two bits of missing type.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_ZERO, _MISSING_NAN = 1, 2
# A walkable node is (feature, threshold, NaN goes left, left, right), a leaf its value.
Walk = Any


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: `nodes` hold (threshold, feature, NaN goes left, left, right), `leaves` values."""

    nodes: tuple[tuple[float, int, int, int, int], ...]
    leaves: tuple[float, ...]


class TreeTable:
    """A booster without LightGBM: `predict(row)` for one row of `features` numbers."""

    def __init__(self, trees: Sequence[Tree], features: int) -> None:
        self.trees = tuple(trees)
        self.features = features
        self._walks = [_walkable(tree) for tree in self.trees]

    def predict(self, row: Sequence[float]) -> float:
        """Return the booster's raw output; ValueError if the row has another length."""
        if len(row) != self.features:
            raise ValueError(f"row: {len(row)} numbers; give {self.features}")
        total = 0.0
        for node in self._walks:
            while node.__class__ is tuple:
                feature, threshold, nan_left, left, right = node
                value = row[feature]
                if value <= threshold:
                    node = left
                elif value > threshold or not nan_left:
                    node = right
                else:
                    node = left
            total += node
        return total

    def to_bytes(self) -> bytes:
        """Return the table's file; equal tables give equal bytes."""
        parts = [_HEAD.pack(_MAGIC, len(self.trees), self.features)]
        for tree in self.trees:
            parts.append(bytes([len(tree.nodes)]))
            parts += [_NODE.pack(*node) for node in tree.nodes]
            parts.append(struct.pack(f"<{len(tree.leaves)}d", *tree.leaves))
        return b"".join(parts)


def _walkable(tree: Tree) -> Walk:
    """Return nested nodes; LightGBM numbers children after their parents, so backwards is safe."""
    done: dict[int, Walk] = {~leaf: value for leaf, value in enumerate(tree.leaves)}
    for index in range(len(tree.nodes) - 1, -1, -1):
        threshold, feature, nan_left, left, right = tree.nodes[index]
        done[index] = (feature, threshold, nan_left, done[left], done[right])
    return done[0] if tree.nodes else tree.leaves[0]


def table_of_booster(text: str) -> TreeTable:
    """Compile LightGBM's text of a booster; UserError for what a table can't hold."""
    head, *blocks = text.split("end of trees", 1)[0].split("\nTree=")
    fields = _fields(head)
    if "max_feature_idx" not in fields or not blocks:
        raise _unfit("not a LightGBM text model")
    features = int(fields["max_feature_idx"]) + 1
    if features > _MAX_FEATURES:
        raise _unfit(f"more than {_MAX_FEATURES} features")
    if fields.get("num_tree_per_iteration", "1") != "1" or "average_output" in head:
        raise _unfit("more than one output, or averaged trees")
    return TreeTable([_tree(_fields(block), features) for block in blocks], features)


def _unfit(problem: str) -> UserError:
    return UserError("booster", problem, "train it with wavecomb routing train")


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def _tree(fields: dict[str, str], features: int) -> Tree:
    try:
        leaves = tuple(float(value) for value in fields["leaf_value"].split())
        if int(fields["num_leaves"]) == 1:
            return _checked(Tree((), leaves), features)
        if fields["num_cat"] != "0" or fields.get("is_linear", "0") != "0":
            raise _unfit("categorical splits or linear leaves")
        columns = zip(
            (float(value) for value in fields["threshold"].split()),
            *(_ints(fields, key) for key in ("split_feature", "decision_type")),
            *(_ints(fields, key) for key in ("left_child", "right_child")),
            strict=True,
        )
        nodes = tuple((t, f, _nan_left(kind, t), x, y) for t, f, kind, x, y in columns)
    except (KeyError, ValueError):
        raise _unfit("a tree that can't be read") from None
    return _checked(Tree(nodes, leaves), features)


def _ints(fields: dict[str, str], key: str) -> list[int]:
    return [int(value) for value in fields[key].split()]


def _nan_left(kind: int, threshold: float) -> int:
    missing = kind >> 2 & 3
    if kind & _CATEGORICAL or missing == _MISSING_ZERO:
        raise _unfit("a split by category or one that takes zero for missing")
    if missing == _MISSING_NAN:
        return int(bool(kind & _DEFAULT_LEFT))
    return int(threshold >= 0.0)


def _checked(tree: Tree, features: int) -> Tree:
    """Return the tree if every node is sound: a child once and after its parent, no odd number."""
    count = len(tree.nodes)
    children = sorted(child for node in tree.nodes for child in node[3:])
    expected = sorted([*range(1, count), *(~leaf for leaf in range(count + 1))]) if count else []
    late = all(not 0 <= c <= i for i, node in enumerate(tree.nodes) for c in node[3:])
    known = all(0 <= node[1] < features and node[2] in (0, 1) for node in tree.nodes)
    numbers = all(isfinite(x) for x in (*tree.leaves, *(node[0] for node in tree.nodes)))
    sized = len(tree.leaves) == count + 1 and count <= _MAX_NODES
    if not (children == expected and late and known and numbers and sized):
        raise _unfit("a tree that contradicts itself")
    return tree


def table_from_bytes(blob: bytes) -> TreeTable:
    """Read `to_bytes`; UserError unless it is whole, sound and nothing follows."""
    try:
        magic, count, features = _HEAD.unpack_from(blob)
        if magic != _MAGIC or count > len(blob) or not 0 < features <= _MAX_FEATURES:
            raise _unfit("not a table of trees")
        trees: list[Tree] = []
        at = _HEAD.size
        for _ in range(count):
            tree, at = _read_tree(blob, at)
            trees.append(_checked(tree, features))
    except (struct.error, IndexError):
        raise _unfit("a table that ends too early") from None
    if at != len(blob):
        raise _unfit("bytes after the table's end")
    return TreeTable(trees, features)


def _read_tree(blob: bytes, at: int) -> tuple[Tree, int]:
    count = blob[at]
    end = at + 1 + count * _NODE.size
    nodes = tuple(_NODE.unpack_from(blob, start) for start in range(at + 1, end, _NODE.size))
    leaves = struct.unpack_from(f"<{count + 1}d", blob, end)
    return Tree(nodes, leaves), end + 8 * (count + 1)
