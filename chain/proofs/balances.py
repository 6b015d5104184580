"""The balance tree of a settlement: accounts, hotspots and what is held (docs/records.md).

A tree is also a set of files that a dumb host can serve. Per settlement: `top` (sizes, roots and
what is held); for `accounts` and `hotspots` level 0 with 256 leaves a file (key, issued, spent; 64
bytes each) and levels 1, 2, ... with 256 nodes a file, each the root of a file below. Numbers in
paths are those of c2sp.org/tlog-tiles; a settlement never changes, so no name tells of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain import cbor
from chain.proofs.checkpoint import Balances
from chain.proofs.sum_tree import (
    NODE_BYTES,
    SumTree,
    account_node,
    account_nodes,
    decode_node,
    held_node,
    hotspot_node,
    hotspot_nodes,
    parent_node,
    path_places,
)
from chain.proofs.tiles import TILE_HEIGHT, TILE_WIDTH, number_path

ACCOUNTS, HOTSPOTS = "accounts", "hotspots"
HELD_NAMES = ("bonds", "bounties", "escrow", "holds", "mappers", "pools")
# Has a leaf only while it holds something: trees of before it keep their root.
SPARSE_NAMES = frozenset({"holds"})
KEY_BYTES = 32
ENTRY_BYTES = 64
Fetch = Callable[[str], bytes]


class BalanceTree:
    """All balances of one settlement; `held` has an amount in ucr for each of HELD_NAMES."""

    def __init__(
        self,
        settlement: int,
        accounts: Iterable[tuple[bytes, int, int]],
        hotspots: Iterable[tuple[bytes, int]],
        held: Mapping[str, int],
    ) -> None:
        rows, spots = list(accounts), list(hotspots)
        self.settlement = settlement
        amounts = ((name, held.get(name, 0)) for name in HELD_NAMES)
        self.held = tuple(pair for pair in amounts if pair[1] or pair[0] not in SPARSE_NAMES)
        self.keys = {
            ACCOUNTS: b"".join([key for key, _, _ in rows]),
            HOTSPOTS: b"".join([key for key, _ in spots]),
        }
        self.trees = {
            ACCOUNTS: SumTree(account_nodes(rows)),
            HOTSPOTS: SumTree(hotspot_nodes(spots)),
        }

    def top(self) -> Top:
        """What a proof ends in."""
        trees = self.trees
        return Top(
            *(len(trees[ACCOUNTS]), trees[ACCOUNTS].root()),
            *(len(trees[HOTSPOTS]), trees[HOTSPOTS].root()),
            self.held,
        )

    def balances(self) -> Balances:
        """What a checkpoint says of it."""
        root = decode_node(self.top().root())
        return Balances(self.settlement, root.hash, root.issued_ucr, root.spent_ucr)

    def key(self, kind: str, index: int) -> bytes:
        """The key of a leaf."""
        return self.keys[kind][KEY_BYTES * index : KEY_BYTES * (index + 1)]

    def path(self, kind: str, index: int) -> list[bytes]:
        """Siblings from a leaf up to the root of its tree."""
        return self.trees[kind].path(index)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of every file, `top` last: who finds it finds all others."""
        prefix = f"balances/{self.settlement}"
        for kind, tree in self.trees.items():
            for number in range(-(-len(tree) // TILE_WIDTH)):
                yield f"{prefix}/{kind}/0/{number_path(number)}", self._entries(kind, number)
            for tile in range(1, -(-(len(tree.levels) - 1) // TILE_HEIGHT)):
                level = tree.levels[tile * TILE_HEIGHT]
                for number in range(-(-len(level) // (TILE_WIDTH * NODE_BYTES))):
                    start = number * TILE_WIDTH * NODE_BYTES
                    nodes = bytes(level[start : start + TILE_WIDTH * NODE_BYTES])
                    yield f"{prefix}/{kind}/{tile}/{number_path(number)}", nodes
        yield f"{prefix}/top", self.top().encode()

    def _entries(self, kind: str, number: int) -> bytes:
        nodes = self.trees[kind].levels[0]
        first = number * TILE_WIDTH
        count = min(TILE_WIDTH, len(self.trees[kind]) - first)
        return b"".join(
            self.key(kind, index) + nodes[NODE_BYTES * index + KEY_BYTES : NODE_BYTES * (index + 1)]
            for index in range(first, first + count)
        )


@dataclass(frozen=True, slots=True)
class Top:
    """Sizes and roots (nodes of 64 bytes) of both trees, and what is held, in ucr by name."""

    accounts: int
    accounts_root: bytes
    hotspots: int
    hotspots_root: bytes
    held: tuple[tuple[str, int], ...]

    def held_root(self) -> bytes:
        """The node over what nobody's account holds."""
        return SumTree(held_node(name, ucr) for name, ucr in self.held).root()

    def root(self) -> bytes:
        """The node over everything: its difference of sums is the supply."""
        both = parent_node(self.accounts_root, self.hotspots_root)
        return parent_node(both, self.held_root())

    def size(self, kind: str) -> int:
        """Leaves of a tree."""
        return self.accounts if kind == ACCOUNTS else self.hotspots

    def encode(self) -> bytes:
        """The file `top`: amounts are byte strings of 16, since they may pass 64 bits."""
        held = [(name, ucr.to_bytes(16, "big")) for name, ucr in self.held]
        fields = (self.accounts, self.accounts_root, self.hotspots, self.hotspots_root, held)
        return cbor.encode(fields)


def decode_top(raw: bytes) -> Top | None:
    """A `top` from its bytes; None for anything else."""
    try:
        match cbor.decode(raw):
            case (int() as n, bytes() as a, int() as m, bytes() as h, tuple() as held):
                pass
            case _:
                return None
    except cbor.CborError:
        return None
    pairs = [pair for pair in held if isinstance(pair, tuple) and len(pair) == 2]
    names = tuple(
        (name, int.from_bytes(ucr, "big"))
        for name, ucr in pairs
        if isinstance(name, str) and isinstance(ucr, bytes) and len(ucr) == 16
    )
    whole = len(names) == len(held) and len(a) == len(h) == NODE_BYTES and n >= 0 and m >= 0
    return Top(n, a, m, h, names) if whole else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A leaf of the balance tree as its file holds it; a hotspot's `spent` is its `issued`."""

    key: bytes
    issued_ucr: int
    spent_ucr: int


def needed_files(settlement: int, kind: str, index: int, size: int) -> list[str]:
    """Files that hold a leaf and its path, lowest first; all are known before any is read."""
    paths, level = [], 0
    while True:
        index >>= TILE_HEIGHT
        paths.append(f"balances/{settlement}/{kind}/{level}/{number_path(index)}")
        size = -(-size // TILE_WIDTH)
        if size <= 1:
            return paths
        level += 1


def read_leaf(
    settlement: int, kind: str, index: int, size: int, fetch: Fetch
) -> tuple[Entry, list[bytes]] | None:
    """A leaf and its path from files; None where the files don't have the right form.

    `fetch` returns a file's bytes or raises. Nothing here is verified: a proof made of it is.
    """
    files = [fetch(path) for path in needed_files(settlement, kind, index, size)]
    if any(not file or len(file) % NODE_BYTES for file in files):
        return None
    trees = [SumTree([_leaves_of(kind, index, files[0])]), *(SumTree([raw]) for raw in files[1:])]
    path = []
    try:
        for level, at in path_places(index, size):
            tile, height = divmod(level, TILE_HEIGHT)
            path.append(trees[tile].node(height, at & (TILE_WIDTH >> height) - 1))
    except IndexError:
        return None
    at = (index % TILE_WIDTH) * ENTRY_BYTES
    key, sums = files[0][at : at + KEY_BYTES], decode_entry_sums(files[0][at : at + ENTRY_BYTES])
    return None if sums is None else (Entry(key, *sums), path)


def decode_entry_sums(raw: bytes) -> tuple[int, int] | None:
    """Issued and spent of an entry of 64 bytes; None for another length."""
    if len(raw) != ENTRY_BYTES:
        return None
    return int.from_bytes(raw[32:48], "big"), int.from_bytes(raw[48:], "big")


def _leaves_of(kind: str, index: int, file: bytes) -> bytes:
    """The nodes of a file of entries."""
    first = index // TILE_WIDTH * TILE_WIDTH
    nodes = []
    for number, start in enumerate(range(0, len(file), ENTRY_BYTES)):
        entry = file[start : start + ENTRY_BYTES]
        issued, spent = decode_entry_sums(entry) or (0, 0)
        key = entry[:KEY_BYTES]
        is_account = kind == ACCOUNTS
        node = account_node(key, issued, spent)
        nodes.append(node if is_account else hotspot_node(key, first + number, issued))
    return b"".join(nodes)


def combine(kind: str, root: bytes, others: Sequence[bytes]) -> bytes | None:
    """The root over everything from one tree's root, the other tree's and the held node."""
    if len(others) != 2:
        return None
    left, right = (root, others[0]) if kind == ACCOUNTS else (others[0], root)
    try:
        return parent_node(parent_node(left, right), others[1])
    except OverflowError:
        return None


# --- finding a key --------------------------------------------------------------------------------
#
# Files `keys/<prefix>` list keys that begin with those hexadecimal digits, and where their leaves
# are: key, kind (a, h), number u32. There are as many digits as keep a file near 256 keys. Nobody
# need trust them: a leaf holds its key.

LISTED_BYTES = KEY_BYTES + 5
_LETTERS = {ACCOUNTS: b"a", HOTSPOTS: b"h"}


def prefix_digits(top: Top) -> int:
    """How many digits the names of files with keys have."""
    count, digits = top.accounts + top.hotspots, 1
    while count > TILE_WIDTH << 4 * digits:
        digits += 1
    return digits


def keys_path(top: Top, settlement: int, key: bytes) -> str:
    """The file that lists a key, if anything does."""
    return f"balances/{settlement}/keys/{key.hex()[: prefix_digits(top)]}"


def encode_listed(kind: str, key: bytes, index: int) -> bytes:
    """One line of such a file."""
    return key + _LETTERS[kind] + index.to_bytes(4, "big")


def find_listed(raw: bytes, kind: str, key: bytes) -> int | None:
    """The number of a key's leaf in the file that lists it; None if it isn't there."""
    wanted = key + _LETTERS[kind]
    for start in range(0, len(raw) - LISTED_BYTES + 1, LISTED_BYTES):
        if raw[start : start + KEY_BYTES + 1] == wanted:
            return int.from_bytes(raw[start + KEY_BYTES + 1 : start + LISTED_BYTES], "big")
    return None
