"""How well each neighbour is heard: the newest levels, for aiming an antenna and for the screen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECOND = 1_000_000_000
KEPT = 32  # readings of a neighbour
NEIGHBOURS_MAX = 256  # the least recently heard goes first


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one neighbour; levels in dBm, None where the driver gives none."""

    index: int
    rssi_dbm: int | None
    best_dbm: int | None
    median_dbm: int | None
    worst_dbm: int | None
    readings: int
    age_s: int


class Readings:
    """The last levels by neighbour. Times are of the boot clock."""

    def __init__(self) -> None:
        self._levels: dict[int, deque[int | None]] = {}
        self._heard_ns: dict[int, int] = {}

    def note(self, index: int, rssi_dbm: int | None, now_ns: int) -> None:
        """A neighbour was heard."""
        if index not in self._levels and len(self._levels) >= NEIGHBOURS_MAX:
            oldest = min(self._heard_ns, key=lambda i: (self._heard_ns[i], i))
            del self._levels[oldest], self._heard_ns[oldest]
        self._levels.setdefault(index, deque(maxlen=KEPT)).append(rssi_dbm)
        self._heard_ns[index] = now_ns

    def heard_since(self, since_ns: int) -> int:
        """How many neighbours were heard since then."""
        return sum(at >= since_ns for at in self._heard_ns.values())

    def indexes(self) -> list[int]:
        """Neighbours that are known, by index."""
        return sorted(self._levels)

    def rows(self, now_ns: int) -> list[Reading]:
        """All of them, the strongest first; those without a level last."""
        rows = [self._row(index, now_ns) for index in self._levels]
        return sorted(rows, key=lambda r: (r.rssi_dbm is None, -(r.rssi_dbm or 0), r.index))

    def _row(self, index: int, now_ns: int) -> Reading:
        levels = self._levels[index]
        known = [level for level in levels if level is not None]
        return Reading(
            index=index,
            rssi_dbm=levels[-1],
            best_dbm=max(known, default=None),
            median_dbm=sorted(known)[(len(known) - 1) // 2] if known else None,
            worst_dbm=min(known, default=None),
            readings=len(levels),
            age_s=max(0, now_ns - self._heard_ns[index]) // SECOND,
        )
