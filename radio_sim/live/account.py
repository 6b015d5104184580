"""Where every frame of a live run went: sent = delivered + lost to a named physical reason.

A frame that a radio injects is refused (its header makes no sense), dropped silently (its driver
does that), waiting for the air, on the air, or has left it. One that has left the air met every
receiver in reach with one fate each (`radio_sim.fates`); a fate `delivered` is a write into the
receiver's device, which either took the frame or was full. `imbalances` says where that does not
add up: nothing of it may ever. Pure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from radio_sim.fates import FATES, Hearing
from radio_sim.medium import Transmission


@dataclass(slots=True)
class Account:
    """Counts of a run; an `Observer` of the medium. `hearing` is that of the last frame."""

    frames: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    written: int = 0
    device_full: int = 0
    bad_fcs: int = 0
    echoes: int = 0
    hearing: Hearing | None = None

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Count what became of a frame at each receiver in reach."""
        del sent
        self.hearing = hearing
        for code, count in enumerate(np.bincount(hearing.fates, minlength=len(FATES)).tolist()):
            if count:
                self.fates[FATES[code]] += count

    def imbalances(self, waiting: int, on_air: int) -> list[str]:
        """List what does not add up, given how many frames wait for the air and are on it."""
        frames, found = self.frames, []
        taken = frames["silent_drop"] + self.refused.total() + frames["queued"]
        if frames["injected"] != taken:
            found.append(f"injected {frames['injected']}, but refused, dropped or queued {taken}")
        left = frames["queued"] - waiting - on_air
        if frames["finished"] != left:
            found.append(f"finished {frames['finished']}, but {left} left the queue and the air")
        delivered = self.written + self.device_full
        if self.fates["delivered"] != delivered:
            found.append(f"fates say {self.fates['delivered']} delivered, writes {delivered}")
        return found

    def as_json(self) -> dict[str, object]:
        """Return all counts, for a report."""
        pairs = self.fates.total()
        return {
            "frames": dict(sorted(self.frames.items())),
            "refused": dict(sorted(self.refused.items())),
            "receptions_possible": pairs,
            "fates": dict(sorted(self.fates.items())),
            "device_full": self.device_full,
            "bad_fcs_handed_up": self.bad_fcs,
            "echoes": self.echoes,
        }


@dataclass(slots=True)
class Delays:
    """A histogram of delays in whole microseconds."""

    counts: Counter[int] = field(default_factory=Counter)

    def add_ns(self, delay_ns: int) -> None:
        """Count a delay; one under zero is zero."""
        self.counts[max(0, delay_ns) // 1000] += 1

    def percentile_us(self, percent: float) -> int | None:
        """Least delay in us that so many percent don't exceed; None where nothing was counted."""
        due = self.counts.total() * percent / 100.0
        reached = 0
        for delay_us in sorted(self.counts):
            reached += self.counts[delay_us]
            if reached >= due:
                return delay_us
        return None

    def as_json(self) -> dict[str, int | None]:
        """Return the usual percentiles in us, and how many delays there were."""
        return {
            "count": self.counts.total(),
            "p50_us": self.percentile_us(50),
            "p90_us": self.percentile_us(90),
            "p99_us": self.percentile_us(99),
            "p999_us": self.percentile_us(99.9),
            "max_us": max(self.counts, default=None),
        }
