from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chain import wire
from chain.cli.io_cli import main
from chain.errors import UserError
from chain.explain import explain_beacon
from chain.io_client import LedgerClient, LedgerUnavailable
from chain.io_http import bound_port, serve
from chain.io_ledger import DATABASE, DurableLedger, now_ms
from chain.io_terminal import run_command
from chain.ledger import Ledger, Sealed
from chain.proofs.log import verify_consistency, verify_inclusion
from chain.records import Receipt
from chain.rules.verdicts import REASONS
from chain.service.io_service import build
from chain.store.io_store import Store

from .chain_helpers import Town, verify

ROOT = Path(__file__).resolve().parent.parent


def town_on_disk(folder: Path) -> Town:
    """A town with verdicts, a session and payments, saved; it keeps its own virtual time."""
    blocks: list[Sealed] = []
    town = Town(3, on_block=blocks.append)
    town.join()
    town.run(2, 3)
    town.submit(town.open_session(0, 1))
    town.submit(town.claim(town.receipt(0, 1, Receipt(0, 1, 1 << 21, 40, 1, bytes(32)))))
    town.run(4, 5)
    store = Store.create(str(folder / DATABASE))
    store.append(blocks)
    store.close()
    return town


class Running:
    """A service in a thread, with the clock of its town: virtual time, real HTTP."""

    def __init__(self, folder: Path, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
        self.town = town
        self.unix = str(folder / "ledger.sock")
        self.ready = threading.Event()
        monkeypatch.setattr("chain.io_ledger.now_ms", lambda: town.ledger.state.time_ms)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(folder)))
        self.thread.start()
        assert self.ready.wait(120)

    async def _serve(self, folder: Path) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.durable = DurableLedger.open(folder)
        runner = await serve(build(self.durable), "127.0.0.1", 0, self.unix)
        self.url = f"http://127.0.0.1:{bound_port(runner)}"
        self.ready.set()
        await self.stop.wait()
        await runner.cleanup()
        self.durable.store.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(120)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    service = Running(tmp_path, town_on_disk(tmp_path), monkeypatch)
    yield service
    service.close()


def test_the_client_sees_what_the_ledger_holds(running: Running) -> None:
    town, state = running.town, running.town.ledger.state
    for url in (running.url, f"unix:{running.unix}"):
        with LedgerClient(url) as client:
            head = client.head()
            assert head.network_id == town.network_id
            assert (head.epoch, head.mix) == (6, town.ledger.mix(6))
            assert head.state_root == town.ledger.head.state_root
            assert wire.record_id_of(client.genesis_wire()) == town.network_id
            assert client.mix(6) == town.ledger.mix(6)
            assert client.mix(7) is None
            hotspots = client.hotspots()
            assert [h.key for h in hotspots] == [h.key for h in state.hotspots]
            assert [h.cell for h in hotspots] == [place[0] for place in town.places]
            assert client.hotspot(1) == client.hotspot(hotspots[1].key) == hotspots[1]
            assert client.hotspot(9) is None
            session = client.session(0)
            assert session is not None
            assert session.claimed_ucr == state.sessions[0].claimed_ucr > 0
            assert client.session(5) is None
            account = client.account(town.owner(0))
            assert (account.balance_ucr, account.hotspots) == (state.balance(town.owner(0)), (0,))
            stats = client.stats()
            assert stats["supply"]["conserved"]
            assert stats["ai_requests"] == 1
            assert stats["verdicts"]["counted"] == 18


def test_submitted_records_are_answered_in_order_and_kept(running: Running) -> None:
    town = running.town
    wires = [town.deposit(0, reference=b"x").wire, b"junk", town.deposit(0, reference=b"x").wire]
    with LedgerClient(running.url) as client:
        before = client.head().record_count
        results = client.submit(wires)
        assert [r.reason for r in results] == ["ok", "bad_shape", "already"]
        assert client.head().record_count == before + 1
        (entry,) = client.records(before)
        assert (entry.wire, entry.id) == (wires[0], results[0].record_id)
        assert client.records(before + 1) == []


