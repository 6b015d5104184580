"""What must hold of money whatever happens: conservation, bounds, no gain from splitting."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain.economics.drawn import key_of, process_drawn_traffic
from chain.ledger import Sealed
from chain.params import PRESETS
from chain.records import Receipt, Reception
from chain.rules.cell_work import compute_coverage
from chain.rules.outcome import Effects
from chain.rules.payments import Payment
from chain.rules.rewards import (
    compute_bootstrap_share_ucr,
    compute_trusted_share_ucr,
    process_settlement,
)
from chain.state import State, is_conserved

from .chain_helpers import Town
from .rewards_helpers import Mapper, bounty_of, reward_cell
from .test_rewards_arrays import states

FEE_BP = PRESETS["mainnet"].fee_bp
TABLE = PRESETS["mainnet"].overlap_permille


def paid_by_cell(payments: Iterable[Payment]) -> dict[int, int]:
    totals: dict[int, int] = {}
    for payment in payments:
        totals[payment.cell] = totals.get(payment.cell, 0) + payment.amount_ucr
    return totals


@given(states())
@settings(max_examples=200, deadline=None)
def test_a_cell_pays_no_more_than_pools_bounties_and_its_bootstrap_share(state: State) -> None:
    params, after, effects = state.params, state.copy(), Effects()
    process_settlement(after, effects)
    covered = {cell for cell, _ in state.quality}
    share = compute_bootstrap_share_ucr(state, 1)
    for cell, paid in paid_by_cell(effects.payments).items():
        pools = sum(pool for (where, _), pool in state.pools.items() if where == cell)
        offers = [
            min(bounty.per_settlement_ucr, bounty.left_ucr)
            for (where, _), bounty in state.bounties.items()
            if where == cell
        ]
        bounties = sum(offer - offer * FEE_BP // 10_000 for offer in offers)
        assert cell in covered
        assert paid <= min(pools, params.value_cap_ucr) + bounties + share
    assert after.supply.minted <= params.bootstrap_ucr
    assert is_conserved(after)


@given(states(), st.integers(0, 7), st.integers(0, 7), st.integers(1, 10**9), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_who_pays_itself_loses_at_least_the_fee_whatever_keys_it_has(
    state: State, payer: int, payee: int, amount_ucr: int, parts: int
) -> None:
    """The attacker owns payer, payee, half of all owners' keys, and every mapper."""
    own = {state.hotspots[payer].owner, state.hotspots[payee].owner}
    own |= {key_of("owner", number) for number in range(0, 4, 2)}
    own |= {key_of("mapper", number) for number in range(3)}
    wealth = []
    for is_washing in (False, True):
        after = state.copy()
        if is_washing:
            for _ in range(parts):  # splitting it into parts spares no fee, but for rounding
                process_drawn_traffic(after, payer, payee, amount_ucr, Effects())
        process_settlement(after, Effects())
        held = sum(mapping.held_ucr for mapping in after.mappings.values())
        wealth.append(sum(after.balance(account) for account in own) + held)
        assert is_conserved(after)
    spent = parts * amount_ucr
    fee = parts * (amount_ucr * FEE_BP // 10_000)
    assert wealth[1] - wealth[0] <= spent - fee


scores = st.lists(st.integers(1, 50), min_size=1, max_size=12)


@given(scores, st.data())
def test_a_hotspot_more_at_a_site_adds_what_the_overlap_table_says_and_lifts_nobody(
    levels: list[int], data: st.DataObject
) -> None:
    """With a better hotspot of one's own there, one more adds half of the best at most."""
    site = data.draw(st.integers(0, len(levels) - 1))
    added = data.draw(st.integers(1, levels[site]))
    pairs = list(zip(levels, range(len(levels)), strict=True))
    before = compute_coverage(list(pairs), TABLE)
    after = compute_coverage([*pairs, (added, len(levels))], TABLE)
    gained = after.get(len(levels), 0)
    assert gained <= added * TABLE[1] <= levels[site] * TABLE[0] // 2
    for hotspot, level in enumerate(levels):
        weights = (before.get(hotspot, 0), after.get(hotspot, 0))
        rank = TABLE.index(weights[0] // level) if weights[0] else len(TABLE) - 1
        lower = TABLE[min(rank + 1, len(TABLE) - 1)] * level
        assert weights[1] in (weights[0], lower)


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=20), st.integers(0, 10**10))
def test_trust_spread_over_more_cells_mints_no_more(parts: list[int], share_ucr: int) -> None:
    state = Town(1).ledger.state
    spread = sum(compute_trusted_share_ucr(state, share_ucr, part) for part in parts)
    bound = state.params.bootstrap_trust_ppm
    assert spread * bound <= share_ucr * sum(parts)
    assert compute_trusted_share_ucr(state, share_ucr, sum(parts)) <= share_ucr


