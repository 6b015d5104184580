"""Layers: what came since a full snapshot, published beside it without touching it.

A delta touches few rows, but those lie everywhere, so rewriting the columns costs as much as making
them. A layer holds the complete rows of all cells that changed since the full snapshot, measured or
predicted otherwise, and what was added there; readers take its rows in place of the base's. The
next delta makes a new layer over the same base. When a layer has grown to a share of its base it is
folded: columns are spliced into a full snapshot that says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

from coverage_map.store.aggregates import Aggregates, join, levels_of, take
from coverage_map.store.changes import (
    LAID,
    Below,
    Changes,
    apply_changes,
    find_changes,
    stack,
)
from coverage_map.store.io_build import (
    Told,
    about_of,
    added_of,
    own_of,
    publish_anew,
    publish_levels,
)
from coverage_map.store.io_observations import Observations
from coverage_map.store.io_snapshots import RESOLUTIONS, Draft, Published, Snapshots
from coverage_map.store.keys import COARSEST, cells_of, keys_of
from coverage_map.store.tables import (
    JOIN_COLUMNS,
    LIST_COLUMNS,
    Predicted,
    Table,
    nothing_in,
    nothing_predicted,
    places_of,
    splice,
    table_over,
)

PIECE = 1 << 17  # cells
LAYER_SHARE = 5  # a layer of more than a fifth of its base is folded with the delta that made it so

Levels = Mapping[int, Aggregates]
About = Mapping[str, object]


def update(
    observations: Observations,
    snapshots: Snapshots,
    base: Published,
    segments: Sequence[str],
    time_ms: int,
    clock: tuple[int, int] = (0, 0),
) -> Published:
    """Publish the base with further segments joined in; predictions stay those of the base.

    A layer where that is cheaper for all, otherwise a full snapshot.
    """
    if not segments:
        return snapshots.select(base.identity)
    own = own_of(observations, segments)
    fresh = levels_of(own, COARSEST)
    about = about_of(base, own, time_ms, segments, clock)

    def make(resolution: int) -> Laid:
        return _touched(base, resolution, fresh[resolution])

    if share_of(base, fresh) * LAYER_SHARE > 1.0:
        return publish_levels(snapshots, lambda r: _folded(base, r, make(r)), about)
    return _lay(snapshots, base, make, about)


def refresh(
    observations: Observations,
    snapshots: Snapshots,
    base: Published,
    segments: Sequence[str],
    predicted: Mapping[int, Predicted],
    time_ms: int,
    clock: tuple[int, int] = (0, 0),
) -> Published:
    """Publish the base's measurements with further segments joined in, and new predictions.

    What is predicted as before is not written again, unless most is predicted otherwise.
    """
    own = own_of(observations, segments)
    fresh = levels_of(own, COARSEST)
    about = about_of(base, own, time_ms, segments, clock)
    if share_of(base, fresh) * LAYER_SHARE <= 1.0:
        with ThreadPoolExecutor(2) as pool:
            plans = [
                pool.submit(_plan, base, r, fresh[r], predicted.get(r, nothing_predicted()))
                for r in RESOLUTIONS[::-1]  # finest first: it takes longest
            ]
        found = {plan.resolution: plan for plan in (x.result() for x in plans)}
        rows = sum(len(level["cells"]) for level in base.levels.values())
        size = sum(plan.size for plan in found.values())
        if not segments and not size:
            return snapshots.select(base.identity)
        if size * LAYER_SHARE <= rows:
            return _lay(snapshots, base, lambda r: found[r].make(), about)
    return publish_anew(snapshots, base, fresh, predicted, about)


def fold(snapshots: Snapshots, base: Published, tell: Told = lambda _: None) -> Published:
    """Publish a full snapshot that says what a layer and its base do together."""
    kept = ("epoch", "time_ms", "segments", "clock")
    about = {name: base.manifest[name] for name in kept}

    def make(resolution: int) -> Table:
        added = added_of(base, resolution)
        return _folded(base, resolution, Laid(stack(None, base.layer[resolution]), added))

    return publish_levels(snapshots, make, about, tell)


def share_of(base: Published, fresh: Levels | None = None) -> float:
    """Rows of the layer that there would be, by rows of the full snapshot."""
    laid = sum(len(level["cells"]) for level in base.layer.values())
    laid += sum(len(level) for level in fresh.values()) if fresh else 0
    return laid / max(sum(len(level["cells"]) for level in base.levels.values()), 1)


def below_of(base: Published, resolution: int) -> Below:
    """One level of a snapshot, to lay rows over."""
    layer = base.layer.get(resolution)
    return Below(base.levels[resolution], layer, added_of(base, resolution))


def joined(below: Below, fresh: Aggregates) -> Table:
    """Complete rows of all cells that `fresh` touches at one level of a snapshot."""
    whole = join([below.measured(fresh.keys), fresh])
    return table_over(whole, below.forecasts(cells_of(whole.keys)))


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """One level of a layer: its rows, and all receptions since the full snapshot."""

    rows: Table
    added: Aggregates


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What new predictions change at one level, beside what was measured since."""

    below: Below
    resolution: int
    laid: Laid
    found: Changes
    predicted: Predicted

    @property
    def size(self) -> int:
        """Rows of the layer, at most."""
        return len(self.laid.rows["cells"]) + len(self.found.rows) + len(self.found.new)

    def make(self) -> Laid:
        added = self.laid.added
        rows = apply_changes(self.below, self.laid.rows, self.found, self.predicted, added)
        return Laid(rows, added)


