from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain import wire
from chain.records import Receipt, SubmitResult
from chain.rules.cell_work import compute_overlap_weights
from chain.rules.rewards import compute_bootstrap_ucr
from chain.rules.split import compute_split
from chain.rules.trust import TOTAL, compute_trust, get_reachable
from chain.state import compute_held_ucr, is_conserved
from chain.state_root import compute_state_root

from .chain_helpers import Town

MIB = 1 << 20
amounts = st.integers(0, (1 << 63) - 1)
weight_lists = st.lists(st.integers(0, 1 << 50), min_size=1, max_size=30).filter(any)


@given(amounts, weight_lists)
def test_a_split_adds_up_and_nobody_is_off_by_more_than_one(
    amount: int, weights: list[int]
) -> None:
    split = compute_split(amount, weights)
    total = sum(weights)
    assert sum(split.shares) == amount
    assert 0 <= split.dust_ucr < len(weights)
    for share, weight in zip(split.shares, weights, strict=True):
        floor = amount * weight // total
        assert floor <= share <= floor + 1
        assert weight or not share


@given(amounts, weight_lists, st.integers(0, 29), st.integers(1, 1000))
def test_more_weight_never_earns_less(
    amount: int, weights: list[int], position: int, more: int
) -> None:
    position %= len(weights)
    before = compute_split(amount, weights).shares[position]
    weights[position] += more
    assert compute_split(amount, weights).shares[position] >= before


@pytest.mark.parametrize(("amount", "weights"), [(1, []), (1, [0]), (-1, [1]), (1, [2, -1])])
def test_what_cannot_be_split_is_an_error(amount: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match="a split needs"):
        compute_split(amount, weights)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=20))
def test_overlap_makes_the_next_hotspot_worth_less(scores: list[int]) -> None:
    ranked = sorted(((score, i) for i, score in enumerate(scores)), reverse=True)
    weights = compute_overlap_weights(ranked, (1_000, 500, 250))
    assert weights[0] == 1_000 * max(scores)
    assert weights == sorted(weights, reverse=True)


links = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]),
    st.integers(1, 9),
    max_size=25,
)


@given(links, st.sets(st.integers(0, 9), min_size=1))
def test_trust_is_never_made_and_reaches_only_who_is_linked_to_a_seed(
    edges: dict[tuple[int, int], int], seeds: set[int]
) -> None:
    params = Town(1).params
    trust = compute_trust(edges, sorted(seeds), [0] * 10, params)
    assert sum(trust) <= TOTAL
    reached = get_reachable(edges, sorted(seeds), 10)
    assert all(not value for i, value in enumerate(trust) if i not in reached)
    assert all(trust[i] for i in seeds)


@given(st.integers(1, 40))
def test_a_ring_behind_one_edge_shares_what_the_edge_carries(size: int) -> None:
    """Splitting one hotspot into many behind the same friend must not multiply trust."""
    params = Town(1).params
    honest = {(0, 1): 9, (1, 2): 9, (0, 2): 9}
    ring = {(2 if i == 3 else i - 1, i): 9 for i in range(3, 3 + size)}
    ring |= {(i, j): 9 for i in range(3, 3 + size) for j in range(i + 2, 3 + size)}
    trust = compute_trust({**honest, **ring}, [0], [0] * (3 + size), params)
    assert sum(trust[3:]) < TOTAL // 2


def started(preset: str = "minimal", count: int = 4) -> Town:
    town = Town(count, preset=preset)
    town.join()
    town.run(2, 3)
    return town


def only(results: list[SubmitResult]) -> SubmitResult:
    assert len(results) == 1
    return results[0]


def signed_receipt(
    town: Town, session: int, sequence: int, relayed: int, tokens: int = 0
) -> Receipt:
    unsigned = Receipt(session, sequence, relayed, tokens, min(1, tokens), bytes(32))
    return town.receipt(0, 1, unsigned)


def test_a_claim_pays_payee_pool_and_fee_exactly() -> None:
    town = started()
    assert only(town.submit(town.open_session(0, 1))).index == 0
    before = {key: a.balance_ucr for key, a in town.ledger.state.accounts.items()}
    claim = town.claim(signed_receipt(town, 0, 1, 3 * MIB + 7, tokens=1_500))
    assert only(town.submit(claim)).accepted
    state = town.ledger.state
    burned = (3 * MIB + 7) * 1_000_000 // MIB + 3_000_000
    fee, coverage = burned * 500 // 10_000, burned * 2_000 // 10_000
    payee = town.owner(1)
    assert state.balance(payee) - before[payee] == burned - fee - coverage
    assert sum(state.pools.values()) == coverage
    assert state.supply.destroyed == fee
    assert state.sessions[0].escrow_ucr == 10_000_000 - burned
    assert is_conserved(state)


