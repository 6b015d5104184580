"""The link-state graph and its loop-free paths. Pure integers, deterministic ties.

Links leave the graph when nothing was heard of them for `max_age_ms`; from half of that age on they
grow dearer, so that traffic drifts off a silent neighbour before it is declared dead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

from routing.cost import LinkEstimate, estimate_of, is_usable
from routing.types import Link, LinkSample

Costs = Mapping[Link, int]
_SCALE = 1_000


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link's newest sample with two smoothed views: quick for load, slow for plain routing.

    The smoothed estimates hold thousandths of their unit, so that integer smoothing can settle.
    """

    sample: LinkSample
    quick: LinkEstimate
    slow: LinkEstimate


def _blend(old: LinkEstimate, new: LinkEstimate, weight_permille: int) -> LinkEstimate:
    def mix(before: int, after: int) -> int:
        return before + (after - before) * weight_permille // 1_000

    return LinkEstimate(
        mix(old.rate_kbps, new.rate_kbps),
        mix(old.load_kbps, new.load_kbps),
        mix(old.busy_permille, new.busy_permille),
        mix(old.queue_bytes, new.queue_bytes),
        mix(old.loss_permille, new.loss_permille),
    )


def _scaled(estimate: LinkEstimate, numerator: int, denominator: int) -> LinkEstimate:
    return LinkEstimate(
        estimate.rate_kbps * numerator // denominator,
        estimate.load_kbps * numerator // denominator,
        estimate.busy_permille * numerator // denominator,
        estimate.queue_bytes * numerator // denominator,
        estimate.loss_permille * numerator // denominator,
    )


class LinkGraph:
    """Directed links with their newest and smoothed state."""

    def __init__(
        self, max_age_ms: int = 90_000, quick_permille: int = 300, slow_permille: int = 20
    ) -> None:
        self._max_age_ms = max_age_ms
        self._quick_permille = quick_permille
        self._slow_permille = slow_permille
        self._states: dict[Link, LinkState] = {}

    def observe(self, sample: LinkSample) -> None:
        """Take a sample that is newer than what is known of its link."""
        link = (sample.source, sample.target)
        fine = _scaled(estimate_of(sample), _SCALE, 1)
        known = self._states.get(link)
        if known is None:
            self._states[link] = LinkState(sample, fine, fine)
            return
        quick = _blend(known.quick, fine, self._quick_permille)
        slow = _blend(known.slow, fine, self._slow_permille)
        self._states[link] = LinkState(sample, quick, slow)

    def forget_before(self, time_ms: int) -> None:
        """Drop links whose newest sample is older."""
        for link in [k for k, v in self._states.items() if v.sample.time_ms < time_ms]:
            del self._states[link]

    def newest(self, link: Link, now_ms: int) -> LinkSample | None:
        """Return the newest sample of a link that is alive at `now_ms`."""
        state = self._states.get(link)
        if state is None or now_ms - state.sample.time_ms > self._max_age_ms:
            return None
        return state.sample

    def quick(self, link: Link) -> LinkEstimate:
        """Return the quickly smoothed state of a known link; KeyError otherwise."""
        return _scaled(self._states[link].quick, 1, _SCALE)

    def slow(self, link: Link) -> LinkEstimate:
        """Return the slowly smoothed state of a known link; KeyError otherwise."""
        return _scaled(self._states[link].slow, 1, _SCALE)

    def knows(self, link: Link) -> bool:
        """Tell whether anything is known of a link."""
        return link in self._states

    def is_alive(self, link: Link, now_ms: int) -> bool:
        """Tell whether a link carries traffic at `now_ms`."""
        sample = self.newest(link, now_ms)
        return sample is not None and is_usable(estimate_of(sample))

    def alive(self, now_ms: int) -> list[Link]:
        """Links that carry traffic at `now_ms`, ascending."""
        return sorted(link for link in self._states if self.is_alive(link, now_ms))

    def costs(self, now_ms: int, price: Callable[[Link], int]) -> dict[Link, int]:
        """Price every live link, dearer with age; all costs are at least 1."""
        half = self._max_age_ms // 2
        result: dict[Link, int] = {}
        for link in self.alive(now_ms):
            late = max(0, now_ms - self._states[link].sample.time_ms - half)
            result[link] = max(1, price(link) * (half + late) // half)
        return result


def adjacency(costs: Costs) -> dict[int, list[tuple[int, int]]]:
    """Neighbour lists (target, cost) by source."""
    result: dict[int, list[tuple[int, int]]] = {}
    for (source, target), cost in costs.items():
        result.setdefault(source, []).append((target, cost))
    return result


def shortest_paths(
    costs: Costs, source: int, until: int | None = None
) -> dict[int, tuple[int, ...]]:
    """Find the cheapest simple path to every hotspot within reach, or only up to `until`.

    Dijkstra; ties go to fewer hops, then to smaller indexes, so that all runs agree.
    """
    neighbours = adjacency(costs)
    heap: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, (source,))]
    found: dict[int, tuple[int, ...]] = {}
    while heap and until not in found:
        cost, hops, path = heappop(heap)
        here = path[-1]
        if here in found:
            continue
        found[here] = path
        for there, step in neighbours.get(here, ()):
            if there not in found:
                heappush(heap, (cost + step, hops + 1, (*path, there)))
    return found


def shortest_path(costs: Costs, source: int, target: int) -> tuple[int, ...] | None:
    """Find the cheapest simple path to one target, if there is any."""
    return shortest_paths(costs, source, target).get(target)


def links_of(hops: tuple[int, ...]) -> tuple[Link, ...]:
    """Return the directed links of a path."""
    return tuple(pairwise(hops))


def path_cost(costs: Costs, hops: tuple[int, ...]) -> int | None:
    """Sum over the path's links, or None if one of them is gone."""
    total = 0
    for link in links_of(hops):
        if link not in costs:
            return None
        total += costs[link]
    return total


def alternatives(
    costs: Costs, source: int, target: int, count: int, penalty_permille: int = 500
) -> list[tuple[int, ...]]:
    """Up to `count` different simple paths, cheapest first, found by making used links dearer.

    Penalties rather than k shortest paths, because the latter differ in one detour and share the
    bottleneck that one wants to avoid.
    """
    working = dict(costs)
    found: list[tuple[int, ...]] = []
    for _ in range(2 * count):
        path = shortest_path(working, source, target)
        if path is None or len(found) == count:
            break
        if path not in found:
            found.append(path)
        for link in links_of(path):
            working[link] += max(1, working[link] * penalty_permille // 1_000)
    return sorted(found, key=lambda hops: (path_cost(costs, hops) or 0, len(hops), hops))
