"""Jobs across real processes: the owner's command, kill -9 in mid file, HTTP as programs see it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_helpers import ROOT, Air, GatewayProcess, Town, wait_for
from jobs_helpers import content

from hotspot.overlay.linkstate import LinkReport

# sender 0 - relay 1 - relay 2 - receiver 3, and a longer way from 1 by 4 and 5
EDGES = {frozenset(e) for e in ((0, 1), (1, 2), (2, 3), (1, 4), (4, 5), (5, 3))}
RELAYS = {1: {0, 2, 4}, 2: {1, 3}, 4: {1, 5}, 5: {4, 3}}
SIZE = 1_000_000
QUICK_KBPS = 8_000


class Street:
    """Everything that the tests of this file share."""

    def __init__(self, town: Town, air: Air) -> None:
        self.town, self.air = town, air
        self.fading_kbps = QUICK_KBPS
        air._loop.call_soon_threadsafe(self._report)
        self.sender = GatewayProcess(town, 0, [1], air.address, gateway="max_tokens = 64")
        self.receiver = GatewayProcess(town, 3, [2, 5], air.address)
        first = "/v1/jobs?to=3&deadline_s=60&name=first"
        wait_for("a path", lambda: self.call("POST", first, b"first")[0] == 201, 40)

    def _report(self) -> None:
        """Let the relays' drivers say what their links carry, over and over."""
        for one, others in RELAYS.items():
            for other in others:
                kbps = self.fading_kbps if {one, other} == {1, 2} else QUICK_KBPS
                said = LinkReport(other, kbps, 0, 0, 0, 6_000)
                self.air.nodes[one].receive_link_report(said, time.time_ns())
        self.air._loop.call_later(0.5, self._report)

    def job(
        self, gateway: GatewayProcess, *arguments: str, key: str = ""
    ) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        where = ["--gateway", gateway.url.removesuffix("/v1")]
        keys = ["--key-file", key or str(gateway.folder / "gateway.key")]
        command = [sys.executable, "-m", "wavecomb", "job", verb, *where, *keys, *rest]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)

    def read(self, gateway: GatewayProcess, *arguments: str) -> dict[str, Any]:
        done = self.job(gateway, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        parsed: dict[str, Any] = json.loads(done.stdout)
        return parsed

    def call(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.sender.url.split("/")[2], timeout=120)
        shown = {"Authorization": f"Bearer {self.sender.key}"} | (headers or {})
        try:
            connection.request(method, path, body, shown)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with contextlib.ExitStack() as stack:
        town = Town(tmp_path_factory.mktemp("jobs"))
        stack.callback(town.close)
        town.open(6)
        air = Air(town, RELAYS, EDGES, 5)
        stack.callback(air.close)
        yield Street(town, air)


@pytest.mark.parametrize("killed", ["receiver", "sender"])
def test_a_file_arrives_although_a_gateway_is_killed_midway(
    street: Street, tmp_path: Path, killed: str
) -> None:
    source, target = tmp_path / "file.bin", tmp_path / "copy.bin"
    source.write_bytes(content(SIZE, len(killed)))
    job = street.read(street.sender, "submit", str(source), "--to", "3", "--deadline", "3m")
    assert job["state"] == "running"
    assert job["promise"]["path"] == [0, 1, 2, 3]
    assert job["promise"]["price_ucr"] > 0

    def is_midway() -> bool:
        row = street.read(street.sender, "status", job["id"])
        assert row["state"] == "running"
        return bool(row["delivered_bytes"] > 150_000)

    wait_for("half a file", is_midway, 40)
    gateway = street.receiver if killed == "receiver" else street.sender
    gateway.kill_and_restart()
    kept = street.read(street.sender, "status", job["id"])
    assert kept["promise"] == job["promise"]  # a promise survives

    def is_done() -> bool:
        row = street.read(street.sender, "status", job["id"])
        assert row["state"] in ("running", "done"), row
        return bool(row["state"] == "done")

    wait_for("the file", is_done, 90)
    identifier = f"0-{job['id']}"
    row = street.read(street.receiver, "received", identifier, "--output", str(target))
    assert (row["state"], row["name"], row["from"]) == ("done", "file.bin", 0)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == row["sha256"] == job["sha256"]
    assert target.read_bytes() == source.read_bytes()
    again = street.job(street.receiver, "received", identifier, "--output", str(target))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    street.read(street.receiver, "received", identifier, "--remove")
    assert not list((street.receiver.folder / "jobs").glob(f"*{job['id']}"))
    assert not list((street.sender.folder / "jobs").glob(f"*{job['id']}"))


def test_waiting_shows_progress_and_ends_with_the_result(street: Street, tmp_path: Path) -> None:
    source = tmp_path / "note.txt"
    source.write_text("hello over the roofs\n" * 2_000)
    done = street.job(street.sender, "submit", str(source), "--to", "3", "--wait")
    assert done.returncode == 0, done.stderr
    assert "100 %" in done.stderr
    assert "state     done" in done.stdout
    listed = street.job(street.sender, "status")
    assert "note.txt" in listed.stdout


def test_relays_are_paid_on_the_ledger(street: Street, tmp_path: Path) -> None:
    source = tmp_path / "paid.bin"
    source.write_bytes(content(200_000))
    done = street.job(street.sender, "submit", str(source), "--to", "3", "--wait", "--json")
    assert json.loads(done.stdout)["spent_ucr"] > 0

    def claimed() -> bool:
        rows = street.town.sessions()
        return {r.payee for r in rows if r.relayed_bytes > 200_000} == {1, 2}

    wait_for("claims", claimed)


def test_a_paused_job_waits_and_goes_on_when_it_is_resumed(
    street: Street, tmp_path: Path
) -> None:
    source = tmp_path / "held.bin"
    source.write_bytes(content(SIZE, 77))
    job = street.read(street.sender, "submit", str(source), "--to", "3", "--deadline", "5m")
    assert street.read(street.sender, "pause", job["id"])["state"] == "paused"
    again = street.job(street.sender, "pause", job["id"])
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert street.read(street.sender, "resume", job["id"])["state"] == "running"

    def is_done() -> bool:
        return bool(street.read(street.sender, "status", job["id"])["state"] == "done")

    wait_for("the file", is_done, 90)


def test_a_job_is_planned_again_when_a_link_on_its_way_fades(
    street: Street, tmp_path: Path
) -> None:
    source = tmp_path / "fading.bin"
    source.write_bytes(content(1_500_000, 5))
    # In 60 s 200 kbit/s: more than is left of that link, and little work for a busy machine.
    job = street.read(street.sender, "submit", str(source), "--to", "3", "--deadline", "60s")
    assert (job["path"], job["short_bytes"]) == ([0, 1, 2, 3], 0)
    street.fading_kbps = 50

    def row_of() -> dict[str, Any]:
        row: dict[str, Any] = street.call("GET", f"/v1/jobs/{job['id']}")[1]
        assert row["state"] in ("running", "done"), row
        return row

    ways = set()

    def is_done() -> bool:
        row = row_of()
        ways.add(tuple(row["path"]))
        return bool(row["state"] == "done")

    wait_for("the file in time", is_done, 60)
    street.fading_kbps = QUICK_KBPS
    assert (0, 1, 4, 5, 3) in ways
    assert row_of()["promise"] == job["promise"]


def test_a_cancelled_job_stops(street: Street, tmp_path: Path) -> None:
    source = tmp_path / "long.bin"
    source.write_bytes(content(3_000_000))
    job = street.read(street.sender, "submit", str(source), "--to", "3", "--deadline", "1h")
    row = street.read(street.sender, "cancel", job["id"][:10])
    assert (row["state"], row["reason"]) == ("cancelled", "cancelled")
    again = street.job(street.sender, "cancel", job["id"])
    assert again.returncode == 1
    assert "has ended already" in again.stderr


def test_refusals_and_mistakes_are_one_line_and_a_status(street: Street, tmp_path: Path) -> None:
    source = tmp_path / "x.bin"
    source.write_bytes(content(5_000_000))
    empty = tmp_path / "empty"
    empty.touch()
    wrong_key = tmp_path / "wrong.key"
    wrong_key.write_text("wvc-wrong\n")
    to3 = ["--to", "3"]
    rows = [
        (["submit", str(source), *to3, "--deadline", "1s"], 1, "job-capacity"),
        (["submit", str(source), *to3, "--max-price", "1"], 1, "job-budget"),
        (["submit", str(source), "--to", "99"], 1, "unknown_hotspot"),
        (["submit", str(source), "--to", "0"], 2, "itself"),
        (["submit", str(source), "--to", "roof"], 2, "to"),
        (["submit", str(source), "--to", "ab" * 32], 2, "no hotspot has this key"),
        (["submit", str(source), *to3, "--deadline", "soon"], 2, "--deadline"),
        (["submit", str(source), *to3, "--max-price", "-3"], 2, "max_price_ucr"),
        (["submit", str(source), *to3, "--name", "../up"], 2, "name"),
        (["submit", str(empty), *to3], 2, "empty"),
        (["submit", str(tmp_path / "nowhere"), *to3], 2, "nowhere"),
        (["submit", str(tmp_path), *to3], 2, "FILE"),
        (["status", "ffff"], 1, "ffff"),
        (["received", "9-9"], 1, "9-9"),
    ]
    for arguments, code, word in rows:
        done = street.job(street.sender, *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
        assert word in done.stderr
    done = street.job(street.sender, "status", key=str(wrong_key))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no valid key" in done.stderr
    assert not [p for p in (street.sender.folder / "jobs").iterdir() if p.name.startswith("out-")]


def test_a_gateway_that_is_away_is_one_line(tmp_path: Path) -> None:
    key = tmp_path / "k"
    key.write_text("wvc-x\n")
    for url, word in (("http://127.0.0.1:9", "no answer"), ("ftp://x", "no address")):
        command = ["-m", "wavecomb", "job", "status", "--gateway", url, "--key-file", str(key)]
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=200
        )
        assert done.returncode in (1, 2)
        assert (done.stderr.count("\n"), word in done.stderr) == (1, True), done.stderr


def test_a_multipart_form_and_a_raw_body_both_submit(street: Street) -> None:
    boundary = "wavecomb-test"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in (
            ("to", "", "3"),
            ("deadline_s", "", "120"),
            ("file", '; filename="form.txt"', "from a form"),
        )
    ]
    body = ("".join(parts) + f"--{boundary}--\r\n").encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, row = street.call("POST", "/v1/jobs", body, kind)
    assert (status, row["name"], row["size_bytes"]) == (201, "form.txt", 11)
    status, row = street.call("POST", "/v1/jobs?to=3&deadline_s=120&name=raw.txt", b"raw")
    assert (status, row["name"], row["size_bytes"]) == (201, "raw.txt", 3)

    def both_done() -> bool:
        rows = street.call("GET", "/v1/jobs")[1]["jobs"]
        return {r["name"]: r["state"] for r in rows}.items() >= {
            ("form.txt", "done"),
            ("raw.txt", "done"),
        }

    wait_for("both files", both_done, 40)


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "word"),
    [
        ("?to=3&deadline_s=1", bytes(5_000_000), "", 409, "job-capacity"),
        ("?to=3", b"x", "", 400, "deadline_s"),
        ("?to=3&deadline_s=60&colour=red", b"x", "", 400, "colour"),
        ("?to=3&deadline_s=1e9", b"x", "", 400, "deadline_s"),
        ("?to=3&deadline_s=60", b"junk", "multipart/form-data; boundary=b", 400, "body"),
        ("?to=3&deadline_s=60", b"junk", "multipart/form-data", 400, "body"),
        ("?to=3&deadline_s=60", b"--b--\r\n", "multipart/form-data; boundary=b", 400, "file"),
    ],
)
def test_bad_requests_are_problem_details(
    street: Street, path: str, body: bytes, kind: str, status: int, word: str
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    code, problem = street.call("POST", f"/v1/jobs{path}", body, headers)
    assert code == status, problem
    assert problem["status"] == status
    assert word in (problem.get("reason"), problem.get("field"))


def test_jobs_need_the_bearer_key(street: Street) -> None:
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/received")):
        status, _ = street.call(method, path, b"x", {"Authorization": "Bearer wvc-no"})
        assert status == 401
