"""A backup taken while records pour in is a ledger of its own: consistent, audited, complete."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.cli.io_cli import main
from chain.errors import UserError
from chain.io_audit import audit
from chain.io_client import LedgerClient
from chain.io_ledger import DATABASE
from chain.io_terminal import run_command
from chain.store.io_backup import PAGES_PER_STEP, backup, describe, restore
from chain.store.io_store import Store

from .ops_helpers import Running, town_on_disk


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    folder = tmp_path / "live"
    folder.mkdir()
    service = Running(folder, town_on_disk(folder), monkeypatch)
    yield service
    service.close()


class Storm:
    """A client that submits deposits as fast as they are answered, and keeps every answer."""

    def __init__(self, running: Running) -> None:
        self.acknowledged: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(running,))
        self._thread.start()

    def _run(self, running: Running) -> None:
        with LedgerClient(running.url) as client:
            number = 0
            while not self._stop.is_set():
                wires = [
                    running.town.deposit(0, 1, b"storm %d" % (number + i)).wire for i in range(20)
                ]
                number += 20
                answers = client.submit(wires)
                assert all(answer.accepted for answer in answers)
                self.acknowledged += [answer.record_id for answer in answers]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(120)


def ids_of(path: Path) -> list[bytes]:
    store = Store.open(path, read_only=True)
    try:
        return [row["id"] for row in store.rows("SELECT id FROM records ORDER BY seq")]
    finally:
        store.close()


def test_a_backup_in_a_storm_restores_to_an_audited_ledger(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain.store.io_backup.PAGES_PER_STEP", 4)
    storm = Storm(running)
    try:
        while len(storm.acknowledged) < 100:
            pass
        before = list(storm.acknowledged)
        seen: list[tuple[int, int]] = []

        def note(done: int, total: int) -> None:
            # Every step lets the service commit more: the copy must not see it, nor start over.
            seen.append((done, total))
            target = len(storm.acknowledged) + 20
            while len(seen) < 4 and len(storm.acknowledged) < target:
                pass

        copy = backup(running.folder / DATABASE, tmp_path / "out.db", note)
        after = list(storm.acknowledged)
    finally:
        storm.stop()
    assert len(after) >= len(before) + 60
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    held = ids_of(tmp_path / "out.db")
    assert set(before) <= set(held)
    assert held == ids_of(running.folder / DATABASE)[: len(held)]
    assert copy.records == len(held)
    restored = restore(tmp_path / "out.db", tmp_path / "new")
    assert (restored.hash, restored.records) == (copy.hash, copy.records)
    result = audit(tmp_path / "new" / DATABASE)
    assert (result.ok, result.records) == (True, copy.records)


def test_a_restored_ledger_goes_on(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(running.folder / DATABASE, tmp_path / "out.db")
    restore(tmp_path / "out.db", tmp_path / "new", check=None)
    again = Running(tmp_path / "new", running.town, monkeypatch)
    try:
        with LedgerClient(again.url) as client:
            (result,) = client.submit([running.town.deposit(1, 7, b"afterwards").wire])
            assert result.accepted
            assert client.head().network_id == running.town.network_id
    finally:
        again.close()


def test_nothing_is_replaced_and_nothing_half_made_appears(
    running: Running, tmp_path: Path
) -> None:
    taken = tmp_path / "taken.db"
    taken.write_bytes(b"mine")
    with pytest.raises(UserError, match="exists"):
        backup(running.folder / DATABASE, taken)
    assert taken.read_bytes() == b"mine"

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(running.folder / DATABASE, tmp_path / "cut.db", fail)
    assert not (tmp_path / "cut.db").exists()
    assert backup(running.folder / DATABASE, tmp_path / "cut.db").records > 0
    assert not list(tmp_path.glob("*.partial*"))
    with pytest.raises(UserError, match="never replaced"):
        restore(tmp_path / "cut.db", running.folder)


def test_a_damaged_backup_is_not_restored(running: Running, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    backup(running.folder / DATABASE, good)
    shutil.copy(good, bad)
    connection = sqlite3.connect(bad)
    connection.execute("UPDATE payments SET amount_ucr = amount_ucr + 1 WHERE seq = 0")
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match=r"fails at payments seq 0 column amount_ucr") as caught:
        restore(bad, tmp_path / "new")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "new").exists()
    bad.write_bytes(good.read_bytes()[: PAGES_PER_STEP * 5])
    with pytest.raises(UserError):
        restore(bad, tmp_path / "new", check=None)
    assert describe(good).records > 0


def test_the_commands_say_what_they_did(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new = tmp_path / "b.db", tmp_path / "new"
    assert run_command(main, ["backup", "--dir", str(running.folder), str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["records"] == len(ids_of(out))
    assert run_command(main, ["restore", str(out), "--dir", str(new)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"audited and restored: {said['records']} records")
    assert "100 %" in captured.err
    assert run_command(main, ["restore", str(out), "--dir", str(new)]) == 2
    assert run_command(main, ["backup", "--dir", str(tmp_path / "none"), str(out) + "2"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
