"""What a router tells a planner, and what it hears back. Standard library only.

A hotspot decides over its own traffic alone. So a view holds that traffic as demands, and what
everybody's traffic makes of the links as their load; the difference is what others send, around
which a planner plans. Every hotspot that plans sees the others' last plans in the load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from chain.records import Refusal
from routing.types import FlowClass, Forecast, Link

Hops = tuple[int, ...]
Pair = tuple[int, int]
Splits = Mapping[Pair, tuple[tuple[Hops, int], ...]]
FULL = 1_000
METER_MS = 5_000  # what a demand remembers: long enough for a stream of bursts to look even
# A flow's bits spread over splits by multiples of the golden ratio: any run of them is near even.
_GOLDEN = 0x9E37_79B9_7F4A_7C15


@dataclass(frozen=True, slots=True)
class MeshView:
    """The live links with what they can and do carry, and the traffic that is ours to place.

    `demands_kbps` by pair, `own_kbps` by link; `forecasts` of link loads; `problem`: why those may
    not be used, if so. `job_kbps`: what bandwidth jobs are paced at now, a part of the demands.
    """

    time_ms: int
    rates_kbps: Mapping[Link, int]
    loads_kbps: Mapping[Link, int]
    demands_kbps: Mapping[Pair, int]
    own_kbps: Mapping[Link, int]
    forecasts: Mapping[Link, Forecast] = field(default_factory=dict)
    problem: str | None = "no-forecast"
    job_kbps: Mapping[Pair, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeshPlan:
    """Paths of each pair with the permille of its flows that take them, largest first, sum 1,000.

    `expert` made the plan, `reason` says why that one, `version` counts plans that differ.
    `fair`: the permille of a class's demand on a pair that fits, where that isn't all of it.
    """

    splits: Splits
    expert: str
    reason: str
    version: int
    fair: Mapping[tuple[FlowClass, Pair], int] = field(default_factory=dict)


class PathPlanner(Protocol):
    """What a router needs of a planner: routing.plan.own.OwnPlanner, or nothing."""

    def plan(self, view: MeshView) -> MeshPlan | Refusal:
        """Plan the view's demands; a Refusal names what is in the way."""


def permille_of(shares: Mapping[Hops, float]) -> tuple[tuple[Hops, int], ...]:
    """Round shares of one pair to permille that add up to 1,000, largest first."""
    total = sum(shares.values())
    rows = sorted((-round(FULL * share / total), hops) for hops, share in shares.items())
    kept = [(hops, -negative) for negative, hops in rows if negative < 0]
    first, share = kept[0]
    return ((first, share + FULL - sum(part for _, part in kept)), *kept[1:])


def pick(split: Iterable[tuple[Hops, int]], key: int) -> Hops:
    """Return the path of the flow that drew `key`; 0 takes the largest share."""
    point = (key * _GOLDEN >> 32) % (1 << 32) * FULL >> 32
    taken: Hops = ()
    for hops, share in split:
        taken = hops
        point -= share
        if point < 0:
            break
    return taken


class FlowMeter:
    """What this hotspot sends along which path, smoothed; as demands by pair and loads by link."""

    def __init__(self) -> None:
        self._bytes: dict[Hops, int] = {}
        self._bps: dict[Hops, int] = {}
        self._since_ms: int | None = None

    def carry(self, hops: Hops, size_bytes: int) -> None:
        """Count bytes that took a path."""
        if size_bytes > 0 and len(hops) > 1:
            self._bytes[hops] = self._bytes.get(hops, 0) + size_bytes

    def rates(self, now_ms: int) -> tuple[dict[Pair, int], dict[Link, int]]:
        """Return kbps by pair and by link; what came since the last call weighs by its time."""
        if self._since_ms is not None and now_ms > self._since_ms:
            self._blend(now_ms - self._since_ms)
        self._since_ms = now_ms
        pairs: dict[Pair, int] = {}
        links: dict[Link, int] = {}
        for hops, bps in sorted(self._bps.items()):
            kbps = bps // 1_000
            pairs[hops[0], hops[-1]] = pairs.get((hops[0], hops[-1]), 0) + kbps
            for link in pairwise(hops):
                links[link] = links.get(link, 0) + kbps
        return pairs, links

    def _blend(self, elapsed_ms: int) -> None:
        counted, self._bytes = self._bytes, {}
        weight = min(FULL, FULL * elapsed_ms // METER_MS)
        for hops in self._bps.keys() | counted.keys():
            bps = 8_000 * counted.get(hops, 0) // elapsed_ms
            before = self._bps.get(hops, 0)
            self._bps[hops] = before + (bps - before) * weight // FULL
        self._bps = {hops: bps for hops, bps in self._bps.items() if bps >= FULL}
