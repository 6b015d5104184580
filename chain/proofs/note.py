"""Signed notes (c2sp.org/signed-note) with Ed25519, and cosignatures (c2sp.org/tlog-cosignature).

A note is text, a blank line, then a line per signature: em dash, key name, base64 of a 4-byte id
and the signature. Two types are used: 0x01 signs the text itself; 0x04 signs "cosignature/v1", the
time and the text, and its signature begins with that time as u64 seconds. Other types are kept and
never counted. Witnesses add a line of type 0xff, their random output (docs/records.md, type 22).
Nothing here raises on what others wrote: a Refusal says what is wrong with it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from chain.draws import randomness_input
from chain.ecvrf import compute_proof
from chain.keys import KEY_BYTES, SIGNATURE_BYTES, public_key, sign_message, verify_message
from chain.records import Refusal

ED25519, COSIGNATURE = 0x01, 0x04
# A type of one's own (c2sp.org/signed-note): 0xff, then what it is called.
RANDOMNESS = b"\xffwavecomb-ecvrf"
KEY_ID_BYTES = 4
TIMESTAMP_BYTES = 8
# A checkpoint and 100 cosignatures are 15 kB; the specification asks for 16 signatures at least.
MAX_NOTE_BYTES = 65_536
MAX_SIGNATURES = 100
DASH = "\N{EM DASH} "
_BLOB_BYTES = {ED25519: SIGNATURE_BYTES, COSIGNATURE: TIMESTAMP_BYTES + SIGNATURE_BYTES}


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key that a reader trusts: its name, signature type and 32 bytes."""

    name: str
    kind: int
    key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that its signatures begin with."""
        named = self.name.encode() + b"\n" + bytes((self.kind,)) + self.key
        return sha256(named).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes((self.kind,)) + self.key)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: whose, and what follows the key id."""

    name: str
    key_id: bytes
    blob: bytes

    def __str__(self) -> str:
        return f"{DASH}{self.name} {encode_base64(self.key_id + self.blob)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """Text that ends in a newline, and its signatures, none of them checked yet."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note as it is stored and sent."""
        return (self.text + "\n" + "".join(map(str, self.signatures))).encode()


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds; `time_s` is when a cosigner made it, 0 for other types."""

    key: VerifierKey
    signature: Signature
    time_s: int


def encode_base64(raw: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return b64encode(raw).decode()


def decode_base64(text: str) -> bytes | None:
    """Bytes of canonical base64; None for anything else, so that a note has one form."""
    try:
        raw = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return raw if encode_base64(raw) == text else None


def is_key_name(name: str) -> bool:
    """Whether a key may be called that: not empty, no spaces, no plus, nothing that can't print."""
    return bool(name) and not any(c.isspace() or c == "+" or c < " " for c in name)


def parse_verifier_key(text: str) -> VerifierKey | Refusal:
    """A key from `<name>+<key id in hex>+<base64 of type and key>`."""
    name, _, rest = text.partition("+")
    identity, _, coded = rest.partition("+")
    raw = decode_base64(coded)
    if not is_key_name(name) or raw is None:
        return Refusal("bad_vkey", "vkey: no <name>+<id>+<base64>; copy the whole line")
    if raw[:1] not in (b"\x01", b"\x04") or len(raw) != 1 + KEY_BYTES:
        return Refusal("bad_vkey", "vkey: its type is unknown; take an Ed25519 key, 0x01 or 0x04")
    key = VerifierKey(name, raw[0], raw[1:])
    if identity != key.key_id.hex():
        return Refusal("bad_vkey", f"vkey: {name} has another key id; copy the whole line again")
    return key


