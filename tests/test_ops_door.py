"""A flood of bad signatures: the good go on, the bad wait outside, and mended clients come back."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import cbor, wire
from chain.errors import UserError
from chain.io_client import LedgerClient, LedgerUnavailable
from chain.records import Signed, SubmitResult
from chain.service.io_sequencer import UNKNOWN_PER_COMMIT, Sequencer
from chain.standing import (
    FIRST_CREDIT,
    KEY_BUDGET,
    MAX_SOURCES,
    MOST_CREDIT,
    RESTORE_MS,
    Door,
    get_claimed_key,
)

from .ops_helpers import Running, town_on_disk


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    service = Running(tmp_path, town_on_disk(tmp_path), monkeypatch)
    yield service
    service.close()


def forged(signed: Signed) -> bytes:
    """The same record with a signature that doesn't hold."""
    kind, version, body, signatures = cbor.decode(signed.wire)  # type: ignore[misc]
    bad = [sha256(s).digest() * 2 for s in signatures]  # type: ignore[union-attr,arg-type]
    return cbor.encode((kind, version, body, tuple(bad)))


def forgeries(running: Running, count: int, first: int = 0) -> list[bytes]:
    """Epoch messages of hotspot 0 that are fine but for their signature."""
    town, epoch = running.town, running.durable.ledger.state.epoch
    return [
        forged(town.message(0, epoch, commit=sha256(b"%d" % (first + i)).digest()))
        for i in range(count)
    ]


def post(connection: http.client.HTTPConnection, wires: list[bytes]) -> tuple[int, dict[str, str]]:
    body = json.dumps({"records": [base64.b64encode(raw).decode() for raw in wires]})
    connection.request("POST", "/v1/records", body)
    response = connection.getresponse()
    response.read()
    return response.status, {k.lower(): v for k, v in response.getheaders()}


def connect(running: Running) -> http.client.HTTPConnection:
    assert running.port is not None
    return http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)


def test_a_source_of_bad_signatures_waits_outside_and_comes_back(running: Running) -> None:
    spammer = connect(running)
    try:
        status, _ = post(spammer, forgeries(running, KEY_BUDGET - 1))
        assert status == 200
        status, headers = post(spammer, [b"junk"] * FIRST_CREDIT)
        status, headers = post(spammer, [b"junk"])
        assert status == 429
        assert headers["retry-after"] == "1"
        running.now_ms += 2 * RESTORE_MS
        status, _ = post(spammer, [running.town.deposit(0, 1, b"mended").wire])
        assert status == 200
    finally:
        spammer.close()


def test_a_client_keeps_what_it_was_turned_away_with(running: Running) -> None:
    with LedgerClient(running.url) as client:
        client.submit([b"junk"] * FIRST_CREDIT)
        with pytest.raises(LedgerUnavailable, match="bad signatures"):
            client.submit([running.town.deposit(0, 1, b"kept").wire])


def test_a_flood_from_ever_new_connections_spends_the_key_not_the_ledger(running: Running) -> None:
    town = running.town
    with LedgerClient(running.url) as honest:
        assert honest.submit([town.deposit(1, 1, b"first").wire])[0].accepted
        checked = running.durable.ledger
        seen: list[int] = []
        for number in range(6):
            connection = connect(running)
            seen.append(post(connection, forgeries(running, 4, 4 * number))[0])
            connection.close()
        assert seen == [200, 200, 429, 429, 429, 429]  # KEY_BUDGET is spent after two
        good = town.message(0, checked.state.epoch).wire
        (answer,) = honest.submit([good])  # a known source: served under the very key
        assert (answer.accepted, answer.reason) == (True, "ok")
        text = running.ask("GET", "/metrics")[2]
        assert b'wavecomb_refused_at_door_total{cause="key"} 16' in text


def test_a_large_first_submission_of_good_records_is_taken_whole(running: Running) -> None:
    wires = [running.town.deposit(0, 1, b"many %d" % i).wire for i in range(300)]
    with LedgerClient(running.url) as client:
        answers = client.submit(wires)
    assert [a.reason for a in answers] == ["ok"] * 300
    assert [a.record_id for a in answers] == [wire.record_id_of(raw) for raw in wires]


