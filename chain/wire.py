"""The envelope: records to signed bytes and back. Decoding checks every field and never raises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import pairwise
from struct import Struct
from typing import Any, cast

from chain import cbor
from chain.ecvrf import PROOF_BYTES
from chain.epoch_wire import is_sorted, read_epoch_wire
from chain.geo import cell_resolution, is_cell
from chain.keys import SIGNATURE_BYTES, sign
from chain.records import (
    MAX_CLAIM_BYTES,
    MAX_WIRE_BYTES,
    RECEPTION_BYTES,
    Activation,
    Appointment,
    Bond,
    Bounty,
    Cosignature,
    Deposit,
    Dispute,
    EpochMessage,
    Finding,
    Genesis,
    Hold,
    HoldAppeal,
    HoldRuling,
    KeyRotation,
    KeyRotationObjection,
    LeafOpening,
    MapperCommit,
    MapperReport,
    Opening,
    Randomness,
    Receipt,
    Receipts,
    Reception,
    Record,
    Refusal,
    Registration,
    RelayClaim,
    Retirement,
    SessionClaim,
    SessionOpen,
    Signed,
    Transfer,
    ValidatorFault,
    Withdrawal,
)

VERSION = 1
# A genesis of later rules than the first names them in a field more.
RULES_VERSION = 2
COARSEST_CELL, FINEST_CELL = 7, 10
MAX_CHAIN_LENGTH = 1 << 24
_RECEPTION = Struct(">IBBhH4s")


@dataclass(frozen=True, slots=True)
class Integer:
    """A field that holds an integer from `low` to `high`."""

    low: int
    high: int

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        if not isinstance(value, int):
            return "must be an integer"
        return "" if self.low <= value <= self.high else f"must be from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Octets:
    """A field that holds a byte string of `low` to `high` bytes, a multiple of `unit`."""

    low: int
    high: int
    unit: int = 1

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        if not isinstance(value, bytes):
            return "must be a byte string"
        if self.low <= len(value) <= self.high and len(value) % self.unit == 0:
            return ""
        size = f"{self.low} to {self.high}" if self.low < self.high else f"{self.low}"
        return f"must be {size} bytes" + (f", a multiple of {self.unit}" if self.unit > 1 else "")


@dataclass(frozen=True, slots=True)
class Text:
    """A field that holds text of at most `high` characters."""

    high: int

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        fits = isinstance(value, str) and len(value) <= self.high
        return "" if fits else f"must be text of at most {self.high} characters"


@dataclass(frozen=True, slots=True)
class Cell:
    """A field that holds an H3 cell of resolution `coarsest` to `finest`."""

    coarsest: int = COARSEST_CELL
    finest: int = FINEST_CELL

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        if not isinstance(value, int) or not is_cell(value):
            return "must be an H3 cell"
        fits = self.coarsest <= cell_resolution(value) <= self.finest
        wanted = f"{self.coarsest}" + (f" to {self.finest}" if self.finest > self.coarsest else "")
        return "" if fits else f"must have resolution {wanted}"


@dataclass(frozen=True, slots=True)
class Many:
    """A field that holds an array of `low` to `high` items; strictly ascending if asked."""

    of: Field
    low: int
    high: int
    ascending: bool = False

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        if not isinstance(value, tuple) or not self.low <= len(value) <= self.high:
            return f"must be an array of {self.low} to {self.high} items"
        for item in value:
            if problem := self.of.problem(item):
                return f"each item {problem}"
        rising = all(a < b for a, b in pairwise(value))
        return "" if rising or not self.ascending else "must be strictly ascending"


@dataclass(frozen=True, slots=True)
class ReceiptFields:
    """An item that holds the fields of a receipt."""

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        return "is a receipt whose " + bad if (bad := _first_problem(RECEIPT, value)) else ""


@dataclass(frozen=True, slots=True)
class OpeningFields:
    """An item that holds the fields of a leaf's opening: position, receipt, path."""

    def problem(self, value: object) -> str:
        """What is wrong with the value, or nothing."""
        bad = _first_problem(OPENING, value, OPENING_NAMES)
        return "is an opening whose " + bad if bad else ""


