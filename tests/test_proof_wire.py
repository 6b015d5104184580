"""The short way of reading an epoch message equals the long one, for every byte string."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import cbor, epoch_wire, wire
from chain.records import EpochMessage, Reception, Signed

hashes = st.binary(min_size=32, max_size=32)
numbers = st.one_of(st.integers(0, 40), st.integers(200, 300), st.integers(65_000, 2**32 - 1))
receptions = st.builds(
    Reception,
    *(numbers, st.integers(0, 255), st.integers(0, 255), st.integers(-(1 << 15), (1 << 15) - 1)),
    *(st.integers(0, 65_535), st.binary(min_size=4, max_size=4)),
)
reports = st.lists(receptions, max_size=40).map(
    lambda heard: b"".join(sorted(map(wire.pack_reception, heard)))
)
messages = st.builds(EpochMessage, numbers, numbers, hashes, reports, hashes)
SEED = bytes(32)


@settings(max_examples=200, deadline=None)
@given(messages)
def test_the_usual_form_is_read_in_one_go(message: EpochMessage) -> None:
    """Whatever a hotspot seals comes back, equal to what the long way gives."""
    signed = wire.seal(message, bytes(32), [SEED])
    found = epoch_wire.read_epoch_wire(signed.wire)
    assert found == (message, signed.body, signed.signatures[0])
    assert wire.decode(signed.wire) == wire._decode_any(signed.wire) == signed


@settings(max_examples=400, deadline=None)
@given(
    messages, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3), st.data()
)
def test_damaged_wires_get_the_same_answer(
    message: EpochMessage, edits: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Bytes changed, cut or added: both ways refuse alike, or read the same."""
    raw = bytearray(wire.seal(message, bytes(32), [SEED]).wire)
    for at, value in edits:
        raw[at % len(raw)] = value
    cut = data.draw(st.integers(0, 3))
    damaged = bytes(raw[: len(raw) - cut]) + data.draw(st.binary(max_size=2))
    assert wire.decode(damaged) == wire._decode_any(damaged)


FORMS = {1: b"", 2: b"\x18", 3: b"\x19", 5: b"\x1a", 9: b"\x1b"}


def encode_loosely(number: int, size: int) -> bytes:
    """CBOR of a number in a form of `size` bytes, be it the shortest one or not."""
    return FORMS[size] + number.to_bytes(max(1, size - 1), "big")


NUMBERS = {
    1: [0, 23],
    2: [0, 23, 24, 255],
    3: [0, 24, 255, 256, 65_535],
    5: [0, 256, 65_535, 65_536, 2**32 - 1],
    9: [0, 65_536, 2**32 - 1, 2**32],
}
CANONICAL = {1: (0, 24), 2: (24, 256), 3: (256, 65_536), 5: (65_536, 2**32), 9: (2**32, 2**64)}


@pytest.mark.parametrize(
    ("size", "number"), [(size, number) for size in NUMBERS for number in NUMBERS[size]]
)
@pytest.mark.parametrize("place", [0, 1])
def test_only_the_shortest_form_of_a_number_is_read(size: int, number: int, place: int) -> None:
    """The quick way takes what CBOR's one canonical form is, for either number."""
    numbers = [b"\x05", b"\x05"]
    numbers[place] = encode_loosely(number, size)
    body = b"\x85" + b"".join(numbers) + b"\x58\x20" + bytes(32) + b"\x40\x58\x20" + bytes(32)
    raw = b"\x84\x04\x01" + cbor.encode(body) + b"\x81\x58\x40" + bytes(64)
    is_shortest = number in range(*CANONICAL[size]) and number < 2**32
    assert (epoch_wire.read_epoch_wire(raw) is not None) == is_shortest
    assert isinstance(wire.decode(raw), Signed) == is_shortest


@given(st.integers(0, 400) | st.integers(65_000, 65_538))
def test_a_string_has_one_length_with_its_head(length: int) -> None:
    """What `get_held` says is the string whose canonical form is so long, if one is."""
    held = epoch_wire.get_held(length)
    fits = [n for n in range(max(0, length - 3), length) if len(cbor.encode(bytes(n))) == length]
    assert ([] if held is None else [held]) == fits


def test_a_report_out_of_order_is_refused() -> None:
    """As before: the order is part of the encoding."""
    first = wire.pack_reception(Reception(1, 0, 0, -7_000, 2_437, b"aaaa"))
    second = wire.pack_reception(Reception(2, 0, 0, -7_000, 2_437, b"aaaa"))
    good = wire.seal(EpochMessage(1, 2, bytes(32), first + second, bytes(32)), bytes(32), [SEED])
    bad = good.wire.replace(first + second, second + first)
    assert isinstance(wire.decode(good.wire), Signed)
    assert epoch_wire.read_epoch_wire(bad) is None
    assert "sorted" in getattr(wire.decode(bad), "detail", "")
