"""Aggregates: what many observations say about each of many cells, exact and joinable.

One observation is an aggregate of itself, so rows to cells, cells to parents, and a snapshot with
its delta are the same operation: join those that have the same target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.store.keys import FINEST, Keys, keys_of, parents_of

Array = NDArray[Any]
PLACE_SIGMA_DB = 4.0  # as in estimator.py: shadowing between a device and the rest of its cell
ROW_BITS = 24
ROWS_MAX = 1 << ROW_BITS


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Observations as columns: cell u64, hotspot and device u32 (dense), cdBm i16, epoch u32."""

    cell: Array
    hotspot: Array
    device: Array
    signal_cdbm: Array
    epoch: Array

    def __len__(self) -> int:
        return len(self.cell)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregates:
    """Per key, ascending: sums and extremes, and three lists of variable length.

    keys u64, count u32, total_cdbm i64, low and high i16, first and last epoch u32. bins_n,
    hotspots, devices: lengths of the lists. bins u8 and bin_n u32: histogram of 0.5 dB. member u32,
    member_n u32, member_total i64, member_square f32 (dB^2 about -90 dBm): per hotspot heard.
    device u32: who heard.
    """

    keys: Array
    count: Array
    total_cdbm: Array
    low_cdbm: Array
    high_cdbm: Array
    first: Array
    last: Array
    bins_n: Array
    hotspots: Array
    devices: Array
    bins: Array
    bin_n: Array
    member: Array
    member_n: Array
    member_total: Array
    member_square: Array
    device: Array

    def __len__(self) -> int:
        return len(self.keys)


PER_CELL = tuple(f.name for f in fields(Aggregates))[:10]
LISTS = {
    "bins_n": ("bins", "bin_n"),
    "hotspots": ("member", "member_n", "member_total", "member_square"),
    "devices": ("device",),
}
TYPES: dict[str, type[np.generic]] = {
    "keys": np.uint64,
    "count": np.uint32,
    "total_cdbm": np.int64,
    "low_cdbm": np.int16,
    "high_cdbm": np.int16,
    "first": np.uint32,
    "last": np.uint32,
    "bins_n": np.uint16,
    "hotspots": np.uint32,
    "devices": np.uint32,
    "bins": np.uint8,
    "bin_n": np.uint32,
    "member": np.uint32,
    "member_n": np.uint32,
    "member_total": np.int64,
    "member_square": np.float32,
    "device": np.uint32,
}


