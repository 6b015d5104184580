"""A confirmed finding takes the trust of a place, until another is claimed or it is old."""

from __future__ import annotations

import jsonschema
import pytest

from chain.cells import cell_centre
from chain.records import Hold
from chain.rules.refuted import get_refuted, get_refuted_until
from chain.rules.trust import get_seed_indexes, get_trusted
from chain.service import api_schemas
from chain.service.views import hotspot_json, hotspots_json
from chain.state import State
from chain.vectors.scenarios_holds import CONFIRMED, WITHDRAWN, settle, start
from chain.vectors.town import Town

SUBJECT = 1


def confirm(town: Town, subject: int = SUBJECT) -> None:
    """Hold a hotspot's pay, wait out the appeal, and confirm."""
    hold = town.hold(subject, (0, 1))
    town.submit(hold)
    assert isinstance(hold.record, Hold)
    settle(town)
    town.go_to(town.epoch + town.ledger.params.hold_appeal_epochs)
    town.submit(town.ruling(subject, hold.record_id, CONFIRMED, (1, 2)))


@pytest.fixture
def refuted() -> Town:
    town = Town("test/refuted", preset="minimal")
    start(town)
    confirm(town)
    return town


def earned(town: Town) -> list[int]:
    return [hotspot.earned_ucr for hotspot in town.ledger.state.hotspots]


def test_it_earns_nothing_more_and_the_others_all_the_more(refuted: Town) -> None:
    state = refuted.ledger.state
    assert get_refuted(state) == {SUBJECT}
    settle(refuted)
    before = earned(refuted)
    for _ in range(2):
        settle(refuted)
    gains = [now - then for now, then in zip(earned(refuted), before, strict=True)]
    assert gains[SUBJECT] == 0
    assert all(gain > 0 for index, gain in enumerate(gains) if index != SUBJECT)
    assert state.hotspots[SUBJECT].trust == 0
    assert SUBJECT not in get_trusted(state)
    assert not state.holds  # nothing waits: it goes to whom it is due at once


def test_the_api_says_why_and_until_when(refuted: Town) -> None:
    state = refuted.ledger.state
    found = hotspot_json(state, state.hotspots[SUBJECT])
    jsonschema.validate(found, api_schemas.HOTSPOT)
    assert found["refuted"]["until_epoch"] == get_refuted_until(state, state.past_holds[SUBJECT])
    assert str(found["refuted"]["until_epoch"]) in found["refuted"]["words"]
    others = [hotspot_json(state, h)["refuted"] for h in state.hotspots if h.index != SUBJECT]
    assert set(others) == {None}


def test_a_list_of_hotspots_says_the_same_and_asks_once(
    refuted: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = refuted.ledger.state
    wanted = [hotspot_json(state, hotspot) for hotspot in state.hotspots]
    asked: list[int] = []

    def ask(given: State) -> frozenset[int]:
        asked.append(given.epoch)
        return get_refuted(given)

    monkeypatch.setattr("chain.service.views.get_refuted", ask)
    monkeypatch.setattr("chain.service.hold_views.get_refuted", ask)
    assert hotspots_json(state, range(len(state.hotspots))) == wanted
    assert len(asked) == 1
    assert sum(one["refuted"] is not None for one in wanted) == 1


def test_it_ends_to_the_epoch_it_says(refuted: Town) -> None:
    state = refuted.ledger.state
    until = get_refuted_until(state, state.past_holds[SUBJECT])
    refuted.go_to(until - 1)
    assert get_refuted(state) == {SUBJECT}
    refuted.go_to(until)
    assert not get_refuted(state)


def test_a_newer_hold_that_is_withdrawn_ends_it(refuted: Town) -> None:
    last = refuted.ledger.state.past_holds[SUBJECT].last_epoch
    again = refuted.hold(SUBJECT, (0, 1), first_epoch=last + 1)
    refuted.submit(again)
    assert get_refuted(refuted.ledger.state) == {SUBJECT}
    refuted.submit(refuted.ruling(SUBJECT, again.record_id, WITHDRAWN, (0, 1)))
    assert not get_refuted(refuted.ledger.state)


@pytest.mark.parametrize("changes", [{"height_m": 3}, {"gain_cdb": 100}])
def test_the_same_place_said_anew_is_the_same_claim(
    refuted: Town, changes: dict[str, int]
) -> None:
    refuted.submit(refuted.registration(SUBJECT, **changes))
    refuted.go_to(refuted.epoch + 3)
    assert refuted.ledger.state.hotspots[SUBJECT].newest.bind_epoch <= refuted.epoch
    assert get_refuted(refuted.ledger.state) == {SUBJECT}


def test_another_place_is_another_claim(refuted: Town) -> None:
    elsewhere = refuted.assertion(3).cell
    latitude_udeg, longitude_udeg = cell_centre(elsewhere)
    place = {"latitude_udeg": latitude_udeg, "longitude_udeg": longitude_udeg}
    refuted.submit(refuted.registration(SUBJECT, cell=elsewhere, **place))
    binds = refuted.ledger.state.hotspots[SUBJECT].newest.bind_epoch
    refuted.go_to(binds - 1)
    assert get_refuted(refuted.ledger.state) == {SUBJECT}
    refuted.go_to(binds)
    assert not get_refuted(refuted.ledger.state)


def test_no_more_than_a_third_of_all_whoever_bribed_the_auditors() -> None:
    town = Town("test/refuted/many", preset="minimal")
    start(town)
    for subject in range(town.count):
        confirm(town, subject)
        settle(town)
    state = town.ledger.state
    confirmed = [i for i, past in state.past_holds.items() if past.outcome == CONFIRMED]
    most = 1 + town.count * state.params.hold_open_permille // 1_000
    assert len(confirmed) > most
    first = sorted(confirmed, key=lambda index: state.past_holds[index].ended_epoch)[:most]
    assert get_refuted(state) == set(first)


def test_the_older_rules_know_nothing_of_it() -> None:
    town = Town("test/refuted/older", preset="minimal", rules=1)
    start(town)
    confirm(town)
    assert not get_refuted(town.ledger.state)
    settle(town)
    assert town.ledger.state.hotspots[SUBJECT].trust > 0


def test_a_seed_that_is_refuted_gives_no_trust() -> None:
    town = Town("test/refuted/seed", preset="minimal")
    start(town)
    seed = get_seed_indexes(town.ledger.state)[0]
    confirm(town, seed)
    settle(town)
    assert town.ledger.state.hotspots[seed].trust == 0
