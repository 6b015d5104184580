"""Packed receipts and claim entries: one form each, everything else is refused, equal to CBOR."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import bits, wire
from chain.packed import (
    Entry,
    PackedError,
    pack_entries,
    pack_receipts,
    read_five,
    receipt_body,
    receipt_hash,
    unpack_entries,
    unpack_receipts,
    varint,
)
from chain.records import Receipt

u32, u64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
edges = st.sampled_from(
    [0, 23, 24, 127, 128, 255, 256, 16_383, 16_384, 65_535, 65_536, (1 << 32) - 1]
)
u32s = u32 | edges
u64s = u64 | edges | st.just((1 << 64) - 1)
receipts = st.builds(
    Receipt,
    *(u32s, u32s, u64s, u64s, u32s),
    *(st.binary(min_size=n, max_size=n) for n in (32, 64, 64)),
)
batches = st.lists(receipts, min_size=1, max_size=6, unique_by=lambda receipt: receipt.session)
entry_lists = st.lists(
    st.builds(Entry, u32s, u32s, u64s, u64s, u32s), min_size=1, max_size=8, unique_by=lambda e: e[0]
)


@given(receipts)
def test_the_fast_body_is_the_canonical_cbor_of_the_six_fields(receipt: Receipt) -> None:
    assert receipt_body(receipt) == wire.receipt_body(receipt)
    assert receipt_hash(receipt) == wire.receipt_hash(receipt)


@given(batches)
def test_receipts_come_back_as_they_were_packed_sorted(batch: list[Receipt]) -> None:
    packed = pack_receipts(batch)
    assert unpack_receipts(packed) == sorted(batch, key=lambda receipt: receipt.session)
    assert pack_receipts(unpack_receipts(packed)) == packed


@given(entry_lists)
def test_entries_come_back_as_they_were_packed_sorted(entries: list[Entry]) -> None:
    packed = pack_entries(entries)
    assert unpack_entries(packed) == sorted(entries)
    assert pack_entries(unpack_entries(packed)) == packed


@given(batches, st.data())
def test_changed_bytes_have_one_meaning_or_none(
    batch: list[Receipt], data: st.DataObject
) -> None:
    """Whatever is changed: what still reads packs to exactly the bytes that were read."""
    packed = bytearray(pack_receipts(batch))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    cut = bytes(packed[: data.draw(st.integers(1, len(packed)))])
    with suppress(PackedError):
        assert pack_receipts(unpack_receipts(cut)) == cut


@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_read_as_entries_pack_to_the_same_bytes(raw: bytes) -> None:
    with suppress(PackedError):
        assert pack_entries(unpack_entries(raw)) == raw


@given(u64s)
def test_a_varint_is_seven_bits_a_byte_and_comes_back(number: int) -> None:
    raw = varint(number)
    assert len(raw) == max(1, -(-number.bit_length() // 7))
    assert read_five(raw * 5, 0) == ([number] * 5, 5 * len(raw))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\x80\x00" + bytes(4), "shortest form"),
        (b"\xff" * 10 + b"\x01" + bytes(4), "beyond 64 bits"),
        (b"\x00" * 4, "cut short"),
        (b"\x00\x00\x00\x00\xff", "cut short"),
    ],
)
def test_a_varint_of_another_form_is_refused(raw: bytes, problem: str) -> None:
    with pytest.raises(PackedError, match=problem):
        read_five(raw, 0)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        (0, 1 << 32, "beyond 32 bits"),
        (1, 1 << 32, "beyond 32 bits"),
        (2, 1 << 64, "beyond 64 bits"),
        (3, 1 << 64, "beyond 64 bits"),
        (4, 1 << 32, "beyond 32 bits"),
    ],
)
def test_a_number_beyond_its_width_is_refused(field: int, value: int, problem: str) -> None:
    entry = Entry(*(value if at == field else 1 for at in range(5)))
    with pytest.raises(PackedError, match=problem):
        unpack_entries(b"".join(map(varint, entry)))


def test_sessions_must_ascend_and_come_once() -> None:
    one, two = (Receipt(s, 1, 1, 0, 0, bytes(32), bytes(64), bytes(64)) for s in (4, 5))
    packed_one, packed_two = pack_receipts([one]), pack_receipts([two])
    assert unpack_receipts(packed_one + packed_two) == [one, two]
    for wrong in (packed_two + packed_one, packed_one + packed_one):
        with pytest.raises(PackedError, match="does not follow"):
            unpack_receipts(wrong)
    with pytest.raises(PackedError, match="does not follow"):
        unpack_entries(pack_entries([Entry(3, 1, 1, 0, 0)]) + bytes([0, 1, 1, 0, 0]))


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)))
def test_bits_are_sets(one: set[int], other: set[int]) -> None:
    packed, more = bits.of(one), bits.of(other)
    assert bits.members(packed) == sorted(one)
    assert [n for n in range(320) if bits.has(packed, n)] == sorted(one)
    assert bits.members(bits.union(packed, more)) == sorted(one | other)
    assert bits.members(bits.without(packed, more)) == sorted(one - other)
    assert (bits.without(packed, more) == b"") == (one <= other)
    assert bits.full(len(one)) == bits.of(range(len(one)))
