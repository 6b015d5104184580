"""Relay claims on the ledger: what is opened is paid, what is not costs the bond, to the credit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import bits
from chain.params import PRESETS
from chain.records import LeafOpening, Opening
from chain.state import compute_held_ucr, is_conserved
from chain.state_root import compute_state_root

from .relaymoney_helpers import MIB, RELAY, RelayTown, only

OPENING = PRESETS["minimal"].opening_epochs


def no_claims(town: RelayTown) -> bool:
    return not any((town.state.claims, town.state.claim_of, town.state.claiming))


def town_with_claim(
    sessions: int = 3, bond_ucr: int = 0, **changes: object
) -> tuple[RelayTown, object, int]:
    town = RelayTown(4)
    indexes = town.begin(sessions, bond_ucr, **changes)
    book = town.book(*(town.both_sign(index) for index in indexes))
    result = only(town.submit(town.claimed(book)))
    assert result.accepted, result
    return town, book, result.index  # type: ignore[return-value]


def test_a_claim_whose_leaves_are_open_pays_what_receipts_would_have_paid() -> None:
    town, book, claim = town_with_claim()
    twin = RelayTown(4)
    indexes = twin.begin(3)
    town.submit(*town.opening(*book.open(claim, range(3))))  # type: ignore[attr-defined]
    before = town.state.balance(town.owner(RELAY))
    town.next_epoch(OPENING)
    assert town.state.balance(town.owner(RELAY)) == before, "not before the deadline"
    town.next_epoch()
    assert only(twin.submit(twin.packed(*(twin.both_sign(i) for i in indexes)))).accepted
    twin.next_epoch(OPENING + 1)
    for index in indexes:
        ours, theirs = town.state.sessions[index], twin.state.sessions[index]
        assert (ours.claimed_ucr, ours.sequence, ours.relayed_bytes) == (250_000, 1, MIB // 4)
        assert replace(ours, last_hash=theirs.last_hash, claim=0) == theirs
    for key in twin.state.accounts:
        assert town.state.balance(key) == twin.state.balance(key)
    assert town.state.pools == twin.state.pools
    assert town.state.supply == twin.state.supply
    assert no_claims(town)


def test_what_nobody_opened_burns_nothing_and_costs_the_bond() -> None:
    town, _, _ = town_with_claim(bond_ucr=7_000_000)
    held = {key: town.state.balance(key) for key in town.state.accounts}
    bond, destroyed = town.state.hotspots[RELAY].bond_ucr, town.state.supply.destroyed
    town.next_epoch(OPENING + 1)
    assert {key: town.state.balance(key) for key in town.state.accounts} == held
    assert bond >= 7_000_000
    assert town.state.hotspots[RELAY].bond_ucr == 0
    assert town.state.supply.destroyed == destroyed + bond
    assert is_conserved(town.state)
    assert all(not s.claim and s.sequence == -1 for s in town.state.sessions.values())
    assert no_claims(town)
    assert town.state.stats["claims_void"] == 1


def test_one_leaf_that_stays_closed_voids_all() -> None:
    town, book, claim = town_with_claim()
    town.submit(*town.opening(*book.open(claim, [0, 2])))  # type: ignore[attr-defined]
    town.next_epoch(OPENING + 1)
    assert all(s.claimed_ucr == 0 for s in town.state.sessions.values())


def test_few_leaves_are_drawn_at_once_and_many_when_their_randomness_is_known() -> None:
    town, _, claim = town_with_claim(30)
    assert bits.members(town.state.claims[claim].drawn) == list(range(30))
    town, book, claim = town_with_claim(40, bond_ucr=30_000_000, cap_ucr=600_000)
    row = town.state.claims[claim]
    town.next_epoch()
    assert row.drawn == b""
    refused = only(town.submit(*town.opening(*book.open(claim, [0]))))  # type: ignore[attr-defined]
    assert refused.reason == "not_asked"
    town.next_epoch()
    drawn = bits.members(row.drawn)
    assert 0 < len(drawn) <= 30
    assert all(r.accepted for r in town.submit(*town.opening(*book.open(claim, drawn))))  # type: ignore[attr-defined]
    town.next_epoch(OPENING - 1)
    assert all(s.claimed_ucr == 250_000 for s in town.state.sessions.values())


def test_every_leaf_must_open_where_the_bond_does_not_cover_all_open_claims() -> None:
    """Two claims of one relay share its bond: the second goes beyond it."""
    town = RelayTown(4)
    indexes = town.begin(80, 40 * 250_000 // 30 + 1, cap_ucr=300_000)
    for half, whole in ((indexes[:40], False), (indexes[40:], True)):
        book = town.book(*(town.both_sign(index) for index in half))
        claim = only(town.submit(town.claimed(book))).index
        assert claim is not None
        assert (town.state.claims[claim].drawn == bits.full(40)) is whole
        town.next_epoch()


def test_a_claim_takes_no_receipts_and_no_second_claim_beside_it() -> None:
    town, _, _ = town_with_claim()
    newer = town.both_sign(0, 2, MIB // 2)
    for record in (town.packed(newer), town.claim(newer)):
        assert only(town.submit(record)).reason == "claim_pending"
    town.next_epoch()
    again = town.claimed(town.book(newer))
    assert only(town.submit(again)).reason == "claim_pending"


def test_after_a_claim_only_newer_receipts_count_and_only_for_what_they_add() -> None:
    town, book, claim = town_with_claim()
    town.submit(*town.opening(*book.open(claim, range(3))))  # type: ignore[attr-defined]
    town.next_epoch(OPENING + 1)
    assert only(town.submit(town.packed(town.both_sign(0)))).reason == "stale_receipt"
    assert only(town.submit(town.packed(town.both_sign(0, 2, MIB // 2)))).accepted
    assert town.state.sessions[0].claimed_ucr == 500_000
    later = town.book(town.both_sign(0, 3, MIB), town.both_sign(1, 4, MIB))
    claim = only(town.submit(town.claimed(later))).index
    assert claim == 1
    town.submit(*town.opening(*later.open(claim, [0, 1])))
    town.next_epoch(OPENING + 1)
    assert [town.state.sessions[i].claimed_ucr for i in (0, 1)] == [1_000_000] * 2


def test_a_disputed_false_leaf_is_never_paid() -> None:
    """Drawn or not: the payer asks, the relay can't show what the payer never signed."""
    town = RelayTown(4)
    indexes = town.begin(40, 30_000_000, cap_ucr=600_000)
    honest = [town.both_sign(index) for index in indexes]
    book = town.book(town.forged(0, MIB // 2), *honest[1:])
    claim = only(town.submit(town.claimed(book))).index
    assert claim is not None
    town.next_epoch(2)
    payer = town.payer_of(0)
    assert only(town.submit(town.dispute(claim, 0, payer))).accepted or bits.has(
        town.state.claims[claim].drawn, 0
    )
    asked = bits.members(bits.union(town.state.claims[claim].drawn, b"\1"))
    shown = only(town.submit(*town.opening(*book.open(claim, [0]))))
    assert shown.reason == "bad_signature"
    town.submit(*town.opening(*book.open(claim, [at for at in asked if at])))
    town.next_epoch(OPENING)
    assert all(s.claimed_ucr == 0 for s in town.state.sessions.values())
    assert town.state.hotspots[RELAY].bond_ucr == 0
    assert is_conserved(town.state)


def test_a_dispute_that_is_answered_costs_nobody() -> None:
    town, book, claim = town_with_claim(40, bond_ucr=30_000_000, cap_ucr=600_000)
    town.next_epoch(2)
    drawn = bits.members(town.state.claims[claim].drawn)
    other = next(at for at in range(40) if at not in drawn)
    assert only(town.submit(town.dispute(claim, other, town.payer_of(other)))).accepted
    shown = book.open(claim, [*drawn, other])  # type: ignore[attr-defined]
    assert all(r.accepted for r in town.submit(*town.opening(*shown)))
    town.next_epoch(OPENING)
    assert all(s.claimed_ucr == 250_000 for s in town.state.sessions.values())


def test_disputes_leave_the_relay_an_epoch_to_answer() -> None:
    town, book, claim = town_with_claim(40, bond_ucr=30_000_000, cap_ucr=600_000)
    town.next_epoch(OPENING - 1)
    drawn = bits.members(town.state.claims[claim].drawn)
    free = [at for at in range(40) if at not in drawn]
    assert only(town.submit(town.dispute(claim, free[0], town.payer_of(free[0])))).accepted
    town.next_epoch()
    late = only(town.submit(town.dispute(claim, free[1], town.payer_of(free[1]))))
    assert late.reason == "too_late"
    shown = book.open(claim, [*drawn, free[0]])  # type: ignore[attr-defined]
    assert all(r.accepted for r in town.submit(*town.opening(*shown)))
    town.next_epoch()
    assert town.state.stats["claims_paid"] == 1


def test_epochs_in_which_the_ledger_stood_still_are_given_back() -> None:
    town, book, claim = town_with_claim()
    town.ledger.tick(town.time_ms(town.state.epoch + 100))
    assert claim in town.state.claims
    shown = town.opening(*book.open(claim, range(3)))  # type: ignore[attr-defined]
    assert all(r.accepted for r in town.submit(*shown))
    town.next_epoch(OPENING)
    assert town.state.stats["claims_paid"] == 1


def test_sessions_of_an_open_claim_outlive_their_expiry_until_it_is_settled() -> None:
    town = RelayTown(4)
    town.begin(1, expiry_epoch=town.params.settlement_epochs + 1)
    while town.state.epoch < town.params.settlement_epochs + 1:
        town.next_epoch()
    book = town.book(town.both_sign(0))
    claim = only(town.submit(town.claimed(book))).index
    town.submit(*town.opening(*book.open(claim, [0])))  # type: ignore[arg-type]
    before = town.state.balance(town.owner(0))
    while town.state.claims:
        town.next_epoch()
        assert 0 in town.state.sessions or not town.state.claims
    while 0 in town.state.sessions:
        town.next_epoch()
        assert town.state.epoch < 4 * town.params.settlement_epochs
    assert town.state.balance(town.owner(0)) - before == 750_000
    assert is_conserved(town.state)


def test_a_relay_slashed_for_something_else_gets_nothing_of_its_open_claims() -> None:
    from chain.rules.bonds import process_slash
    from chain.rules.outcome import Effects

    town, book, claim = town_with_claim(bond_ucr=5_000_000)
    town.submit(*town.opening(*book.open(claim, range(3))))  # type: ignore[attr-defined]
    process_slash(town.state, RELAY, town.owner(2), Effects())
    assert only(town.submit(town.claimed(book, town.state.epoch - 1))).reason == "slashed"
    town.next_epoch(OPENING + 1)
    assert all(s.claimed_ucr == 0 and not s.claim for s in town.state.sessions.values())
    assert is_conserved(town.state)


def test_the_root_of_a_state_with_claims_is_the_same_from_nothing() -> None:
    town, book, claim = town_with_claim(40, bond_ucr=30_000_000, cap_ucr=600_000)
    town.next_epoch(2)
    town.submit(*town.opening(*book.open(claim, bits.members(town.state.claims[claim].drawn))))  # type: ignore[attr-defined]
    town.next_epoch()
    assert town.ledger.head.state_root == compute_state_root(town.state)
    town.next_epoch(OPENING)
    assert town.ledger.head.state_root == compute_state_root(town.state)


# --- refusals ----------------------------------------------------------------------------------


def claim_refusals(town: RelayTown) -> dict[str, object]:
    """A claim that gets each refusal, by reason and what it shows."""
    assert only(town.submit(town.packed(town.both_sign(0, 1, 4)))).accepted
    book = town.book(town.both_sign(0, 2), town.both_sign(1))
    epoch = town.state.epoch
    record = book.record(RELAY, epoch)
    grown = book.leaves[0]
    own = town.open_session(RELAY, 0, 99)
    town.submit(own)
    other = max(town.state.sessions)
    stranger = town.book(town.receipt(RELAY, 0, town.both_sign(other)))
    claim = town.claimed
    still = replace(grown, entry=grown.entry._replace(relayed_bytes=0), due_ucr=0)
    wide = replace(grown, entry=grown.entry._replace(relayed_bytes=(1 << 64) - 1))
    gone = replace(grown, entry=grown.entry._replace(session=1 << 20))
    old = replace(grown, entry=grown.entry._replace(sequence=1))
    return {
        "unknown_hotspot": town.sealed_claim(replace(record, relay=99)),
        "wrong_epoch future": claim(book, epoch + 1),
        "wrong_epoch past": claim(book, epoch - 2),
        "bad_signature": town.sealed_claim(record, signer=2),
        "bad_shape": claim(book, entries=record.entries[:-1]),
        "unknown_session": claim(type(book)([gone])),
        "wrong_relay": claim(stranger),
        "wrong_growth nothing": claim(type(book)([still, book.leaves[1]])),
        "wrong_total more": claim(book, total_ucr=record.total_ucr + 1),
        "wrong_total less": claim(book, total_ucr=record.total_ucr - 1),
        "wrong_growth wide": claim(type(book)([wide])),
        "stale_receipt": claim(type(book)([old])),
    }


def test_a_claim_is_refused_by_its_reason_and_changes_nothing() -> None:
    town = RelayTown(4)
    town.begin(3)
    cases = claim_refusals(town)
    book = town.book(town.both_sign(1))
    root = compute_state_root(town.state)
    for name, record in cases.items():
        result = only(town.submit(record))  # type: ignore[arg-type]
        assert (result.accepted, result.reason) == (False, name.split()[0]), (name, result)
    assert compute_state_root(town.state) == root
    assert only(town.submit(town.claimed(book))).accepted
    other = town.book(town.both_sign(2))
    assert only(town.submit(town.claimed(other))).reason == "fork"


@pytest.fixture(name="opened")
def _opened() -> tuple[RelayTown, object, int]:
    return town_with_claim(3, bond_ucr=1_000_000)


def test_an_opening_is_refused_by_its_reason_and_changes_nothing(
    opened: tuple[RelayTown, object, int],
) -> None:
    town, book, claim = opened
    good = book.open(claim, [0])[0].openings[0]  # type: ignore[attr-defined]
    second = book.open(claim, [1])[0].openings[0]  # type: ignore[attr-defined]
    signed = good.receipt
    unsigned = replace(signed, payer_signature=signed.payee_signature)
    cases: dict[str, list[Opening]] = {
        "duplicate": [good, good],
        "wrong_leaf beyond": [replace(good, position=3)],
        "wrong_leaf other": [replace(second, position=0)],
        "wrong_leaf path": [replace(good, path=second.path)],
        "wrong_leaf total": [replace(good, receipt=replace(signed, relayed_bytes=7))],
        "wrong_leaf hash": [replace(good, receipt=replace(signed, previous=b"\1" * 32))],
        "bad_signature": [second, replace(good, receipt=unsigned)],
    }
    root = compute_state_root(town.state)
    for name, openings in cases.items():
        record = LeafOpening(claim, tuple(openings))
        result = only(town.submit(*town.opening(record)))
        assert (result.accepted, result.reason) == (False, name.split()[0]), (name, result)
    missing = LeafOpening(claim + 1, (good,))
    assert only(town.submit(*town.opening(missing))).reason == "unknown_claim"
    assert compute_state_root(town.state) == root
    for openings, reason in (((good,), "ok"), ((good,), "already"), ((second, good), "ok")):
        record = LeafOpening(claim, openings)
        assert only(town.submit(*town.opening(record))).reason == reason


def test_a_dispute_is_refused_by_its_reason() -> None:
    town, _, claim = town_with_claim(40, bond_ucr=30_000_000, cap_ucr=600_000)
    payer, stranger = town.payer_of(5), town.payer_of(6)
    for record, reason in (
        (town.dispute(claim + 1, 0, payer), "unknown_claim"),
        (town.dispute(claim, 40, payer), "wrong_leaf"),
        (town.dispute(claim, 5, stranger), "bad_signature"),
        (town.dispute(claim, 5, payer), "ok"),
        (town.dispute(claim, 5, payer), "already"),
    ):
        assert only(town.submit(record)).reason == reason


def test_presets_leave_time_to_answer_and_bonds_outlast_claims() -> None:
    for params in PRESETS.values():
        assert params.opening_epochs >= 4
        assert params.appeal_epochs > params.opening_epochs


def test_held_credits_do_not_move_while_a_claim_is_open() -> None:
    town, _, _ = town_with_claim()
    held = compute_held_ucr(town.state)
    town.next_epoch()
    assert compute_held_ucr(town.state) == held
