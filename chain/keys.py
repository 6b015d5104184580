"""Ed25519 as PyNaCl accepts it, over domain-tagged messages (docs/records.md, Envelope).

Libraries disagree on edge cases of RFC 8032: the accept set of PyNaCl is the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

SEED_BYTES = 32
KEY_BYTES = 32
SIGNATURE_BYTES = 64
# Whether a signature, with the message after it, is a key's; both of the right length.
Check = Callable[[bytes, bytes], bool]


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
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return _check(b"".join((signature, _tag_line(name), network_id, body)), key)


def verify_message(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature holds for exactly these bytes; False for wrong lengths too."""
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return _check(signature + message, key)


def check_by_bindings(signed: bytes, key: bytes) -> bool:
    """The check that PyNaCl documents; it copies the message once more, which nobody asks for."""
    try:
        crypto_sign_open(signed, key)
    except BadSignatureError:
        return False
    return True


def get_direct_check() -> Check:
    """The function that `check_by_bindings` calls, without its copy; saves about 2 us.

    PyNaCl keeps it to itself: ImportError or AttributeError where a version has it elsewhere.
    """
    from nacl import _sodium

    opens, null = _sodium.lib.crypto_sign_open, _sodium.ffi.NULL

    def check(signed: bytes, key: bytes) -> bool:
        return bool(opens(null, null, signed, len(signed), key) == 0)

    return check


def get_check(get_direct: Callable[[], Check] = get_direct_check) -> Check:
    """The direct check if this PyNaCl has one that tells good from bad, else the documented one."""
    message, seed = b"wavecomb", sha256(b"wavecomb").digest()
    signed, key = crypto_sign(message, _keypair(seed)[1]), _keypair(seed)[0]
    try:
        check = get_direct()
        works = check(signed, key) and not check(signed[:-1] + b"x", key)
    except (ImportError, AttributeError, TypeError):
        works = False
    return check if works else check_by_bindings


_check = get_check()
