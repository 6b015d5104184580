from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain.ledger import Sealed
from chain.params import PRESETS
from chain.records import Registration, Signed
from chain.rules.bonds import SLASH
from chain.rules.payments import Payment
from chain.state import compute_holdings, is_conserved
from chain.state_root import compute_state_root

from .admission_helpers import Republic, joined, key_of, seed_of
from .chain_helpers import chain_of


def renewed(town: Republic, index: int, seeds: list[bytes], **changes: object) -> Signed:
    """A registration with content that was never said before."""
    anchor = chain_of(b"renewed %d" % town.epoch)[0]
    record = town.registration(index, **{"anchor": anchor, "first_epoch": town.epoch, **changes})
    return town.sign(record, *seeds)


def own(town: Republic, index: int) -> list[bytes]:
    return [town.keys[index], town.owner_seeds[index]]


def bonds(town: Republic) -> list[int]:
    return [hotspot.bond_ucr for hotspot in town.ledger.state.hotspots]


def test_a_bond_is_locked_added_to_and_returned_after_the_time_for_appeals() -> None:
    town = joined()
    state, params, owner = town.ledger.state, town.params, town.owner(0)
    held = state.balance(owner)
    town.accept(town.bond(0, 777, 1))
    assert bonds(town)[0] == params.bond_ucr + 777
    assert state.balance(owner) == held - 777
    town.accept(town.retirement(0, 2))
    end = town.epoch + params.bind_epochs
    town.tick_to(end + params.appeal_epochs - 1)
    assert bonds(town)[0] == params.bond_ucr + 777
    town.tick_to(end + params.appeal_epochs)
    assert bonds(town)[0] == 0
    assert state.balance(owner) == held + params.bond_ucr
    assert not state.releases
    assert is_conserved(state)


def test_bonds_and_retirements_are_refused_for_named_reasons() -> None:
    town = joined()
    held = town.ledger.state.balance(town.owner(0))
    nobody = replace(town.bond(0, 1, 1).record, hotspot=99)
    assert town.refuse(town.sign(nobody, town.owner_seeds[0])) == "unknown_hotspot"
    assert town.refuse(town.bond(0, held + 1, 1)) == "insufficient_balance"
    for make in (lambda *a: town.bond(0, 5, *a), lambda *a: town.retirement(0, *a)):
        assert town.refuse(make(0)) == "stale_nonce"
        assert town.refuse(make(1, town.owner_seeds[1])) == "bad_signature"
        assert town.refuse(make(1, town.keys[0])) == "bad_signature"
    town.accept(town.retirement(0, 1))
    assert town.refuse(town.retirement(0, 2)) == "retired"
    assert town.refuse(town.bond(0, 5, 2)) == "retired"
    town.accept(town.fork_finding(1))
    assert town.refuse(town.bond(1, 5, 1)) == "slashed"
    assert town.refuse(town.retirement(1, 1)) == "slashed"


def test_a_retired_hotspot_proves_nothing_and_is_not_judged() -> None:
    town = Republic(4)
    town.join()
    town.run(2, 5)
    town.accept(town.retirement(3, 1))
    end = town.epoch + town.params.bind_epochs
    for epoch in range(6, end):
        assert all(result.accepted for result in town.run_epoch(epoch))
    for epoch in range(end, end + 4):
        results = town.run_epoch(epoch)
        assert [r.reason for r in results] == ["ok", "ok", "ok", "retired"]
        judgement = town.ledger.verdicts(epoch - 1)
        assert judgement is None or (3 in judgement.assertions) == (epoch - 1 < end)
    judgement = town.ledger.verdicts(end + 1)
    assert judgement is not None
    assert 3 not in judgement.assertions


def test_registering_again_ends_a_retirement() -> None:
    town = joined()
    params = town.params
    town.accept(town.retirement(0, 1))
    town.tick_to(town.epoch + 30)
    balance = town.ledger.state.balance(town.owner(0))
    town.accept(renewed(town, 0, own(town, 0)))
    assert town.ledger.state.balance(town.owner(0)) == balance  # the bond was locked all along
    assert not town.ledger.state.ended
    town.tick_to(town.epoch + params.appeal_epochs + 30)
    assert bonds(town)[0] == params.bond_ucr
    town.accept(town.retirement(0, 2))
    town.tick_to(town.epoch + params.appeal_epochs + 30)
    assert bonds(town)[0] == 0
    town.accept(renewed(town, 0, own(town, 0)))
    assert bonds(town)[0] == params.bond_ucr


