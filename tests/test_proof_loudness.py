"""Who is heard better than it hears, and louder than others, counts weaker; who is deaf doesn't."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import pytest
from chain_helpers import Town
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.explain import explain_beacon
from chain.params import PRESETS, get_params
from chain.records import Reception
from chain.rules import verdict_arrays
from chain.rules.blocks import process_mix
from chain.rules.judging import ARRAYS, PLAIN, Steps
from chain.rules.loudness import compute_allowed, compute_cut
from chain.rules.pairs import PairCache
from chain.rules.verdicts import Judgement, get_judgement
from chain.state import State

np = pytest.importorskip("numpy")
COUNT = 9
PARAMS = PRESETS["testbed"]
Levels = Mapping[int, int]
NONE: dict[int, int] = {}


def get_state(sends: Levels, reads: Levels, lies: Mapping[tuple[int, int], int] = {}) -> State:
    """A town whose epoch 3 waits to be judged; who sends or reads by how much more, in centi-dB."""
    town = Town(COUNT, "testbed")
    town.join()

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        def level(item: Reception) -> int:
            more = sends.get(item.heard, 0) + reads.get(witness, 0)
            return item.rssi_cdbm + more + lies.get((witness, item.heard), 0)

        return [replace(item, rssi_cdbm=level(item)) for item in heard]

    town.run_epoch(2)
    town.run_epoch(3, edit)
    town.run_epoch(4)
    process_mix(town.ledger.state)
    state: State = town.ledger.state
    return state


def judge(state: State, steps: Steps = PLAIN) -> tuple[Judgement, State]:
    """The judgement on epoch 3, everybody trusted, and the work that follows."""
    after = deepcopy(state)
    judgement = get_judgement(after, 3, PairCache())
    steps.process_signals(judgement)
    steps.process_hearing(after, judgement)
    steps.process_links(judgement, frozenset(range(COUNT)))
    steps.process_cuts(judgement)
    steps.process_counted(after, judgement)
    return judgement, after


def get_cuts(sends: Levels = NONE, reads: Levels = NONE, **more: object) -> dict[int, int]:
    cuts = judge(get_state(sends, reads, **more))[0].cuts  # type: ignore[arg-type]
    assert cuts is not None
    return cuts


def test_a_booster_counts_as_weak_as_it_says_it_is() -> None:
    assert get_cuts({4: 1_200}) == {4: 1_000}, "2 (12 - 7) dB, no more than 12"
    assert get_cuts({4: 1_500}) == {4: 1_500}


def test_a_boost_within_what_a_receiver_may_be_off_is_not_seen() -> None:
    assert get_cuts({4: 700}) == {}


@pytest.mark.parametrize("off_cdb", [-600, 600, -1_200, 1_200])
def test_a_receiver_that_reads_wrong_costs_next_to_nothing(off_cdb: int) -> None:
    """What is left is by how much its place is louder than others: a quarter of a dB here."""
    assert sum(get_cuts(reads={4: off_cdb}).values()) <= 50


def test_a_deaf_receiver_on_a_good_site_counts_no_less_than_others() -> None:
    """The site makes it 3 dB louder both ways; the receiver reads 12 dB too little."""
    assert get_cuts({4: 300}, {4: 300 - 1_200})[4] == pytest.approx(300, abs=50)


def test_a_good_site_alone_costs_nothing() -> None:
    assert get_cuts({4: 1_200}, {4: 1_200}) == {}


def test_a_few_liars_make_nobody_look_loud() -> None:
    lies = {(witness, 4): 1_500 for witness in (0, 1, 2)}
    assert get_cuts(lies=lies) == {}


def test_below_three_partners_nothing_is_cut() -> None:
    state = get_state({4: 1_500}, NONE)
    ears = list(get_judgement(state, 3, PairCache()).reports.items())
    for kept in (3, 2):
        few = {w: m for w, m in ears if w == 4 or w < kept}
        part = get_judgement(state, 3, PairCache())
        part.reports = few
        PLAIN.process_signals(part)
        PLAIN.process_links(part, frozenset(range(COUNT)))
        PLAIN.process_cuts(part)
        assert list(part.cuts or {}) == ([4] if kept == 3 else [])


def test_the_first_rules_cut_nothing() -> None:
    state = get_state({4: 1_500}, NONE)
    state.params = get_params("testbed", 1)
    for steps in (PLAIN, ARRAYS):
        assert judge(state, steps)[0].cuts == {}


def test_less_quality_follows_and_the_explanation_says_why() -> None:
    honest, boosted = (get_state(sends, NONE) for sends in (NONE, {4: 1_500}))
    judgement, after = judge(boosted)
    fair = judge(honest)[1].quality
    assert {k: v for k, v in after.quality.items() if k[1] == 4} == {
        k: v for k, v in fair.items() if k[1] == 4
    }
    told = explain_beacon(judgement, 4, 0)["power"]
    assert told["cut_cdb"] == 1_500
    assert "15.00 dB weaker" in told["words"]
    assert explain_beacon(judgement, 3, 0)["power"]["cut_cdb"] == 0


levels = st.dictionaries(st.integers(0, COUNT - 1), st.integers(-1_500, 1_500), max_size=4)


@settings(max_examples=25, deadline=None)
@given(levels, levels)
def test_both_ways_cut_alike(sends: dict[int, int], reads: dict[int, int]) -> None:
    state = get_state(sends, reads)
    plain, after_plain = judge(state, PLAIN)
    arrays, after_arrays = judge(state, ARRAYS)
    assert arrays.cuts == plain.cuts
    assert after_arrays.quality == after_plain.quality


def test_large_epochs_are_cut_by_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger itself, one way and the other."""
    heads = []
    for arrays_from in (1_000_000, 1):
        monkeypatch.setattr(verdict_arrays, "ARRAYS_FROM", arrays_from)
        town = Town(6, "testbed")
        town.join()

        def edit(witness: int, heard: list[Reception]) -> list[Reception]:
            return [replace(r, rssi_cdbm=r.rssi_cdbm + 1_500 * (r.heard == 2)) for r in heard]

        for epoch in range(2, 12):
            town.run_epoch(epoch, edit)
        heads.append(town.ledger.head)
    assert heads[0] == heads[1]


