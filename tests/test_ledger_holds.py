"""Findings that hold pay back: nothing is lost or made, and what was held comes back in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.explain import explain_receptions
from chain.holds import OpenHold, Outcome
from chain.ledger import Sealed
from chain.records import Hold, HoldAppeal
from chain.rules import rewards
from chain.rules.judging import ARRAYS, PLAIN, Steps
from chain.rules.outcome import Effects
from chain.rules.payday_arrays import ArrayPayday, fits_arrays
from chain.rules.payments import NOBODY, Payment
from chain.rules.rewards import process_settlement
from chain.rules.verdicts import HELD, REASONS, Judgement
from chain.service import api_schemas
from chain.service.hold_views import holds_json
from chain.state import State, get_genesis_state, is_conserved
from chain.state_root import compute_state_root
from chain.store.tables import TABLES, get_scalars, set_scalar
from chain.vectors import scenarios_holds as runs
from chain.vectors.town import Town

from .test_proof_arrays import COUNT, get_town, judge
from .test_rewards_arrays import hotspots, states

SUBJECT = 1
BOTH = pytest.mark.parametrize("preset", ["minimal", "mainnet"])


def play(run: Callable[[Town], object], preset: str = "minimal") -> tuple[Town, list[Payment]]:
    """A town after a run, and every payment made in it; supply is conserved in every block."""
    paid: list[Payment] = []
    town = Town(f"test/{run.__name__}", preset=preset)

    def note(sealed: Sealed) -> None:
        assert is_conserved(town.ledger.state)
        paid.extend(sealed.effects.payments)

    town.ledger.on_block = note
    run(town)
    return town, paid


def total(payments: list[Payment], *kinds: str, account: bytes | None = None) -> int:
    """Of payments about the subject, what these kinds sum up to."""
    mine = (p for p in payments if p.hotspot == SUBJECT and p.kind in kinds)
    return sum(p.amount_ucr for p in mine if account is None or p.account == account)


PRESENCE = ("coverage", "bounty", "bootstrap", "witness")


def kept_back(payments: list[Payment]) -> int:
    """What payment lines say was held of the subject."""
    return total(payments, *PRESENCE, account=NOBODY)


@BOTH
@pytest.mark.parametrize("run", [runs.expired, runs.appealed])
def test_what_was_held_is_released_in_full(run: Callable[[Town], None], preset: str) -> None:
    """To the unit, cell by cell, with the auditors' deposits on top."""
    town, paid = play(run, preset)
    held = kept_back(paid)
    assert held > 0
    assert total(paid, "release", account=town.owner(SUBJECT)) == held
    deposit = 2 * town.ledger.params.hold_deposit_ucr
    assert total(paid, "hold_deposit", account=town.owner(SUBJECT)) == deposit
    state = town.ledger.state
    earned = total(paid, *PRESENCE, "release", account=town.owner(SUBJECT))
    assert state.hotspots[SUBJECT].earned_ucr == earned
    assert not state.holds
    assert not state.hold_open


@BOTH
@pytest.mark.parametrize("run", [runs.confirmed, runs.slashed])
def test_what_is_forfeited_returns_to_its_cells(run: Callable[[Town], None], preset: str) -> None:
    """As pools of the owner, who has no part in them; deposits return to the auditors."""
    town, paid = play(run, preset)
    held, state = kept_back(paid), town.ledger.state
    assert held > 0
    assert total(paid, "forfeit") == held
    assert total(paid, "release") == 0
    owner = town.owner(SUBJECT)
    again = sum(p.amount_ucr for p in paid if p.source == owner and p.kind in PRESENCE)
    waiting = sum(ucr for (_, account), ucr in state.pools.items() if account == owner)
    assert again + waiting == held
    assert total([p for p in paid if p.source == owner], *PRESENCE) == 0
    past = state.past_holds[SUBJECT]
    back = sum(p.amount_ucr for p in paid if p.kind == "hold_deposit")
    assert back == past.deposit_ucr
    assert owner not in {p.account for p in paid if p.kind == "hold_deposit"}


def held_and_not(last: int) -> tuple[State, State]:
    """The same honest town with a hold on one hotspot and without, before a settlement."""
    found = []
    for is_held in (True, False):
        town = Town("test/twins", preset="testbed")
        town.count = 8
        runs.start(town)
        if is_held:
            town.submit(town.hold(SUBJECT, (0, 1)))
        for epoch in range(town.epoch, last):
            town.run_epoch(epoch)
        found.append(town.ledger.state)
    return found[0], found[1]


