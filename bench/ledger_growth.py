"""How a ledger's costs grow: `python -m bench.ledger_growth --sizes 1e5,1e6 --json`.

Receipts signed by both ends are appended to one database on disk, through the durable ledger with
signatures checked on all cores; at each size everything is measured that might grow.

append_per_s        receipts per second while growing to this size, commits and closes included
bytes_per_receipt   size of the database by receipts; wire_bytes_per_receipt: of the records alone
restart_ms          from opening the database to the first answer, median of 5
inclusion_ms        a record's proof from a log opened anew, and its check, median of 20
consistency_ms      a proof from an older size, likewise
audit_s             the whole audit, signatures on all cores
state_bytes         the live state
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import h3

from chain import keys, wire
from chain.draws import u32
from chain.io_audit import audit
from chain.io_ledger import DATABASE, DurableLedger
from chain.io_terminal import Progress, print_json
from chain.ledger import Ledger, Sealed
from chain.packed import pack_receipts, receipt_body
from chain.proofs.log import verify_consistency, verify_inclusion
from chain.records import (
    Deposit,
    Genesis,
    Receipt,
    Receipts,
    Record,
    Refusal,
    Registration,
    SessionOpen,
)
from chain.service.io_verify import VerifyPool
from chain.state import State
from chain.store.io_restore import load_ledger
from chain.store.io_store import Store

HOTSPOTS = 40
OPERATOR = sha256(b"growth operator").digest()
START_MS = 1_700_000_000_000
CHUNK_BYTES = 65_536
CAP_UCR = 1 << 40
COMMIT_RECEIPTS = 1_000  # what 50 ms bring at 20,000 a second
CLOSES = 8  # epoch closes per size
NO_SIGNATURE = bytes(64)


def accept_all(*_: object) -> bool:
    """Stand in for PyNaCl where --no-signatures says so."""
    return True


class Grower:
    """A ledger on disk, with sessions between hotspots whose receipts it takes."""

    def __init__(self, folder: Path, per_record: int, signs: bool) -> None:
        self.folder, self.per_record, self.signs = folder, per_record, signs
        self.seeds = [sha256(b"growth hotspot" + u32(n)).digest() for n in range(HOTSPOTS)]
        operator = keys.public_key(OPERATOR)
        genesis = Genesis("growth", "testbed", START_MS, (operator,), 1, ())
        signed = wire.seal(genesis, b"", [])
        self.network_id = signed.record_id
        self.pool = VerifyPool()
        blocks: list[Sealed] = []
        ledger = Ledger(signed, on_block=blocks.append)
        store = Store.create(str(folder / DATABASE))
        store.append(blocks)
        self.receipts = self.wire_bytes = self.rounds = 0
        self.use(ledger, store)
        self._join()

    def use(self, ledger: Ledger, store: Store) -> None:
        """Go on with this ledger."""
        ledger.set_verify(self.pool.verify if self.signs else accept_all)
        self.durable = DurableLedger(ledger, store)

    @property
    def state(self) -> State:
        """The live state."""
        return self.durable.ledger.state

    def _seal(self, record: Record, *seeds: bytes) -> bytes:
        return wire.seal(record, self.network_id, seeds).wire

    def _join(self) -> None:
        wires = []
        for number, seed in enumerate(self.seeds):
            key = keys.public_key(seed)
            wires.append(self._seal(Deposit(key, CAP_UCR * 64, u32(number), (0,)), OPERATOR))
            cell = h3.latlng_to_cell(45 + 0.01 * number, 7, 9)
            latitude, longitude = h3.cell_to_latlng(cell)
            place = (int(cell, 16), round(latitude * 1e6), round(longitude * 1e6))
            asserted = Registration(key, key, *place, 10, 300, 2_000, 2_437, 1, 2, 100, key)
            wires.append(self._seal(asserted, seed, seed))
        last = self.state.params.session_epochs_max
        for number in range(self.per_record):
            payer, payee = number % HOTSPOTS, (number + 1) % HOTSPOTS
            opening = SessionOpen(payer, payee, number, 1_000, 1_000, CAP_UCR, last)
            wires.append(self._seal(opening, self.seeds[payer]))
        self.take(wires)

    def take(self, wires: list[bytes]) -> None:
        """Submit as the service would; RuntimeError if one is refused."""
        if self.signs:
            decoded = [wire.decode(raw) for raw in wires]
            self.pool.prefetch(self.state, [s for s in decoded if not isinstance(s, Refusal)])
        for result in self.durable.submit(wires, self.state.time_ms):
            if not result.accepted:
                raise RuntimeError(f"{result.reason}: {result.detail}")

    def make_record(self, count: int) -> bytes:
        """The next receipt of so many sessions, packed into one record."""
        self.rounds += 1
        sessions = islice(self.state.sessions.values(), count)
        batch = [self._receipt(s.index, s.payer, s.payee) for s in sessions]
        return self._seal(Receipts(pack_receipts(batch)))

    def _receipt(self, index: int, payer: int, payee: int) -> Receipt:
        values = (index, self.rounds, self.rounds * CHUNK_BYTES, 0, 0)
        bare = Receipt(*values, sha256(u32(self.rounds)).digest())
        ends = (NO_SIGNATURE, NO_SIGNATURE)
        if self.signs:
            body = receipt_body(bare)
            signed = [
                keys.sign(self.seeds[end], Receipt.NAME, self.network_id, body)
                for end in (payer, payee)
            ]
            ends = (signed[0], signed[1])
        return Receipt(*values, bare.previous, *ends)

    def grow(self, size: int, note: Callable[[int], None]) -> float:
        """Append until there are so many receipts; seconds that the ledger took for it."""
        spent, closes = 0.0, (size - self.receipts) // CLOSES + 1
        for wires, count in self._batches(size):
            start = time.perf_counter()
            self.take(wires)
            if self.receipts // closes != (self.receipts + count) // closes:
                self.durable.tick(self.state.time_ms + self.state.params.epoch_ms)
            spent += time.perf_counter() - start
            self.receipts += count
            note(self.receipts)
        return spent

    def _batches(self, size: int) -> Iterator[tuple[list[bytes], int]]:
        done = self.receipts
        while done < size:
            wires: list[bytes] = []
            count = 0
            while count < COMMIT_RECEIPTS and done + count < size:
                part = min(self.per_record, size - done - count)
                wires.append(self.make_record(part))
                count += part
            self.wire_bytes += sum(map(len, wires))
            done += count
            yield wires, count


def measure_restart(grower: Grower) -> float:
    """Milliseconds from opening the database to an answer; the grower goes on with what opened."""
    times = []
    known = grower.durable.store.rows("SELECT wire FROM records WHERE seq = 0")[0]["wire"]
    for _ in range(5):
        grower.durable.store.close()
        start = time.perf_counter()
        store = Store.open(grower.folder / DATABASE)
        grower.use(load_ledger(store), store)
        (result,) = grower.durable.submit([known], grower.state.time_ms)
        times.append(1_000 * (time.perf_counter() - start))
        if result.reason != "already":
            raise RuntimeError(f"the genesis is {result.reason}")
    return median(times)


def measure_proofs(grower: Grower) -> tuple[float, float]:
    """Milliseconds of an inclusion and of a consistency proof, with their checks."""
    inclusion, consistency = [], []
    for number in range(20):
        store = Store.open(grower.folder / DATABASE, read_only=True)
        log, size = store.log, len(store.log)
        at = int.from_bytes(sha256(u32(number)).digest()[:8], "big") % (size - 1)
        leaf = store.rows("SELECT id FROM records WHERE seq = ?", (at,))[0]["id"]
        start = time.perf_counter()
        verify_inclusion(at, size, leaf, log.inclusion_proof(at), log.root())
        middle = time.perf_counter()
        proof = log.consistency_proof(at + 1)
        verify_consistency(at + 1, size, log.root(at + 1), log.root(), proof)
        inclusion.append(middle - start)
        consistency.append(time.perf_counter() - middle)
        store.close()
    return 1_000 * median(inclusion), 1_000 * median(consistency)


def measure(grower: Grower, size: int, quiet: bool) -> dict[str, Any]:
    """Grow to a size and measure everything there."""
    before = grower.receipts
    progress = Progress(f"to {size}", size, quiet=quiet)
    spent = grower.grow(size, progress.update)
    progress.close()
    restart = measure_restart(grower)
    inclusion, consistency = measure_proofs(grower)
    grower.durable.store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    disk = (grower.folder / DATABASE).stat().st_size
    start = time.perf_counter()
    verdict = audit(grower.folder / DATABASE, None if grower.signs else accept_all)
    return {
        "receipts": size,
        "records": grower.state.log.size,
        "append_per_s": round((size - before) / spent),
        "bytes_per_receipt": round(disk / size, 1),
        "wire_bytes_per_receipt": round(grower.wire_bytes / size, 1),
        "restart_ms": round(restart, 2),
        "inclusion_ms": round(inclusion, 2),
        "consistency_ms": round(consistency, 2),
        "audit_s": round(time.perf_counter() - start, 1),
        "audit_ok": verdict.ok,
        "audit": f"{verdict.where} {verdict.problem}".strip(),
        "state_bytes": sum(grower.durable.ledger.state_bytes().values()),
    }


def run(sizes: list[int], per_record: int, signs: bool, quiet: bool) -> dict[str, Any]:
    """All sizes, ascending, in one database."""
    with tempfile.TemporaryDirectory() as folder:
        grower = Grower(Path(folder), per_record, signs)
        rows = [measure(grower, size, quiet) for size in sorted(sizes)]
        grower.durable.store.close()
    cores = grower.pool.threads
    return {"signatures": signs, "per_record": per_record, "cores": cores, "sizes": rows}


def main() -> int:
    """Run it; exit code 1 if an audit fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger_growth", description=__doc__)
    parser.add_argument("--sizes", action="append", help="receipts, e.g. 1e5,1e6; default 1e5")
    parser.add_argument("--per-record", type=int, default=64, help="receipts per record")
    parser.add_argument(
        "--no-signatures", action="store_true", help="neither sign nor verify: for the largest size"
    )
    parser.add_argument("--json", action="store_true", help="no progress bar; JSON at the end")
    options = parser.parse_args()
    sizes = [int(float(text)) for item in options.sizes or ["1e5"] for text in item.split(",")]
    result = run(sizes, options.per_record, not options.no_signatures, options.json)
    print_json(result)
    return 0 if all(row["audit_ok"] for row in result["sizes"]) else 1


if __name__ == "__main__":
    sys.exit(main())
