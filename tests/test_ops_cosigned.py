"""A sequencer and two witnesses: checkpoints are cosigned, and the ledger notes by whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain.io_client import LedgerClient
from chain.io_keyring import Keyring
from chain.io_keys import save_seed
from chain.io_ledger import DurableLedger
from chain.keys import public_key
from chain.proofs.checkpoint import Trust, open_checkpoint, origin_of
from chain.proofs.io_cosign import Cosigner
from chain.proofs.io_site import Site
from chain.proofs.io_witness import WatchedLog, WitnessNode, WitnessServer
from chain.proofs.note import ED25519, Note, VerifierKey, parse_note
from chain.records import Appointment, Refusal
from chain.service.io_service import SERVICE, build
from chain.wire import seal

from .chain_helpers import OPERATOR, Town
from .ops_helpers import Running, town_on_disk
from .test_ops_promises import pass_epochs, wait_for

TIME_S = 1_800_000_000


def log_key(town: Town) -> VerifierKey:
    return VerifierKey(origin_of(town.network_id), ED25519, public_key(OPERATOR))


@pytest.fixture
def town(tmp_path: Path) -> Town:
    save_seed(tmp_path / "ledger" / "operator.key", OPERATOR)
    return town_on_disk(tmp_path / "ledger")


@pytest.fixture
def witnesses(tmp_path: Path, town: Town) -> Iterator[list[WitnessServer]]:
    watched = [WatchedLog(log_key(town), None)]
    servers = [
        WitnessServer(WitnessNode(tmp_path / f"w{i}", watched, f"w{i}.example", lambda: TIME_S))
        for i in range(2)
    ]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def running(
    tmp_path: Path, town: Town, witnesses: list[WitnessServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    def make(durable: DurableLedger) -> Any:
        cosigners = [Cosigner(server.node.key, server.url) for server in witnesses]
        return build(durable, None, Keyring(tmp_path / "ledger"), cosigners)

    service = Running(tmp_path / "ledger", town, monkeypatch, make)
    yield service
    service.close()


def published(running: Running) -> bytes:
    return Site(running.folder).read("checkpoint") or b""


def newest_note(running: Running, signatures: int = 1) -> Note:
    """The note of the newest close with so many signatures, as soon as it is published."""
    for _ in range(20):
        closes = running.durable.ledger.state.closes
        text = closes[max(closes)].text
        wait_for(lambda t=text: published(running).startswith(t.encode()))  # type: ignore[misc]
        note = parse_note(running.ask("GET", "/v1/checkpoint")[2])
        assert isinstance(note, Note)
        if len(note.signatures) >= signatures:
            return note
        pass_epochs(running, 1)  # on a busy machine a witness may come too late for a checkpoint
    raise AssertionError(f"never {signatures} signatures")


def appoint(running: Running, witnesses: list[WitnessServer]) -> None:
    town, state = running.town, running.durable.ledger.state
    with LedgerClient(running.url) as client:
        for server in witnesses:
            key = server.node.key
            record = Appointment(2, key.key, key.name, 0, state.epoch + 2, 500, (0,))
            (result,) = client.submit([seal(record, town.network_id, [OPERATOR]).wire])
            assert result.accepted, result


def test_checkpoints_carry_cosignatures_and_the_ledger_notes_who_gave_them(
    running: Running, witnesses: list[WitnessServer]
) -> None:
    appoint(running, witnesses)
    pass_epochs(running, 4)
    note = newest_note(running, 3)
    keys = tuple(server.node.key for server in witnesses)
    trust = Trust(origin_of(running.town.network_id), (log_key(running.town),), keys, 2)
    opened = open_checkpoint(note, trust)
    assert not isinstance(opened, Refusal), opened
    assert {item.time_s for item in opened.cosignatures} == {TIME_S}

    def all_noted() -> bool:
        rows = running.json("GET", "/v1/checkpoints")[1]["checkpoints"]
        return any(len(row["cosigned"]) == 2 and row["missing"] == [] for row in rows)

    wait_for(all_noted)
    text = running.ask("GET", "/metrics")[2]
    assert b"wavecomb_checkpoint_cosignatures 2" in text
    assert b'wavecomb_records_total{type="cosignature",result="ok"}' in text


def test_a_witness_that_is_gone_delays_nothing_and_is_named(
    running: Running, witnesses: list[WitnessServer]
) -> None:
    witnesses[1].close()
    with LedgerClient(running.url) as client:  # a record, so that the next checkpoint is another
        assert client.submit([running.town.deposit(0, 1, b"before").wire])[0].accepted
        pass_epochs(running, 1)
        assert client.submit([running.town.deposit(0, 1, b"meanwhile").wire])[0].accepted
    note = newest_note(running, 2)
    assert len(note.signatures) == 2  # the log's and one witness's
    publisher = running.app[SERVICE].publisher
    assert publisher is not None
    wait_for(lambda: publisher.problems)
    assert publisher.problems[0].startswith("w1.example")


def test_a_quiet_ledger_still_gets_fresh_cosignatures(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = running.app[SERVICE].publisher
    assert publisher is not None
    newest_note(running)
    wait_for(lambda: publisher.note)
    before = running.app[SERVICE].metrics.checkpoint.total_s
    pass_epochs(running, 1)
    wait_for(lambda: running.app[SERVICE].metrics.checkpoint.total_s > before)
    assert 0 <= publisher.age_s < running.town.params.epoch_ms // 1_000