def test_a_held_hotspot_earns_as_if_nothing_was_held() -> None:
    """Its coverage and its fee count the same: what is kept back is what it would have got."""
    held, free = held_and_not(14)
    for table in ("quality", "measured"):
        mine = [
            {place: n for place, n in getattr(state, table).items() if place[1] == SUBJECT}
            for state in (held, free)
        ]
        assert mine[0] == mine[1] != {}


def test_a_held_witness_counts_for_nobody() -> None:
    """Others draw its lots; its own receptions say why they don't count, with its index."""
    town = Town("test/witness")
    town.count = 8
    runs.start(town)
    town.submit(town.hold(SUBJECT, (0, 1)))
    first = town.epoch
    for epoch in range(first, first + 3):
        town.run_epoch(epoch)
    judgement = town.ledger.verdicts(first)
    assert judgement is not None
    told = {REASONS[code] for code in judgement.codes[SUBJECT]}
    assert told == {"held_witness", "not_drawn"}
    for heard in set(range(8)) - {SUBJECT}:
        counted = sum(codes.count(0) for w, codes in judgement.codes.items() if w != heard)
        assert counted
    for case in explain_receptions(judgement, lambda case: case.witness == SUBJECT):
        last = case["rules"][-1]
        assert (last["rule"], last["passed"]) == (case["verdict"], False)
        if case["verdict"] == "held_witness":
            assert last["inputs"] == {"witness": SUBJECT}


def test_others_lose_no_lot_to_a_held_witness() -> None:
    """Of every beacon as many witnesses count as without the hold, where there are enough."""
    town = Town("test/lots")
    town.count = 8
    runs.start(town)
    town.submit(town.hold(SUBJECT, (0, 1)))
    first = town.epoch
    for epoch in range(first, first + 3):
        town.run_epoch(epoch)
    judgement = town.ledger.verdicts(first)
    assert judgement is not None
    drawn = town.ledger.params.witnesses_drawn
    for heard in range(8):
        hits = [
            code
            for witness, message in judgement.reports.items()
            for place, code in enumerate(judgement.codes[witness])
            if int.from_bytes(message.report[14 * place : 14 * place + 4], "big") == heard
        ]
        assert hits.count(0) == drawn


def open_hold(index: int) -> OpenHold:
    """A hold with nothing in it yet."""
    return OpenHold(bytes([index]) * 32, "slope", 9, 3, 0, 1, bytes(32), 2, 90, (b"a" * 32,), 0)


@cache
def reported() -> State:
    """A town whose last epoch but one waits to be judged; 5 and 6 are blind, 8 was absent."""
    return get_town([(2, 3, 0)], frozenset({8}), doubled=False).ledger.state


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.frozensets(st.integers(0, COUNT - 1), min_size=1, max_size=4))
def test_arrays_judge_held_witnesses_alike(held: frozenset[int]) -> None:
    """Codes, work and slopes, with some witnesses held."""
    state = reported().copy()
    for index in held:
        state.holds[index] = open_hold(index)

    def both(steps: Steps) -> tuple[Judgement, State]:
        return judge(state, steps, frozenset(range(COUNT)))

    (plain, after_plain), (arrays, after_arrays) = both(PLAIN), both(ARRAYS)
    assert arrays.codes == plain.codes
    assert {w for w, codes in plain.codes.items() if HELD in codes} == held - {5, 6, 8}
    for name in ("quality", "measured", "hotspots"):
        assert getattr(after_arrays, name) == getattr(after_plain, name)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(states(), st.frozensets(hotspots, min_size=1, max_size=4))
def test_arrays_keep_back_what_the_rule_does(state: State, held: frozenset[int]) -> None:
    """Line by line and in the same state, whoever is held; the supply is conserved."""
    state.account(NOBODY)
    for index in held:
        state.holds[index] = open_hold(index)
    if not fits_arrays(state):
        return
    ways = []
    for arrays in (False, True):
        after, effects = state.copy(), Effects()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rewards, "ARRAYS_FROM", 0 if arrays else 10**9)
            if arrays:
                assert type(rewards.get_payday(after.copy())) is ArrayPayday
            process_settlement(after, effects)
        ways.append((list(effects.payments), compute_state_root(after)))
        held_ucr = sum(hold.pay_ucr for hold in after.holds.values())
        lines = [p for p in effects.payments if p.account == NOBODY]
        assert sum(p.amount_ucr for p in lines) == held_ucr
        assert {p.hotspot for p in lines} <= held
    assert ways[0] == ways[1]


