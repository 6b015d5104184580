"""The engine's messages: bytes as protocol buffers have them, and nothing that a decoder trusts."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.abci import messages as m
from chain.abci.protobuf import (
    Message,
    ProtobufError,
    encode_varint,
    iter_fields,
    read_varint,
)
from chain.records import Refusal

KINDS = sorted([*m.REQUESTS.values(), *m.RESPONSES.values()], key=lambda kind: kind.__name__)
U64 = st.integers(0, (1 << 64) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)


def values(kind: str | type[Message]) -> st.SearchStrategy[object]:
    if isinstance(kind, str):
        return {"int": I64, "uint": U64, "bytes": st.binary(max_size=50), "text": st.text()}[kind]
    return messages(kind)


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Any message of a kind."""
    parts: dict[str, st.SearchStrategy[object]] = {}
    for field in fields(kind):
        slot = field.metadata["slot"]
        part = values(slot.kind)
        if slot.many:
            part = st.lists(part, max_size=3).map(tuple)
        elif not isinstance(slot.kind, str):
            part = st.none() | part
        parts[field.name] = part
    return st.builds(kind, **parts)


ANY = st.sampled_from(KINDS).flatmap(messages)


# Documented examples: protobuf.dev, "Encoding" (150 is 96 01; "testing" in field 2; -2 as int64),
# and packed 3, 270, 86942.
def test_varints_are_those_of_the_encoding_page() -> None:
    assert encode_varint(150) == b"\x96\x01"
    assert read_varint(b"\x96\x01", 0) == (150, 2)
    assert encode_varint((1 << 64) - 2) == b"\xfe" + b"\xff" * 8 + b"\x01"


def test_a_string_is_tag_length_and_text() -> None:
    assert m.EchoResponse("testing").encode() == b"\x0a\x07testing"


def test_a_negative_power_takes_ten_bytes_and_comes_back() -> None:
    update = m.ValidatorUpdate(power=-2)
    assert update.encode() == b"\x10\xfe" + b"\xff" * 8 + b"\x01"
    assert m.ValidatorUpdate.decode(update.encode()) == update


def test_packed_numbers_are_several() -> None:
    packed = bytes.fromhex("1206038e029ea705")
    assert m.ApplySnapshotChunkResponse.decode(packed).refetch_chunks == (3, 270, 86942)


def test_defaults_take_no_bytes() -> None:
    assert all(kind().encode() == b"" for kind in KINDS)


def test_unknown_fields_are_skipped_whatever_they_hold() -> None:
    extra = b"\xf8\x07\x05" + b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4) + b"\xfa\x07\x01x"
    assert m.EchoRequest.decode(extra + b"\x0a\x02hi" + extra) == m.EchoRequest("hi")


@pytest.mark.parametrize(
    "torn",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0b\x0c",  # a group
        b"\x00\x00",  # field 0
        b"\x0a\x01\xff",  # no UTF-8
        b"\x08\x01",  # a number where text belongs
        b"\x0d" + bytes(4),  # a fixed number where text belongs
        b"\x0a\x01a\x0a\x01b",  # twice
        b"\x80" * 11,
        b"\xff" * 9 + b"\x7f\x01",
    ],
)
def test_torn_messages_are_refused(torn: bytes) -> None:
    with pytest.raises(ProtobufError):
        m.EchoRequest.decode(torn)


@given(ANY)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    assert type(message).decode(message.encode()) == message


@given(ANY)
def test_every_message_survives_its_frame(message: Message) -> None:
    frames = m.Deframer().feed(m.encode_frame(message))
    assert not isinstance(frames, Refusal)
    decode = m.decode_request if type(message) in m.REQUESTS.values() else m.decode_response
    assert [decode(frame) for frame in frames] == [message]


@given(st.binary(max_size=200))
def test_no_bytes_raise_in_a_request(data: bytes) -> None:
    assert isinstance(m.decode_request(data), (Message, Refusal))
    assert isinstance(m.decode_response(data), (Message, Refusal))


@given(ANY, st.integers(0, 10_000), st.integers(0, 255))
def test_no_flipped_byte_raises(message: Message, where: int, value: int) -> None:
    frame = bytearray(m.encode_frame(message))
    frame[where % len(frame)] = value
    frames = m.Deframer().feed(bytes(frame))
    for each in () if isinstance(frames, Refusal) else frames:
        assert isinstance(m.decode_request(each), (Message, Refusal))


@given(st.lists(ANY, max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_frames_arrive_however_the_socket_cuts_them(sent: list[Message], cuts: list[int]) -> None:
    stream = b"".join(map(m.encode_frame, sent))
    deframer, got, at, turn = m.Deframer(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        frames = deframer.feed(stream[at : at + size])
        assert not isinstance(frames, Refusal)
        got += frames
        at, turn = at + size, turn + 1
    assert len(got) == len(sent)


def test_a_frame_longer_than_any_is_refused_before_its_bytes_come() -> None:
    assert isinstance(m.Deframer(1_000).feed(encode_varint(1_001)), Refusal)
    assert m.Deframer(1_000).feed(encode_varint(1_000)) == []
    assert isinstance(m.Deframer().feed(b"\xff" * 6), Refusal)


def test_a_frame_of_two_values_is_no_request() -> None:
    twice = b"\x12\x00" * 2
    refused = m.decode_request(twice)
    assert isinstance(refused, Refusal)
    assert refused.reason == "bad_shape"
    assert len(list(iter_fields(twice))) == 2
