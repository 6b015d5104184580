"""From observations to a published snapshot: ranges of the earth side by side, one writer in order.

Each range reads its part of every segment, aggregates it and makes the levels 7 to 11; cells
coarser than that are joined at the end, when they are few. A delta is laid over the snapshot before
it instead (io_layers.py): only rows that it touches are made anew.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from coverage_map.store.aggregates import (
    Aggregates,
    Scratch,
    aggregate,
    concatenate,
    empty,
    group,
    join,
    levels_of,
    take,
)
from coverage_map.store.io_columns import ADDED
from coverage_map.store.io_observations import (
    Observations,
    Segment,
    cut,
    join_rows,
    read_between,
)
from coverage_map.store.io_snapshots import RESOLUTIONS, Published, Snapshots
from coverage_map.store.keys import COARSEST, FINEST, resolutions_of
from coverage_map.store.tables import (
    Predicted,
    Table,
    aggregates_of,
    between,
    nothing_predicted,
    table_of,
)

SPLIT = 7  # ranges are cut between cells of this resolution
ROWS_AT_ONCE = 1 << 21
Told = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    tables: dict[int, Table]
    coarse: Aggregates  # level SPLIT, and own cells coarser than it


def build(
    observations: Observations,
    snapshots: Snapshots,
    segments: Sequence[str],
    predicted: Mapping[int, Predicted],
    time_ms: int,
    *,
    threads: int = 0,
    tell: Told = lambda _: None,
    clock: tuple[int, int] = (0, 0),
) -> Published:
    """Publish a snapshot of all observations in the segments and of the predictions.

    `tell` gets the share that is done. Stopped halfway, nothing of it is left.
    """
    opened = [observations.open(name) for name in segments]
    draft = snapshots.start()
    try:
        coarse, newest = [], 0
        ranges = cut(opened, ROWS_AT_ONCE)
        for done, part in enumerate(_parts(opened, ranges, predicted, threads)):
            draft.append(part.tables)
            coarse.append(part.coarse)
            tell((done + 1) / len(ranges))
        upper = levels_of(_sorted(concatenate(coarse)), COARSEST, SPLIT)
        for resolution in range(COARSEST, SPLIT):
            level = upper[resolution]
            guess = predicted.get(resolution, nothing_predicted())
            draft.append({resolution: table_of(level, guess)})
            newest = max(newest, int(level.last.max(initial=0)))
        return snapshots.publish(draft, _about(newest, time_ms, segments, clock))
    except BaseException:
        draft.discard()
        raise


def _parts(
    segments: Sequence[Segment],
    ranges: Sequence[tuple[int, int]],
    predicted: Mapping[int, Predicted],
    threads: int,
) -> Iterator[_Part]:
    """Parts in order, a few of them under way at once."""
    free: deque[Scratch] = deque()
    threads = threads or os.cpu_count() or 1

    def run(low: int, high: int) -> _Part:
        rows = join_rows([read_between(segment, low, high) for segment in segments])
        scratch = free.popleft() if free else Scratch(1, 1)
        most_h = 1 + int(rows.hotspot.max(initial=0))
        most_d = 1 + int(rows.device.max(initial=0))
        if most_h > scratch.hotspots or most_d > scratch.devices:
            scratch = Scratch(max(most_h, scratch.hotspots), max(most_d, scratch.devices))
        try:
            here = {r: between(p, low, high) for r, p in predicted.items()}
            return _part(aggregate(rows, scratch), here, scratch)
        finally:
            free.append(scratch)

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Part]] = deque()
        for low, high in ranges:
            waiting.append(pool.submit(run, low, high))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _part(own: Aggregates, predicted: Mapping[int, Predicted], scratch: Scratch) -> _Part:
    precision = resolutions_of(own.keys)
    fine = own if np.all(precision >= SPLIT) else take(own, np.flatnonzero(precision >= SPLIT))
    levels = levels_of(fine, SPLIT, FINEST, scratch)
    tables = {r: table_of(x, predicted.get(r, nothing_predicted())) for r, x in levels.items()}
    rest = [levels[SPLIT]]
    if len(fine) < len(own):
        rest.append(take(own, np.flatnonzero(precision < SPLIT)))
    return _Part(tables, concatenate(rest))


def _sorted(parts: Aggregates) -> Aggregates:
    return group(parts, parts.keys) if len(parts) else parts


def publish_anew(
    snapshots: Snapshots,
    base: Published,
    fresh: Mapping[int, Aggregates],
    predicted: Mapping[int, Predicted],
    about: Mapping[str, object],
) -> Published:
    """Publish a full snapshot: the base's measurements with fresh ones, and new predictions."""

    def make(resolution: int) -> Table:
        measured = aggregates_of(base.levels[resolution])
        whole = join([measured, added_of(base, resolution), fresh[resolution]])
        return table_of(whole, predicted.get(resolution, nothing_predicted()))

    return publish_levels(snapshots, make, about)


def publish_levels(
    snapshots: Snapshots,
    make: Callable[[int], Table],
    about: Mapping[str, object],
    tell: Told = lambda _: None,
) -> Published:
    """Publish a full snapshot, level by level; `tell` gets the share that is done."""
    draft = snapshots.start()
    try:
        with ThreadPoolExecutor(2) as pool:
            for resolution, table in pool.map(lambda r: (r, make(r)), RESOLUTIONS):
                draft.append({resolution: table})
                tell((resolution - COARSEST + 1) / len(RESOLUTIONS))
        return snapshots.publish(draft, about)
    except BaseException:
        draft.discard()
        raise


def own_of(observations: Observations, segments: Sequence[str]) -> Aggregates:
    """What segments hold, by their observations' own cells."""
    parts = []
    for name in segments:
        segment = observations.open(name)
        for low, high in cut([segment], ROWS_AT_ONCE):
            parts.append(aggregate(read_between(segment, low, high)))
    return join(parts) if parts else empty()


def added_of(base: Published, resolution: int) -> Aggregates:
    """What a layer adds to its full snapshot at one level; nothing where it is no layer."""
    found = base.added.get(resolution)
    return empty() if found is None else Aggregates(**{name: found[name] for name in ADDED})


def about_of(
    base: Published, own: Aggregates, time_ms: int, segments: Sequence[str], clock: tuple[int, int]
) -> dict[str, object]:
    """What a manifest says of a base with further segments."""
    newest = max(base.epoch, int(own.last.max(initial=0)))
    return _about(newest, time_ms, [*base.segments, *segments], clock)


def _about(
    epoch: int, time_ms: int, segments: Sequence[str], clock: tuple[int, int]
) -> dict[str, object]:
    return {
        "epoch": epoch,
        "time_ms": time_ms,
        "segments": list(segments),
        "clock": list(clock),
    }
