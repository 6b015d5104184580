"""Liars, each caught by the test that is about it, while their neighbours stay below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import (
    copy_reports,
    forge,
    move_claims,
    network,
    one_radio,
    pick_liars,
    ring,
    score,
)

from bench.audit_networks import Truth, simulate
from coverage_map.audit.scores import TESTS, Scores, compute_scores
from coverage_map.audit.table import Claims, Hearings

COUNT, EPOCHS, SEED = 300, 48, 7


@pytest.fixture(scope="module")
def town() -> tuple[Truth, Claims, Hearings]:
    truth, claims = network(COUNT, EPOCHS, SEED)
    return truth, claims, simulate(truth, SEED)


LIARS = pick_liars(COUNT, 0.1, SEED)


def surprise(scores: Scores, test: str, hotspots: np.ndarray) -> np.ndarray:
    return scores.surprise[hotspots, TESTS.index(test)]


def assert_caught(scores: Scores, liars: np.ndarray, share: float) -> None:
    """At least `share` of the liars above the threshold, and at most 1 % of the others."""
    is_liar = np.zeros(COUNT, np.bool_)
    is_liar[liars] = True
    above = scores.combined > scores.threshold
    assert above[is_liar].mean() >= share
    assert above[~is_liar].mean() <= 0.01


def test_blind_forgers_have_no_slope(town: tuple[Truth, Claims, Hearings]) -> None:
    _, claims, hearings = town
    forged = forge(hearings, claims, LIARS, SEED, sigma_db=7.0, knows_steps=False)
    scores = compute_scores(forged, claims)
    assert_caught(scores, LIARS, 0.9)
    slopes = scores.outcomes["slope"].statistic[LIARS]
    assert np.nanmedian(np.abs(slopes)) < 0.1
    assert np.nanmedian(scores.outcomes["slope"].statistic) > 0.9


def test_free_space_is_too_smooth(town: tuple[Truth, Claims, Hearings]) -> None:
    """Even who knows the steps, and adds the noise of packets."""
    _, claims, hearings = town
    forged = forge(hearings, claims, LIARS, SEED, sigma_db=0.0, knows_steps=True)
    scores = compute_scores(forged, claims)
    assert_caught(scores, LIARS, 0.9)
    assert np.nanmedian(surprise(scores, "spectrum", LIARS)) > 10.0


def test_invented_shadowing_is_not_reciprocal(town: tuple[Truth, Claims, Hearings]) -> None:
    """The network's own propagation model, with shadowing: right in all but what it can't know."""
    _, claims, hearings = town
    forged = forge(hearings, claims, LIARS, SEED, sigma_db=7.0, knows_steps=True)
    scores = compute_scores(forged, claims)
    assert_caught(scores, LIARS, 0.9)
    assert np.nanmedian(surprise(scores, "reciprocity", LIARS)) > 10.0
    assert np.nanmedian(surprise(scores, "spectrum", LIARS)) < 5.0


@pytest.mark.parametrize(("apart_m", "share"), [(1_000.0, 0.5), (2_000.0, 0.65), (5_000.0, 0.8)])
def test_fake_places(
    town: tuple[Truth, Claims, Hearings], apart_m: float, share: float
) -> None:
    """Real radios with honest reports, but for where they stand."""
    _, claims, hearings = town
    scores = compute_scores(hearings, move_claims(claims, LIARS, SEED, apart_m))
    assert_caught(scores, LIARS, share)


def test_a_fake_place_is_found_where_the_radio_is(town: tuple[Truth, Claims, Hearings]) -> None:
    _, claims, hearings = town
    moved = move_claims(claims, LIARS, SEED, 2_000.0)
    scores = compute_scores(hearings, moved)
    caught = LIARS[surprise(scores, "location", LIARS) > 8.0]
    outside = scores.outcomes["location"].statistic[caught]
    blur = moved.blur_m()[caught]
    assert np.median(np.abs(outside + blur - 2_000.0)) < 500.0


def test_keys_on_one_radio_name_each_other(town: tuple[Truth, Claims, Hearings]) -> None:
    truth, claims, _ = town
    keys = LIARS[LIARS < 180][:6]
    scores = score(one_radio(truth, keys), claims, SEED)
    assert_caught(scores, keys, 1.0)
    outcome = scores.outcomes["colocation"]
    assert set(outcome.other[keys]) <= set(keys)
    assert (outcome.statistic[keys] < 1.5).all()


@pytest.mark.parametrize("noise_db", [0.0, 1.0])
def test_copiers_fade_with_their_source(
    town: tuple[Truth, Claims, Hearings], noise_db: float
) -> None:
    _, claims, hearings = town
    source, copier = (int(k) for k in LIARS[:2])
    scores = compute_scores(copy_reports(hearings, source, copier, noise_db), claims)
    outcome = scores.outcomes["copying"]
    assert outcome.other[copier] == source
    assert outcome.other[source] == copier
    assert (scores.combined[[source, copier]] > scores.threshold).all()


def test_a_ring_is_not_heard_where_it_claims_to_be(town: tuple[Truth, Claims, Hearings]) -> None:
    truth, claims, _ = town
    members = LIARS[LIARS < 180][:12]
    scores = score(ring(truth, members), claims, SEED)
    assert_caught(scores, members, 0.8)


def test_a_boosted_sender_is_heard_better_than_it_hears(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    truth, claims, _ = town
    boost = np.zeros(COUNT)
    boost[LIARS[:6]] = 20.0
    louder = replace(truth, sent_offset_db=truth.sent_offset_db + boost)
    scores = score(louder, claims, SEED)
    known = ~np.isnan(scores.outcomes["power"].statistic[LIARS[:6]])
    assert known.any()
    assert (scores.outcomes["power"].statistic[LIARS[:6]][known] > 12.0).all()
    assert (surprise(scores, "power", LIARS[:6])[known] > 7.0).all()


def test_a_radio_that_only_claims_to_set_its_power(town: tuple[Truth, Claims, Hearings]) -> None:
    truth, claims, _ = town
    still = LIARS[LIARS < 180][:6]
    scale = truth.step_scale.copy()
    scale[still] = 0.0
    sets = np.ones(COUNT, np.bool_)
    scores = score(
        replace(truth, step_scale=scale, sets_power=sets), replace(claims, sets_power=sets), SEED
    )
    slope = scores.outcomes["sent_slope"].statistic
    assert (slope[still] < 0.2).all()
    assert np.nanmin(np.delete(slope, still)) > 0.8
    assert (surprise(scores, "sent_slope", still) > 8.0).all()


def test_the_honest_are_heard_above_a_third_of_liars(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    """Suspects don't testify: 30 % forgers don't drag their neighbours down."""
    _, claims, hearings = town
    many = pick_liars(COUNT, 0.3, SEED)
    forged = forge(hearings, claims, many, SEED, sigma_db=7.0, knows_steps=False)
    assert_caught(compute_scores(forged, claims), many, 0.85)


def test_scores_are_the_same_twice(town: tuple[Truth, Claims, Hearings]) -> None:
    _, claims, hearings = town
    moved = move_claims(claims, LIARS, SEED, 1_000.0)
    one, other = compute_scores(hearings, moved), compute_scores(hearings, moved)
    np.testing.assert_array_equal(one.combined, other.combined)
    np.testing.assert_array_equal(one.surprise, other.surprise)
