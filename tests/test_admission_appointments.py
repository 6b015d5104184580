from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import keys, wire
from chain.admission import Role
from chain.records import Genesis, Reception
from chain.rules.appointments import get_keys, get_operators
from chain.rules.blocks import get_first_state
from chain.rules.trust import get_seed_indexes, get_trusted
from chain.rules.validators import compute_power_changes, get_powers

from .admission_helpers import Republic, joined, key_of, seed_of
from .chain_helpers import OPERATOR

ROLES = list(Role)


def holders(town: Republic, role: int, epoch: int | None = None) -> list[bytes]:
    state = town.ledger.state
    return [m.key for m in get_keys(state, role, state.epoch if epoch is None else epoch)]


@pytest.mark.parametrize("role", ROLES)
def test_an_appointment_binds_later_and_ends_with_its_term(role: Role) -> None:
    town = joined()
    key, start = key_of("newcomer"), town.epoch + 5
    town.appoint(role, key, start, start + 3)
    held = [key in holders(town, role, epoch) for epoch in range(start - 1, start + 4)]
    assert held == [False, True, True, True, False]


@pytest.mark.parametrize("role", ROLES)
def test_a_revocation_ends_a_term_early_and_can_be_undone_by_operators_alone(role: Role) -> None:
    town = joined()
    key = key_of("newcomer")
    first = town.appointment(role, key, 10, 900)
    town.accept(first)
    town.appoint(role, key, 20, 0)
    assert [key in holders(town, role, e) for e in (9, 10, 19, 20, 899)] == [
        *(False, True, True, False, False)
    ]
    assert town.one(first).reason == "already"
    assert key not in holders(town, role, 20)
    town.appoint(role, key, 30, 40)
    assert [key in holders(town, role, e) for e in (29, 30, 40)] == [False, True, False]


def test_a_newer_appointment_replaces_one_that_would_begin_after_it() -> None:
    town = joined()
    key = key_of("newcomer")
    town.appoint(Role.SEED, key, 50, 60)
    town.appoint(Role.SEED, key, 10, 0)
    assert key not in holders(town, Role.SEED, 55)
    assert town.one(town.appointment(Role.SEED, key, 50, 60)).reason == "already"
    assert key not in holders(town, Role.SEED, 55)


def test_appointments_are_refused_for_named_reasons() -> None:
    town = joined()
    state, params, key = town.ledger.state, town.params, key_of("newcomer")
    soon, span = state.epoch + params.bind_epochs, params.appointment_epochs_max
    seed, named = Role.SEED, Role.COSIGNER
    cases = [
        (town.appointment(seed, key, soon - 1), "wrong_epoch"),
        (town.appointment(seed, key, soon + span + 1), "wrong_epoch"),
        (town.appointment(seed, key, soon, soon), "wrong_epoch"),
        (town.appointment(seed, key, soon, soon + span + 1), "wrong_epoch"),
        (town.appointment(seed, key, soon, weight=1), "bad_weight"),
        (town.appointment(Role.VALIDATOR, key, soon, weight=0), "bad_weight"),
        (town.appointment(named, key, soon, name=""), "bad_name"),
        (town.appointment(named, key, soon, name="a b"), "bad_name"),
        (town.appointment(Role.SEQUENCER, key, soon, name="a+b"), "bad_name"),
        (town.appointment(named, key, soon, 0), "not_appointed"),
        (town.appointment(seed, key, soon, by=(0,)), "bad_signature"),
        (town.sign(town.appointment(seed, key).record, *town.by((1, 0))), "bad_signature"),
        (town.sign(town.appointment(seed, key).record, *town.by((0,))), "bad_signature"),
    ]
    for signed, reason in cases:
        assert town.refuse(signed) == reason, signed.record
    stranger = replace(town.appointment(seed, key).record, operators=(0, 9))
    assert town.refuse(town.sign(stranger, *town.by((0, 1)))) == "not_appointed"
    town.accept(town.appointment(seed, key, soon), town.appointment(seed, key, soon + span))


@pytest.mark.parametrize("role", [Role.SEQUENCER, Role.COSIGNER])
def test_a_role_has_no_more_holders_than_its_limit(role: Role) -> None:
    town = joined()
    limit = town.params.role_limits[role - 1]
    for number in range(limit):
        town.appoint(role, key_of(f"holder {number}"), 10, 20)
    assert town.refuse(town.appointment(role, key_of("one more"), 10, 20)) == "over_cap"
    assert town.refuse(town.appointment(role, key_of("one more"), 5, 12)) == "over_cap"
    town.appoint(role, key_of("holder 0"), 15, 0)
    town.appoint(role, key_of("one more"), 15, 20)
    town.appoint(role, key_of("later"), 20, 25)
    assert len(holders(town, role, 16)) == limit


