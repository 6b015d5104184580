"""A network for benches of relay money: hotspots with keys, sessions between them, receipts.

Everything is derived from numbers, so two runs measure the same bytes. Sessions are numbered up to
2^20 and have relayed 64 MiB before anything is measured, which is what records of an old network
look like: small numbers would flatter the bytes per receipt.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

import h3

from chain import keys, wire
from chain.io_ledger import DurableLedger
from chain.ledger import Ledger, Sealed
from chain.packed import receipt_body
from chain.params import MIB
from chain.records import Deposit, Genesis, Receipt, Record, Registration, SessionOpen, SubmitResult
from chain.rules.outcome import Verify
from chain.store.io_store import Store

OPERATOR = sha256(b"bench operator").digest()
START_MS = 1_000_000_000
FUNDS_UCR = 1 << 40
CAP_UCR = 1 << 32
PRICE_UCR = 1_000
BEFORE_BYTES = 64 * MIB
CHUNK_BYTES = 64 << 10
LAST_SESSION = 1 << 20
BATCH = 256


def seed_of(number: int) -> bytes:
    """The key of a hotspot and of its owner."""
    return sha256(b"bench hotspot %d" % number).digest()


class BenchTown:
    """`hotspots` registered keys, each its own owner; UserError if the folder can't be written."""

    def __init__(self, directory: Path, hotspots: int, verify: Verify = keys.verify) -> None:
        self.seeds = [seed_of(number) for number in range(hotspots)]
        operator = keys.public_key(OPERATOR)
        genesis = wire.seal(
            Genesis("bench", "testbed", START_MS, (operator,), 1, ()), b"", []
        )
        self.network_id = genesis.record_id
        first: list[Sealed] = []
        ledger = Ledger(genesis, verify, on_block=first.append)
        store = Store.create(str(directory / "ledger.db"))
        store.append(first)
        self.durable = DurableLedger(ledger, store)
        self.state = ledger.state
        self._join(hotspots)

    def _join(self, hotspots: int) -> None:
        side = round(hotspots**0.5) + 1
        wires: list[bytes] = []
        for number, seed in enumerate(self.seeds):
            key = keys.public_key(seed)
            deposit = Deposit(key, FUNDS_UCR, b"%d" % number, (0,))
            wires.append(self._seal(deposit, OPERATOR))
            row, column = divmod(number, side)
            cell = h3.latlng_to_cell(45 + 0.01 * row, 7 + 0.01 * column, 9)
            latitude, longitude = h3.cell_to_latlng(cell)
            place = (int(cell, 16), round(latitude * 1e6), round(longitude * 1e6))
            asserted = Registration(key, key, *place, 10, 300, 2_000, 2_437, 1, 2, 100, key)
            wires.append(self._seal(asserted, seed, seed))
        self.take(wires)

    def _seal(self, record: Record, *seeds: bytes) -> bytes:
        return wire.seal(record, self.network_id, seeds).wire

    def take(self, wires: list[bytes]) -> list[SubmitResult]:
        """Submit in batches; RuntimeError if one is refused: the bench would measure nothing."""
        results: list[SubmitResult] = []
        for at in range(0, len(wires), BATCH):
            results += self.durable.submit(wires[at : at + BATCH], self.state.time_ms)
        for result in results:
            if not result.accepted:
                raise RuntimeError(f"{result.reason}: {result.detail}")
        return results

    def open_sessions(self, pairs: list[tuple[int, int]]) -> list[int]:
        """Sessions of (payer, payee) with 64 MiB relayed and claimed; their numbers."""
        state = self.state
        state.next_session = LAST_SESSION - len(pairs) - len(state.sessions)
        expiry = state.epoch + state.params.session_epochs_max
        wires = [
            self._seal(
                SessionOpen(payer, payee, nonce, PRICE_UCR, PRICE_UCR, CAP_UCR, expiry),
                self.seeds[payer],
            )
            for nonce, (payer, payee) in enumerate(pairs, len(state.sessions))
        ]
        opened = [result.index for result in self.take(wires) if result.index is not None]
        for index in opened:
            session = state.sessions[index]
            session.relayed_bytes, session.sequence = BEFORE_BYTES, BEFORE_BYTES // CHUNK_BYTES
            session.claimed_ucr = BEFORE_BYTES // MIB * PRICE_UCR
            state.supply.destroyed += session.claimed_ucr
        return opened

    def receipt(self, index: int, chunks: int) -> Receipt:
        """A receipt of both ends for so many chunks more than were claimed at the start."""
        session = self.state.sessions[index]
        relayed = BEFORE_BYTES + chunks * CHUNK_BYTES
        sequence = relayed // CHUNK_BYTES
        previous = sha256(b"%d %d" % (index, sequence)).digest()
        bare = Receipt(index, sequence, relayed, 0, 0, previous)
        body = receipt_body(bare)
        ends = (self.seeds[session.payer], self.seeds[session.payee])
        signed = (keys.sign(seed, Receipt.NAME, self.network_id, body) for seed in ends)
        return Receipt(index, sequence, relayed, 0, 0, previous, *signed)

    def next_epoch(self) -> None:
        """Let the ledger close the current epoch."""
        params = self.state.params
        self.durable.tick(START_MS + (self.state.epoch + 1) * params.epoch_ms)


class Clock:
    """Wall and CPU seconds that its blocks took, added up."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def __enter__(self) -> Clock:
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._started[0]
        self.cpu_s += time.process_time() - self._started[1]
