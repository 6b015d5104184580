"""A month without the ledger: nothing heard is lost, nothing is signed twice, the file stays small.

A real node on the main network's rules hears 30 neighbours once an epoch for 4,320 epochs while
nothing leaves its durable queue; every three days the power fails. Then the ledger is back.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from node_helpers import MS, NETWORK, START_MS

from chain.draws import digest
from chain.params import PRESETS
from chain.records import RECEPTION_BYTES, EpochMessage, Signed, SubmitResult
from chain.wire import decode
from hotspot.actions import SubmitRecord
from hotspot.directory import Directory
from hotspot.io_queue import ROW_BYTES, DurableQueue
from hotspot.node import HotspotNode, Identity, Spoken
from hotspot.secrets import SecretChain

PARAMS = PRESETS["mainnet"]
NEIGHBOURS = 30
EPOCHS_A_DAY = 144
LIMIT_BYTES = 40 * 1000 * 1000
SEED = digest("test-seed", b"offline")
PEERS = [digest("peer", bytes([n])) for n in range(NEIGHBOURS)]
SECRETS = SecretChain(SEED, 1, 5_000)


class Away:
    """A hotspot whose ledger is away: what it stores stays in the queue."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = Directory(enumerate(PEERS, start=1))
        self.heard: dict[int, set[int]] = {}
        self.queue = DurableQueue(path)
        self.queue._db.execute("PRAGMA synchronous=OFF")  # power fails between epochs only
        self.node = self.wake(START_MS * MS)

    def wake(self, now_ns: int) -> HotspotNode:
        """A node with what the queue remembers, as after a power cut."""
        identity = Identity(SEED, NETWORK, START_MS, PARAMS, 0x8928308280FFFFF, 2437)
        memory = self.queue.memory(HotspotNode(identity, SECRETS, self.directory).key)
        node = HotspotNode(
            identity, SECRETS, self.directory, verifier=lambda *_: True, memory=memory
        )
        node.receive_registration(0, 2, now_ns)
        return node

    def cut_power(self, now_ns: int) -> None:
        self.queue.close()
        self.queue = DurableQueue(self.path)
        self.queue._db.execute("PRAGMA synchronous=OFF")
        self.node = self.wake(now_ns)

    def live_epoch(self, epoch: int) -> None:
        """Hear everybody once, then do what is due until the epoch ends."""
        start_ns = (START_MS + epoch * PARAMS.epoch_ms) * MS
        self.node.handle_deadline(start_ns)
        for peer, key in enumerate(PEERS, start=1):
            at_ns = start_ns + (PARAMS.mix_lead_ms + 1_000 * peer) * MS
            said = Spoken(key + bytes(109), key, epoch, (peer, epoch % 4), bytes(4))
            self.node.receive_spoken(said, -40 - peer, 2437, at_ns)
            self.heard.setdefault(epoch, set()).add(peer)
        end_ns = start_ns + PARAMS.epoch_ms * MS - 1
        while (due := self.node.next_deadline()) is not None and due <= end_ns:
            self.node.handle_deadline(due)
            self.carry()
        self.carry()

    def carry(self) -> None:
        """Store what the node asks for; who asks for a mix gets no answer."""
        self.queue.store([(self.node.key, self.node.epoch, self.node.take_actions())])


def reports(queue: DurableQueue) -> dict[int, EpochMessage]:
    """Messages that wait for the ledger, by epoch; each epoch once."""
    found: dict[int, EpochMessage] = {}
    for item in queue.undelivered():
        signed = decode(item.wire)
        assert isinstance(signed, Signed)
        assert isinstance(signed.record, EpochMessage)
        assert signed.record.epoch not in found, "two messages of an epoch prove a cloned key"
        found[signed.record.epoch] = signed.record
    return found


def peers_in(report: bytes) -> set[int]:
    rows = range(0, len(report), RECEPTION_BYTES)
    return {int.from_bytes(report[row : row + 4], "big") for row in rows}


def size_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def run_offline(path: Path, days: int) -> Away:
    away, last = Away(path), days * EPOCHS_A_DAY
    for epoch in range(2, last):
        if epoch % (3 * EPOCHS_A_DAY) == 0:
            away.cut_power((START_MS + epoch * PARAMS.epoch_ms) * MS)
        away.live_epoch(epoch)
    return away


def check_nothing_lost(away: Away, last: int) -> None:
    told = reports(away.queue)
    for epoch in range(2, last - 1):
        assert peers_in(told[epoch + 1].report) == away.heard[epoch], epoch
    assert sorted(told) == list(range(2, last))
    assert away.queue.counts().dropped == 0


@pytest.mark.parametrize(
    "days", [4, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.soak])]
)
def test_days_offline_lose_nothing_and_a_month_fits_into_forty_megabytes(
    days: int, tmp_path: Path
) -> None:
    away = run_offline(tmp_path / "queue.db", days)
    check_nothing_lost(away, days * EPOCHS_A_DAY)
    counts = away.queue.counts()
    assert counts.new == days * EPOCHS_A_DAY - 2
    assert counts.bytes * 30 / days <= LIMIT_BYTES
    assert counts.receptions <= 5 * NEIGHBOURS, "reported receptions are kept no longer"
    assert size_bytes(away.path) <= LIMIT_BYTES, size_bytes(away.path)
    assert counts.bytes <= size_bytes(away.path), "the limit counts no more than there is"
    answers = [
        SubmitResult(item.record_id, True, None, "accepted", "")
        for item in away.queue.undelivered()
    ]
    away.queue.settle(answers)
    assert away.queue.undelivered() == []
    assert away.queue.counts().delivered <= 4, "and then the file is empty again"
    away.queue.close()


@pytest.mark.parametrize("limit_records", [3, 40])
def test_a_ring_that_is_too_small_keeps_the_newest_and_says_how_many_it_dropped(
    tmp_path: Path, limit_records: int
) -> None:
    each = 500 + ROW_BYTES
    queue = DurableQueue(tmp_path / "q.db", limit_bytes=limit_records * each)
    for epoch in range(200):
        wire = b"\x84\x04" + epoch.to_bytes(4, "big") + bytes(494)
        queue.store([(b"k" * 32, epoch, [SubmitRecord(wire)])])
        counts = queue.counts()
        assert counts.bytes <= counts.limit_bytes
        assert counts.new + counts.dropped == epoch + 1
    kept = [int.from_bytes(item.wire[2:6], "big") for item in queue.undelivered()]
    assert kept == list(range(200 - limit_records, 200))
    queue.close()
