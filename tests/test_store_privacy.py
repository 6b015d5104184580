"""Someone tries to find out where one device was, with everything that the map ever publishes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import h3.api.basic_int as h3
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.store.aggregates import Rows
from coverage_map.store.io_keeper import KIND_MAPPER, Keeper
from coverage_map.store.io_observations import join_rows
from coverage_map.store.privacy import HOLD_EPOCHS, K_DEVICES, release

HOME = h3.latlng_to_cell(47.37, 8.54, 9)
AROUND = sorted(h3.grid_disk(HOME, 6))


def rows_of(places: list[int], devices: list[int], epoch: int) -> Rows:
    size = len(places)
    return Rows(
        np.array(places, np.uint64),
        np.zeros(size, np.uint32),
        np.array(devices, np.uint32),
        np.full(size, -8_000, np.int16),
        np.full(size, epoch, np.uint32),
    )


def crowd(seed: int, epoch: int, drivers: int = 25) -> Rows:
    """Drives of some devices over neighbouring cells; few cells are met by many."""
    draws = np.random.default_rng((seed, epoch))
    places, devices = [], []
    for _ in range(drivers):
        device, at = int(draws.integers(0, 60)), int(draws.choice(AROUND))
        for _ in range(int(draws.integers(1, 6))):
            places.append(at)
            devices.append(device)
            at = int(draws.choice(sorted(set(h3.grid_disk(at, 1)) & set(AROUND))))
    return rows_of(places, devices, epoch)


units = st.lists(
    st.tuples(st.integers(0, len(AROUND) - 1), st.integers(0, 9), st.integers(0, 3)), max_size=60
)


@given(units)
@settings(max_examples=60, deadline=None)
def test_every_unit_that_leaves_the_pool_has_k_devices(drawn: list[tuple[int, int, int]]) -> None:
    rows = join_rows([rows_of([AROUND[c]], [d], e * HOLD_EPOCHS) for c, d, e in drawn])
    found = release(rows, 3 * HOLD_EPOCHS)
    assert len(found.rows) + len(found.waiting) == len(rows)
    for cell in np.unique(found.rows.cell):
        assert len(np.unique(found.rows.device[found.rows.cell == cell])) >= K_DEVICES
        assert 5 <= h3.get_resolution(int(cell)) <= 9


def test_fresh_rows_wait_and_old_ones_leave_at_a_coarser_cell() -> None:
    apart = [c for c in AROUND if h3.cell_to_parent(c, 8) == h3.cell_to_parent(HOME, 8)][:3]
    rows = rows_of(apart, [1, 3, 5], 10)
    assert len(release(rows, 10).rows) == 0
    later = release(rows, 10 + HOLD_EPOCHS).rows
    assert set(later.cell.tolist()) == {h3.cell_to_parent(HOME, 8)}


def published_units(parts: list[Rows], path: Path) -> tuple[list[dict[int, int]], Keeper]:
    """Counts per cell after every publication, all resolutions together."""
    keeper, seen = Keeper(path), []
    for number, rows in enumerate(parts):
        keeper.receive(rows, np.full(len(rows), KIND_MAPPER, np.uint8), 10 * number)
        keeper.publish(None, number)
        counts: dict[int, int] = {}
        for resolution in range(3, 12):
            level = keeper.view.level(resolution)
            counts |= dict(zip(level["cells"].tolist(), level["count"].tolist(), strict=True))
        seen.append(counts)
    return seen, keeper


def test_no_comparison_of_cells_and_snapshots_singles_a_device_out(tmp_path: Path) -> None:
    """The attacker knows everybody's drives but the victim's, and takes every difference there is.

    For each cell and each snapshot: the count, less the snapshot before (differencing in time),
    less the published children (differencing in space). What remains must never be made of
    receptions of fewer than K devices. The truth per unit is what the store itself took in.
    """
    parts = [crowd(1, 10 * number) for number in range(8)]
    seen, keeper = published_units(parts, tmp_path / "map")
    assert sum(seen[-1].values()) > 0
    taken = [Counter(), *map(Counter, seen)]
    checked = 0
    for before, after in pairwise(taken):
        for cell in after:
            gained = after[cell] - before[cell]
            below = [c for c in after if parent_of(c) == cell]
            alone = gained - sum(after[c] - before[c] for c in below)
            assert alone >= 0
            # What a cell gained on its own is one unit or none: K receptions at the very least.
            assert alone == 0 or alone >= K_DEVICES
            checked += alone > 0
    assert checked > 5
    devices = keeper.view.level(9)["devices"]
    assert (devices[devices > 0] >= K_DEVICES).all()


def parent_of(cell: int) -> int:
    resolution = h3.get_resolution(cell)
    return h3.cell_to_parent(cell, resolution - 1) if resolution else 0


def test_a_victims_presence_can_be_traded_for_anothers(tmp_path: Path) -> None:
    """Intersection: all cells that a victim's drive touched show nothing that names the victim.

    Two worlds, alike but for who of two devices drove: what is published is the same, byte by byte.
    """
    parts = [crowd(2, 10 * number) for number in range(4)]
    victim, other = 7, 61  # 61 never drives in the first world
    swapped = []
    for rows in parts:
        device = np.where(rows.device == victim, other, rows.device).astype(np.uint32)
        swapped.append(Rows(rows.cell, rows.hotspot, device, rows.signal_cdbm, rows.epoch))
    assert any((rows.device == victim).any() for rows in parts)
    one, first = published_units(parts, tmp_path / "one")
    two, second = published_units(swapped, tmp_path / "two")
    assert one == two
    for resolution in range(3, 12):
        for name, column in first.view.level(resolution).items():
            assert (column == second.view.level(resolution)[name]).all(), name


def test_the_finest_that_people_are_shown_at_is_nine(tmp_path: Path) -> None:
    parts = [crowd(3, 10 * number) for number in range(5)]
    _, keeper = published_units(parts, tmp_path / "map")
    assert len(keeper.view.level(9)["cells"]) > 0
    assert [len(keeper.view.level(r)["cells"]) for r in (10, 11)] == [0, 0]


# ---- a drive, and someone who looks for it


WAY = h3.grid_path_cells(HOME, h3.latlng_to_cell(47.37, 8.62, 9))  # twenty cells in a row
DAY = 3 * HOLD_EPOCHS


def road(seed: int) -> tuple[list[Rows], int]:
    """Rows by epoch: two others were in each cell before, then the victim drives along them all.

    The worst case for the victim, who completes every unit; the epoch in which it set out too.
    """
    draws = np.random.default_rng(seed)
    parts = []
    for epoch in range(DAY, DAY + 20):
        at = [int(WAY[k]) for k in np.flatnonzero(draws.integers(0, 20, len(WAY)) == epoch - DAY)]
        parts.append(rows_of(at, [100 + epoch] * len(at), epoch))
    for other in (200, 201):
        parts += [rows_of([int(cell) for cell in WAY], [other] * len(WAY), DAY + 20)]
    start = DAY + 30
    return parts + [rows_of([int(c)], [7], start + k) for k, c in enumerate(WAY)], start


def drawn_order(keeper: Keeper, name: str) -> float:
    """Share of the way's steps whose direction a column of the published map tells rightly."""
    rows = [keeper.view.cell(int(cell)) for cell in WAY]
    found = [None if row is None else int(row[name][0]) for row in rows]
    steps = [(a, b) for a, b in pairwise(found) if a is not None and b is not None]
    assert len(steps) > 10
    return sum(a < b for a, b in steps) / len(steps)


