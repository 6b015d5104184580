"""A snapshot: per resolution, sorted cells with their columns; immutable and named by its content.

Measured and predicted live in columns of their own, so no code path can turn one into the other:
`count > 0` is what "measured" means, and only samples from links can raise `count`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from coverage_map.cells import Cells, slice_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SERVERS = 6  # strongest hotspots kept per cell
NO_SERVER = -1
DEFAULT_THRESHOLD_DBM = -82.0
WITHIN_DB = 6.0


@dataclass(frozen=True, slots=True)
class Level:
    """Columns of one resolution; NaN and NO_SERVER where a cell has no such value.

    measured_*: quantiles in dBm of the best measured server, samples, distinct beaconers and
    witnesses, samples that came late, time of the newest in ms. predicted_*: mean dBm and
    standard deviation dB of the best predicted server. servers: (n, SERVERS), strongest first.
    """

    resolution: int
    cells: Cells
    measured_p10_dbm: Floats
    measured_p50_dbm: Floats
    measured_p90_dbm: Floats
    measured_sd_db: Floats
    measured_server: Ints
    count: Ints
    hotspots: Ints
    witnesses: Ints
    late: Ints
    newest_ms: Ints
    own_precision: NDArray[np.bool_]
    predicted_dbm: Floats
    predicted_sd_db: Floats
    servers: Ints
    servers_dbm: Floats

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Where samples exist."""
        return self.count > 0

    def value_dbm(self) -> Floats:
        """Measured median where there is one, otherwise the predicted mean."""
        return np.where(self.measured, self.measured_p50_dbm, self.predicted_dbm)

    def sd_db(self) -> Floats:
        """Uncertainty of `value_dbm` for a place anywhere in the cell."""
        return np.where(self.measured, self.measured_sd_db, self.predicted_sd_db)

    def best_server(self) -> Ints:
        """Hotspot behind `value_dbm`."""
        return np.where(self.measured, self.measured_server, self.servers[:, 0])

    def probability(self, threshold_dbm: float) -> Floats:
        """That the best server alone reaches the threshold: a lower bound where cells overlap."""
        return np.asarray(ndtr((self.value_dbm() - threshold_dbm) / self.sd_db()), np.float64)

    def confidence(self) -> Floats:
        """Probability that the value is right within 6 dB."""
        return np.asarray(2.0 * ndtr(WITHIN_DB / self.sd_db()) - 1.0, np.float64)

    def overlap(self, threshold_dbm: float) -> Ints:
        """How many hotspots are predicted at or above the threshold, at most SERVERS."""
        return np.asarray((self.servers_dbm >= threshold_dbm).sum(axis=1), np.int64)

    def under(self, cell: int) -> slice:
        """Rows whose cell lies in `cell`, by two binary searches."""
        return slice_of(self.cells, cell, self.resolution)

    def row_of(self, cell: int) -> int | None:
        """Row of a cell, or None when nothing is known there."""
        row = int(np.searchsorted(self.cells, np.uint64(cell)))
        return row if row < len(self.cells) and int(self.cells[row]) == cell else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All levels at one moment; `identity` is a hash of the columns."""

    identity: str
    epoch: int
    time_ms: int
    calibration: float
    levels: dict[int, Level]


def identity_of(levels: dict[int, Level]) -> str:
    """First 16 hexadecimal digits of a SHA-256 over every column."""
    state = sha256()
    for resolution in sorted(levels):
        for field in fields(Level)[1:]:
            column = np.ascontiguousarray(getattr(levels[resolution], field.name))
            state.update(f"{resolution}:{field.name}:{column.dtype.str}\n".encode())
            state.update(column.tobytes())
    return state.hexdigest()[:16]
