"""The live demo under kill -9: any program, any time; nothing lost, nothing paid twice."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

from chain.draws import digest
from chain.io_ports import free_ports
from chain.records import EpochMessage, Signed
from chain.wire import decode
from radio_sim.io_demo import fetch, read_json

KILLS = 20
BETWEEN_S = 3.0
SETTLE_S = 25.0
READY_S = 300.0
RECEPTION_BYTES = 14

Kept = set[tuple[bytes, int, bytes]]


def programs_of(folder: Path) -> dict[str, int]:
    """Process ids of a demo's programs, by name, found by the folder in their arguments."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "wavecomb" in words and any(str(folder) in word for word in words):
            name = " ".join(words[words.index("wavecomb") + 1 :][:2])
            if not name.startswith("demo"):
                place = next((w for w in words if "gateway-" in w), "")
                found[f"{name} {Path(place).parent.name if place else ''}".strip()] = int(
                    entry.name
                )
    return found


def take_kept(folder: Path, kept: Kept) -> None:
    """Add what the world's durable queue holds now."""
    database = folder / "world" / "world.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as connection:
        rows = connection.execute("SELECT hotspot, epoch, entry FROM receptions").fetchall()
    connection.close()
    kept.update((bytes(key), epoch, bytes(entry)) for key, epoch, entry in rows)


def reported(database: Path) -> tuple[Kept, Counter[tuple[bytes, int]], int]:
    """Receptions that the ledger holds, messages per (hotspot, epoch), and its last epoch."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    keys: list[bytes] = []
    found: Kept = set()
    messages: Counter[tuple[bytes, int]] = Counter()
    for (wire,) in connection.execute("SELECT wire FROM records ORDER BY seq"):
        signed = decode(wire)
        assert isinstance(signed, Signed)
        if signed.record.NAME == "registration":
            keys.append(signed.record.key)
        if isinstance(signed.record, EpochMessage):
            message, key = signed.record, keys[signed.record.hotspot]
            messages[key, message.epoch] += 1
            found.update(
                (key, message.epoch - 1, message.report[at : at + RECEPTION_BYTES])
                for at in range(0, len(message.report), RECEPTION_BYTES)
            )
    last = connection.execute("SELECT max(epoch) FROM blocks").fetchone()[0]
    connection.close()
    return found, messages, last


@pytest.mark.timeout(600)
def test_killing_any_program_twenty_times_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path,
) -> None:
    port, gateway_port = free_ports(2)
    command = [sys.executable, "-m", "wavecomb", "demo", "--dir", str(tmp_path)]
    command += ["--port", str(port), "--gateway-port", str(gateway_port), "--scenario"]
    with (tmp_path / "demo.out").open("w") as out:
        demo = subprocess.Popen([*command, "builtin:city:24:3"], cwd=ROOT, stdout=out, stderr=out)
    kept: Kept = set()
    try:
        # What dies before the demo says that it is up is a failed start.
        wait_for(lambda: "Ctrl-C ends it" in (tmp_path / "demo.out").read_text(), demo)
        assert measured(port) > 0
        for turn in range(KILLS):
            programs = programs_of(tmp_path)
            names = sorted(programs)
            victim = names[int.from_bytes(digest("victim", bytes([turn]))[:4], "big") % len(names)]
            with contextlib.suppress(ProcessLookupError):  # it may end by itself
                os.kill(programs[victim], signal.SIGKILL)
            end = time.monotonic() + BETWEEN_S
            while time.monotonic() < end:
                take_kept(tmp_path, kept)
                time.sleep(0.5)
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            take_kept(tmp_path, kept)
            time.sleep(0.5)
        assert demo.poll() is None, (tmp_path / "demo.out").read_text()
        ai_ok = read_json(tmp_path / "demand.json").get("ok", 0)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(timeout=200)
    assert programs_of(tmp_path) == {}
    found, messages, last = reported(tmp_path / "ledger" / "ledger.db")
    assert kept
    assert {row for row in kept if row[1] < last - 2} - found == set()
    assert max(messages.values()) == 1
    assert ai_ok > 0
    audit = [sys.executable, "-m", "wavecomb", "chain", "audit", str(tmp_path / "ledger/ledger.db")]
    done = subprocess.run(audit, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def measured(port: int) -> int:
    stats = fetch(f"http://127.0.0.1:{port}/stats") or {}
    return int(stats.get("cells", {}).get("measured", 0))


def wait_for(ready: object, demo: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_S
    assert callable(ready)
    while not ready():
        assert demo.poll() is None, "the demo ended"
        assert time.monotonic() < end, "no picture in time"
        time.sleep(0.5)
