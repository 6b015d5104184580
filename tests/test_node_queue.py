"""The durable queue: nothing stored is lost, delivery is idempotent, errors are one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chain.errors import UserError
from chain.records import SubmitResult
from chain.wire import record_id_of
from hotspot.actions import DropReceipt, KeepReceipt, KeepReceptions, SendDatagram, SubmitRecord
from hotspot.io_queue import DurableQueue

KEY = b"k" * 32
EPOCH_WIRE, CLAIM_WIRE = b"\x84\x04message", b"\x84\x06claim"


def accepted(wire: bytes) -> SubmitResult:
    return SubmitResult(record_id_of(wire), True, None, "accepted", "")


def test_a_batch_is_found_again_after_reopening(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "q.db")
    queue.store([(KEY, 5, [KeepReceptions(5, (b"r" * 14,)), SubmitRecord(EPOCH_WIRE)])])
    queue.store([(KEY, 6, [SubmitRecord(CLAIM_WIRE)])])
    queue.close()
    again = DurableQueue(tmp_path / "q.db")
    assert again.undelivered() == [
        (record_id_of(EPOCH_WIRE), EPOCH_WIRE, KEY),
        (record_id_of(CLAIM_WIRE), CLAIM_WIRE, KEY),
    ]
    assert again.memory(KEY).receptions == {5: {b"r" * 14}}
    assert again.memory(KEY).last_message_epoch == 5


def test_a_late_message_is_kept_as_of_its_own_epoch(tmp_path: Path) -> None:
    """Who signs epoch 4's message late, in 5, and starts anew there still owes that of 5."""
    queue = DurableQueue(tmp_path / "q.db")
    queue.store([(KEY, 5, [SubmitRecord(EPOCH_WIRE, 4)])])
    assert queue.memory(KEY).last_message_epoch == 4


def test_an_answered_record_is_not_sent_again(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "q.db")
    queue.store([(KEY, 1, [SubmitRecord(b"one"), SubmitRecord(b"two")])])
    queue.settle([accepted(b"one")])
    assert [record.wire for record in queue.undelivered()] == [b"two"]


def test_the_ring_drops_delivered_before_undelivered_and_counts(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "q.db", limit_bytes=2_500)
    wires = [bytes([n]) * 1_000 for n in range(4)]
    for wire in wires:  # the limit is looked at once an epoch, and when answers come
        queue.store([(KEY, 1, [SubmitRecord(wire)])])
    queue.settle([accepted(wires[3])])
    assert [record.wire for record in queue.undelivered()] == wires[1:3]
    assert queue.counts().dropped == 2


def test_newest_receipts_and_usage_survive_a_new_process(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "q.db")
    kept = [KeepReceipt(3, b"old"), KeepReceipt(3, b"new"), KeepReceipt(1, b"one")]
    queue.store([(KEY, 1, [*kept, KeepReceipt(2, b"over"), DropReceipt(2)])])
    queue.use("bearer", 5)
    queue.use("bearer", 7)
    again = DurableQueue(tmp_path / "q.db")
    assert again.receipts(KEY) == [b"one", b"new"]
    assert (again.used("bearer"), again.used("other")) == (12, 0)
    again.close()
    queue.close()


def test_a_batch_without_anything_durable_writes_nothing(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "q.db")
    before = queue._db.total_changes
    assert queue.store([(KEY, 1, [SendDatagram(2, b"x")])]) == []
    assert queue._db.total_changes == before
    queue.close()


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "q.db").write_bytes(b"not a database, surely" * 100)
    with pytest.raises(UserError, match=r"queue: .*q\.db"):
        DurableQueue(tmp_path / "q.db")


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "q.db")
    queue.store([(KEY, 1, [SubmitRecord(b"first")])])
    queue._db.execute("PRAGMA max_page_count = 8")
    with pytest.raises(UserError, match="free some space"):
        queue.store([(KEY, 2, [SubmitRecord(os.urandom(60_000))])])
    assert [record.wire for record in queue.undelivered()] == [b"first"]


WRITER = """
import sys
from pathlib import Path
from hotspot.actions import KeepReceptions, SubmitRecord
from hotspot.io_queue import DurableQueue
queue = DurableQueue(Path(sys.argv[1]))
n = int(sys.argv[2])
while True:
    wire = n.to_bytes(4, "big") * 50
    queue.store([(b"k" * 32, n, [KeepReceptions(n, (n.to_bytes(14, "big"),)), SubmitRecord(wire)])])
    print(n, flush=True)
    n += 1
"""


def test_twenty_kills_lose_no_acknowledged_batch(tmp_path: Path) -> None:
    last = -1
    for _ in range(20):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "q.db"), str(last + 1)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        for _ in range(5):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        last = int(rest[-1]) if rest else last
        queue = DurableQueue(tmp_path / "q.db")
        stored = [int.from_bytes(wire[:4], "big") for _, wire, _ in queue.undelivered()]
        queue.close()
        assert stored[: last + 1] == list(range(last + 1))
        last = stored[-1]
