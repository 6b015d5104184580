"""Bounties: locked at once, paid like a pool, returned as far as nobody earned them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chain import wire
from chain.state import is_conserved

from .chain_helpers import Town
from .rewards_helpers import bounty_of, recorded_town, reward_cell


def started() -> Town:
    town = Town(4)
    town.join()
    town.run(2, 3)
    return town


def test_a_bounty_locks_its_amount_for_every_cell_at_once() -> None:
    town = started()
    cells = tuple(sorted({reward_cell(town, 1), 0x881F9C6001FFFFF, 0x881F9C6003FFFFF}))
    before = town.ledger.state.balance(town.owner(0))
    (result,) = town.submit(bounty_of(town, cells=cells))
    assert (result.accepted, result.index) == (True, 0)
    state = town.ledger.state
    assert before - state.balance(town.owner(0)) == 10_000_000 * len(cells)
    assert sorted(state.bounties) == [(cell, 0) for cell in cells]
    assert is_conserved(state)


def test_bounties_are_refused_for_named_reasons() -> None:
    town = started()
    epoch, most = town.ledger.state.epoch, town.params.bounty_epochs_max
    held = town.ledger.state.balance(town.owner(0))
    cases = {
        "under_minimum": {"amount_ucr": 99_999, "per_settlement_ucr": 9},
        "over_cap": {"per_settlement_ucr": 10_000_001},
        "stale_nonce": {"nonce": 0},
        "insufficient_balance": {"amount_ucr": held + 1},
    }
    for reason, changes in cases.items():
        assert town.submit(bounty_of(town, **changes))[0].reason == reason
    for until in (epoch, epoch + most + 1):
        assert town.submit(bounty_of(town, until_epoch=until))[0].reason == "wrong_epoch"
    stranger = wire.seal(bounty_of(town).record, town.network_id, [town.owner_seeds[1]])
    assert town.submit(stranger)[0].reason == "bad_signature"
    assert not town.ledger.state.bounties
    assert town.submit(bounty_of(town))[0].accepted
    assert town.submit(bounty_of(town, amount_ucr=9_000_000))[0].reason == "stale_nonce"


def test_a_bounty_pays_strangers_in_its_cell_up_to_its_rate_and_the_rest_returns() -> None:
    town, recorder = recorded_town()
    town.run(2, 3)
    before = town.ledger.state.balance(town.owner(0))
    town.submit(bounty_of(town, until_epoch=10))
    destroyed = town.ledger.state.supply.destroyed
    paid = []
    for first in (4, 6, 12):
        town.run(first, first + (1 if first == 4 else 5))
        mine = [p for p in recorder.payments if p.source == town.owner(0)]
        paid.append(sum(p.amount_ucr for p in mine))
        assert {p.cell for p in mine} == {reward_cell(town, 1)}
        assert {p.kind for p in mine} == {"bounty", "witness"}
        assert town.owner(0) not in {p.account for p in mine}
    state = town.ledger.state
    assert paid == [3_800_000, 7_600_000, 7_600_000]
    assert state.supply.destroyed - destroyed == 400_000
    assert not state.bounties
    earned = sum(p.amount_ucr for p in recorder.payments if p.account == town.owner(0))
    assert state.balance(town.owner(0)) == before - 8_000_000 + earned
    assert is_conserved(state)


def test_a_bounty_on_a_cell_that_nobody_covers_costs_nothing() -> None:
    town, recorder = recorded_town()
    town.run(2, 3)
    before = town.ledger.state.balance(town.owner(0))
    town.submit(bounty_of(town, cells=(0x881F9C6001FFFFF,), until_epoch=5))
    town.ledger.tick(town.time_ms(12))
    earned = sum(p.amount_ucr for p in recorder.payments if p.account == town.owner(0))
    assert town.ledger.state.balance(town.owner(0)) == before + earned
    assert not town.ledger.state.bounties


@given(
    amount=st.integers(100_000, 40_000_000),
    rate=st.integers(1, 40_000_000),
    lasts=st.integers(1, 25),
)
@settings(max_examples=15, deadline=None)
def test_a_sponsor_never_pays_more_than_it_locked_and_gets_the_rest_to_the_unit(
    amount: int, rate: int, lasts: int
) -> None:
    town, recorder = recorded_town(3)
    town.run(2, 3)
    terms = {"amount_ucr": amount, "per_settlement_ucr": min(rate, amount)}
    before = town.ledger.state.balance(town.owner(0))
    town.submit(bounty_of(town, until_epoch=town.ledger.state.epoch + lasts, **terms))
    destroyed = town.ledger.state.supply.destroyed
    for first in range(4, 40, 6):
        town.run(first, first + 1)
        town.ledger.tick(town.time_ms(first + 6))
        assert is_conserved(town.ledger.state)
    state = town.ledger.state
    paid = sum(p.amount_ucr for p in recorder.payments if p.source == town.owner(0))
    fee = state.supply.destroyed - destroyed
    earned = sum(p.amount_ucr for p in recorder.payments if p.account == town.owner(0))
    assert state.balance(town.owner(0)) - before == earned - paid - fee
    assert paid + fee <= amount
    assert not state.bounties
