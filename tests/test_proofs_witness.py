from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs_helpers import (
    COSIGNER_SEEDS,
    LOG_KEY,
    LOG_SEED,
    ORIGIN,
    TIME_S,
    make_checkpoint,
    make_log,
)

from chain.keys import public_key
from chain.proofs.checkpoint import Balances, Checkpoint, parse_checkpoint
from chain.proofs.io_cosign import Cosigner, Gatherer
from chain.proofs.io_fetch import Fetcher
from chain.proofs.io_witness import WatchedLog, WitnessNode, WitnessServer, parse_log_option
from chain.proofs.io_witness_store import read_fork
from chain.proofs.log import EMPTY_ROOT, MerkleLog
from chain.proofs.note import (
    Note,
    VerifierKey,
    parse_note,
    parse_verifier_key,
    sign_note,
    verify_note,
)
from chain.proofs.tiles import hash_tile, new_tiles
from chain.proofs.witness import (
    CONFLICT,
    OK,
    SAME_SIZE,
    SIZE,
    UNPROVEN,
    Answer,
    Fork,
    Request,
    Witness,
    encode_request,
    find_prefix_fork,
    fork_json,
    parse_fork,
    process_add_checkpoint,
    verify_fork,
)
from chain.records import Refusal

NAME = "witness.example/w0"
RECORDS = [b"%d" % i for i in range(40)]


class Memory:
    """A witness whose disk is a dictionary."""

    def __init__(self, log_key: VerifierKey = LOG_KEY) -> None:
        self.notes: dict[int, Note] = {}
        logs = {ORIGIN: (log_key,)}
        self.witness = Witness(NAME, COSIGNER_SEEDS[0], logs, self.latest, self.at)
        self.forks: list[Fork] = []

    def latest(self, origin: str) -> Note | None:
        return self.notes[max(self.notes)] if origin == ORIGIN and self.notes else None

    def at(self, origin: str, size: int) -> Note | None:
        return self.notes.get(size)

    def ask(self, request: Request | bytes) -> Answer:
        body = request if isinstance(request, bytes) else encode_request(request)
        answer = process_add_checkpoint(self.witness, body, TIME_S)
        if answer.kept is not None:
            checkpoint = parse_checkpoint(answer.kept.text)
            assert isinstance(checkpoint, Checkpoint)
            self.notes[checkpoint.size] = answer.kept
        if answer.fork is not None:
            self.forks.append(answer.fork)
        return answer


def note_of(checkpoint: Checkpoint, seed: bytes = LOG_SEED) -> Note:
    return Note(checkpoint.text, (sign_note(checkpoint.text, checkpoint.origin, seed),))


def request(log: MerkleLog, old: int, size: int, balances: Balances | None = None) -> Request:
    proof = log.consistency_proof(old, size) if 0 < old < size else []
    checkpoint = Checkpoint(ORIGIN, size, log.root(size), balances or Balances())
    return Request(old, tuple(proof), note_of(checkpoint))


LOG = make_log(RECORDS)
FORKED = make_log([*RECORDS[:10], b"forked", *RECORDS[11:]])


def test_it_signs_a_log_that_only_grows() -> None:
    memory = Memory()
    for old, size in [(0, 3), (3, 3), (3, 8), (8, 9), (9, 40)]:
        answer = memory.ask(request(LOG, old, size))
        assert answer.status == OK, answer
        note = parse_note(request(LOG, old, size).note.encode() + answer.body.encode())
        key = VerifierKey(NAME, 4, public_key(COSIGNER_SEEDS[0]))
        assert isinstance(note, Note)
        verified = verify_note(note, [key])
        assert not isinstance(verified, Refusal)
        assert [item.time_s for item in verified] == [TIME_S]
    assert memory.forks == []


def test_a_wrong_old_size_is_answered_with_the_right_one() -> None:
    memory = Memory()
    memory.ask(request(LOG, 0, 8))
    answer = memory.ask(request(LOG, 0, 9))
    assert (answer.status, answer.body, answer.kind) == (CONFLICT, "8\n", SIZE)
    assert memory.ask(request(LOG, 7, 9)).status == CONFLICT
    assert memory.notes.keys() == {8}


