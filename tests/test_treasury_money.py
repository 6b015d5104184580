from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Signed
from chain.rules import blocks
from chain.state import compute_held_ucr, is_conserved
from chain.store.tables import TABLES

from .admission_helpers import Republic, joined, key_of, seed_of

AMOUNT = 5_000_000


def test_a_transfer_moves_exactly_its_amount_and_makes_the_account_it_goes_to() -> None:
    town = joined()
    state, friend = town.ledger.state, key_of("friend")
    before = state.balance(town.owner(0))
    town.accept(town.transfer(0, friend, AMOUNT, 1))
    assert state.balance(friend) == AMOUNT
    assert state.balance(town.owner(0)) == before - AMOUNT


def test_a_transfer_to_oneself_changes_the_nonce_and_no_balance() -> None:
    town = joined()
    state, me = town.ledger.state, town.owner(0)
    before, held = state.balance(me), compute_held_ucr(state)
    town.accept(town.transfer(0, me, before, 9))
    assert (state.balance(me), compute_held_ucr(state)) == (before, held)
    assert state.accounts[me].nonce == 9


def test_money_sent_round_and_round_never_outgrows_its_row() -> None:
    """128 bits: at 10,000 transfers a second of all that can exist, 10^11 years."""
    town = joined()
    state, me = town.ledger.state, town.owner(0)
    left = (1 << 63) - 1 - state.supply.deposited
    town.accept(town.deposit(0, left, b"all there can be"))
    for nonce in range(1, 9):
        town.accept(town.transfer(0, me, state.balance(me), nonce))
    assert state.accounts[me].issued_ucr > 1 << 65
    row = TABLES["accounts"].row
    assert row.unpack(row.pack(state.accounts[me])) == state.accounts[me]
    town.tick_to(10)
    assert town.ledger.head.state_root


def test_a_withdrawal_leaves_the_supply() -> None:
    town = joined()
    state = town.ledger.state
    before, held = state.balance(town.owner(0)), compute_held_ucr(state)
    town.accept(town.withdrawal(0, AMOUNT, 1))
    assert state.supply.withdrawn == AMOUNT
    assert state.balance(town.owner(0)) == before - AMOUNT
    assert compute_held_ucr(state) == held - AMOUNT
    assert is_conserved(state)


@pytest.mark.parametrize("kind", ["transfer", "withdrawal"])
def test_payments_are_refused_for_named_reasons(kind: str) -> None:
    town = joined()

    def pay(amount: int, nonce: int, seed: bytes = b"") -> Signed:
        if kind == "withdrawal":
            return town.withdrawal(0, amount, nonce, seed)
        return town.transfer(0, key_of("friend"), amount, nonce, seed)

    held = town.ledger.state.balance(town.owner(0))
    assert town.refuse(pay(held + 1, 1)) == "insufficient_balance"
    assert town.refuse(pay(1, 0)) == "stale_nonce"
    assert town.refuse(pay(1, 1, seed_of("thief"))) == "bad_signature"
    assert town.refuse(pay(1, 1, town.keys[0])) == "bad_signature"
    town.accept(pay(1, 5))
    assert town.refuse(pay(2, 5)) == "stale_nonce"
    assert town.refuse(pay(2, 4)) == "stale_nonce"
    town.accept(pay(2, 6))


def test_who_holds_nothing_is_told_so() -> None:
    town = Republic(2)
    (result,) = town.submit(town.transfer(0, key_of("friend"), 7, 1))
    assert result.reason == "insufficient_balance"
    assert "7 ucr, the account holds 0" in result.detail


def test_one_nonce_serves_one_record_of_any_kind() -> None:
    town = joined()
    town.accept(town.transfer(0, key_of("friend"), 1, 3))
    assert town.refuse(town.withdrawal(0, 1, 3)) == "stale_nonce"
    assert town.refuse(town.bond(0, 1, 3)) == "stale_nonce"
    assert town.refuse(town.retirement(0, 3)) == "stale_nonce"
    town.accept(town.bond(0, 1, 4), town.retirement(0, 5))


def test_the_same_bytes_are_paid_once() -> None:
    town = joined()
    payment = town.transfer(0, key_of("friend"), AMOUNT, 1)
    town.accept(payment)
    assert town.one(payment).reason == "already"
    assert town.ledger.state.balance(key_of("friend")) == AMOUNT


def test_a_payment_for_another_network_is_no_payment() -> None:
    town, other = joined(), joined(preset="minimal")
    assert town.refuse(other.transfer(0, key_of("friend"), 1, 1)) == "bad_signature"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["transfer", "withdrawal", "deposit"]),
            st.integers(0, 2),
            st.integers(0, 2),
            st.integers(1, 80_000_000),
            st.integers(1, 30),
        ),
        max_size=25,
    )
)
def test_no_sequence_of_payments_makes_or_loses_a_credit(
    steps: list[tuple[str, int, int, int, int]],
) -> None:
    town = joined(preset="minimal")
    state, expected = town.ledger.state, dict.fromkeys(range(3), 50_000_000)
    nonces = dict.fromkeys(range(3), 0)
    for number, (kind, payer, payee, amount, nonce) in enumerate(steps):
        if kind == "deposit":
            town.accept(town.deposit(payer, amount, b"more %d" % number))
            expected[payer] += amount
            continue
        fits = amount <= expected[payer] and nonce > nonces[payer]
        signed = (
            town.withdrawal(payer, amount, nonce)
            if kind == "withdrawal"
            else town.transfer(payer, town.owner(payee), amount, nonce)
        )
        assert (town.one(signed).reason == "ok") == fits
        if fits:
            nonces[payer] = nonce
            expected[payer] -= amount
            expected[payee] += amount if kind == "transfer" else 0
    assert {i: state.balance(town.owner(i)) for i in range(3)} == expected
    assert is_conserved(state)


def test_apply_equals_the_engine_for_payments_bonds_and_appointments() -> None:
    sealed = []
    town = Republic(3, "testbed", on_block=sealed.append)
    town.join()
    town.tick_to(2)
    town.accept(town.transfer(0, key_of("friend"), 5, 1), town.withdrawal(1, 5, 1))
    town.accept(town.bond(0, 7, 2), town.retirement(2, 1), town.appointment(1, key_of("seed")))
    town.accept(town.fork_finding(1))
    for epoch in range(3, 8):
        town.tick_to(epoch)
    state = None
    for item in sealed:
        state = blocks.apply(item.block, state)
        assert state.log.root() == item.header.log_root
    assert state is not None
    assert state.closes == town.ledger.state.closes
    assert is_conserved(state)
