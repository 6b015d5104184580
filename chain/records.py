"""Record types that the ledger stores, as frozen dataclasses. Fields, widths: docs/records.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from chain.params import NEWEST_RULES

RECEPTION_BYTES = 14
MAX_WIRE_BYTES = 65_535  # a C2SP entry bundle writes lengths in two bytes
# Two claims of one relay must fit into one finding, so that signing both can be proven.
MAX_CLAIM_BYTES = 32_000


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
    rules: int = NEWEST_RULES


@dataclass(frozen=True, slots=True)
class Asserted:
    """What a hotspot asserts: who it is, where it stands, what it radiates, its hash chain."""

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


@dataclass(frozen=True, slots=True)
class Registration(Asserted):
    """A hotspot's assertion, with the link of the chain that leads to all others."""

    TYPE: ClassVar[int] = 2
    NAME: ClassVar[str] = "registration"
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


@dataclass(frozen=True, slots=True)
class Appointment:
    """A key that operators give a role, with an expiry."""

    TYPE: ClassVar[int] = 7
    NAME: ClassVar[str] = "appointment"
    role: int
    key: bytes
    name: str
    weight: int
    from_epoch: int
    until_epoch: int
    operators: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Credits from one account to another."""

    TYPE: ClassVar[int] = 8
    NAME: ClassVar[str] = "transfer"
    account: bytes
    to: bytes
    amount_ucr: int
    nonce: int
    memo: str


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Credits leaving the network."""

    TYPE: ClassVar[int] = 9
    NAME: ClassVar[str] = "withdrawal"
    account: bytes
    amount_ucr: int
    nonce: int
    destination: bytes


@dataclass(frozen=True, slots=True)
class Bond:
    """More locked on a hotspot."""

    TYPE: ClassVar[int] = 10
    NAME: ClassVar[str] = "bond"
    hotspot: int
    amount_ucr: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Retirement:
    """The end of a hotspot; its bond returns after the time for appeals."""

    TYPE: ClassVar[int] = 11
    NAME: ClassVar[str] = "retirement"
    hotspot: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Bounty:
    """What a sponsor pays for coverage of cells, per cell."""

    TYPE: ClassVar[int] = 12
    NAME: ClassVar[str] = "bounty"
    sponsor: bytes
    cells: tuple[int, ...]
    amount_ucr: int
    per_settlement_ucr: int
    until_epoch: int
    nonce: int


@dataclass(frozen=True, slots=True)
class MapperCommit:
    """What somebody who moves binds itself to before an epoch's secrets are out."""

    TYPE: ClassVar[int] = 13
    NAME: ClassVar[str] = "mapper-commit"
    key: bytes
    epoch: int
    commit: bytes


@dataclass(frozen=True, slots=True)
class MapperReport:
    """What somebody who moves heard in a cell, under a one-time key."""

    TYPE: ClassVar[int] = 14
    NAME: ClassVar[str] = "mapper-report"
    key: bytes
    epoch: int
    cell: int
    salt: bytes
    report: bytes


@dataclass(frozen=True, slots=True)
class Receipts:
    """A batch of packed receipts, one per session, ascending."""

    TYPE: ClassVar[int] = 15
    NAME: ClassVar[str] = "receipts"
    entries: bytes


@dataclass(frozen=True, slots=True)
class RelayClaim:
    """What all sessions of a relay added, under the root of a sum tree."""

    TYPE: ClassVar[int] = 16
    NAME: ClassVar[str] = "relay-claim"
    relay: int
    epoch: int
    root: bytes
    total_ucr: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class Opening:
    """A leaf of a relay's claim: its place, its receipt, and the way to the root."""

    position: int
    receipt: Receipt
    path: bytes


@dataclass(frozen=True, slots=True)
class LeafOpening:
    """Leaves of a relay's claim that were drawn or disputed."""

    TYPE: ClassVar[int] = 17
    NAME: ClassVar[str] = "leaf-opening"
    claim: int
    openings: tuple[Opening, ...]