STATUSES = {
    "another origin": (404, replace(make_checkpoint(LOG), origin="other.example/log")),
    "an empty log with a root": (422, Checkpoint(ORIGIN, 0, bytes(32), Balances())),
    "an empty log": (200, Checkpoint(ORIGIN, 0, EMPTY_ROOT, Balances())),
}


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_the_specification_names_a_status_for(name: str) -> None:
    status, checkpoint = STATUSES[name]
    assert Memory().ask(Request(0, (), note_of(checkpoint))).status == status


def test_signatures_that_do_not_count_are_forbidden() -> None:
    other = sha256(b"other").digest()
    checkpoint = make_checkpoint(LOG)
    assert Memory().ask(Request(0, (), note_of(checkpoint, other))).status == 403
    broken = note_of(checkpoint)
    bad = replace(broken.signatures[0], blob=bytes(64))
    assert Memory().ask(Request(0, (), replace(broken, signatures=(bad,)))).status == 403
    both = replace(broken, signatures=(*broken.signatures, bad))
    assert Memory().ask(Request(0, (), both)).status == 403


def test_proofs_that_do_not_hold_are_unproven() -> None:
    memory = Memory()
    assert memory.ask(Request(0, (bytes(32),), request(LOG, 0, 8).note)).status == UNPROVEN
    assert memory.ask(request(LOG, 0, 7)).status == OK
    good = request(LOG, 7, 9)
    for proof in [(), good.proof[:-1], (*good.proof, bytes(32)), (bytes(32), *good.proof[1:])]:
        assert memory.ask(replace(good, proof=proof)).status == UNPROVEN
    assert memory.ask(replace(request(LOG, 7, 7), old=9)).status == 400
    assert memory.forks == []
    assert memory.notes.keys() == {7}


SIGNATURES = request(LOG, 0, 1).note.signatures
BODIES = {
    "nothing": b"",
    "no old": b"new 3\n\n",
    "a leading zero": b"old 03\n\n",
    "a short hash": b"old 3\nAAAA\n\n",
    "no note": b"old 3\n\n",
    "64 hashes": b"old 3\n" + (b"A" * 43 + b"=\n") * 64 + b"\n",
    "no size": encode_request(replace(request(LOG, 0, 1), note=Note("a\nb\nc\n", SIGNATURES))),
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_bodies_of_another_form_are_bad_requests(name: str) -> None:
    assert Memory().ask(BODIES[name]).status == 400


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_no_body_breaks_it(noise: bytes) -> None:
    good = encode_request(request(LOG, 0, 9))
    for body in (noise, good[: len(noise)] + noise, good + noise):
        assert Memory().ask(body).status in (200, 400, 403, 404, 409, 422)


# --- forks ----------------------------------------------------------------------------------------


def shown(fork: Fork) -> Fork:
    """The fork as somebody else reads it; it must still be proved."""
    again = parse_fork(json.loads(json.dumps(fork_json(fork))))
    assert again == fork
    assert verify_fork(fork, [LOG_KEY]) is None
    other = VerifierKey(ORIGIN, 1, public_key(sha256(b"other").digest()))
    assert verify_fork(fork, [other]) is not None
    return fork


def test_two_roots_of_one_size_are_a_fork() -> None:
    memory = Memory()
    memory.ask(request(LOG, 0, 20))
    answer = memory.ask(request(FORKED, 20, 20))
    assert answer.status == UNPROVEN
    assert shown(memory.forks[0]).kind == SAME_SIZE
    assert memory.ask(request(LOG, 20, 21)).status == OK, "the history it knows goes on"


def test_an_old_size_with_another_root_is_a_fork_even_where_the_log_went_on() -> None:
    memory = Memory()
    memory.ask(request(LOG, 0, 15))
    memory.ask(request(LOG, 15, 30))
    answer = memory.ask(request(FORKED, 0, 15))
    assert answer.status == CONFLICT
    assert shown(memory.forks[0]).kind == SAME_SIZE


def test_a_longer_history_with_another_past_proves_itself_a_fork() -> None:
    memory = Memory()
    memory.ask(request(LOG, 0, 20))
    answer = memory.ask(request(FORKED, 20, 30))
    assert answer.status == UNPROVEN
    assert shown(memory.forks[0]).kind == "prefix"


def test_one_settlement_with_two_balances_is_a_fork() -> None:
    memory = Memory()
    memory.ask(request(LOG, 0, 20, Balances(2, bytes(32), 9, 1)))
    answer = memory.ask(request(LOG, 20, 30, Balances(2, bytes(32), 8, 1)))
    assert answer.status == UNPROVEN
    assert shown(memory.forks[0]).kind == "balances"
    assert memory.ask(request(LOG, 20, 20, Balances(2, bytes(32), 8, 0))).status == UNPROVEN
    assert memory.forks[1].kind == SAME_SIZE
    assert memory.ask(request(LOG, 20, 30, Balances(1, bytes(32), 8, 0))).status == UNPROVEN
    assert memory.ask(request(LOG, 20, 30, Balances(3, bytes(32), 8, 0))).status == OK


@given(st.integers(11, 40), st.integers(11, 40), st.integers(0, 10))
@settings(max_examples=60)
def test_a_fork_is_never_signed_and_is_proved_wherever_the_histories_part(
    one: int, other: int, at: int
) -> None:
    forked = make_log([*RECORDS[:at], b"forked", *RECORDS[at + 1 :]])
    memory = Memory()
    memory.ask(request(LOG, 0, one))
    answer = memory.ask(request(forked, min(one, other), other))
    assert answer.status in (CONFLICT, UNPROVEN)
    assert memory.notes.keys() == {one}
    if not memory.forks:  # the witness asks the log itself
        small, large = (LOG, forked) if one < other else (forked, LOG)
        first = request(small, 0, min(one, other)).note
        second = request(large, 0, max(one, other)).note
        fork = find_prefix_fork(first, second, large)
        assert fork is not None
        shown(fork)
    for fork in memory.forks:
        shown(fork)


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60)
def test_one_history_is_never_called_a_fork(one: int, other: int) -> None:
    first, second = request(LOG, 0, one).note, request(LOG, 0, other).note
    assert find_prefix_fork(first, second, LOG) is None
    for kind in ("same_size", "balances", "prefix"):
        proof = LOG.consistency_proof(*sorted((one, other)))
        assert verify_fork(Fork(kind, first, second, LOG.root(one), tuple(proof)), [LOG_KEY])


