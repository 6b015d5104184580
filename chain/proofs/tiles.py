"""Tiles of the log (c2sp.org/tlog-tiles): 256 hashes or 256 records a file, at paths of their own.

Level 0 holds leaf hashes, level 1 the roots of full tiles of level 0, and so on. What is not yet
full is served as a partial tile, `.p/<width>`, and never counts in the level above.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chain.proofs.log import HASH_BYTES, LogReader, leaf_hash, node_hash
from chain.records import Refusal

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
ENTRIES = "entries"
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place: its level (None for records), its number, and how many items it has."""

    level: int | None
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        level = ENTRIES if self.level is None else str(self.level)
        part = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{level}/{number_path(self.number)}{part}"

    @property
    def start(self) -> int:
        """The first item of its level that it holds."""
        return self.number * TILE_WIDTH


def number_path(number: int) -> str:
    """A number in groups of three digits, `x` before all but the last: 1234067 is x001/x234/067."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def parse_tile_path(path: str) -> Tile | None:
    """The tile that a path names; None for a path in any other form than `Tile.path` gives."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match[1] == ENTRIES else int(match[1])
    number = int(match[2].replace("x", "").replace("/", ""))
    tile = Tile(level, number, int(match[3] or TILE_WIDTH))
    return tile if tile.path == path and (level is None or level < 64) else None


def tiles_at(level: int | None, size: int, old: int = 0) -> Iterator[Tile]:
    """Tiles of a level that a log of `size` has and one of `old` hadn't, in order."""
    shift = TILE_HEIGHT * (level or 0)
    count, had = size >> shift, old >> shift
    for number in range(had // TILE_WIDTH, count // TILE_WIDTH):
        yield Tile(level, number)
    if count % TILE_WIDTH and count != had:
        yield Tile(level, count // TILE_WIDTH, count % TILE_WIDTH)


def new_tiles(size: int, old: int = 0) -> Iterator[Tile]:
    """All tiles of hashes that a log of `size` has and one of `old` hadn't."""
    level = 0
    while size >> TILE_HEIGHT * level:
        yield from tiles_at(level, size, old)
        level += 1


def hash_tile(tile: Tile, log: LogReader) -> bytes:
    """The bytes of a tile of hashes; IndexError where the log is too short."""
    return b"".join(log.nodes(TILE_HEIGHT * (tile.level or 0), tile.start, tile.width))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Records one after another, each behind its length in 2 bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(raw: bytes) -> list[bytes] | Refusal:
    """The records of a bundle."""
    entries, at = [], 0
    while at < len(raw):
        end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
        if at + 2 > len(raw) or end > len(raw):
            return Refusal("bad_bundle", f"byte {at}: cut short; fetch the bundle again")
        entries.append(raw[at + 2 : end])
        at = end
    if len(entries) > TILE_WIDTH:
        return Refusal("bad_bundle", f"{len(entries)} records; a bundle has {TILE_WIDTH} at most")
    return entries


def is_bundle_of(entries: Sequence[bytes], hashes: bytes) -> bool:
    """Whether records are those of a level-0 tile."""
    return b"".join(map(leaf_hash, entries)) == hashes


class TileLog(LogReader):
    """A log of `size` leaves read from tiles, each fetched once; nothing in it is trusted.

    Roots and proofs made here must be checked against a signed checkpoint. `fetch` gets a path and
    returns the tile's bytes, or None where there is none; IndexError then, and for wrong lengths.
    """

    def __init__(self, size: int, fetch: Callable[[str], bytes | None]) -> None:
        self._size = size
        self._fetch = fetch
        self._tiles: dict[Tile, list[list[bytes]]] = {}

    def __len__(self) -> int:
        return self._size

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree, hashed from the tile that holds its parts."""
        tile, height = self.place(level, index)
        if tile not in self._tiles:
            self._tiles[tile] = self._read(tile)
        return self._tiles[tile][height][index - (tile.start >> height)]

    def place(self, level: int, index: int) -> tuple[Tile, int]:
        """The tile that a node is hashed from, and its height in it.

        A complete subtree of 2^8k leaves is read at level k, where a tile holds it itself.
        """
        tile_level, height = divmod(level, TILE_HEIGHT)
        number = index << height >> TILE_HEIGHT
        count = self._size >> TILE_HEIGHT * tile_level
        return Tile(tile_level, number, min(TILE_WIDTH, count - number * TILE_WIDTH)), height

    def _read(self, tile: Tile) -> list[list[bytes]]:
        raw = self._fetch(tile.path)
        if raw is None and tile.width < TILE_WIDTH:
            raw = (self._fetch(Tile(tile.level, tile.number).path) or b"")[: tile.width * 32]
        if raw is None or len(raw) != tile.width * HASH_BYTES:
            raise IndexError(f"{tile.path} is missing or has the wrong length")
        nodes = [raw[i : i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES)]
        levels = [nodes]
        while len(nodes) > 1:
            nodes = [node_hash(*nodes[i : i + 2]) for i in range(0, len(nodes) - 1, 2)]
            levels.append(nodes)
        return levels


class PlaceFinder(LogReader):
    """Finds which tiles a proof will need without reading any: all can be fetched at once."""

    def __init__(self, size: int) -> None:
        self._log = TileLog(size, lambda _: None)
        self.tiles: dict[Tile, None] = {}

    def __len__(self) -> int:
        return len(self._log)

    def node(self, level: int, index: int) -> bytes:
        """Note the tile; the hash is a blank."""
        self.tiles[self._log.place(level, index)[0]] = None
        return bytes(HASH_BYTES)
