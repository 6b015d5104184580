"""Both ways to ask PyNaCl give one answer, and the documented one is there when the other isn't."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from chain_helpers import ground_truth
from hypothesis import given
from hypothesis import strategies as st

from chain import keys

SEED = b"s" * 32
KEY = keys.public_key(SEED)


def raises(error: type[Exception]) -> Callable[[], keys.Check]:
    def get() -> keys.Check:
        raise error("moved")

    return get


def calls_wrongly(signed: bytes, key: bytes) -> bool:
    raise TypeError("takes six arguments now")


@pytest.mark.parametrize(
    "get_direct",
    [
        *(raises(error) for error in (ImportError, AttributeError)),
        *(lambda c=check: c for check in (calls_wrongly, lambda *_: True, lambda *_: False)),
    ],
    ids=["module moved", "function moved", "other arguments", "always yes", "always no"],
)
def test_without_the_direct_check_the_documented_one_serves(get_direct: Any) -> None:
    assert keys.get_check(get_direct) is keys.check_by_bindings


def test_this_pynacl_has_the_direct_check() -> None:
    """If this fails, PyNaCl moved it: all still works, each signature costs 2 us more."""
    assert keys.get_check() is not keys.check_by_bindings


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_both_checks_agree_on_signatures_with_a_changed_byte(
    message: bytes, at: int, value: int
) -> None:
    signed = bytearray(keys.sign_message(SEED, message) + message)
    signed[at % len(signed)] = value
    raw = bytes(signed)
    expected = keys.sign_message(SEED, raw[64:]) == raw[:64]
    assert keys.check_by_bindings(raw, KEY) == keys.get_direct_check()(raw, KEY) == expected


def test_both_checks_agree_on_the_edge_cases() -> None:
    """Small orders, other encodings, mixed components: where libraries disagree."""
    cases = json.loads(ground_truth("chain", "cctv", "ed25519vectors.json").read_text())
    direct, answers = keys.get_direct_check(), []
    for case in cases:
        signed = bytes.fromhex(case["sig"]) + case["msg"].encode()
        key = bytes.fromhex(case["key"])
        answers.append(direct(signed, key))
        assert keys.check_by_bindings(signed, key) == answers[-1]
    assert (len(answers), sum(answers)) == (914, 43)


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"k"])
def test_a_key_of_another_length_signs_nothing(key: bytes) -> None:
    signature = keys.sign(SEED, "epoch", bytes(32), b"body")
    assert keys.verify(KEY, "epoch", bytes(32), b"body", signature)
    assert not keys.verify(key, "epoch", bytes(32), b"body", signature)
    assert not keys.verify_message(key, b"message", keys.sign_message(SEED, b"message"))
