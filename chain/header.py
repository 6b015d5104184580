"""The block header: what a checkpoint would sign."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from chain import cbor
from chain.draws import digest


@dataclass(frozen=True, slots=True)
class Header:
    """A block's place, the log and the state after it, and the header before it."""

    height: int
    epoch: int
    time_ms: int
    record_count: int
    log_root: bytes
    state_root: bytes
    previous: bytes

    def encode(self) -> bytes:
        """Canonical CBOR of the fields in order."""
        return cbor.encode(astuple(self))

    def hash(self) -> bytes:
        """What the next header cites."""
        return digest("header", self.encode())