def test_nobody_ends_a_retirement_with_what_was_said_before() -> None:
    town = joined()
    first = town.sealed_registration(0)
    town.accept(town.retirement(0, 1))
    town.ledger._recent.clear()  # the rule itself must know, not the memory of the engine
    assert town.refuse(first) == "duplicate"
    town.tick_to(town.epoch + 500)
    assert town.refuse(first) == "duplicate"
    assert 0 in town.ledger.state.ended


def test_a_stolen_hotspot_key_moves_neither_the_hotspot_nor_its_bond() -> None:
    """The thief holds the key of hotspot 0, and an account of its own with enough credits."""
    town = joined()
    town.accept(town.transfer(1, key_of("thief"), 9_000_000, 1))
    stolen, thief = town.keys[0], seed_of("thief")
    mine = {"owner": key_of("thief")}
    for seeds in ([stolen, thief], [stolen, thief, stolen], [stolen, thief, thief]):
        assert town.refuse(renewed(town, 0, seeds, **mine)) == "bad_signature"
    assert town.refuse(renewed(town, 0, [stolen, stolen])) == "bad_signature"
    assert town.refuse(renewed(town, 0, [stolen])) == "bad_signature"
    assert town.refuse(town.retirement(0, 1, stolen)) == "bad_signature"
    assert town.refuse(town.bond(0, 1, 1, thief)) == "bad_signature"
    # The owner retires it; the key can't come back under the thief's name, before or after.
    town.accept(town.retirement(0, 1))
    assert town.refuse(renewed(town, 0, [stolen, thief], **mine)) == "bad_signature"
    town.tick_to(town.epoch + 3 * town.params.appeal_epochs)
    assert town.refuse(renewed(town, 0, [stolen, thief], **mine)) == "bad_signature"
    assert town.ledger.state.hotspots[0].owner == town.owner(0)


def test_a_retired_hotspot_opens_no_session_from_then_on() -> None:
    """A thief with the hotspot's key could lock the owner's credits into sessions of its own."""
    town = joined()
    town.accept(town.open_session(0, 1))
    town.accept(town.retirement(0, 1))
    assert town.refuse(town.open_session(0, 1, 1)) == "retired"
    assert town.refuse(town.open_session(1, 0)) == "retired"
    town.accept(town.fork_finding(2))
    assert town.refuse(town.open_session(2, 1)) == "slashed"


def test_a_sale_takes_three_signatures_and_lowers_no_bond() -> None:
    town = joined()
    state, buyer = town.ledger.state, town.owner(1)
    town.accept(town.bond(0, 5_000_000, 1))
    level, seller = bonds(town)[0], state.balance(town.owner(0))
    paid = state.balance(buyer)
    seeds = [town.keys[0], town.owner_seeds[1], town.owner_seeds[0]]
    town.accept(renewed(town, 0, seeds, owner=buyer))
    assert bonds(town)[0] == level
    assert state.balance(town.owner(0)) == seller + level
    assert state.balance(buyer) == paid - level
    assert town.refuse(town.retirement(0, 9)) == "bad_signature"
    town.accept(town.retirement(0, 9, town.owner_seeds[1]))


def test_a_sale_needs_a_buyer_who_can_pay_the_bond() -> None:
    town = joined()
    seeds = [town.keys[0], seed_of("poor"), town.owner_seeds[0]]
    refused = renewed(town, 0, seeds, owner=key_of("poor"))
    assert town.refuse(refused) == "insufficient_balance"


def test_slashing_destroys_the_bond_less_the_finders_share() -> None:
    payments: list[Payment] = []

    def note(sealed: Sealed) -> None:
        payments.extend(sealed.effects.payments)

    town = Republic(3, "testbed", on_block=note)
    town.join()
    town.tick_to(2)
    town.accept(town.bond(0, 9, 1))
    state, bond = town.ledger.state, bonds(town)[0]
    destroyed = state.supply.destroyed
    town.accept(town.fork_finding(0))
    reward = bond * town.params.finder_bp // 10_000
    assert state.balance(key_of("reporter")) == reward
    assert state.supply.destroyed - destroyed == bond - reward
    assert bonds(town)[0] == 0
    row = Payment(2, SLASH, key_of("reporter"), 0, 0, reward, town.owner(0))
    assert [tuple(p) for p in payments] == [tuple(row)]


