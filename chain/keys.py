"""Ed25519 as PyNaCl accepts it, over domain-tagged messages (docs/records.md, Envelope).

Libraries disagree on edge cases of RFC 8032: the accept set of PyNaCl is the rule.
"""

from __future__ import annotations

from functools import lru_cache

from nacl import _sodium
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

_OPEN, _NULL = _sodium.lib.crypto_sign_open, _sodium.ffi.NULL
SEED_BYTES = 32
KEY_BYTES = 32
SIGNATURE_BYTES = 64


# A simulated network of 10,000 hotspots and their owners signs in turns: with fewer, all miss.
@lru_cache(maxsize=32_768)
def _keypair(seed: bytes) -> tuple[bytes, bytes]:
    return crypto_sign_seed_keypair(seed)


def public_key(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed; ValueError for another length."""
    return _keypair(seed)[0]


@lru_cache(maxsize=64)
def _tag_line(name: str) -> bytes:
    return b"wavecomb:" + name.encode() + b":v1\n"


def signed_message(name: str, network_id: bytes, body: bytes) -> bytes:
    """What is really signed: the domain tag's line, the network id, the body."""
    return _tag_line(name) + network_id + body


def sign(seed: bytes, name: str, network_id: bytes, body: bytes) -> bytes:
    """The 64-byte signature of a body under a domain tag."""
    return sign_message(seed, signed_message(name, network_id, body))


def sign_message(seed: bytes, message: bytes) -> bytes:
    """The 64-byte signature of exactly these bytes, for formats that have their own domain tag."""
    return crypto_sign(message, _keypair(seed)[1])[:SIGNATURE_BYTES]


def verify(key: bytes, name: str, network_id: bytes, body: bytes, signature: bytes) -> bool:
    """Whether the signature holds; False for wrong lengths too."""
    return _opens(key, signature, b"".join((signature, _tag_line(name), network_id, body)))


def verify_message(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature holds for exactly these bytes; False for wrong lengths too."""
    return _opens(key, signature, signature + message)


def _opens(key: bytes, signature: bytes, signed: bytes) -> bool:
    """`nacl.bindings.crypto_sign_open` without a copy of the message, which nobody asks for."""
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return bool(_OPEN(_NULL, _NULL, signed, len(signed), key) == 0)
