"""Why a false leaf doesn't pay, in exact fractions; and no walk of records breaks the money."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain import bits
from chain.draws import u32
from chain.params import MIB, PRESETS
from chain.records import Receipt
from chain.rules.claims import compute_drawn
from chain.state import is_conserved

from .relaymoney_helpers import RELAY, RelayTown, only

DRAWN = PRESETS["mainnet"].openings_drawn


def pass_chance(share: Fraction) -> Fraction:
    """That no drawn point falls on a false leaf."""
    return (1 - share) ** DRAWN


def test_a_bond_of_a_thirtieth_makes_every_share_of_false_leaves_lose() -> None:
    """Expected: f T with chance p, less the bond T / q with chance 1 - p; T is 1 here."""
    for share in (Fraction(n, 1_000) for n in range(1, 1_001)):
        chance = pass_chance(share)
        assert share * chance < Fraction(1, DRAWN) * (1 - chance), share


def test_the_bond_rule_is_tight() -> None:
    """A tenth of a per mille less, and a small enough share would pay."""
    share = Fraction(1, 10**7)
    chance = pass_chance(share)
    assert share * chance > Fraction(9_999, 10_000 * DRAWN) * (1 - chance)


fractions = st.fractions(Fraction(1, 1_000), Fraction(999, 1_000), max_denominator=1_000)


@given(st.lists(st.tuples(st.integers(1, 10**6), fractions), min_size=1, max_size=6))
@settings(deadline=None)
def test_one_bond_behind_several_open_claims_still_makes_cheating_lose(
    claims: list[tuple[int, Fraction]],
) -> None:
    """All must pass, since one that fails voids all; the bond covers their sum."""
    gain = sum(total * share for total, share in claims)
    chance = Fraction(1)
    for _, share in claims:
        chance *= pass_chance(share)
    bond = Fraction(sum(total for total, _ in claims), DRAWN)
    assert gain * chance < bond * (1 - chance)


@pytest.mark.parametrize("layout", ["one large leaf", "many small leaves"])
def test_drawn_leaves_miss_false_ones_as_often_as_the_formula_says(layout: str) -> None:
    """3,000 claims with a tenth of their value false: 127 pass, give or take five deviations."""
    large = layout == "one large leaf"
    dues = [1_000] + [10] * 900 if large else [10] * 1_000
    false = bits.of([0]) if large else bits.full(100)
    drawn = [compute_drawn(u32(n), 0, dues, DRAWN) for n in range(3_000)]
    passed = sum(bits.without(false, leaves) == false for leaves in drawn)
    mean = 3_000 * float(pass_chance(Fraction(1, 10)))
    assert abs(passed - mean) < 5 * (mean * (1 - mean / 3_000)) ** 0.5


class Money(RuleBasedStateMachine):
    """Payers that watch, a relay that cheats when it likes, epochs that pass or stand still."""

    def __init__(self) -> None:
        super().__init__()
        self.town = RelayTown(4)
        self.sessions = self.town.begin(5, 400_000, cap_ucr=1_000_000, expiry_epoch=60)
        self.signed = dict.fromkeys(self.sessions, 0)  # what the payer signed for, in bytes
        self.sequence = dict.fromkeys(self.sessions, 0)
        self.books: dict[int, object] = {}
        self.pooled = 0

    def receipt(self, session: int, growth: int) -> Receipt:
        self.signed[session] += growth
        self.sequence[session] += 1
        return self.town.both_sign(session, self.sequence[session], self.signed[session])

    def free(self) -> list[int]:
        rows = self.town.state.sessions
        return [index for index in self.sessions if index in rows and not rows[index].claim]

    @precondition(lambda self: self.free())
    @rule(data=st.data(), growth=st.integers(1, MIB))
    def receipts(self, data: st.DataObject, growth: int) -> None:
        chosen = data.draw(st.sets(st.sampled_from(self.free()), min_size=1))
        record = self.town.packed(*(self.receipt(session, growth) for session in chosen))
        assert only(self.town.submit(record)).accepted

    @precondition(lambda self: self.free())
    @rule(data=st.data(), growth=st.integers(1, MIB), lie=st.integers(0, 2 * MIB))
    def claim(self, data: st.DataObject, growth: int, lie: int) -> None:
        """The first session of the claim may hold a lie; its payer disputes that."""
        chosen = sorted(data.draw(st.sets(st.sampled_from(self.free()), min_size=1)))
        shown = [self.receipt(session, growth) for session in chosen]
        first = chosen[0]
        if lie:
            shown[0] = self.town.forged(first, self.signed[first] + lie, self.sequence[first])
        book = self.town.book(*shown)
        result = only(self.town.submit(self.town.claimed(book)))
        if not result.accepted:
            assert result.reason in ("fork", "wrong_total", "slashed")
            return
        assert result.index is not None
        self.books[result.index] = book
        if lie:
            dispute = self.town.dispute(result.index, 0, self.town.payer_of(first))
            assert only(self.town.submit(dispute)).accepted

    @precondition(lambda self: self.town.state.claims)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        """Show what was asked for; a record with a lie among it is refused whole."""
        index = data.draw(st.sampled_from(sorted(self.town.state.claims)))
        claim = self.town.state.claims[index]
        asked = bits.members(bits.without(bits.union(claim.drawn, claim.disputed), claim.opened))
        for position in asked:
            records = self.books[index].open(index, [position])  # type: ignore[attr-defined]
            result = only(self.town.submit(*self.town.opening(*records)))
            assert result.accepted or result.reason == "bad_signature"

    @rule()
    def epoch(self) -> None:
        self.town.next_epoch()

    @rule(count=st.integers(2, 5))
    def stand_still(self, count: int) -> None:
        before = {i: c.deadline_epoch - self.town.state.epoch for i, c in self.claims().items()}
        self.town.ledger.tick(self.town.time_ms(self.town.state.epoch + count))
        for index, left in before.items():
            if index in self.town.state.claims:
                assert self.claims()[index].deadline_epoch - self.town.state.epoch == left - 1

    def claims(self) -> dict[int, object]:
        return self.town.state.claims  # type: ignore[no-any-return]

    @invariant()
    def every_credit_is_somewhere(self) -> None:
        assert is_conserved(self.town.state)

    @invariant()
    def no_payer_loses_more_than_it_signed_for(self) -> None:
        for index, session in self.town.state.sessions.items():
            due = self.signed[index] * session.relay_price_ucr // MIB
            assert session.claimed_ucr <= min(due, session.cap_ucr)

    @invariant()
    def the_payee_gets_what_was_burned_less_fee_and_pool(self) -> None:
        """Every burn is split by floors, so that fee and pool are at most a unit short each."""
        stats = self.town.state.stats
        burned, paid = stats["burned_ucr"], stats["paid_relay_ucr"]
        params = self.town.params
        least = burned * (10_000 - params.fee_bp - params.coverage_share_bp) // 10_000
        assert least <= paid <= least + 1 + 2 * sum(self.sequence.values())

    @invariant()
    def the_sums_of_open_claims_are_known(self) -> None:
        assert sum(self.town.state.claiming.values()) == sum(
            claim.total_ucr
            for claim in self.claims().values()  # type: ignore[attr-defined]
        )

    @invariant()
    def locks_are_those_of_open_claims(self) -> None:
        state = self.town.state
        locked = {s.claim - 1 for s in state.sessions.values() if s.claim}
        assert locked == set(state.claims)
        assert {claim.relay for claim in state.claims.values()} <= {RELAY}


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
