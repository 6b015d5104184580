"""`wavecomb chain bench`: what a ledger does on this machine and this disk, in half a minute.

Real signatures, real commits with the disk flushed; nothing is kept. The benches behind the figures
of the project's pages are in bench/ of its repository.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from chain import wire
from chain.cli.io_common import add, get_lines, show
from chain.errors import EXIT_OK, UserError
from chain.io_audit import audit
from chain.io_ledger import DATABASE, DurableLedger
from chain.io_metrics import get_file_bytes
from chain.io_terminal import Progress
from chain.keys import public_key, sign_message, verify_message
from chain.ledger import Ledger, Sealed
from chain.records import Deposit, Genesis
from chain.service.io_verify import VerifyPool
from chain.store.io_restore import load_ledger
from chain.store.io_store import Store

BATCH = 250
PROOFS = 200
SIGNATURES = 2_000
START_MS = 1_000_000_000_000
T = TypeVar("T")

EXAMPLES = """
  wavecomb chain bench
  wavecomb chain bench --records 20000 --on /var/lib/wavecomb --json
"""


def add_commands(commands: Any) -> None:
    """Add the sub-command."""
    bench = add(commands, "bench", run_bench, "measure signatures, commits, proofs, restart here")
    bench.add_argument(
        "--records", type=int, default=5_000, metavar="N", help="to commit (default: %(default)s)"
    )
    bench.add_argument(
        "--on",
        type=Path,
        metavar="DIR",
        help="a folder on the disk to measure (default: the system's temporary folder)",
    )


def run_bench(options: argparse.Namespace) -> int:
    """Measure, print, and leave nothing behind."""
    if not BATCH <= options.records <= 1_000_000:
        raise UserError("records", f"{options.records}", f"give {BATCH} to 1000000")
    progress = Progress("bench", 5, quiet=options.json)
    with tempfile.TemporaryDirectory(dir=options.on) as place:
        figures = {**measure_signatures(), **measure_ledger(Path(place), options.records, progress)}
    progress.close()
    show(options, figures, "\n".join(get_lines(figures)))
    return EXIT_OK


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = action()
    return max(1e-9, time.perf_counter() - began), result


def measure_signatures() -> dict[str, Any]:
    """Ed25519 checks per second: on one core, and on all."""
    seed = sha256(b"bench").digest()
    messages = [b"%d" % number * 40 for number in range(SIGNATURES)]
    items = [(public_key(seed), message, sign_message(seed, message)) for message in messages]
    one_s, _ = _timed(lambda: [verify_message(*item) for item in items])
    with VerifyPool() as pool:
        all_s, held = _timed(lambda: pool.check(items))
        cores = pool.threads
    if not all(held):
        raise UserError("signatures", "a good one did not hold", "reinstall PyNaCl")
    return {
        "verify_per_s_one_core": round(SIGNATURES / one_s),
        "verify_per_s_all_cores": round(SIGNATURES / all_s),
        "cores": cores,
    }


def measure_ledger(folder: Path, count: int, progress: Progress) -> dict[str, Any]:
    """Deposits signed, checked, applied and committed in batches; then proofs, restart, audit."""
    operator = sha256(b"bench operator").digest()
    durable = _create(folder, operator)
    wires = _deposits(durable.ledger.network_id, operator, count)
    progress.update(1)
    flushes: list[float] = []
    for start in range(0, count, BATCH):
        seconds, results = _timed(
            lambda at=start: durable.submit(wires[at : at + BATCH], START_MS)  # type: ignore[misc]
        )
        flushes.append(seconds)
        if not all(result.accepted for result in results):
            raise UserError("records", results[0].detail, "tell the authors")
    progress.update(2)
    log = durable.store.log
    proof_s, _ = _timed(
        lambda: [log.inclusion_proof(n * count // PROOFS, len(log)) for n in range(PROOFS)]
    )
    durable.store.close()
    size = get_file_bytes(durable.store.path)
    progress.update(3)
    store = Store.open(folder / DATABASE)
    restart_s, ledger = _timed(lambda: load_ledger(store))
    store.close()
    progress.update(4)
    audit_s, result = _timed(lambda: audit(folder / DATABASE))
    if not result.ok or ledger.head.record_count != count + 1:
        raise UserError("audit", result.problem or "records are missing", "tell the authors")
    return {
        "committed_per_s": round(count / sum(flushes)),
        "commit_ms_p50": round(1_000 * sorted(flushes)[len(flushes) // 2], 1),
        "batch": BATCH,
        "bytes_per_record": size // count,
        "proof_ms": round(1_000 * proof_s / PROOFS, 2),
        "restart_ms": round(1_000 * restart_s, 1),
        "audit_per_s": round(count / audit_s),
    }


def _create(folder: Path, operator: bytes) -> DurableLedger:
    keys = (public_key(operator),)
    genesis = wire.seal(Genesis("bench", "minimal", START_MS, keys, 1, ()), b"", [])
    first: list[Sealed] = []
    Ledger(genesis, on_block=first.append)
    store = Store.create(str(folder / DATABASE))
    store.append(first)
    store.close()
    return DurableLedger.open(folder)


def _deposits(network_id: bytes, operator: bytes, count: int) -> list[bytes]:
    return [
        wire.seal(
            Deposit(sha256(b"%d" % n).digest(), 1, b"bench %d" % n, (0,)), network_id, [operator]
        ).wire
        for n in range(count)
    ]
