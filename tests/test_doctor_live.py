"""Two real hotspots on simulated radios: one's doctor asks the air, the other's daemon answers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors_helpers import WAVECOMB, LedgerClient, environment, make_ledger, run, started, wait_for

from hotspot.radio.radiotap import build_received
from radio_sim.live import io_tap

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not io_tap.can_make_radios(),
    reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun",
)
WHERE = ("--lat", "40.7", "--lon", "-74.0")


@contextlib.contextmanager
def air(names: list[str], level_dbm: int) -> Iterator[None]:
    """Radios that hear each other at one level, and themselves as an echo, as mac80211 does it."""
    taps = [io_tap.open_radio_tap(name) for name in names]
    stop = threading.Event()

    def carry() -> None:
        while not stop.wait(0.002):
            for sender in taps:
                while (frame := sender.read()) is not None:
                    mpdu = frame[int.from_bytes(frame[2:4], "little") :]
                    for other in taps:
                        level = None if other is sender else level_dbm
                        other.write(build_received(2437, level) + mpdu)

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        for tap in taps:
            tap.close()
            io_tap.netns.remove(tap.interface)


def make_spot(folder: Path, interface: str, ledger: str) -> Path:
    done = run("hotspot", "init", "--dir", folder, *WHERE, "--ledger", ledger,
               "--interface", interface)  # fmt: skip
    assert done.code == 0, done
    return folder / "hotspot.toml"


def in_namespace(name: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", name)


@pytest.mark.root
@needs_root
def test_the_doctor_is_confirmed_by_a_daemon_that_hears_it(tmp_path: Path) -> None:
    """The daemon reads and writes frames with scapy, the doctor with our own parser."""
    names = [io_tap.radio_name(71), io_tap.radio_name(72)]
    place, door = make_ledger(tmp_path), tmp_path / "l.sock"
    with (
        air(names, -66),
        started(["chain", "run", "--dir", place, "--unix", door], tmp_path / "ledger.log"),
    ):
        with LedgerClient(f"unix:{door}") as client:
            wait_for("the ledger", client.head)
        mine, other = (
            make_spot(tmp_path / name, name, f"unix:{door}") for name in names
        )
        words = ["hotspot", "run", "--config", other, "--codec", "scapy"]
        with started(words, tmp_path / "log", in_namespace(names[1])):
            status = other.parent / "status.json"
            wait_for("registration", lambda: json.loads(status.read_text())["index"] >= 0, 60)
            index = json.loads(status.read_text())["index"]
            done = doctor(mine, names[0])
            found = {row["name"]: row for row in json.loads(done)["findings"]}
            assert found["radio"]["verdict"] == "good", found
            assert found["radio"]["seen"] == (
                f"3 sent, 3 came back from the driver, heard by hotspot {index} at -66 dBm"
            )
            counts = wait_for("status", lambda: answered(status))
            assert counts["tests_answered"] == 3


def doctor(config: Path, namespace: str) -> str:
    words = ["hotspot", "doctor", "--radio", "--json", "--codec", "fast", "--config", config]
    done = subprocess.run(
        [*in_namespace(namespace), *WAVECOMB, *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1, "its own daemon doesn't run"
    return done.stdout


def answered(status: Path) -> dict[str, int] | None:
    counts: dict[str, int] = json.loads(status.read_text())["radio_counts"]
    return counts if counts.get("tests_answered", 0) >= 3 else None
