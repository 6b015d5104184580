"""Key rotation: what stays with the hotspot, who speaks when, and what can't be washed away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain import keys
from chain.ledger import Ledger
from chain.packed import receipt_body
from chain.params import PRESETS
from chain.records import Finding, KeyRotation, Receipt, SubmitResult
from chain.rules.former_keys import get_grace_key, get_key_at
from chain.rules.trust import compute_trust_ppm, get_trusted
from chain.service import views
from chain.state import State
from chain.state_root import compute_state_root
from chain.store.tables import TABLES, get_scalars, set_scalar
from chain.vectors.town import Town

MIB = 1 << 20


def make_town(first_in: int = 2, number: int = 1) -> tuple[Town, int]:
    """A town whose hotspot 1 is to take its next key; from which epoch."""
    town = Town("rotating")
    town.join()
    town.run(2, 3)
    first = town.epoch + first_in
    (result,) = town.submit(town.rotation(number, first))
    assert result.accepted, result.detail
    return town, first


def take_over(town: Town, first: int, epochs: int = 2) -> None:
    town.run(town.epoch, first - 1)
    town.next_from[1] = first
    town.run(first, first + epochs - 1)


def one(results: list[SubmitResult]) -> str:
    (result,) = results
    return result.reason


def reload(state: State) -> State:
    """The state as a restart reads it: every table packed and unpacked."""
    found = State(state.network_id, state.genesis, state.params, state.time_ms)
    for name, value in get_scalars(state).items():
        set_scalar(found, name, value)
    for table in TABLES.values():
        packed = [
            (table.key.pack(key), table.pack_row(state, key)) for key in table.keys(state)
        ]
        rows = sorted((key, row) for key, row in packed if row is not None)
        table.load(found, rows)
    return found


def test_the_old_key_speaks_until_the_named_epoch_and_the_new_one_from_then_on() -> None:
    town, first = make_town()
    old, new = town.key("hotspot", 1), town.key("next", 1)
    hotspot = town.ledger.state.hotspots[1]
    take_over(town, first)
    state = town.ledger.state
    assert hotspot is not state.hotspots[1] or hotspot.key == new
    spot = state.hotspots[1]
    assert [get_key_at(state, spot, e) for e in (first - 1, first)] == [old, new]
    assert spot.last_epoch == first + 1, "its messages were taken before and after"
    assert state.stats["verdict_wrong_tag"] == 0, "and its beacons were those of the new chain"


def test_place_trust_bond_account_links_and_name_stay() -> None:
    town, first = make_town(first_in=8)
    town.run(town.epoch, first - 1)
    before = town.ledger.state.hotspots[1]
    kept = (before.trust, before.bond_ucr, before.earned_ucr, before.owner, before.spread_db2)
    place = before.newest.registration.cell
    assert before.trust > 0
    town.next_from[1] = first
    town.go_to(first)
    after = town.ledger.state.hotspots[1]
    assert after.key == town.key("next", 1)
    assert (after.trust, after.bond_ucr, after.earned_ucr, after.owner, after.spread_db2) == kept
    assert after.newest.registration.cell == place
    town.run(first, first + 3)
    assert 1 in get_trusted(town.ledger.state)
    earned = town.ledger.state.hotspots[1].earned_ucr
    town.run(first + 4, first + 8)
    assert town.ledger.state.hotspots[1].earned_ucr > earned, "it goes on earning"


def test_a_seed_of_trust_stays_one() -> None:
    town, first = make_town(number=0)
    town.run(town.epoch, first - 1)
    town.next_from[0] = first
    town.run(first, first + 1)
    assert get_trusted(town.ledger.state) == frozenset(range(4))


def test_a_restart_in_the_middle_changes_nothing() -> None:
    town, first = make_town()
    pending = reload(town.ledger.state)
    assert pending.index_of[town.key("next", 1)] == 1
    take_over(town, first)
    state = town.ledger.state
    again = reload(state)
    assert compute_state_root(again) == compute_state_root(state)
    assert again.index_of == state.index_of
    assert [a.registration for a in again.hotspots[1].assertions] == [
        a.registration for a in state.hotspots[1].assertions
    ]


def test_a_pending_rotation_is_part_of_the_root() -> None:
    town = Town("rotating")
    town.join()
    town.run(2, 3)
    root = compute_state_root(town.ledger.state)
    assert one(town.submit(town.rotation(1, town.epoch + 2))) == "ok"
    assert compute_state_root(town.ledger.state) != root


def signed_by(town: Town, roles: tuple[str, str], sequence: int, relayed: int) -> Receipt:
    """A receipt of session 0 between hotspots 1 and 2, signed by keys of these roles."""
    receipt = Receipt(0, sequence, relayed, 0, 0, bytes(32))
    body = receipt_body(receipt)
    payer, payee = (
        keys.sign(town.seed(role, n), Receipt.NAME, town.network_id, body)
        for role, n in zip(roles, (1, 2), strict=True)
    )
    return replace(receipt, payer_signature=payer, payee_signature=payee)


def test_receipts_of_the_old_key_hold_for_the_days_of_grace_and_those_of_the_new_one_at_once() -> (
    None
):
    town, first = make_town()
    assert one(town.submit(town.opening(1, 2))) == "ok"
    early = signed_by(town, ("next", "hotspot"), 1, MIB)
    assert one(town.submit(town.receipts(early))) == "bad_signature", "it doesn't speak yet"
    take_over(town, first)
    assert one(town.submit(town.receipts(signed_by(town, ("hotspot", "hotspot"), 1, MIB)))) == "ok"
    state = town.ledger.state
    assert get_grace_key(state, state.hotspots[1]) == town.key("hotspot", 1)
    over = first + PRESETS["minimal"].rotation_grace_epochs
    town.go_to(over)
    late = signed_by(town, ("hotspot", "hotspot"), 2, 2 * MIB)
    assert one(town.submit(town.receipts(late))) == "bad_signature"
    fresh = signed_by(town, ("next", "hotspot"), 2, 2 * MIB)
    assert one(town.submit(town.receipts(fresh))) == "ok"


def test_a_second_rotation_waits_until_the_grace_of_the_first_is_over() -> None:
    town, first = make_town()
    take_over(town, first)
    third = KeyRotation(1, town.key("third", 1), 0, 100, bytes(32))
    signers = (("next", 1), ("third", 1), ("owner", 1))

    def rotate() -> str:
        record = replace(third, from_epoch=town.epoch + 2)
        return one(town.submit(town.seal(record, *signers)))

    assert rotate() == "too_early"
    town.go_to(first + PRESETS["minimal"].rotation_grace_epochs)
    assert rotate() == "ok"
    town.go_to(town.epoch + 2)
    spot = town.ledger.state.hotspots[1]
    former = town.ledger.state.former_keys[1].keys
    assert spot.key == town.key("third", 1)
    assert [key for _, key in former] == [town.key("hotspot", 1), town.key("next", 1)]
    assert get_key_at(town.ledger.state, spot, first) == town.key("next", 1)


@pytest.mark.parametrize("since", [0, 4])
def test_fraud_of_the_old_key_is_proven_after_the_rotation_too(since: int) -> None:
    town, first = make_town()
    take_over(town, first, 1 + since)
    forks = [town.message(1, first - 1, commit=bytes([n]) * 32).wire for n in range(2)]
    proof = Finding(1, 1, first - 1, (forks[0], forks[1]), town.owner(2))
    (result,) = town.submit(town.seal(proof, ("owner", 2)))
    assert result.accepted
    state = town.ledger.state
    assert state.ended[1] == 0
    assert (1, town.key("hotspot", 1)) in state.findings
    assert one(town.submit(town.registration(1, height_m=12))) == "slashed"


def test_an_open_hold_goes_along() -> None:
    town = Town("rotating")
    town.join()
    first = town.epoch + 2
    town.submit(town.appointment(6, town.key("auditor", 0), first, first + 500))
    town.run(2, 7)
    assert one(town.submit(town.hold(1, (0,)))) == "ok"
    assert one(town.submit(town.rotation(1, town.epoch + 2))) == "ok"
    town.go_to(town.epoch + 2)
    state = town.ledger.state
    assert state.hotspots[1].key == town.key("next", 1)
    assert 1 in state.holds


def test_the_owner_alone_may_rotate_a_lost_key_but_only_after_the_delay() -> None:
    town = Town("rotating")
    town.join()
    town.run(2, 3)
    delay = PRESETS["minimal"].rotation_delay_epochs
    assert one(town.submit(town.rotation(1, town.epoch + delay - 1, lost=True))) == "wrong_epoch"
    first = town.epoch + delay
    assert one(town.submit(town.rotation(1, first, lost=True))) == "ok"
    town.go_to(first - 1)
    assert town.ledger.state.hotspots[1].key == town.key("hotspot", 1)
    town.go_to(first)
    assert town.ledger.state.hotspots[1].key == town.key("next", 1)


def test_the_api_tells_trust_as_the_rules_weigh_it() -> None:
    town = Town("rotating")
    town.join()
    told = []
    for epoch in range(2, 14):
        town.run(epoch, epoch)
        state = town.ledger.state
        rows = views.hotspots_json(state, range(4))
        told.append([row["trust_ppm"] for row in rows])
        assert told[-1] == compute_trust_ppm(state)
    assert told[0] != told[-1], "a settlement changed it"


def test_the_api_says_which_key_follows_and_which_were_before() -> None:
    town, first = make_town()

    def shown(ledger: Ledger) -> dict[str, Any]:
        return views.hotspots_json(ledger.state, [1])[0]

    pending = shown(town.ledger)
    assert pending["key"] == town.key("hotspot", 1).hex()
    assert pending["rotation"]["new_key"] == town.key("next", 1).hex()
    assert (pending["rotation"]["from_epoch"], pending["rotation"]["by"]) == (first, "keys")
    take_over(town, first)
    after = shown(town.ledger)
    assert (after["key"], after["rotation"]) == (town.key("next", 1).hex(), None)
    before = {"key": town.key("hotspot", 1).hex(), "until_epoch": first}
    assert after["former_keys"] == [before]
