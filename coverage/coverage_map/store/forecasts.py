"""The estimator's levels as the store takes them in: whole numbers, and who says what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from coverage_map.cells import parents
from coverage_map.snapshot import NO_SERVER, Level
from coverage_map.store.keys import COARSEST
from coverage_map.store.tables import NONE_CDB, NONE_CDBM, Array, Predicted

OVERLAP_DBM = -82.0


def predicted_of(level: Level) -> Predicted:
    """Predicted columns of one resolution, and the estimator's figures of measured cells."""
    return Predicted(
        cells=level.cells,
        predicted_cdbm=_whole(level.predicted_dbm, np.int16, NONE_CDBM),
        predicted_sd_cdb=_whole(level.predicted_sd_db, np.uint16, NONE_CDB),
        predicted_server=np.where(
            np.isnan(level.predicted_dbm), NO_SERVER, level.servers[:, 0]
        ).astype(np.int32),
        overlap=level.overlap(OVERLAP_DBM).astype(np.uint8),
        measured_cdbm=_whole(level.measured_p50_dbm, np.int16, NONE_CDBM),
        measured_cdb=_whole(level.measured_sd_db, np.uint16, NONE_CDB),
        measured_server=level.measured_server.astype(np.int32),
    )


def with_ancestors(levels: Mapping[int, Predicted]) -> dict[int, Predicted]:
    """Predictions down to resolution 3: means of the children where the estimator makes none.

    So a cell that is known has ancestors that are known, and a search can go from coarse to fine.
    """
    found = dict(levels)
    for resolution in range(min(levels, default=COARSEST) - 1, COARSEST - 1, -1):
        found[resolution] = _parents_of(found[resolution + 1], resolution)
    return found


def _parents_of(fine: Predicted, resolution: int) -> Predicted:
    cells, first, group = np.unique(
        parents(fine.cells, resolution), return_index=True, return_inverse=True
    )
    size = np.bincount(group, minlength=len(cells))

    def mean(column: Array) -> Array:
        return np.round(np.bincount(group, column, len(cells)) / size).astype(column.dtype)

    known = fine.predicted_cdbm != NONE_CDBM
    if not known.all():  # measured only: nothing to take a mean of
        kept = Predicted(*(getattr(fine, f.name)[known] for f in fields(Predicted)))
        return _parents_of(kept, resolution)
    return Predicted(
        cells=cells,
        predicted_cdbm=mean(fine.predicted_cdbm),
        predicted_sd_cdb=mean(fine.predicted_sd_cdb),
        predicted_server=fine.predicted_server[first],
        overlap=fine.overlap[first],
        measured_cdbm=np.full(len(cells), NONE_CDBM, np.int16),
        measured_cdb=np.full(len(cells), NONE_CDB, np.uint16),
        measured_server=np.full(len(cells), NO_SERVER, np.int32),
    )


def _whole(values: Array, kind: type[np.generic], none: int) -> Array:
    """Hundredths as whole numbers; `none` for NaN."""
    limits = np.iinfo(np.dtype(kind))
    known = np.clip(np.round(np.nan_to_num(values) * 100.0), limits.min + 1, limits.max - 1)
    return np.where(np.isnan(values), none, known).astype(kind)
