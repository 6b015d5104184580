"""Pruned records are in the archive before they leave the database, whatever kills the process."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chain.cli.io_cli import main
from chain.errors import UserError
from chain.io_audit import audit
from chain.io_client import LedgerClient
from chain.io_explain import explain
from chain.io_ledger import DATABASE, DurableLedger
from chain.io_terminal import run_command
from chain.ledger import Sealed
from chain.proofs.tiles import TILE_WIDTH, Tile
from chain.service.io_service import build
from chain.store.io_archive import Archive, attach, count_pruned, open_with_archive
from chain.store.io_backup import backup
from chain.store.io_prune import Pruned, prune
from chain.store.io_prune import _forget as real_forget
from chain.store.io_store import Store
from chain.wire import record_id_of

from .chain_helpers import Town
from .ops_helpers import Running

ROOT = Path(__file__).resolve().parent.parent
RECORDS = 5 * TILE_WIDTH


@cache
def blocks_of_old_town() -> tuple[Town, list[Sealed]]:
    """A town whose first epochs, five bundles of records with verdicts, are long past."""
    blocks: list[Sealed] = []
    town = Town(3, on_block=blocks.append)
    town.join()
    town.run(2, 4)
    deposits = [town.deposit(0, 1, b"old %d" % number).wire for number in range(RECORDS)]
    for start in range(0, RECORDS, 100):
        town.ledger.submit(deposits[start : start + 100], town.ledger.state.time_ms)
    town.ledger.tick(town.time_ms(120))
    town.submit(town.deposit(1, 1, b"new"))
    return town, blocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _, blocks = blocks_of_old_town()
    place = tmp_path / "ledger"
    place.mkdir()
    store = Store.create(str(place / DATABASE))
    store.append(blocks)
    store.close()
    return place


def wires_of(database: Path) -> list[bytes]:
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT wire FROM records ORDER BY seq").fetchall()
    connection.close()
    return [row[0] for row in rows]


def check_nothing_lost(database: Path, archive: Path, whole: list[bytes]) -> int:
    """Every record is in the database or in the archive; how many are in the archive alone."""
    left = wires_of(database)
    bundles = Archive(archive)
    for seq, (now, before) in enumerate(zip(left, whole, strict=True)):
        assert now == before or (not now and bundles.find(seq, record_id_of(before)) == before)
    return left.count(b"")


def test_old_records_move_and_everything_is_still_explained_and_audited(
    folder: Path, tmp_path: Path
) -> None:
    database, archive = folder / DATABASE, tmp_path / "archive"
    whole, before = wires_of(database), audit(database)
    with open_with_archive(database, None) as store:
        why = {name: explain(store, name) for name in ("0:3:0", "1", "2:3:0")}
    seen: list[tuple[int, int]] = []
    done = prune(database, archive, note=lambda *at: seen.append(at))
    assert done.records == RECORDS  # whole bundles; the newest part of one stays
    assert (done.before, done.epoch) == (0, 120 - 6 - 90)
    assert done.freed_bytes > 100 * RECORDS
    assert seen[-1] == (RECORDS, RECORDS)
    assert check_nothing_lost(database, archive, whole) == RECORDS - 1 - 3  # genesis, registrations
    with open_with_archive(database, archive) as store:
        assert {name: explain(store, name) for name in why} == why
        assert [row["wire"] for row in store.rows("SELECT wire FROM records")] == whole
    assert audit(database, archive=archive) == before
    assert prune(database, archive) == Pruned(RECORDS, RECORDS, done.epoch, 0)


def test_without_the_archive_it_is_said_what_is_missing(folder: Path, tmp_path: Path) -> None:
    database, archive = folder / DATABASE, tmp_path / "archive"
    prune(database, archive)
    result = audit(database)
    assert (result.ok, result.where) == (False, "records seq 1")
    assert "was pruned and is moved to an archive" in result.problem
    with (
        pytest.raises(UserError, match="--archive DIR") as caught,
        open_with_archive(database, None) as store,
    ):
        explain(store, "0:3:0")
    assert caught.value.exit_code == 1
    (archive / Tile(None, 0).path).unlink()
    with (
        pytest.raises(UserError, match="was pruned and is not in"),
        open_with_archive(database, archive) as store,
    ):
        explain(store, "0:3:0")
    with open_with_archive(database, None) as store:
        assert explain(store, "1")["kind"] == "hotspot"  # state and payments stay


def test_an_archive_that_lies_is_not_believed(folder: Path, tmp_path: Path) -> None:
    database, archive = folder / DATABASE, tmp_path / "archive"
    prune(database, archive)
    file = archive / Tile(None, 1).path
    raw = bytearray(file.read_bytes())
    raw[40] ^= 1
    file.write_bytes(bytes(raw))
    result = audit(database, archive=archive)
    assert (result.ok, result.where) == (False, f"records seq {TILE_WIDTH}")


def test_a_file_in_the_way_is_replaced_only_by_what_the_log_holds(
    folder: Path, tmp_path: Path
) -> None:
    database, archive = folder / DATABASE, tmp_path / "archive"
    whole = wires_of(database)
    file = archive / Tile(None, 2).path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"left by something else")
    prune(database, archive)
    check_nothing_lost(database, archive, whole)


class Cut(BaseException):
    """The process ends here."""


def test_ending_at_any_step_loses_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, archive = folder / DATABASE, tmp_path / "archive"
    whole = wires_of(database)
    monkeypatch.setattr("chain.store.io_prune.BUNDLES_PER_COMMIT", 2)
    for steps in range(1, 400):
        left = iter(range(steps))

        def step(name: str, real: Any, left: Iterator[int] = left) -> Any:
            def run(*args: Any) -> Any:
                if next(left, None) is None:
                    raise Cut(name)
                return real(*args)

            return run

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("chain.store.io_prune.os.fsync", step("fsync", os.fsync))
            patch.setattr("chain.store.io_prune.os.replace", step("replace", os.replace))
            patch.setattr("chain.store.io_prune._forget", step("forget", real_forget))
            try:
                prune(database, archive)
            except Cut:
                check_nothing_lost(database, archive, whole)
                continue
        break
    else:
        raise AssertionError("it never came to its end")
    assert steps > 3
    assert check_nothing_lost(database, archive, whole) == RECORDS - 4
    assert audit(database, archive=archive).ok


SLOW = """
import sys, time
from pathlib import Path
import chain.store.io_prune as p
p.BUNDLES_PER_COMMIT = 1
real = p._write
def slow(path, data):
    time.sleep(0.01)
    real(path, data)
    time.sleep(0.01)
