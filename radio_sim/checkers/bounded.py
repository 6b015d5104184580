"""Memory and queues bounded: nothing grows with the length of a run.

Every bound is a count per hotspot that a healthy network stays far below and that a leak passes
soon: a real router has 64 MiB, not the simulator's gigabytes.
"""

from __future__ import annotations

from radio_sim.checkers.base import Checker

# Deadlines, attempts, datagrams in flight, faults and load that are planned: a few each.
EVENTS_PER_HOTSPOT = 64
# Receptions are kept for this epoch and the one before; a clock that steps may touch a third.
EPOCHS_OF_RECEPTIONS = 3
SIGNED_PER_EPOCH = 2  # a message, and a late one beside it
# Frames on the air at one time: a radio has one, and one more may have been cut with its power.
FRAMES_PER_HOTSPOT = 2


class BoundedChecker(Checker):
    """Measures queues after each slice."""

    name = "bounded"

    def look(self) -> None:
        """Compare each queue with its bound."""
        fleet = self.fleet
        hotspots, world = len(fleet.agents), fleet.world
        epochs = fleet.ledger.state.epoch + 1
        self._hold("events", world.waiting, EVENTS_PER_HOTSPOT * (hotspots + 1))
        self._hold("frames on the air", world.medium.active, FRAMES_PER_HOTSPOT * hotspots)
        cut = len(fleet.offline | fleet.down)
        limit = SIGNED_PER_EPOCH * (hotspots + cut * epochs)
        self._hold("records that wait for the ledger", fleet.waiting, limit)
        for number, agent in enumerate(fleet.agents):
            if number in fleet.down:
                continue
            kept = agent.node.memory.receptions
            self._hold(f"epochs held by hotspot {number}", len(kept), EPOCHS_OF_RECEPTIONS)
            most = fleet.params.beacons_per_epoch * hotspots
            rows = max(map(len, kept.values()), default=0)
            self._hold(f"receptions of hotspot {number} in an epoch", rows, most)

    def _hold(self, what: str, count: int, limit: int) -> None:
        if count > limit:
            self.fail(f"{what}: {count}, more than {limit}")