# --- the daemon -----------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[WitnessServer]:
    node = WitnessNode(tmp_path / "w", [WatchedLog(LOG_KEY, None)], NAME, lambda: TIME_S)
    server = WitnessServer(node)
    yield server
    server.close()


def write_site(folder: Path, log: MerkleLog, size: int) -> Path:
    for tile in new_tiles(size):
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hash_tile(tile, log))
    (folder / "checkpoint").write_bytes(request(log, 0, size).note.encode())
    return folder


def test_the_daemon_speaks_the_protocol(served: WitnessServer) -> None:
    fetcher = Fetcher(served.url)
    status, body = fetcher.exchange("POST", "add-checkpoint", encode_request(request(LOG, 0, 9)))
    assert status == 200
    note = fetcher.get(f"{sha256(ORIGIN.encode()).hexdigest()}/checkpoint")
    assert note is not None
    assert note.endswith(body.splitlines(keepends=True)[0])
    assert parse_note(note) == served.node.store.latest(ORIGIN)
    assert fetcher.get("0" * 64 + "/checkpoint") is None
    status, body = fetcher.exchange("POST", "add-checkpoint", encode_request(request(LOG, 0, 9)))
    assert (status, body) == (409, b"9\n")
    fetcher.exchange("POST", "add-checkpoint", encode_request(request(FORKED, 9, 9)))
    said = json.loads(fetcher.get("") or b"")
    assert said["logs"] == [{"origin": ORIGIN, "size": 9, "url": None}]
    assert parse_verifier_key(said["vkey"]) == served.node.key
    assert fetcher.exchange("POST", "elsewhere", b"x")[0] == 404
    assert fetcher.exchange("POST", "add-checkpoint", b"x" * 100_000)[0] == 413
    fetcher.close()


