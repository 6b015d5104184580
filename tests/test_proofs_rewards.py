from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs_helpers import (
    COSIGNER_KEYS,
    TRUST,
    make_checkpoint,
    make_log,
    make_tree,
    opened,
)

from chain.proofs.balances import ACCOUNTS, HOTSPOTS, Entry
from chain.proofs.checkpoint import Opened
from chain.proofs.reward_proof import (
    RewardProof,
    Statement,
    decode_proof,
    encode_proof,
    make_proof,
    prove,
    verify_proof,
)
from chain.records import Refusal

TREE = make_tree(300, 1_000)
LOG = make_log([b"%d" % i for i in range(77)])
OPENED = opened(make_checkpoint(LOG, TREE.balances()), 4)
kinds = st.sampled_from((ACCOUNTS, HOTSPOTS))


def proof_of(kind: str, index: int, at: Opened = OPENED) -> RewardProof:
    proof = prove(TREE, kind, index, at)
    assert isinstance(proof, RewardProof), proof
    return proof


@given(kinds, st.integers(0, 299))
@settings(max_examples=60)
def test_a_proof_shows_what_its_leaf_says(kind: str, index: int) -> None:
    proof = proof_of(kind, index)
    raw = encode_proof(proof)
    assert decode_proof(raw) == proof
    shown = verify_proof(proof, TRUST)
    assert isinstance(shown, Statement), shown
    assert shown.entry.key == TREE.key(kind, index)
    assert shown.balances == TREE.balances()
    assert shown.opened.checkpoint == OPENED.checkpoint
    if kind == HOTSPOTS:
        assert shown.entry.issued_ucr == 999 * index**3
        assert shown.balance_ucr == 0
    else:
        assert shown.balance_ucr == 1_000_000 * index**2 + 3 - 7_919 * index


@given(kinds, st.integers(0, 299), st.data())
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_shows_anything_else(kind: str, index: int, data: st.DataObject) -> None:
    proof = proof_of(kind, index)
    raw = bytearray(encode_proof(proof))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    other = decode_proof(bytes(raw))
    if isinstance(other, Refusal):
        return
    shown = verify_proof(other, TRUST)
    if isinstance(shown, Statement):  # one cosignature of four may be spoilt, never the statement
        assert shown.entry == proof.entry
        assert shown.index == index
        assert shown.opened.checkpoint == OPENED.checkpoint
        assert len(shown.opened.cosignatures) == 3


@given(st.binary(max_size=400), st.integers(0, 900))
@settings(max_examples=200)
def test_no_bytes_break_the_decoder(noise: bytes, at: int) -> None:
    raw = encode_proof(proof_of(ACCOUNTS, 7))
    for candidate in (noise, raw[:at] + noise, raw[:at] + noise + raw[at + len(noise) :]):
        proof = decode_proof(candidate)
        if isinstance(proof, RewardProof):
            assert encode_proof(proof) == candidate
            verify_proof(proof, TRUST)


def test_nobody_can_claim_more_than_the_leaf() -> None:
    proof = proof_of(HOTSPOTS, 5)
    richer = Entry(proof.entry.key, proof.entry.issued_ucr + 1, proof.entry.spent_ucr + 1)
    for lie in (
        replace(proof, entry=richer),
        replace(proof, index=6),
        replace(proof, size=2 * proof.size),
        replace(proof, settlement=proof.settlement + 1),
        replace(proof, log_size=proof.log_size + 1),
        replace(proof, network=bytes(8)),
        replace(proof, path=proof.path[:-1]),
        replace(proof, others=(proof.others[1], proof.others[0])),
        replace(proof, kind=ACCOUNTS),
    ):
        assert isinstance(verify_proof(lie, TRUST), Refusal)


def test_too_few_cosigners_show_nothing() -> None:
    proof = proof_of(HOTSPOTS, 5)
    few = replace(proof, cosignatures=proof.cosignatures[:2])
    refusal = verify_proof(few, TRUST)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "too_few"
    twice = replace(proof, cosignatures=proof.cosignatures[:1] * 3)
    assert isinstance(verify_proof(twice, TRUST), Refusal)
    strangers = replace(TRUST, cosigners=COSIGNER_KEYS[3:])
    assert isinstance(verify_proof(proof, strangers), Refusal)


def test_a_proof_needs_the_checkpoint_of_its_tree() -> None:
    other = opened(make_checkpoint(LOG, make_tree(3, 3).balances()))
    assert isinstance(prove(TREE, HOTSPOTS, 5, other), Refusal)
    assert isinstance(prove(TREE, HOTSPOTS, 1_000, OPENED), Refusal)
    foreign = replace(OPENED, checkpoint=replace(OPENED.checkpoint, origin="other.example/log"))
    entry, path = Entry(TREE.key(HOTSPOTS, 5), 1, 1), TREE.path(HOTSPOTS, 5)
    assert isinstance(make_proof(HOTSPOTS, 5, entry, path, TREE.top(), foreign), Refusal)


def test_sums_beyond_64_bits_stay_exact() -> None:
    assert TREE.balances().issued_ucr > 1 << 64
    proof = proof_of(HOTSPOTS, 0)
    assert decode_proof(encode_proof(proof)) == proof


@pytest.mark.parametrize("cut", [0, 1, 2, 33, 100, -1])
def test_torn_proofs_are_refused(cut: int) -> None:
    raw = encode_proof(proof_of(HOTSPOTS, 1))
    assert isinstance(decode_proof(raw[:cut]), Refusal)
    assert isinstance(decode_proof(raw + b"\0"), Refusal)
