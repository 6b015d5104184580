"""What of people's devices may be seen: nothing finer than resolution 9, and never fewer than K.

Observations by people wait in a pool that is not part of the map. They leave it only as a unit of
at least K distinct devices in one cell, all at once: at resolution 9 as soon as K devices met
there; after HOLD_EPOCHS at the finest coarser cell where K did. From then on every row of the unit
carries that cell, so all that is ever published is made of whole units. Hence every difference of
two published figures, between a cell and its children or between two snapshots, is a difference of
whole units: no comparison ever singles out fewer than K devices.

Nor may a unit's members be followed from cell to cell. Its rows carry the day and not the epoch,
or the newest epochs of neighbouring cells would draw the way of whoever came through last. And its
devices get names of their own, or the number of distinct devices of a cell and of its parent would
tell that the same ones were in both, so that who knows of one visit would learn the other.

A device is a key. Someone who drives with several keys counts several times: the bound protects
those who keep to the client, which takes a new key per drive, against everybody else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.seeded import words
from coverage_map.store.aggregates import Rows
from coverage_map.store.keys import cells_of, keys_of, parents_of

K_DEVICES = 3
PEOPLE_FINEST = 9
COARSEST_RELEASE = 5  # 250 square kilometres: coarser says nothing that a planner could use
NAMES = 1 << 19  # of devices in units: the tables that count distinct ones have a row for each
HOLD_EPOCHS = 144  # a day of mainnet: then a coarser truth is worth more than a finer silence


@dataclass(frozen=True, slots=True, eq=False)
class Released:
    """Rows that may be published, each at the cell of its unit; rows that go on waiting."""

    rows: Rows
    waiting: Rows


def release(pool: Rows, epoch: int, hold_epochs: int = HOLD_EPOCHS) -> Released:
    """Split a pool at an epoch; rows older than `hold_epochs` may leave it at coarser cells."""
    keys = parents_of(keys_of(pool.cell), PEOPLE_FINEST)
    target = np.zeros(len(pool), np.uint64)
    free = np.zeros(len(pool), np.bool_)
    old = pool.epoch.astype(np.int64) + hold_epochs <= epoch
    for resolution in range(PEOPLE_FINEST, COARSEST_RELEASE - 1, -1):
        may = ~free & (old | (resolution == PEOPLE_FINEST))
        above = parents_of(keys, resolution)
        unit = may & _is_many(above, pool.device, may)
        target[unit] = cells_of(above[unit])
        free |= unit
    waiting = _take(pool, ~free, pool.cell[~free])
    return Released(_blurred(_take(pool, free, target[free]), epoch), waiting)


def _blurred(rows: Rows, epoch: int) -> Rows:
    """Rows of units that leave at an epoch, with days for epochs and devices named anew."""
    if not len(rows):
        return rows
    days = rows.epoch // np.uint32(HOLD_EPOCHS) * np.uint32(HOLD_EPOCHS)
    return Rows(rows.cell, rows.hotspot, _renamed(rows, epoch), rows.signal_cdbm, days)


def _renamed(rows: Rows, epoch: int) -> NDArray[np.uint32]:
    """A name per device and unit that says nothing of the device: its rank, from a drawn number on.

    Names are odd, as people's are, and small, as counting wants them: two units of one cell share
    some by chance, so that a cell with a thousand visits may count one too few.
    """
    pairs = np.stack((rows.cell, rows.device.astype(np.uint64)))
    visits, of_row = np.unique(pairs, axis=1, return_inverse=True)
    first = np.searchsorted(visits[0], visits[0])
    rank = (np.arange(len(first)) - first).astype(np.uint64)
    names = (words(epoch, visits[0]) + rank) % np.uint64(NAMES) * np.uint64(2) + np.uint64(1)
    return np.asarray(names.astype(np.uint32)[of_row.ravel()], np.uint32)


def _is_many(
    places: NDArray[np.uint64], device: NDArray[np.uint32], counted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether at least K_DEVICES distinct devices of the counted rows share a row's place."""
    pairs = np.unique(np.stack((places[counted], device[counted].astype(np.uint64))), axis=1)
    cells, devices = np.unique(pairs[0], return_counts=True)
    return np.asarray(np.isin(places, cells[devices >= K_DEVICES]))


def _take(rows: Rows, which: NDArray[np.bool_], cell: NDArray[np.uint64]) -> Rows:
    columns = [getattr(rows, name)[which] for name in Rows.__slots__[1:]]
    return Rows(cell, *columns)
