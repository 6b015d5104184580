"""A process beside a live run that looks at what the daemons have stored, and tells it at the end.

Reading fifty databases takes milliseconds, which the loop that carries the frames doesn't have: a
frame waits as long. So a helper reads them in turns, asks the ledger who is registered, and hands
over all of it when asked. It never outlives the run.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.io_client import LedgerClient
from radio_sim.io_processes import die_with_parent

ROUND_S = 6.0  # to look at every daemon's stored receptions, which are kept for three epochs
ANSWER_TIMEOUT_S = 300.0  # hundreds of stores on a busy machine


@dataclass(slots=True)
class Seen:
    """What was seen of all daemons: stored receptions, and the ledger's (index, bound epoch)."""

    receptions: dict[tuple[int, int], set[bytes]] = field(default_factory=dict)  # (node, epoch)
    sightings: dict[int, tuple[int, int]] = field(default_factory=dict)  # node


class Looker:
    """The helper process, as the run sees it."""

    def __init__(self, homes: list[Path], ledger_url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_watch, args=(homes, ledger_url, far), daemon=True)
        self._process.start()
        far.close()

    def ask(self) -> Seen:
        """Have it look at every daemon once more, and take what it has seen so far."""
        try:
            self._pipe.send(None)
            if self._pipe.poll(ANSWER_TIMEOUT_S):
                seen = self._pipe.recv()
                if isinstance(seen, Seen):
                    return seen
        except (EOFError, OSError):
            pass
        raise UserError(
            "sim live", "the process that reads the daemons' stores is gone",
            "run again with --dir to keep the logs", exit_code=EXIT_FAILED,
        )  # fmt: skip

    def close(self) -> None:
        """End the helper."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _watch(homes: list[Path], ledger_url: str, pipe: Connection) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; we are asked
    client, seen = LedgerClient(ledger_url), Seen()
    pause_s = ROUND_S / max(1, len(homes))
    looks = _looks(homes, client, seen)
    with contextlib.suppress(EOFError, OSError):
        while True:
            started = time.monotonic()
            next(looks)
            if pipe.poll(max(0.0, started + pause_s - time.monotonic())):
                pipe.recv()
                _learn_indexes(homes, client, seen)
                for node in range(len(homes)):
                    _look_at(homes[node], node, seen)
                pipe.send(seen)


def _looks(homes: list[Path], client: LedgerClient, seen: Seen) -> Iterator[None]:
    while True:
        if len(seen.sightings) < len(homes):
            _learn_indexes(homes, client, seen)
        for node, home in enumerate(homes):
            _look_at(home, node, seen)
            yield


def _look_at(home: Path, node: int, seen: Seen) -> None:
    """Take in the receptions that a daemon has stored."""
    path = home / "queue.db"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_read_only(path)) as queue:
        for epoch, entry in queue.execute("SELECT epoch, entry FROM receptions"):
            seen.receptions.setdefault((node, epoch), set()).add(bytes(entry))


def _learn_indexes(homes: list[Path], client: LedgerClient, seen: Seen) -> None:
    """Ask the ledger who is registered, and from which epoch on."""
    node_of = _keys(homes)
    with contextlib.suppress(OSError):
        for row in client.hotspots():
            node = node_of.get(row.key.hex())
            if node is not None:
                # A message reveals the secret before: the chain must hold that one, too.
                active = max(row.bind_epoch, row.first_epoch + 1)
                seen.sightings[node] = (row.index, active)


def _keys(homes: list[Path]) -> dict[str, int]:
    """Public keys by node, from the daemons' status files."""
    keys = {}
    for node, home in enumerate(homes):
        with contextlib.suppress(OSError, ValueError, KeyError):
            keys[json.loads((home / "status.json").read_text())["key"]] = node
    return keys


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
