"""Keys of a hotspot that are not its key now: the one that follows, and those it had before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rotation:
    """A hotspot's next key and its hash chain; `by_owner`: the owner asked alone, for a lost key.

    The key so far signs for epochs before `from_epoch`, the new one from then on.
    """

    record_id: bytes
    new_key: bytes
    from_epoch: int
    chain_length: int
    anchor: bytes
    by_owner: int


@dataclass(frozen=True, slots=True)
class FormerKeys:
    """Keys that a hotspot had, oldest first, each with the epoch from which another took over."""

    keys: tuple[tuple[int, bytes], ...]

    @property
    def newest_epoch(self) -> int:
        """The epoch from which the newest of them is refused."""
        return self.keys[-1][0]
