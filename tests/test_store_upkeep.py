"""Upkeep of a store: one writer, an inbox for others, files merged and layers folded beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_helpers import make_rows
from test_store_keeper import EPOCH, TIME_MS, people, same_as_built, witnesses

from chain.errors import UserError
from coverage_map import io_cli
from coverage_map.io_upkeep import Upkeep
from coverage_map.store.aggregates import Rows
from coverage_map.store.io_inbox import Inbox, name_of
from coverage_map.store.io_keeper import Keeper
from coverage_map.store.io_lock import InUse, Lock
from coverage_map.store.io_upkeep import Chores, Stopped
from coverage_map.store.upkeep import FOLD_AFTER_MS, is_fold_due, segments_to_merge

HOUR_LATER = TIME_MS + FOLD_AFTER_MS


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """A keeper that always lays deltas, with a base and three of them."""
    monkeypatch.setattr("coverage_map.store.io_layers.LAYER_SHARE", 0.01)
    keeper = Keeper(tmp_path / "map")
    for part in parts():
        keeper.receive(part, witnesses(part), EPOCH)
        keeper.publish(None, TIME_MS)
    return keeper


def parts() -> list[Rows]:
    return [make_rows(size, seed) for seed, size in enumerate((400, 60, 50, 40))]


# --- what is due


def test_few_segments_stay_as_they_are() -> None:
    assert segments_to_merge({f"{n}": 5 for n in range(24)}) == []


def test_small_segments_are_merged_and_large_ones_left() -> None:
    rows = {f"small {n:02}": 10 + n for n in range(24)} | {"large": 1_000_000, "larger": 5_000_000}
    assert segments_to_merge(rows) == sorted(name for name in rows if name.startswith("small"))


def test_rows_are_copied_few_times_however_many_deltas_come() -> None:
    rows: dict[str, int] = {}
    copied = 0
    for number in range(3_000):
        rows[f"{number:06}"] = 100
        if merged := segments_to_merge(rows):
            size = sum(rows.pop(name) for name in merged)
            rows[f"{number:06} merged"] = size
            copied += size
    assert len(rows) <= 24
    assert copied < 8 * 3_000 * 100


def test_a_layer_is_folded_when_it_is_large_or_old() -> None:
    assert not is_fold_due(0.0, 1 << 60)
    assert not is_fold_due(0.01, FOLD_AFTER_MS - 1)
    assert is_fold_due(0.01, FOLD_AFTER_MS)
    assert is_fold_due(0.2, 0)


# --- merging and folding


def test_compaction_changes_no_answer_and_survives_a_restart(
    keeper: Keeper, tmp_path: Path
) -> None:
    layer = keeper.base
    assert layer.layer
    chores = Chores.of(keeper, TIME_MS, everything=True)
    assert chores is not None
    shares: list[float] = []
    done = chores.make(shares.append)
    assert keeper.base is layer  # nothing changes before it is adopted
    chores.adopt(done)
    assert shares == sorted(shares)
    assert not keeper.base.layer
    assert len(keeper.segments) == 1
    assert set(keeper.observations.names()) == set(keeper.segments)
    assert keeper.base.epoch == layer.epoch
    same_as_built(keeper, parts(), tmp_path / "all")
    keeper.close()
    again = Keeper(tmp_path / "map")
    more = make_rows(70, 9)
    again.receive(more, witnesses(more), EPOCH)
    again.publish(None, TIME_MS)
    same_as_built(again, [*parts(), more], tmp_path / "more")


def test_what_arrives_during_compaction_stays_visible(keeper: Keeper, tmp_path: Path) -> None:
    chores = Chores.of(keeper, HOUR_LATER, everything=True)
    assert chores is not None
    done = chores.make()
    more = make_rows(70, 9)
    keeper.receive(more, witnesses(more), EPOCH)
    chores.adopt(done)
    same_as_built(keeper, [*parts(), more], tmp_path / "all")
    keeper.publish(None, TIME_MS)
    same_as_built(keeper, [*parts(), more], tmp_path / "published")


def test_a_roll_back_after_compaction_loses_nothing(keeper: Keeper, tmp_path: Path) -> None:
    first = keeper.snapshots.names()[0]
    chores = Chores.of(keeper, TIME_MS, everything=True)
    assert chores is not None
    chores.adopt(chores.make())
    keeper.roll_back(first)
    more = make_rows(70, 9)
    keeper.receive(more, witnesses(more), EPOCH)
    keeper.publish(None, TIME_MS)
    same_as_built(keeper, [*parts(), more], tmp_path / "all")


def test_a_snapshot_that_was_published_meanwhile_is_kept(keeper: Keeper, tmp_path: Path) -> None:
    chores = Chores.of(keeper, HOUR_LATER)
    assert chores is not None
    done = chores.make()
    more = make_rows(70, 9)
    keeper.receive(more, witnesses(more), EPOCH)
    newer = keeper.publish(None, TIME_MS)
    chores.adopt(done)
    assert keeper.base is newer
    assert keeper.snapshots.current() == newer.identity
    same_as_built(keeper, [*parts(), more], tmp_path / "all")


def test_compaction_that_is_told_to_stop_leaves_nothing(keeper: Keeper) -> None:
    chores = Chores.of(keeper, TIME_MS, everything=True)
    assert chores is not None
    files = sorted(path for path in keeper.directory.rglob("*") if path.is_file())
    chores.stop.set()
    with pytest.raises(Stopped):
        chores.make()
    assert sorted(path for path in keeper.directory.rglob("*") if path.is_file()) == files


def test_nothing_is_due_for_a_young_small_layer(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coverage_map.store.upkeep.FOLD_SHARE", 100.0)
    assert Chores.of(keeper, TIME_MS + 1) is None
    due = Chores.of(keeper, HOUR_LATER)
    assert due is not None
    assert due.layer is keeper.base
    assert due.segments == []


def test_a_served_map_folds_off_its_loop(keeper: Keeper, tmp_path: Path) -> None:
    threads: list[bool] = []

    async def scenario() -> None:
        upkeep = Upkeep(keeper, every_s=0.0)
        original = Chores.make

        def make(chores: Chores) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return original(chores)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Chores, "make", make)
            upkeep.start_if_due(busy=True)
            assert not upkeep.running
            upkeep.start_if_due(busy=False)  # the layer's base is years old by the wall's clock
            assert upkeep.running
            upkeep.start_if_due(busy=False)
            await upkeep.finish()
        assert upkeep.done == 1

    asyncio.run(scenario())
    assert threads == [False]
    assert not keeper.base.layer
    same_as_built(keeper, parts(), tmp_path / "all")


def test_the_command_compacts_and_says_what_it_did(
    keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compact", "--data", str(tmp_path / "map"), "--json"]
    with pytest.raises(InUse, match=f"process {os.getpid()} serves"):
        io_cli.main(words)
    keeper.close()
    assert io_cli.main(words) == 0
    said = capsys.readouterr().out
    assert '"segments_before": 4' in said.replace('":4', '": 4')
    again = Keeper(tmp_path / "map")
    assert len(again.segments) == 1
    same_as_built(again, parts(), tmp_path / "all")


def test_the_command_wants_a_map(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no map"):
        io_cli.main(["compact", "--data", str(tmp_path)])


# --- one writer


def test_a_second_keeper_is_refused_until_the_first_one_is_gone(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    with pytest.raises(InUse) as refused:
        Keeper(tmp_path / "map")
    assert refused.value.exit_code == 1
    keeper.close()
    keeper.close()
    Keeper(tmp_path / "map").close()


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from coverage_map.store.io_lock import Lock\n"
        "held = Lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InUse, match=str(holder.pid)):
            Lock(tmp_path)
        holder.send_signal(signal.SIGKILL)
    Lock(tmp_path).release()


# --- the inbox


def drive(device: int, cells: int = 30) -> Rows:
    rows = make_rows(cells, 5)
    many = np.full(len(rows), device, np.uint32)
    return Rows(rows.cell, rows.hotspot, many, rows.signal_cdbm, rows.epoch)


def test_what_is_handed_over_is_taken_in_once(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    for device in (1, 3, 5):
        Inbox(tmp_path / "map").put(drive(device), people(drive(device)))
    count, changed = keeper.take_inbox(EPOCH)
    assert count == 3
    assert len(changed) == len(np.unique(drive(1).cell))
    assert keeper.take_inbox(EPOCH) == (0, [])
    assert int(keeper.view.level(9)["count"].sum()) == 90
    keeper.publish(None, TIME_MS)
    assert keeper.inbox.names() == []
    assert keeper.has_taken(name_of(drive(3)))
    Inbox(tmp_path / "map").put(drive(3), people(drive(3)))  # the same one again
    assert keeper.take_inbox(EPOCH) == (0, [])
    assert keeper.inbox.names() == []
    assert int(keeper.view.level(9)["count"].sum()) == 90


def test_a_crash_before_the_checkpoint_takes_it_in_again(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "map")
    for device in (1, 3, 5):
        keeper.inbox.put(drive(device), people(drive(device)))
    keeper.take_inbox(EPOCH)
    keeper.close()  # without having published
    again = Keeper(tmp_path / "map")
    assert int(again.view.level(9)["count"].sum()) == 0
    assert again.take_inbox(EPOCH)[0] == 3
    again.publish(None, TIME_MS)
    again.close()
    last = Keeper(tmp_path / "map")
    assert last.take_inbox(EPOCH) == (0, [])
    assert int(last.view.level(9)["count"].sum()) == 90


def test_a_crash_between_checkpoint_and_removal_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(tmp_path / "map")
    for device in (1, 3, 5):
        keeper.inbox.put(drive(device), people(drive(device)))
    keeper.take_inbox(EPOCH)
    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "remove", lambda *_: None)
        keeper.publish(None, TIME_MS)
    keeper.close()
    again = Keeper(tmp_path / "map")
    assert len(again.inbox.names()) == 3
    assert again.take_inbox(EPOCH) == (0, [])
    assert again.inbox.names() == []
    assert int(again.view.level(9)["count"].sum()) == 90


@pytest.mark.parametrize("kind", ["torn", "foreign", "too fine"])
def test_what_cannot_be_taken_in_is_put_aside(tmp_path: Path, kind: str) -> None:
    keeper = Keeper(tmp_path / "map")
    if kind == "too fine":
        rows = make_rows(5, 1, (11,))
        name = keeper.inbox.put(rows, people(rows))
    else:
        name = keeper.inbox.put(drive(1), people(drive(1)))
        path = keeper.inbox.directory / f"{name}.npz"
        if kind == "torn":
            path.write_bytes(path.read_bytes()[:100])
        else:
            np.savez(path, cell=np.zeros(3, np.float64))
    assert keeper.take_inbox(EPOCH) == (0, [])
    assert keeper.inbox.names() == []
    assert (keeper.inbox.directory / f"{name}.bad").is_file()


def test_an_import_beside_a_map_that_is_served_shows_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real commands: a server of its own process, three drives handed to it."""
    (tmp_path / "sites.csv").write_text("lat,lon\n47.38,8.54\n")
    header = "tx_lat,tx_lon,rx_lat,rx_lon,frequency_hz,rssi_dbm"
    for number in range(3):
        rows = [f"47.38,8.54,47.381,{8.54 + k / 1e4:.5f},2.4e9,-{70 + number}" for k in range(20)]
        (tmp_path / f"{number}.csv").write_text("\n".join([header, *rows]) + "\n")
    command = [sys.executable, "-m", "coverage_map.io_cli", "serve", "--ledger"]
    command += ["http://127.0.0.1:9", "--port", "0", "--data", str(tmp_path / "map"), "--json"]
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            for number in range(3):
                words = ["import", str(tmp_path / f"{number}.csv"), "--sites"]
                words += [str(tmp_path / "sites.csv"), "--data", str(tmp_path / "map"), "--json"]
                assert io_cli.main(words) == 0
                assert "handed to the map" in capsys.readouterr().out
            assert shown(json.loads(line)["url"], 60) == 60
        finally:
            server.terminate()
    keeper = Keeper(tmp_path / "map")  # the ledger was away: no snapshot was made
    assert keeper.take_inbox(EPOCH)[0] == 3
    assert int(keeper.view.level(9)["count"].sum()) == 60


def shown(url: str, wanted: int) -> int:
    """Readings on a map's live view, as soon as there are so many."""
    found, deadline = 0, time.monotonic() + 200
    while found < wanted and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}collections/cells/items?min_obs=1") as answer:
                page = json.load(answer)
            found = sum(one["properties"]["count"] for one in page["features"])
        except urllib.error.HTTPError:  # no map yet
            time.sleep(0.1)
    return found
