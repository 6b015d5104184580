"""Every frame accounted for by a physical reason, from the air to the node's own counters.

What began and isn't on the air any more has ended; each ended frame has one fate for everybody in
reach of its sender; and a delivered frame is counted by the node that got it, once, for one reason.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from radio_sim.checkers.base import Checker
from radio_sim.fates import FATES, Fate, Hearing
from radio_sim.medium import Transmission

# What nodes count that is no frame from the air.
OWN_COUNTS = ("beacons", "messages", "late_messages", "mix_missing")


class FrameChecker(Checker):
    """Adds up the fates of all frames."""

    name = "frames"

    def __init__(self) -> None:
        super().__init__()
        self.fates: Counter[str] = Counter()
        self.frames = 0

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Check one frame."""
        self.frames += 1
        links = self.fleet.world.medium.links
        reach = int(links.starts[sent.sender + 1] - links.starts[sent.sender])
        if not len(hearing.receivers) == len(hearing.fates) == reach:
            self.fail(f"frame {sent.number}: {reach} in reach, {len(hearing.fates)} accounted for")
        if np.any(np.diff(hearing.receivers) <= 0) or sent.sender in hearing.receivers:
            self.fail(f"frame {sent.number}: a receiver stands twice, or its sender among them")
        counts = np.bincount(hearing.fates, minlength=len(FATES)).tolist()
        self.fates.update({FATES[code]: count for code, count in enumerate(counts) if count})
        down = self.fleet.down
        got = hearing.receivers[hearing.fates == Fate.DELIVERED].tolist()
        if sent.sender in down and got:
            self.fail(f"frame {sent.number}: heard, though its sender has no power")
        if down.intersection(got):
            self.fail(f"frame {sent.number}: heard by a hotspot without power")

    def finish(self) -> None:
        """Compare sums with what the medium and the nodes counted."""
        medium = self.fleet.world.medium
        if self.fates["delivered"] != medium.counts["delivered"]:
            mine, theirs = self.fates["delivered"], medium.counts["delivered"]
            self.fail(f"{mine} fates say delivered, the medium says {theirs}")
        if self.frames + medium.active != medium.counts["sent"]:
            began = medium.counts["sent"]
            self.fail(f"{began} frames began, {self.frames} ended, {medium.active} are on the air")
        if not self.fleet.dresser.behaviours:  # liars hear what nobody sent
            counts = self.fleet.counts()
            counted = counts.total() - sum(counts[name] for name in OWN_COUNTS)
            if counted != self.fates["delivered"]:
                self.fail(f"{self.fates['delivered']} delivered, nodes counted {counted}")
