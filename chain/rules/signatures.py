"""Which signatures the rules will ask about, so that a batch can be verified ahead on all cores.

Nothing is decided here. What this file leaves out, or gets wrong because a record earlier in the
same batch changes the answer, the rules verify by themselves, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from chain import wire
from chain.packed import PackedError, receipt_body, unpack_receipts
from chain.records import (
    Activation,
    Appointment,
    Bond,
    Bounty,
    Deposit,
    Dispute,
    EpochMessage,
    Finding,
    Hold,
    HoldAppeal,
    HoldRuling,
    KeyRotation,
    KeyRotationObjection,
    LeafOpening,
    MapperCommit,
    MapperReport,
    Receipt,
    Receipts,
    Refusal,
    Registration,
    RelayClaim,
    Retirement,
    SessionClaim,
    SessionOpen,
    Signed,
    Transfer,
    Withdrawal,
)
from chain.rules.appointments import get_operator_keys
from chain.rules.claims import get_entries
from chain.rules.former_keys import get_grace_key, get_key_at
from chain.rules.rotations import OWNER_SIGNATURES
from chain.state import State

# (key, domain name, body, signature): what a rule hands to Verify, but for the network id.
Check = tuple[bytes, str, bytes, bytes]
Keys = Iterable[bytes | None]


def get_signature_checks(state: State, signed: Signed) -> list[Check]:
    """The signatures that the rules will verify for a record, as far as the state tells whose."""
    record = signed.record
    keys_of = _KEYS.get(type(record))
    keys = keys_of(state, record) if keys_of else ()
    if isinstance(record, KeyRotation) and len(signed.signatures) == OWNER_SIGNATURES:
        keys = list(keys)[1:]
    name, body = record.NAME, signed.body
    checks = [
        (key, name, body, signature)
        for key, signature in zip(keys, signed.signatures, strict=False)
        if key is not None
    ]
    checks.extend(_get_inner_checks(state, record))
    return checks


def _get_inner_checks(state: State, record: object) -> Iterator[Check]:
    """Signatures that a record carries inside its body."""
    if isinstance(record, SessionClaim):
        for receipt in record.receipts:
            yield from get_receipt_checks(state, receipt)
    elif isinstance(record, Receipts):
        with suppress(PackedError):
            for receipt in unpack_receipts(record.entries):
                yield from get_receipt_checks(state, receipt)
    elif isinstance(record, LeafOpening):
        for opening in record.openings:
            yield from get_receipt_checks(state, opening.receipt)
    elif isinstance(record, Finding):
        for evidence in record.evidence:
            inner = wire.decode(evidence)
            if not isinstance(inner, Refusal) and not isinstance(inner.record, Finding):
                yield from get_signature_checks(state, inner)


def get_receipt_checks(state: State, receipt: Receipt) -> Iterator[Check]:
    """Both signatures of a receipt, by former keys too; none if its session is not open."""
    session = state.sessions.get(receipt.session)
    if session is None:
        return
    body = receipt_body(receipt)
    ends = ((session.payer, receipt.payer_signature), (session.payee, receipt.payee_signature))
    for index, signature in ends:
        hotspot = state.hotspots[index]
        yield hotspot.key, receipt.NAME, body, signature
        former = get_grace_key(state, hotspot)
        if former is not None:
            yield former, receipt.NAME, body, signature


def _hotspot(state: State, index: int) -> bytes | None:
    return state.hotspots[index].key if index < len(state.hotspots) else None


def _hotspot_at(state: State, index: int, epoch: int) -> bytes | None:
    if index >= len(state.hotspots):
        return None
    return get_key_at(state, state.hotspots[index], epoch)


def _rotating(state: State, record: KeyRotation) -> Keys:
    """Old key, new key, owner; the old one signs nothing where it is lost."""
    return _hotspot(state, record.hotspot), record.new_key, _owner(state, record.hotspot)


def _owner(state: State, index: int) -> bytes | None:
    return state.hotspots[index].owner if index < len(state.hotspots) else None


def _operators(state: State, record: Deposit | Appointment | Activation) -> Keys:
    keys = get_operator_keys(state)
    return (keys[n] if n < len(keys) else None for n in record.operators)


def _registrants(state: State, record: Registration) -> Keys:
    """Hotspot, owner, and the owner before if there is one."""
    index = state.index_of.get(record.key)
    return (record.key, record.owner, None if index is None else _owner(state, index))


def _payer(state: State, record: Dispute) -> bytes | None:
    """The payer of the session in doubt."""
    claim = state.claims.get(record.claim)
    entries = get_entries(claim.entries) if claim else ()
    if record.position >= len(entries):
        return None
    return _hotspot(state, state.sessions[entries[record.position].session].payer)


_KEYS: dict[type, Callable[[State, Any], Keys]] = {
    Registration: _registrants,
    Deposit: _operators,
    Appointment: _operators,
    Activation: _operators,
    EpochMessage: lambda state, record: (_hotspot_at(state, record.hotspot, record.epoch),),
    SessionOpen: lambda state, record: (_hotspot(state, record.payer),),
    RelayClaim: lambda state, record: (_hotspot_at(state, record.relay, record.epoch),),
    Dispute: lambda state, record: (_payer(state, record),),
    Transfer: lambda _, record: (record.account,),
    Withdrawal: lambda _, record: (record.account,),
    Bond: lambda state, record: (_owner(state, record.hotspot),),
    Retirement: lambda state, record: (_owner(state, record.hotspot),),
    Bounty: lambda _, record: (record.sponsor,),
    MapperCommit: lambda _, record: (record.key,),
    MapperReport: lambda _, record: (record.key,),
    Finding: lambda _, record: (record.reporter,),
    Hold: lambda _, record: record.auditors,
    HoldRuling: lambda _, record: record.auditors,
    HoldAppeal: lambda state, record: (_owner(state, record.subject),),
    KeyRotation: _rotating,
    KeyRotationObjection: lambda state, record: (_hotspot(state, record.hotspot),),
}
