"""The live testbed as a whole: shipping daemons in their namespaces, and nothing left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from radio_sim.live import io_live, io_tap

ROOT = Path(__file__).parents[1]
PROGRAM = "from radio_sim.live.io_live import main; import sys; from chain.io_terminal import "
PROGRAM += "run_command; sys.exit(run_command(main, sys.argv[1:]))"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not io_tap.can_make_radios(),
        reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun",
    ),
]


def start_live(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def namespaces_of(pid: int) -> list[str]:
    return [name for name in io_tap.our_namespaces() if name.startswith(f"{io_tap.PREFIX}{pid:x}-")]


def folders_of(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{io_live.FOLDER_PREFIX}{pid:x}-*"))


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def wait_until(condition: object, timeout_s: float) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_fifty_daemons_send_and_hear_every_beacon_that_is_due() -> None:
    seconds = "300" if os.environ.get("WAVECOMB_SOAK") else "60"
    run = start_live("--hotspots", "50", "--seconds", seconds, "--json")
    out, err = run.communicate(timeout=500)
    assert run.returncode == 0, out + err
    result = json.loads(out.splitlines()[-1])
    assert result["beacons_sent"] == result["beacons_due"] >= 50
    assert result["heard"] == result["heard_expected"] >= 50
    assert result["receipts_on_ledger"] >= 50
    assert (result["restarts"], result["registered"]) == (0, 50)
    assert namespaces_of(run.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals) -> None:
    run = start_live("--hotspots", "3", "--seconds", "600")
    assert wait_until(lambda: len(children_of(run.pid)) >= 4, 120)
    assert wait_until(lambda: len(namespaces_of(run.pid)) == 3, 120)
    children = children_of(run.pid)
    run.send_signal(number)
    run.communicate(timeout=120)
    assert run.returncode == 130
    assert namespaces_of(run.pid) == []
    assert folders_of(run.pid) == []
    assert wait_until(lambda: not any(child.is_running() for child in children), 60)


def test_the_next_run_cleans_up_after_one_that_was_killed() -> None:
    run = start_live("--hotspots", "2", "--seconds", "600")
    assert wait_until(lambda: len(children_of(run.pid)) >= 3, 120)
    assert wait_until(lambda: len(namespaces_of(run.pid)) == 2, 120)
    children = children_of(run.pid)
    run.kill()
    run.communicate(timeout=120)
    io_tap.cleanup()  # another run that starts right now may have been first
    assert namespaces_of(run.pid) == []
    assert wait_until(lambda: not any(child.is_running() for child in children), 60)
    assert len(folders_of(run.pid)) == 1
    io_live.remove_stale_folders()
    assert folders_of(run.pid) == []
