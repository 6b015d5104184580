from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def kill(times: int) -> dict[str, Any]:
    """Run the bench; what it found."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.ledger_restart", "--kills", str(times), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def judge(found: dict[str, Any], kills: int) -> None:
    assert found["kills"] == kills
    assert (found["lost"], found["double_paid"]) == (0, 0), found
    assert found["audit_ok"], found["audit"]
    # It was not idle: it got things done between the kills, and everything that moves credits.
    assert found["acknowledged"] > 4 * kills
    assert found["epochs"] > kills // 10
    assert found["settlements"] >= 1


def test_nothing_is_lost_or_paid_twice_when_the_process_is_killed_fifty_times() -> None:
    found = kill(50)
    judge(found, 50)
    assert {"relay", "bootstrap"} <= set(found["payments"])


@pytest.mark.slow
@pytest.mark.soak
def test_nothing_is_lost_or_paid_twice_when_the_process_is_killed_a_thousand_times() -> None:
    judge(kill(1_000), 1_000)
