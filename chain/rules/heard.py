"""Who heard whom: pairs of (witness, beaconer), which arrays hand over as numbers.

A large epoch has millions of them and hardly anybody asks for one: they become tuples only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

Pair = tuple[int, int]


class Pairs:
    """A set of pairs; `add_keys` takes some as an array of witness << 32 | beaconer."""

    __slots__ = ("_keys", "_pairs")
    __hash__ = None  # type: ignore[assignment]  # it changes

    def __init__(self) -> None:
        self._pairs: set[Pair] = set()
        self._keys: list[Any] = []

    def add(self, pair: Pair) -> None:
        """Add one."""
        self._pairs.add(pair)

    def add_keys(self, keys: Any) -> None:
        """Add an array of them."""
        self._keys.append(keys)

    def get_all(self) -> set[Pair]:
        """All of them, as tuples from now on."""
        for keys in self._keys:
            low = (keys & 0xFFFF_FFFF).tolist()
            self._pairs.update(zip((keys >> 32).tolist(), low, strict=True))
        self._keys.clear()
        return self._pairs

    def get_keys(self, np: Any) -> Any:
        """All of them as an array, each once, ascending."""
        count = len(self._pairs)
        flat = np.fromiter(chain.from_iterable(self._pairs), np.int64, 2 * count).reshape(-1, 2)
        singles = flat[:, 0] << 32 | flat[:, 1]
        if not count and len(self._keys) == 1:
            return self._keys[0]
        return np.unique(np.concatenate((singles, *self._keys)))

    def __contains__(self, pair: object) -> bool:
        return pair in (self.get_all() if self._keys else self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.get_all())

    def __len__(self) -> int:
        return len(self.get_all())

    def __eq__(self, other: object) -> bool:
        return self.get_all() == (other.get_all() if isinstance(other, Pairs) else other)
