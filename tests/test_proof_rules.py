"""Each refusal of evidence by its own reason, and the power slope: proven, abstaining, blind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from chain_helpers import FIRST_EPOCH, Town
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import draws
from chain.explain import explain_receptions
from chain.params import PRESETS
from chain.records import Reception
from chain.rules.hearing import get_hearing
from chain.rules.regions import REGIONS
from chain.rules.slopes import compute_group
from chain.rules.verdicts import NO_RSSI, get_verdicts
from chain.store.hotspot_row import pack_hotspot, unpack_hotspot, unpack_numbers

Edit = Callable[[int, list[Reception]], list[Reception]]
PARAMS = PRESETS["testbed"]
LIAR = 4
FCC, ETSI, JAPAN = 1 << 1, 2 << 1, 3 << 1


def make_town(count: int = 9, preset: str = "testbed", reach_cdbm: int | None = None) -> Town:
    """A town whose hotspots have registered; the weakest links tell too if a reach is given."""
    town = Town(count, preset)
    town.join()
    if reach_cdbm is not None:
        state = town.ledger.state
        state.params = replace(state.params, slope_reach_cdbm=reach_cdbm)
    return town


def run(town: Town, first: int, last: int, edit: Edit) -> None:
    """Epochs in which what is heard gets edited; the last closed too."""
    for epoch in range(first, last + 1):
        assert all(result.accepted for result in town.run_epoch(epoch, edit))
    town.ledger.tick(town.time_ms(last + 1))


def get_reasons(town: Town, epoch: int, witness: int) -> Counter[str]:
    """How often each verdict fell on a witness's report."""
    judgement = town.ledger.verdicts(epoch)
    assert judgement is not None
    return Counter(v.reason for v in get_verdicts(judgement) if v.witness == witness)


# --- reasons ------------------------------------------------------------------------------------


def lie_once(town: Town, epoch: int, lie: Callable[[Reception], Reception]) -> Counter[str]:
    """Verdicts on the liar's report, of which all that it heard of hotspot 0 was edited."""

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        if witness != LIAR:
            return heard
        return [lie(item) if item.heard == 0 else item for item in heard]

    run(town, FIRST_EPOCH, epoch - 1, lambda _, heard: heard)
    run(town, epoch, epoch, edit)
    run(town, epoch + 1, epoch + 1, lambda _, heard: heard)
    return get_reasons(town, epoch, LIAR)


@pytest.mark.parametrize("age", [1, 2, 4])
def test_beacons_of_earlier_epochs_are_replays(age: int) -> None:
    """Somebody who kept a beacon and shows it again is told so."""
    town = make_town()

    def replay(item: Reception) -> Reception:
        secret = town.secret(0, 7 - age)
        return replace(item, tag=draws.tag_of(draws.answer(secret, 7 - age, item.sequence)))

    assert lie_once(town, 7, replay)["replayed"] == PARAMS.beacons_per_epoch


def test_another_beacon_of_the_same_epoch_is_a_replay() -> None:
    """One beacon heard can't stand for the next."""
    town = make_town()

    def replay(item: Reception) -> Reception:
        tag = draws.tag_of(draws.answer(town.secret(0, 4), 4, 0))
        return replace(item, tag=tag)

    reasons = lie_once(town, 4, replay)
    assert reasons["replayed"] == PARAMS.beacons_per_epoch - 1


def test_what_was_made_up_is_no_replay() -> None:
    """Nor is the beacon of an epoch long ago, or of another hotspot."""
    town = make_town()
    assert lie_once(town, 4, lambda item: replace(item, tag=b"oops"))["wrong_tag"] == 6
    town = make_town()

    def borrow(item: Reception) -> Reception:
        return replace(item, tag=draws.tag_of(draws.answer(town.secret(1, 4), 4, item.sequence)))

    assert lie_once(town, 4, borrow)["wrong_tag"] == 6


@pytest.mark.parametrize(
    "changes",
    [{"flags": 2}, {"flags": NO_RSSI, "rssi_cdbm": -5_000}, {"sequence": 6}, {"sequence": 255}],
)
def test_fields_that_no_hotspot_writes_are_malformed(changes: dict[str, int]) -> None:
    """Unknown flags, a strength beside "no strength", a beacon beyond the last."""
    town = make_town()
    reasons = lie_once(town, 4, lambda item: replace(item, **changes))  # type: ignore[arg-type]
    assert reasons["malformed"] == PARAMS.beacons_per_epoch