@dataclass(slots=True)
class Scratch:
    """Reusable memory of one thread: who was last seen by which group."""

    hotspots: int
    devices: int
    stamp: int = 0
    arrays: tuple[Array, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.arrays = (
            np.zeros(self.hotspots, np.int64),
            np.zeros(self.hotspots, np.int64),
            np.zeros(self.devices, np.int64),
        )

    def take(self) -> tuple[Any, ...]:
        """What kernels want: stamps and slots, the stamp so far, an empty histogram."""
        return (*self.arrays, self.stamp, np.zeros(256, np.int64))


def scratch_for(*parts: Aggregates | Rows) -> Scratch:
    """Scratch that is large enough for all ids in the parts."""
    hotspots = [x.hotspot if isinstance(x, Rows) else x.member for x in parts]
    most_h = max((int(x.max()) for x in hotspots if len(x)), default=0)
    most_d = max((int(x.device.max()) for x in parts if len(x.device)), default=0)
    return Scratch(most_h + 1, most_d + 1)


def empty() -> Aggregates:
    """No cell at all."""
    return Aggregates(**{name: np.empty(0, kind) for name, kind in TYPES.items()})


def aggregate(rows: Rows, scratch: Scratch | None = None) -> Aggregates:
    """Aggregates of rows by their own cells. ValueError for ROWS_MAX rows or more: cut them."""
    from coverage_map.store.kernels import aggregate_rows

    if len(rows) >= ROWS_MAX:
        raise ValueError(f"{len(rows)} rows; aggregate fewer than {ROWS_MAX} at a time")
    if not len(rows):
        return empty()
    scratch = scratch or scratch_for(rows)
    packed = keys_of(rows.cell) << np.uint64(ROW_BITS) | np.arange(len(rows), dtype=np.uint64)
    if np.any(packed[1:] < packed[:-1]):
        packed = np.sort(packed)
    groups = 1 + int(np.count_nonzero((packed[1:] ^ packed[:-1]) >> np.uint64(ROW_BITS)))
    made = _outputs(groups, len(rows), len(rows), len(rows))
    columns = (rows.hotspot, rows.device, rows.signal_cdbm, rows.epoch)
    *sizes, scratch.stamp = aggregate_rows(packed, *columns, *scratch.take(), *made.values())[1:]
    return _trimmed(made, sizes)


def join(parts: Sequence[Aggregates], scratch: Scratch | None = None) -> Aggregates:
    """One aggregate per key of all parts."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty()
    whole = concatenate(parts)
    return group(whole, whole.keys, scratch)


def roll_up(fine: Aggregates, resolution: int, scratch: Scratch | None = None) -> Aggregates:
    """Aggregates of the ancestors at a resolution; keys that are coarser already stay."""
    return group(fine, parents_of(fine.keys, resolution), scratch) if len(fine) else fine


def group(parts: Aggregates, targets: Keys, scratch: Scratch | None = None) -> Aggregates:
    """Join aggregates that have the same target key."""
    from coverage_map.store.kernels import combine

    scratch = scratch or scratch_for(parts)
    order = np.arange(len(targets))
    if np.any(targets[1:] < targets[:-1]):
        order = np.argsort(targets, kind="stable")
    ordered = targets[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = (len(starts), len(parts.bins), len(parts.member), len(parts.device))
    made = _outputs(*sizes)
    made["keys"] = ordered[starts]
    source = [getattr(parts, name) for name in PER_CELL[1:7]]
    source += [offsets(getattr(parts, name)) for name in LISTS]
    source += [getattr(parts, name) for names in LISTS.values() for name in names]
    given = list(made.values())[1:]
    *used, scratch.stamp = combine(
        order, np.append(starts, len(order)), *scratch.take(), *source, *given
    )
    return _trimmed(made, used)


def take(parts: Aggregates, rows: NDArray[np.intp]) -> Aggregates:
    """Some rows, in the order given."""
    found = {name: getattr(parts, name)[rows] for name in PER_CELL}
    for size, names in LISTS.items():
        at = list_rows(offsets(getattr(parts, size)), rows)
        found |= {name: getattr(parts, name)[at] for name in names}
    return Aggregates(**found)


def list_rows(at: Array, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of the list entries of some rows, from the lists' offsets."""
    sizes = at[rows + 1] - at[rows]
    ends = np.cumsum(sizes)
    return np.asarray(np.repeat(at[rows] - (ends - sizes), sizes) + np.arange(sizes.sum()))


def concatenate(parts: Sequence[Aggregates]) -> Aggregates:
    """Parts one after the other, not joined."""
    names = [f.name for f in fields(Aggregates)]
    return Aggregates(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def offsets(sizes: Array) -> NDArray[np.int64]:
    """Where each list of these lengths starts, and where the last one ends."""
    found = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=found[1:])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """What follows from aggregates for people: cdBm of 10 %, 50 %, 90 %, best server, cdB."""

    quantiles_cdbm: Array
    server: Array
    server_cdbm: Array
    sd_cdb: Array


def describe(parts: Aggregates) -> Described:
    """Quantiles (nearest rank, 0.5 dB bins), and the server with the highest mean per cell.

    A server with three receptions or more goes before one with fewer. The uncertainty is the spread
    of that server's receptions and of places in the cell where no device was.
    """
    from coverage_map.store.kernels import describe as kernel

    size = len(parts)
    made = Described(
        np.empty((3, size), np.int16),
        np.empty(size, np.int32),
        np.empty(size, np.int16),
        np.empty(size, np.uint16),
    )
    kernel(
        *(parts.count, parts.low_cdbm, parts.high_cdbm, parts.devices),
        *(offsets(parts.bins_n), parts.bins, parts.bin_n, offsets(parts.hotspots)),
        *(parts.member, parts.member_n, parts.member_total, parts.member_square),
        *(PLACE_SIGMA_DB, made.quantiles_cdbm, made.server, made.server_cdbm, made.sd_cdb),
    )
    return made


def levels_of(
    own: Aggregates, coarsest: int, finest: int = FINEST, scratch: Scratch | None = None
) -> dict[int, Aggregates]:
    """Per resolution from `finest` to `coarsest`: all that lies in each of its cells.

    `own` holds keys of any resolution; one enters its own level and the coarser ones.
    """
    from coverage_map.store.keys import resolutions_of

    levels: dict[int, Aggregates] = {}
    scratch = scratch or scratch_for(own)
    precision = resolutions_of(own.keys)
    above = empty()
    for resolution in range(finest, coarsest - 1, -1):
        here = np.flatnonzero(precision == resolution)
        rolled = roll_up(above, resolution, scratch)
        if len(here):
            exact = own if len(here) == len(own) else take(own, here)
            rolled = join([rolled, exact], scratch)
        above = levels[resolution] = rolled
    return levels


def _outputs(cells: int, bins: int, members: int, devices: int) -> dict[str, Array]:
    size = {**dict.fromkeys(PER_CELL, cells), **dict.fromkeys(LISTS["bins_n"], bins)}
    size |= dict.fromkeys(LISTS["hotspots"], members) | dict.fromkeys(LISTS["devices"], devices)
    return {name: np.empty(size[name], kind) for name, kind in TYPES.items()}


def _trimmed(made: dict[str, Array], used: Sequence[int]) -> Aggregates:
    for names, most in zip(LISTS.values(), used, strict=True):
        for name in names:
            # A copy, so that the memory of the worst case is given back.
            made[name] = made[name][:most].copy() if most < len(made[name]) else made[name]
    return Aggregates(**made)


__all__ = ["Aggregates", "Rows", "aggregate", "describe", "join", "keys_of", "levels_of", "roll_up"]
