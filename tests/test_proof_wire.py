"""The short way of reading an epoch message equals the long one, for every byte string."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chain import epoch_wire, wire
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


def test_longer_forms_of_numbers_are_left_to_the_long_way() -> None:
    """A number that would fit a shorter form is no canonical encoding."""
    for raw in (b"\x18\x17", b"\x19\x00\xff", b"\x1a\x00\x00\xff\xff", b"\x1b" + bytes(8)):
        assert epoch_wire.read_number(raw, 0) is None
    for raw in (b"\x58\x17", b"\x59\x00\xff", b"\x5a\x00\x00\xff\xff", b"\x40"[:1] + b""):
        expected = (0, 1) if raw == b"\x40" else None
        assert epoch_wire.read_length(raw, 0) == expected


def test_a_report_out_of_order_is_refused() -> None:
    """As before: the order is part of the encoding."""
    first = wire.pack_reception(Reception(1, 0, 0, -7_000, 2_437, b"aaaa"))
    second = wire.pack_reception(Reception(2, 0, 0, -7_000, 2_437, b"aaaa"))
    good = wire.seal(EpochMessage(1, 2, bytes(32), first + second, bytes(32)), bytes(32), [SEED])
    bad = good.wire.replace(first + second, second + first)
    assert isinstance(wire.decode(good.wire), Signed)
    assert epoch_wire.read_epoch_wire(bad) is None
    assert "sorted" in getattr(wire.decode(bad), "detail", "")