def parse_note(raw: bytes) -> Note | Refusal:
    """A note from its bytes; nothing in it is checked yet but its form."""
    if len(raw) > MAX_NOTE_BYTES:
        return Refusal("bad_note", f"note: over {MAX_NOTE_BYTES} bytes; ask its author for less")
    try:
        whole = raw.decode()
    except UnicodeDecodeError:
        return Refusal("bad_note", "note: not UTF-8; fetch it again")
    if any(c < " " and c != "\n" for c in whole):
        return Refusal("bad_note", "note: holds control characters; fetch it again")
    split = whole.rfind("\n\n")
    if split < 0 or not whole.endswith("\n"):
        return Refusal("bad_note", "note: no signatures after an empty line; fetch it again")
    lines = whole[split + 2 : -1].split("\n") if split + 2 < len(whole) else []
    if not 0 < len(lines) <= MAX_SIGNATURES:
        return Refusal("bad_note", f"note: {len(lines)} signatures; 1 to {MAX_SIGNATURES} are read")
    signatures = tuple(signature for line in lines if (signature := parse_signature(line)))
    if len(signatures) != len(lines):
        return Refusal("bad_note", "note: a signature line is malformed; fetch it again")
    return Note(whole[: split + 1], signatures)


def parse_signature(line: str) -> Signature | None:
    """A signature line without its newline; None for anything else."""
    name, _, coded = line.removeprefix(DASH).partition(" ")
    raw = decode_base64(coded)
    fits = raw is not None and len(raw) > KEY_ID_BYTES
    if not line.startswith(DASH) or not is_key_name(name) or raw is None or not fits:
        return None
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def verify_note(note: Note, keys: Sequence[VerifierKey]) -> tuple[Verified, ...] | Refusal:
    """The signatures by known keys, one per key, in the order of the keys.

    Refused if a known key's signature does not hold, or if no known key signed.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[VerifierKey, Verified] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not is_signature_of(key, note.text, signature.blob):
            return Refusal("bad_signature", f"note: the signature of {key.name} does not hold")
        found.setdefault(key, Verified(key, signature, _time_of(key, signature.blob)))
    if not found:
        return Refusal("not_signed", "note: no known key signed it; check the trusted keys")
    return tuple(found[key] for key in dict.fromkeys(keys) if key in found)


def is_signature_of(key: VerifierKey, text: str, blob: bytes) -> bool:
    """Whether what follows the key id is this key's signature of a note text."""
    if len(blob) != _BLOB_BYTES.get(key.kind):
        return False
    time_s = _time_of(key, blob)
    message = text if key.kind == ED25519 else cosigned_message(text, time_s)
    return time_s < 1 << 63 and verify_message(key.key, message.encode(), blob[-SIGNATURE_BYTES:])


def _time_of(key: VerifierKey, blob: bytes) -> int:
    return int.from_bytes(blob[:TIMESTAMP_BYTES], "big") if key.kind == COSIGNATURE else 0


def cosigned_message(text: str, time_s: int) -> str:
    """What a cosigner signs: its header, the time, the whole note text."""
    return f"cosignature/v1\ntime {time_s}\n{text}"


def sign_note(text: str, name: str, seed: bytes) -> Signature:
    """A 0x01 signature of a note text; ValueError for a text that no note can have."""
    key = VerifierKey(name, ED25519, public_key(seed))
    return Signature(name, key.key_id, sign_message(seed, _checked(text, name).encode()))


def cosign_note(text: str, name: str, seed: bytes, time_s: int) -> Signature:
    """A 0x04 cosignature of a checkpoint's text at a POSIX time; ValueError as `sign_note`."""
    key = VerifierKey(name, COSIGNATURE, public_key(seed))
    message = cosigned_message(_checked(text, name), time_s)
    blob = time_s.to_bytes(TIMESTAMP_BYTES, "big") + sign_message(seed, message.encode())
    return Signature(name, key.key_id, blob)


def randomness_key_id(name: str, key: bytes) -> bytes:
    """The 4 bytes that a cosigner's line with its random output begins with."""
    return sha256(name.encode() + b"\n" + RANDOMNESS + key).digest()[:KEY_ID_BYTES]


def randomness_line(text: str, name: str, seed: bytes) -> Signature:
    """A line with the proof of a key's random output over a checkpoint's text."""
    proof = compute_proof(seed, randomness_input(text))
    return Signature(name, randomness_key_id(name, public_key(seed)), proof)


def _checked(text: str, name: str) -> str:
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text):
        raise ValueError("a note's text ends in a newline and holds no control characters")
    if not is_key_name(name):
        raise ValueError("a key name is not empty and holds neither spaces nor plus")
    return text
