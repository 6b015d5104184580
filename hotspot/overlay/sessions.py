"""Bilateral sessions: what payer and payee say to each other, and what each must not forget.

A session (a ledger record) lets `payer` owe `payee` up to a cap that is in escrow. Work is counted
at both ends. The payee shows its count (CLAIM), the payer signs the smaller of the two counts
(RECEIPT), the payee countersigns and keeps it: that receipt, and nothing else, is money. A receipt
is cumulative and cites the hash of the one before, so losing a message loses nothing:

    payer                                   payee
      SYNC session                  ─────►  knows the session from the ledger (or asks it)
                                    ◄─────  CLAIM counts, sequence of the receipt it holds
      RECEIPT sequence held + 1     ─────►  checks, countersigns, keeps durably, counts as paid
    A payer that has signed n but sees "held n - 1" sends receipt n again, unchanged: stop and wait.

Who loses what: a relay stops at one chunk beyond the newest receipt, so a payer that never signs
costs it one chunk; a payer signs no more than its own count (plus what the air loses on the way
back, see `payer.py`), so a relay that invents traffic gains that margin once and then loses the
customer.

Messages are CBOR arrays inside CONTROL datagrams; the ledger's rules re-check every signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard

from chain import cbor
from chain.keys import sign, verify
from chain.params import MIB
from chain.records import Receipt, Refusal
from chain.wire import receipt_body, receipt_fields

SYNC, CLAIM, RECEIPT, REFUSE = 1, 2, 3, 4
NO_HASH = bytes(32)
BAD_CONTROL = Refusal("bad_control", "control: not a session message of this version")


class KeyBook(Protocol):
    """Who is who: a hotspot's key by its ledger index (`hotspot/directory.py`)."""

    def key_of(self, index: int) -> bytes | None:
        """Return the key, or None for an index that the ledger has not handed out."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as the ledger has it."""

    session: int
    payer: int
    payee: int
    relay_price_ucr: int
    ai_price_ucr: int
    cap_ucr: int
    expiry_epoch: int


@dataclass(frozen=True, slots=True)
class Work:
    """Cumulative work of a session."""

    relayed_bytes: int = 0
    ai_tokens: int = 0
    ai_requests: int = 0

    def least(self, other: Work) -> Work:
        """Return the smaller of both counts, field by field."""
        return Work(
            min(self.relayed_bytes, other.relayed_bytes),
            min(self.ai_tokens, other.ai_tokens),
            min(self.ai_requests, other.ai_requests),
        )

    def most(self, other: Work) -> Work:
        """Return the larger of both counts, field by field."""
        return Work(
            max(self.relayed_bytes, other.relayed_bytes),
            max(self.ai_tokens, other.ai_tokens),
            max(self.ai_requests, other.ai_requests),
        )


def work_of(receipt: Receipt | None) -> Work:
    """Return what a receipt acknowledges; nothing for none."""
    if receipt is None:
        return Work()
    return Work(receipt.relayed_bytes, receipt.ai_tokens, receipt.ai_requests)


def cost_ucr(info: SessionInfo, work: Work) -> int:
    """Return the price of cumulative work: bytes per MiB plus tokens per thousand, rounded down."""
    relayed = work.relayed_bytes * info.relay_price_ucr // MIB
    return relayed + work.ai_tokens * info.ai_price_ucr // 1_000


def sign_receipt(seed: bytes, network_id: bytes, receipt: Receipt) -> bytes:
    """Sign the six fields of a receipt, as either end."""
    return sign(seed, Receipt.NAME, network_id, receipt_body(receipt))


def is_signed_by(key: bytes | None, network_id: bytes, receipt: Receipt, signature: bytes) -> bool:
    """Tell whether a signature over the six fields is this key's."""
    body = receipt_body(receipt)
    return key is not None and verify(key, Receipt.NAME, network_id, body, signature)


# --- messages ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sync:
    """Payer: this session is for you; show me your count."""

    session: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Payee: I count this much, and hold the receipt with this sequence (0: none)."""

    session: int
    work: Work
    held: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Payee: I will not work under this session, and why."""

    session: int
    reason: str


Control = Sync | Claim | Receipt | Refuse


def pack_control(message: Control) -> bytes:
    """Encode a session message."""
    if isinstance(message, Sync):
        return cbor.encode((SYNC, message.session))
    if isinstance(message, Claim):
        work = message.work
        counts = (work.relayed_bytes, work.ai_tokens, work.ai_requests)
        return cbor.encode((CLAIM, message.session, *counts, message.held))
    if isinstance(message, Refuse):
        return cbor.encode((REFUSE, message.session, message.reason))
    return cbor.encode((RECEIPT, *_receipt_values(message)[:6], message.payer_signature))