Field = Integer | Octets | Text | Cell | Many | ReceiptFields | OpeningFields

U8, U16, U32, U64 = (Integer(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
I16, I32 = (Integer(-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (16, 32))
HASH = Octets(32, 32)
SIGNATURE = Octets(SIGNATURE_BYTES, SIGNATURE_BYTES)

AMOUNT = Integer(1, (1 << 64) - 1)
# Of a claim's tree at most 2^24 leaves: more than any wire holds entries.
OPENING_PATH = Octets(0, 24 * 40, 40)
PACKED = Octets(1, MAX_WIRE_BYTES)
AUDITORS = Many(HASH, 1, 64, ascending=True)

RECEIPT: tuple[Field, ...] = (U32, U32, U64, U64, U32, HASH, SIGNATURE, SIGNATURE)
OPENING: tuple[Field, ...] = (U32, ReceiptFields(), OPENING_PATH)
LAYOUT: dict[int, tuple[type[Any], tuple[Field, ...]]] = {
    Genesis.TYPE: (
        Genesis,
        (
            *(Text(64), Text(64), U64, Many(HASH, 1, 64), Integer(1, 64), Many(HASH, 0, 1024)),
            Integer(2, (1 << 16) - 1),
        ),
    ),
    Registration.TYPE: (
        Registration,
        (
            *(HASH, HASH, Cell()),
            *(Integer(-90_000_000, 90_000_000), Integer(-180_000_000, 180_000_000)),
            *(U16, I16, I16, U16, Integer(0, 15), U32, Integer(1, MAX_CHAIN_LENGTH), HASH),
        ),
    ),
    Deposit.TYPE: (Deposit, (HASH, U64, Octets(0, 32), Many(U8, 1, 64, ascending=True))),
    EpochMessage.TYPE: (
        EpochMessage,
        (U32, U32, HASH, Octets(0, MAX_WIRE_BYTES, RECEPTION_BYTES), HASH),
    ),
    SessionOpen.TYPE: (SessionOpen, (U32, U32, U32, U64, U64, U64, U32)),
    SessionClaim.TYPE: (SessionClaim, (Many(ReceiptFields(), 1, 256),)),
    Appointment.TYPE: (
        Appointment,
        (Integer(1, 6), HASH, Text(64), U32, U32, U32, Many(U8, 1, 64, ascending=True)),
    ),
    Transfer.TYPE: (Transfer, (HASH, HASH, AMOUNT, U32, Text(64))),
    Withdrawal.TYPE: (Withdrawal, (HASH, AMOUNT, U32, Octets(0, 64))),
    Bond.TYPE: (Bond, (U32, AMOUNT, U32)),
    Retirement.TYPE: (Retirement, (U32, U32)),
    Bounty.TYPE: (
        Bounty,
        (HASH, Many(Cell(8, 8), 1, 256, ascending=True), AMOUNT, AMOUNT, U32, U32),
    ),
    MapperCommit.TYPE: (MapperCommit, (HASH, U32, HASH)),
    MapperReport.TYPE: (
        MapperReport,
        (HASH, U32, Cell(9, 9), Octets(16, 16), Octets(14, 256 * RECEPTION_BYTES, RECEPTION_BYTES)),
    ),
    Receipts.TYPE: (Receipts, (PACKED,)),
    RelayClaim.TYPE: (RelayClaim, (U32, U32, HASH, U64, Octets(1, MAX_CLAIM_BYTES))),
    LeafOpening.TYPE: (LeafOpening, (U32, Many(OpeningFields(), 1, 64))),
    Dispute.TYPE: (Dispute, (U32, U32)),
    Finding.TYPE: (
        Finding,
        (Integer(1, 4), U32, U32, Many(Octets(1, MAX_WIRE_BYTES), 2, 2), HASH),
    ),
    Cosignature.TYPE: (Cosignature, (U32, HASH, U64, SIGNATURE)),
    ValidatorFault.TYPE: (ValidatorFault, (Integer(1, 2), Octets(20, 20), U64, U64, U64)),
    Randomness.TYPE: (Randomness, (U32, HASH, Octets(PROOF_BYTES, PROOF_BYTES))),
    Hold.TYPE: (Hold, (U32, Text(32), I32, I32, U32, U32, HASH, U32, AUDITORS)),
    HoldRuling.TYPE: (HoldRuling, (U32, HASH, Integer(2, 4), HASH, AUDITORS)),
    HoldAppeal.TYPE: (HoldAppeal, (U32, HASH)),
    Activation.TYPE: (Activation, (U16, U32, Many(U8, 1, 64, ascending=True))),
    KeyRotation.TYPE: (
        KeyRotation,
        (U32, HASH, Integer(1, (1 << 32) - 1), Integer(1, MAX_CHAIN_LENGTH), HASH),
    ),
    KeyRotationObjection.TYPE: (KeyRotationObjection, (U32, HASH)),
}
NAMES = {kind: tuple(f.name for f in fields(cls)) for kind, (cls, _) in LAYOUT.items()}
RECEIPT_NAMES = tuple(field.name for field in fields(Receipt))
OPENING_NAMES = tuple(field.name for field in fields(Opening))


def _first_problem(
    layout: Sequence[Field], values: object, names: Sequence[str] = RECEIPT_NAMES
) -> str:
    """The first field that doesn't fit its layout, in words; empty if all do."""
    if not isinstance(values, tuple) or len(values) != len(layout):
        return f"fields: must be an array of {len(layout)}"
    for name, field, value in zip(names, layout, values, strict=True):
        if problem := field.problem(value):
            return f"{name}: {problem}"
    return ""


def receipt_fields(receipt: Receipt) -> tuple[cbor.Value, ...]:
    """The six fields of a receipt that both ends sign."""
    return (
        *(receipt.session, receipt.sequence, receipt.relayed_bytes),
        *(receipt.ai_tokens, receipt.ai_requests, receipt.previous),
    )


def receipt_body(receipt: Receipt) -> bytes:
    """CBOR of the six fields that both ends of a session sign."""
    return cbor.encode(receipt_fields(receipt))


def receipt_hash(receipt: Receipt) -> bytes:
    """What the next receipt of the session cites as `previous`."""
    return sha256(receipt_body(receipt)).digest()


def pack_reception(reception: Reception) -> bytes:
    """The 14 bytes of a reception; struct.error for a field out of its width."""
    return pack_reception_fields(
        reception.heard,
        reception.sequence,
        reception.flags,
        reception.rssi_cdbm,
        reception.frequency_mhz,
        reception.tag,
    )


def pack_reception_fields(
    heard: int, sequence: int, flags: int, rssi_cdbm: int, frequency_mhz: int, tag: bytes
) -> bytes:
    """`pack_reception` of bare fields, for hot loops."""
    return _RECEPTION.pack(heard, sequence, flags, rssi_cdbm, frequency_mhz, tag)


def unpack_receptions(report: bytes) -> list[Reception]:
    """The receptions of a report whose length is a multiple of 14 (struct.error otherwise)."""
    return [Reception(*values) for values in _RECEPTION.iter_unpack(report)]


def iter_receptions(report: bytes) -> Iterable[tuple[int, int, int, int, int, bytes]]:
    """Receptions as bare tuples, in the order of Reception's fields, for hot loops."""
    return cast("Iterable[tuple[int, int, int, int, int, bytes]]", _RECEPTION.iter_unpack(report))


def body_of(record: Record) -> bytes:
    """CBOR of a record's fields in order."""
    if isinstance(record, SessionClaim):
        return cbor.encode([[_all_receipt_fields(receipt) for receipt in record.receipts]])
    if isinstance(record, LeafOpening):
        openings = [(o.position, _all_receipt_fields(o.receipt), o.path) for o in record.openings]
        return cbor.encode([record.claim, openings])
    if isinstance(record, Genesis) and record.rules == 1:
        return cbor.encode([getattr(record, name) for name in NAMES[record.TYPE][:-1]])
    return cbor.encode([getattr(record, name) for name in NAMES[record.TYPE]])


def get_version(record: Record) -> int:
    """The version of a record's layout."""
    return RULES_VERSION if isinstance(record, Genesis) and record.rules > 1 else VERSION


def _all_receipt_fields(receipt: Receipt) -> tuple[cbor.Value, ...]:
    return (*receipt_fields(receipt), receipt.payer_signature, receipt.payee_signature)


def record_id_of(wire: bytes) -> bytes:
    """The RFC 6962 leaf hash of a wire, which names the record."""
    return sha256(b"\x00" + wire).digest()


def seal(record: Record, network_id: bytes, seeds: Sequence[bytes]) -> Signed:
    """Sign a record with these seeds, in the order of docs/records.md, column "signed by".

    A genesis takes network_id=b"" and no seeds. ValueError for a record that no ledger takes.
    """
    body = body_of(record)
    signatures = tuple(sign(seed, record.NAME, network_id, body) for seed in seeds)
    wire = cbor.encode((record.TYPE, get_version(record), body, signatures))
    checked = decode(wire)
    if isinstance(checked, Refusal):
        raise ValueError(checked.detail)
    return checked


def decode(wire: bytes) -> Signed | Refusal:
    """A wire's record, every field of the right type, width and range; or why not. Never raises."""
    if usual := read_epoch_wire(wire):
        message, body, signature = usual
        return Signed(message, body, (signature,), wire, record_id_of(wire))
    return _decode_any(wire)


def _decode_any(wire: bytes) -> Signed | Refusal:
    """`decode`, item by item."""
    if len(wire) > MAX_WIRE_BYTES:
        return _bad(f"wire: {len(wire)} bytes; at most {MAX_WIRE_BYTES} fit, split it")
    try:
        envelope = cbor.decode(wire)
        if problem := _first_problem(ENVELOPE, envelope, ENVELOPE_NAMES):
            return _bad(f"envelope {problem}")
        kind, version, body, signatures = cast(
            "tuple[int, int, bytes, tuple[bytes, ...]]", envelope
        )
        values = cbor.decode(body)
    except cbor.CborError as error:
        return _bad(f"wire: no canonical CBOR ({error}); encode it as docs/records.md says")
    if kind not in LAYOUT or version not in VERSIONS.get(kind, (VERSION,)):
        known = f"known are types 1 to {max(LAYOUT)}, version {VERSION}"
        return _bad(f"type {kind} version {version}: unknown; {known}")
    cls, layout = LAYOUT[kind]
    if kind == Genesis.TYPE and version == VERSION:
        layout = layout[:-1]
    names = NAMES[kind][: len(layout)]
    if problem := _first_problem(layout, values, names) or _beyond_fields(kind, values):
        return _bad(f"{cls.NAME} {problem}")
    return Signed(_build(kind, values), body, signatures, wire, record_id_of(wire))


REPORT_FIELD = {kind: names.index("report") for kind, names in NAMES.items() if "report" in names}
VERSIONS = {Genesis.TYPE: (VERSION, RULES_VERSION)}
ENVELOPE: tuple[Field, ...] = (U8, U8, Octets(0, MAX_WIRE_BYTES), Many(SIGNATURE, 0, 64))
ENVELOPE_NAMES = ("type", "version", "body", "signatures")


def _bad(detail: str) -> Refusal:
    return Refusal("bad_shape", detail)


def _beyond_fields(kind: int, values: Any) -> str:
    """What one field alone can't show."""
    if kind in REPORT_FIELD:
        is_fine = is_sorted(values[REPORT_FIELD[kind]])
        return "" if is_fine else "report: must be sorted ascending"
    if kind == Genesis.TYPE and values[4] > len(values[3]):
        return "threshold: must not exceed the number of operators"
    return ""


def _build(kind: int, values: Any) -> Record:
    if kind == SessionClaim.TYPE:
        return SessionClaim(tuple(Receipt(*receipt) for receipt in values[0]))
    if kind == LeafOpening.TYPE:
        openings = (Opening(at, Receipt(*receipt), path) for at, receipt, path in values[1])
        return LeafOpening(values[0], tuple(openings))
    if kind == Genesis.TYPE and len(values) < len(NAMES[kind]):
        values = (*values, 1)
    record: Record = LAYOUT[kind][0](*values)
    return record
