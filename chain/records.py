"""Record types that the ledger stores, as frozen dataclasses. Fields, widths: docs/records.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

RECEPTION_BYTES = 14
MAX_WIRE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Genesis:
    """Leaf 0: names the network, its rules and who may mint deposits."""

    TYPE: ClassVar[int] = 1
    NAME: ClassVar[str] = "genesis"
    network: str
    preset: str
    start_ms: int
    operators: tuple[bytes, ...]
    threshold: int
    seeds: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Registration:
    """A hotspot's assertion of where it stands and what it radiates."""

    TYPE: ClassVar[int] = 2
    NAME: ClassVar[str] = "registration"
    key: bytes
    owner: bytes
    cell: int
    latitude_udeg: int
    longitude_udeg: int
    height_m: int
    gain_cdb: int
    eirp_cdbm: int
    frequency_mhz: int
    flags: int
    first_epoch: int
    chain_length: int
    anchor: bytes


@dataclass(frozen=True, slots=True)
class Deposit:
    """Credits entering the network, signed by a threshold of operators."""

    TYPE: ClassVar[int] = 3
    NAME: ClassVar[str] = "deposit"
    account: bytes
    amount_ucr: int
    reference: bytes
    operators: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EpochMessage:
    """A hotspot's one message per epoch: commit of e, report of e-1, reveal of x_(e-1)."""

    TYPE: ClassVar[int] = 4
    NAME: ClassVar[str] = "epoch"
    hotspot: int
    epoch: int
    commit: bytes
    report: bytes
    reveal: bytes


@dataclass(frozen=True, slots=True)
class SessionOpen:
    """Escrow of what a payer may owe one payee."""

    TYPE: ClassVar[int] = 5
    NAME: ClassVar[str] = "session-open"
    payer: int
    payee: int
    nonce: int
    relay_price_ucr: int
    ai_price_ucr: int
    cap_ucr: int
    expiry_epoch: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Cumulative work done in a session, signed by both of its ends."""

    NAME: ClassVar[str] = "receipt"
    session: int
    sequence: int
    relayed_bytes: int
    ai_tokens: int
    ai_requests: int
    previous: bytes
    payer_signature: bytes = b""
    payee_signature: bytes = b""


@dataclass(frozen=True, slots=True)
class SessionClaim:
    """A batch of receipts; of each session the newest counts."""

    TYPE: ClassVar[int] = 6
    NAME: ClassVar[str] = "session-claim"
    receipts: tuple[Receipt, ...]


Record = Genesis | Registration | Deposit | EpochMessage | SessionOpen | SessionClaim


@dataclass(frozen=True, slots=True)
class Reception:
    """One beacon heard by one hotspot; 14 bytes on the ledger."""

    heard: int
    sequence: int
    flags: int
    rssi_cdbm: int
    frequency_mhz: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A record with its signatures, and the bytes that carry it."""

    record: Record
    body: bytes
    signatures: tuple[bytes, ...]
    wire: bytes
    record_id: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an input was refused: a stable reason, and one clear line with field and remedy."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """The ledger's answer to one record; `index` is the dense index it handed out, if any."""

    record_id: bytes
    accepted: bool
    index: int | None
    reason: str
    detail: str