def test_seeds_of_the_genesis_count_until_another_is_appointed() -> None:
    town = joined(3)
    state, other = town.ledger.state, keys.public_key(town.keys[1])
    assert get_seed_indexes(state) == [0]
    town.appoint(Role.SEED, other, 10, 12)
    town.tick_to(9)
    assert get_seed_indexes(state) == [0]
    town.tick_to(10)
    assert get_seed_indexes(state) == [1]
    town.tick_to(12)
    assert get_seed_indexes(state) == []


def test_a_seed_of_the_genesis_can_be_revoked_alone() -> None:
    town = Republic(3, seeds=2)
    town.join()
    town.appoint(Role.SEED, keys.public_key(town.keys[0]), 5, 0)
    town.tick_to(5)
    assert get_seed_indexes(town.ledger.state) == [1]


def test_a_network_without_seeds_trusts_everybody_until_one_is_appointed() -> None:
    town = Republic(3, seeds=0)
    town.join()
    town.tick_to(2)
    state = town.ledger.state
    assert get_seed_indexes(state) == [0, 1, 2]
    town.appoint(Role.SEED, keys.public_key(town.keys[2]), 5, 7)
    town.tick_to(5)
    assert get_seed_indexes(state) == [2]
    town.tick_to(7)
    assert get_seed_indexes(state) == []


def test_an_expired_seed_gives_no_trust() -> None:
    """Two halves of a town that don't hear each other; only one has a seed, and for a while."""
    halves = (frozenset({0, 1}), frozenset({2, 3}))

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        half = next(half for half in halves if witness in half)
        return [reception for reception in heard if reception.heard in half]

    town = Republic(4, seeds=1)
    town.join()
    town.appoint(Role.SEED, keys.public_key(town.keys[2]), 2, 12)
    for epoch in range(2, 12):
        town.run_epoch(epoch, edit)
    assert get_trusted(town.ledger.state) == halves[1]
    for epoch in range(12, 74):
        town.run_epoch(epoch, edit)
    assert get_trusted(town.ledger.state) == frozenset()
    before = town.ledger.state.supply.minted
    for epoch in range(74, 80):
        town.run_epoch(epoch, edit)
    assert town.ledger.state.supply.minted == before


def test_operator_0_is_the_sequencer_until_another_is() -> None:
    town = joined()
    zero = keys.public_key(OPERATOR)
    (first,) = get_keys(town.ledger.state, Role.SEQUENCER, town.epoch)
    assert first.key == zero
    assert first.name == f"wavecomb/{town.network_id.hex()[:16]}"
    town.appoint(Role.SEQUENCER, key_of("log"), 10, 20)
    assert holders(town, Role.SEQUENCER, 9) == [zero]
    assert holders(town, Role.SEQUENCER, 10) == [key_of("log")]
    assert holders(town, Role.SEQUENCER, 20) == []


def test_operators_change_one_by_one_and_deposits_go_on() -> None:
    """All three of the genesis give way to others; numbers are never used again."""
    town = joined()
    for turn in range(3):
        fresh = f"operator {3 + turn}"
        by = (turn, turn + 1) if turn < 2 else (2, 3)
        start = town.epoch + town.params.bind_epochs
        town.operators.append(seed_of(fresh))
        town.appoint(Role.OPERATOR, key_of(fresh), by=by)
        town.accept(town.deposit(0, 5, b"before %d" % turn, by=by))
        assert town.refuse(town.deposit(0, 5, b"early", by=(turn, 3 + turn))) == "not_appointed"
        town.tick_to(start)
        gone = keys.public_key(town.operators[turn])
        town.appoint(Role.OPERATOR, gone, town.epoch + 2, 0, by=(turn, 3 + turn))
        town.tick_to(town.epoch + 2)
        after = town.deposit(0, 5, b"after %d" % turn, by=(turn, 3 + turn))
        assert town.refuse(after) == "not_appointed"
        left = sorted({turn + 1, turn + 2, turn + 3})
        assert sorted(get_operators(town.ledger.state)) == left
        town.accept(town.deposit(0, 5, b"now %d" % turn, by=left[:2]))
    town.appoint(Role.OPERATOR, keys.public_key(OPERATOR), by=(3, 4))
    town.tick_to(town.epoch + 2)
    assert sorted(get_operators(town.ledger.state)) == [0, 3, 4, 5]


