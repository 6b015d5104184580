"""What happens to owners: wrong words, two daemons, a queue that the flash memory has damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from doors_helpers import run

from chain.errors import UserError
from chain.io_terminal import write_json
from hotspot.actions import KeepReceptions, SubmitRecord
from hotspot.doctor import BAD, DOUBT, judge_daemon, judge_queue
from hotspot.io_machine import Machine
from hotspot.io_queue import DurableQueue, open_whole
from hotspot.screen import terminal_lines

LIMIT = 40 << 20
RECORDS = 300


def filled(path: Path) -> None:
    """A queue with records that wait, closed."""
    queue = DurableQueue(path)
    for epoch in range(RECORDS):
        wire = b"\x84\x04" + epoch.to_bytes(4, "big") + bytes(600)
        rows = KeepReceptions(epoch, (epoch.to_bytes(14, "big"),))
        queue.store([(b"k" * 32, epoch, [rows, SubmitRecord(wire)])])
    queue.set_note("chain", b"[1, 400]")
    queue.close()


def test_a_whole_queue_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    filled(path)
    queue = open_whole(path, LIMIT)
    assert queue.counts().new == RECORDS
    assert queue.note("chain") == b"[1, 400]"
    queue.close()
    assert not list(tmp_path.glob("*.damaged*"))


@pytest.mark.parametrize("page", [3, 20, 40])
def test_records_before_and_after_a_damaged_page_are_taken_over(
    tmp_path: Path, page: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "queue.db"
    filled(path)
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)
    queue = open_whole(path, LIMIT)
    saved = queue.counts().new
    assert RECORDS * 0.9 < saved <= RECORDS
    assert all(item.wire[:2] == b"\x84\x04" for item in queue.undelivered())
    assert queue.note("chain") is None, "old secrets would sign an epoch twice"
    assert f"{saved} records taken over" in capsys.readouterr().err
    queue.check()
    queue.close()
    assert (tmp_path / "queue.db.damaged").exists()


NO_QUEUES = (b"", b"\x5a" * 8_192, b"SQLite format 3\0" + b"\xff" * 5_000)


@pytest.mark.parametrize("content", NO_QUEUES)
def test_a_file_that_is_no_queue_does_not_stop_a_hotspot(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "queue.db"
    path.write_bytes(content)
    queue = open_whole(path, LIMIT)
    queue.set_note("alive", b"yes")
    queue.close()
    assert (tmp_path / "queue.db.damaged").exists() is bool(content)


def test_a_folder_in_its_place_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "queue.db").mkdir()
    with pytest.raises(UserError, match=r"queue\.db"):
        open_whole(tmp_path / "queue.db", LIMIT)
    assert (tmp_path / "queue.db").is_dir()


def test_damage_that_shows_later_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    filled(path)
    queue = DurableQueue(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.path.getsize(path) - 4096))
    with pytest.raises(UserError, match="mends it at its next start"):
        queue.undelivered()
    assert queue.is_damaged
    queue.close()


def test_only_one_process_holds_a_key(tmp_path: Path) -> None:
    key = tmp_path / "hotspot.key"
    key.write_text("0" * 64)
    first, second = Machine(), Machine()
    first.hold(key)
    with pytest.raises(UserError, match="another daemon"):
        second.hold(key)
    os.close(first._held)
    second.hold(key)
    os.close(second._held)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ledger", "https://x.example"), "ledger.url"),
        (("--height", "99999999"), "height_m"),
        (("--radio", "wlan0"), "KIND:NAME"),
        (("--lat", "95"), "not on Earth"),
    ],
)
def test_init_writes_nothing_that_the_daemon_would_refuse(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    where = ("--dir", tmp_path / "spot", "--lat", "40.7", "--lon", "-74")
    done = run("hotspot", "init", *where, *words)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "spot").exists()


def test_a_daemon_that_was_told_to_stop_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    make = ("--dir", tmp_path, "--lat", "40.7", "--lon", "-74")
    assert run("hotspot", "init", *make).code == 0
    status = {
        **dict.fromkeys(("index", "epoch"), 3),
        **{name: {} for name in ("counts", "faults", "heard")},
        "at_ms": time.time_ns() // 1_000_000,
        "radio": "mon0",
        "queue": {"new": 0, "dropped": 0, "bytes": 0},
        "ledger": {"age_s": None},
        "last_frame_age_s": None,
        "state": {"name": "BEACON", "reason": "beacons", "age_s": 1},
        "ended": "it was told to stop",
    }
    write_json(tmp_path / "status.json", status)
    done = run("hotspot", "status", "--config", tmp_path / "hotspot.toml")
    assert (done.code, "not running: it was told to stop" in done.out) == (1, True)
    assert judge_daemon(status, 1)[0].verdict == BAD
    assert "told to stop" in terminal_lines(status, 1)[0]


def test_the_doctor_tells_of_a_queue_that_was_put_aside() -> None:
    assert judge_queue(False) == []
    assert judge_queue(True)[0].verdict == DOUBT
