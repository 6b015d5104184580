"""Who is who: dense ledger indexes to keys and back, as last read from the ledger."""

from __future__ import annotations

from collections.abc import Iterable


class Directory:
    """A two-way table index <> key. Shared by all machines of one process."""

    def __init__(self, entries: Iterable[tuple[int, bytes]] = ()) -> None:
        self._keys: dict[int, bytes] = {}
        self._indexes: dict[bytes, int] = {}
        self.update(entries)

    def __len__(self) -> int:
        return len(self._keys)

    def update(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Add or replace entries."""
        for index, key in entries:
            self._keys[index] = key
            self._indexes[key] = index

    def key_of(self, index: int) -> bytes | None:
        """Key of a hotspot, or None."""
        return self._keys.get(index)

    def index_of(self, key: bytes) -> int | None:
        """Ledger index of a key, or None."""
        return self._indexes.get(key)
