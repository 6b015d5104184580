"""A transaction of the consensus engine: a batch of records, CBOR array of their wires.

A batch is checked and decoded once per process, however often the engine shows it: when it enters
the mempool, when it is proposed and when it is executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from chain import cbor, wire
from chain.records import MAX_WIRE_BYTES, Genesis, Refusal, Signed, ValidatorFault

# One record of the largest size still fits alone: an array head and a byte string head more.
MAX_TX_BYTES = MAX_WIRE_BYTES + 8
_ARRAY_HEAD_BYTES, _STRING_HEAD_BYTES = 3, 3
# Batches are remembered from the mempool to their block; 4,096 of 64 kB are 30 s at the bar.
REMEMBERED_TXS = 4_096
REMEMBERED_BYTES = 1 << 27


@dataclass(frozen=True, slots=True)
class Batch:
    """A transaction's records, decoded; `tx_hash` is what the engine calls it."""

    tx_hash: bytes
    records: tuple[Signed, ...]


def pack_transactions(wires: Iterable[bytes], max_bytes: int = MAX_WIRE_BYTES) -> list[bytes]:
    """As few transactions as keep the order and stay within `max_bytes`, one record at least."""
    groups: list[list[bytes]] = []
    size = 0
    for raw in wires:
        added = len(raw) + _STRING_HEAD_BYTES
        if not groups or size + added > max_bytes - _ARRAY_HEAD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(raw)
        size += added
    return [cbor.encode(group) for group in groups]


def decode_transaction(tx: bytes) -> Batch | Refusal:
    """The records of a transaction, each of the right shape; or why not. Never raises."""
    if len(tx) > MAX_TX_BYTES:
        return _bad(f"{len(tx)} bytes; at most {MAX_TX_BYTES} fit, split it")
    try:
        wires = cbor.decode(tx)
    except cbor.CborError as error:
        return _bad(f"no canonical CBOR ({error}); send an array of records")
    if not isinstance(wires, tuple) or not wires:
        return _bad("no array of records; send one that holds a record at least")
    records: list[Signed] = []
    for number, raw in enumerate(wires):
        signed = _decode_record(raw)
        if isinstance(signed, Refusal):
            return Refusal(signed.reason, f"record {number}: {signed.detail}")
        records.append(signed)
    if len({signed.record_id for signed in records}) < len(records):
        return _bad("a record comes twice; send it once")
    return Batch(sha256(tx).digest(), tuple(records))


def _decode_record(raw: object) -> Signed | Refusal:
    """One record that may travel in a transaction."""
    if not isinstance(raw, bytes):
        return _bad("not a byte string; send the bytes of a record")
    signed = wire.decode(raw)
    if isinstance(signed, Refusal):
        return signed
    if isinstance(signed.record, (Genesis, ValidatorFault)):
        return _bad(f"{signed.record.NAME}: only the engine brings one; leave it out")
    return signed


def _bad(problem: str) -> Refusal:
    return Refusal("bad_shape", f"transaction: {problem}")


class Batches:
    """Decodes transactions and remembers the good ones, in two generations, within bounds."""

    def __init__(self) -> None:
        self._young: dict[bytes, Batch] = {}
        self._old: dict[bytes, Batch] = {}
        self._young_bytes = 0
        self._verified: set[bytes] = set()

    def get(self, tx: bytes) -> Batch | Refusal:
        """The batch in a transaction, from memory if it was here before."""
        tx_hash = sha256(tx).digest()
        found = self._young.get(tx_hash) or self._old.get(tx_hash)
        if found is not None:
            return found
        batch = decode_transaction(tx)
        if isinstance(batch, Batch):
            self._remember(batch, len(tx))
        return batch

    def is_verified(self, batch: Batch) -> bool:
        """Whether its signatures were verified ahead; the rules ask again, and remember."""
        return batch.tx_hash in self._verified

    def note_verified(self, batch: Batch) -> None:
        """Remember that they were."""
        self._verified.add(batch.tx_hash)

    def _remember(self, batch: Batch, size: int) -> None:
        full = len(self._young) >= REMEMBERED_TXS or self._young_bytes + size > REMEMBERED_BYTES
        if full:
            self._old, self._young, self._young_bytes = self._young, {}, 0
            self._verified &= self._old.keys()
        self._young[batch.tx_hash] = batch
        self._young_bytes += size
