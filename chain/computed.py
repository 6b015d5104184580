"""Values by index, each worked out when somebody asks for it first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TypeVar

Value = TypeVar("Value")
Default = TypeVar("Default")


class Computed(MutableMapping[int, Value]):
    """Has a value for each of some indexes, in their order; `compute` must not refer to it.

    What is set afterwards stands in the place of what would be computed.
    """

    __slots__ = ("_compute", "_known")

    def __init__(self, indexes: Iterable[int], compute: Callable[[int], Value]) -> None:
        self._known: dict[int, Value | None] = dict.fromkeys(indexes)
        self._compute = compute

    def __getitem__(self, index: int) -> Value:
        value = self._known[index]
        if value is None:
            value = self._known[index] = self._compute(index)
        return value

    def get(self, index: int, default: Default | None = None) -> Value | Default | None:  # type: ignore[override]
        """The value of an index, or the default; without an exception on the way."""
        return self[index] if index in self._known else default

    def __setitem__(self, index: int, value: Value) -> None:
        self._known[index] = value

    def __delitem__(self, index: int) -> None:
        del self._known[index]

    def __contains__(self, index: object) -> bool:
        return index in self._known

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
