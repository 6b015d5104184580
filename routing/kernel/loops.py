"""The checker: whether any packet, of any colour, at any hotspot, can go round in a circle now.

It knows only what hotspots hold at this moment (not what they should hold) and follows all next
hops at once. A state of a packet is (hotspot, colour); a circle among the states that don't end at
the target is a loop. Pure and exhaustive, so that tests can ask after every single event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from routing.kernel.nodeplan import Choices, Hops

State = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What one hotspot holds: live colours > target > next hops, and the colour that it stamps."""

    tables: Mapping[int, Mapping[int, Choices]] = field(default_factory=dict)
    stamp: int = 0


def next_states(
    held: Mapping[int, Held], base: Mapping[int, int], target: int, state: State
) -> list[State]:
    """Return where a packet to the target may be next; none at its end or where nobody knows on."""
    node, colour = state
    if node == target:
        return []
    tables = held[node].tables if node in held else {}
    if colour and colour not in tables:
        colour = 0
    if colour and target in tables[colour]:
        return [(near, colour) for near, _ in tables[colour][target]]
    return [(base[node], colour)] if node in base else []


def find_loop(
    held: Mapping[int, Held], base: Mapping[int, int], target: int
) -> list[State] | None:
    """Return the states of a loop on the way to a target, or None.

    `base` is the base protocol's next hop to the target, by hotspot.
    """
    colours = {0} | {c for one in held.values() for c in one.tables}
    colours |= {one.stamp for one in held.values()}
    done: set[State] = set()
    for start in sorted((node, colour) for node in held for colour in colours):
        path: list[State] = []
        stack = [iter((start,))]
        while stack:
            state = next(stack[-1], None)
            if state is None:
                stack.pop()
                if path:
                    done.add(path.pop())
            elif state in path:
                return path[path.index(state) :]
            elif state not in done:
                path.append(state)
                stack.append(iter(next_states(held, base, target, state)))
    return None


def travel_segments(
    hops: Hops, adjacent: Mapping[int, frozenset[int]], base: Mapping[int, Mapping[int, int]]
) -> Sequence[int] | None:
    """Return the hotspots that a source-routed packet visits; None if it goes round in a circle.

    `adjacent`: which neighbours each hotspot has a route to; others are reached by `base`
    (target > hotspot > next hop). A packet that nobody can carry on ends where it is.
    """
    visited = [hops[0]]
    for segment in hops[1:]:
        leg = {visited[-1]}
        while visited[-1] != segment:
            at = visited[-1]
            if segment in adjacent.get(at, frozenset()):
                following: int | None = segment
            else:
                following = base.get(segment, {}).get(at)
            if following is None:
                return visited
            if following in leg:
                return None
            leg.add(following)
            visited.append(following)
    return visited