def test_two_regions_do_not_meet() -> None:
    """Evidence between hotspots that assert two regions is foreign, both ways; the rest counts."""
    town = Town(4, "testbed")
    wires = [town.deposit(n).wire for n in range(4)]
    wires += [
        town.sealed_registration(n, flags=1 | (FCC if n == 3 else ETSI)).wire for n in range(4)
    ]
    assert all(result.accepted for result in town.ledger.submit(wires, town.start_ms))
    run(town, FIRST_EPOCH, 4, lambda _, heard: heard)
    assert set(get_reasons(town, 3, 3)) == {"foreign_region"}
    assert get_reasons(town, 3, 0)["foreign_region"] == PARAMS.beacons_per_epoch
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    found = next(iter(explain_receptions(judgement, lambda case: case.witness == 3)))
    assert found["rules"][-1]["inputs"] == {"witness_region": 1, "beaconer_region": 2}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"flags": ETSI, "eirp_cdbm": 2_001}, "over_cap"),
        ({"flags": ETSI, "eirp_cdbm": 2_000}, "ok"),
        ({"flags": FCC, "eirp_cdbm": 3_300}, "ok"),  # 1 W and the 3 dBi that it asserts
        ({"flags": FCC, "eirp_cdbm": 3_301}, "over_cap"),
        ({"flags": FCC, "eirp_cdbm": 3_600, "gain_cdb": 600}, "ok"),
        ({"flags": FCC, "eirp_cdbm": 3_601, "gain_cdb": 900}, "over_cap"),
        ({"flags": FCC, "eirp_cdbm": 3_000, "gain_cdb": 600, "frequency_mhz": 5_500}, "ok"),
        ({"flags": FCC, "eirp_cdbm": 2_701, "frequency_mhz": 5_500}, "over_cap"),
        ({"flags": JAPAN, "eirp_cdbm": 2_000}, "ok"),
        ({"flags": JAPAN, "eirp_cdbm": 2_301, "frequency_mhz": 5_500}, "over_cap"),
        ({"flags": JAPAN, "frequency_mhz": 5_745}, "wrong_region"),
        ({"flags": FCC, "frequency_mhz": 2_484}, "wrong_region"),
        ({"flags": ETSI, "frequency_mhz": 5_500, "eirp_cdbm": 3_000}, "ok"),
        ({"flags": ETSI, "frequency_mhz": 5_745, "eirp_cdbm": 1_401}, "over_cap"),
        ({"flags": 7 << 1}, "unknown_region"),
        ({"flags": 0, "eirp_cdbm": 5_000}, "ok"),
    ],
)
def test_a_region_limits_power_and_channels(changes: dict[str, int], reason: str) -> None:
    """A registration that breaks its own region's rules is refused, with field and remedy."""
    town = Town(1)
    town.submit(town.deposit(0))
    (result,) = town.submit(town.sealed_registration(0, **changes))
    assert result.reason == reason
    assert result.accepted == (reason == "ok")


def test_bands_of_a_region_do_not_overlap() -> None:
    """One frequency has one limit."""
    for region in REGIONS.values():
        edges = [edge for band in region.bands for edge in (band.low_mhz, band.high_mhz)]
        assert edges == sorted(edges)
        assert all(band.low_mhz < band.high_mhz for band in region.bands)


# --- power slopes -------------------------------------------------------------------------------

groups = st.lists(
    st.tuples(st.sampled_from([0, 300, 600, 900]), st.integers(-9_500, -3_000)), max_size=12
)


@given(groups)
def test_a_group_is_a_regression(group: list[tuple[int, int]]) -> None:
    """The integers are sums of products of deviations, to half a unit."""
    steps, rssi = [step for step, _ in group], [r for _, r in group]
    slope, spread = compute_group(steps, rssi, -100_000)
    if len(group) < 2:
        assert (slope, spread) == (0, 0)
        return
    mean_p, mean_r = Fraction(-sum(steps), len(steps)), Fraction(sum(rssi), len(rssi))
    exact = sum((-p - mean_p) * (r - mean_r) for p, r in group) / 10_000
    varied = sum((-p - mean_p) ** 2 for p in steps) / 10_000
    assert abs(slope - exact) <= Fraction(1, 2)
    assert abs(spread - varied) <= Fraction(1, 2)


@given(groups, st.integers(-9_000, -6_000))
def test_of_a_group_what_is_beyond_the_reach_is_left_out(
    group: list[tuple[int, int]], reach_cdbm: int
) -> None:
    """By the mean of all, less each beacon's own step: by no strength of its own."""
    steps, rssi = [step for step, _ in group], [r for _, r in group]
    full = sum(steps) + sum(rssi)
    told = [(s, r) for s, r in group if full - len(group) * s >= len(group) * reach_cdbm]
    within = compute_group([s for s, _ in told], [r for _, r in told], -100_000)
    assert compute_group(steps, rssi, -100_000, reach_cdbm) == within


