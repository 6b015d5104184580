"""The ledger as files: checkpoint, tiles of the log, records, balances (docs/proofs.md).

One reader for the service, which serves these paths below /log/, and for the export, which writes
them for a dumb host. It has a connection of its own, so that reading never waits for the sequencer.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from chain.io_ledger import DATABASE
from chain.proofs.balances import (
    ACCOUNTS,
    ENTRY_BYTES,
    HOTSPOTS,
    KEY_BYTES,
    Top,
    decode_top,
    encode_listed,
    prefix_digits,
)
from chain.proofs.tiles import (
    TILE_WIDTH,
    Tile,
    encode_bundle,
    hash_tile,
    number_path,
    parse_tile_path,
)
from chain.store.io_store import Store

CHECKPOINT = "checkpoint"  # the path, and the file in the ledger's folder
TEXT, BINARY = "text/plain; charset=utf-8", "application/octet-stream"


class Site:
    """Reads the files of a ledger's folder by path; usable from several threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._listed: tuple[int, list[bytes]] = (-1, [])

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def read(self, path: str) -> bytes | None:
        """A file; None where there is none. UserError if the database is damaged."""
        if path == CHECKPOINT:
            file = self._directory / CHECKPOINT
            return file.read_bytes() if file.is_file() else None
        with self._lock:
            store = self._open()
            if path.startswith("tile/"):
                tile = parse_tile_path(path)
                return None if tile is None else self._read_tile(store, tile)
            return self._read_balances(store, path)

    def _open(self) -> Store:
        if self._store is None:
            self._store = Store.open(self._directory / DATABASE, read_only=True)
        return self._store

    def _read_tile(self, store: Store, tile: Tile) -> bytes | None:
        if tile.level is not None:
            try:
                return hash_tile(tile, store.log)
            except IndexError:
                return None
        span = (tile.start, tile.start + tile.width - 1)
        sql = "SELECT wire FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq"
        wires = [row["wire"] for row in store.rows(sql, span)]
        whole = len(wires) == tile.width and all(wires)
        return encode_bundle(wires) if whole else None

    def _read_balances(self, store: Store, path: str) -> bytes | None:
        found = store.rows("SELECT data FROM balance_files WHERE path = ?", (path,))
        if found:
            return bytes(found[0]["data"])
        words = path.split("/")
        is_listing = len(words) == 4 and words[0] == "balances" and words[2] == "keys"
        if not is_listing or not words[1].isdecimal() or len(words[1]) > 9:
            return None
        return self._read_keys(store, int(words[1]), words[3])

    def _read_keys(self, store: Store, settlement: int, prefix: str) -> bytes | None:
        """Keys of a settlement that begin with some digits; they are sorted once."""
        top = self._top(store, settlement)
        hexadecimal = all(digit in "0123456789abcdef" for digit in prefix)
        if top is None or len(prefix) != prefix_digits(top) or not hexadecimal:
            return None
        if self._listed[0] != settlement:
            self._listed = (settlement, sorted(self._iter_listed(store, settlement, top)))
        lines = self._listed[1]
        low = bytes.fromhex(prefix + "0" * (len(prefix) % 2))
        high = bytes.fromhex(prefix + "f" * (len(prefix) % 2)) + b"\xff" * KEY_BYTES
        found = lines[bisect_left(lines, low) : bisect_left(lines, high)]
        return b"".join(found) or None

    def _top(self, store: Store, settlement: int) -> Top | None:
        path = f"balances/{settlement}/top"
        rows = store.rows("SELECT data FROM balance_files WHERE path = ?", (path,))
        return decode_top(rows[0]["data"]) if rows else None

    def _iter_listed(self, store: Store, settlement: int, top: Top) -> Iterator[bytes]:
        sql = "SELECT data FROM balance_files WHERE path = ?"
        for kind in (ACCOUNTS, HOTSPOTS):
            for number in range(-(-top.size(kind) // TILE_WIDTH)):
                path = f"balances/{settlement}/{kind}/0/{number_path(number)}"
                data = bytes(store.rows(sql, (path,))[0]["data"])
                for at in range(0, len(data), ENTRY_BYTES):
                    index = number * TILE_WIDTH + at // ENTRY_BYTES
                    yield encode_listed(kind, data[at : at + KEY_BYTES], index)

    def balance_paths(self, settlement: int) -> Iterator[str]:
        """Every file of a settlement's balances, those with keys included, `top` last."""
        with self._lock:
            store = self._open()
            sql = "SELECT path FROM balance_files WHERE settlement = ? ORDER BY path"
            paths = [row["path"] for row in store.rows(sql, (settlement,))]
            top = self._top(store, settlement)
        if top is None:
            return
        yield from (path for path in paths if not path.endswith("/top"))
        digits = prefix_digits(top)
        for number in range(1 << 4 * digits):
            yield f"balances/{settlement}/keys/{number:0{digits}x}"
        yield f"balances/{settlement}/top"


def content_type(path: str) -> str:
    """What a path holds."""
    return TEXT if path == CHECKPOINT else BINARY


def is_immutable(path: str) -> bool:
    """Whether a file at this path can never change, so that it may be kept for good."""
    return path != CHECKPOINT
