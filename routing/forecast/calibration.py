"""Calibration that goes on in service: each link's p90 and p10 follow what really happened.

Split-conformal offsets hold while tomorrow is like the calibration part; weeks later they do not.
So each outcome moves the offset of its link a little: up when it lay beyond the quantile, down when
it didn't, in the ratio 1 - a : a of the level a, so that in the long run the share beyond is 1 - a
whatever the distribution does (online gradient descent on the pinball loss; Gibbs and Candes,
"Adaptive conformal inference under distribution shift", 2021). Only outcomes that are known count:
a forecast is settled once its horizon has passed. The offset stays within `reach` widths of where
training left it, so a freak day can't carry it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from routing.types import Link

GAIN = 0.02
REACH = 3.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A forecast that waits for its outcome, kbps."""

    due_ms: int
    link: Link
    quantile: float


@dataclass(slots=True)
class OnlineOffsets:
    """The moving offsets of one booster, in its widths, from those that training found.

    `level` is the quantile's: 0.9 or 0.1. `own` and `pooled` are as in
    routing.forecast.model.Offsets.
    """

    level: float
    own: Mapping[Link, float]
    pooled: float
    gain: float = GAIN
    reach: float = REACH
    _moved: dict[Link, float] = field(default_factory=dict)
    _waiting: deque[Pending] = field(default_factory=deque)

    def offset(self, link: Link) -> float:
        """Return the link's offset, widths."""
        return self.own.get(link, self.pooled) + self._moved.get(link, 0.0)

    def expect(self, due_ms: int, link: Link, quantile: float) -> None:
        """Remember a forecast, offset included, until its outcome is due; times ascend."""
        self._waiting.append(Pending(due_ms, link, quantile))

    def due(self, now_ms: int) -> list[Pending]:
        """Take the forecasts whose outcomes are known by now, oldest first."""
        ready = []
        while self._waiting and self._waiting[0].due_ms <= now_ms:
            ready.append(self._waiting.popleft())
        return ready

    def settle(self, link: Link, quantile: float, outcome: float) -> None:
        """Move a link's offset by one outcome; quantile and outcome in the same unit."""
        below = outcome <= quantile
        step = self.gain * (self.level - (1.0 if below else 0.0))
        moved = self._moved.get(link, 0.0) + step
        self._moved[link] = max(-self.reach, min(self.reach, moved))