p._write = slow
print("go", flush=True)
p.prune(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_kill_9_in_the_middle_loses_nothing(folder: Path, tmp_path: Path) -> None:
    database, archive = folder / DATABASE, tmp_path / "archive"
    whole = wires_of(database)
    draws = random.Random(7)
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(database), str(archive)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(draws.uniform(0, 0.12))
        child.send_signal(signal.SIGKILL)
        child.wait(120)
        child.stdout.close()
        check_nothing_lost(database, archive, whole)
        assert count_of(database) <= RECORDS
    prune(database, archive)
    assert check_nothing_lost(database, archive, whole) == RECORDS - 4
    assert audit(database, archive=archive).ok


def count_of(database: Path) -> int:
    store = Store.open(database, read_only=True)
    try:
        return count_pruned(store)
    finally:
        store.close()


def test_a_ledger_that_runs_is_pruned_and_serves_from_the_archive(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town, _ = blocks_of_old_town()
    database, archive = folder / DATABASE, tmp_path / "archive"

    def make(durable: DurableLedger) -> Any:
        return build(durable, archive=archive)

    bare = Running(folder, town, monkeypatch)
    try:
        with LedgerClient(bare.url) as client:
            full = client.records(0, 1000)
            verdicts = client.get("/v1/verdicts?epoch=3")
            why = client.get("/v1/explain/0:3:0")
            bundle = bare.ask("GET", "/log/tile/entries/001")[2]
        prune(database, archive)
        with LedgerClient(bare.url) as client:
            assert client.submit([town.deposit(2, 1, b"while pruned").wire])[0].accepted
            assert [entry.wire for entry in client.records(0, 6)].count(b"") > 0
        for path in ("/v1/verdicts?epoch=3", "/v1/explain/0:3:0"):
            status, problem = bare.json("GET", path)
            assert (status, problem["field"]) == (410, "archive")
        assert bare.ask("GET", "/log/tile/entries/001")[0] == 404
        assert bare.ask("GET", "/log/tile/0/001")[0] == 200
    finally:
        bare.close()
    (tmp_path / "again").mkdir()
    backup(database, tmp_path / "again" / DATABASE)
    served = Running(tmp_path / "again", town, monkeypatch, make)
    try:
        with LedgerClient(served.url) as client:
            assert client.records(0, 1000) == full
            assert client.get("/v1/verdicts?epoch=3") == verdicts
            assert client.get("/v1/explain/0:3:0") == why
        assert served.ask("GET", "/log/tile/entries/001")[2] == bundle
        part = served.ask("GET", "/log/tile/entries/001.p/3")[2]
        assert bundle.startswith(part)
    finally:
        served.close()


def test_the_command_says_what_it_moved(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    base = ["prune", "--dir", str(folder), "--archive", str(archive)]
    assert run_command(main, [*base, "--keep-settlements", "0"]) == 2
    assert run_command(main, [*base, "--keep-settlements", "7"]) == 0
    assert capsys.readouterr().out.startswith("0 records")
    assert run_command(main, [*base, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["archived"], said["archived_in_all"]) == (RECORDS, RECORDS)
    database = str(folder / DATABASE)
    assert run_command(main, ["audit", database]) == 1
    assert "archive" in capsys.readouterr().out
    assert run_command(main, ["audit", database, "--archive", str(archive), "--json"]) == 0
    assert run_command(main, ["explain", "0:3:0", "--db", database]) == 1
    why = ["explain", "0:3:0", "--db", database, "--archive", str(archive)]
    assert run_command(main, why) == 0


def test_a_database_without_pruned_records_has_no_view(folder: Path) -> None:
    store = Store.open(folder / DATABASE, read_only=True)
    attach(store, None)
    assert store.connection.execute("SELECT count(*) FROM sqlite_temp_master").fetchone() == (0,)
    store.close()