def test_every_record_has_a_proof_that_verifies(running: Running) -> None:
    with LedgerClient(running.url) as client:
        size = client.head().record_count
        for entry in client.records(0, 1000):
            proof = client.get(f"/v1/records/{entry.id.hex()}")["proof"]
            path = [bytes.fromhex(node) for node in proof["path"]]
            assert proof["tree_size"] == size
            verify_inclusion(
                *(proof["leaf_index"], size, wire.record_id_of(entry.wire), path),
                bytes.fromhex(proof["root"]),
            )
        answer = client.get("/v1/consistency?old=3")
        verify_consistency(
            *(3, size, bytes.fromhex(answer["old_root"]), bytes.fromhex(answer["new_root"])),
            [bytes.fromhex(node) for node in answer["path"]],
        )
        assert bytes.fromhex(answer["new_root"]) == client.head().log_root


def test_verdicts_beacons_payments_and_explanations_are_served(running: Running) -> None:
    with LedgerClient(running.url) as client:
        verdicts = client.get("/v1/verdicts?epoch=3")["verdicts"]
        assert len(verdicts) == 6
        for verdict in verdicts:
            full = verdict["rssi_cdbm"] + verdict["power_step_cdb"]
            expected = running.town.rssi_cdbm(verdict["witness"], verdict["beaconer"])
            assert (verdict["reason"], full) == ("counted", expected)
        beacons = client.get("/v1/beacons?epoch=3")["beacons"]
        assert [beacon["verdict"] for beacon in beacons] == ["paid"] * 3
        payments = client.get("/v1/payments?limit=1000")["payments"]
        stats = client.stats()
        assert sum(p["amount_ucr"] for p in payments) == stats["credits_paid_ucr"]
        beacon = client.get("/v1/explain/0:3:0")
        assert (beacon["kind"], beacon["verdict"]) == ("beacon", "paid")
        assert client.get("/v1/explain/1")["kind"] == "hotspot"


def test_an_old_beacon_is_explained_as_it_was_when_it_was_judged(running: Running) -> None:
    judgement = running.town.ledger.verdicts(3)
    assert judgement is not None
    assert running.durable.ledger.verdicts(3) is None  # it was judged before the restart
    with LedgerClient(running.url) as client:
        assert client.get("/v1/explain/0:3:0") == explain_beacon(judgement, 0, 0)


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/mix/x", 400, "epoch"),
        ("/v1/mix/99", 404, "epoch"),
        ("/v1/hotspots/zz", 400, "id"),
        ("/v1/hotspots/99", 404, "id"),
        ("/v1/accounts/12", 400, "key"),
        ("/v1/sessions/9", 404, "index"),
        ("/v1/records?from=-1", 400, "from"),
        ("/v1/records?limit=100000", 400, "limit"),
        ("/v1/records/" + "00" * 32, 404, "id"),
        ("/v1/verdicts", 400, "epoch"),
        ("/v1/consistency?old=0", 400, "old"),
        ("/v1/consistency?old=99999", 400, "old"),
        ("/v1/explain/what", 400, "id"),
        ("/v1/explain/0:9999:0", 404, "id"),
        ("/v1/nothing", 404, ""),
    ],
)
def test_bad_questions_get_problem_details(
    running: Running, path: str, status: int, field: str
) -> None:
    answer, kind, problem = ask(running, "GET", path)
    assert (answer, kind) == (status, "application/problem+json")
    assert problem.get("field", "") == field
    assert problem["status"] == status
    assert problem["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"records": [1]}', b'{"records": ["*"]}', b'{"records": "AA=="}']
)
def test_bad_submissions_get_problem_details(running: Running, body: bytes) -> None:
    status, kind, problem = ask(running, "POST", "/v1/records", body)
    assert (status, kind) == (400, "application/problem+json")
    assert problem["field"] in ("body", "records")


def test_wrong_methods_are_named(running: Running) -> None:
    status, _, problem = ask(running, "DELETE", "/v1/head")
    assert (status, problem["title"]) == (405, "Method Not Allowed")


