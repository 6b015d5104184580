"""Packed receipts on the ledger: whole or not at all, the newest counts, nothing is paid twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import keys, wire
from chain.keys import verify
from chain.packed import pack_receipts
from chain.records import LeafOpening, Receipt, Receipts, Signed
from chain.rules.blocks import process_wire
from chain.rules.outcome import Effects
from chain.rules.signatures import get_signature_checks
from chain.service.claim_views import claim_json, held_json
from chain.service.views import session_json
from chain.state import State
from chain.state_root import compute_state_root

from .relaymoney_helpers import MIB, RELAY, RelayTown, only


@pytest.fixture(name="town")
def _town() -> RelayTown:
    town = RelayTown(4)
    town.begin(6)
    return town


def test_packed_receipts_do_what_a_session_claim_does(town: RelayTown) -> None:
    twin = RelayTown(4)
    twin.begin(6)
    receipts = [town.both_sign(index, 1, MIB // 8 + index, tokens=7 * index) for index in range(6)]
    assert only(town.submit(town.packed(*receipts))).accepted
    assert only(twin.submit(twin.claim(*receipts))).accepted
    assert town.state.sessions == twin.state.sessions
    assert town.state.accounts == twin.state.accounts
    assert town.state.pools == twin.state.pools
    assert town.state.stats == twin.state.stats
    assert town.state.supply == twin.state.supply


def test_a_record_pays_a_line_per_payee_kind_cell_and_payer(town: RelayTown) -> None:
    effects = Effects()
    payers = {town.payer_of(index) for index in range(6)}
    assert len(payers) < 6
    record = town.packed(*(town.both_sign(index) for index in range(6)))
    assert process_wire(town.state, record.wire, verify, effects).accepted
    assert len(effects.payments) == len(payers)
    assert {p.source for p in effects.payments} == {town.owner(payer) for payer in payers}
    assert sum(p.amount_ucr for p in effects.payments) == town.state.stats["paid_relay_ucr"]
    burned = sum(town.state.sessions[index].claimed_ucr for index in range(6))
    shares = (town.state.stats["paid_relay_ucr"], sum(town.state.pools.values()))
    assert burned == sum(shares) + town.state.supply.destroyed


def refused(town: RelayTown, *receipts: Receipt) -> str:
    before = compute_state_root(town.state)
    result = only(town.submit(town.packed(*receipts)))
    assert not result.accepted
    assert compute_state_root(town.state) == before
    assert "session 3" in result.detail
    return result.reason


def test_one_bad_receipt_and_nothing_of_the_record_burns(town: RelayTown) -> None:
    assert only(town.submit(town.packed(town.both_sign(3, 2, 1_000, 5)))).accepted
    good = [town.both_sign(index) for index in (0, 1, 5)]
    newer = town.both_sign(3, 3, 2_000, 6)
    cut = newer.payer_signature[:-1] + bytes([newer.payer_signature[-1] ^ 1])
    swapped = replace(newer, payer_signature=newer.payee_signature)
    for bad, reason in (
        (replace(newer, payer_signature=cut), "bad_signature"),
        (replace(newer, payee_signature=cut), "bad_signature"),
        (swapped, "bad_signature"),
        (town.both_sign(3, 1, 2_000), "stale_receipt"),
        (town.both_sign(3, 2, 1_001, 5), "stale_receipt"),
        (town.both_sign(3, 3, 999, 5), "stale_receipt"),
        (town.both_sign(3, 3, 2_000, 4), "stale_receipt"),
        (town.receipt(RELAY, RELAY, newer), "bad_signature"),
    ):
        assert refused(town, *good, bad) == reason
    assert only(town.submit(town.packed(*good, newer))).accepted


def test_an_unknown_session_and_other_bytes_have_their_reasons(town: RelayTown) -> None:
    gone = replace(town.both_sign(3), session=77)
    assert only(town.submit(town.packed(gone))).reason == "unknown_session"
    for entries in (b"\x00", pack_receipts([town.both_sign(3)]) + b"\x01"):
        record = wire.seal(Receipts(entries), town.network_id, [])
        assert only(town.submit(record)).reason == "bad_shape"


def test_what_was_claimed_already_may_come_along_with_what_is_new(town: RelayTown) -> None:
    old, new = town.both_sign(0), town.both_sign(1)
    assert only(town.submit(town.packed(old))).reason == "ok"
    claimed = town.state.sessions[0].claimed_ucr
    assert only(town.submit(town.packed(old, new))).reason == "ok"
    assert only(town.submit(town.packed(new, old))).reason == "already"
    assert town.state.sessions[0].claimed_ucr == claimed


class Asked:
    """A verifier that notes what the rules ask it."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, str, bytes, bytes]] = []

    def __call__(
        self, key: bytes, name: str, network_id: bytes, body: bytes, signature: bytes
    ) -> bool:
        self.calls.append((key, name, body, signature))
        return keys.verify(key, name, network_id, body, signature)


def asked_by_rules(state: State, record: Signed) -> list[tuple[bytes, str, bytes, bytes]]:
    asked = Asked()
    assert process_wire(state, record.wire, asked, Effects()).accepted
    return asked.calls


def test_every_signature_of_relay_money_is_known_ahead(town: RelayTown) -> None:
    """What the rules ask is what a batch verifies on all cores before."""
    book = town.book(town.both_sign(1), town.both_sign(2))
    records: list[Signed] = [
        town.packed(town.both_sign(0)),
        town.claimed(book),
        *town.opening(*book.open(0, [0, 1])),
        town.dispute(0, 1, town.payer_of(2)),
    ]
    for record in records:
        ahead = get_signature_checks(town.state, record)
        assert sorted(asked_by_rules(town.state, record)) == sorted(ahead)
        assert ahead


def test_checks_of_nonsense_are_none(town: RelayTown) -> None:
    nowhere = [
        town.dispute(5, 0, 0),
        wire.seal(Receipts(b"\xff"), town.network_id, []),
        *town.opening(LeafOpening(9, (town.book(town.both_sign(0)).open(9, [0])[0].openings[0],))),
    ]
    checks = [get_signature_checks(town.state, record) for record in nowhere]
    assert [len(found) for found in checks] == [0, 0, 2]


def test_views_tell_a_relay_and_a_payer_what_they_need(town: RelayTown) -> None:
    assert session_json(town.state, town.state.sessions[2])["claim"] is None
    book = town.book(town.both_sign(2, 4, 9_000, 3), town.both_sign(5))
    assert only(town.submit(town.claimed(book))).accepted
    claim = claim_json(town.state.claims[0])
    assert (claim["relay"], claim["sessions"], claim["drawn"]) == (RELAY, 2, [0, 1])
    assert claim["deadline_epoch"] == town.state.epoch + town.params.opening_epochs
    assert held_json(town.state, town.state.sessions[2]) == {
        "index": 0,
        "position": 0,
        "deadline_epoch": claim["deadline_epoch"],
        "sequence": 4,
        "relayed_bytes": 9_000,
        "ai_tokens": 3,
        "ai_requests": 1,
    }
    assert session_json(town.state, town.state.sessions[5])["claim"]["position"] == 1
