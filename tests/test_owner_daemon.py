"""The daemon's own reactions, in this process: offline start, full disk, lost radio, late clock."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_helpers import NETWORK, Bench, received

from chain.errors import UserError
from chain.keys import public_key, sign
from chain.records import Registration, Signed, SubmitResult
from chain.wire import decode
from hotspot import io_machine
from hotspot.actions import KeepReceptions
from hotspot.config import HotspotConfig, HotspotSection, LedgerSection, RadioSection
from hotspot.health import Repair, State
from hotspot.io_daemon import Daemon
from hotspot.io_machine import Machine
from hotspot.io_membership import REGISTER_AGAIN_NS
from hotspot.io_queue import DurableQueue
from hotspot.io_system import boot_ns as boot_clock_ns
from hotspot.io_uplink import (
    LedgerAway,
    LedgerBack,
    MixKnown,
    OwnerKnown,
    PeerKnown,
    Submitted,
)
from hotspot.node import mac_of
from hotspot.radio.frame import SIGNED_BYTES, Beacon, build_frame, pack_beacon
from hotspot.radio.io_radio import MockRadio, Radio

CELL = "891e35a3393ffff"
EPOCH_MS = 10_000


def settings() -> HotspotConfig:
    spot = HotspotSection(cell=CELL, chain_length=400, page="")
    radio = RadioSection(kind="monitor", interface="mon0")
    return HotspotConfig(spot, radio, LedgerSection(url="http://127.0.0.1:9"))


def prepare(folder: Path, bench: Bench) -> None:
    """A queue as an earlier run left it: network, chain of secrets, own index and a neighbour."""
    queue = DurableQueue(folder / "queue.db")
    start_ms = time.time_ns() // 1_000_000 - 20 * EPOCH_MS
    queue.set_note("network", json.dumps([NETWORK.hex(), start_ms, "minimal"]).encode())
    queue.set_note("chain", json.dumps([1, 400]).encode())
    rows = [[1, bench.nodes["a"].key.hex()]]
    queue.set_note("peers", json.dumps([[0, 2], rows]).encode())
    queue.close()


class Mocked(Machine):
    """This machine, with a radio that a test feeds."""

    def hold(self, key_file: Path) -> None:
        """A second daemon stands for the first after its death."""

    def open_radio(self, config: HotspotConfig) -> Radio:
        return MockRadio()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    prepare(tmp_path, Bench())
    running = Daemon(settings(), tmp_path, Mocked())
    running._loop.register(running._radio, running._read_radio, once=True)
    running._loop.register(running._waker, running._read_events)
    yield running
    if running._has_radio:
        running._radio.close()
    running._loop.close()
    running._queue.close()


def beacon_of_a(epoch: int) -> bytes:
    """A signed beacon of the neighbour that `prepare` made known, as a driver hands it over."""
    node = Bench().nodes["a"]
    beacon = Beacon(node.key, epoch, 0, bytes(16), int(CELL, 16), 2437, 1, time.time_ns())
    head = pack_beacon(beacon)[:SIGNED_BYTES]
    payload = head + sign(node.identity.seed, "beacon", NETWORK, head)
    return received(build_frame(payload, node.mac, 1))


def faults(daemon: Daemon) -> set[str]:
    status: dict[str, Any] = json.loads(json.dumps(daemon._status()))
    return set(status["faults"])


def test_a_start_without_the_ledger_beacons_with_what_the_last_run_knew(daemon: Daemon) -> None:
    assert daemon._node.index == 0
    assert daemon._node.is_active
    daemon._turn()
    daemon._enter_state(1)
    assert daemon._health.standing.state is State.BEACON


def test_ledger_faults_come_and_go(daemon: Daemon) -> None:
    daemon._take_event(LedgerAway("no route"))
    assert faults(daemon) == {"LEDGER_DOWN"}
    daemon._take_event(LedgerBack())
    assert faults(daemon) == set()


def test_a_full_disk_keeps_all_in_memory_and_stores_it_in_order_later(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = daemon._queue.store
    rows = [KeepReceptions(20, (bytes([n]) * 14,)) for n in range(3)]

    def full(_: object) -> list[Any]:
        raise UserError("queue", "disk is full", "free some space")

    monkeypatch.setattr(daemon._queue, "store", full)
    for row in rows:
        daemon._store_ns = 0
        daemon._carry_out([row])
    assert faults(daemon) == {"DISK_FULL"}
    assert daemon._queue.counts().receptions == 0
    monkeypatch.setattr(daemon._queue, "store", real)
    daemon._store_ns = 0
    daemon._carry_out([])
    assert faults(daemon) == set()
    assert daemon._queue.counts().receptions == 3


def test_a_radio_that_goes_away_is_tried_again_until_it_is_back(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(config: HotspotConfig) -> MockRadio:
        raise UserError("radio.interface", "mon0: No such device", "plug it in")

    monkeypatch.setattr(daemon._machine, "open_radio", gone)
    daemon._repair(Repair.REOPEN_RADIO)
    daemon._look_after()
    assert daemon._health.standing.state is State.RADIO
    monkeypatch.setattr(daemon._machine, "open_radio", lambda config: MockRadio())
    daemon._look_after()
    daemon._look_after()
    assert daemon._health.standing.state is State.BEACON


def test_restart_is_an_exec_of_the_same_command_after_all_is_stored(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(io_machine.os, "execv", lambda path, argv: called.append(argv))
    monkeypatch.setattr(daemon._uplink, "stop", lambda: None)
    daemon._repair(Repair.RESTART)
    assert daemon._waker.stopping
    daemon._close()
    assert called == [[sys.executable, *sys.orig_argv[1:]]]
    daemon._has_radio = False


def test_frames_wait_for_the_clock_and_no_beacon_leaves_before(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon._clock, "doubt", lambda: "nobody knows the time")
    radio = daemon._radio
    assert isinstance(radio, MockRadio)
    radio.feed(beacon_of_a(daemon._node.epoch))
    daemon._read_radio()
    daemon._turn()
    daemon._look_after()
    assert (len(daemon._backlog), radio.sent) == (1, [])
    assert daemon._health.standing.state is State.CLOCK
    assert daemon._status()["clock"]["waiting_frames"] == 1  # type: ignore[index]
    monkeypatch.setattr(daemon._clock, "doubt", lambda: "")
    daemon._turn()
    assert len(daemon._backlog) == 0
    assert daemon._node.counts["heard"] == 1
    assert daemon._clock._neighbours.keys() == {1}, "and the neighbour's word was asked for"


def test_secrets_that_cannot_be_followed_any_more_are_registered_anew(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(daemon._uplink, "submit", sent.extend)
    daemon._turn()
    refused = SubmitResult(bytes(32), False, None, "bad_reveal", "register a new anchor")
    daemon._take_event(Submitted((refused, refused)))
    (wire,) = sent
    signed = decode(wire)
    assert isinstance(signed, Signed)
    assert isinstance(signed.record, Registration)
    assert signed.record.key == public_key(daemon._seed)
    assert signed.record.first_epoch == daemon._node.epoch + 1
    daemon._take_event(Submitted((SubmitResult(signed.record_id, True, 0, "accepted", ""),)))
    kept = json.loads(daemon._queue.note("chain") or b"[]")
    assert kept == [signed.record.first_epoch, 400]
    assert daemon._again


def test_what_the_ledger_says_of_beacons_becomes_a_fault_or_ends_one(daemon: Daemon) -> None:
    def told(**beacons: int) -> OwnerKnown:
        epoch = daemon._node.epoch
        return OwnerKnown(epoch, 0, 0, 0, 0, {"as_beaconer": {"beacons": beacons}})

    daemon._readings.note(1, -60, boot_clock_ns())
    daemon._take_event(told(unheard=4))
    assert faults(daemon) == {"TX_DEAD"}
    daemon._take_event(told(unheard=3, paid=1))
    assert faults(daemon) == set()


def test_each_epoch_keeps_the_boot_in_which_it_was_heard(daemon: Daemon) -> None:
    daemon._turn()
    for _ in range(2):
        daemon._times.keep(daemon._node.epoch, daemon._boot_ns(), daemon._note)
    ((epoch, boot, boot_ns, wall_ns, _),) = daemon._queue.moments()
    assert (epoch, boot) == (daemon._node.epoch, daemon._times.boot_id)
    assert 0 < boot_ns <= boot_clock_ns()
    assert abs(wall_ns - time.time_ns()) < 60 * 10**9


def test_the_epochs_randomness_survives_a_restart(daemon: Daemon, tmp_path: Path) -> None:
    epoch = daemon._node.epoch
    daemon._take_event(MixKnown(epoch, b"m" * 32))
    again = Daemon(settings(), tmp_path, Mocked())
    assert again._node._mixes == {epoch: b"m" * 32}
    again._radio.close()
    again._loop.close()
    again._queue.close()


def stranger(number: int) -> tuple[bytes, bytes]:
    """A seed that no ledger knows, and its key."""
    seed = bytes([number]) * 32
    return seed, public_key(seed)


def beacon_of(seed: bytes, epoch: int, sequence: int = 0) -> bytes:
    key = public_key(seed)
    beacon = Beacon(key, epoch, sequence, bytes(16), int(CELL, 16), 2437, 1, time.time_ns())
    head = pack_beacon(beacon)[:SIGNED_BYTES]
    return received(build_frame(head + sign(seed, "beacon", NETWORK, head), mac_of(key), 1))


def test_a_new_neighbours_first_beacons_count_once_the_ledger_says_who_it_is(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(daemon._uplink, "find_peer", asked.append)
    (seed, key), (other_seed, other) = stranger(9), stranger(10)
    daemon._turn()
    epoch = daemon._node.epoch
    first = beacon_of(seed, epoch)
    daemon._take_frames([first, first, beacon_of(other_seed, epoch)])
    assert (asked, daemon._node.counts["heard"]) == ([key, other], 0)
    assert daemon._node.upcoming[1] == daemon._node._message_by_ns(epoch), "the report waits"
    daemon._take_event(PeerKnown(key, 7, 2))
    assert daemon._node.counts["heard"] == 1, "its repetition counts no more"
    daemon._take_event(PeerKnown(other, None, 0))
    daemon._take_frames([beacon_of(other_seed, epoch)])
    assert daemon._node.counts["heard"] == 1
    assert asked == [key, other], "a minute must pass"


def test_an_unsigned_stranger_is_not_asked_for(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(daemon._uplink, "find_peer", asked.append)
    daemon._turn()
    frame = bytearray(beacon_of(stranger(9)[0], daemon._node.epoch))
    frame[-1] ^= 1
    daemon._take_frames([bytes(frame)])
    assert asked == []


def test_a_hotspot_that_the_ledger_does_not_know_registers_once_and_enters(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    asked: list[bytes] = []
    monkeypatch.setattr(daemon._uplink, "submit", sent.extend)
    monkeypatch.setattr(daemon._uplink, "find_peer", asked.append)
    member, key = daemon._member, daemon._node.key
    member.registration = None
    member.ask()
    for _ in range(2):
        daemon._take_event(PeerKnown(key, None, 0))
    (wire,) = sent
    signed = decode(wire)
    assert isinstance(signed, Signed)
    daemon._take_event(Submitted((SubmitResult(signed.record_id, True, 0, "accepted", ""),)))
    assert asked == [key, key], "asked again as soon as the registration is on the ledger"
    daemon._take_event(PeerKnown(key, 3, 9))
    assert member.registration == (3, 9)


def test_a_registration_that_was_refused_says_why_and_is_tried_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(daemon._uplink, "submit", sent.extend)
    member, key = daemon._member, daemon._node.key
    member.registration = None
    daemon._take_event(PeerKnown(key, None, 0))
    signed = decode(sent[0])
    assert isinstance(signed, Signed)
    why = "owner: the bond: takes 10 ucr, the account holds 0; deposit or lower it"
    refused = SubmitResult(signed.record_id, False, None, "insufficient_balance", why)
    daemon._take_event(Submitted((refused,)))
    assert member.refusal == f"insufficient_balance: {why}"
    daemon._take_event(PeerKnown(key, None, 0))
    assert len(sent) == 1, "not at once"
    for passed_ns in (REGISTER_AGAIN_NS, -3_600 * 1_000_000_000):
        now_ns = daemon._wall_ns() + passed_ns
        member.take(PeerKnown(key, None, 0), now_ns, may_register=True)
        daemon._take_event(Submitted((refused,)))
    assert len(sent) == 3, "later, or when the clock was set back"


def test_a_radio_that_was_read_rests_but_not_beyond_what_is_due(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    radio = daemon._radio
    assert isinstance(radio, MockRadio)
    daemon._turn()
    radio.feed(beacon_of_a(daemon._node.epoch))
    daemon._read_radio()
    assert daemon._rest_ns is not None
    seed, _ = stranger(1)
    radio.feed(beacon_of(seed, daemon._node.epoch))
    monkeypatch.setattr(daemon._node, "next_deadline", lambda: time.time_ns() + 10**12)
    daemon._end_rest()
    assert radio.counts["received"] == 1, "it rests"
    monkeypatch.setattr(daemon._node, "next_deadline", lambda: 1)
    daemon._end_rest()
    assert radio.counts["received"] == 2, "something is due: read what came before it"