@given(st.integers(-3_000, 3_000), st.integers(-3_000, 3_000), st.integers(300, 700))
def test_a_cut_never_exceeds_what_either_reading_says(
    differs: int, loud: int, allowed: int
) -> None:
    cut = compute_cut(PARAMS, allowed, differs, loud)
    assert 0 <= cut <= max(0, min(differs, loud + PARAMS.loud_allowed_cdb - allowed))
    assert compute_cut(PARAMS, allowed, differs + 1, loud) >= cut
    assert compute_cut(PARAMS, max(300, allowed - 1), differs, loud) >= cut, "better radios"
    assert differs > allowed or cut == 0


def with_network_of(count: int, state: State) -> State:
    """The same where so few hotspots tell what radios are like."""
    state.params = replace(state.params, loud_network_min=count)
    return state


@pytest.mark.parametrize("boost_cdb", [500, 700, 900])
def test_among_calibrated_receivers_less_than_seven_decibels_show(boost_cdb: int) -> None:
    """Allowed are 3 dB then; what the site doesn't explain needn't be the receiver."""
    assert get_cuts({4: boost_cdb}).get(4, 0) <= 400
    state = with_network_of(COUNT, get_state({4: boost_cdb}, NONE))
    assert judge(state)[0].cuts == {4: min(boost_cdb, 2 * (boost_cdb - 300))}


def test_where_receivers_differ_much_as_much_is_allowed() -> None:
    """Every third reads 6 dB too little, every third 6 dB too much: nobody is cut for that."""
    reads = {index: (-600, 0, 600)[index % 3] for index in range(COUNT)}
    wide = judge(with_network_of(COUNT, get_state({}, reads)))[0]
    assert wide.cuts == {}
    assert compute_allowed(replace(PARAMS, loud_network_min=3), [-600, 0, 600, 500]) == 700


def test_what_is_allowed_follows_the_median_of_the_network() -> None:
    few = [900] * (PARAMS.loud_network_min - 1)
    assert compute_allowed(PARAMS, few) == PARAMS.loud_allowed_cdb
    for spread, allowed in ((0, 300), (157, 300), (200, 380), (350, 665), (369, 700), (900, 700)):
        differs = [spread, -spread] * PARAMS.loud_network_min
        assert compute_allowed(PARAMS, differs) == allowed
        # Less than half of the network can't raise it.
        assert compute_allowed(PARAMS, differs + [3_000] * (len(differs) - 1)) == allowed


@settings(max_examples=15, deadline=None)
@given(levels, levels)
def test_both_ways_know_the_same_network(sends: dict[int, int], reads: dict[int, int]) -> None:
    state = with_network_of(3, get_state(sends, reads))
    assert judge(state, ARRAYS)[0].cuts == judge(state, PLAIN)[0].cuts