def parse_control(payload: bytes) -> Control | Refusal:
    """Read a session message. Never raises."""
    try:
        values = cbor.decode(payload)
    except cbor.CborError:
        return BAD_CONTROL
    if fits(values, (8, 32)) and values[0] == SYNC:
        return Sync(values[1])
    if fits(values, (8, 32, 64, 64, 32, 32)) and values[0] == CLAIM:
        return Claim(values[1], Work(*values[2:5]), values[5])
    if fits(values, (8, 32, str)) and values[0] == REFUSE:
        return Refuse(values[1], values[2][:64])
    if fits(values, (8, 32, 32, 64, 64, 32, bytes, bytes)) and values[0] == RECEIPT:
        return _parse_receipt(values)
    return BAD_CONTROL


def _parse_receipt(values: tuple[Any, ...]) -> Receipt | Refusal:
    _, session, sequence, relayed, tokens, requests, previous, signature = values
    if len(previous) != 32 or len(signature) != 64:
        return BAD_CONTROL
    return Receipt(session, sequence, relayed, tokens, requests, previous, signature)


def fits(values: object, shape: Sequence[int | type]) -> TypeGuard[tuple[Any, ...]]:
    """Tell whether a decoded array has this shape: a number is the width of an unsigned integer."""
    if not isinstance(values, tuple) or len(values) != len(shape):
        return False
    return all(
        isinstance(value, want)
        if isinstance(want, type)
        else isinstance(value, int) and 0 <= value < 1 << want
        for value, want in zip(values, shape, strict=True)
    )


MOST_CREDIT_CHUNKS = 16
CREDIT_SHARE = 4


def credit_bytes(paid_bytes: int, chunk_bytes: int) -> int:
    """Return how much a relay carries unpaid for a payer that has paid for so much.

    A chunk to begin with; then a quarter of what this session has paid, so that whoever runs away
    with it has paid four times as much before; at most 16 chunks (1 MiB), which keeps a path of
    100 ms and 40 Mbit/s busy. Payer and relay count alike, so the payer knows when to wait.
    """
    return max(chunk_bytes, min(MOST_CREDIT_CHUNKS * chunk_bytes, paid_bytes // CREDIT_SHARE))


def flight_bytes(paid_bytes: int, chunk_bytes: int) -> int:
    """Return the bytes per round trip at which a relay that was paid for so much carries on.

    It asks for a receipt at half a chunk, or when one has come and half a chunk is unpaid already:
    then what flies while two are signed must fit into the rest of its credit.
    """
    return (credit_bytes(paid_bytes, chunk_bytes) - chunk_bytes // 2) // 2


def mean_flight_bytes(size: int, chunk_bytes: int) -> int:
    """Return the bytes per round trip of a whole transfer, from the first chunk's credit on.

    A fifth is taken off, since receipts lag behind what was relayed by a round trip or two.
    """
    full = CREDIT_SHARE * MOST_CREDIT_CHUNKS * chunk_bytes
    gone = round_trips = 0
    while gone < min(size, full):
        gone += flight_bytes(gone, chunk_bytes)
        round_trips += 1
    round_trips += max(0, size - gone) // flight_bytes(full, chunk_bytes)
    return max(chunk_bytes // 4, 4 * size // (5 * max(1, round_trips)))


# --- what survives a kill ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A session and its newest receipt, as one end keeps it on disk."""

    info: SessionInfo
    receipt: Receipt | None


def pack_kept(kept: Kept) -> bytes:
    """Encode for `KeepReceipt`; the same bytes come back through `restore`."""
    i = kept.info
    info = (i.session, i.payer, i.payee, i.relay_price_ucr, i.ai_price_ucr, i.cap_ucr)
    receipt = () if kept.receipt is None else _receipt_values(kept.receipt)
    return cbor.encode(((*info, i.expiry_epoch), receipt))


def unpack_kept(data: bytes) -> Kept:
    """Decode what `pack_kept` wrote; ValueError if the store gave back something else."""
    values = cbor.decode(data)
    if not isinstance(values, tuple) or not fits(values, (tuple, tuple)):
        raise ValueError("kept receipt: not an array of session and receipt")
    info, receipt = values
    if not fits(info, (32, 32, 32, 64, 64, 64, 32)):
        raise ValueError("kept receipt: its session has another shape")
    if not receipt:
        return Kept(SessionInfo(*info), None)
    if not fits(receipt, (32, 32, 64, 64, 32, bytes, bytes, bytes)):
        raise ValueError("kept receipt: its receipt has another shape")
    return Kept(SessionInfo(*info), Receipt(*receipt))


def _receipt_values(receipt: Receipt) -> tuple[cbor.Value, ...]:
    fields = receipt_fields(receipt)
    return (*fields, receipt.payer_signature, receipt.payee_signature)


def countersigned(receipt: Receipt, signature: bytes) -> Receipt:
    """Return the receipt with the payee's signature."""
    return replace(receipt, payee_signature=signature)
