"""What long work keeps of itself, so that a kill costs only the part under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Tell = Callable[[float, str], None]  # share done, 0 to 1, and what is going on


class Memory(Protocol):
    """Parts of long work that survive a kill."""

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Arrays kept under a name."""

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays, whole or not at all."""


class Forgetful:
    """A memory of nothing."""

    def get(self, _name: str) -> dict[str, NDArray[Any]] | None:
        """Nothing was kept."""
        return None

    def put(self, _name: str, _arrays: Mapping[str, NDArray[Any]]) -> None:
        """Nothing is kept."""
