"""Signatures on all cores: a batch is verified ahead, then the rules read the answers.

PyNaCl lets go of Python's lock while libsodium works, 50 us per signature of which 2 us need the
lock, so threads scale: on two cores they did 33,500 signatures of 200 bytes a second where one core
did 16,400 and two processes 29,700 (`python -m bench.signatures` measures anew). Threads need no
pickling, no start-up and no fork, so threads it is. The calling thread takes its part of the work
rather than wait.

    pool = VerifyPool()
    pool.check([(key, message, signature), ...])     # all at once
    pool.prefetch(state, decoded_records)            # warm, then hand `pool.verify` to the rules
    await pool.prefetch_aside(state, decoded_records)   # the same; the caller's thread stays free
    Ledger(genesis, pool.verify)
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(slots=True)
class Tally:
    """Signatures checked so far, how many of them did not hold, and the CPU time that it took."""

    checked: int = 0
    failed: int = 0
    cpu_ns: int = 0


class VerifyPool:
    """Ed25519 as `chain.keys` verifies it, over all cores, with a bounded memory of answers.

    `threads` includes the caller's own; ValueError below 1. A generation of the memory keeps
    `remembered` answers. Its methods may be called from one thread at a time. Closing it is
    optional: idle threads end with the process.
    """

    def __init__(self, threads: int | None = None, remembered: int = GENERATION_ITEMS) -> None:
        self.threads = count_cores() if threads is None else threads
        if self.threads < 1:
            raise ValueError("a pool needs a thread at least")
        self.tally = Tally()
        self._remembered = remembered
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
        results = [False] * len(items)
        starts = iter(range(0, len(items), CHUNK_ITEMS))
        others: list[Future[int]] = []
        if len(items) >= INLINE_ITEMS and self.threads > 1:
            helpers = self._get_helpers()
            others += [
                helpers.submit(_drain, items, starts, results) for _ in range(self.threads - 1)
            ]
        cpu_ns = _drain(items, starts, results)
        self._count(results, cpu_ns + sum(other.result() for other in others))
        return results

    async def check_aside(self, items: Sequence[Item]) -> list[bool]:
        """As `check`, in the pool's threads alone: the caller's event loop goes on meanwhile.

        Too few to be worth a thread are verified here.
        """
        if len(items) < INLINE_ITEMS:
            return self.check(items)
        results = [False] * len(items)
        starts = iter(range(0, len(items), CHUNK_ITEMS))
        loop, helpers = asyncio.get_running_loop(), self._get_helpers()
        parts = [
            loop.run_in_executor(helpers, _drain, items, starts, results)
            for _ in range(self.threads)
        ]
        self._count(results, sum(await asyncio.gather(*parts)))
        return results

    def _get_helpers(self) -> ThreadPoolExecutor:
        if self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.threads, "verify")
        return self._helpers

    def _count(self, results: Sequence[bool], cpu_ns: int) -> None:
        self.tally.checked += len(results)
        self.tally.failed += results.count(False)
        self.tally.cpu_ns += cpu_ns

    def prefetch(self, state: State, records: Iterable[Signed]) -> int:
        """Verify ahead what the rules will ask about these records; how many were not known yet."""
        items = self._get_unknown(state, records)
        return self._remember_all(items, self.check(items))

    async def prefetch_aside(self, state: State, records: Iterable[Signed]) -> int:
        """As `prefetch`, while the caller's event loop goes on.

        The state may change meanwhile: what is remembered are answers about bytes, no decisions.
        """
        items = self._get_unknown(state, records)
        return self._remember_all(items, await self.check_aside(items))

    def _get_unknown(self, state: State, records: Iterable[Signed]) -> list[Item]:
        network_id = state.network_id
        wanted: dict[Item, None] = {}
        for signed in records:
            for key, name, body, signature in get_signature_checks(state, signed):
                item = (key, signed_message(name, network_id, body), signature)
                if self._recall(item) is None and _fits(key, signature):
                    wanted[item] = None
        return list(wanted)

    def _remember_all(self, items: Sequence[Item], answers: Iterable[bool]) -> int:
        for item, holds in zip(items, answers, strict=True):
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
            holds = self.check([item])[0]
            if _fits(key, signature):
                self._remember(item, holds)
        return holds

    def _recall(self, item: Item) -> bool | None:
        holds = self._young.get(item)
        return self._old.get(item) if holds is None else holds

    def _remember(self, item: Item, holds: bool) -> None:
        if len(self._young) >= self._remembered or self._young_bytes >= GENERATION_BYTES:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[item] = holds
        self._young_bytes += len(item[1])


def _fits(key: bytes, signature: bytes) -> bool:
    return len(key) == KEY_BYTES and len(signature) == SIGNATURE_BYTES


def _drain(items: Sequence[Item], starts: Iterable[int], results: list[bool]) -> int:
    """Verify chunk after chunk, and the nanoseconds of this thread that it took.

    Several threads share `starts`, whose `next` is atomic.
    """
    began = time.thread_time_ns()
    for start in starts:
        for number in range(start, min(start + CHUNK_ITEMS, len(items))):
            results[number] = verify_message(*items[number])
    return time.thread_time_ns() - began
