"""Whose turn it is at a provider: earliest deadline first, and who can't be in time goes last.

Prompts are computed one after another, each takes its tokens times the machine's pace, each is due
at some time. Moore and Hodgson (Management Science 15, 1968) keep the most of them in time: take
them by due time, and whenever one would be late put the longest so far aside. Those aside are
answered when nobody waits who can still be in time, and every `ASIDE_TURN`-th turn is the oldest
one's, so that nobody waits for ever.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

ASIDE_TURN = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """One that waits: `due_us` by the provider's own clock, `work_us` until its first token."""

    number: int
    due_us: int
    work_us: int


def in_time(waiting: Sequence[Turn], start_us: int) -> tuple[list[Turn], list[Turn]]:
    """Split those who wait: (in time if taken in this order from `start_us` on, aside)."""
    kept: list[tuple[int, int, Turn]] = []
    aside: list[Turn] = []
    end_us = start_us
    for turn in sorted(waiting, key=_by_due):
        end_us += turn.work_us
        heapq.heappush(kept, (-turn.work_us, turn.number, turn))
        if end_us > turn.due_us:
            longest = heapq.heappop(kept)[2]
            end_us -= longest.work_us
            aside.append(longest)
    return sorted((turn for _, _, turn in kept), key=_by_due), sorted(aside, key=_by_number)


def _by_due(turn: Turn) -> tuple[int, int]:
    return turn.due_us, turn.number


def _by_number(turn: Turn) -> int:
    return turn.number


def next_turn(waiting: Sequence[Turn], start_us: int, count: int) -> Turn:
    """Whom to take now; `count` turns were given before. `waiting` is not empty."""
    if len(waiting) == 1:
        return waiting[0]
    kept, aside = in_time(waiting, start_us)
    if aside and (not kept or count % ASIDE_TURN == ASIDE_TURN - 1):
        return aside[0]
    return kept[0]


def is_hopeless(turn: Turn, waiting: Sequence[Turn], start_us: int) -> bool:
    """Tell whether a newcomer can't be in time behind those who are due before it and will be."""
    ahead = [other for other in waiting if _by_due(other) < _by_due(turn)]
    kept, _ = in_time(ahead, start_us)
    return start_us + sum(other.work_us for other in kept) + turn.work_us > turn.due_us