class Bazaar(RuleBasedStateMachine):
    """Bounties, mappers, traffic and silence at random: each block conserves every credit."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = 0
        self.town = Town(4, on_block=self.check)
        self.town.join()
        self.town.run(2, 3)
        self.epoch, self.nonce, self.sequence = 3, 0, 0
        self.silent: set[int] = set()
        self.reports: list[tuple[Mapper, int, bytes]] = []

    def check(self, sealed: Sealed) -> None:
        self.blocks += 1
        if sealed.header.height:
            assert is_conserved(self.town.ledger.state)

    def hear(self, witness: int, heard: list[Reception]) -> list[Reception]:
        return [r for r in heard if witness not in self.silent and r.heard not in self.silent]

    @rule(epochs=st.integers(1, 5), is_late=st.booleans())
    def pass_epochs(self, epochs: int, is_late: bool) -> None:
        for number in range(epochs):
            self.epoch += 1
            self.town.run_epoch(self.epoch, self.hear)
            if not is_late or number == 3:
                self.report()

    @rule(skipped=st.integers(2, 8))
    def stand_still(self, skipped: int) -> None:
        self.epoch += skipped
        self.town.ledger.tick(self.town.time_ms(self.epoch))
        self.reports.clear()

    @rule(silent=st.sets(st.integers(0, 3), max_size=2))
    def fall_silent(self, silent: set[int]) -> None:
        self.silent = silent

    @rule(
        sponsor=st.integers(0, 3),
        amount=st.integers(90_000, 9_000_000),
        rate=st.integers(1, 9_000_000),
        lasts=st.integers(0, 20),
        near=st.integers(0, 3),
    )
    def sponsor(self, sponsor: int, amount: int, rate: int, lasts: int, near: int) -> None:
        self.nonce += 1
        epoch = self.town.ledger.state.epoch
        cells = {reward_cell(self.town, near), 0x881F9C6001FFFFF}
        terms: dict[str, object] = {"amount_ucr": amount, "per_settlement_ucr": rate}
        terms["until_epoch"] = epoch + lasts
        terms |= {"cells": tuple(sorted(cells)), "nonce": self.nonce}
        self.town.submit(bounty_of(self.town, sponsor, **terms))

    @precondition(lambda self: self.town.ledger.state.epoch == self.epoch)
    @rule(name=st.binary(max_size=2), near=st.integers(0, 3), heard=st.sets(st.integers(0, 3)))
    def map(self, name: bytes, near: int, heard: set[int]) -> None:
        mapper = Mapper(self.town, name, near)
        report = mapper.pack(mapper.hear(self.epoch, sorted(heard)))
        if report and self.town.submit(mapper.commit(self.epoch, report))[0].accepted:
            self.reports.append((mapper, self.epoch, report))

    def report(self) -> None:
        waiting = [entry for entry in self.reports if entry[1] == self.epoch]
        for mapper, epoch, report in self.reports:
            if epoch < self.epoch:
                assert self.town.submit(mapper.report(epoch, report))[0].accepted
        self.reports = waiting

    @rule(payer=st.integers(0, 3), relayed=st.integers(0, 1 << 23))
    def burn(self, payer: int, relayed: int) -> None:
        self.nonce, self.sequence, payee = self.nonce + 1, self.sequence + 1, (payer + 1) % 4
        (opened,) = self.town.submit(self.town.open_session(payer, payee, self.nonce))
        if opened.accepted and opened.index is not None:
            unsigned = Receipt(opened.index, self.sequence, relayed, 0, 0, bytes(32))
            receipt = self.town.receipt(payer, payee, unsigned)
            assert self.town.submit(self.town.claim(receipt))[0].accepted

    @invariant()
    def nothing_is_negative(self) -> None:
        state = self.town.ledger.state
        assert is_conserved(state)
        assert all(bounty.left_ucr >= 0 for bounty in state.bounties.values())
        assert all(mapping.held_ucr >= 0 for mapping in state.mappings.values())


Bazaar.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestBazaar = Bazaar.TestCase
