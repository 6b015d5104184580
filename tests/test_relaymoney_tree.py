"""The sum tree of a claim: RFC 6962's shape, sums that add up, paths that can't be bent."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import bits, draws
from chain.claims.builder import MAX_ENTRIES_BYTES, ClaimBook, Leaf, take_leaves
from chain.claims.tree import NODE_BYTES, ClaimTree, Root, compute_root, join_nodes, leaf_node
from chain.packed import Entry, pack_entries
from chain.records import Receipt
from chain.rules.claims import compute_drawn

nodes = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 1 << 56)).map(
        lambda pair: pair[0] + pair[1].to_bytes(8, "big")
    ),
    min_size=1,
    max_size=40,
)


def reference(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, by its own words: split at the largest power of two below the size."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return join_nodes(reference(leaves[:split]), reference(leaves[split:]))


@given(nodes)
def test_every_leaf_leads_to_the_root_of_the_rfc_and_its_sum(leaves: list[bytes]) -> None:
    tree = ClaimTree(leaves)
    root = tree.root()
    assert root.hash + root.total_ucr.to_bytes(8, "big") == reference(leaves)
    assert root.total_ucr == sum(int.from_bytes(leaf[32:], "big") for leaf in leaves)
    for position, leaf in enumerate(leaves):
        assert compute_root(position, len(leaves), leaf, tree.path(position)) == root


@given(nodes.filter(lambda leaves: len(set(leaves)) == len(leaves)), st.data())
def test_nothing_but_the_path_of_a_leaf_leads_to_the_root(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = ClaimTree(leaves)
    at = data.draw(st.integers(0, len(leaves) - 1))
    path, root = tree.path(at), tree.root()
    bent = bytearray(leaves[at] + path)
    place = data.draw(st.integers(0, len(bent) - 1))
    bent[place] ^= 1 << data.draw(st.integers(0, 7))
    assert compute_root(at, len(leaves), bytes(bent[:40]), bytes(bent[40:])) != root
    assert compute_root(at, len(leaves), leaves[at], path + bytes(40)) is None
    if path:
        assert compute_root(at, len(leaves), leaves[at], path[:-40]) is None
        assert compute_root(at, len(leaves), leaves[at], path[:-1]) is None
        assert compute_root(at ^ 1, len(leaves), leaves[at], path) != root
    assert compute_root(len(leaves), len(leaves), leaves[at], path) is None


def test_sums_beyond_64_bits_lead_nowhere() -> None:
    big = bytes(32) + b"\xff" * 8
    assert compute_root(0, 2, big, big) is None
    with pytest.raises(OverflowError):
        ClaimTree([big, big])


def test_a_tree_needs_a_leaf_and_a_path_a_place() -> None:
    with pytest.raises(ValueError, match="needs a leaf"):
        ClaimTree([])
    with pytest.raises(IndexError):
        ClaimTree([bytes(NODE_BYTES)]).path(1)


def make(session: int, due: int = 5, growth: int = 3) -> Leaf:
    receipt = Receipt(session, 1, growth, 0, 0, bytes(32), bytes(64), bytes(64))
    return Leaf(Entry(session, 1, growth, 0, 0), receipt, due)


def test_a_book_refuses_two_leaves_of_one_session() -> None:
    with pytest.raises(ValueError, match="one session"):
        ClaimBook([make(1), make(1, 6)])


def test_what_does_not_fit_into_one_record_waits_for_the_next() -> None:
    leaves = [make(s * 200, growth=1 << 26) for s in range(10_000)]
    taken = take_leaves(reversed(leaves))
    packed = pack_entries(leaf.entry for leaf in taken)
    assert taken == leaves[: len(taken)]
    assert MAX_ENTRIES_BYTES - 20 < len(packed) <= MAX_ENTRIES_BYTES
    assert len(taken) < len(leaves)


@given(
    st.lists(st.integers(0, 1 << 40), min_size=1, max_size=50).filter(any), st.binary(max_size=9)
)
def test_points_draw_the_leaves_that_hold_them(dues: list[int], mix: bytes) -> None:
    """By a loop instead of a bisection; leaves without a due are never drawn."""
    drawn = set(bits.members(compute_drawn(mix, 3, dues, 30)))
    ends = list(accumulate(dues))
    expected = set()
    for k in range(30):
        point = draws.open_point(mix, 3, k) % ends[-1]
        expected.add(next(i for i, end in enumerate(ends) if point < end))
    assert drawn == expected
    assert all(dues[i] for i in drawn)


def test_a_leaf_is_drawn_by_its_value_and_not_by_its_number() -> None:
    """One leaf of 500 holds half of the value: 30 points never miss it (2^-30)."""
    dues = [499] + [1] * 499
    hits = [bits.has(compute_drawn(b"%d" % n, 0, dues, 30), 0) for n in range(200)]
    assert all(hits)


def test_the_leaf_holds_every_field() -> None:
    entry = Entry(1, 2, 3, 4, 5)
    base = leaf_node(entry, bytes(32), 6)
    changed = [leaf_node(entry._replace(**{f: 9}), bytes(32), 6) for f in Entry._fields]
    changed += [leaf_node(entry, b"\1" * 32, 6), leaf_node(entry, bytes(32), 7)]
    assert len({base, *changed}) == 1 + len(changed)
    assert Root(base[:32], 6) == compute_root(0, 1, base, b"")
