"""What two pieces of evidence would prove: the kind of a finding, and whom and when it is about.

Only their form is read here; whether they are proof the rules decide (chain/rules/findings.py).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from chain import wire
from chain.admission import Offence
from chain.beacon_payload import PAYLOAD_BYTES, parse_beacon_payload
from chain.proofs.note import parse_note
from chain.records import EpochMessage, Refusal, RelayClaim


@dataclass(frozen=True, slots=True)
class Charge:
    """Kind, epoch, and the hotspot by index, or by key where the evidence names only that."""

    kind: Offence
    epoch: int
    subject: int | None
    key: bytes | None = None


def read_piece(data: bytes) -> bytes:
    """A piece as it was signed; files may hold it in hexadecimal or base64 too."""
    text = data.strip()
    for decode in (binascii.unhexlify, lambda raw: base64.b64decode(raw, validate=True)):
        try:
            decoded = decode(text)
        except (binascii.Error, ValueError):
            continue
        if not isinstance(get_charge(decoded), Refusal):
            return decoded
    return data


def get_charge(piece: bytes) -> Charge | Refusal:
    """What a piece is about; refused if it can't be half of any proof."""
    if len(piece) == PAYLOAD_BYTES:
        payload = parse_beacon_payload(piece)
        if not isinstance(payload, Refusal):
            return Charge(Offence.BEACON_FORK, payload.epoch, None, payload.key)
    if not isinstance(parse_note(piece), Refusal):
        return Charge(Offence.LOG_FORK, 0, 0)
    signed = wire.decode(piece)
    match None if isinstance(signed, Refusal) else signed.record:
        case EpochMessage() as message:
            return Charge(Offence.EPOCH_FORK, message.epoch, message.hotspot)
        case RelayClaim() as claim:
            return Charge(Offence.CLAIM_FORK, claim.epoch, claim.relay)
    return Refusal(
        "bad_evidence",
        "evidence: neither an epoch message, a relay-claim, a beacon's payload nor a signed note;"
        " give what the key signed",
    )


def get_common_charge(pieces: tuple[bytes, bytes]) -> Charge | Refusal:
    """What both pieces are about; refused if that isn't one thing."""
    first, second = (get_charge(piece) for piece in pieces)
    if isinstance(first, Refusal):
        return first
    if isinstance(second, Refusal):
        return second
    if first != second:
        return Refusal("other_evidence", "evidence: the pieces are about two things; give a pair")
    if pieces[0] == pieces[1]:
        return Refusal("same_evidence", "evidence: both pieces are the same; give two")
    return first