def test_operators_never_fall_below_the_threshold() -> None:
    town = joined()
    publics = [keys.public_key(seed) for seed in town.operators]
    town.appoint(Role.OPERATOR, publics[0], 10, 0)
    assert town.refuse(town.appointment(Role.OPERATOR, publics[1], 10, 0)) == "too_few_operators"
    assert town.refuse(town.appointment(Role.OPERATOR, publics[1], 99, 0)) == "too_few_operators"
    town.appoint(Role.OPERATOR, publics[1], 5, 6)  # a term that ends is no revocation
    town.tick_to(20)
    assert sorted(get_operators(town.ledger.state)) == [1, 2]


def test_operators_whose_terms_ended_stay_on_until_others_are_there() -> None:
    """Nobody renewed: the two that ended last can still sign, and appoint successors."""
    town = joined()
    publics = [keys.public_key(seed) for seed in town.operators]
    for number, key in enumerate(publics):
        town.appoint(Role.OPERATOR, key, 5, 10 + number)
    town.tick_to(20)
    assert sorted(get_operators(town.ledger.state)) == [1, 2]
    assert town.refuse(town.deposit(0, 5, b"ended", by=(0, 1))) == "not_appointed"
    town.operators += [seed_of("fresh 3"), seed_of("fresh 4")]
    town.appoint(Role.OPERATOR, key_of("fresh 3"), by=(1, 2))
    town.appoint(Role.OPERATOR, key_of("fresh 4"), by=(1, 2))
    town.tick_to(22)
    assert sorted(get_operators(town.ledger.state)) == [3, 4]
    town.accept(town.deposit(0, 5, b"fresh", by=(3, 4)))


def test_numbers_of_operators_end_and_old_keys_keep_theirs() -> None:
    town = joined()
    for number in range(3, 256):
        town.appoint(Role.OPERATOR, key_of(f"o{number}"), 10 + 2 * number, 11 + 2 * number)
    late = town.appointment(Role.OPERATOR, key_of("one more"))
    assert town.refuse(late) == "over_cap"
    town.appoint(Role.OPERATOR, key_of("o3"), 5_000, 5_001)


def test_powers_of_validators_are_what_appointments_say() -> None:
    town = joined()
    state, start = town.ledger.state, town.epoch + 2
    for name, weight in (("a", 5), ("b", 7)):
        town.accept(town.appointment(Role.VALIDATOR, key_of(name), start, weight=weight))
    assert get_powers(state, start - 1) == {}
    wanted = get_powers(state, start)
    assert wanted == {key_of("a"): 5, key_of("b"): 7}
    town.appoint(Role.VALIDATOR, key_of("b"), start + 1, 0)
    town.accept(town.appointment(Role.VALIDATOR, key_of("a"), start + 1, weight=9))
    after = get_powers(state, start + 1)
    changes = compute_power_changes(wanted, after)
    assert changes == {key_of("a"): 9, key_of("b"): 0}
    assert {k: v for k, v in {**wanted, **changes}.items() if v} == after


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            *(st.integers(0, 3), st.integers(2, 12), st.integers(1, 10), st.booleans()),
            st.integers(0, 2),
        ),
        max_size=12,
    )
)
def test_in_every_epoch_the_newest_word_that_has_begun_decides(
    words: list[tuple[int, int, int, bool, int]],
) -> None:
    """Against a plain list of what was accepted; time passes between the words."""
    town = Republic(0, preset="minimal", seeds=0)
    said: list[tuple[bytes, int, int]] = []
    for who, ahead, length, revokes, wait in words:
        key, start = key_of(f"auditor {who}"), town.epoch + ahead
        until = 0 if revokes else start + length
        signed = town.appointment(Role.AUDITOR, key, start, until)
        known = any(key == other for other, _, _ in said)
        fits = known or not revokes
        if town.one(signed).reason == "ok":
            said.append((key, start, until))
        else:
            assert not fits or (key, start, until) in said
        town.tick_to(town.epoch + wait)
    for epoch in range(50):
        expected = set()
        for key in {key for key, _, _ in said}:
            begun = [until for other, start, until in said if other == key and start <= epoch]
            if begun and epoch < begun[-1]:
                expected.add(key)
        assert set(holders(town, Role.AUDITOR, epoch)) == expected


def test_a_genesis_without_appointments_holds_its_own_roles() -> None:
    key = keys.public_key(OPERATOR)
    state = get_first_state(wire.seal(Genesis("n", "minimal", 0, (key,), 1, ()), b"", []))
    held = {role: [m.key for m in get_keys(state, role, 0)] for role in Role}
    assert held == {role: [key] if role in (3, 5) else [] for role in Role}
