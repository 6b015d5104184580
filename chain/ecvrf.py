"""ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381, 5.5), on the group operations of libsodium.

A key's output for an input is one number that nobody else can foresee, that its holder can't
choose, and that anybody can check: what removes the last revealer's choice (chain/draws.py).

Proofs accepted here are a subset of the RFC's: Gamma must lie in the main subgroup, as that of
every honest prover does, since libsodium multiplies no other point. The output of a key and an
input is unique either way.
"""

from __future__ import annotations

from hashlib import sha512

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_is_valid_point,
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_core_ed25519_sub,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_scalarmult_ed25519_noclamp,
)
from nacl.exceptions import CryptoError

POINT_BYTES, CHALLENGE_BYTES, SCALAR_BYTES = 32, 16, 32
PROOF_BYTES = POINT_BYTES + CHALLENGE_BYTES + SCALAR_BYTES
OUTPUT_BYTES = 64
SUITE = b"\x03"
ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
SIGN_BIT = 1 << 255
# Half of all strings are points: to find none among 256 has a chance of 2^-256.
ATTEMPTS = 256


def is_canonical_point(point: bytes) -> bool:
    """Whether 32 bytes encode a point in the one way of RFC 8032, 5.1.3, as far as form goes."""
    number = int.from_bytes(point, "little")
    height = number & SIGN_BIT - 1
    has_no_width = height in (1, FIELD - 1)  # x = 0 has no negative
    return height < FIELD and not (has_no_width and number & SIGN_BIT)


def compute_times_cofactor(point: bytes) -> bytes:
    """8 P; CryptoError (a RuntimeError of PyNaCl) if the bytes are no point of the curve."""
    for _ in range(3):
        point = crypto_core_ed25519_add(point, point)
    return point


def compute_curve_point(key: bytes, alpha: bytes) -> bytes:
    """A point of the main subgroup for a key and an input, by try and increment (5.4.1.1)."""
    for counter in range(ATTEMPTS):
        text = b"".join((SUITE, b"\x01", key, alpha, bytes((counter,)), b"\x00"))
        candidate = sha512(text).digest()[:POINT_BYTES]
        if not is_canonical_point(candidate):
            continue
        try:
            return compute_times_cofactor(candidate)
        except CryptoError:
            continue
    raise ValueError("alpha: leads to no point; choose another")


def compute_challenge(*points: bytes) -> bytes:
    """The 16 bytes that bind Y, H, Gamma, U and V together (5.4.3)."""
    return sha512(b"".join((SUITE, b"\x02", *points, b"\x00"))).digest()[:CHALLENGE_BYTES]


def compute_proof(seed: bytes, alpha: bytes) -> bytes:
    """The 80-byte proof of an Ed25519 seed over an input; the same one every time (5.1)."""
    hashed = sha512(seed).digest()
    clamped = int.from_bytes(hashed[:32], "little") & (1 << 254) - 8 | 1 << 254
    secret = crypto_core_ed25519_scalar_reduce(clamped.to_bytes(64, "little"))
    key = crypto_scalarmult_ed25519_base_noclamp(secret)
    base = compute_curve_point(key, alpha)
    gamma = crypto_scalarmult_ed25519_noclamp(secret, base)
    nonce = crypto_core_ed25519_scalar_reduce(sha512(hashed[32:] + base).digest())
    announced = (
        crypto_scalarmult_ed25519_base_noclamp(nonce),
        crypto_scalarmult_ed25519_noclamp(nonce, base),
    )
    challenge = compute_challenge(key, base, gamma, *announced)
    answer = crypto_core_ed25519_scalar_mul(challenge.ljust(SCALAR_BYTES, b"\0"), secret)
    return gamma + challenge + crypto_core_ed25519_scalar_add(nonce, answer)


def compute_output(proof: bytes) -> bytes:
    """The 64 bytes that a proof stands for (5.2); check it first. ValueError for what is none."""
    if len(proof) != PROOF_BYTES or not is_canonical_point(proof[:POINT_BYTES]):
        raise ValueError("proof: not 80 bytes that begin with a point; verify it first")
    try:
        point = compute_times_cofactor(proof[:POINT_BYTES])
    except CryptoError:
        raise ValueError("proof: begins with no point of the curve; verify it first") from None
    return sha512(SUITE + b"\x03" + point + b"\x00").digest()


def verify_proof(key: bytes, alpha: bytes, proof: bytes) -> bytes | None:
    """The output of a key for an input, if the proof holds (5.3); None otherwise. Never raises."""
    if len(key) != POINT_BYTES or len(proof) != PROOF_BYTES:
        return None
    gamma, challenge, scalar = proof[:32], proof[32:48], proof[48:]
    if int.from_bytes(scalar, "little") >= ORDER:
        return None
    if not crypto_core_ed25519_is_valid_point(key) or not is_canonical_point(gamma):
        return None
    try:
        expected = _compute_expected(key, alpha, gamma, challenge, scalar)
    except (CryptoError, ValueError):
        return None
    return compute_output(proof) if expected == challenge else None


def _compute_expected(
    key: bytes, alpha: bytes, gamma: bytes, challenge: bytes, scalar: bytes
) -> bytes:
    """The challenge that the scalars of a proof lead to; CryptoError where there is no such."""
    base = compute_curve_point(key, alpha)
    c, multiply = challenge.ljust(SCALAR_BYTES, b"\0"), crypto_scalarmult_ed25519_noclamp
    u = crypto_core_ed25519_sub(
        crypto_scalarmult_ed25519_base_noclamp(scalar), multiply(c, key)
    )
    v = crypto_core_ed25519_sub(multiply(scalar, base), multiply(c, gamma))
    return compute_challenge(key, base, gamma, u, v)
