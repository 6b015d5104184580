"""From receptions to links: the few sums per link, and per pair of witnesses, that all tests need.

Receptions come in blocks, epochs ascending, so that a network's 160 million of them never have to
be in memory together. What the rules refused because the beacon wasn't the hotspot's (wrong tag,
late, ...) is no physics and left out; what they refused for its strength or distance stays in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chain.rules.verdicts import REASONS
from coverage_map.audit.table import NO_RSSI_CDBM, Claims, Hearings, check_indexes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Verdicts on receptions that say something about radio, whatever else is wrong with them. Not
# `same_owner`: who owns both ends can report what he likes.
PHYSICAL = (
    *("counted", "not_mutual", "untrusted_witness", "not_drawn", "power_blind"),
    *("rssi_too_high", "rssi_too_low", "too_far", "too_close", "held_witness"),
)
BLOCK_ROWS = 1_000_000
ROW_COLUMNS = ("epoch", "witness", "beaconer", "step_cdb", "rssi_cdbm")  # as add_rows takes them
# Who moves away tells the truth for a while: links are also kept by windows of two strides, one
# starting in the middle of the other, and of the newest stride alone, so that who is carried away
# is seen within one. A rest shorter than half a stride belongs to the one before it.
STRIDE_EPOCHS = 20
WINDOW_EPOCHS = 2 * STRIDE_EPOCHS
# Of the beacons every fourth is searched for copies: a pair of witnesses has thousands in common.
PAIR_EVERY = 4


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Directed links, sorted by (beaconer, witness); all arrays of equal length.

    `full_db`: mean RSSI in dBm with the power step taken out, NaN where none was measured;
    `spread_db`: deviation of a packet from the mean of its epoch, the step taken out. `step_step`,
    `step_rssi`, `freedom`: sums of squares and products of power step and raw RSSI within epochs,
    and their degrees of freedom. `weakest_db`: least raw RSSI.
    """

    beaconer: Ints
    witness: Ints
    count: Ints
    measured: Ints
    epochs: Ints
    full_db: Floats
    full_var_db2: Floats
    spread_db: Floats
    step_step: Floats
    step_rssi: Floats
    rssi_rssi: Floats
    freedom: Floats
    weakest_db: Floats

    def __len__(self) -> int:
        return len(self.beaconer)


@dataclass(frozen=True, slots=True, eq=False)
class WitnessPairs:
    """Witnesses that received the same beacons: how their packets' deviations go together."""

    first: Ints
    second: Ints
    count: Ints
    correlation: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Part of an audit: epochs [start, stop) from its first, and columns in the order of its links.

    `full_db`: mean within the window of RSSI with the power step taken out, NaN where none was.
    """

    start: int
    stop: int
    count: Ints
    measured: Ints
    full_db: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that the tests look at. `active` [hotspots, epochs]: reported or was heard.

    `windows`: the links again, by parts of the time that overlap; none for an audit of one stride.
    """

    links: Links
    pairs: WitnessPairs
    active: Flags
    first_epoch: int
    windows: tuple[Window, ...] = ()


class _Table:
    """Rows of sums found by a 64-bit key; grows by doubling."""

    def __init__(self, columns: int, rows: int = 1 << 14) -> None:
        self.used = 0
        self._make(columns, rows)

    def _make(self, columns: int, rows: int) -> None:
        self.keys = np.zeros(rows, np.int64)
        self.sums = np.zeros((rows, columns))
        self.slots = np.zeros(2 * rows, np.int64)

    def grow(self) -> None:
        from coverage_map.audit.link_kernels import fill_slots

        keys, sums = self.keys, self.sums
        self._make(sums.shape[1], 2 * len(keys))
        self.keys[: len(keys)], self.sums[: len(keys)] = keys, sums
        fill_slots(self.slots, self.keys, self.used)