def test_newer_receipts_pay_only_what_they_add() -> None:
    town = started()
    town.submit(town.open_session(0, 1))
    single = Town(4)
    single.join()
    single.run(2, 3)
    single.submit(single.open_session(0, 1))
    for step in (1, 2, 3):
        assert only(town.submit(town.claim(signed_receipt(town, 0, step, step * 777_777)))).accepted
    assert only(single.submit(single.claim(signed_receipt(single, 0, 3, 3 * 777_777)))).accepted
    assert town.ledger.state.sessions[0].claimed_ucr == single.ledger.state.sessions[0].claimed_ucr


def test_a_receipt_never_pays_more_than_the_escrow() -> None:
    town = started()
    town.submit(town.open_session(0, 1))
    assert only(
        town.submit(town.claim(signed_receipt(town, 0, 1, 1 << 60, tokens=1 << 60)))
    ).accepted
    session = town.ledger.state.sessions[0]
    assert session.claimed_ucr == session.cap_ucr
    assert is_conserved(town.ledger.state)


@pytest.mark.parametrize(
    ("sequence", "relayed", "tokens"),
    [(1, 500, 10), (2, 500, 10), (3, 99, 10), (3, 500, 9), (2, 499, 10)],
)
def test_old_or_shrinking_receipts_are_stale(sequence: int, relayed: int, tokens: int) -> None:
    town = started()
    town.submit(town.open_session(0, 1))
    newest = signed_receipt(town, 0, 2, 500, 10)
    assert only(town.submit(town.claim(newest))).accepted
    result = only(town.submit(town.claim(signed_receipt(town, 0, sequence, relayed, tokens))))
    same = (sequence, relayed, tokens) == (2, 500, 10)
    assert result.reason == ("already" if same else "stale_receipt")


def test_claims_need_both_signatures_an_open_session_and_one_receipt_each() -> None:
    town = started()
    town.submit(town.open_session(0, 1))
    good = signed_receipt(town, 0, 1, 100)
    forged = town.receipt(0, 2, Receipt(0, 1, 100, 0, 0, bytes(32)))
    unknown = town.receipt(0, 1, Receipt(5, 1, 100, 0, 0, bytes(32)))
    assert only(town.submit(town.claim(forged))).reason == "bad_signature"
    assert only(town.submit(town.claim(unknown))).reason == "unknown_session"
    assert only(town.submit(town.claim(good, good))).reason == "duplicate"
    result = only(town.submit(town.claim(good, unknown)))
    assert "receipt 1" in result.detail
    assert town.ledger.state.sessions[0].claimed_ucr == 0


def test_sessions_are_refused_for_named_reasons() -> None:
    town = started()
    epoch = town.ledger.state.epoch
    cases = {
        "unknown_hotspot": town.open_session(0, 9),
        "self": town.open_session(0, 0),
        "wrong_epoch": town.open_session(0, 1, expiry_epoch=epoch),
        "insufficient_balance": town.open_session(0, 1, cap_ucr=1 << 60),
    }
    stranger = town.open_session(0, 1)
    cases["bad_signature"] = wire.seal(stranger.record, town.network_id, [town.keys[1]])
    for reason, signed in cases.items():
        assert only(town.submit(signed)).reason == reason
    assert only(town.submit(stranger)).accepted
    assert only(town.submit(town.open_session(0, 1, cap_ucr=5))).reason == "duplicate"


def test_what_nobody_claims_returns_at_the_settlement_after_expiry() -> None:
    town = started()
    before = town.ledger.state.balance(town.owner(0))
    town.submit(town.open_session(0, 1, expiry_epoch=town.ledger.state.epoch + 1))
    assert town.ledger.state.balance(town.owner(0)) == before - 10_000_000
    town.ledger.tick(town.time_ms(7))
    assert not town.ledger.state.sessions
    assert not town.ledger.state.openings
    assert town.ledger.state.balance(town.owner(0)) >= before
    assert is_conserved(town.ledger.state)


