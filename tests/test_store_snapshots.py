"""The store: aggregates against plain Python, snapshots that survive, deltas that join exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from store_helpers import by_cell, make_rows

from chain.errors import UserError
from coverage_map.store.aggregates import Rows, aggregate, join, levels_of
from coverage_map.store.io_build import build
from coverage_map.store.io_layers import update
from coverage_map.store.io_observations import (
    NO_ROWS,
    Observations,
    cut,
    join_rows,
    read_between,
)
from coverage_map.store.io_snapshots import Published, Snapshots
from coverage_map.store.keys import cells_of, keys_of, parents_of, resolutions_of
from coverage_map.store.tables import COLUMNS, LIST_COLUMNS

TIME_MS = 1_700_000_000_000
MIXED = (5, 7, 9, 10, 11)


def part_of(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(*(getattr(rows, name)[start:stop] for name in Rows.__slots__))


def kinds(rows: Rows) -> np.ndarray:
    return np.zeros(len(rows), np.uint8)


def stored(path: Path, parts: list[Rows]) -> tuple[Observations, Snapshots]:
    observations = Observations(path / "observations")
    for rows in parts:
        observations.append(rows, kinds(rows))
    return observations, Snapshots(path / "snapshots")


def published(path: Path, parts: list[Rows]) -> Published:
    observations, snapshots = stored(path, parts)
    return build(observations, snapshots, observations.names(), {}, TIME_MS)


def test_a_key_gives_its_cell_back() -> None:
    cells = np.unique(make_rows(2_000, 1, tuple(range(12))).cell)
    keys = keys_of(cells)
    assert (cells_of(keys) == cells).all()
    assert (resolutions_of(keys) == (cells >> np.uint64(52) & np.uint64(15))).all()


def test_a_coarse_key_sorts_after_all_that_lies_inside_it() -> None:
    rows = make_rows(3_000, 2, (11,))
    keys = np.sort(keys_of(rows.cell))
    for resolution in (3, 6, 9):
        above = parents_of(keys, resolution)
        assert (above >= keys).all()
        assert (np.diff(above.astype(np.int64)) >= 0).all()


@pytest.mark.parametrize("resolution", [3, 6, 7, 9, 11])
def test_aggregates_are_what_plain_python_counts(resolution: int) -> None:
    rows = make_rows(4_000, 3, MIXED)
    level = levels_of(aggregate(rows), 3)[resolution]
    wanted = by_cell(rows, resolution)
    assert cells_of(level.keys).tolist() == list(wanted)
    at_member = at_device = 0
    for number, inside in enumerate(wanted.values()):
        signal = rows.signal_cdbm[inside].astype(int)
        heard, hearers = set(rows.hotspot[inside].tolist()), set(rows.device[inside].tolist())
        assert level.count[number] == len(inside)
        assert level.total_cdbm[number] == signal.sum()
        assert (level.low_cdbm[number], level.high_cdbm[number]) == (signal.min(), signal.max())
        assert level.first[number] == rows.epoch[inside].min()
        assert level.last[number] == rows.epoch[inside].max()
        members = level.member[at_member : at_member + level.hotspots[number]]
        devices = level.device[at_device : at_device + level.devices[number]]
        assert sorted(members.tolist()) == sorted(heard)
        assert sorted(devices.tolist()) == sorted(hearers)
        at_member, at_device = at_member + len(members), at_device + len(devices)


def test_quantiles_and_best_server_follow_from_the_receptions(tmp_path: Path) -> None:
    rows = make_rows(6_000, 4)
    level = published(tmp_path, [rows]).levels[7]
    for number, inside in enumerate(by_cell(rows, 7).values()):
        signal = np.sort(rows.signal_cdbm[inside].astype(int))
        for name, tenths in (("p10_cdbm", 1), ("p50_cdbm", 5), ("p90_cdbm", 9)):
            exact = signal[-(-len(signal) * tenths // 10) - 1]
            assert abs(int(level[name][number]) - exact) <= 25
        means = {}
        for hotspot in np.unique(rows.hotspot[inside]):
            own = signal_of(rows, inside, int(hotspot))
            means[int(hotspot)] = (len(own) >= 3, own.mean())
        best = max(means.values())
        server = int(level["server"][number])
        assert means[server] == best
        assert abs(int(level["value_cdbm"][number]) - best[1]) <= 0.5


def signal_of(rows: Rows, inside: list[int], hotspot: int) -> np.ndarray:
    chosen = [number for number in inside if rows.hotspot[number] == hotspot]
    return rows.signal_cdbm[chosen].astype(float)


def test_the_order_and_cut_of_files_does_not_matter(tmp_path: Path) -> None:
    rows = make_rows(5_000, 5, MIXED)
    one = published(tmp_path / "one", [rows])
    three = published(
        tmp_path / "three",
        [part_of(rows, 3_000, 5_000), part_of(rows, 0, 10), part_of(rows, 10, 3_000)],
    )
    for resolution, level in one.levels.items():
        for name in COLUMNS:
            assert (level[name] == three.levels[resolution][name]).all(), (resolution, name)


def test_ranges_hold_every_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coverage_map.store.io_observations.GROUP_ROWS", 128)
    rows = make_rows(5_000, 6, MIXED)
    observations, _ = stored(tmp_path, [part_of(rows, 0, 2_000), part_of(rows, 2_000, 5_000)])
    segments = [observations.open(name) for name in observations.names()]
    ranges = cut(segments, 600)
    assert len(ranges) > 3
    read = join_rows([read_between(s, low, high) for low, high in ranges for s in segments])
    assert len(read) == len(rows)
    assert sorted(read.cell.tolist()) == sorted(rows.cell.tolist())
    assert int(read.signal_cdbm.sum(dtype=int)) == int(rows.signal_cdbm.sum(dtype=int))


def test_many_ranges_give_the_same_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(5_000, 7, MIXED)
    whole = published(tmp_path / "whole", [rows])
    monkeypatch.setattr("coverage_map.store.io_observations.GROUP_ROWS", 128)
    monkeypatch.setattr("coverage_map.store.io_build.ROWS_AT_ONCE", 500)
    cut_up = published(tmp_path / "cut", [rows])
    assert cut_up.identity == whole.identity
    assert cut_up.manifest["files"] == whole.manifest["files"]


@pytest.mark.parametrize("first", [5_500, 3_000])  # laid over it, and folded into it
def test_a_delta_joins_exactly(tmp_path: Path, first: int) -> None:
    rows = make_rows(6_000, 8, MIXED)
    observations, snapshots = stored(tmp_path, [part_of(rows, 0, first)])
    base = build(observations, snapshots, observations.names(), {}, TIME_MS)
    later = part_of(rows, first, 6_000)
    name = observations.append(later, kinds(later))
    joined = update(observations, snapshots, base, [name], TIME_MS)
    anew = published(tmp_path / "anew", [rows])
    assert joined.segments == observations.names()
    assert bool(joined.layer) == (first == 5_500)
    for resolution, level in anew.levels.items():
        for column in COLUMNS:
            assert (joined.merged[resolution][column] == level[column]).all(), (resolution, column)
        for column, size in LIST_COLUMNS.items():
            assert len(level[column]) == level[size].sum()
            if not joined.layer:
                assert len(joined.levels[resolution][column]) == len(level[column])


def test_joining_is_associative() -> None:
    rows = make_rows(3_000, 9, MIXED)
    parts = [aggregate(part_of(rows, at, at + 1_000)) for at in (0, 1_000, 2_000)]
    left, right = join([join(parts[:2]), parts[2]]), join([parts[0], join(parts[1:])])
    for name in ("keys", "count", "total_cdbm", "hotspots", "devices", "bins", "bin_n"):
        assert (getattr(left, name) == getattr(right, name)).all()


def test_rolling_back_serves_the_older_one_unchanged(tmp_path: Path) -> None:
    rows = make_rows(1_000, 10)
    observations, snapshots = stored(tmp_path, [part_of(rows, 0, 500), part_of(rows, 500, 1_000)])
    first = build(observations, snapshots, observations.names()[:1], {}, TIME_MS)
    second = build(observations, snapshots, observations.names(), {}, TIME_MS + 1)
    assert snapshots.current() == second.identity != first.identity
    assert snapshots.names() == [first.identity, second.identity]
    snapshots.select(first.identity)
    assert snapshots.current() == first.identity
    assert snapshots.check(first.identity) == []
    with pytest.raises(UserError, match="not kept"):
        snapshots.select("0123456789abcdef")


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    made = published(tmp_path, [make_rows(500, 11)])
    snapshots = Snapshots(tmp_path / "snapshots")
    path = tmp_path / "snapshots" / made.identity / "r9" / "value.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert snapshots.check(made.identity) == ["r9/value.npy"]


def test_what_a_crash_leaves_is_cleared_and_never_read(tmp_path: Path) -> None:
    observations, snapshots = stored(tmp_path, [make_rows(200, 12)])
    draft = snapshots.start()
    for level in draft.levels.values():
        level.close()
    (observations.directory / "00000002.parquet.part").write_bytes(b"torn")
    assert snapshots.names() == []
    assert len(observations.names()) == 1
    assert Snapshots(snapshots.directory).names() == []
    assert not draft.path.exists()
    assert len(Observations(observations.directory).names()) == 1
    assert not list(observations.directory.glob("*.part"))


def test_a_build_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observations, snapshots = stored(tmp_path, [make_rows(200, 13)])

    def break_off(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(observations, snapshots, observations.names(), {}, TIME_MS, tell=break_off)
    assert snapshots.current() is None
    assert list(snapshots.directory.iterdir()) == []


def test_old_snapshots_go_and_the_current_one_stays(tmp_path: Path) -> None:
    observations, snapshots = stored(tmp_path, [make_rows(200, seed) for seed in range(4)])
    names = observations.names()
    made = [build(observations, snapshots, names[: n + 1], {}, TIME_MS).identity for n in range(4)]
    snapshots.select(made[0])
    assert snapshots.prune(2) == [made[1]]
    assert snapshots.names() == [made[0], made[2], made[3]]


def test_an_open_snapshot_outlives_its_removal(tmp_path: Path) -> None:
    observations, snapshots = stored(tmp_path, [make_rows(300, seed) for seed in range(3)])
    names = observations.names()
    first = build(observations, snapshots, names[:1], {}, TIME_MS)
    seen = np.array(first.levels[9]["value"])
    build(observations, snapshots, names, {}, TIME_MS)
    assert snapshots.prune(1) == [first.identity]
    assert (first.levels[9]["value"] == seen).all()


def test_an_empty_store_publishes_an_empty_map(tmp_path: Path) -> None:
    observations, snapshots = stored(tmp_path, [])
    made = build(observations, snapshots, [], {}, TIME_MS)
    assert [len(level["cells"]) for level in made.levels.values()] == [0] * 9
    name = observations.append(NO_ROWS, np.empty(0, np.uint8))
    assert len(read_between(observations.open(name), 0, 1 << 40)) == 0


def test_a_manifest_names_every_file_and_source(tmp_path: Path) -> None:
    made = published(tmp_path, [make_rows(300, 14)])
    text = (tmp_path / "snapshots" / made.identity / "manifest.json").read_text()
    manifest = json.loads(text)
    found = {str(p.relative_to(tmp_path / "snapshots" / made.identity))
             for p in (tmp_path / "snapshots" / made.identity).glob("*/*.npy")}
    assert set(manifest["files"]) == found
    assert manifest["segments"] == ["00000001.parquet"]
    assert manifest["rows"]["9"] == len(made.levels[9]["cells"])


def test_a_segment_that_is_no_segment_is_one_clear_error(tmp_path: Path) -> None:
    observations, _ = stored(tmp_path, [])
    (observations.directory / "00000001.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"00000001\.parquet"):
        observations.open("00000001.parquet")