@given(groups.filter(lambda group: len(group) > 1), st.integers(-9_000, -4_000))
def test_the_floor_is_one_of_mean_full_power(group: list[tuple[int, int]], floor: int) -> None:
    """Links that are weak at full power don't tell; the steps themselves don't matter."""
    steps, rssi = [step for step, _ in group], [r for _, r in group]
    full = Fraction(sum(steps) + sum(rssi), len(group))
    if full < floor:
        assert compute_group(steps, rssi, floor) == (0, 0)
    else:
        assert compute_group(steps, rssi, floor) == compute_group(steps, rssi, -100_000)


def test_an_honest_witness_fails_less_than_once_in_a_million() -> None:
    """The derivation of params.slope_spread_min_db2: 4 dB per packet, a slope of nine tenths."""
    deviations = (0.9 - PARAMS.slope_cut_percent / 100) * math.sqrt(PARAMS.slope_spread_min_db2) / 4
    assert math.erfc(deviations / math.sqrt(2)) / 2 < 1e-6


def forge(witness: int, heard: list[Reception]) -> list[Reception]:
    """The liar writes down what the place would give at the mean step."""
    if witness != LIAR:
        return heard
    return [replace(item, rssi_cdbm=-6_500) for item in heard]


def test_who_makes_strengths_up_goes_blind_and_may_mend() -> None:
    """Nothing that a forger hears counts once the slope tells; honest again, it is believed."""
    town = make_town(reach_cdbm=-9_000)
    assert town.ledger.state.params.settlement_epochs == 10
    run(town, FIRST_EPOCH, 38, forge)
    liar, honest = town.ledger.state.hotspots[LIAR], town.ledger.state.hotspots[1]
    assert liar.spread_db2 >= PARAMS.slope_spread_min_db2
    assert abs(liar.slope_db2) < liar.spread_db2 // 20
    assert abs(honest.slope_db2 - honest.spread_db2) <= honest.spread_db2 // 50
    blind, proven = get_hearing(town.ledger.state)
    assert blind == {LIAR}
    assert 1 in proven
    assert set(get_reasons(town, 37, LIAR)) == {"power_blind"}
    judgement = town.ledger.verdicts(37)
    assert judgement is not None
    assert judgement.beaconers[LIAR].weight * 4 == judgement.beaconers[1].weight
    run(town, 39, 90, lambda _, heard: heard)
    assert get_hearing(town.ledger.state)[0] == frozenset()
    assert "power_blind" not in get_reasons(town, 89, LIAR)


def test_who_gives_no_strength_abstains_at_a_quarter() -> None:
    """Without RSSI nothing tells: never blind, never proven, a quarter of the witness's weight."""
    town = make_town(reach_cdbm=-9_000)

    def silent(witness: int, heard: list[Reception]) -> list[Reception]:
        if witness != LIAR:
            return heard
        return [replace(item, flags=NO_RSSI, rssi_cdbm=0) for item in heard]

    run(town, FIRST_EPOCH, 40, silent)
    state = town.ledger.state
    blind, proven = get_hearing(state)
    assert not blind
    assert proven == set(range(9)) - {LIAR}
    assert (state.hotspots[LIAR].slope_db2, state.hotspots[LIAR].spread_db2) == (0, 0)
    run(town, 41, 41, silent)
    before = dict(town.ledger.state.measured)
    run(town, 42, 42, silent)
    judgement = town.ledger.verdicts(41)
    assert judgement is not None
    counts = {w: codes.count(0) for w, codes in judgement.codes.items()}
    gained = dict.fromkeys(counts, 0)
    for (_, witness), count in town.ledger.state.measured.items():
        gained[witness] = count - sum(n for (_, w), n in before.items() if w == witness)
    assert counts[1] > 0
    assert counts[LIAR] > 0
    assert gained[1] % 4 == 0
    assert gained[1] > counts[1]
    assert 0 < gained[LIAR] <= counts[LIAR]


@settings(max_examples=30, deadline=None)
@given(st.integers(-(1 << 40), 1 << 40), st.integers(0, 1 << 40))
def test_sums_survive_the_row(slope: int, spread: int) -> None:
    """A packed hotspot gives back both sums, whole and by the short way."""
    town = make_town(1)
    hotspot = town.ledger.state.hotspots[0]
    hotspot.slope_db2, hotspot.spread_db2 = slope, spread
    raw = pack_hotspot(town.ledger.state, hotspot)
    assert unpack_numbers(raw)[3:] == (spread, slope)
    assert unpack_hotspot(town.ledger.state, 0, raw) == hotspot
