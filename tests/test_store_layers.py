"""Layers: a delta published beside its base says exactly what a snapshot of everything would."""

from __future__ import annotations

from pathlib import Path

import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import make_rows

from coverage_map.cells import parents
from coverage_map.service.io_tiles import make_tile
from coverage_map.store.aggregates import Rows
from coverage_map.store.io_build import build
from coverage_map.store.io_layers import fold, refresh, share_of, update
from coverage_map.store.io_observations import Observations
from coverage_map.store.io_snapshots import Published, Snapshots
from coverage_map.store.tables import COLUMNS, LIST_COLUMNS, Predicted
from coverage_map.tiles import binary

TIME_MS = 1_700_000_000_000
MIXED = (6, 8, 9, 10, 11)


class Store:
    """A directory with observations, snapshots, and the rows that were given so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.observations = Observations(path / "observations")
        self.snapshots = Snapshots(path / "snapshots")
        self.predicted: dict[int, Predicted] = {}

    def add(self, rows: Rows) -> str:
        return self.observations.append(rows, np.zeros(len(rows), np.uint8))

    def build(self, names: list[str] | None = None) -> Published:
        where = (self.observations, self.snapshots)
        return build(*where, names or self.observations.names(), self.predicted, TIME_MS)

    def update(self, base: Published, *names: str) -> Published:
        return update(self.observations, self.snapshots, base, names, TIME_MS)

    def anew(self) -> Published:
        """A snapshot of all observations, made elsewhere."""
        aside = Snapshots(self.path / "aside")
        return build(self.observations, aside, self.observations.names(), self.predicted, TIME_MS)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that always lays, however small its base is."""
    monkeypatch.setattr("coverage_map.store.io_layers.LAYER_SHARE", 0.01)
    return Store(tmp_path)


def same(found: Published, wanted: Published) -> None:
    for resolution in range(3, 12):
        level = found.view().level(resolution)
        for name in COLUMNS:
            here, there = level[name], wanted.merged[resolution][name]
            assert here.dtype == there.dtype
            assert np.array_equal(here, there), (resolution, name)


def predictions(rows: Rows, resolution: int = 9) -> dict[int, Predicted]:
    """A prediction for every other cell of some rows, and an estimator's figure for a few."""
    cells = np.unique(rows.cell[rows.cell >> np.uint64(52) & np.uint64(15) >= resolution])
    cells = np.unique(parents(cells, resolution))[::2]
    size = np.arange(len(cells))
    return {
        resolution: Predicted(
            cells, (-9_000 - size).astype(np.int16), (500 + size % 300).astype(np.uint16),
            (size % 40).astype(np.int32), (size % 5).astype(np.uint8),
            np.where(size % 3, -32_768, -8_000).astype(np.int16),
            np.where(size % 3, 65_535, 300).astype(np.uint16), (size % 7).astype(np.int32),
        )
    }  # fmt: skip


def test_a_small_delta_is_laid_and_a_large_one_folded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    base = [store.add(make_rows(4_000, 1, MIXED))]
    full = store.build(base)
    laid = store.update(full, store.add(make_rows(30, 2, (11,))))
    assert (laid.base, full.base) == (full.identity, full.identity)
    assert 0 < share_of(laid) < 0.2
    folded = store.update(laid, store.add(make_rows(2_000, 3, MIXED)))
    assert folded.base == folded.identity
    same(folded, store.anew())


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    seed=st.integers(0, 1 << 20),
    precisions=st.sampled_from([MIXED, (9,), (5, 11), (3, 10)]),
)
def test_any_chain_of_layers_says_what_one_build_says(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    sizes: list[int], seed: int, precisions: tuple[int, ...],
) -> None:  # fmt: skip
    monkeypatch.setattr("coverage_map.store.io_layers.LAYER_SHARE", 0.001)
    store = Store(tmp_path_factory.mktemp("chain"))
    name = store.add(make_rows(300, seed, precisions, spread=0.02))
    first = made = store.build([name])
    for number, size in enumerate(sizes):
        fresh = make_rows(size, seed + number + 1, precisions, spread=0.02)
        made = store.update(made, store.add(fresh))
        assert made.base == first.identity
    anew = store.anew()
    same(made, anew)
    folded = fold(store.snapshots, made)
    same(folded, anew)
    assert (folded.segments, folded.epoch) == (made.segments, made.epoch)


def test_predictions_stay_under_a_layer_and_measurements_overtake_them(store: Store) -> None:
    first, later = make_rows(500, 1, (9, 10)), make_rows(60, 2, (9, 10))
    store.predicted = predictions(first)
    base = store.build([store.add(first)])
    laid = store.update(base, store.add(later))
    touched = np.unique(parents(later.cell, 9))
    before, after = base.view(), laid.view()
    for cell in base.levels[9]["cells"].tolist():
        old, new = before.cell(cell), after.cell(cell)
        assert old is not None
        assert new is not None
        for name in ("predicted_cdbm", "predicted_sd_cdb", "predicted_server", "overlap"):
            assert old[name] == new[name]
        if cell not in touched:
            assert all(old[name] == new[name] for name in COLUMNS)
    assert int(after.level(9)["count"].sum()) == len(first) + len(later)


