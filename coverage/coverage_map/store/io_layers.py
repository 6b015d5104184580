"""Layers: what came since a full snapshot, published beside it without touching it.

A delta touches few rows, but those lie everywhere, so rewriting the columns costs as much as making
them. A layer holds the complete rows of all cells that changed since the full snapshot, and what
was added there; readers take its rows in place of the base's. The next delta makes a new layer over
the same base. When a layer has grown to a share of its base it is folded: columns are spliced into
a full snapshot that says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np

from coverage_map.store.aggregates import Aggregates, join, levels_of, take
from coverage_map.store.io_build import Told, about_of, added_of, own_of, publish_levels
from coverage_map.store.io_observations import Observations
from coverage_map.store.io_snapshots import RESOLUTIONS, Draft, Published, Snapshots
from coverage_map.store.keys import COARSEST
from coverage_map.store.tables import (
    COLUMNS,
    Table,
    aggregates_of,
    places_of,
    rows_under,
    splice,
    table_over,
)
from coverage_map.store.view import Merged

PIECE = 1 << 17  # cells
LAYER_SHARE = 5  # a layer of more than a fifth of its base is folded with the delta that made it so


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
    if share_of(base, fresh) * LAYER_SHARE > 1.0:
        added = {r: join([added_of(base, r), level]) for r, level in fresh.items()}
        return _fold(snapshots, base, added, about)
    return _lay(snapshots, base, fresh, about)


def fold(snapshots: Snapshots, base: Published, tell: Told = lambda _: None) -> Published:
    """Publish a full snapshot that says what a layer and its base do together."""
    kept = ("epoch", "time_ms", "segments", "clock")
    about = {name: base.manifest[name] for name in kept}
    return _fold(snapshots, base, {r: added_of(base, r) for r in RESOLUTIONS}, about, tell)


def share_of(base: Published, fresh: Mapping[int, Aggregates] | None = None) -> float:
    """Rows of the layer that there would be, by rows of the full snapshot."""
    laid = sum(len(level["cells"]) for level in base.layer.values())
    laid += sum(len(level) for level in fresh.values()) if fresh else 0
    return laid / max(sum(len(level["cells"]) for level in base.levels.values()), 1)


def joined(base: Published, resolution: int, fresh: Aggregates) -> Table:
    """Complete rows of all cells that `fresh` touches at one level of a snapshot."""
    level, added = base.levels[resolution], added_of(base, resolution)
    rows = rows_under(level, fresh.keys)
    whole = join([aggregates_of(level, rows), _under(added, fresh), fresh])
    return table_over(whole, level, rows)


def _under(added: Aggregates, fresh: Aggregates) -> Aggregates:
    return take(added, places_of(added.keys, fresh.keys))


def _lay(
    snapshots: Snapshots,
    base: Published,
    fresh: Mapping[int, Aggregates],
    about: Mapping[str, object],
) -> Published:
    draft = snapshots.start(base.base)
    try:
        with ThreadPoolExecutor(2) as pool:
            # Finest first: it takes longest.
            rows = dict(pool.map(lambda r: _lay_level(draft, base, r, fresh[r]), RESOLUTIONS[::-1]))
        return snapshots.publish(draft, {**about, "rows": rows})
    except BaseException:
        draft.discard()
        raise


def _lay_level(
    draft: Draft, base: Published, resolution: int, fresh: Aggregates
) -> tuple[str, int]:
    """Write one level of a layer; its name, and how many rows it has together with the base."""
    table: Mapping[str, np.ndarray] = _columns_of(base, resolution, fresh)
    if resolution in base.layer:
        table = Merged(base.layer[resolution], table)
    draft.append({resolution: table})
    added = join([added_of(base, resolution), fresh])
    draft.added[resolution].append({f.name: getattr(added, f.name) for f in fields(added)})
    cells, known = np.asarray(table["cells"]), np.asarray(base.levels[resolution]["cells"])
    return str(resolution), len(known) + len(cells) - len(places_of(known, cells))


def _columns_of(base: Published, resolution: int, fresh: Aggregates) -> Table:
    """What readers want of all cells that `fresh` touches.

    In pieces, whose lists fit into memory that is used again: for new pages the kernel would take
    as long as the work itself.
    """
    parts = [
        joined(base, resolution, take(fresh, np.arange(at, min(at + PIECE, len(fresh)))))
        for at in range(0, max(len(fresh), 1), PIECE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _fold(
    snapshots: Snapshots,
    base: Published,
    added: Mapping[int, Aggregates],
    about: Mapping[str, object],
    tell: Told = lambda _: None,
) -> Published:
    full = Published(base.base, base.manifest, base.levels)

    def make(resolution: int) -> Table:
        return splice(full.levels[resolution], joined(full, resolution, added[resolution]))

    return publish_levels(snapshots, make, about, tell)
