"""Promises are signed at once, kept over restarts, and a sequencer that censors is caught."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import keys
from chain.cli.io_cli import main
from chain.cli.io_promise import read_promises, write_promises
from chain.io_client import LedgerClient
from chain.io_ledger import DurableLedger
from chain.io_terminal import run_command
from chain.proofs.io_promises import PromiseBook
from chain.proofs.promise import Promise, is_signed, make_promise, parse_promise, promise_json
from chain.proofs.promise_ruling import Kept, compute_ruling, get_early_ruling
from chain.records import Refusal, SubmitResult
from chain.service.io_sequencer import Sequencer
from chain.service.io_service import SERVICE
from chain.wire import record_id_of

from .chain_helpers import OPERATOR, verify
from .ops_helpers import Running, town_on_disk, with_keys


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    service = Running(tmp_path, town_on_disk(tmp_path), monkeypatch, with_keys)
    yield service
    service.close()


class Censor(Sequencer):
    """A sequencer that promises everything and drops one kind of record."""

    async def submit(self, wires: list[bytes], source: Hashable = None) -> list[SubmitResult]:
        return await super().submit([raw for raw in wires if b"unwanted" not in raw], source)


@pytest.fixture
def censoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    def make(durable: DurableLedger) -> Any:
        return with_keys(durable, engine=Censor(durable))

    service = Running(tmp_path, town_on_disk(tmp_path), monkeypatch, make)
    yield service
    service.close()


def wait_for(done: Callable[[], object], seconds: float = 120.0) -> None:
    """Poll for a condition; the limit is for machines that do many other things."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def pass_epochs(running: Running, count: int) -> None:
    running.now_ms += count * running.town.params.epoch_ms
    target = running.durable.ledger.params.epoch_at(
        running.town.ledger.state.genesis.start_ms, running.now_ms
    )
    wait_for(lambda: running.durable.ledger.state.epoch >= target)


def check(
    capsys: pytest.CaptureFixture[str], running: Running, file: Path, *source: str
) -> tuple[int, list[dict[str, Any]]]:
    chosen = source or ("--ledger", running.url)
    code = run_command(main, ["promise-check", str(file), *chosen, "--json"])
    return code, json.loads(capsys.readouterr().out)["promises"]


def test_a_promise_comes_at_once_and_is_kept(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wires = [running.town.deposit(0, 5, b"promised %d" % i).wire for i in range(3)]
    with LedgerClient(running.url) as client:
        promises = client.submit_promised(wires)
        assert [p.record_id for p in promises] == [record_id_of(raw) for raw in wires]
        assert {p.key for p in promises} == {keys.public_key(OPERATOR)}
        assert {p.deadline_epoch for p in promises} == {running.durable.ledger.state.epoch + 1}
        wait_for(lambda: client.promise_fate(promises[2].record_id) == "ok")
    file = tmp_path / "p.json"
    write_promises(file, promises, wires)
    code, rows = check(capsys, running, file)
    assert code == 0
    assert [row["state"] for row in rows] == ["kept"] * 3
    assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)
    code, rows = check(capsys, running, file, "--db", running.durable.store.path)
    assert (code, {row["state"] for row in rows}) == (0, {"kept"})


def test_prefer_respond_async_is_the_same(running: Running) -> None:
    body = json.dumps(
        {"records": [base64.b64encode(running.town.deposit(0, 5, b"a").wire).decode()]}
    )
    status, _, raw = running.ask(
        "POST", "/v1/records", body.encode(), {"Prefer": "respond-async, wait=1"}
    )
    assert status == 202
    promise = parse_promise(json.loads(raw)["promises"][0])
    assert isinstance(promise, Promise)


