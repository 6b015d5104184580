from __future__ import annotations

import json

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import cbor, draws, keys, wire
from chain.params import PRESETS
from chain.records import Genesis, Reception, Refusal, Signed

from .chain_helpers import Town, ground_truth

U64 = (1 << 64) - 1
values = st.recursive(
    st.integers(-(1 << 64), U64) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=20,
)


@given(values)
def test_encoding_equals_canonical_cbor2_and_decodes_back(value: cbor.Value) -> None:
    raw = cbor.encode(value)
    assert raw == cbor2.dumps(value, canonical=True)
    assert cbor.decode(raw) == value


@given(st.binary(max_size=60))
def test_decoder_accepts_only_what_the_encoder_writes(raw: bytes) -> None:
    try:
        value = cbor.decode(raw)
    except cbor.CborError:
        return
    assert cbor.encode(value) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "1817",
        "190017",
        "1a00000017",
        "1b0000000000000017",
        "5f4101ff",
        "9fff",
        "a0",
        "c000",
        "f4",
        "f6",
        "f90000",
        "5801ff",
        "6180",
        "0000",
        "",
        "18",
        "8201",
        "81" * 12 + "00",
    ],
)
def test_other_forms_of_values_are_refused(raw: str) -> None:
    with pytest.raises(cbor.CborError):
        cbor.decode(bytes.fromhex(raw))


@pytest.mark.parametrize("value", [True, None, 1.5, {}, 1 << 64, -(1 << 64) - 1])
def test_values_that_records_never_hold_have_no_encoding(value: object) -> None:
    with pytest.raises(cbor.CborError):
        cbor.encode(value)  # type: ignore[arg-type]


def test_a_huge_array_head_is_refused_without_allocating() -> None:
    with pytest.raises(cbor.CborError):
        cbor.decode(bytes.fromhex("9bffffffffffffffff"))


def records() -> list[Signed]:
    town = Town(3)
    town.join()
    town.run_epoch(2)
    return [
        town.genesis,
        town.deposit(0),
        town.sealed_registration(1),
        town.message(2, 2),
        town.open_session(0, 1),
    ]


RECORDS = records()


@pytest.mark.parametrize("signed", RECORDS, ids=lambda signed: signed.record.NAME)
def test_a_sealed_record_decodes_to_itself(signed: Signed) -> None:
    assert wire.decode(signed.wire) == signed


@settings(max_examples=400)
@given(st.sampled_from(RECORDS), st.data())
def test_decoding_damaged_wires_never_raises_and_never_confuses(
    signed: Signed, data: st.DataObject
) -> None:
    raw = bytearray(signed.wire)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    damaged = bytes(raw[: len(raw) - cut])
    decoded = wire.decode(damaged)
    if isinstance(decoded, Signed):  # then it is canonical and whole
        assert decoded.wire == damaged
        assert wire.body_of(decoded.record) == decoded.body
    else:
        assert decoded.reason == "bad_shape"
        assert decoded.detail


@settings(max_examples=200)
@given(st.integers(0, 8), st.integers(0, 2), values)
def test_decoding_arbitrary_bodies_never_raises(kind: int, version: int, value: cbor.Value) -> None:
    raw = cbor.encode((kind, version, cbor.encode(value), ()))
    assert isinstance(wire.decode(raw), Signed | Refusal)


def test_a_refused_field_is_named() -> None:
    body = cbor.encode(("n" * 65, "minimal", 1, (bytes(32),), 1, ()))
    refused = wire.decode(cbor.encode((1, 1, body, ())))
    assert isinstance(refused, Refusal)
    assert "network" in refused.detail


def test_sealing_what_no_ledger_takes_is_an_error() -> None:
    with pytest.raises(ValueError, match="threshold"):
        wire.seal(Genesis("n", "minimal", 1, (bytes(32),), 2, ()), b"", [])


@given(
    *(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(-(2**15), 2**15 - 1)),
    *(st.integers(0, 2**16 - 1), st.binary(min_size=4, max_size=4)),
)
def test_receptions_pack_into_fourteen_bytes_and_back(
    heard: int, sequence: int, rssi: int, frequency: int, tag: bytes
) -> None:
    reception = Reception(heard, sequence, 1, rssi, frequency, tag)
    raw = wire.pack_reception(reception)
    assert len(raw) == 14
    assert raw[:4] == heard.to_bytes(4, "big")
    assert wire.unpack_receptions(raw * 2) == [reception] * 2


def test_signatures_bind_name_network_and_body() -> None:
    seed, network = bytes(32), b"n" * 32
    key = keys.public_key(seed)
    signature = keys.sign(seed, "epoch", network, b"body")
    assert keys.verify(key, "epoch", network, b"body", signature)
    assert not keys.verify(key, "deposit", network, b"body", signature)
    assert not keys.verify(key, "epoch", b"m" * 32, b"body", signature)
    assert not keys.verify(key, "epoch", network, b"bodz", signature)
    assert not keys.verify(key, "epoch", network, b"body", signature[:63])
    assert not keys.verify(b"", "epoch", network, b"body", signature)


def test_the_accept_set_of_signatures_is_pynacl_s_on_the_cctv_edge_cases() -> None:
    """914 edge cases; libraries differ, PyNaCl accepts 43 of them (SOURCES.md)."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    cases = json.loads(ground_truth("chain", "cctv", "ed25519vectors.json").read_text())
    accepted = 0
    for case in cases:
        key, signature = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"])
        try:
            crypto_sign_open(signature + case["msg"].encode(), key)
            accepted += 1
        except BadSignatureError:
            pass
    assert (len(cases), accepted) == (914, 43)


def test_derived_values_follow_the_formulas_of_the_records_page() -> None:
    from hashlib import sha256

    secret, mix = b"x" * 32, b"r" * 32
    assert draws.chain_link(secret) == sha256(b"wavecomb:chain-link:v1\n" + secret).digest()
    assert (
        draws.answer(secret, 7, 3)
        == sha256(b"wavecomb:answer:v1\n" + secret + b"\0\0\0\7\0\0\0\3").digest()[:16]
    )
    assert draws.draw(mix, 1, 2, 3, 4) == draws.digest("draw", mix, *map(draws.u32, (1, 2, 3, 4)))
    assert draws.mix(mix, 5, [secret, mix]) == draws.digest("mix", mix, draws.u32(5), secret, mix)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_beacons_fall_into_their_own_part_of_the_epoch(secret: bytes, mix: bytes) -> None:
    for params in PRESETS.values():
        last = params.epoch_ms - params.message_lead_ms
        slots = [draws.slot_ms(params, secret, mix, n) for n in range(params.beacons_per_epoch)]
        assert slots == sorted(slots)
        assert params.mix_lead_ms <= slots[0]
        assert slots[-1] < last
        part = (last - params.mix_lead_ms) // params.beacons_per_epoch
        assert [(slot - params.mix_lead_ms) // part for slot in slots] == list(range(len(slots)))


def test_power_steps_are_drawn_evenly() -> None:
    drawn = [draws.power_step_db(draws.u32(i), bytes(32), 0) for i in range(4_000)]
    assert {step: drawn.count(step) // 100 for step in set(drawn)}.keys() == {0, 3, 6, 9}
    assert all(900 < drawn.count(step) < 1_100 for step in (0, 3, 6, 9))
