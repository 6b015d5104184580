"""Digest equal when replayed: a second ledger that follows the blocks comes to the same headers."""

from __future__ import annotations

from chain.ledger import Ledger, Sealed
from chain.records import Signed
from chain.rules.blocks import BlockError
from chain.wire import decode
from radio_sim.checkers.base import Checker


class ReplayChecker(Checker):
    """Replays every block as it is sealed. The air's digest is compared by `radio_sim.swarm`."""

    name = "replay"

    def __init__(self) -> None:
        super().__init__()
        self._copy: Ledger | None = None

    def on_block(self, sealed: Sealed) -> None:
        """Follow, and compare headers."""
        if self._copy is None:
            genesis = decode(sealed.block.wires[0])
            if isinstance(genesis, Signed):
                self._copy = Ledger(genesis)
                self._copy.packs_rows = False
            return
        try:
            follower = self._copy.replay(sealed.block).header
        except BlockError as error:
            self.fail(f"block {sealed.header.height} can't be followed: {error}")
            return
        if follower != sealed.header:
            self.fail(f"block {sealed.header.height}: a replay comes to another header")
