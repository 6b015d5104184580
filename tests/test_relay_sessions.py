"""Sessions: nobody loses more than a chunk or a cap, and what is lost on the way is sent again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.draws import digest, u32
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Receipt, Refusal, SessionClaim, SubmitResult
from chain.rules.burns import compute_ai_due, compute_relay_due
from chain.state import Session
from chain.wire import decode
from hotspot.actions import Action, FetchSession, KeepReceipt, SubmitRecord
from hotspot.directory import Directory
from hotspot.overlay.payee import PayeeBook, PayeeSession, Price
from hotspot.overlay.payer import LOSS_FLOOR_BYTES, PayerBook, PayerSession, Terms
from hotspot.overlay.sessions import (
    Claim,
    Refuse,
    SessionInfo,
    Sync,
    Work,
    cost_ucr,
    is_signed_by,
    pack_control,
    parse_control,
    sign_receipt,
    unpack_kept,
    work_of,
)

PARAMS = PRESETS["minimal"]
NETWORK = digest("test-network")
SEEDS = [digest("test-end", u32(i)) for i in range(3)]
KEYS = Directory((i, public_key(seed)) for i, seed in enumerate(SEEDS))
INFO = SessionInfo(4, 0, 1, 1 << 20, 1_000, 100_000_000, 50)
S = 1_000_000_000


class Pair:
    """Payer 0 and payee 1 of session 4."""

    def __init__(self, info: SessionInfo = INFO, credit_tokens: int = 100) -> None:
        self.actions: list[Action] = []
        emit = self.actions.append
        self.payer = PayerBook(0, SEEDS[0], NETWORK, emit)
        price = Price(info.relay_price_ucr, info.ai_price_ucr)
        self.payee = PayeeBook(1, SEEDS[1], NETWORK, PARAMS, KEYS, price, credit_tokens, emit)
        self.payer.sessions[4] = PayerSession(info)
        assert self.payee.receive_session(4, info, 1) is None

    @property
    def theirs(self) -> PayerSession:
        return self.payer.sessions[4]

    @property
    def ours(self) -> PayeeSession:
        return self.payee.sessions[4]

    def relay(self, size: int, now_ns: int) -> Refusal | None:
        self.payer.count_sent(4, size)
        return self.payee.relay(self.ours, size, now_ns)

    def settle(self, now_ns: int) -> Receipt | None:
        receipt = self.payer.receive_claim(self.ours.claim())
        if receipt is not None:
            assert self.payee.receive_receipt(receipt, now_ns) is None
        return receipt

    def restart(self) -> Pair:
        """Both ends again, from what they stored alone."""
        fresh = Pair(self.theirs.info)
        kept = [unpack_kept(a.data) for a in self.actions if isinstance(a, KeepReceipt)]
        for item in kept:
            if item.receipt is not None and item.receipt.payee_signature:
                fresh.payee.restore(item)
            else:
                fresh.payer.restore(item)
        return fresh


def test_a_payer_that_never_signs_gets_one_chunk() -> None:
    pair = Pair()
    sent = 0
    while pair.relay(1_000, S) is None:
        sent += 1_000
    assert PARAMS.chunk_bytes - 1_000 < sent <= PARAMS.chunk_bytes


def test_a_silent_payer_is_cut_off_after_three_receipt_periods_and_welcomed_back() -> None:
    pair = Pair()
    assert pair.relay(100, 0) is None
    assert pair.relay(100, 3 * S) is None
    refusal = pair.relay(100, 3 * S + 1)
    assert refusal is not None
    assert refusal.reason == "unpaid"
    assert pair.settle(4 * S) is not None
    assert pair.relay(100, 5 * S) is None


def test_a_claim_is_due_at_half_a_chunk_or_after_one_period() -> None:
    pair = Pair()
    pair.relay(100, 0)
    assert pair.payee.next_deadline() == S
    pair.relay(PARAMS.chunk_bytes // 2, 5)
    assert pair.payee.next_deadline() == 5
    assert pair.payee.take_claims(5) == [pair.ours]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 1_400), st.booleans(), st.booleans()), max_size=60))
def test_lost_messages_lose_no_money(steps: list[tuple[int, bool, bool]]) -> None:
    pair = Pair()
    for size, claim_arrives, receipt_arrives in steps:
        pair.relay(size, 0)
        if claim_arrives:
            receipt = pair.payer.receive_claim(pair.ours.claim())
            if receipt is not None and receipt_arrives:
                assert pair.payee.receive_receipt(receipt, 0) is None
    pair.settle(0)
    pair.settle(0)
    assert work_of(pair.ours.receipt) == pair.ours.counted() == pair.theirs.counted()
    assert pair.ours.receipt is None or is_signed_by(
        KEYS.key_of(1), NETWORK, pair.ours.receipt, pair.ours.receipt.payee_signature
    )


def test_the_smaller_count_is_signed_both_ways() -> None:
    pair = Pair()
    pair.payer.count_sent(4, 5_000)
    pair.ours.relayed_bytes = 3_000  # the air lost the rest before the relay
    receipt = pair.settle(0)
    assert receipt is not None
    assert receipt.relayed_bytes == 3_000
    pair.ours.relayed_bytes = 10_000_000  # and this it invented
    receipt = pair.payer.receive_claim(pair.ours.claim())
    assert receipt is not None
    assert receipt.relayed_bytes == 5_000 + LOSS_FLOOR_BYTES
    assert pair.theirs.is_retired


def test_tokens_of_the_payers_own_count_bound_the_bill() -> None:
    pair = Pair()
    assert pair.payee.reserve(pair.ours, 80) is None
    pair.payee.settle(pair.ours, 80, 70, 0)
    pair.payer.count_answer(4, 60)
    receipt = pair.settle(0)
    assert receipt is not None
    assert (receipt.ai_tokens, receipt.ai_requests) == (60, 1)


def test_unpaid_answers_are_bounded_by_one_cap_or_the_credit() -> None:
    pair = Pair(credit_tokens=100)
    assert pair.payee.reserve(pair.ours, 5_000) is None  # nothing is owed: one cap of any size
    refusal = pair.payee.reserve(pair.ours, 1)
    assert refusal is not None
    assert refusal.reason == "unpaid"


def test_a_charge_never_exceeds_the_cap_of_its_request() -> None:
    pair = Pair()
    pair.payee.reserve(pair.ours, 50)
    pair.payee.settle(pair.ours, 50, 9_000, 0)
    assert pair.ours.tokens == 50


def test_escrow_bounds_everything() -> None:
    small = replace(INFO, cap_ucr=1_000)
    pair = Pair(small)
    assert pair.relay(900, 0) is None
    refusal = pair.relay(200, 0)
    assert refusal is not None
    assert refusal.reason == "over_cap"


def forged(receipt: Receipt, **changes: object) -> Receipt:
    return replace(receipt, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "resign", "reason"),
    [
        ({"relayed_bytes": 999_999}, False, "bad_signature"),
        ({"sequence": 3}, True, "stale_receipt"),
        ({"relayed_bytes": 1}, True, "stale_receipt"),
        ({"previous": b"x" * 32}, True, "broken_chain"),
        ({"relayed_bytes": 1 << 40}, True, "over_cap"),
        ({"session": 99}, True, "unknown_session"),
    ],
)
def test_wrong_receipts_are_refused_by_name(
    changes: dict[str, object], resign: bool, reason: str
) -> None:
    pair = Pair()
    pair.relay(1_000, 0)
    assert pair.settle(0) is not None
    pair.relay(1_000, 0)
    good = pair.payer.receive_claim(pair.ours.claim())
    assert good is not None
    bad = forged(good, **changes)
    if resign:
        bad = replace(bad, payer_signature=sign_receipt(SEEDS[0], NETWORK, bad))
    refusal = pair.payee.receive_receipt(bad, 0)
    assert refusal is not None
    assert refusal.reason == reason
    assert pair.payee.receive_receipt(good, 0) is None


def test_a_strangers_signature_is_no_receipt() -> None:
    pair = Pair()
    pair.relay(1_000, 0)
    good = pair.payer.receive_claim(pair.ours.claim())
    assert good is not None
    bad = replace(good, payer_signature=sign_receipt(SEEDS[2], NETWORK, good))
    refusal = pair.payee.receive_receipt(bad, 0)
    assert refusal is not None
    assert refusal.reason == "bad_signature"


def test_a_restart_of_both_ends_keeps_every_receipt_and_goes_on() -> None:
    pair = Pair()
    pair.relay(10_000, 0)
    pair.settle(0)
    pair.relay(5_000, 0)  # never acknowledged: the relay's loss
    fresh = pair.restart()
    assert work_of(fresh.ours.receipt).relayed_bytes == 10_000
    fresh.relay(2_000, 0)
    receipt = fresh.settle(0)
    assert receipt is not None
    assert (receipt.sequence, receipt.relayed_bytes) == (2, 12_000)


def test_a_receipt_is_kept_before_it_counts() -> None:
    pair = Pair()
    pair.relay(1_000, 0)
    pair.actions.clear()
    pair.settle(0)
    kept = [unpack_kept(a.data) for a in pair.actions if isinstance(a, KeepReceipt)]
    assert [k.receipt.relayed_bytes for k in kept if k.receipt] == [1_000, 1_000]


def submitted(pair: Pair) -> list[bytes]:
    return [a.wire for a in pair.actions if isinstance(a, SubmitRecord)]


def test_the_newest_receipt_is_claimed_once() -> None:
    pair = Pair()
    pair.payee.harvest()
    assert submitted(pair) == []
    pair.relay(1_000, 0)
    pair.settle(0)
    pair.payee.harvest()
    pair.payee.harvest()
    (wire,) = submitted(pair)
    signed = decode(wire)
    assert not isinstance(signed, Refusal)
    assert isinstance(signed.record, SessionClaim)
    assert signed.record.receipts == (pair.ours.receipt,)


def test_receipts_of_a_refused_batch_are_claimed_alone_and_then_given_up() -> None:
    pair = Pair()
    pair.relay(1_000, 0)
    pair.settle(0)
    for _ in range(4):
        pair.payee.harvest()
        signed = decode(submitted(pair)[-1])
        assert not isinstance(signed, Refusal)
        no = SubmitResult(signed.record_id, False, None, "unknown_session", "gone")
        pair.payee.receive_result(no)
    assert len(submitted(pair)) == 2


def test_an_unknown_session_is_asked_for_once_and_cheap_ones_refused() -> None:
    pair = Pair()
    pair.actions.clear()
    for _ in range(3):
        found = pair.payee.find(9, 0, 0)
        assert isinstance(found, Refusal)
    assert pair.actions == [FetchSession(9)]
    cheap = replace(INFO, session=9, relay_price_ucr=0)
    refusal = pair.payee.receive_session(9, cheap, 1)
    assert refusal is not None
    assert refusal.reason == "price_too_low"
    found = pair.payee.find(9, 0, 10 * S)
    assert isinstance(found, Refusal)
    assert found.reason == "price_too_low"


def test_opening_waits_for_the_ledger_and_backs_off_when_refused() -> None:
    pair = Pair()
    terms = Terms(10, 10, 1_000, 50)
    assert pair.payer.ensure(2, terms, 0) is None
    assert pair.payer.ensure(2, terms, 0) is None
    (wire,) = submitted(pair)
    signed = decode(wire)
    assert not isinstance(signed, Refusal)
    poor = SubmitResult(signed.record_id, False, None, "insufficient_balance", "deposit first")
    assert pair.payer.receive_result(poor, 0)
    refused = pair.payer.ensure(2, terms, S)
    assert isinstance(refused, Refusal)
    assert refused.reason == "insufficient_balance"
    assert pair.payer.ensure(2, terms, 6 * S) is None
    assert len(submitted(pair)) == 2


@pytest.mark.parametrize(
    "message",
    [Sync(7), Claim(7, Work(1, 2, 3), 9), Refuse(7, "price_too_low")],
)
def test_session_messages_round_trip(message: Sync | Claim | Refuse) -> None:
    assert parse_control(pack_control(message)) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_session_message_or_a_refusal(data: bytes) -> None:
    parse_control(data)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 30), st.integers(0, 1 << 20))
def test_cost_is_the_ledgers(relayed: int, tokens: int, price: int) -> None:
    info = replace(INFO, relay_price_ucr=price, ai_price_ucr=price)
    there = Session(4, b"", 0, 1, 0, price, price, 1 << 60, 50, b"")
    due = compute_relay_due(there, relayed) + compute_ai_due(there, tokens)
    assert cost_ucr(info, Work(relayed, tokens, 0)) == due