def wealth_of_two_hotspots(burned_mib: int) -> int:
    """What an owner of payer and payee has after two settlements, among strangers who cover it."""
    town = Town(5, owners={0: b"s" * 32, 1: b"s" * 32})
    town.join()
    town.run(2, 3)
    if burned_mib:
        town.submit(town.open_session(0, 1))
        town.submit(town.claim(signed_receipt(town, 0, 1, burned_mib * MIB)))
    town.run(4, 12)
    state, owner = town.ledger.state, town.owner(0)
    escrow = sum(s.escrow_ucr for s in state.sessions.values() if s.account == owner)
    return state.balance(owner) + escrow


def test_dealing_with_oneself_loses_the_fee_and_the_coverage_share() -> None:
    idle, dealing = wealth_of_two_hotspots(0), wealth_of_two_hotspots(9)
    assert idle - dealing == 9_000_000 * 25 // 100


def test_the_pool_of_a_cell_goes_to_strangers_who_cover_it() -> None:
    town = started()
    town.submit(town.open_session(0, 1))
    town.submit(town.claim(signed_receipt(town, 0, 1, 8 * MIB)))
    payments = []
    town.ledger.on_block = lambda sealed: payments.extend(sealed.effects.payments)
    town.run(4, 6)
    paid = [p for p in payments if p.kind in ("coverage", "witness") and p.source]
    assert sum(p.amount_ucr for p in paid) == 8_000_000 * 20 // 100
    assert {p.source for p in paid} == {town.owner(0)}
    assert town.owner(0) not in {p.account for p in paid}
    assert not town.ledger.state.pools


def test_the_bootstrap_is_capped_per_cell_and_halves() -> None:
    town = started()
    state = town.ledger.state
    first = compute_bootstrap_ucr(state)
    state.settlement = state.params.bootstrap_halving
    assert compute_bootstrap_ucr(state) == first // 2
    state.settlement = 100 * state.params.bootstrap_halving
    assert compute_bootstrap_ucr(state) == 0
    state.settlement = 0
    town.run(4, 6)
    cells = {cell for cell, _ in state.quality} or {1}
    assert 0 < state.supply.minted <= 10_000_000 * max(9, len(cells))


class Market(RuleBasedStateMachine):
    """Random records, honest and not, while epochs pass: credits are conserved at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.town = Town(3)
        self.town.join()
        self.epoch = 1
        self.sequence = 0

    @rule()
    def pass_an_epoch(self) -> None:
        self.skip_epochs(1)
        self.town.run_epoch(self.epoch)

    @rule(skipped=st.integers(2, 9))
    def skip_epochs(self, skipped: int) -> None:
        self.epoch += skipped
        self.town.ledger.tick(self.town.time_ms(self.epoch))
        assert compute_state_root(self.town.ledger.state) == self.town.ledger.head.state_root

    @rule(amount=st.integers(0, 1 << 62), index=st.integers(0, 2), name=st.binary(max_size=3))
    def deposit(self, amount: int, index: int, name: bytes) -> None:
        self.town.submit(self.town.deposit(index, amount, b"d" + name))

    @rule(
        payer=st.integers(0, 3),
        payee=st.integers(0, 3),
        nonce=st.integers(0, 3),
        cap=st.integers(0, 60_000_000),
        expiry=st.integers(-1, 9),
    )
    def open(self, payer: int, payee: int, nonce: int, cap: int, expiry: int) -> None:
        if payer < 3:
            epoch = max(0, self.town.ledger.state.epoch + expiry)
            changes = {"cap_ucr": cap, "expiry_epoch": epoch}
            self.town.submit(self.town.open_session(payer, payee, nonce, **changes))

    @precondition(lambda self: self.town.ledger.state.sessions)
    @rule(data=st.data(), relayed=st.integers(0, 1 << 24), tokens=st.integers(0, 5_000))
    def claim(self, data: st.DataObject, relayed: int, tokens: int) -> None:
        session = data.draw(st.sampled_from(sorted(self.town.ledger.state.sessions)))
        entry = self.town.ledger.state.sessions[session]
        self.sequence += 1
        unsigned = Receipt(
            *(session, self.sequence, entry.relayed_bytes + relayed),
            *(entry.ai_tokens + tokens, entry.ai_requests, bytes(32)),
        )
        receipt = self.town.receipt(entry.payer, entry.payee, unsigned)
        assert only(self.town.submit(self.town.claim(receipt))).accepted

    @invariant()
    def credits_are_conserved(self) -> None:
        state = self.town.ledger.state
        assert is_conserved(state)
        assert all(account.balance_ucr >= 0 for account in state.accounts.values())
        assert compute_held_ucr(state) >= 0


Market.TestCase.settings = settings(max_examples=25, stateful_step_count=14, deadline=None)
TestMarket = Market.TestCase