def test_rows_of_holds_are_saved_and_loaded() -> None:
    """A state packed and loaded again has the same root, with open and past holds in it."""
    town, _ = play(runs.refused)
    state = town.ledger.state
    assert state.holds
    assert state.past_holds
    again = get_genesis_state(state.genesis, state.network_id)
    for name, value in get_scalars(state).items():
        set_scalar(again, name, value)
    for table in TABLES.values():
        table.load(again, table.pack_all(state))
    assert again.holds == state.holds
    assert compute_state_root(again) == compute_state_root(state)


def test_a_ledger_without_holds_keeps_the_root_of_before() -> None:
    """Empty tables of holds are no part of it, and what was held leaves no trace there."""
    town = Town("test/root")
    runs.start(town)
    without = {name: t for name, t in TABLES.items() if "hold" not in name}
    root = compute_state_root(town.ledger.state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chain.state_root.TABLES", without)
        assert compute_state_root(town.ledger.state) == root


def test_bribed_auditors_hold_one_a_settlement_and_a_third_in_all() -> None:
    """All of them together, signing whatever they like against nine hotspots; then it lapses."""
    town = Town("test/bribed", preset="mainnet")
    town.count = 9
    runs.start(town)
    span, every = town.ledger.params.hold_epochs_max, town.ledger.params.settlement_epochs
    opened, most = [], 0
    for _ in range(6):
        ends = town.epoch + span
        wires = [town.hold(index, (0, 1, 2), expiry_epoch=ends) for index in range(9)]
        results = town.submit(*wires)
        opened.append(sum(result.accepted for result in results))
        refusals = {result.reason for result in results if not result.accepted}
        assert refusals <= {"over_cap", "duplicate"}
        most = max(most, len(town.ledger.state.holds))
        town.go_to(town.epoch + every)
    assert opened == [1, 1, 1, 0, 0, 0]
    assert most == 3
    before = {n: town.ledger.state.balance(town.owner(n)) for n in town.ledger.state.holds}
    town.go_to(town.epoch + span)
    assert not town.ledger.state.holds
    deposit = 3 * town.ledger.params.hold_deposit_ucr
    for number, balance in before.items():  # what it cost them is its owner's
        assert town.ledger.state.balance(town.owner(number)) >= balance + deposit


def test_an_owner_reads_what_is_held_and_how_to_check_it() -> None:
    """Of open and past holds, by the schema of the API."""
    for run in (runs.refused, runs.expired, runs.confirmed, runs.appealed, runs.slashed):
        town, _ = play(run)
        answer = holds_json(town.ledger.state)
        jsonschema.validate(answer, api_schemas.HOLDS)
        for hold in answer["holds"]:
            assert hold["command"] in hold["words"]
            assert "--subject" in hold["command"]
            assert str(hold["pay_ucr"]) in hold["words"]
        for past in answer["past"]:
            assert str(past["pay_ucr"]) in past["words"]


def test_every_outcome_is_reached() -> None:
    """By the runs above, each by its own way."""
    ends = {Outcome(play(run)[0].ledger.state.past_holds[SUBJECT].outcome)
            for run in (runs.refused, runs.confirmed, runs.appealed, runs.slashed)}  # fmt: skip
    assert ends == set(Outcome) - {Outcome.EXPIRED}


def test_a_sold_hotspot_takes_its_hold_along() -> None:
    """An appeal is the new owner's to make, and what is released is paid to it."""
    town = Town("test/sold")
    runs.start(town)
    hold = town.hold(SUBJECT, (0, 1))
    town.submit(hold)
    runs.settle(town)
    sold = replace(town.assertion(SUBJECT), owner=town.owner(2))
    town.submit(town.seal(sold, ("hotspot", SUBJECT), ("owner", 2), ("owner", SUBJECT)))
    appeal = HoldAppeal(SUBJECT, hold.record_id)
    results = town.submit(
        town.seal(appeal, ("owner", SUBJECT)), town.seal(appeal, ("owner", 2))
    )
    assert [result.accepted for result in results] == [False, True]
    before = town.ledger.state.balance(town.owner(2))
    waiting = town.ledger.state.holds[SUBJECT].pay_ucr
    assert isinstance(hold.record, Hold)
    town.submit(town.ruling(SUBJECT, hold.record_id, runs.OVERTURNED, (0, 1)))
    assert town.ledger.state.balance(town.owner(2)) == before + waiting
