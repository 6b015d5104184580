"""Measured links as columns: what the learned part of the estimator reads, and how it is split.

A *world* is a set of links whose positions share one plane (a building, a city). A *mast* is a
place that transmits, a *transmitter* one antenna on it, whose links share an offset.
Splits are by blocks of ground: neighbours share shadowing, so a random split flatters by 2 to 3 dB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Obstructions that a survey may count, and a wall's loss in dB before anything is learned: heavy
# and light walls of the COST 231 multi-wall model (final report, table 4.7.3).
OBSTACLE_DB = {"brick": 6.9, "wood": 3.4, "glass": 3.4, "drywall": 3.4, "column": 3.4, "metal": 6.9}
MIN_DISTANCE_M = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Columns [n] of links; positions in metres on their world's plane.

    obstacles: [n, 6] counts in the order of OBSTACLE_DB. rise_m: difference of antenna heights.
    weight: how many readings a row stands for.
    """

    world: Ints
    mast: Ints
    transmitter: Ints
    tx_m: Floats  # [n, 2]
    rx_m: Floats  # [n, 2]
    rise_m: Floats
    frequency_hz: Floats
    rssi_dbm: Floats
    obstacles: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.world)

    def distance_m(self) -> Floats:
        """Length of the straight path, at least one metre."""
        flat = np.hypot(*(self.rx_m - self.tx_m).T)
        return np.asarray(np.maximum(np.hypot(flat, self.rise_m), MIN_DISTANCE_M))

    def take(self, rows: ArrayLike) -> Links:
        """Some rows, by index or by mask."""
        return Links(*(getattr(self, name)[np.asarray(rows)] for name in self.__slots__))


def make_links(
    tx_m: ArrayLike,
    rx_m: ArrayLike,
    frequency_hz: ArrayLike,
    rssi_dbm: ArrayLike,
    *,
    world: ArrayLike = 0,
    rise_m: ArrayLike = 0.0,
    configuration: ArrayLike = 0,
    obstacles: ArrayLike | None = None,
) -> Links:
    """Check columns and number the masts and transmitters.

    A mast is a distinct place in a world, a transmitter a distinct (mast, configuration), such as
    the antenna's height or frequency. Raises ValueError that names the column and the remedy.
    """
    rssi = np.atleast_1d(np.asarray(rssi_dbm, np.float64))
    count = len(rssi)
    tx, rx = (np.broadcast_to(np.asarray(p, np.float64), (count, 2)).copy() for p in (tx_m, rx_m))
    worlds, _ = _numbered(np.asarray(world), count)
    hertz = np.broadcast_to(np.asarray(frequency_hz, np.float64), (count,)).copy()
    rises = np.broadcast_to(np.asarray(rise_m, np.float64), (count,)).copy()
    walls = np.zeros((count, len(OBSTACLE_DB))) if obstacles is None else obstacles
    walls = np.asarray(walls, np.float64)
    _check(count, tx, rx, hertz, rssi, walls)
    mast = _rows_numbered(np.column_stack((worlds, np.round(tx, 1))))
    settings, _ = _numbered(np.asarray(configuration), count)
    transmitter = _rows_numbered(np.column_stack((mast, settings)))
    return Links(
        worlds, mast, transmitter, tx, rx, rises, hertz, rssi, walls, np.ones(count)
    )  # fmt: skip


def _numbered(values: NDArray[np.generic], count: int) -> tuple[Ints, NDArray[np.generic]]:
    unique, number = np.unique(np.broadcast_to(values, (count,)), return_inverse=True)
    return number.reshape(-1).astype(np.int64), unique


def _rows_numbered(rows: Floats) -> Ints:
    """Number of each distinct row in their order, column by column: faster than by whole rows."""
    number = np.zeros(len(rows), np.int64)
    for column in rows.T:
        part = np.unique(column, return_inverse=True)[1].reshape(-1)
        joined = number * (int(part.max(initial=0)) + 1) + part
        number = np.unique(joined, return_inverse=True)[1].reshape(-1)
    return np.asarray(number, np.int64)


def _check(count: int, tx: Floats, rx: Floats, hertz: Floats, rssi: Floats, walls: Floats) -> None:
    if not count:
        raise InvalidInputError("rssi_dbm", "no rows", "give at least one measurement")
    for name, column in (("tx", tx), ("rx", rx), ("rssi_dbm", rssi), ("obstacles", walls)):
        if not np.all(np.isfinite(column)):
            raise InvalidInputError(name, "not a number", "leave out rows without a value")
    if not np.all(np.isfinite(hertz) & (hertz > 0.0)):
        raise InvalidInputError("frequency_hz", "not above zero", "give Hz, such as 868e6")
    if walls.shape != (count, len(OBSTACLE_DB)):
        kinds = ", ".join(OBSTACLE_DB)
        raise InvalidInputError("obstacles", "not [n, 6] counts", f"give counts of {kinds}")


def join_links(*parts: Links) -> Links:
    """Rows of several tables that number worlds, masts and transmitters alike."""
    names = Links.__slots__
    return Links(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def blocks_of(links: Links, block_m: float) -> Ints:
    """Number of the square of ground, `block_m` wide, that each receiver stands in."""
    if not block_m > 0.0:
        raise InvalidInputError("block", "not above zero", "give metres, such as 50")
    squares = np.floor(links.rx_m / block_m)
    return _rows_numbered(np.column_stack((links.world, squares)))


def folds_of(blocks: Ints, count: int, seed: int) -> Ints:
    """Fold of each row, 0 to count - 1: blocks are dealt out, rows of one block stay together."""
    dealt = np.random.default_rng(seed).permutation(int(blocks.max()) + 1) % count
    return np.asarray(dealt[blocks], np.int64)


def thin(links: Links, most: int) -> tuple[Links, Ints]:
    """About `most` rows, one per transmitter and square, with the median of its readings.

    Also the row that each link went into.

    The squares double until the rows are few enough; a table that is small enough stays as it is.
    """
    if len(links) <= most:
        return links, np.arange(len(links))
    group, _ = _squares(links, most)
    return _medians(links, group), group


def wide_groups(links: Links, groups: Ints, most: int) -> Ints:
    """Groups, or larger squares in their place where transmitters and groups make over `most` rows.

    So it is with a wide drive and small blocks. What is left out together is then more than was
    asked for, never less.
    """
    pairs = np.unique(links.transmitter * (int(groups.max(initial=0)) + 1) + groups)
    return groups if len(pairs) <= most else blocks_of(links, _squares(links, most)[1])


def _squares(links: Links, most: int) -> tuple[Ints, float]:
    width_m = max(float(np.median(links.distance_m())) / 256.0, 0.25)
    while True:
        squares = np.floor(links.rx_m / width_m)
        group = _rows_numbered(np.column_stack((links.transmitter, squares)))
        if group.max() < most or width_m > 1e6:
            return group, width_m
        width_m *= 2.0 if group.max() > 4 * most else 1.2


def _medians(links: Links, group: Ints) -> Links:
    order = np.lexsort((links.rssi_dbm, group))
    size = np.bincount(group)
    start = np.cumsum(size) - size
    low, high = order[start + (size - 1) // 2], order[start + size // 2]
    middle = 0.5 * (links.rssi_dbm[low] + links.rssi_dbm[high])
    return replace(links.take(low), rssi_dbm=middle, weight=size.astype(np.float64))
