"""The keeper: what arrives is visible at once, survives a restart once, and can be rolled back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from store_helpers import make_rows

from chain.errors import UserError
from coverage_map.store.aggregates import Rows
from coverage_map.store.io_build import build
from coverage_map.store.io_keeper import KIND_MAPPER, KIND_WITNESS, Keeper
from coverage_map.store.io_observations import Observations
from coverage_map.store.io_snapshots import Snapshots
from coverage_map.store.tables import COLUMNS

TIME_MS = 1_700_000_000_000
EPOCH = 2_000


def witnesses(rows: Rows) -> np.ndarray:
    return np.full(len(rows), KIND_WITNESS, np.uint8)


def people(rows: Rows) -> np.ndarray:
    return np.full(len(rows), KIND_MAPPER, np.uint8)


def same_as_built(keeper: Keeper, rows: list[Rows], path: Path) -> None:
    """The live view shows what a snapshot of all rows would."""
    observations, snapshots = Observations(path / "o"), Snapshots(path / "s")
    for part in rows:
        observations.append(part, witnesses(part))
    wanted = build(observations, snapshots, observations.names(), {}, TIME_MS)
    for resolution in range(3, 12):
        level = keeper.view.level(resolution)
        for name in COLUMNS:
            assert (level[name] == wanted.levels[resolution][name]).all(), (resolution, name)


def test_what_is_received_is_visible_at_once(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows = [make_rows(800, seed, (9, 10)) for seed in range(3)]
    for number, part in enumerate(rows):
        before = keeper.view.identity
        changed = keeper.receive(part, witnesses(part), EPOCH)
        assert set(changed) == set(part.cell.tolist())
        assert keeper.view.identity != before
        same_as_built(keeper, rows[: number + 1], tmp_path / str(number))


def test_publication_changes_nothing_that_is_seen(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    first, second, third = (make_rows(700, seed, (8, 9, 10)) for seed in (1, 2, 3))
    keeper.receive(first, witnesses(first), EPOCH)
    keeper.publish(None, TIME_MS)
    assert not keeper.view.overlay
    keeper.receive(second, witnesses(second), EPOCH)
    plan = keeper.plan(None, TIME_MS)
    keeper.receive(third, witnesses(third), EPOCH)  # while the snapshot is being made
    keeper.adopt(plan, *plan.make())
    assert keeper.pending == len(third)
    same_as_built(keeper, [first, second, third], tmp_path / "all")


def test_a_restart_goes_on_from_the_checkpoint_alone(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows, lost = make_rows(900, 1, (9, 10)), make_rows(50, 2)
    keeper.receive(rows, witnesses(rows), EPOCH)
    published = keeper.publish(None, TIME_MS, b"the caller's own")
    keeper.receive(lost, witnesses(lost), EPOCH)
    keeper.close()
    again = Keeper(tmp_path / "map")
    assert again.state == b"the caller's own"
    assert again.view.identity == published.identity
    again.receive(lost, witnesses(lost), EPOCH)
    same_as_built(again, [rows, lost], tmp_path / "all")


def test_a_crash_between_snapshot_and_checkpoint_counts_nothing_twice(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows, more = make_rows(600, 1), make_rows(300, 2)
    keeper.receive(rows, witnesses(rows), EPOCH)
    keeper.publish(None, TIME_MS, b"one")
    keeper.receive(more, witnesses(more), EPOCH)
    keeper.plan(None, TIME_MS, b"two").make()  # published, never adopted
    keeper.close()
    again = Keeper(tmp_path / "map")
    assert again.state == b"one"
    again.receive(more, witnesses(more), EPOCH)
    same_as_built(again, [rows, more], tmp_path / "all")
    again.publish(None, TIME_MS, b"two")
    same_as_built(again, [rows, more], tmp_path / "all again")


def test_after_a_roll_back_the_next_snapshot_holds_everything_again(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    parts = [make_rows(400, seed) for seed in (1, 2, 3)]
    names = []
    for part in parts[:2]:
        keeper.receive(part, witnesses(part), EPOCH)
        names.append(keeper.publish(None, TIME_MS).identity)
    keeper.roll_back(names[0])
    assert keeper.view.snapshot == names[0]
    keeper.close()
    keeper = Keeper(tmp_path / "map")
    assert keeper.view.snapshot == names[0]
    keeper.receive(parts[2], witnesses(parts[2]), EPOCH)
    keeper.publish(None, TIME_MS)
    same_as_built(keeper, parts, tmp_path / "all")


def test_people_wait_across_restarts_until_there_are_enough(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows = make_rows(3, 1)
    rows = Rows(rows.cell[[0, 0, 0]], rows.hotspot, np.array([1, 3, 5], np.uint32), *rest(rows))
    for device in (0, 1):
        one = Rows(*(getattr(rows, name)[device : device + 1] for name in Rows.__slots__))
        assert keeper.receive(one, people(one), EPOCH) == []
    keeper.publish(None, TIME_MS)
    keeper.close()
    keeper = Keeper(tmp_path / "map")
    assert len(keeper.view.level(9)["cells"]) == 0
    last = Rows(*(getattr(rows, name)[2:] for name in Rows.__slots__))
    assert keeper.receive(last, people(last), EPOCH) == rows.cell[:1].tolist()
    assert keeper.view.level(9)["count"].tolist() == [3]
    assert keeper.view.level(9)["devices"].tolist() == [3]


def rest(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    return rows.signal_cdbm, np.full(len(rows), EPOCH, np.uint32)


def test_a_person_finer_than_nine_is_refused(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows = make_rows(3, 1, (10,))
    with pytest.raises(ValueError, match="finer"):
        keeper.receive(rows, people(rows), EPOCH)


def test_a_temporary_store_goes_when_it_is_closed() -> None:
    keeper = Keeper(None)
    rows = make_rows(100, 1)
    keeper.receive(rows, witnesses(rows), EPOCH)
    keeper.publish(None, TIME_MS)
    assert keeper.directory.is_dir()
    keeper.close()
    assert not keeper.directory.exists()


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows = make_rows(100, 1)
    keeper.receive(rows, witnesses(rows), EPOCH)
    keeper.publish(None, TIME_MS)
    keeper.close()
    (tmp_path / "map" / "checkpoint.json").write_text("{")
    with pytest.raises(UserError, match=r"checkpoint\.json"):
        Keeper(tmp_path / "map")


def test_a_snapshot_that_was_removed_is_made_again_from_the_observations(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    rows = make_rows(500, 1, (9, 10))
    keeper.receive(rows, witnesses(rows), EPOCH)
    keeper.publish(None, TIME_MS)
    keeper.close()
    shutil.rmtree(tmp_path / "map" / "snapshots")
    same_as_built(Keeper(tmp_path / "map"), [rows], tmp_path / "all")