@dataclass(frozen=True, slots=True)
class Dispute:
    """A payer's demand to see a leaf."""

    TYPE: ClassVar[int] = 18
    NAME: ClassVar[str] = "dispute"
    claim: int
    position: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Proof of fraud that the rules check again."""

    TYPE: ClassVar[int] = 19
    NAME: ClassVar[str] = "finding"
    kind: int
    subject: int
    epoch: int
    evidence: tuple[bytes, ...]
    reporter: bytes


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A cosigner's signature on the checkpoint of an epoch's close."""

    TYPE: ClassVar[int] = 20
    NAME: ClassVar[str] = "cosignature"
    epoch: int
    cosigner: bytes
    timestamp: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class ValidatorFault:
    """What the consensus engine found out about a validator; only the engine adds it."""

    TYPE: ClassVar[int] = 21
    NAME: ClassVar[str] = "validator-fault"
    kind: int
    validator: bytes
    height: int
    time_ms: int
    power: int


@dataclass(frozen=True, slots=True)
class Randomness:
    """A cosigner's verifiable random output over the checkpoint of an epoch's close."""

    TYPE: ClassVar[int] = 22
    NAME: ClassVar[str] = "randomness"
    epoch: int
    cosigner: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """What auditors found out about a hotspot: its presence pay waits until this is settled."""

    TYPE: ClassVar[int] = 23
    NAME: ClassVar[str] = "hold"
    subject: int
    test: str
    statistic_centi: int
    threshold_centi: int
    first_epoch: int
    last_epoch: int
    evidence: bytes
    expiry_epoch: int
    auditors: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HoldRuling:
    """How auditors end a hold before it expires: withdrawn, overturned or confirmed."""

    TYPE: ClassVar[int] = 24
    NAME: ClassVar[str] = "hold-ruling"
    subject: int
    hold: bytes
    outcome: int
    evidence: bytes
    auditors: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HoldAppeal:
    """The owner of a held hotspot asks for a re-run by more auditors."""

    TYPE: ClassVar[int] = 25
    NAME: ClassVar[str] = "hold-appeal"
    subject: int
    hold: bytes


@dataclass(frozen=True, slots=True)
class Activation:
    """From which epoch on a newer set of rules binds, signed by a threshold of operators."""

    TYPE: ClassVar[int] = 26
    NAME: ClassVar[str] = "activation"
    rules: int
    from_epoch: int
    operators: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """A hotspot's next key, with a hash chain of its own; all else stays what it is."""

    TYPE: ClassVar[int] = 27
    NAME: ClassVar[str] = "key-rotation"
    hotspot: int
    new_key: bytes
    from_epoch: int
    chain_length: int
    anchor: bytes


@dataclass(frozen=True, slots=True)
class KeyRotationObjection:
    """A key's word that it isn't lost: the rotation that its owner alone asked for is off."""

    TYPE: ClassVar[int] = 28
    NAME: ClassVar[str] = "rotation-objection"
    hotspot: int
    rotation: bytes


Record = (
    Genesis
    | Registration
    | Deposit
    | EpochMessage
    | SessionOpen
    | SessionClaim
    | Appointment
    | Transfer
    | Withdrawal
    | Bond
    | Retirement
    | Bounty
    | MapperCommit
    | MapperReport
    | Receipts
    | RelayClaim
    | LeafOpening
    | Dispute
    | Finding
    | Cosignature
    | ValidatorFault
    | Randomness
    | Hold
    | HoldRuling
    | HoldAppeal
    | Activation
    | KeyRotation
    | KeyRotationObjection
)


@dataclass(frozen=True, slots=True)
class Reception:
    """One beacon heard by one hotspot; 14 bytes on the ledger."""

    heard: int
    sequence: int
    flags: int
    rssi_cdbm: int
    frequency_mhz: int
    tag: bytes


class Signed(NamedTuple):
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
