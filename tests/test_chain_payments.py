"""Columns of a large settlement: payments behave like a list, sums of the tree like numbers."""

from __future__ import annotations

import struct
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.proofs.sum_tree import hash_pairs, hash_pairs_by_arrays, parent_node
from chain.rules.payment_columns import STEP, Jobs, SharedPayments
from chain.rules.payments import Payment, Payments

np = pytest.importorskip("numpy")

def _made(amount_ucr: int) -> Payment:
    return Payment(3, "relay", b"account", 1, 2, amount_ucr, b"")


one = st.integers().map(_made)
OWNERS = [b"a", b"b", b"c"]


def shared(count: int) -> SharedPayments:
    """Payments of two jobs among three hotspots."""
    jobs = Jobs(np)
    jobs.add(0, 10, "coverage", b"payer")
    numbers = (1, 20, jobs.number_kind("witness"), jobs.number_source(b""))
    jobs.add_all(*(np.array([number]) for number in numbers))
    numbers = np.arange(count)
    places = np.array([70, 80])
    return SharedPayments(9, jobs, places, OWNERS, numbers % 2, numbers % 3, numbers + 1)


def plain(count: int) -> list[Payment]:
    kinds, sources = ("coverage", "witness"), (b"payer", b"")
    return [
        Payment(9, kinds[n % 2], OWNERS[n % 3], n % 3, 70 + 10 * (n % 2), n + 1, sources[n % 2])
        for n in range(count)
    ]


@given(st.lists(one | st.lists(one) | st.integers(0, 7)))
def test_appending_and_extending_is_that_of_a_list(
    steps: list[Payment | list[Payment] | int],
) -> None:
    payments, listed = Payments(), list[Payment]()
    for step in steps:
        if isinstance(step, Payment):
            payments.append(step)
            listed.append(step)
        else:
            payments.extend(shared(step) if isinstance(step, int) else Payments(step))
            listed.extend(plain(step) if isinstance(step, int) else step)
    assert (len(payments), bool(payments)) == (len(listed), bool(listed))
    assert payments == listed
    assert payments == Payments(listed)
    assert [*payments] == [payments[n] for n in range(len(listed))] == payments[:]
    assert payments[1:-1] == listed[1:-1]
    assert [payments[-n] for n in range(1, len(listed) + 1)] == listed[::-1]
    assert payments != [*listed, *plain(1)]
    assert payments != 3
    for beyond in (len(listed), -len(listed) - 1):
        with pytest.raises(IndexError, match="payment"):
            payments[beyond]


@pytest.mark.parametrize("count", [0, 1, STEP - 1, STEP + 1])
def test_columns_become_the_payments_that_they_say_in_whole_python_numbers(count: int) -> None:
    columns = shared(count)
    assert [*columns] == plain(count)
    assert columns[:3] == plain(count)[:3]
    assert {type(value) for payment in columns for value in payment} <= {int, str, bytes}
    with pytest.raises(IndexError):
        columns[count]


halves = st.one_of(st.integers(0, 1 << 20), st.integers((1 << 63) - 2, (1 << 64) - 1))


@given(st.lists(st.tuples(halves, halves, halves, halves), max_size=9))
def test_levels_of_the_sum_tree_by_arrays_are_those_node_by_node(
    sums: list[tuple[int, int, int, int]],
) -> None:
    leaves = [
        sha256(b"%d" % n).digest() + struct.pack(">QQQQ", *each) for n, each in enumerate(sums)
    ]
    pairs = memoryview(bytearray().join(leaves[: len(leaves) // 2 * 2]))
    try:
        plain: bytes | None = bytes(hash_pairs(pairs))
    except struct.error:
        plain = None
    try:
        arrays: bytes | None = bytes(hash_pairs_by_arrays(np, pairs))
    except struct.error:
        arrays = None
    assert arrays == plain
    if plain is not None:
        joined = zip(leaves[::2], leaves[1::2], strict=False)
        assert plain == b"".join(parent_node(*pair) for pair in joined)
