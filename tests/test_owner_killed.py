"""A hotspot without its ledger, killed wherever it is: the short slice of bench.offline."""

from __future__ import annotations

from typing import Any

import pytest

from bench import offline
from chain.io_terminal import Progress
from hotspot.actions import SubmitRecord
from hotspot.io_queue import DurableQueue


def measure(days: float, kills: int, seed: int) -> dict[str, Any]:
    return offline.measure(days, kills, seed, Progress("offline", 1, quiet=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_kept_reaches_the_map_once_and_is_never_paid(seed: int) -> None:
    found = measure(0.25, 15, seed)
    assert found["kills"] == 15
    assert found["messages"] == 36
    assert found["kept"] > 900
    assert offline.is_good(found), found


@pytest.mark.slow
@pytest.mark.soak
def test_a_month_and_a_thousand_kills() -> None:
    found = measure(30.0, 1_000, 3)
    assert (found["kills"], found["messages"]) == (1_000, 4_320)
    assert offline.is_good(found), found


def test_a_queue_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it stored a report, and didn't."""
    inner = DurableQueue.store

    def forgetful(queue: DurableQueue, batches: Any) -> Any:
        rows = [
            (key, epoch, [a for a in batch if not isinstance(a, SubmitRecord) or epoch != 9])
            for key, epoch, batch in batches
        ]
        return inner(queue, rows)

    monkeypatch.setattr(DurableQueue, "store", forgetful)
    found = measure(0.1, 0, 1)
    assert found["lost"] > 20
    assert not offline.is_good(found)


def test_a_node_without_memory_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each kill it has forgotten which epoch it signed last."""
    inner = DurableQueue.memory

    def forgetful(queue: DurableQueue, key: bytes) -> Any:
        memory = inner(queue, key)
        memory.last_message_epoch = -1
        return memory

    monkeypatch.setattr(DurableQueue, "memory", forgetful)
    found = measure(0.1, 30, 1)
    assert found["messages_twice"] > 0 or found["taken_twice"] > 0
    assert not offline.is_good(found)