def test_a_censoring_sequencer_is_caught_by_anyone(
    censoring: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = censoring.town
    wires = [town.deposit(0, 5, b"unwanted").wire, town.deposit(0, 5, b"welcome").wire]
    with LedgerClient(censoring.url) as client:
        promises = client.submit_promised(wires)
        wait_for(lambda: client.promise_fate(promises[1].record_id) == "ok")
    file = tmp_path / "p.json"
    write_promises(file, promises, wires)
    code, rows = check(capsys, censoring, file)
    assert (code, [row["state"] for row in rows]) == (0, ["pending", "kept"])
    pass_epochs(censoring, 2)
    for source in ((), ("--db", censoring.durable.store.path)):
        code, rows = check(capsys, censoring, file, *source)
        assert (code, [row["state"] for row in rows]) == (1, ["broken", "kept"])
        assert "does not have it" in rows[0]["detail"]
    assert b"wavecomb_promises_overdue 1" in censoring.ask("GET", "/metrics")[2]
    assert run_command(main, ["promise-check", str(file), "--ledger", censoring.url]) == 1
    assert capsys.readouterr().out.startswith("BROKEN ")


def test_a_refused_record_breaks_no_promise(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = running.town
    first = town.deposit(0, 5, b"once").wire
    again = town.deposit(0, 6, b"once").wire
    with LedgerClient(running.url) as client:
        assert client.submit([first])[0].accepted
        running.now_ms += 1
        promises = client.submit_promised([again])
        wait_for(lambda: client.promise_fate(promises[0].record_id) == "duplicate")
    file = tmp_path / "p.json"
    write_promises(file, promises, [again])
    pass_epochs(running, 2)
    code, (row,) = check(capsys, running, file)
    assert (code, row["state"]) == (0, "void")
    assert "could not be accepted when it came" in row["detail"]


def test_promised_records_survive_a_crash_before_they_are_processed(
    censoring: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = censoring.town.deposit(0, 5, b"unwanted by the first process").wire
    with LedgerClient(censoring.url) as client:
        (promise,) = client.submit_promised([wire])
    censoring.close()
    shutil.copytree(tmp_path, tmp_path / "again", ignore=shutil.ignore_patterns("*.sock"))
    again = Running(tmp_path / "again", censoring.town, monkeypatch, with_keys)
    try:
        with LedgerClient(again.url) as client:
            wait_for(lambda: client.promise_fate(promise.record_id) == "ok")
            found = client.find_record(promise.record_id)
        assert found is not None
        assert found.epoch <= promise.deadline_epoch
    finally:
        again.close()


def test_a_service_without_the_sequencers_key_promises_nothing(
    running: Running,
) -> None:
    body = json.dumps({"records": []}).encode()
    running.app[SERVICE].promiser = None
    status, problem = running.json("POST", "/v1/records?promise=1", body)
    assert (status, problem["field"]) == (503, "promise")


# --- the ruling alone -----------------------------------------------------------------------------

NETWORK = sha256(b"network").digest()
HUGE = promise_json(make_promise(OPERATOR, NETWORK, bytes(32), 1, 1)) | {"received_ms": 1 << 64}


@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 2), st.integers(0, 2**32 - 1),
    st.sampled_from(["record_id", "received_ms", "deadline_epoch", "key", "network_id"]),
)
def test_a_promise_survives_json_and_no_field_can_be_changed(
    record_id: bytes, received_ms: int, deadline: int, name: str
) -> None:
    promise = make_promise(OPERATOR, NETWORK, record_id, received_ms, deadline)
    assert parse_promise(json.loads(json.dumps(promise_json(promise)))) == promise
    value = getattr(promise, name)
    other: Any = value + 1 if isinstance(value, int) else sha256(value).digest()
    forged = replace(promise, **{name: other})
    assert not is_signed(forged)
    assert isinstance(parse_promise(promise_json(forged)), Refusal)


@pytest.mark.parametrize("value", [None, [], {}, {"network_id": "zz"}, {"network_id": 1}, HUGE])
def test_what_is_no_promise_is_refused(value: Any) -> None:
    assert isinstance(parse_promise(value), Refusal)


def test_a_promise_by_somebody_else_or_about_something_else_proves_nothing(
    running: Running,
) -> None:
    store = running.durable.store
    network, now_ms = running.town.network_id, running.now_ms
    wire = running.town.deposit(0, 5, b"never sent").wire
    record_id = record_id_of(wire)

    def rule(promise: Promise, raw: bytes = wire) -> Any:
        assert get_early_ruling(promise, None, promise.deadline_epoch + 1) is None
        return compute_ruling(promise, raw, None, store.blocks(), verify)

    good = make_promise(OPERATOR, network, record_id, now_ms, 6)
    assert rule(good).kept is Kept.BROKEN  # signed and not in the log: this is what it looks like
    stranger = make_promise(sha256(b"x").digest(), network, record_id, now_ms, 6)
    assert rule(stranger).reason == "not_sequencer"
    other = make_promise(OPERATOR, NETWORK, record_id, now_ms, 6)
    assert rule(other).reason == "other_network"
    assert rule(good, b"another record").reason == "other_record"


def test_the_file_of_promises_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.json"
    promise = make_promise(OPERATOR, NETWORK, record_id_of(b"raw"), 1, 1)
    write_promises(file, [promise], [b"raw"])
    assert read_promises(file) == [(promise, b"raw")]
    for text in ("", "{}", '{"promises": [1]}', file.read_text().replace("1,", "2,")):
        file.write_text(text)
        assert run_command(main, ["promise-check", str(file)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_book_keeps_the_oldest_first_and_forgets_only_what_was_answered(
    tmp_path: Path,
) -> None:
    book = PromiseBook(str(tmp_path / "p.db"))
    book.add([b"a", b"b"], 1, 5)
    book.add([b"a"], 9, 9)  # known already: the first promise stands
    assert book.waiting() == [b"a", b"b"]
    book.settle([SubmitResult(record_id_of(b"a"), True, None, "ok", "")])
    assert (book.waiting(), book.overdue(6)) == ([b"b"], 1)
    book.forget(100)
    assert book.fate(record_id_of(b"a")) is None
    assert book.fate(record_id_of(b"b")) is not None
    book.close()