class Slate:
    """A durable ledger that accepts everything and notes in which order it came."""

    def __init__(self) -> None:
        self.turns: list[list[bytes]] = []
        self.ledger = SimpleNamespace(state=SimpleNamespace(epoch=0, network_id=bytes(32)))

    def set_verify(self, verify: object) -> None:
        """Nothing is verified here."""

    def submit(self, wires: list[bytes], time_ms: int) -> list[SubmitResult]:
        self.turns.append(list(wires))
        reasons = ["bad_signature" if b"bad" in raw else "ok" for raw in wires]
        pairs = zip(wires, reasons, strict=True)
        return [SubmitResult(raw, reason == "ok", None, reason, "") for raw, reason in pairs]

    def tick(self, time_ms: int) -> None:
        """Nothing ends here."""


def test_known_sources_go_first_and_strangers_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.io_ledger.now_ms", lambda: 0)  # time would restore their credit
    slate = Slate()

    async def run() -> list[object]:
        engine = Sequencer(slate)  # type: ignore[arg-type]
        engine.door.note("friend", "ok", None, 0, 0)
        engine.start()
        flood = [engine.submit([b"bad"] * 500, f"stranger{i}") for i in range(20)]
        good = [engine.submit([b"good"] * 500, "friend"), engine.submit([b"own"] * 3)]
        results = await asyncio.gather(*flood, *good, return_exceptions=True)
        await engine.stop()
        return results

    results = asyncio.run(run())
    assert slate.turns[0] == [b"good"] * 500 + [b"own"] * 3
    assert {len(turn) for turn in slate.turns[1:]} <= {UNKNOWN_PER_COMMIT, 128}
    assert [len(r) for r in results[20:]] == [500, 3]  # type: ignore[arg-type]
    refused = [r.status for r in results[:20] if isinstance(r, UserError)]
    assert len(refused) == 20
    assert set(refused) == {429, 503}  # out of credit after a slice; or the queue was full
    assert sum(map(len, slate.turns[1:])) == 8 * FIRST_CREDIT  # of 10,000


def test_a_body_that_dribbles_in_is_cut_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain.service.io_routes_log.BODY_S", 0.2)
    assert running.port is not None
    with socket.create_connection(("127.0.0.1", running.port), timeout=120) as slow:
        slow.sendall(b"POST /v1/records HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        with LedgerClient(running.url) as client:
            assert client.head().record_count > 0  # nobody else waits meanwhile
        answer = slow.recv(4096)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b'"field": "body"' in answer


# --- the door alone -------------------------------------------------------------------------------


def test_being_known_is_earned_once_and_credit_has_bounds() -> None:
    door = Door()
    assert not door.is_known("a")
    for _ in range(10_000):
        door.note("a", "ok", None, 0, 0)
    assert door.is_known("a")
    for _ in range(MOST_CREDIT):
        assert door.get_wait_ms("a", 0) == 0
        door.note("a", "bad_signature", 1, 0, 0)
    assert door.get_wait_ms("a", 0) == RESTORE_MS
    assert not door.is_key_abused(1, 0)  # a known source spends its own credit


def test_a_keys_budget_returns_with_the_epoch() -> None:
    door = Door()
    for number in range(KEY_BUDGET):
        assert not door.is_key_abused(7, 3)
        door.note(number, "bad_signature", 7, 3, 0)
    assert door.is_key_abused(7, 3)
    assert not door.is_key_abused(8, 3)
    assert not door.is_key_abused(7, 4)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["ok", "bad_signature", "stale_receipt"]),
            st.integers(0, 5_000),
        )
    )
)
def test_whoever_sends_nothing_bad_never_waits(events: list[tuple[int, str, int]]) -> None:
    door, now_ms = Door(), 0
    bad = set()
    for source, reason, passed_ms in events:
        now_ms += passed_ms
        door.note(source, reason, None, 0, now_ms)
        bad |= {source} if reason == "bad_signature" else set()
        for other in range(4):
            wait_ms = door.get_wait_ms(other, now_ms)
            assert 0 <= wait_ms <= RESTORE_MS
            assert other in bad or wait_ms == 0


def test_strangers_can_not_fill_the_memory() -> None:
    door = Door()
    door.note("good", "ok", None, 0, 0)
    for number in range(MAX_SOURCES + 10):
        door.get_wait_ms(number, 0)
        if number % 1_000 == 0:
            door.get_wait_ms("good", 0)
    assert len(door._sources) == MAX_SOURCES
    assert door.is_known("good")


def test_the_claimed_key_is_the_signer_not_the_operator(running: Running) -> None:
    town = running.town
    assert get_claimed_key(town.message(2, 5)) == 2
    assert get_claimed_key(town.open_session(1, 2)) == 1
    assert get_claimed_key(town.deposit(0)) is None
    assert get_claimed_key(wire.decode(b"junk")) is None
