"""Bent input at the doors: HTTP requests to a running service, messages of a consensus engine."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fuzz_records
import pytest

from chain import cbor
from chain.abci import messages as m
from chain.abci.application import Application
from chain.abci.snapshots import Restoring
from chain.abci.validators import Standing
from chain.io_audit import audit
from chain.io_ledger import DATABASE
from chain.ledger import Ledger
from chain.openapi import PROBLEM, Route
from chain.records import Refusal, Signed
from chain.service.api import ROUTES
from chain.service.io_verify import VerifyPool
from chain.state import State, is_conserved
from chain.vectors.live import Live
from chain.vectors.suite import Draws

from .ops_helpers import Running, town_on_disk, with_checkpoint

POSTS, GETS, REQUESTS, FRAMES = 60, 500, 1_500, 4_000
# What people and machines type: other types, signs, widths, escapes, paths, other alphabets.
ODD_TEXTS = (
    *("", " ", "0", "-1", "1.5", "1e3", "0x10", "007", "+3", "9" * 30, "٣", "1_000", "nan", "null"),
    *("ab" * 32, "AB" * 32, "ab" * 31, "zz" * 32, "0:0:0", "0:3:0:1", ":::", "1:99999999999:0"),
    *("..", "../../etc/passwd", "a/b", "%", "\0", "\n", "\N{SNOWMAN}", "'; --", "{x}", "x" * 3_000),
    *("tile/0/000", "tile/99/000", "tile/0/x999/000", "tile/0/000.p/0", "tile/0/000.p/256"),
    *("tile/entries/000.p/9999", "balances/0/top", "balances/-1/top", "checkpoint/", "//", "."),
)
ODD_BODIES: tuple[bytes, ...] = (
    *(b"", b"{", b"null", b"[]", b"{}", b'"x"', b"1", b"\xff\xfe", b"[" * 100_000),
    *(b'{"records":1}', b'{"records":[1]}'),
    *(b'{"records":["!"]}', b'{"records":[""]}', b'{"records":[],"more":1}'),
    *(b'{"records":[null]}', b'{"records":{"0":"AA=="}}', b'{"records":["AA==","AA"]}'),
    b'{"records":[' + b'"",' * 1_000 + b'""]}',
    json.dumps({"records": [base64.b64encode(bytes(70_000)).decode()]}).encode(),
    b'{"records":[],"records":["AA=="]}',
)


@pytest.fixture(scope="module")
def live() -> Live:
    return fuzz_records.make_live()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("doors")
    with pytest.MonkeyPatch.context() as patch:
        service = Running(folder, town_on_disk(folder), patch, with_checkpoint)
        yield service
        service.close()


def bent(live: Live, ledger: Ledger, name: str, count: int) -> list[bytes]:
    """Bent records of a live ledger."""
    seed = int.from_bytes(Draws(name).octets(4), "big")
    return [fuzz_records.make_case(live, ledger, seed, number)[1] for number in range(count)]


# --- HTTP ----------------------------------------------------------------------------------------


def check_answer(asked: str, answer: tuple[int, Any, bytes]) -> int:
    status, headers, body = answer
    assert status < 500, (asked, status, body[:300])
    if status >= 400:
        assert headers["Content-Type"].startswith(PROBLEM), (asked, status, body[:300])
        problem = json.loads(body)
        assert problem["status"] == status, asked
        assert problem["detail"], asked
        assert status != 400 or problem["field"], asked
        assert len(body) < 2_000, asked
    return status


def test_odd_bodies_get_a_problem_and_bent_records_their_refusals(
    running: Running, live: Live
) -> None:
    bodies = list(ODD_BODIES)
    wires = bent(live, live.ledger, "http", 20 * POSTS)
    for number in range(POSTS):
        batch = [base64.b64encode(raw).decode() for raw in wires[20 * number : 20 * number + 20]]
        bodies.append(json.dumps({"records": [b for b in batch if len(b) < 60_000]}).encode())
    statuses: Counter[int] = Counter()
    for number, body in enumerate(bodies):
        path = "/v1/records" + ("?promise=1" if number % 5 == 4 else "")
        status = check_answer(f"body {number}", running.ask("POST", path, body))
        statuses[status] += 1
    # The service may well turn a flood of forged records away at its door: 429.
    assert statuses.keys() <= {200, 202, 400, 413, 429}
    assert statuses[200] > POSTS // 6
    assert statuses[400] > len(ODD_BODIES) // 2


def odd_requests(draw: Draws) -> Iterator[tuple[str, str]]:
    """(method, target): every route in turn, odd values in its path and query."""
    while True:
        for route in ROUTES:
            yield get_odd_method(route, draw), get_odd_target(route, draw)


def pick(draw: Draws, items: Any) -> Any:
    return items[draw.between(0, len(items) - 1)]


def get_odd_method(route: Route, draw: Draws) -> str:
    methods = (route.method, route.method, route.method, "PUT", "DELETE", "PATCH", "OPTIONS")
    return str(pick(draw, methods))


def get_odd_target(route: Route, draw: Draws) -> str:
    path = route.path
    for name in route.path_names:
        path = path.replace(f"{{{name}}}", quote(pick(draw, ODD_TEXTS), safe="/"))
    names = [p.name for p in route.parameters if p.name not in route.path_names]
    names += pick(draw, ([], [], ["from"], ["nonsense"], names[:1]))
    return path + "".join(
        f"{'&' if number else '?'}{quote(name)}={quote(pick(draw, ODD_TEXTS))}"
        for number, name in enumerate(names)
    )


def test_odd_paths_and_queries_get_an_answer_or_a_problem(running: Running) -> None:
    statuses: Counter[int] = Counter()
    requests = odd_requests(Draws("targets"))
    for _ in range(GETS):
        method, target = next(requests)
        if method != "POST":
            statuses[check_answer(f"{method} {target}", running.ask(method, target))] += 1
    assert {200, 400, 404, 405} <= statuses.keys()


def test_the_ledger_is_whole_after_all_that(running: Running) -> None:
    assert running.json("GET", "/v1/health")[1]["status"] == "ok"
    assert running.on_loop(lambda: is_conserved(running.durable.ledger.state))
    running.close()
    result = audit(Path(running.folder) / DATABASE)
    assert result.ok, (result.where, result.problem)


# --- the consensus engine ------------------------------------------------------------------------


@dataclass
class Shelf:
    """Books in memory, without snapshots."""

    ledger: Ledger
    genesis: Signed

    def save(self, standing: Standing) -> None:
        pass

    def is_known(self, record_id: bytes) -> bool:
        return self.ledger.lookup(record_id) is not None

    def take_snapshot(self, height: int) -> None:
        pass

    def list_snapshots(self) -> tuple[m.Snapshot, ...]:
        return ()

    def load_chunk(self, height: int, number: int) -> bytes:
        return b""

    def restore(self, restoring: Restoring, state: State, standing: Standing) -> None:
        raise AssertionError("nobody offered a snapshot with the right hash")


def make_application(live: Live) -> Application:
    ledger = deepcopy(live.ledger)
    pool = VerifyPool(1)
    ledger.set_verify(pool.verify)
    return Application(Shelf(ledger, live.records[0]), Standing(height=3), pool)


def bent_transaction(draw: Draws, wires: list[bytes]) -> bytes:
    """Batches of bent records, some of them bent again."""
    some = [wires[draw.between(0, len(wires) - 1)] for _ in range(draw.between(1, 4))]
    small = [raw for raw in some if len(raw) < 16_000]
    choice = draw.between(0, 9)
    if choice == 0:
        return fuzz_records.loose(tuple(small), draw.between(1, 5))
    if choice == 1:
        odd = (b"", b"\x80", b"\x9f\xff", bytes(70_000), b"\x81\x00", b"\x81" * 99)
        return bytes(pick(draw, odd))
    if choice == 2:
        return cbor.encode([small, small])
    if choice == 3:
        return cbor.encode([*small, *small])
    return cbor.encode(small)


def test_bent_transactions_are_answered_and_checking_changes_nothing(live: Live) -> None:
    application, draw = make_application(live), Draws("transactions")
    ledger = application.books.ledger
    wires = bent(live, ledger, "engine", 600)
    codes: Counter[str] = Counter()
    for number in range(REQUESTS):
        tx = bent_transaction(draw, wires)
        before = fuzz_records.fingerprint(ledger)
        answer = application.handle(m.CheckTxRequest(tx))
        assert isinstance(answer, m.CheckTxResponse)
        codes[answer.codespace] += 1
        application.handle(m.PrepareProposalRequest(60_000, (tx,)))
        proposal = m.ProcessProposalRequest((tx, tx), (), b"", number + 4, at(ledger))
        assert isinstance(application.handle(proposal), m.ProcessProposalResponse)
        assert fuzz_records.fingerprint(ledger) == before
    assert len(codes) > 2


def at(ledger: Ledger, later_ms: int = 0) -> m.Timestamp:
    now = ledger.state.time_ms + later_ms
    return m.Timestamp(now // 1_000, now % 1_000 * 1_000_000)


def test_blocks_of_bent_transactions_keep_the_supply(live: Live) -> None:
    """Nobody honest proposes them, but a block may hold whatever two thirds agree on."""
    application, draw = make_application(live), Draws("blocks")
    ledger = application.books.ledger
    wires = bent(live, ledger, "blocks", 600)
    accepted = 0
    for number in range(120):
        txs = tuple(bent_transaction(draw, wires) for _ in range(draw.between(0, 9)))
        faults = (m.Misbehavior(draw.between(0, 3), None, draw.between(-5, 5), at(ledger), -1),)
        height, time = 4 + number, at(ledger, draw.between(0, 4_000))
        request = m.FinalizeBlockRequest(txs, faults if number % 9 == 0 else (), b"", height, time)
        answer = application.handle(request)
        assert isinstance(answer, m.FinalizeBlockResponse), answer
        assert len(answer.tx_results) == len(txs)
        accepted += sum(not result.code for result in answer.tx_results)
        application.handle(m.CommitRequest())
        assert is_conserved(ledger.state)
    assert accepted


def test_bent_frames_are_requests_or_refusals(live: Live) -> None:
    draw = Draws("frames")
    tx = cbor.encode([live.records[0].wire])
    good = [
        m.encode_frame(request)
        for request in (
            m.CheckTxRequest(tx),
            m.FinalizeBlockRequest((tx, tx), (), b"h", 9, m.Timestamp(5, 6)),
            m.InfoRequest("0.38.25", 11, 8, "2.0.0"),
            m.QueryRequest(b"data", "/path", 5, 1),
            m.InitChainRequest(m.Timestamp(1, 2), "town", (), b"{}", 1),
            m.OfferSnapshotRequest(m.Snapshot(1, 1, 1, b"h", b"m"), b"a"),
        )
    ]
    application = make_application(live)
    for _ in range(FRAMES):
        raw = bytearray(pick(draw, good))
        for _ in range(draw.between(1, 4)):
            place = draw.between(0, len(raw) - 1)
            raw[place : place + draw.between(0, 2)] = draw.octets(draw.between(0, 3))
            if not raw:
                break
        frames = m.Deframer().feed(bytes(raw))
        for frame in frames if not isinstance(frames, Refusal) else ():
            request = m.decode_request(frame)
            if isinstance(request, m.QueryRequest | m.CheckTxRequest | m.OfferSnapshotRequest):
                application.handle(request)
