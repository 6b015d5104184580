"""Real engines on loopback: what faults do to them, and that both engines make one ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import byzantine
from chain.consensus.io_cometbft import find_program
from chain.consensus.io_testnet import Testnet
from chain.errors import UserError
from chain.io_audit import audit
from chain.io_client import LedgerClient
from chain.io_ledger import DATABASE, now_ms
from chain.io_ports import free_ports
from chain.ledger import Ledger
from chain.records import SubmitResult
from chain.store.io_store import Store

from .chain_helpers import Town

ROOT = Path(__file__).resolve().parent.parent
SOAK = bool(os.environ.get("WAVECOMB_SOAK"))
CASES = (
    [*byzantine.CASES]
    if SOAK
    else ["one_killed", "two_killed", "one_partitioned", "one_equivocating"]
)


@pytest.fixture(scope="module", autouse=True)
def engine() -> str:
    try:
        return find_program()
    except UserError:
        pytest.skip("cometbft is not installed; run: make system")


@pytest.fixture(scope="module", params=range(5 if SOAK else 1))
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return byzantine.run_cases(tmp_path_factory.mktemp("faults"), CASES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_no_fault_of_one_in_four_forks_loses_or_repeats(
    case: str, outcomes: dict[str, Any]
) -> None:
    assert outcomes[case]["ok"], json.dumps(outcomes[case])
    assert outcomes[case]["acknowledged"] > 0


class Pair:
    """Two validators of a town whose first six epochs are over, and what they were sent."""

    def __init__(self, folder: Path) -> None:
        self.town = Town(6, start_ms=now_ms() - 65_000)
        self.net = Testnet(folder, 2, genesis=self.town.genesis)

    def submit(self, number: int, wires: list[bytes]) -> list[SubmitResult]:
        with self.net.validators[number].client() as client:
            return client.submit(wires)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    with pair.net:
        pair.net.start()
        pair.net.wait_height(2, range(2))
        yield pair


def test_the_api_answers_after_the_block_as_the_embedded_engine_does(pair: Pair) -> None:
    town = pair.town
    first = pair.submit(0, [town.deposit(i).wire for i in range(3)])
    assert [(r.accepted, r.reason) for r in first] == [(True, "ok")] * 3
    joined = pair.submit(0, [town.sealed_registration(i).wire for i in range(3)])
    assert [r.index for r in joined] == [0, 1, 2]
    pair.net.wait_height(pair.net.validators[0].height() + 1, range(2))
    again = pair.submit(1, [town.deposit(0).wire, b"\x80", town.sealed_registration(1).wire])
    assert [r.reason for r in again] == ["already", "bad_shape", "already"]
    assert again[2].index == 1
    for validator in pair.net.validators:
        with validator.client() as client:
            assert client.account(town.owner(0)).balance_ucr > 0
            assert len(client.hotspots()) == 3


def ledger_height(pair: Pair, number: int) -> int:
    with pair.net.validators[number].client() as client:
        return client.head().height


def test_the_same_records_make_the_same_ledger_on_both_engines(
    pair: Pair, tmp_path: Path
) -> None:
    town = pair.town
    for i in range(200):  # this test may be the first of its process, and blocks be few yet
        pair.submit(1, [town.deposit(i % 6, reference=b"more %d" % i).wire])
        pair.net.wait_height(pair.net.validators[1].height() + 2, range(2))
        if min(ledger_height(pair, number) for number in range(2)) > 3:
            break
    heads = []
    for number, validator in enumerate(pair.net.validators):
        copy = tmp_path / f"{number}.db"
        with sqlite3.connect(validator.home.folder / DATABASE) as source:
            with sqlite3.connect(copy) as target:
                source.backup(target)
            target.close()
        source.close()
        assert audit(copy).ok
        store = Store.open(copy, read_only=True)
        blocks = list(store.blocks())
        store.close()
        replayed, submitted = Ledger(town.genesis), Ledger(town.genesis)
        for block in blocks[1:]:
            replayed.replay(block)
            if block.wires:
                submitted.submit(block.wires, block.time_ms)
            else:
                submitted.tick(block.time_ms)
            assert submitted.head == replayed.head
        heads.append(replayed.head)
    shorter = min(head.height for head in heads)
    assert shorter > 2
    assert heads[0].epoch >= 6  # a settlement is behind us
    if heads[0].height == heads[1].height:
        assert heads[0] == heads[1]


def test_a_newcomer_starts_from_a_snapshot_and_follows(tmp_path: Path) -> None:
    town = Town(3, start_ms=now_ms() - 55_000)  # the first settlement is five seconds away
    with Testnet(tmp_path, 2, genesis=town.genesis) as net:
        for validator, port in zip(net.validators, free_ports(2), strict=True):
            validator.rpc_port = port
        net.start()
        net.wait_height(2, range(2))
        with net.validators[0].client() as client:
            client.submit([town.deposit(i).wire for i in range(3)])
            client.submit([town.sealed_registration(i).wire for i in range(3)])
        folder = net.validators[0].home.folder / "snapshots"
        deadline = time.monotonic() + 120
        while not [*folder.glob("*/manifest")] and time.monotonic() < deadline:
            time.sleep(0.1)
        taken = max(int(path.parent.name) for path in folder.glob("*/manifest"))
        net.wait_height(taken + 3, range(2))
        trusted = net.validators[0].ask_engine("block?height=1")["block_id"]["hash"]
        servers = [f"http://127.0.0.1:{v.rpc_port}" for v in net.validators]
        options = [word for url in servers for word in ("--sync-from", url)]
        follower = net.add_follower("late", *options, "--trust", f"1:{trusted}")
        follower.start()
        while follower.height() < taken + 3 and time.monotonic() < deadline + 40:
            time.sleep(0.1)
        with net.validators[0].client() as client:
            client.submit([town.deposit(0, reference=b"after").wire])
            expected = client.account(town.owner(0))
        wanted = net.validators[0].height() + 1
        while follower.height() < wanted and time.monotonic() < deadline + 60:
            time.sleep(0.1)
        with follower.client() as client:
            assert client.account(town.owner(0)) == expected
            assert len(client.hotspots()) == 3
        ours, theirs = follower.app_hashes(taken + 1), net.validators[0].app_hashes(taken + 1)
        assert {ours[h] == theirs[h] for h in ours if h in theirs} == {True}
        assert follower.ask_engine("status")["sync_info"]["earliest_block_height"] != "1"
        follower.stop()
        follower.start()  # what was restored is on the disk
        with follower.client() as client:
            assert client.account(town.owner(0)) == expected


def test_kept_secrets_and_closed_doors(pair: Pair) -> None:
    for validator in pair.net.validators:
        config = validator.home.engine / "config"
        for name in ("priv_validator_key.json", "node_key.json"):
            assert stat.S_IMODE((config / name).stat().st_mode) == 0o600
        for name in ("abci.sock", "rpc.sock"):
            mode = stat.S_IMODE(os.stat(validator.home.engine / name).st_mode)
            folder = stat.S_IMODE(os.stat(validator.home.engine).st_mode)
            assert mode & 0o077 == 0 or folder & 0o077 == 0
        assert 'laddr = "tcp://127.0.0.1:' in (config / "config.toml").read_text()


def test_a_validator_whose_engine_dies_says_so_and_ends(tmp_path: Path) -> None:
    with Testnet(tmp_path, 1) as net:
        net.start()
        validator = net.validators[0]
        os.kill(validator.said["engine_pid"], signal.SIGKILL)
        assert validator.child is not None
        assert validator.child.wait(timeout=120) == 1
        assert "engine" in (validator.home.folder / "validator.log").read_text()


def test_the_command_starts_shows_and_stops_a_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wavecomb", "chain", "testnet", "--validators", "1", "--json"]
    child = subprocess.Popen(
        [*command, "--dir", str(tmp_path / "net")], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    with LedgerClient(line.split('"urls":["')[1].split('"')[0]) as client:
        assert client.head().preset == "minimal"
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    rest = child.stdout.read()
    child.stdout.close()
    assert child.wait(timeout=120) == 0
    assert '"forks":[]' in rest
    taken = subprocess.run(
        [*command, "--dir", str(tmp_path / "net")], capture_output=True, cwd=ROOT, text=True
    )
    assert taken.returncode == 2
    assert taken.stderr.count("\n") == 1
    shutil.rmtree(tmp_path / "net")