def test_a_slashed_hotspot_ends_at_once_and_its_key_for_good() -> None:
    town = Republic(4)
    town.join()
    town.run(2, 5)
    town.run_epoch(6)
    town.accept(town.fork_finding(3))
    results = town.run_epoch(7)
    assert [r.reason for r in results] == ["ok", "ok", "ok", "slashed"]
    for epoch in (5, 6):
        judgement = town.ledger.verdicts(epoch)
        assert judgement is None or epoch == 5 or 3 not in judgement.assertions
    town.run_epoch(8)
    judgement = town.ledger.verdicts(6)
    assert judgement is not None
    assert 3 not in judgement.assertions
    assert town.refuse(renewed(town, 3, own(town, 3))) == "slashed"
    sold = [town.keys[3], town.owner_seeds[1], town.owner_seeds[3]]
    assert town.refuse(renewed(town, 3, sold, owner=town.owner(1))) == "slashed"


def test_a_slashed_hotspot_is_not_paid_for_what_it_did_before() -> None:
    """Two towns do the same until the end of a settlement; in one, a fork is found just before."""

    def earned(forks: bool) -> list[int]:
        town = Republic(4)
        town.join()
        town.run(2, 10)
        town.run_epoch(11)
        before = [hotspot.earned_ucr for hotspot in town.ledger.state.hotspots]
        if forks:
            assert any(index == 3 for _, index in town.ledger.state.quality)
            town.accept(town.fork_finding(3))
        town.tick_to(12)
        state = town.ledger.state
        assert is_conserved(state)
        assert not state.forfeits
        after = [hotspot.earned_ucr for hotspot in state.hotspots]
        return [b - a for a, b in zip(before, after, strict=True)]

    honest, forked = earned(False), earned(True)
    assert all(honest)
    assert forked[3] == 0
    assert all(forked[:3])


def test_reporting_oneself_loses_nine_tenths() -> None:
    town = joined()
    state, owner = town.ledger.state, town.owner(0)
    wealth = state.balance(owner) + bonds(town)[0]
    epoch = town.epoch
    signed = town.finding(1, 0, epoch, town.two_messages(0, epoch))
    self_report = replace(signed.record, reporter=owner)
    town.accept(town.sign(self_report, town.owner_seeds[0]))
    assert wealth - state.balance(owner) == town.params.bond_ucr * 9 // 10


@pytest.mark.parametrize("late", [False, True])
def test_a_retired_hotspot_can_be_slashed_until_its_bond_returns(late: bool) -> None:
    town = joined()
    town.accept(town.retirement(0, 1))
    end = town.epoch + town.params.bind_epochs
    town.tick_to(end + town.params.appeal_epochs - (0 if late else 1))
    finding = town.fork_finding(0, end - 1)
    if late:
        assert town.refuse(finding) == "retired"
        return
    town.accept(finding)
    assert bonds(town)[0] == 0
    assert not town.ledger.state.releases
    town.tick_to(town.epoch + 5)
    assert bonds(town)[0] == 0