def test_no_column_of_the_map_tells_which_way_a_driver_went(tmp_path: Path) -> None:
    parts, start = road(1)
    keeper = Keeper(tmp_path / "map")
    for rows in parts:
        keeper.receive(rows, np.full(len(rows), KIND_MAPPER, np.uint8), start + 40)
    keeper.publish(None, 1)
    for name in ("first", "last"):
        assert drawn_order(keeper, name) == 0.0
    table = keeper.view.level(9)
    assert set((table["last"] % HOLD_EPOCHS).tolist()) == {0}


def test_cells_do_not_tell_that_the_same_devices_were_in_both(tmp_path: Path) -> None:
    """Differencing distinct devices: two cells with three each, and their parent.

    Whether it were the same three or six different ones must not show, or whoever knows of one
    cell that somebody was there learns the other.
    """
    pair = h3.cell_to_children(h3.cell_to_parent(HOME, 8), 9)[:2]
    found = []
    for number, devices in enumerate(([1, 2, 3, 1, 2, 3], [1, 2, 3, 4, 5, 6])):
        keeper = Keeper(tmp_path / str(number))
        rows = rows_of([int(c) for c in pair for _ in range(3)], devices, DAY)
        keeper.receive(rows, np.full(6, KIND_MAPPER, np.uint8), DAY)
        keeper.publish(None, 1)
        found.append([keeper.view.level(r)["devices"].tolist() for r in range(5, 10)])
    assert found[0] == found[1]
    assert found[0][-1] == [3, 3]
    assert found[0][0] == [6]


def test_a_device_that_comes_again_is_not_told_from_another(tmp_path: Path) -> None:
    """Differencing in time: a second unit of one cell, of the same devices or of others."""
    found = []
    for number, later in enumerate(([1, 2, 3], [4, 5, 6])):
        keeper = Keeper(tmp_path / str(number))
        for epoch, devices in ((DAY, [1, 2, 3]), (2 * DAY, later)):
            rows = rows_of([HOME] * 3, devices, epoch)
            keeper.receive(rows, np.full(3, KIND_MAPPER, np.uint8), epoch)
            keeper.publish(None, epoch)
        found.append(keeper.view.level(9)["devices"].tolist())
    assert found == [[6], [6]]
