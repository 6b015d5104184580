"""Signatures verified per second, on one core and on all: `python -m bench.signatures --json`.

Messages of 200 bytes, each under its own key as on a ledger. `overhead_us` is what the memory of
`VerifyPool` adds per signature when a batch is prefetched and the rules then ask for it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from typing import Any

from nacl.bindings import crypto_sign_open

from bench.signatures_service import measure_service
from chain.io_terminal import Progress, print_json
from chain.keys import public_key, sign_message, verify_message
from chain.service.io_verify import Item, VerifyPool, count_cores

MESSAGE_BYTES = 200
KEYS = 1_000
ROUNDS = 5
PROCESS_CHUNK = 256
# Through the service: requests of each client, and records in each; 370 receipts a record.
REQUESTS, RECORDS = 4, 3


def make_items(count: int) -> list[Item]:
    """Signed messages, all different."""
    seeds = [sha256(b"bench %d" % number).digest() for number in range(KEYS)]
    items: list[Item] = []
    for number in range(count):
        seed = seeds[number % KEYS]
        message = number.to_bytes(8, "big") * (MESSAGE_BYTES // 8)
        items.append((public_key(seed), message, sign_message(seed, message)))
    return items


def per_second(run: Callable[[], object], count: int) -> int:
    """Items per second in the best of a few rounds: what the machine can do undisturbed."""
    best = 0.0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        best = max(best, count / (time.perf_counter() - started))
    return round(best)


def check_chunk(items: list[Item]) -> list[bool]:
    """What a process of a pool does."""
    return [verify_message(*item) for item in items]


def measure_processes(items: list[Item], cores: int) -> int:
    """The alternative: as many processes, messages pickled to them."""
    chunks = [items[at : at + PROCESS_CHUNK] for at in range(0, len(items), PROCESS_CHUNK)]
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(check_chunk, chunks[:cores]))
        return per_second(lambda: list(pool.map(check_chunk, chunks)), len(items))


def measure_overhead_us(items: list[Item]) -> float:
    """Microseconds per signature for remembering it and looking it up again."""
    known = [True] * len(items)

    def run() -> None:
        pool = VerifyPool(1)
        for (key, message, signature), holds in zip(items, known, strict=True):
            pool._remember((key, b"wavecomb:receipt:v1\n" + bytes(32) + message, signature), holds)
        for key, message, signature in items:
            pool.verify(key, "receipt", bytes(32), message, signature)

    return round(1e6 / per_second(run, len(items)), 2)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="messages (default: %(default)s)")
    parser.add_argument(
        "--service", action="store_true", help="also receipts over HTTP, on one core and on all"
    )
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    progress = Progress("signatures", 6, quiet=options.json)
    cores, load = count_cores(), round(os.getloadavg()[0], 2)
    items = make_items(options.count)
    signed = [(signature + message, key) for key, message, signature in items]
    progress.update(1)
    bare = per_second(lambda: [crypto_sign_open(*pair) for pair in signed], len(items))
    one = per_second(lambda: [verify_message(*item) for item in items], len(items))
    progress.update(2)
    with VerifyPool() as pool:
        every = per_second(lambda: pool.check(items), len(items))
    progress.update(3)
    processes = measure_processes(items, cores)
    progress.update(4)
    value: dict[str, Any] = {
        "verify_per_s_core": one,
        "verify_per_s_all_cores": every,
        "threads": cores,
        "overhead_us": measure_overhead_us(items),
        "bare_per_s_core": bare,
        "processes_per_s_all_cores": processes,
        "load_1m": load,
    }
    progress.update(5)
    if options.service:
        usable = sorted(os.sched_getaffinity(0))
        value["service_one_core"] = measure_service(usable[:1], REQUESTS, RECORDS)
        value["service_all_cores"] = measure_service(usable, REQUESTS, RECORDS)
    progress.close()
    print_json(value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
