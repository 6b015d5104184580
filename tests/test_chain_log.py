from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.proofs.log import (
    EMPTY_ROOT,
    CompactRange,
    MerkleLog,
    ProofError,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

from .chain_helpers import ground_truth

leaves = st.lists(st.binary(max_size=4), max_size=70)


def naive_root(records: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written."""
    if not records:
        return EMPTY_ROOT
    if len(records) == 1:
        return leaf_hash(records[0])
    split = 1
    while split * 2 < len(records):
        split *= 2
    return node_hash(naive_root(records[:split]), naive_root(records[split:]))


def build(records: list[bytes]) -> MerkleLog:
    log = MerkleLog()
    for record in records:
        log.append(leaf_hash(record))
    return log


@given(leaves)
def test_roots_are_those_of_the_rfc(records: list[bytes]) -> None:
    edge = CompactRange()
    for record in records:
        edge.append(leaf_hash(record))
    assert edge.root() == build(records).root() == naive_root(records)


@settings(max_examples=40)
@given(leaves.filter(bool), st.data())
def test_inclusion_is_shown_for_every_leaf_and_for_nothing_else(
    records: list[bytes], data: st.DataObject
) -> None:
    log = build(records)
    size = data.draw(st.integers(1, len(records)))
    for index in range(size):
        proof = log.inclusion_proof(index, size)
        verify_inclusion(index, size, leaf_hash(records[index]), proof, log.root(size))
        with pytest.raises(ProofError):
            verify_inclusion(index, size, leaf_hash(b"other"), proof, log.root(size))
        with pytest.raises(ProofError):
            verify_inclusion(
                index, size, leaf_hash(records[index]), [*proof, EMPTY_ROOT], log.root(size)
            )


@settings(max_examples=40)
@given(leaves.filter(bool), st.data())
def test_consistency_is_shown_between_all_sizes(records: list[bytes], data: st.DataObject) -> None:
    log, new = build(records), data.draw(st.integers(1, len(records)))
    for old in range(1, new + 1):
        proof = log.consistency_proof(old, new)
        verify_consistency(old, new, log.root(old), log.root(new), proof)
        with pytest.raises(ProofError):
            verify_consistency(old, new, EMPTY_ROOT, log.root(new), proof)


def vectors(kind: str) -> list[dict[str, Any]]:
    folder: Path = ground_truth("chain", "merkle", "testdata", kind)
    found = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]
    assert len(found) == 98
    return found


def raw(text: str | None) -> bytes:
    return b64decode(text or "")


def test_transparency_dev_inclusion_vectors() -> None:
    for case in vectors("inclusion"):
        proof = [raw(node) for node in case["proof"] or []]
        arguments = (
            case["leafIdx"],
            case["treeSize"],
            raw(case["leafHash"]),
            proof,
            raw(case["root"]),
        )
        if case["wantErr"]:
            with pytest.raises(ProofError):
                verify_inclusion(*arguments)
        else:
            verify_inclusion(*arguments)


def test_transparency_dev_consistency_vectors() -> None:
    for case in vectors("consistency"):
        proof = [raw(node) for node in case["proof"] or []]
        arguments = (case["size1"], case["size2"], raw(case["root1"]), raw(case["root2"]), proof)
        if case["wantErr"]:
            with pytest.raises(ProofError):
                verify_consistency(*arguments)
        else:
            verify_consistency(*arguments)


def test_proofs_of_what_is_not_there_are_refused() -> None:
    log = build([b"a", b"b"])
    with pytest.raises(IndexError):
        log.inclusion_proof(2)
    with pytest.raises(IndexError):
        log.consistency_proof(0)
    with pytest.raises(IndexError):
        log.root(3)
