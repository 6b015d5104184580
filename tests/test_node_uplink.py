"""The uplink against a ledger that comes and goes: nothing lost, nothing late without need."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from chain.draws import digest
from chain.io_client import HotspotInfo, LedgerRefused, LedgerUnavailable, SessionInfo
from chain.records import SubmitResult
from chain.wire import record_id_of
from hotspot.io_uplink import (
    LedgerAway,
    LedgerBack,
    MixKnown,
    PeerKnown,
    RecordKnown,
    Submitted,
    Uplink,
    is_former,
)


@dataclass
class FlakyLedger:
    """A stand-in for LedgerClient that can be switched off."""

    away: bool = False
    refuses: bytes = b""
    seen: list[bytes] = field(default_factory=list)
    mixes: dict[int, bytes] = field(default_factory=dict)
    registered: dict[bytes, int] = field(default_factory=dict)
    asked: list[tuple[bytes, ...]] = field(default_factory=list)

    def _reach(self) -> None:
        if self.away:
            raise LedgerUnavailable("switched off")

    def submit(self, wires: list[bytes]) -> list[SubmitResult]:
        self._reach()
        if self.refuses in wires:
            raise LedgerRefused(413, "too large")
        self.seen.extend(wires)
        return [SubmitResult(record_id_of(w), True, None, "ok", "") for w in wires]

    def close(self) -> None:
        self.away = True

    def mix(self, epoch: int) -> bytes | None:
        self._reach()
        return self.mixes.get(epoch)

    def hotspots(self, start: int = 0) -> list[HotspotInfo]:
        self._reach()
        return []

    def hotspots_of(self, keys: list[bytes]) -> list[HotspotInfo]:
        self._reach()
        self.asked.append(tuple(keys))
        zero = dict.fromkeys(HotspotInfo.__dataclass_fields__, 0)
        rows = [(key, self.registered[key]) for key in keys if key in self.registered]
        told = {"owner": bytes(32), "bind_epoch": 2}
        return [HotspotInfo(**zero | told | {"key": k, "index": i}) for k, i in rows]  # type: ignore[arg-type]

    def find_record(self, record_id: bytes) -> bytes | None:
        self._reach()
        return record_id if record_id in map(record_id_of, self.seen) else None

    def session(self, index: int) -> SessionInfo | None:
        self._reach()
        return None


class Waiter:
    """Collects events until the wanted ones came."""

    def __init__(self, ledger: FlakyLedger) -> None:
        self.woken = threading.Semaphore(0)
        self.uplink = Uplink(ledger, self.woken.release)  # type: ignore[arg-type]
        self.events: list[object] = []

    def until(self, kind: type) -> object:
        for _ in range(200):
            self.events += self.uplink.drain()
            for event in self.events:
                if isinstance(event, kind):
                    self.events.remove(event)
                    return event
            assert self.woken.acquire(timeout=20)
        raise AssertionError(f"no {kind.__name__} came")


def test_records_are_delivered_in_order_once_the_ledger_is_back() -> None:
    ledger = FlakyLedger(away=True)
    waiter = Waiter(ledger)
    wires = [digest("wire", bytes([n])) for n in range(150)]
    waiter.uplink.submit(wires)
    waiter.uplink.start()
    waiter.until(LedgerAway)
    ledger.away = False
    waiter.until(Submitted)
    waiter.until(LedgerBack)
    waiter.uplink.stop()
    assert ledger.seen == wires


def test_a_mix_that_is_not_known_yet_is_asked_for_until_it_is() -> None:
    ledger = FlakyLedger()
    waiter = Waiter(ledger)
    waiter.uplink.start()
    waiter.uplink.fetch_mix(7)
    ledger.mixes[7] = b"m" * 32
    event = waiter.until(MixKnown)
    waiter.uplink.stop()
    assert event == MixKnown(7, b"m" * 32)


def test_what_is_asked_while_the_thread_works_is_not_forgotten() -> None:
    ledger = FlakyLedger(mixes={n: bytes(32) for n in range(50)})
    waiter = Waiter(ledger)
    waiter.uplink.start()
    for epoch in range(50):
        waiter.uplink.fetch_mix(epoch)
        event = waiter.until(MixKnown)
        assert isinstance(event, MixKnown)
        assert event.epoch == epoch
    waiter.uplink.stop()


def test_a_record_that_is_refused_outright_is_answered_and_blocks_no_other() -> None:
    wires = [digest("wire", bytes([n])) for n in range(70)]
    ledger = FlakyLedger(refuses=wires[5])
    waiter = Waiter(ledger)
    waiter.uplink.submit(wires)
    waiter.uplink.start()
    answers: list[SubmitResult] = []
    while len(answers) < len(wires):
        event = waiter.until(Submitted)
        assert isinstance(event, Submitted)
        answers += event.results
    waiter.uplink.stop()
    assert [a.record_id for a in answers] == [record_id_of(w) for w in wires]
    assert [a.reason for a in answers if not a.accepted] == ["http_413"]
    assert ledger.seen == [w for w in wires if w != wires[5]]


def test_stopping_with_patience_delivers_what_waits() -> None:
    ledger = FlakyLedger()
    waiter = Waiter(ledger)
    waiter.uplink.start()
    waiter.uplink.submit([b"\x84last"])
    waiter.uplink.stop(patience_s=10)
    assert ledger.seen == [b"\x84last"]
    assert any(isinstance(event, Submitted) for event in waiter.uplink.drain())


def test_keys_that_are_heard_together_are_asked_for_at_once_and_each_gets_an_answer() -> None:
    known, strange = digest("key", b"1"), digest("key", b"2")
    ledger = FlakyLedger()
    ledger.registered = {known: 7}
    waiter = Waiter(ledger)
    waiter.uplink.start()
    waiter.uplink.find_peer(known)
    waiter.uplink.find_peer(strange)
    answers = {waiter.until(PeerKnown) for _ in range(2)}
    waiter.uplink.stop()
    assert answers == {PeerKnown(known, 7, 2), PeerKnown(strange, None, 0)}
    assert ledger.asked == [(known, strange)]


def test_whether_the_ledger_has_a_record_is_asked_until_it_answers() -> None:
    ledger = FlakyLedger(away=True)
    ledger.seen.append(b"\x84there")
    waiter = Waiter(ledger)
    waiter.uplink.start()
    ids = [record_id_of(wire) for wire in (b"\x84there", b"\x84lost")]
    for record_id in ids:
        waiter.uplink.find_record(record_id)
    waiter.until(LedgerAway)
    ledger.away = False
    answers = {waiter.until(RecordKnown) for _ in range(2)}
    waiter.uplink.stop()
    assert answers == {RecordKnown(ids[0], True), RecordKnown(ids[1], False)}


def test_a_key_that_gave_way_is_told_from_one_that_is_next() -> None:
    old, own = digest("key", b"1"), digest("key", b"2")
    spot = {"key": own.hex(), "former_keys": [{"key": old.hex(), "until_epoch": 9}]}
    assert is_former(spot, old)
    assert not is_former(spot, own)
    assert not is_former({"key": old.hex()}, own)
