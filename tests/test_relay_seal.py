"""Sealed requests: only the two ends read them; any change, cut or repeat is refused by name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from chain.records import Refusal
from hotspot.overlay.seal import (
    BUCKETS,
    Hello,
    Opener,
    Sealer,
    SealKeys,
    SeenRequests,
    consumer_keys,
    provider_keys,
    unpack_hello,
)

REQUEST = b"r" * 16


def both_ends(entropy: bytes = b"e" * 32, seed: bytes = b"p" * 32) -> tuple[SealKeys, SealKeys]:
    made = consumer_keys(entropy, bytes(SigningKey(seed).verify_key))
    assert not isinstance(made, Refusal)
    ephemeral, ours = made
    theirs = provider_keys(seed, ephemeral)
    assert not isinstance(theirs, Refusal)
    return ours, theirs


def reason(value: object) -> str:
    assert isinstance(value, Refusal)
    return value.reason


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=40_000), max_size=5), st.integers(1, 5_000))
def test_what_goes_in_comes_out_however_it_is_cut(messages: list[bytes], step: int) -> None:
    ours, theirs = both_ends()
    sealer, opener = Sealer(ours.send, REQUEST), Opener(theirs.receive, REQUEST)
    wire = b"".join(sealer.seal(m) for m in messages) + sealer.seal(b"", final=True)
    got = bytearray()
    for at in range(0, len(wire), step):
        chunks = opener.feed(wire[at : at + step])
        assert not isinstance(chunks, Refusal)
        got += b"".join(chunks)
    assert bytes(got) == b"".join(messages)
    assert opener.close() is None


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_one_changed_bit_is_refused(position: int, bit: int) -> None:
    ours, theirs = both_ends()
    wire = bytearray(Sealer(ours.send, REQUEST).seal(b"the price of tea", final=True))
    wire[position % len(wire)] ^= 1 << bit
    opener = Opener(theirs.receive, REQUEST)
    opened = opener.feed(bytes(wire))
    assert isinstance(opened, Refusal) or opened == []
    assert opener.close() is not None


def test_truncation_is_seen() -> None:
    ours, theirs = both_ends()
    sealer, opener = Sealer(ours.send, REQUEST), Opener(theirs.receive, REQUEST)
    assert opener.feed(sealer.seal(b"first half")) == [b"first half"]
    assert reason(opener.close()) == "truncated"


def test_reordered_and_repeated_chunks_are_refused() -> None:
    ours, theirs = both_ends()
    sealer = Sealer(ours.send, REQUEST)
    one, two = sealer.seal(b"one"), sealer.seal(b"two")
    assert reason(Opener(theirs.receive, REQUEST).feed(two + one)) == "tampered"
    assert reason(Opener(theirs.receive, REQUEST).feed(one + one)) == "tampered"


def test_bytes_after_the_final_chunk_are_refused() -> None:
    ours, theirs = both_ends()
    sealer, opener = Sealer(ours.send, REQUEST), Opener(theirs.receive, REQUEST)
    assert reason(opener.feed(sealer.seal(b"end", final=True) + b"more")) == "after_final"


def test_a_chunk_of_one_request_does_not_open_in_another() -> None:
    ours, theirs = both_ends()
    wire = Sealer(ours.send, REQUEST).seal(b"secret", final=True)
    assert reason(Opener(theirs.receive, b"s" * 16).feed(wire)) == "tampered"


def test_another_provider_reads_nothing() -> None:
    ours, _ = both_ends()
    made = consumer_keys(b"e" * 32, bytes(SigningKey(b"p" * 32).verify_key))
    assert not isinstance(made, Refusal)
    wrong = provider_keys(b"q" * 32, made[0])
    assert not isinstance(wrong, Refusal)
    wire = Sealer(ours.send, REQUEST).seal(b"secret", final=True)
    assert reason(Opener(wrong.receive, REQUEST).feed(wire)) == "tampered"


def test_an_answer_does_not_open_as_a_request() -> None:
    ours, theirs = both_ends()
    wire = Sealer(theirs.send, REQUEST).seal(b"answer", final=True)
    assert reason(Opener(theirs.receive, REQUEST).feed(wire)) == "tampered"
    assert Opener(ours.receive, REQUEST).feed(wire) == [b"answer"]


def test_sizes_on_the_wire_are_buckets() -> None:
    ours, _ = both_ends()
    sealer = Sealer(ours.send, REQUEST)
    lengths = {len(sealer.seal(bytes(n))) - 4 - 17 for n in range(0, 5_000, 97)}
    assert lengths <= set(BUCKETS)
    assert len(lengths) == 4


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, b"short"])
def test_a_key_that_is_no_point_is_refused(key: bytes) -> None:
    assert reason(consumer_keys(b"e" * 32, key)) == "bad_key"


@given(st.binary(max_size=80))
def test_hello_is_read_or_refused(raw: bytes) -> None:
    assert isinstance(unpack_hello(raw), Refusal | Hello)


def test_hello_round_trip() -> None:
    hello = Hello(hashlib.sha256(b"k").digest(), REQUEST, 7, 9)
    assert unpack_hello(hello.pack()) == hello


def test_a_request_id_is_admitted_once_until_its_cap_expires() -> None:
    seen = SeenRequests()
    assert seen.admit(REQUEST, 1_000, 0)
    assert not seen.admit(REQUEST, 1_000, 999)
    assert seen.admit(REQUEST, 3_000, 1_000)


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    seen = SeenRequests(limit=2)
    assert seen.admit(b"1" * 16, 1_000, 0)
    assert seen.admit(b"2" * 16, 1_000, 0)
    assert not seen.admit(b"3" * 16, 1_000, 0)
    assert seen.admit(b"3" * 16, 2_000, 1_000)
