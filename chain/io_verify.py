"""Signatures on all cores: a batch is verified ahead, then the rules read the answers.

PyNaCl lets go of Python's lock while libsodium works, 50 us per signature of which 2 us need the
lock, so threads scale: on two cores they did 33,500 signatures of 200 bytes a second where one core
did 16,400 and two processes 29,700 (`python -m bench.signatures` measures anew). Threads need no
pickling, no start-up and no fork, so threads it is. The calling thread takes its part of the work
rather than wait.

    pool = VerifyPool()
    pool.check([(key, message, signature), ...])     # all at once
    pool.prefetch(state, decoded_records)            # warm, then hand `pool.verify` to the rules
    Ledger(genesis, pool.verify)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from chain.keys import KEY_BYTES, SIGNATURE_BYTES, signed_message, verify_message
from chain.records import Signed
from chain.rules.signatures import get_signature_checks
from chain.state import State

Item = tuple[bytes, bytes, bytes]  # key, message, signature
Known = dict[tuple[bytes, bytes, bytes], bool]

# A chunk is 1 ms of work: far above the 30 us that handing it over costs, and short enough that no
# core idles long at the end of a batch.
CHUNK_ITEMS = 16
# Below two chunks a second thread would come too late.
INLINE_ITEMS = 2 * CHUNK_ITEMS
# Answers are kept in two generations of at most this many each, or this many bytes of messages:
# ten seconds of a busy ledger, and no more memory than a browser tab.
GENERATION_ITEMS = 1 << 16
GENERATION_BYTES = 1 << 25


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class VerifyPool:
    """Ed25519 as `chain.keys` verifies it, over all cores, with a bounded memory of answers.

    `threads` includes the caller's own; ValueError below 1. Its methods may be called from one
    thread at a time. Closing it is optional: idle threads end with the process.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = count_cores() if threads is None else threads
        if self.threads < 1:
            raise ValueError("a pool needs a thread at least")
        self._helpers: ThreadPoolExecutor | None = None
        self._young: Known = {}
        self._old: Known = {}
        self._young_bytes = 0

    def __enter__(self) -> VerifyPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; the pool starts others if it is used again."""
        if self._helpers is not None:
            self._helpers.shutdown()
            self._helpers = None

    def check(self, items: Sequence[Item]) -> list[bool]:
        """Whether each (key, message, signature) holds; wrong lengths don't."""
        if len(items) < INLINE_ITEMS or self.threads == 1:
            return [verify_message(*item) for item in items]
        if self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.threads - 1, "verify")
        results = [False] * len(items)
        starts = iter(range(0, len(items), CHUNK_ITEMS))
        others: list[Future[None]] = [
            self._helpers.submit(_drain, items, starts, results) for _ in range(self.threads - 1)
        ]
        _drain(items, starts, results)
        for other in others:
            other.result()
        return results

    def prefetch(self, state: State, records: Iterable[Signed]) -> int:
        """Verify ahead what the rules will ask about these records; how many were not known yet."""
        network_id = state.network_id
        wanted: dict[Item, None] = {}
        for signed in records:
            for key, name, body, signature in get_signature_checks(state, signed):
                item = (key, signed_message(name, network_id, body), signature)
                if self._recall(item) is None and _fits(key, signature):
                    wanted[item] = None
        items = list(wanted)
        for item, holds in zip(items, self.check(items), strict=True):
            self._remember(item, holds)
        return len(items)

    def verify(
        self, key: bytes, name: str, network_id: bytes, body: bytes, signature: bytes
    ) -> bool:
        """`chain.keys.verify`, from memory where the answer is known; remembers what it verifies.

        Give it to a Ledger as its `verify`.
        """
        item = (key, signed_message(name, network_id, body), signature)
        holds = self._recall(item)
        if holds is None:
            holds = verify_message(*item)
            if _fits(key, signature):
                self._remember(item, holds)
        return holds

    def _recall(self, item: Item) -> bool | None:
        holds = self._young.get(item)
        return self._old.get(item) if holds is None else holds

    def _remember(self, item: Item, holds: bool) -> None:
        if len(self._young) >= GENERATION_ITEMS or self._young_bytes >= GENERATION_BYTES:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[item] = holds
        self._young_bytes += len(item[1])


def _fits(key: bytes, signature: bytes) -> bool:
    return len(key) == KEY_BYTES and len(signature) == SIGNATURE_BYTES


def _drain(items: Sequence[Item], starts: Iterable[int], results: list[bool]) -> None:
    """Verify chunk after chunk; several threads share `starts`, whose `next` is atomic."""
    for start in starts:
        for number in range(start, min(start + CHUNK_ITEMS, len(items))):
            results[number] = verify_message(*items[number])