class Accumulator:
    """Takes blocks of receptions, epochs ascending; `finish` gives the evidence."""

    def __init__(self, claims: Claims, *, pair_every: int = PAIR_EVERY) -> None:
        from coverage_map.audit.link_kernels import COLUMNS, PAIR_COLUMNS

        self._claims = claims
        self._pair_every = pair_every
        self._links = _Table(COLUMNS)
        self._pairs = _Table(PAIR_COLUMNS)
        self._physical = np.array([reason in PHYSICAL for reason in REASONS])
        self._active = np.zeros((len(claims), 0), np.bool_)
        self._first_epoch: int | None = None
        self._closed: list[tuple[int, Floats]] = []  # strides' ends, and all links' sums by then

    def add(self, hearings: Hearings) -> None:
        """Add a block; InvalidInputError if it names a hotspot that claims nothing."""
        check_indexes(hearings, self._claims)
        for block in hearings.blocks(BLOCK_ROWS):
            if self._first_epoch is None:
                self._first_epoch = int(block.epoch[0])
            # Compared as wide integers: epochs ascend within a block.
            stride = (block.epoch.astype(np.int64) - self._first_epoch) // STRIDE_EPOCHS
            for number in range(int(stride[0]), int(stride[-1]) + 1):
                self._close_strides(number)
                low, high = np.searchsorted(stride, [number, number + 1])
                if high > low:
                    self._add_block(block.take(slice(int(low), int(high))))

    def _close_strides(self, number: int) -> None:
        """Note what the links' sums were when the strides before the number-th ended."""
        while len(self._closed) < number:
            end = (len(self._closed) + 1) * STRIDE_EPOCHS
            self._closed.append((end, self._get_sums()))

    def _get_sums(self) -> Floats:
        from coverage_map.audit.link_kernels import COUNT, FULL, MEASURED

        return self._links.sums[: self._links.used, [COUNT, MEASURED, FULL]]

    def _add_block(self, block: Hearings) -> None:
        from coverage_map.audit.link_kernels import add_rows

        bound = self._claims.first_epoch
        settled = (block.epoch >= bound[block.witness]) & (block.epoch >= bound[block.beaconer])
        physical = self._physical[block.code] & settled
        self._note_active(block)
        wide = [getattr(block, name).astype(np.int64) for name in ROW_COLUMNS]
        rows = (wide[0], wide[1], wide[2], wide[3], wide[4], physical)
        deviations = np.empty(len(block), np.float32)
        table, at = self._links, 0
        while at < len(block):
            at, table.used = add_rows(
                rows, at, NO_RSSI_CDBM, table.slots, table.keys, table.sums, table.used, deviations
            )
            if at < len(block):
                table.grow()
        self._add_pairs(block, deviations)

    def _note_active(self, block: Hearings) -> None:
        at = block.epoch.astype(np.int64) - (self._first_epoch or 0)
        if (missing := int(at.max()) + 1 - self._active.shape[1]) > 0:
            added = np.zeros((len(self._claims), max(missing, self._active.shape[1])), np.bool_)
            self._active = np.concatenate([self._active, added], axis=1)
        self._active[block.witness, at] = True
        self._active[block.beaconer, at] = True

    def _add_pairs(self, block: Hearings, deviations: NDArray[np.float32]) -> None:
        from coverage_map.audit.link_kernels import add_pairs

        turn = block.epoch.astype(np.int64) + block.sequence
        rows = np.flatnonzero((turn % self._pair_every == 0) & ~np.isnan(deviations))
        epoch, beaconer = block.epoch[rows].astype(np.int64), block.beaconer[rows].astype(np.int64)
        beacon = (epoch - epoch.min(initial=1 << 31)) << 40 | beaconer << 8 | block.sequence[rows]
        order = np.argsort(beacon, kind="stable")
        rows, beacon = rows[order], beacon[order]
        witness = block.witness[rows].astype(np.int64)
        table, at = self._pairs, 0
        while at < len(rows):
            at, table.used = add_pairs(
                *(beacon, witness, deviations[rows], at, table.slots, table.keys),
                *(table.sums, table.used),
            )
            if at < len(rows):
                table.grow()

    def finish(self) -> Evidence:
        """Links and pairs as they stand; more can't be added afterwards."""
        from coverage_map.audit.link_kernels import close_all

        close_all(self._links.sums, self._links.used)
        any_epoch = self._active.any(axis=0)
        epochs = int(np.flatnonzero(any_epoch).max(initial=-1)) + 1
        return Evidence(
            _get_links(self._links),
            _get_pairs(self._pairs),
            self._get_active(epochs),
            self._first_epoch or 0,
            self._get_windows(epochs),
        )

    def _get_active(self, epochs: int) -> Flags:
        """Who was there since its claim has bound: silence before it is nobody's lie."""
        bound = self._claims.first_epoch.astype(np.int64) - (self._first_epoch or 0)
        return np.asarray(self._active[:, :epochs] & (np.arange(epochs) >= bound[:, None]))

    def _get_windows(self, epochs: int) -> tuple[Window, ...]:
        """What was added to the links' sums from each window's start to its end."""
        from coverage_map.audit.link_kernels import REFERENCE

        order = np.argsort(self._links.keys[: self._links.used], kind="stable")
        reference = self._links.sums[order, REFERENCE]
        closed = [(end, sums) for end, sums in self._closed if epochs - end >= STRIDE_EPOCHS // 2]
        sums_at = {0: np.zeros((0, 3)), **dict(closed), epochs: self._get_sums()}

        def make(start: int, stop: int) -> Window:
            total = np.zeros((len(order), 3))
            total[: len(sums_at[stop])] = sums_at[stop]
            total[: len(sums_at[start])] -= sums_at[start]
            count, measured, full = total[order].T
            with np.errstate(divide="ignore", invalid="ignore"):
                mean = np.where(measured > 0, full / measured, np.nan) + reference
            return Window(start, stop, count.astype(np.int64), measured.astype(np.int64), mean)

        return tuple(make(*window) for window in get_window_ends(list(sums_at)))


def get_window_ends(ends: list[int]) -> list[tuple[int, int]]:
    """Windows from the ends of strides, 0 first: pairs of neighbours, and the newest alone.

    None that is the whole time.
    """
    pairs = list(zip(ends, ends[2:], strict=False)) if len(ends) > 3 else []
    return [*pairs, (ends[-2], ends[-1])] if len(ends) > 2 else []


def compute_evidence(
    blocks: Iterable[Hearings], claims: Claims, *, pair_every: int = PAIR_EVERY
) -> Evidence:
    """The evidence in some blocks of receptions, epochs ascending."""
    accumulator = Accumulator(claims, pair_every=pair_every)
    for block in blocks:
        if len(block):
            accumulator.add(block)
    return accumulator.finish()


def _get_links(table: _Table) -> Links:
    from coverage_map.audit import link_kernels as k

    order = np.argsort(table.keys[: table.used], kind="stable")
    keys, sums = table.keys[order], table.sums[order]
    measured = sums[:, k.MEASURED]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(measured > 0, sums[:, k.FULL] / measured, np.nan)
        variance = (sums[:, k.FULL_FULL] - measured * mean**2) / (measured - 1.0)
        # Raw RSSI falls by what the step takes away: what is left around that line.
        rest = sums[:, k.RSSI_RSSI] + 2.0 * sums[:, k.STEP_RSSI] + sums[:, k.STEP_STEP]
        spread = np.sqrt(np.maximum(rest, 0.0) / sums[:, k.FREEDOM])
    return Links(
        beaconer=keys >> 32,
        witness=keys & 0xFFFF_FFFF,
        count=sums[:, k.COUNT].astype(np.int64),
        measured=measured.astype(np.int64),
        epochs=sums[:, k.EPOCHS].astype(np.int64),
        full_db=mean + sums[:, k.REFERENCE],
        full_var_db2=np.where(measured > 1, np.maximum(variance, 0.0), np.nan),
        spread_db=np.where(sums[:, k.FREEDOM] > 0, spread, np.nan),
        step_step=sums[:, k.STEP_STEP],
        step_rssi=sums[:, k.STEP_RSSI],
        rssi_rssi=sums[:, k.RSSI_RSSI],
        freedom=sums[:, k.FREEDOM],
        weakest_db=np.where(measured > 0, sums[:, k.WEAKEST], np.nan),
    )


def _get_pairs(table: _Table) -> WitnessPairs:
    order = np.argsort(table.keys[: table.used], kind="stable")
    keys, sums = table.keys[order], table.sums[order]
    scale = np.sqrt(sums[:, 1] * sums[:, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(scale > 0, sums[:, 3] / scale, 0.0)
    return WitnessPairs(
        keys >> 32, keys & 0xFFFF_FFFF, sums[:, 0].astype(np.int64), correlation
    )