def ask(
    running: Running, method: str, path: str, body: bytes | None = None
) -> tuple[int, str | None, Any]:
    """A raw HTTP exchange: status, content type, JSON."""
    import http.client

    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=120)
    connection.request(method, path, body)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, response.headers.get_content_type(), answer


def test_a_disk_that_refuses_is_unavailable_not_a_loss(running: Running) -> None:
    town = running.town
    wires = [town.deposit(0, reference=bytes([i])).wire for i in range(200)]
    pages = running.durable.store.connection.execute("PRAGMA page_count").fetchone()[0]

    def limit(number: int) -> None:
        running.durable.store.connection.execute(f"PRAGMA max_page_count = {number}")

    on_loop(running, lambda: limit(pages))
    with LedgerClient(running.url) as client:
        with pytest.raises(LedgerUnavailable, match="full"):
            client.submit(wires)
        assert "full" in client.get("/v1/head")["fault"]
        on_loop(running, lambda: limit(pages * 100))
        # what was in memory when the disk refused, and what had not been looked at by then
        assert {r.reason for r in client.submit(wires)} <= {"already", "ok"}
        assert client.get("/v1/head")["fault"] == ""


def on_loop(running: Running, action: Callable[[], None]) -> None:
    done = threading.Event()
    running.loop.call_soon_threadsafe(lambda: (action(), done.set()))
    assert done.wait(120)


def test_a_client_without_a_ledger_says_so(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", f"unix:{tmp_path}/none.sock"):
        with LedgerClient(url) as client, pytest.raises(LedgerUnavailable, match=url):
            client.head()
    for url in ("ftp://x", "http://host", "127.0.0.1:80", "http://h:port"):
        with pytest.raises(UserError, match="address"):
            LedgerClient(url)


def test_a_busy_port_and_a_served_socket_are_one_clear_line(tmp_path: Path) -> None:
    town = Town(1, start_ms=now_ms())
    store = Store.create(":memory:")
    durable = DurableLedger(Ledger(town.genesis, verify, on_block=None), store)
    durable.save = lambda: None  # type: ignore[method-assign]

    async def attempt(port: int | None, unix: str | None) -> None:
        app = build(durable)
        runner = await serve(app, "127.0.0.1", port, unix)
        await runner.cleanup()

    path = str(tmp_path / "s.sock")
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as other:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} is in use"):
            asyncio.run(attempt(port, None))
        other.bind(path)
        other.listen()
        with pytest.raises(UserError, match="served by another process"):
            asyncio.run(attempt(None, path))
    asyncio.run(attempt(None, path))  # the socket of a dead process is replaced
    store.close()


def test_the_api_page_names_every_path_and_every_reason() -> None:
    page = (ROOT / "docs" / "ledger-api.md").read_text()
    store = Store.create(":memory:")
    app = build(DurableLedger(Ledger(Town(1).genesis, verify), store))
    store.close()
    paths = {route.resource.canonical for route in app.router.routes() if route.resource}
    assert not [path for path in sorted(paths) if f" {path}" not in page]
    assert not [reason for reason in REASONS if f"`{reason}`" not in page]


