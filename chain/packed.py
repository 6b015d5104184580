"""Receipts and claim entries as records carry them: varints and bare bytes, no heads between.

docs/records.md, types 15 and 16. A varint is LEB128 (seven bits a byte, the lowest first) in its
shortest form. These are the hottest loops of the ledger, hence the code without layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from chain.records import Receipt

U32_MAX, U64_MAX = (1 << 32) - 1, (1 << 64) - 1
HASH_BYTES, SIGNATURE_BYTES = 32, 64
_HEADS = tuple(bytes((n,)) for n in range(24))
_SIX_FIELDS = b"\x86"  # CBOR: an array of six
_HASH = b"\x58\x20"  # CBOR: a string of 32 bytes


class PackedError(ValueError):
    """The bytes are not the one packed form of any entries."""


class Entry(NamedTuple):
    """What one session added since it was claimed last, and the sequence of its newest receipt."""

    session: int
    sequence: int
    relayed_bytes: int
    ai_tokens: int
    ai_requests: int


# --- varints -----------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    """The shortest LEB128 form of an unsigned integer."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_five(data: bytes, at: int) -> tuple[list[int], int]:
    """Five varints from `at` on, and where they end; PackedError if one is cut or too long."""
    values: list[int] = []
    try:
        for _ in range(5):
            byte = data[at]
            at += 1
            if byte >= 0x80:
                value, shift = byte & 0x7F, 7
                while (byte := data[at]) >= 0x80:
                    value |= (byte & 0x7F) << shift
                    shift += 7
                    at += 1
                    if shift > 63:  # at once: 64 kB of it would cost as much as a batch
                        break
                if not byte or shift > 63:
                    raise PackedError("a varint is not in its shortest form, or beyond 64 bits")
                at += 1
                byte = value | byte << shift
            values.append(byte)
    except IndexError:
        raise PackedError("the last entry is cut short") from None
    return values, at


def _check(numbers: list[int], above: int) -> Entry:
    """Five numbers, each in its width, the session above the one before; else PackedError."""
    session, sequence, relayed, tokens, requests = numbers
    if session <= above:
        raise PackedError(f"session {session} does not follow {above}: sort, one entry each")
    if session > U32_MAX or sequence > U32_MAX or requests > U32_MAX:
        raise PackedError(f"session {session}: a session, sequence or count is beyond 32 bits")
    if relayed > U64_MAX or tokens > U64_MAX:
        raise PackedError(f"session {session}: bytes or tokens are beyond 64 bits")
    return Entry(session, sequence, relayed, tokens, requests)


# --- receipts (type 15) ------------------------------------------------------------------------


def pack_receipts(receipts: Iterable[Receipt]) -> bytes:
    """The entries of a receipts record, sorted by session."""
    parts: list[bytes] = []
    for r in sorted(receipts, key=lambda receipt: receipt.session):
        numbers = (r.session, r.sequence, r.relayed_bytes, r.ai_tokens, r.ai_requests)
        parts += map(varint, numbers)
        parts += (r.previous, r.payer_signature, r.payee_signature)
    return b"".join(parts)


def unpack_receipts(entries: bytes) -> list[Receipt]:
    """The receipts of a record, strictly ascending by session; PackedError for other bytes."""
    receipts: list[Receipt] = []
    at, above = 0, -1
    while at < len(entries):
        numbers, start = read_five(entries, at)
        entry = _check(numbers, above)
        at = start + HASH_BYTES + 2 * SIGNATURE_BYTES
        if at > len(entries):
            raise PackedError("the last entry is cut short")
        payer, payee = start + HASH_BYTES, at - SIGNATURE_BYTES
        receipts.append(
            Receipt(*entry, entries[start:payer], entries[payer:payee], entries[payee:at])
        )
        above = entry.session
    return receipts


# --- claim entries (type 16) -------------------------------------------------------------------


def pack_entries(entries: Iterable[Entry]) -> bytes:
    """The entries of a relay's claim, sorted by session; each session less the one before."""
    parts: list[bytes] = []
    before = 0
    for entry in sorted(entries):
        parts += map(varint, (entry.session - before, *entry[1:]))
        before = entry.session
    return b"".join(parts)


def unpack_entries(packed: bytes) -> list[Entry]:
    """The entries of a claim, strictly ascending by session; PackedError for other bytes."""
    entries: list[Entry] = []
    at, above = 0, -1
    while at < len(packed):
        numbers, at = read_five(packed, at)
        numbers[0] += max(above, 0)
        entries.append(_check(numbers, above))
        above = numbers[0]
    return entries


# --- what both ends of a session sign ----------------------------------------------------------


def _head(number: int) -> bytes:
    """CBOR of an unsigned integer up to 64 bits."""
    if number < 24:
        return _HEADS[number]
    if number < 0x100:
        return b"\x18" + number.to_bytes(1, "big")
    if number < 0x1_0000:
        return b"\x19" + number.to_bytes(2, "big")
    if number <= U32_MAX:
        return b"\x1a" + number.to_bytes(4, "big")
    return b"\x1b" + number.to_bytes(8, "big")


def receipt_body(r: Receipt) -> bytes:
    """`wire.receipt_body`, several times as fast: CBOR of the six fields that both ends sign.

    OverflowError for a field beyond 64 bits.
    """
    return b"".join(
        (
            *(_SIX_FIELDS, _head(r.session), _head(r.sequence), _head(r.relayed_bytes)),
            *(_head(r.ai_tokens), _head(r.ai_requests), _HASH, r.previous),
        )
    )


def receipt_hash(receipt: Receipt) -> bytes:
    """What the next receipt of the session cites, and the leaf of a claim holds."""
    return sha256(receipt_body(receipt)).digest()
