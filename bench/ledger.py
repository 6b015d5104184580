"""Relay money on the ledger, measured: `python -m bench.ledger --json`; the last line is JSON.

dual_signed_per_s_core     receipts signed by both ends: decoded, both signatures verified, applied,
                           committed to SQLite (write-ahead log, synchronous=FULL); per CPU second
raw_dual_verify_per_s_core the same messages through PyNaCl alone, in turns with the above
amortised_per_s_core       chunks claimed by sum tree: the last receipt of every session verified by
                           its relay, summed, claimed, drawn leaves opened and verified, all settled
bytes_dual                 bytes of records per receipt; bytes_amortised: of claim and openings per
                           chunk, in the smallest claims measured, the worst case
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nacl.bindings import crypto_sign_open

from bench.ledger_town import BenchTown, Clock
from chain import bits, keys, wire
from chain.claims.builder import ClaimBook, make_leaf
from chain.errors import UserError
from chain.io_terminal import Progress, print_json
from chain.packed import pack_receipts, receipt_body
from chain.records import Receipt, Receipts, Refusal
from chain.service.io_verify import VerifyPool

RECEIPTS_PER_RECORD = 370  # 64 kB
RECORDS_PER_COMMIT = 4  # what arrives in a commit's 50 ms at 10,000 a second is a third of this
CHUNKS_PER_SESSION = 64
CLAIM_SIZES = (64, 256, 1_024, 3_072)  # of the largest 32 kB hold 3,400 or so
HEADLINE_SIZE = 256
VERIFIED = b"wavecomb:receipt:v1\n"


# --- receipts one by one -----------------------------------------------------------------------


def make_pairs(hotspots: int, sessions: int) -> list[tuple[int, int]]:
    """(payer, payee): a record's worth after the other pays one relay, as relays submit them."""
    relays = -(-sessions // RECEIPTS_PER_RECORD)
    payers = hotspots - relays
    return [(relays + n % payers, n // RECEIPTS_PER_RECORD) for n in range(sessions)]


def make_batches(town: BenchTown, sessions: list[int], chunks: int) -> list[list[Receipt]]:
    """The next receipt of every session, in records' worth."""
    receipts = [town.receipt(index, chunks) for index in sessions]
    step = RECEIPTS_PER_RECORD
    return [receipts[at : at + step] for at in range(0, len(receipts), step)]


def seal_batches(town: BenchTown, batches: list[list[Receipt]]) -> list[bytes]:
    """A record per batch."""
    records = (Receipts(pack_receipts(batch)) for batch in batches)
    return [wire.seal(record, town.network_id, []).wire for record in records]


def raw_pairs(town: BenchTown, receipts: list[Receipt]) -> list[tuple[bytes, bytes]]:
    """What PyNaCl verifies of these receipts: (signature and message, key), twice each."""
    hotspots, pairs = town.state.hotspots, []
    for receipt in receipts:
        session = town.state.sessions[receipt.session]
        message = VERIFIED + town.network_id + receipt_body(receipt)
        pairs.append((receipt.payer_signature + message, hotspots[session.payer].key))
        pairs.append((receipt.payee_signature + message, hotspots[session.payee].key))
    return pairs


def measure_dual(town: BenchTown, sessions: list[int], rounds: int, note: Any) -> dict[str, Any]:
    """Receipts through the ledger and through PyNaCl alone, in turns so that noise hits both."""
    ledger, raw = Clock(), Clock()
    count = size = 0
    for number in range(rounds):
        batches = make_batches(town, sessions, number + 1)
        for at in range(0, len(batches), RECORDS_PER_COMMIT):
            part = batches[at : at + RECORDS_PER_COMMIT]
            wires = seal_batches(town, part)
            pairs = [pair for batch in part for pair in raw_pairs(town, batch)]
            with raw:
                for signed, key in pairs:
                    crypto_sign_open(signed, key)
            with ledger:
                town.take(wires)
            count += len(pairs) // 2
            size += sum(map(len, wires))
        note()
    return {
        "dual_signed_per_s_core": round(count / ledger.cpu_s),
        "dual_signed_per_s_wall": round(count / ledger.wall_s),
        "raw_dual_verify_per_s_core": round(count / raw.cpu_s),
        "ratio": round(raw.cpu_s / ledger.cpu_s, 3),
        "overhead_us": round(1e6 * (ledger.cpu_s - raw.cpu_s) / count, 1),
        "bytes_dual": round(size / count, 1),
        "receipts": count,
    }


def measure_all_cores(town: BenchTown, sessions: list[int], chunks: int) -> dict[str, Any]:
    """The same with signatures verified ahead on all cores, by the wall."""
    clock, batches = Clock(), make_batches(town, sessions, chunks)
    with VerifyPool() as pool:
        town.durable.ledger.set_verify(pool.verify)
        for at in range(0, len(batches), RECORDS_PER_COMMIT):
            wires = seal_batches(town, batches[at : at + RECORDS_PER_COMMIT])
            with clock:
                decoded = [wire.decode(raw) for raw in wires]
                pool.prefetch(town.state, [d for d in decoded if not isinstance(d, Refusal)])
                town.take(wires)
        town.durable.ledger.set_verify(keys.verify)
        count = sum(map(len, batches))
        return {"all_cores_per_s": round(count / clock.wall_s), "cores": pool.threads}


# --- by sum tree -------------------------------------------------------------------------------


class ClaimRun:
    """One relay's claim from its receipts to its pay, timed."""

    def __init__(self, town: BenchTown, relay: int, sessions: list[int], chunks: int) -> None:
        self.town, self.relay = town, relay
        self.receipts = [town.receipt(index, chunks) for index in sessions]
        self.size = 0
        self.claim = -1
        self.book: ClaimBook | None = None

    def post(self) -> None:
        """Verify both signatures of every last receipt, build the tree, claim its root."""
        town, state = self.town, self.town.state
        for signed, key in raw_pairs(town, self.receipts):
            crypto_sign_open(signed, key)
        rows = state.sessions
        self.book = ClaimBook(make_leaf(rows[r.session], r) for r in self.receipts)
        record = self.book.record(self.relay, state.epoch)
        signed_claim = wire.seal(record, town.network_id, [town.seeds[self.relay]])
        self.size += len(signed_claim.wire)
        index = town.take([signed_claim.wire])[0].index
        self.claim = -1 if index is None else index

    def answer(self) -> None:
        """Open what was drawn."""
        assert self.book is not None
        drawn = bits.members(self.town.state.claims[self.claim].drawn)
        shown = [
            wire.seal(record, self.town.network_id, []).wire
            for record in self.book.open(self.claim, drawn)
        ]
        self.size += sum(map(len, shown))
        self.town.take(shown)


def measure_claims(
    town: BenchTown, sessions: dict[int, list[int]], size: int, chunks: int
) -> dict[str, Any]:
    """Claims of `size` sessions by every relay, from receipts to pay."""
    runs = [
        ClaimRun(town, relay, own[:size], chunks) for relay, own in sorted(sessions.items())
    ]
    clock, state = Clock(), town.state
    with clock:
        for run in runs:
            run.post()
        town.next_epoch()
        town.next_epoch()
        for run in runs:
            run.answer()
        while state.claims:
            town.next_epoch()
    receipts = [receipt for run in runs for receipt in run.receipts]
    claimed = [state.sessions[r.session].sequence == r.sequence for r in receipts]
    if not all(claimed):
        raise RuntimeError("a claim was not paid")
    work = len(claimed) * CHUNKS_PER_SESSION
    return {
        "sessions_per_claim": size,
        "claims": len(runs),
        "chunks_per_s_core": round(work / clock.cpu_s),
        "bytes_per_chunk": round(sum(run.size for run in runs) / work, 3),
        "us_per_session": round(1e6 * clock.cpu_s / len(claimed), 1),
    }


def make_relays(town: BenchTown, relays: int, sessions: int) -> dict[int, list[int]]:
    """Sessions that pay a few relays, each with a bond that covers its claims."""
    payers = len(town.seeds) - relays
    result = {}
    for relay in range(relays):
        pairs = [(relays + n % payers, relay) for n in range(sessions)]
        result[relay] = town.open_sessions(pairs)
        town.state.hotspots[relay].bond_ucr += 1 << 34
        town.state.debit(town.state.hotspots[relay].owner, 1 << 34)
    return result


# --- what other benches measure ----------------------------------------------------------------


ELSEWHERE = {
    "epoch_close_1m_s": ("bench.settlement", "--json"),
    "proof_bytes_1m": ("bench.proofs", "--json", "--large", "0"),
}


def measure_elsewhere() -> dict[str, Any]:
    """Settlement and proofs at a million hotspots: benches of their own, with their own memory."""
    found: dict[str, Any] = {}
    for key, command in ELSEWHERE.items():
        done = subprocess.run(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=True
        )
        found[key] = json.loads(done.stdout.splitlines()[-1])[key]
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    quick = options.quick
    sizes = CLAIM_SIZES[:2] if quick else CLAIM_SIZES
    relays = 2 if quick else 8
    steps = options.rounds + len(sizes) + 3
    progress = Progress("relay money", steps, quiet=options.quiet)
    done = iter(range(1, steps + 1))

    def note(text: str = "") -> None:
        progress.update(next(done), text)

    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        town = BenchTown(Path(directory), options.hotspots)
        note("receipts")
        sessions = town.open_sessions(make_pairs(options.hotspots, options.sessions))
        value = measure_dual(town, sessions, options.rounds, note)
        value |= measure_all_cores(town, sessions, options.rounds + 1)
        note("claims")
        by_size = []
        for size in sizes:
            own = make_relays(town, relays, size)
            by_size.append(measure_claims(town, own, size, CHUNKS_PER_SESSION))
            note("claims")
    headline = next(row for row in by_size if row["sessions_per_claim"] == HEADLINE_SIZE)
    value["amortised_per_s_core"] = headline["chunks_per_s_core"]
    value["bytes_amortised"] = max(row["bytes_per_chunk"] for row in by_size)
    value["claims"] = by_size
    if not quick:
        value |= measure_elsewhere()
    note("done")
    progress.close()
    return value


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=1_200, help="default: %(default)s")
    parser.add_argument("--sessions", type=int, default=11_840, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="receipts of each session")
    parser.add_argument("--dir", default=None, help="folder for the database (default: temporary)")
    parser.add_argument("--quick", action="store_true", help="small, and without other benches")
    parser.add_argument("--json", dest="quiet", action="store_true", help="no progress")
    options = parser.parse_args()
    if options.quick:
        options.hotspots, options.sessions, options.rounds = 200, 1_480, 1
    load, started = os.getloadavg()[0], time.perf_counter()
    try:
        value = run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    value |= {"load_1m": round(load, 2), "took_s": round(time.perf_counter() - started, 1)}
    value |= {"hotspots": options.hotspots, "sessions": options.sessions}
    print_json(value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
