"""How much of what costs one caller may ask for: a bucket of units that refills with time."""

from __future__ import annotations

from dataclasses import dataclass

NS = 1_000_000_000
# What one question takes from the bucket. Everything that isn't named here is free.
COSTS = {"gaps": 1.0, "outline": 1.0, "area": 1.0, "pmtiles": 30.0, "job": 10.0,
         "dismissal": 1.0}  # fmt: skip
CALLERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket's size, and units that come back each second."""

    units: float
    per_s: float


ANYBODY = Rate(120.0, 2.0)
WITH_KEY = Rate(1_200.0, 20.0)


class Buckets:
    """A bucket per caller; a caller that is forgotten begins with a full one."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, int]] = {}

    def take(self, caller: str, rate: Rate, cost: float, now_ns: int) -> float:
        """Take units; 0 if they were there, otherwise the seconds until they will be."""
        left, since = self._left.pop(caller, (rate.units, now_ns))
        left = min(rate.units, left + rate.per_s * max(now_ns - since, 0) / NS)
        wait_s = 0.0 if left >= cost else (cost - left) / rate.per_s
        self._left[caller] = (left if wait_s else left - cost, now_ns)
        if len(self._left) > CALLERS_MAX:
            del self._left[next(iter(self._left))]
        return wait_s
