"""A real ledger, three witness daemons, a static mirror, and owners who believe none of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from chain.keys import public_key
from chain.proofs.checkpoint import Checkpoint, parse_checkpoint
from chain.proofs.io_fetch import Fetcher
from chain.proofs.note import Note, parse_note

# An epoch of preset minimal takes 10 s and a settlement six of them: begin near the end of one.
BEGAN_MS = 48_000
PATIENCE_S = 200


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wavecomb", "chain", *map(str, words), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def chain(*words: object) -> Any:
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chain_once_settled(*words: object) -> Any:
    """The same of an account, when a settlement has it: on a busy machine the next but one."""

    def ask() -> Any:
        done = run(*words)
        assert done.returncode == 0 or "wait for the next settlement" in done.stderr, done.stderr
        return json.loads(done.stdout) if done.returncode == 0 else None

    return wait_for(ask)


class Daemons:
    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *words: object) -> tuple[subprocess.Popen[str], Any]:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "wavecomb", "chain", *map(str, words), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self._running.append(daemon)
        assert daemon.stdout is not None
        return daemon, json.loads(daemon.stdout.readline())

    def stop(self) -> None:
        for daemon in self._running:
            daemon.terminate()
            daemon.communicate()


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    found = Daemons()
    yield found
    found.stop()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def wait_for(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if (value := found()) is not None:
            return value
        time.sleep(0.1)
    raise AssertionError("it never came")


def read(fetcher: Fetcher, want: Callable[[Checkpoint, Note], bool]) -> Note | None:
    note = parse_note(fetcher.get("checkpoint") or b"")
    checkpoint = parse_checkpoint(note.text) if isinstance(note, Note) else None
    fits = isinstance(note, Note) and isinstance(checkpoint, Checkpoint) and want(checkpoint, note)
    return note if fits and isinstance(note, Note) else None


def test_a_ledger_its_witnesses_a_mirror_and_an_owner(
    daemons: Daemons, stack: ExitStack, tmp_path: Path
) -> None:
    folders = [tmp_path / f"w{number}" for number in range(3)]
    vkeys = [chain("witness", "--dir", folder, "--status")["vkey"] for folder in folders]
    ledger, mirror, trust = tmp_path / "ledger", tmp_path / "mirror", tmp_path / "trust"
    cosigners = [word for vkey in vkeys for word in ("--cosigner", vkey)]
    start_ms = time.time_ns() // 1_000_000 - BEGAN_MS
    made = chain("init", "--dir", ledger, "--start-ms", start_ms, *cosigners)
    (log_key,) = made["trust"]["log"]
    started = [
        daemons.start("witness", "--dir", folder, "--port", 0, "--log", log_key)
        for folder in folders
    ]
    witnesses = [
        word
        for vkey, (_, said) in zip(vkeys, started, strict=True)
        for word in ("--witness", f"{vkey}@{said['url']}")
    ]
    _, said = daemons.start("run", "--dir", ledger, "--port", 0, "--publish", mirror, *witnesses)
    url = said["urls"][0]
    owner = public_key(bytes(32)).hex()
    deposit = ("deposit", "--dir", ledger, "--account", owner, "--amount-ucr", 5_000_000)
    assert chain(*deposit, "--ledger", url)["results"][0]["accepted"]

    fetcher = stack.enter_context(closing(Fetcher(f"{url}/log")))
    all_signed = wait_for(lambda: read(fetcher, lambda c, n: len(n.signatures) == 4))
    assert {s.name for s in all_signed.signatures[1:]} == {v.split("+")[0] for v in vkeys}
    os.kill(started[0][0].pid, signal.SIGKILL)
    wait_for(lambda: read(fetcher, lambda c, n: bool(c.balances and c.balances.settlement)))

    trust.mkdir()
    (trust / "trust.json").write_text((ledger / "trust.json").read_text())
    mine = ("light", "--dir", trust, "--account", owner)
    shown = chain_once_settled(*mine, "--url", f"{url}/log", "--save", tmp_path / "my.proof")
    assert (shown["balance_ucr"], shown["supply_ucr"]) == (5_000_000, 5_000_000)
    assert len(shown["cosigners"]) >= 2
    wait_for(lambda: read(Fetcher(str(mirror)), lambda c, n: c.size >= shown["log_size"]))
    assert chain(*mine, "--url", mirror)["balance_ucr"] == 5_000_000
    assert chain(*mine, "--proof", tmp_path / "my.proof")["settlement"] == shown["settlement"]
    chain("export", "--dir", ledger, tmp_path / "site")
    assert chain(*mine, "--url", tmp_path / "site")["key"] == owner
