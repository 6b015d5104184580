"""Clocks monotone: the world's, the ledger's, and epochs of hotspots whose clock is right."""

from __future__ import annotations

from chain.ledger import Sealed
from radio_sim.checkers.base import Checker
from radio_sim.fates import Hearing
from radio_sim.medium import Transmission


class ClockChecker(Checker):
    """Notes the latest time of everything."""

    name = "clocks"

    def __init__(self) -> None:
        super().__init__()
        self._now_ns = self._end_ns = 0
        self._block = (-1, -1, -1)  # height, epoch, time
        self._epochs: dict[int, int] = {}

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """A frame ends after it began, and not before the one that ended last."""
        del hearing
        if not sent.start_ns < sent.end_ns:
            self.fail(f"frame {sent.number}: ends at {sent.end_ns}, began at {sent.start_ns}")
        if sent.end_ns < self._end_ns or sent.end_ns > self.fleet.world.now_ns:
            self.fail(f"frame {sent.number}: ends at {sent.end_ns}, out of order")
        self._end_ns = max(self._end_ns, sent.end_ns)

    def on_block(self, sealed: Sealed) -> None:
        """Heights count; epochs and times don't go back."""
        header = sealed.header
        height, epoch, time_ms = self._block
        if header.height != height + 1 or header.epoch < epoch or header.time_ms < time_ms:
            self.fail(f"block {header.height} follows {self._block}")
        self._block = (header.height, header.epoch, header.time_ms)

    def look(self) -> None:
        """The world's clock, and the hotspots'."""
        world = self.fleet.world
        if world.now_ns < self._now_ns:
            self.fail(f"the world went back from {self._now_ns} to {world.now_ns}")
        self._now_ns = world.now_ns
        for number, agent in enumerate(self.fleet.agents):
            stepped = self.fleet.dresser.clocks.get(number)
            epoch = agent.node.epoch
            if stepped is None and epoch < self._epochs.get(number, -1):
                self.fail(f"hotspot {number} went back to epoch {epoch}")
            self._epochs[number] = epoch