class Lifecycles(RuleBasedStateMachine):
    """Random lives of four hotspots of three owners: every bond is exact after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.town = Republic(4, preset="testbed")
        self.town.join()
        self.town.tick_to(2)
        self.nonce = 0
        self.bond = dict.fromkeys(range(4), self.town.params.bond_ucr)
        self.owner = {i: i for i in range(4)}
        self.released_at: dict[int, int] = {}
        self.ended: set[int] = set()
        self.slashed: set[int] = set()
        self.lost = 0
        self.forks = 0

    def take_nonce(self) -> int:
        self.nonce += 1
        return self.nonce

    def held(self, index: int) -> int:
        return self.town.ledger.state.balance(self.town.owner(self.owner[index]))

    @rule(epochs=st.integers(1, 70))
    def wait(self, epochs: int) -> None:
        self.town.tick_to(self.town.epoch + epochs)
        for index, release in list(self.released_at.items()):
            if release <= self.town.epoch:
                self.bond[index] = 0
                del self.released_at[index]

    @rule(index=st.integers(0, 3), amount=st.integers(1, 30_000_000))
    def add(self, index: int, amount: int) -> None:
        fits = amount <= self.held(index) and index not in self.ended | self.slashed
        seed = self.town.owner_seeds[self.owner[index]]
        signed = self.town.bond(index, amount, self.take_nonce(), seed)
        assert self.town.one(signed).accepted == fits
        self.bond[index] += amount if fits else 0

    @rule(index=st.integers(0, 3))
    def retire(self, index: int) -> None:
        fits = index not in self.ended | self.slashed
        seed = self.town.owner_seeds[self.owner[index]]
        assert self.town.one(self.town.retirement(index, self.take_nonce(), seed)).accepted == fits
        if fits:
            self.ended.add(index)
            params = self.town.params
            release = self.town.epoch + params.bind_epochs + params.appeal_epochs
            self.released_at[index] = release

    @rule(index=st.integers(0, 3), buyer=st.integers(0, 2), height=st.integers(1, 60_000))
    def register(self, index: int, buyer: int, height: int) -> None:
        town, before = self.town, self.owner[index]
        seeds = [town.keys[index], town.owner_seeds[buyer]]
        if buyer != before:
            seeds.append(town.owner_seeds[before])
        record = town.registration(index, owner=town.owner(buyer), height_m=height)
        record = replace(record, first_epoch=town.epoch + 2)  # never said before, but in one epoch
        result = town.one(town.sign(record, *seeds))
        level = max(self.bond[index], town.params.bond_ucr)
        if result.reason == "ok":
            assert index not in self.slashed
            self.owner[index], self.bond[index] = buyer, level
            self.released_at.pop(index, None)
            self.ended.discard(index)
        elif result.reason == "insufficient_balance":
            assert self.town.ledger.state.balance(town.owner(buyer)) < level
        else:
            assert index in self.slashed or result.reason in ("already", "duplicate")

    @precondition(lambda self: len(self.slashed) < 3)
    @rule(index=st.integers(0, 3))
    def slash(self, index: int) -> None:
        gone = index in self.ended and index not in self.released_at
        result = self.town.one(self.town.fork_finding(index))
        is_new = result.reason == "ok"
        assert is_new == (index not in self.slashed and not gone)
        if is_new:
            self.lost += self.bond[index] - self.bond[index] // 10
            self.bond[index] = 0
            self.slashed.add(index)
            self.released_at.pop(index, None)

    @invariant()
    def bonds_are_exact(self) -> None:
        state = self.town.ledger.state
        assert {h.index: h.bond_ucr for h in state.hotspots} == self.bond
        assert compute_holdings(state)["bonds"] == sum(self.bond.values())
        assert state.supply.destroyed == self.lost
        assert set(state.releases) == set(self.released_at)
        assert is_conserved(state)

    def teardown(self) -> None:
        town = self.town
        town.tick_to(town.epoch + 1)
        assert compute_state_root(town.ledger.state) == town.ledger.head.state_root


Lifecycles.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestLifecycles = Lifecycles.TestCase


def test_a_registration_in_the_same_words_is_no_new_one() -> None:
    town = joined()
    record = town.registration(0)
    assert isinstance(record, Registration)
    assert town.one(town.sign(record, *own(town, 0))).reason == "already"


def test_the_constants_of_the_page_are_those_of_the_presets() -> None:
    page = (Path(__file__).parent.parent / "docs" / "admission.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", page, re.M)
    assert len(rows) == 14
    for name, *values in rows:
        shown = [int(value.split(" (")[0].replace(",", "")) for value in values]
        presets = [PRESETS[preset] for preset in ("mainnet", "testbed", "minimal")]
        assert shown == [getattr(params, name) for params in presets], name
        assert name != "appeal_epochs" or all(p.appeal_epochs > p.late_epochs for p in presets)


def test_claims_are_decided_before_a_bond_returns() -> None:
    """A relay that retires right after its last claim can still be slashed for it."""
    for params in PRESETS.values():
        assert params.opening_epochs + 1 < params.appeal_epochs