def _plan(base: Published, resolution: int, fresh: Aggregates, predicted: Predicted) -> _Plan:
    below, laid = below_of(base, resolution), _touched(base, resolution, fresh)
    found = find_changes(below.full, laid.rows, predicted)
    return _Plan(below, resolution, laid, found, predicted)


def _touched(base: Published, resolution: int, fresh: Aggregates) -> Laid:
    """The layer's rows with those of all cells that `fresh` touches made anew.

    In pieces, whose lists fit into memory that is used again: for new pages the kernel would take
    as long as the work itself.
    """
    below = below_of(base, resolution)
    parts = [
        joined(below, take(fresh, np.arange(at, min(at + PIECE, len(fresh)))))
        for at in range(0, max(len(fresh), 1), PIECE)
    ]
    table = {name: np.concatenate([part[name] for part in parts]) for name in LAID}
    return Laid(stack(below.layer, table), join([below.added, fresh]))


def _lay(
    snapshots: Snapshots, base: Published, make: Callable[[int], Laid], about: About
) -> Published:
    draft = snapshots.start(base.base)
    try:
        with ThreadPoolExecutor(2) as pool:
            # Finest first: it takes longest.
            rows = dict(pool.map(lambda r: _lay_level(draft, base, r, make(r)), RESOLUTIONS[::-1]))
        return snapshots.publish(draft, {**about, "rows": rows})
    except BaseException:
        draft.discard()
        raise


def _lay_level(draft: Draft, base: Published, resolution: int, laid: Laid) -> tuple[str, int]:
    """Write one level of a layer; its name, and how many rows it has together with the base."""
    draft.append({resolution: laid.rows})
    columns = {f.name: getattr(laid.added, f.name) for f in fields(laid.added)}
    draft.added[resolution].append(columns)
    cells, known = laid.rows["cells"], np.asarray(base.levels[resolution]["cells"])
    gone = int(np.count_nonzero(nothing_in(laid.rows)))
    return str(resolution), len(known) + len(cells) - len(places_of(known, cells)) - gone


def _folded(base: Published, resolution: int, laid: Laid) -> Table:
    """One level of a full snapshot with a layer's rows in it, and their lists."""
    full, rows = base.levels[resolution], laid.rows
    measured = rows["count"] > 0
    below = Below(full, None, laid.added)
    lists = below.measured(keys_of(rows["cells"][measured]))
    table = {name: rows[name] for name in LAID}
    table |= {name: getattr(lists, name) for name in LIST_COLUMNS}
    for name in ("total_cdbm", "bins_n"):
        table[name] = np.zeros(len(measured), JOIN_COLUMNS[name])
        table[name][measured] = getattr(lists, name)
    return splice(full, table)
