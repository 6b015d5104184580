"""Tidying a store while it is served: files of observations are merged, layers are folded.

    chores = Chores.of(keeper, now_ms)      # on the loop: what is due
    done = chores.make()                    # in a thread: files beside those that are in use
    chores.adopt(done)                      # on the loop: from now on these

Nothing that is in use changes before `adopt`; broken off at any moment, it was never begun.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from coverage_map.store.io_build import Told
from coverage_map.store.io_keeper import Keeper
from coverage_map.store.io_layers import fold, share_of
from coverage_map.store.io_observations import merge_segments
from coverage_map.store.io_snapshots import Published
from coverage_map.store.upkeep import is_fold_due, segments_to_merge


class Stopped(Exception):
    """The work was told to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A merged segment, and a full snapshot; None each where nothing was due."""

    segment: str | None
    folded: Published | None


@dataclass(frozen=True, slots=True, eq=False)
class Chores:
    """What is due: segments to merge, a layer to fold."""

    keeper: Keeper
    segments: list[str]
    layer: Published | None
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, keeper: Keeper, now_ms: int, *, everything: bool = False) -> Chores | None:
        """What is due now; with `everything` what could be done at all. None for nothing."""
        rows = {name: keeper.observations.open(name).rows for name in keeper.segments}
        all_of_them = sorted(rows) if len(rows) > 1 else []
        segments = all_of_them if everything else segments_to_merge(rows)
        base = keeper.base
        due = bool(base.layer) and (everything or _is_due(keeper, now_ms))
        return cls(keeper, segments, base if due else None) if due or segments else None

    def make(self, tell: Told = lambda _: None) -> Done:
        """Write the new files; `tell` gets the share that is done. Stopped where `stop` is set."""
        steps = int(self.layer is not None) + int(bool(self.segments))

        def from_step(step: int) -> Told:
            def told(share: float) -> None:
                if self.stop.is_set():
                    raise Stopped
                tell((step + share) / steps)

            return told

        keeper, segment, folded = self.keeper, None, None
        if self.layer is not None:
            folded = fold(keeper.snapshots, self.layer, from_step(0))
            keeper.count(folded)
        if self.segments:
            segment = merge_segments(keeper.observations, self.segments, from_step(steps - 1))
        return Done(segment, folded)

    def adopt(self, done: Done) -> None:
        """Use the new files, and remove those that nobody needs any more."""
        keeper = self.keeper
        if done.folded is not None and self.layer is not None:
            keeper.replace_base(self.layer, done.folded)
        if done.segment is not None:
            keeper.replace_segments(self.segments, done.segment)
        keeper.clear_away()


def _is_due(keeper: Keeper, now_ms: int) -> bool:
    base = keeper.base
    since_ms = keeper.snapshots.open(base.base).time_ms
    return is_fold_due(share_of(base), now_ms - since_ms)