def test_gathering_takes_what_comes_in_time_and_names_the_rest(
    served: WitnessServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain.proofs.io_cosign.TIMEOUT_S", 60.0)
    silent = VerifierKey("witness.example/silent", 4, public_key(COSIGNER_SEEDS[1]))
    impostor = VerifierKey("witness.example/impostor", 4, public_key(COSIGNER_SEEDS[2]))
    other = WitnessServer(WitnessNode(tmp_path / "o", [WatchedLog(LOG_KEY, None)]))
    gatherer = Gatherer(
        [
            Cosigner(served.node.key, served.url),
            Cosigner(silent, "http://127.0.0.1:9"),
            Cosigner(impostor, other.url),
        ]
    )
    served.node.add_checkpoint(encode_request(request(LOG, 0, 5)))
    for size in (9, 9, 20):
        gathered = gatherer.gather(request(LOG, 0, size).note, LOG, 60.0)
        assert [signature.name for signature in gathered.signatures] == [NAME]
        assert sorted(problem.split(":")[0] for problem in gathered.problems) == [
            impostor.name,
            silent.name,
        ]
    behind = gatherer.gather(request(LOG, 0, 12).note, LOG, 60.0)
    assert behind.signatures == ()
    assert any("runs from this key" in problem for problem in behind.problems)
    gatherer.close()
    other.close()


def test_a_witness_looks_by_itself_and_finds_the_fork_in_the_log(tmp_path: Path) -> None:
    honest = Fetcher(str(write_site(tmp_path / "honest", LOG, 30)))
    log = WatchedLog(LOG_KEY, str(tmp_path / "honest"))
    node = WitnessNode(tmp_path / "w", [log], NAME, lambda: TIME_S)
    first = node.poll(log, honest)
    assert first is not None
    assert first.status == OK
    assert node.poll(log, honest) is None, "nothing new to sign"
    assert node.add_checkpoint(encode_request(request(FORKED, 0, 16))).status == CONFLICT
    path = node.investigate(log, honest)
    assert path is not None
    assert node.status()["forks"] == [path.name]
    fork = read_fork(path)
    assert isinstance(fork, Fork)
    assert path.with_suffix(".first").read_bytes() == fork.first.encode()
    assert path.with_suffix(".second").read_bytes() == fork.second.encode()
    assert node.investigate(log, honest) is None
    write_site(tmp_path / "honest", LOG, 40)
    again = node.poll(log, honest)
    assert again is not None
    assert again.status == OK
    node.store.close()


def test_a_witness_that_finds_no_tiles_signs_nothing(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", LOG, 10)
    log = WatchedLog(LOG_KEY, str(site))
    node = WitnessNode(tmp_path / "w", [log], NAME)
    node.poll(log, Fetcher(str(site)))
    (site / "checkpoint").write_bytes(request(LOG, 0, 20).note.encode())
    answer = node.poll(log, Fetcher(str(site)))
    assert answer is not None
    assert answer.status == UNPROVEN
    node.store.close()


def test_it_keeps_its_name_key_and_memory(tmp_path: Path) -> None:
    logs = [parse_log_option(f"{LOG_KEY}@http://127.0.0.1:1/log")]
    assert logs == [WatchedLog(LOG_KEY, "http://127.0.0.1:1/log")]
    assert parse_log_option(f"comb={LOG_KEY}") == WatchedLog(LOG_KEY, None, "comb")
    node = WitnessNode(tmp_path, logs)
    node.add_checkpoint(encode_request(request(LOG, 0, 9)))
    node.store.close()
    assert (tmp_path / "witness.key").stat().st_mode & 0o777 == 0o600
    again = WitnessNode(tmp_path, logs)
    assert again.key == node.key
    assert again.add_checkpoint(encode_request(request(LOG, 0, 9))).status == CONFLICT
    again.store.close()


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "wavecomb", "chain", "witness", "--dir", str(folder), "--port"]
    daemon = subprocess.Popen(
        [*command, "0", "--log", str(LOG_KEY), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert daemon.stdout is not None
    return daemon, json.loads(daemon.stdout.readline())["url"]


def test_kill_9_forgets_nothing_that_was_signed(tmp_path: Path) -> None:
    signed = 0
    for size in (5, 9, 14):
        daemon, url = start(tmp_path)
        fetcher = Fetcher(url)
        for step in (size - 1, size):
            body = encode_request(request(LOG, signed, step))
            assert fetcher.exchange("POST", "add-checkpoint", body)[0] == 200
            signed = step
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.communicate()
        fetcher.close()
    daemon, url = start(tmp_path)
    fetcher = Fetcher(url)
    body = encode_request(request(FORKED, 0, 20))
    assert fetcher.exchange("POST", "add-checkpoint", body) == (409, b"14\n")
    daemon.terminate()
    daemon.communicate()
    assert daemon.returncode == 0
    fetcher.close()
