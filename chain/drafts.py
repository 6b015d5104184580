"""Records that several people must sign: a draft travels between them until it is complete.

A draft is JSON text: what is signed, for which network, by whom, and the signatures so far. Every
signer sees the record's fields, not just bytes, before adding a signature.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from chain import cbor, wire
from chain.keys import KEY_BYTES, SIGNATURE_BYTES, public_key, sign, verify
from chain.records import Record, Refusal, Signed

VERSION = 1


@dataclass(frozen=True, slots=True)
class Draft:
    """A record, its network, the keys that must sign it in order, and their signatures so far."""

    record: Record
    network_id: bytes
    signers: tuple[bytes, ...]
    signatures: tuple[bytes, ...]  # one per signer, empty where it is missing

    @property
    def body(self) -> bytes:
        """What is signed."""
        return wire.body_of(self.record)

    @property
    def missing(self) -> tuple[bytes, ...]:
        """Keys that have not signed yet."""
        pairs = zip(self.signers, self.signatures, strict=True)
        return tuple(key for key, signature in pairs if not signature)


def get_draft(record: Record, network_id: bytes, signers: tuple[bytes, ...]) -> Draft:
    """A draft that nobody signed yet."""
    return Draft(record, network_id, signers, tuple(b"" for _ in signers))


def add_signature(draft: Draft, seed: bytes) -> Draft | Refusal:
    """The draft with one more signature; refused if the key is not among its signers."""
    key = public_key(seed)
    if key not in draft.signers:
        detail = f"key: {key.hex()} is no signer of this draft; sign with one that it names"
        return Refusal("not_a_signer", detail)
    own = sign(seed, draft.record.NAME, draft.network_id, draft.body)
    pairs = zip(draft.signers, draft.signatures, strict=True)
    return replace(draft, signatures=tuple(own if k == key else s for k, s in pairs))


def get_signed(draft: Draft) -> Signed | Refusal:
    """The finished record; refused while signatures are missing."""
    if draft.missing:
        names = ", ".join(key.hex()[:16] for key in draft.missing)
        detail = f"signatures: {len(draft.missing)} missing; send the draft to {names}"
        return Refusal("incomplete", detail)
    return wire.decode(encode_wire(draft.record, draft.signatures))


def encode_wire(record: Record, signatures: tuple[bytes, ...]) -> bytes:
    """The envelope's bytes; nothing about them is checked."""
    return cbor.encode((record.TYPE, wire.get_version(record), wire.body_of(record), signatures))


def encode_draft(draft: Draft) -> str:
    """The draft as JSON text, with the record's fields readable beside its bytes."""
    value = {
        "wavecomb_draft": VERSION,
        "network_id": draft.network_id.hex(),
        "record": draft.record.NAME,
        "fields": get_fields(draft.record),
        "wire": encode_wire(draft.record, ()).hex(),
        "signers": [key.hex() for key in draft.signers],
        "signatures": [signature.hex() for signature in draft.signatures],
    }
    return json.dumps(value, indent=2) + "\n"


def get_fields(record: Record) -> dict[str, Any]:
    """A record's fields for people: bytes in hexadecimal."""
    return {name: _readable(getattr(record, name)) for name in wire.NAMES[record.TYPE]}


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [_readable(item) for item in value] if isinstance(value, tuple) else value


def parse_draft(text: str) -> Draft | Refusal:
    """A draft from its text, its signatures checked; refused if it contradicts itself."""
    try:
        value = json.loads(text)
        network_id = bytes.fromhex(value["network_id"])
        raw = bytes.fromhex(value["wire"])
        signers = tuple(bytes.fromhex(item) for item in value["signers"])
        signatures = tuple(bytes.fromhex(item) for item in value["signatures"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Refusal("bad_draft", "draft: no JSON of a draft; ask its author for it again")
    signed = wire.decode(raw)
    if isinstance(signed, Refusal):
        return signed
    if value.get("fields") != json.loads(json.dumps(get_fields(signed.record))):
        return Refusal("bad_draft", "fields: are not those of the wire; ask its author again")
    draft = Draft(signed.record, network_id, signers, signatures)
    return draft if (bad := _bad_signature(draft)) is None else bad


def _bad_signature(draft: Draft) -> Refusal | None:
    widths = {len(signature) for signature in draft.signatures} - {0, SIGNATURE_BYTES}
    if len(draft.signers) != len(draft.signatures) or widths or len(draft.network_id) != KEY_BYTES:
        return Refusal("bad_draft", "signatures: one or none per signer; ask its author again")
    for key, signature in zip(draft.signers, draft.signatures, strict=True):
        if signature and not verify(
            key, draft.record.NAME, draft.network_id, draft.body, signature
        ):
            detail = f"signatures: that of {key.hex()[:16]} does not hold; let them sign again"
            return Refusal("bad_signature", detail)
    return None
