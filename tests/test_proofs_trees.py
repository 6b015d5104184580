from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest
from chain_helpers import Town
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs_helpers import HELD, key_of, make_log, make_tree

from chain.proofs.balances import (
    ACCOUNTS,
    HOTSPOTS,
    BalanceTree,
    decode_top,
    needed_files,
    read_leaf,
)
from chain.proofs.log import ProofError, verify_inclusion
from chain.proofs.sum_tree import (
    EMPTY_NODE,
    SUM_LIMIT,
    SumTree,
    account_node,
    climb,
    decode_node,
    hotspot_node,
    parent_node,
    path_places,
)
from chain.proofs.tiles import (
    PlaceFinder,
    Tile,
    TileLog,
    decode_bundle,
    encode_bundle,
    hash_tile,
    new_tiles,
    number_path,
    parse_tile_path,
)
from chain.rules.settled import compute_balance_tree, get_balances
from chain.state import compute_holdings

sums = st.integers(0, 1 << 40) | st.integers(0, 1 << 100)
rows = st.lists(st.tuples(sums, sums), max_size=70)


def u128(number: int) -> bytes:
    return number.to_bytes(16, "big")


def naive(leaves: list[tuple[bytes, int, int]]) -> tuple[bytes, int, int]:
    """docs/records.md, Balance tree, with the shape of RFC 6962, 2.1, as they are written."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = naive(leaves[:split]), naive(leaves[split:])
    both = b"".join(node + u128(issued) + u128(spent) for node, issued, spent in (left, right))
    return sha256(b"\x01" + both).digest(), left[1] + right[1], left[2] + right[2]


def leaf(number: int, issued: int, spent: int) -> tuple[bytes, int, int]:
    key = key_of("account", number)
    return sha256(b"\x00a" + key + u128(issued) + u128(spent)).digest(), issued, spent


def nodes_of(amounts: list[tuple[int, int]]) -> list[bytes]:
    return [account_node(key_of("account", i), *row) for i, row in enumerate(amounts)]


@given(rows)
@settings(max_examples=60)
def test_the_tree_is_the_one_of_the_page(amounts: list[tuple[int, int]]) -> None:
    tree = SumTree(nodes_of(amounts))
    if not amounts:
        assert tree.root() == EMPTY_NODE
        return
    root = decode_node(tree.root())
    expected = naive([leaf(i, *row) for i, row in enumerate(amounts)])
    assert (root.hash, root.issued_ucr, root.spent_ucr) == expected
    assert root.encode() == tree.root()


@given(rows.filter(bool), st.data())
@settings(max_examples=60)
def test_changing_and_adding_leaves_gives_the_tree_made_anew(
    amounts: list[tuple[int, int]], data: st.DataObject
) -> None:
    tree = SumTree(nodes_of(amounts))
    places = data.draw(st.sets(st.integers(0, len(amounts) - 1), max_size=9))
    added = data.draw(st.integers(0, 9))
    changed = [(i, (7, 5)) for i in places] + [(len(amounts) + i, (9, 1)) for i in range(added)]
    new = [*amounts, *[(0, 0)] * added]
    for at, row in changed:
        new[at] = row
    tree.set([(at, account_node(key_of("account", at), *row)) for at, row in changed])
    fresh = SumTree(nodes_of(new))
    assert tree.root() == fresh.root()
    assert [bytes(level) for level in tree.levels] == [bytes(level) for level in fresh.levels]


def test_leaves_beyond_the_end_are_refused() -> None:
    tree = SumTree(nodes_of([(1, 1)]))
    with pytest.raises(IndexError):
        tree.set([(2, EMPTY_NODE)])
    with pytest.raises(IndexError):
        tree.path(1)
    with pytest.raises(ValueError, match="64"):
        SumTree([b"short"])


@given(rows.filter(bool), st.data())
@settings(max_examples=60)
def test_a_path_leads_to_the_root_and_no_other_does(
    amounts: list[tuple[int, int]], data: st.DataObject
) -> None:
    tree, size = SumTree(nodes_of(amounts)), len(amounts)
    index = data.draw(st.integers(0, size - 1))
    own, path = tree.node(0, index), tree.path(index)
    assert climb(index, size, own, path) == tree.root()
    assert climb(index, size, own, [*path, own]) is None
    assert climb(size, size, own, path) is None
    if path:
        assert climb(index, size, own, path[:-1]) is None
        at = data.draw(st.integers(0, len(path) - 1))
        byte = data.draw(st.integers(0, 63))
        bad = bytearray(path[at])
        bad[byte] ^= 1
        assert climb(index, size, own, [*path[:at], bytes(bad), *path[at + 1 :]]) != tree.root()


def test_a_path_that_adds_up_beyond_the_limit_leads_nowhere() -> None:
    full = bytes(32) + u128(SUM_LIMIT - 1) + u128(0)
    assert climb(0, 2, account_node(bytes(32), 1, 0), [full]) is None
    with pytest.raises(OverflowError):
        parent_node(full, full)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 65_536, 65_537, 70_000])
def test_paths_have_the_length_of_the_tree(size: int) -> None:
    assert max(len(path_places(i, size)) for i in (0, size - 1)) == (size - 1).bit_length()


# --- all balances of a settlement -----------------------------------------------------------------


@given(st.integers(0, 600), st.integers(0, 600), st.data())
@settings(max_examples=25, deadline=None)
def test_files_of_a_dumb_host_hold_every_leaf_and_its_path(
    accounts: int, hotspots: int, data: st.DataObject
) -> None:
    tree = make_tree(accounts, hotspots)
    files = dict(tree.files())
    top = decode_top(files["balances/3/top"])
    assert top == tree.top()
    assert len(files) == len(set(files))
    for kind in (ACCOUNTS, HOTSPOTS):
        size = top.size(kind)
        if not size:
            continue
        index = data.draw(st.integers(0, size - 1))
        paths = needed_files(3, kind, index, size)
        assert set(paths) <= set(files)
        found = read_leaf(3, kind, index, size, files.__getitem__)
        assert found is not None
        entry, path = found
        assert path == tree.path(kind, index)
        assert entry.key == tree.key(kind, index)
        assert read_leaf(3, kind, index, size, lambda _: b"x" * 64) is None or size <= 1


def test_the_root_says_the_supply() -> None:
    tree = make_tree(50, 70)
    balances = tree.balances()
    accounts = sum(1_000_000 * i**2 + 3 - 7_919 * i for i in range(50))
    assert balances.supply_ucr == accounts + sum(HELD.values())
    assert balances.settlement == 3


def test_trees_without_anybody_have_a_root() -> None:
    tree = BalanceTree(0, [], [], {})
    assert tree.balances().supply_ucr == 0
    assert dict(tree.files()).keys() == {"balances/0/top"}


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x85\x00\x40\x00\x40\x80", b"\xff"])
def test_tops_of_another_form_are_refused(raw: bytes) -> None:
    assert decode_top(raw) is None


def test_a_hotspots_leaf_says_its_earnings_twice() -> None:
    node = decode_node(hotspot_node(key_of("hotspot", 1), 1, 1 << 90))
    assert (node.issued_ucr, node.spent_ucr) == (1 << 90, 1 << 90)
    assert hotspot_node(key_of("hotspot", 1), 1, 5) != hotspot_node(key_of("hotspot", 1), 2, 5)


def test_the_ledger_fixes_balances_at_every_settlement_and_their_sum_is_the_supply() -> None:
    trees = []
    town = Town(on_block=lambda sealed: trees.extend(sealed.effects.balance_trees))
    town.join()
    town.run(2, 14)
    state = town.ledger.state
    assert [tree.settlement for tree in trees] == [1, 2]
    assert get_balances(state) == trees[-1].balances()
    supply = state.supply
    left = supply.destroyed + supply.withdrawn
    minted_since = state.supply.minted  # nothing is minted between settlements
    assert get_balances(state).supply_ucr == supply.deposited + minted_since - left
    now = compute_balance_tree(state).balances()
    assert now.supply_ucr == sum(compute_holdings(state).values())
    earned = {hotspot.key: hotspot.earned_ucr for hotspot in state.hotspots}
    assert any(earned.values())


# --- tiles ----------------------------------------------------------------------------------------


def test_numbers_in_paths_are_those_of_the_specification() -> None:
    assert number_path(1_234_067) == "x001/x234/067"
    assert number_path(0) == "000"
    assert Tile(2, 5, 17).path == "tile/2/005.p/17"
    assert Tile(None, 273).path == "tile/entries/273"


def test_a_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    tiles = list(new_tiles(70_000))
    counts = {
        (level, tile.width) for level in range(3) for tile in tiles if tile.level == level
    }
    assert counts == {(0, 256), (0, 112), (1, 256), (1, 17), (2, 1)}
    assert sum(tile.level == 0 and tile.width == 256 for tile in tiles) == 273
    assert list(new_tiles(256)) == [Tile(0, 0), Tile(1, 0, 1)]


@given(st.integers(0, 1 << 40), st.integers(1, 256), st.none() | st.integers(0, 63))
def test_every_path_names_its_tile(number: int, width: int, level: int | None) -> None:
    tile = Tile(level, number, width)
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        *("tile/0/0", "tile/0/1000", "tile/00/000", "tile/64/000", "tile/0/x000/000", "tile/0/x01"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/x/000", "tile/0/000/"),
        *("../tile/0/000", "tile/0/000.p", "tile/entries/000.p/300", "tile/0/\u0661\u0662\u0663"),
    ],
)
def test_other_paths_name_nothing(path: str) -> None:
    assert parse_tile_path(path) is None


@given(st.integers(0, 70_000), st.integers(0, 70_000))
@settings(max_examples=60)
def test_growing_needs_exactly_the_tiles_that_are_new(one: int, other: int) -> None:
    old, new = sorted((one, other))
    had, has = set(new_tiles(old)), set(new_tiles(new))
    assert set(new_tiles(new, old)) == has - had


BIG = make_log([b"%d" % i for i in range(66_000)])


@given(st.integers(1, 66_000), st.data())
@settings(max_examples=40, deadline=None)
def test_proofs_from_tiles_are_those_of_the_log(size: int, data: st.DataObject) -> None:
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    tiles = {tile.path: hash_tile(tile, BIG) for tile in new_tiles(size)}
    fetched: list[str] = []

    def fetch(path: str) -> bytes | None:
        fetched.append(path)
        return tiles.get(path)

    log = TileLog(size, fetch)
    assert log.inclusion_proof(index, size) == BIG.inclusion_proof(index, size)
    assert log.consistency_proof(old, size) == BIG.consistency_proof(old, size)
    assert log.root() == BIG.root(size)
    assert len(fetched) == len(set(fetched)) <= 16
    finder = PlaceFinder(size)
    finder.inclusion_proof(index, size)
    finder.consistency_proof(old, size)
    finder.root()
    assert {tile.path for tile in finder.tiles} == set(fetched)


def test_a_partial_tile_is_read_from_the_full_one_that_replaced_it() -> None:
    full = {Tile(0, 0).path: hash_tile(Tile(0, 0), BIG)}
    log = TileLog(200, full.get)
    assert log.root() == BIG.root(200)
    with pytest.raises(IndexError):
        TileLog(300, full.get).root()
    with pytest.raises(IndexError):
        TileLog(200, lambda _: b"short").root()


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_hold_records_as_they_are(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


@pytest.mark.parametrize("raw", [b"\x00", b"\x00\x05abc", b"\x00\x00" * 257])
def test_torn_bundles_are_refused(raw: bytes) -> None:
    assert not isinstance(decode_bundle(raw), list)


def test_transparency_dev_subtree_inclusion_vectors(ground_truth: Path) -> None:
    """A subtree's place is a multiple of the power of two that holds it; inside it is a tree."""
    folder = ground_truth / "chain/merkle/testdata/subtreeinclusion"
    cases = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]
    assert len(cases) == 204
    for case in cases:
        start, size = case["start"], case["end"] - case["start"]
        holds = size > 0 and start % (1 << (size - 1).bit_length()) == 0
        texts = (case["leafHash"], case["root"], *(case["proof"] or []))
        leaf, root, *path = (b64decode(text or "") for text in texts)
        try:
            verify_inclusion(case["leafIdx"] - start, size, leaf, path, root)
        except ProofError:
            holds = False
        assert holds is not case["wantErr"], case["desc"]
