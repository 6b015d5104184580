"""Who plays what in a demo: which hotspots answer AI requests, and which send them from afar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radio_sim.scenario import Scenario

WISHED_HOPS = 4


@dataclass(frozen=True, slots=True)
class Cast:
    """Hotspot numbers by part; `hops[i]` is the distance of consumer i to its nearest provider."""

    providers: tuple[int, ...]
    consumers: tuple[int, ...]
    hops: tuple[int, ...]


def distances(peers: Sequence[Sequence[int]], sources: Sequence[int]) -> list[int]:
    """Hops from the nearest source over backhaul links; -1 where none leads."""
    found = [-1] * len(peers)
    ring = list(sources)
    for source in ring:
        found[source] = 0
    while ring:
        following = []
        for node in ring:
            for peer in peers[node]:
                if found[peer] < 0:
                    found[peer] = found[node] + 1
                    following.append(peer)
        ring = following
    return found


def largest_part(peers: Sequence[Sequence[int]]) -> list[int]:
    """Hotspots of the largest connected part of the backhaul, ascending."""
    best: list[int] = []
    seen: set[int] = set()
    for start in range(len(peers)):
        if start not in seen:
            part = [i for i, d in enumerate(distances(peers, [start])) if d >= 0]
            seen.update(part)
            best = max(best, part, key=len)
    return best


def cast(
    scenario: Scenario, peers: Sequence[Sequence[int]], providers: int = 2, consumers: int = 2
) -> Cast:
    """Give out the parts: the scenario's providers first, else the best connected hotspots.

    Consumers stand `WISHED_HOPS` away from any provider, or as near to that as the network has it.
    """
    part = largest_part(peers)
    willing = [i for i in part if "provider" in scenario.hotspots[i].roles]
    ranked = sorted(willing or part, key=lambda i: (-len(peers[i]), i))
    chosen = tuple(ranked[: min(providers, max(1, len(part) - 1))])
    away = distances(peers, chosen)
    others = [i for i in part if i not in chosen]
    others.sort(key=lambda i: (abs(away[i] - WISHED_HOPS), i))
    asking = tuple(others[:consumers])
    return Cast(chosen, asking, tuple(away[i] for i in asking))
