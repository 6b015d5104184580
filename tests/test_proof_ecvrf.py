"""The verifiable random function against RFC 9381's examples, and against forgers."""

from __future__ import annotations

import json
from hashlib import sha512

import pytest
from chain_helpers import ground_truth
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_add
from nacl.exceptions import CryptoError

from chain import ecvrf, keys

SEED = bytes(range(32))
KEY = keys.public_key(SEED)
ALPHA = b"checkpoint"
PROOF = ecvrf.compute_proof(SEED, ALPHA)
IDENTITY = (1).to_bytes(32, "little")
# y = 0: a point of order 4; and the first point of order 8 in the papers.
SMALL_ORDER = [
    IDENTITY,
    bytes(32),
    (ecvrf.FIELD - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
]


def test_the_examples_of_the_rfc() -> None:
    """Examples 16 to 18: the curve's point, the proof and the output, byte for byte."""
    path = ground_truth("chain", "ecvrf", "rfc9381_b3_edwards25519_sha512_tai.json")
    vectors = json.loads(path.read_text())["vectors"]
    assert len(vectors) == 3
    for vector in vectors:
        seed, key, alpha, point, proof, output = (
            bytes.fromhex(vector[name]) for name in ("sk", "pk", "alpha", "H", "pi", "beta")
        )
        assert ecvrf.compute_curve_point(key, alpha) == point
        assert ecvrf.compute_proof(seed, alpha) == proof
        assert ecvrf.verify_proof(key, alpha, proof) == ecvrf.compute_output(proof) == output


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80))
def test_every_key_proves_every_input(seed: bytes, alpha: bytes) -> None:
    """What a key proves holds under its own Ed25519 key, for this input alone."""
    key, proof = keys.public_key(seed), ecvrf.compute_proof(seed, alpha)
    assert ecvrf.verify_proof(key, alpha, proof) == ecvrf.compute_output(proof)
    assert ecvrf.verify_proof(key, alpha + b"\0", proof) is None
    assert ecvrf.verify_proof(KEY, alpha, proof) is None or key == KEY


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 8 * ecvrf.PROOF_BYTES - 1))
def test_no_bit_of_a_proof_may_change(bit: int) -> None:
    """A proof is not malleable: any flipped bit is refused, and nothing raises."""
    changed = (int.from_bytes(PROOF, "big") ^ 1 << bit).to_bytes(ecvrf.PROOF_BYTES, "big")
    assert ecvrf.verify_proof(KEY, ALPHA, changed) is None


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100), st.binary(max_size=40))
def test_junk_is_refused_without_raising(proof: bytes, key: bytes) -> None:
    """Bytes of any length."""
    assert ecvrf.verify_proof(KEY, ALPHA, proof) is None
    assert ecvrf.verify_proof(key, ALPHA, PROOF) is None


def test_a_scalar_has_one_form() -> None:
    """s plus the group's order answers the same challenge, and is refused."""
    scalar = int.from_bytes(PROOF[48:], "little") + ecvrf.ORDER
    assert scalar < 1 << 256
    assert ecvrf.verify_proof(KEY, ALPHA, PROOF[:48] + scalar.to_bytes(32, "little")) is None


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:8])
def test_keys_and_points_of_small_order_are_refused(point: bytes) -> None:
    """Their multiples are few: whoever holds such a key could choose its output."""
    assert ecvrf.verify_proof(point, ALPHA, PROOF) is None
    assert ecvrf.verify_proof(KEY, ALPHA, point + PROOF[32:]) is None


@pytest.mark.parametrize("point", SMALL_ORDER[1:], ids=lambda point: point.hex()[:8])
def test_a_torsion_part_of_gamma_is_refused(point: bytes) -> None:
    """Gamma plus a point of small order has the same output: the proof isn't taken."""
    gamma = crypto_core_ed25519_add(PROOF[:32], point)
    assert gamma != PROOF[:32]
    assert ecvrf.compute_output(gamma + PROOF[32:]) == ecvrf.compute_output(PROOF)
    assert ecvrf.verify_proof(KEY, ALPHA, gamma + PROOF[32:]) is None


@pytest.mark.parametrize("height", [ecvrf.FIELD, ecvrf.FIELD + 1, (1 << 255) - 1])
def test_heights_beyond_the_field_are_no_points(height: int) -> None:
    """libsodium's additions would take them; RFC 8032 doesn't."""
    raw = height.to_bytes(32, "little")
    assert not ecvrf.is_canonical_point(raw)
    assert ecvrf.verify_proof(KEY, ALPHA, raw + PROOF[32:]) is None
    assert ecvrf.verify_proof(raw, ALPHA, PROOF) is None
    with pytest.raises(ValueError, match="verify it first"):
        ecvrf.compute_output(raw + PROOF[32:])


def test_zero_has_no_sign() -> None:
    """x = 0 with the sign bit set is no encoding."""
    for height in (1, ecvrf.FIELD - 1):
        assert ecvrf.is_canonical_point(height.to_bytes(32, "little"))
        assert not ecvrf.is_canonical_point((height | ecvrf.SIGN_BIT).to_bytes(32, "little"))


def test_the_curve_is_met_after_some_attempts() -> None:
    """Half of all candidates are no points: some inputs need more than one, and get another."""
    firsts = [sha512(b"\x03\x01" + KEY + b"%d" % n + b"\0\0").digest()[:32] for n in range(16)]
    points = [ecvrf.compute_curve_point(KEY, b"%d" % n) for n in range(16)]
    assert len(set(points)) == 16
    on_curve = 0
    for first, point in zip(firsts, points, strict=True):
        try:
            assert ecvrf.compute_times_cofactor(first) == point
            on_curve += 1
        except CryptoError:
            continue
    assert 0 < on_curve < 16