def test_new_predictions_over_a_layer_keep_what_it_measured(store: Store) -> None:
    first, later, last = (make_rows(200, seed, MIXED) for seed in (1, 2, 3))
    base = store.build([store.add(first)])
    laid = store.update(base, store.add(later))
    store.predicted = predictions(first)
    name = store.add(last)
    where = (store.observations, store.snapshots)
    made = refresh(*where, laid, [name], store.predicted, TIME_MS)
    assert made.base == base.identity
    same(made, store.anew())
    folded = fold(store.snapshots, made)
    same(folded, store.anew())
    for column, size in LIST_COLUMNS.items():
        assert len(folded.levels[9][column]) == int(folded.levels[9][size].sum())


def test_a_layer_is_small_and_leaves_its_base_untouched(store: Store) -> None:
    base = store.build([store.add(make_rows(20_000, 1, (9, 10)))])
    before = dict(base.manifest["files"])
    laid = store.update(base, store.add(make_rows(5, 2, (9,))))
    folder = store.snapshots.directory
    sizes = [
        sum(path.stat().st_size for path in (folder / name).glob("*/*.npy"))
        for name in (base.identity, laid.identity)
    ]
    headers = 128 * len(laid.manifest["files"])
    assert sizes[1] - headers < sizes[0] / 10
    assert store.snapshots.open(base.identity).manifest["files"] == before
    assert store.snapshots.check(base.identity) == []


def test_hashes_reach_from_a_layer_to_its_base(store: Store) -> None:
    base = store.build([store.add(make_rows(300, 1))])
    laid = store.update(base, store.add(make_rows(20, 2)))
    assert store.snapshots.check(laid.identity) == []
    path = store.snapshots.directory / base.identity / "r9" / "value.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert store.snapshots.check(laid.identity) == [f"../{base.identity}/r9/value.npy"]


def test_the_same_delta_over_another_base_has_another_name(store: Store) -> None:
    names = [store.add(make_rows(300, seed)) for seed in (1, 2)]
    delta = store.add(make_rows(20, 3))
    one, two = (store.update(store.build([name]), delta) for name in names)
    assert one.identity != two.identity
    again = store.update(store.snapshots.open(one.base), delta)
    assert again.identity == one.identity


def test_rows_of_a_manifest_count_base_and_layer(store: Store) -> None:
    base = store.build([store.add(make_rows(300, 1, MIXED))])
    laid = store.update(base, store.add(make_rows(40, 2, MIXED)))
    rows = {str(r): len(laid.view().level(r)["cells"]) for r in range(3, 12)}
    assert laid.manifest["rows"] == rows


def test_rolling_back_from_a_layer_is_one_rename(store: Store) -> None:
    base = store.build([store.add(make_rows(300, 1))])
    laid = store.update(base, store.add(make_rows(40, 2)))
    assert store.snapshots.current() == laid.identity
    store.snapshots.select(base.identity)
    same(store.snapshots.open(base.identity), base)
    assert int(store.snapshots.open(laid.identity).view().level(9)["count"].sum()) == 340


def test_a_base_stays_as_long_as_a_layer_needs_it(store: Store) -> None:
    made = [store.build([store.add(make_rows(300, 1))])]
    for seed in (2, 3, 4):
        made.append(store.update(made[-1], store.add(make_rows(20, seed))))
    assert store.snapshots.prune(1) == [made[1].identity, made[2].identity]
    same(store.snapshots.open(made[3].identity), store.anew())
    folded = fold(store.snapshots, made[3])
    assert set(store.snapshots.prune(1)) == {made[0].identity, made[3].identity}
    same(store.snapshots.open(folded.identity), store.anew())


def test_a_layer_that_breaks_off_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = store.build([store.add(make_rows(300, 1))])
    name = store.add(make_rows(20, 2))

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coverage_map.store.io_layers.places_of", broken)
    with pytest.raises(KeyboardInterrupt):
        store.update(base, name)
    assert store.snapshots.current() == base.identity
    assert not list(store.snapshots.directory.glob("*.part"))


def test_nothing_new_publishes_nothing(store: Store) -> None:
    base = store.build([store.add(make_rows(300, 1))])
    assert store.update(base).identity == base.identity
    assert store.snapshots.names() == [base.identity]


def test_tiles_over_a_layer_are_those_of_a_build(store: Store) -> None:
    base = store.build([store.add(make_rows(3_000, 1, (9, 10)))])
    laid = store.update(base, store.add(make_rows(200, 2, (9, 10))))
    view, wanted = laid.view(), store.anew().view()
    names = ("value", "sd", "count", "p50", "devices")
    mixed = 0
    for parent in np.unique(parents(wanted.level(9)["cells"], 6)).tolist():
        mixed += not view.is_plain(9, parent)
        tiles = [binary.decode(make_tile(x, parent, 9, names).content) for x in (view, wanted)]
        assert np.array_equal(tiles[0].cells, tiles[1].cells)
        for name in names:
            assert np.array_equal(tiles[0].values[name], tiles[1].values[name], equal_nan=True)
    assert mixed > 3
    far = h3.latlng_to_cell(-40.0, 100.0, 5)
    assert len(view.under(9, far)["cells"]) == 0
