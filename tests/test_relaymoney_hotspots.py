"""Hotspots that claim under one root, show leaves when asked, and payers that watch them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.claims.builder import ClaimBook, Leaf, make_leaf
from chain.draws import digest
from chain.packed import Entry
from chain.params import PRESETS
from chain.records import Dispute, LeafOpening, Receipt, Refusal, RelayClaim, SubmitResult
from chain.state import is_conserved
from chain.wire import decode, seal
from hotspot.actions import Action, DropClaim, FetchStandings, KeepClaim, SubmitRecord
from hotspot.overlay.claims import (
    ClaimDesk,
    ClaimStanding,
    ClaimWatch,
    Held,
    OpenClaim,
    Standing,
    Standings,
    claims_more,
    pack_claim,
    unpack_claim,
)
from hotspot.overlay.sessions import Work, cost_ucr, sign_receipt, unpack_kept

from .relay_helpers import MS, Overlay, seed_of, words_of

RELAY, PROVIDER = 1, 4
STAR = ((0, RELAY), (2, RELAY), (3, RELAY), (RELAY, PROVIDER))
EPOCH_MS = PRESETS["minimal"].epoch_ms
BOND_UCR = 1_000_000


class Market(Overlay):
    """Three clients whose requests go through one relay to one provider; both have a bond."""

    def __init__(self, bond_ucr: int = BOND_UCR, **options: object) -> None:
        super().__init__(5, STAR, {PROVIDER: ("echo",)}, claim_by_tree_at=3, **options)  # type: ignore[arg-type]
        for index in (RELAY, PROVIDER):
            hotspot = self.ledger.state.hotspots[index]
            self.ledger.state.debit(hotspot.owner, bond_ucr)
            hotspot.bond_ucr += bond_ucr
        self.wires: list[object] = []

    def _submit(self, index: int, wire: bytes) -> None:
        signed = decode(wire)
        assert not isinstance(signed, Refusal)
        self.wires.append(signed.record)
        super()._submit(index, wire)

    def trade(self) -> None:
        """Every client gets an answer."""
        self.run(3_000)
        for client in (0, 2, 3):
            answer = self.ask(client, f"hello from {client} " + "word " * 200)
            self.run(8_000, lambda answer=answer: answer.tokens is not None)  # type: ignore[misc]
            assert words_of(answer).startswith("HELLO")

    def sent(self, kind: type) -> list[object]:
        return [record for record in self.wires if isinstance(record, kind)]

    def owed_ucr(self, payee: int) -> dict[int, int]:
        """What the newest receipts of a payee are worth, by session."""
        kept = [unpack_kept(data) for data in self.kept[payee].values()]
        mine = [k for k in kept if k.info.payee == payee and k.receipt is not None]
        return {k.info.session: cost_ucr(k.info, _work(k.receipt)) for k in mine}

    def paid_ucr(self, payee: int) -> dict[int, int]:
        sessions = self.ledger.state.sessions.values()
        return {s.index: s.claimed_ucr for s in sessions if s.payee == payee and s.claimed_ucr}


def _work(receipt: Receipt | None) -> Work:
    assert receipt is not None
    return Work(receipt.relayed_bytes, receipt.ai_tokens, receipt.ai_requests)


def test_relay_and_provider_claim_under_roots_and_are_paid_to_the_credit() -> None:
    market = Market(claim_ms=25_000)
    market.trade()
    market.run(14 * EPOCH_MS)
    claims = market.sent(RelayClaim)
    assert {claim.relay for claim in claims} == {RELAY, PROVIDER}  # type: ignore[attr-defined]
    assert market.sent(LeafOpening)
    assert not market.sent(Dispute)
    for payee in (RELAY, PROVIDER):
        owed = {index: ucr for index, ucr in market.owed_ucr(payee).items() if ucr}
        assert len(owed) == 3
        assert market.paid_ucr(payee) == owed
    state = market.ledger.state
    assert state.stats["claims_paid"] >= 2
    assert not state.stats["claims_void"]
    assert is_conserved(state)


def test_without_a_bond_receipts_go_to_the_ledger_as_they_are() -> None:
    market = Market(bond_ucr=0, claim_ms=25_000)
    market.trade()
    market.run(4 * EPOCH_MS)
    assert not market.sent(RelayClaim)
    for payee in (RELAY, PROVIDER):
        owed = {index: ucr for index, ucr in market.owed_ucr(payee).items() if ucr}
        assert market.paid_ucr(payee) == owed


def test_a_relay_that_was_killed_while_its_claim_is_open_still_shows_its_leaves() -> None:
    market = Market(claim_ms=25_000)
    market.trade()
    market.run(10 * EPOCH_MS, lambda: bool(market.ledger.state.claims))
    for index in (RELAY, PROVIDER):
        node = market.make_node(index)
        node.restore(market.kept[index].values(), [], market.now_ns)
        node.restore_claims(market.kept_claims[index].values())
        market.nodes[index] = node
        for record in [r for r in market.results if r.accepted]:
            node.receive_result(record, market.now_ns)
    market.run(14 * EPOCH_MS)
    state = market.ledger.state
    assert state.stats["claims_paid"] >= 2
    assert not state.stats["claims_void"]
    owed = {index: ucr for index, ucr in market.owed_ucr(RELAY).items() if ucr}
    assert market.paid_ucr(RELAY) == owed


def test_a_payer_disputes_what_it_never_signed_and_loses_nothing() -> None:
    market = Market(claim_ms=3_600_000)
    market.trade()
    market.ledger.tick(market.now_ns // MS)
    state = market.ledger.state
    sessions = [s for s in state.sessions.values() if s.payee == RELAY]
    forged = []
    for session in sessions:
        bare = Receipt(session.index, 90, 50 << 20, 0, 0, bytes(32))
        own = sign_receipt(seed_of(RELAY), market.ledger.network_id, bare)
        forged.append(Receipt(*[getattr(bare, n) for n in Receipt.__slots__[:6]], own, own))
    book = ClaimBook(make_leaf(state.sessions[r.session], r) for r in forged)
    record = book.record(RELAY, state.epoch)
    signed = seal(record, market.ledger.network_id, [seed_of(RELAY)])
    (taken,) = market.ledger.submit([signed.wire], market.now_ns // MS)
    assert taken.accepted
    market.run(10 * EPOCH_MS)
    assert len(market.sent(Dispute)) == len(forged)
    assert all(market.nodes[s.payer].counts["disputed"] for s in sessions)
    assert not market.paid_ucr(RELAY)
    assert state.stats["claims_void"] == 1
    assert state.hotspots[RELAY].bond_ucr == 0
    assert is_conserved(state)


# --- the desk ----------------------------------------------------------------------------------

PARAMS = PRESETS["minimal"]
NETWORK = digest("test-network")


def standing(index: int, **changes: int) -> Standing:
    row = {
        "payer": 0,
        "payee": RELAY,
        "relay_price_ucr": 1 << 20,
        "ai_price_ucr": 1_000,
        "cap_ucr": 1 << 40,
        "claimed_ucr": 0,
        "sequence": -1,
        "relayed_bytes": 0,
        "ai_tokens": 0,
        "ai_requests": 0,
    }
    return Standing(index, **{**row, **changes})


def receipt(index: int, sequence: int = 3, relayed: int = 500) -> Receipt:
    return Receipt(index, sequence, relayed, 0, 0, bytes(32), bytes(64), bytes(64))


class Desk:
    def __init__(self, tree_at: int = 2) -> None:
        self.actions: list[Action] = []
        emit = self.actions.append
        self.desk = ClaimDesk(RELAY, seed_of(RELAY), NETWORK, PARAMS, tree_at, emit)

    def taken(self, kind: type) -> list[object]:
        found = [a for a in self.actions if isinstance(a, kind)]
        self.actions[:] = [a for a in self.actions if not isinstance(a, kind)]
        return found

    def answer(self, epoch: int, *rows: Standing, bond_ucr: int = 1 << 30) -> dict[int, int]:
        known = Standings(bond_ucr, {row.index: row for row in rows})
        return self.desk.receive_standings(known, epoch)

    def claim(self, epoch: int, *indexes: int) -> bytes:
        self.desk.plan([receipt(index) for index in indexes])
        self.answer(epoch, *(standing(index) for index in indexes))
        (sent,) = self.taken(SubmitRecord)
        return sent.wire  # type: ignore[attr-defined,no-any-return]


def test_a_claim_is_on_the_disk_before_it_leaves() -> None:
    desk = Desk()
    desk.desk.plan([receipt(5), receipt(6)])
    assert desk.taken(FetchStandings) == [FetchStandings(RELAY, (5, 6))]
    desk.answer(9, standing(5), standing(6, sequence=1, relayed_bytes=100))
    kept, sent = desk.actions
    assert isinstance(kept, KeepClaim)
    assert isinstance(sent, SubmitRecord)
    signed = decode(sent.wire)
    assert not isinstance(signed, Refusal)
    assert isinstance(signed.record, RelayClaim)
    assert signed.record.total_ucr == 500 + 400
    assert unpack_claim(kept.data).leaves == desk.desk.open[9].leaves


def test_one_epoch_never_gets_a_second_claim_not_even_after_refusal_and_restart() -> None:
    desk = Desk()
    desk.claim(9, 5, 6)
    refused = SubmitResult(desk.desk.open[9].record_id, False, None, "wrong_total", "")
    assert desk.desk.receive_result(refused) == [5, 6]
    kept = [a.data for a in desk.taken(KeepClaim)]  # type: ignore[attr-defined]
    fresh = Desk()
    fresh.desk.restore(kept[-1])
    for again in (desk, fresh):
        assert not again.desk.wants(50, 9)
        assert again.desk.wants(50, 10)
        again.desk.plan([receipt(5), receipt(6)])
        again.answer(9, standing(5), standing(6))
        assert not again.taken(SubmitRecord)
    desk.claim(10, 5, 6)
    assert desk.taken(DropClaim) == [DropClaim(9)]


def test_what_the_ledger_knows_already_or_holds_is_not_claimed_again() -> None:
    desk = Desk()
    held = Held(1, 0, 3, 500, 0, 0)
    desk.desk.plan([receipt(i) for i in (4, 5, 6, 7, 8)])
    rows = {
        4: None,
        5: standing(5, sequence=3, relayed_bytes=500),
        6: Standing(6, *[getattr(standing(6), n) for n in Standing.__slots__[1:-1]], held),
        7: standing(7),
        8: standing(8),
    }
    claimed = desk.desk.receive_standings(Standings(1 << 30, rows), 9)
    assert claimed == {4: 3, 5: 3, 7: 3, 8: 3}
    assert [leaf.entry.session for leaf in desk.desk.open[9].leaves] == [7, 8]


@pytest.mark.parametrize("bond_ucr", [0, 1_000 // 30])
def test_a_claim_beyond_the_bond_is_not_made(bond_ucr: int) -> None:
    desk = Desk()
    desk.desk.plan([receipt(5), receipt(6)])
    claimed = desk.answer(9, standing(5), standing(6), bond_ucr=bond_ucr)
    assert claimed == {5: -1, 6: -1}
    assert not desk.taken(SubmitRecord)
    desk.desk.plan([receipt(5), receipt(6)])
    desk.answer(9, standing(5), standing(6), bond_ucr=1_000 // 30 + 1)
    assert desk.taken(SubmitRecord)


def test_leaves_are_shown_once_per_question_and_the_sessions_are_free_in_the_end() -> None:
    desk = Desk()
    desk.claim(9, 5, 6)
    answer = SubmitResult(desk.desk.open[9].record_id, True, 3, "ok", "")
    assert desk.desk.receive_result(answer) == []
    desk.taken(SubmitRecord)
    question = ClaimStanding((0, 1), (0,))
    assert desk.desk.receive_claim(3, question) == []
    (sent,) = desk.taken(SubmitRecord)
    signed = decode(sent.wire)  # type: ignore[attr-defined]
    assert not isinstance(signed, Refusal)
    assert isinstance(signed.record, LeafOpening)
    assert [opening.position for opening in signed.record.openings] == [1]
    desk.desk.receive_claim(3, question)
    assert not desk.taken(SubmitRecord), "the first is still on its way"
    desk.desk.receive_result(SubmitResult(signed.record_id, True, None, "ok", ""))
    assert desk.desk.taken() == {5, 6}
    assert desk.desk.receive_claim(3, None) == [5, 6]
    assert desk.desk.taken() == set()
    assert desk.desk.receive_claim(77, None) == []


numbers = st.integers(0, 1 << 30)
leaves = st.builds(
    lambda session, sequence, growth, totals, due: Leaf(
        Entry(session, sequence, *growth),
        Receipt(session, sequence, *totals, b"\1" * 32, b"\2" * 64, b"\3" * 64),
        due,
    ),
    *(numbers, numbers, st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers)),
    numbers,
)


@given(numbers, st.lists(leaves, max_size=4), st.integers(-1, 100))
def test_kept_claims_come_back(epoch: int, kept: list[Leaf], number: int) -> None:
    claim = OpenClaim(epoch, tuple(kept), number)
    again = unpack_claim(pack_claim(claim))
    assert (again.epoch, again.leaves, again.number) == (epoch, tuple(kept), number)


@given(st.binary(max_size=40))
def test_other_bytes_are_no_kept_claim(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"kept claim|byte"):
        unpack_claim(raw + b"\xff")


# --- the watch ---------------------------------------------------------------------------------


four = st.tuples(*(st.integers(0, 3) for _ in range(4)))


@given(four, four)
def test_exactly_what_exceeds_our_newest_receipt_is_disputed(
    claimed: tuple[int, int, int, int], signed: tuple[int, int, int, int]
) -> None:
    held, ours = Held(0, 0, *claimed), Receipt(5, *signed, bytes(32))
    exceeds = any(more > ours for more, ours in zip(claimed, signed, strict=True))
    assert claims_more(held, ours) is exceeds
    assert claims_more(held, None)


def test_a_leaf_is_disputed_once() -> None:
    actions: list[Action] = []
    watch = ClaimWatch(0, seed_of(0), NETWORK, actions.append)
    row = standing(5)
    assert not watch.check(row, receipt(5))
    false = Standing(*[getattr(row, n) for n in Standing.__slots__[:-1]], Held(2, 7, 9, 900, 0, 0))
    for _ in range(2):
        assert watch.check(false, receipt(5))
    records = [decode(a.wire) for a in actions if isinstance(a, SubmitRecord)]
    assert [r.record for r in records if not isinstance(r, Refusal)] == [Dispute(2, 7)]