# The command.


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of `wavecomb chain ...`."""
    try:
        code = run_command(main, argv)
    except SystemExit as error:
        code = int(error.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_commands_work_against_a_running_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, sock = tmp_path / "ledger", str(tmp_path / "s.sock")
    account = "ab" * 32
    assert run(capsys, "init", "--dir", str(folder), "--json")[0] == 0
    assert (folder / "operator.key").stat().st_mode & 0o777 == 0o600
    service = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "wavecomb",
            "chain",
            "run",
            "--dir",
            str(folder),
            "--unix",
            sock,
            "--json",
        ],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "coverage"},
    )
    try:
        assert service.stdout is not None
        assert json.loads(service.stdout.readline())["urls"] == [f"unix:{sock}"]
        base = ("--ledger", f"unix:{sock}")
        deposit = ("deposit", "--dir", str(folder), "--account", account, "--amount-ucr", "5")
        assert run(capsys, *deposit, *base, "--reference", "01")[0] == 0
        code, out, _ = run(capsys, *deposit, *base, "--reference", "01", "--json")
        assert (code, json.loads(out)["results"][0]["reason"]) == (0, "already")
        again = (*deposit[:-1], "6")
        assert run(capsys, *again, *base, "--reference", "01")[0] == 1
        with LedgerClient(f"unix:{sock}") as client:
            page = client.records(0)
        file = tmp_path / "records.txt"
        file.write_bytes(b"\n".join(base64.b64encode(entry.wire) for entry in page[1:]))
        assert "already" in run(capsys, "submit", str(file), *base)[1]
        file.write_bytes(page[1].wire)
        assert run(capsys, "submit", str(file), *base)[0] == 0
        code, out, _ = run(capsys, "explain", account, *base)
        assert (code, "balance_ucr: 5" in out) == (0, True)
        code, _, err = run(capsys, "explain", "cd" * 32, *base)
        assert (code, err.count("\n")) == (1, 1)
        assert json.loads(run(capsys, "stats", "--json", *base)[1])["records"] == 2
        code, _, err = run(capsys, "run", "--dir", str(folder), "--port", "0")
        assert (code, "in use" in err) == (1, True)
        code, out, _ = run(capsys, "audit", str(folder / "ledger.db"), "--json")
        assert (code, json.loads(out)["ok"]) == (0, True)
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(120) == 0
        if service.stdout is not None:
            service.stdout.close()
    assert not Path(sock).exists()
    code, out, _ = run(capsys, "explain", account, "--db", str(folder / "ledger.db"))
    assert (code, "5" in out) == (0, True)


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (("init", "--dir", "{dir}", "--preset", "mainnet"), 2, "seed"),
        (("init", "--dir", "{dir}", "--seed-key", "xyz"), 2, "seed-key"),
        (("init", "--dir", "{dir}", "--network", "n" * 65), 2, "network"),
        (("init", "--dir", "{dir}", "--start-ms", "0"), 2, "start-ms"),
        (("run", "--dir", "{dir}/none"), 2, "no such file"),
        (("submit", "{dir}/none", "--ledger", "http://127.0.0.1:1"), 1, "none"),
        (("submit", "{file}", "--ledger", "http://127.0.0.1:1"), 2, "line 1 is no base64"),
        (("stats", "--ledger", "http://127.0.0.1:1"), 1, "wavecomb chain run"),
        (("stats", "--ledger", "nonsense"), 2, "address"),
        (("explain", "1", "--db", "{dir}/none"), 2, "no such file"),
        (("explain", "1", "--db", "{file}"), 1, "audit"),
        (("deposit", "--dir", "{dir}", "--account", "1", "--amount-ucr", "1"), 2, "key_file"),
        ((), 2, "COMMAND"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], code: int, word: str
) -> None:
    file = tmp_path / "file.txt"
    file.write_text("*** no record ***")
    places = {"dir": str(tmp_path / "new"), "file": str(file)}
    got, out, err = run(capsys, *(item.format(**places) for item in argv))
    assert (got, out) == (code, "")
    assert word in err
    assert "Traceback" not in err


def test_a_failed_audit_says_where_and_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all, sorry" * 50)
    code, out, _ = run(capsys, "audit", str(tmp_path / "x.db"))
    assert (code, out.count("\n")) == (1, 1)
    assert out.startswith("audit FAILED at database")


def test_init_never_replaces_a_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "init", "--dir", str(tmp_path))[0] == 0
    before = (tmp_path / "ledger.db").read_bytes()
    assert run(capsys, "init", "--dir", str(tmp_path))[0] == 2
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_help_has_examples_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        (),
        *((n,) for n in ["init", "run", "deposit", "submit", "explain", "audit", "stats"]),
    ):
        code, out, _ = run(capsys, *command, "--help")
        assert code == 0
        assert "examples:" in out
