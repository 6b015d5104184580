"""Who stands in one room, and who is vouched for by the same few."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import move_claims, network
from scipy.stats import norm

from bench.audit_networks import Truth, simulate
from coverage_map.audit import room_kernels as room
from coverage_map.audit.colocation import OFFSETS_DB, compute_claimed
from coverage_map.audit.company import compute_company, compute_suspicion, find_others
from coverage_map.audit.place_kernels import OUTLIER, OUTLIER_SPAN_DB
from coverage_map.audit.scores import Scores, compute_scores
from coverage_map.audit.surroundings import HEARD, WEIGHT, Surroundings, find_surroundings
from coverage_map.audit.table import Claims, Hearings, join_hearings, make_hearings

COUNT, EPOCHS, SEED = 160, 24, 6
LAW = np.array([100.0, 33.0, 8.0, 82.0, 22.0, 4.0, -1.0, -2.5])


def below(level: float) -> float:
    return 1.0 / (1.0 + math.exp(-1.702 * level))


def test_one_room_against_numpy() -> None:
    rng = np.random.default_rng(4)
    starts = np.array([0, 6, 13])
    witness = np.array([1, 2, 4, 5, 7, 9, 0, 2, 4, 5, 6, 7, 9])
    loss, variance = rng.normal(110.0, 8.0, 13), rng.uniform(0.01, 0.2, 13)
    most, claimed = loss + rng.uniform(1.0, 9.0, 13), rng.normal(-4.0, 2.0, (13, 3))
    nats, wide, rms = room.compare_room(0, 1, starts, witness, loss, most, variance, claimed)
    one, other = np.array(
        [(a, b) for a in range(6) for b in range(6, 13) if witness[a] == witness[b]]
    ).T
    mean = float(np.mean(loss[one] - loss[other]))
    sums = []
    for room_var in room.ROOM_VARS_DB2:
        sigma = np.sqrt(room_var + variance[one] + variance[other])
        heard = [below(x) for x in (most[one] - loss[other] - mean) / sigma]
        told = norm.logpdf(loss[one] - loss[other], mean, sigma) - np.log(heard)
        gains = np.clip(told[:, None] - claimed[one], room.LINK_FLOOR_NATS, room.LINK_MOST_NATS)
        sums.append(gains.sum(axis=0))
    assert len(one) == 5
    assert nats == pytest.approx(np.log(np.mean(np.exp(sums), axis=0)).min() * 4 / 5)
    assert wide == pytest.approx(sums[0].min() * 4 / 5)
    assert rms == pytest.approx(float(np.std(loss[one] - loss[other])))
    few = np.array([0, 2, 9])
    assert math.isnan(room.compare_room(0, 1, few, witness, loss, most, variance, claimed)[0])


def test_what_a_claim_promises_is_a_density_of_what_is_heard() -> None:
    """Over all losses that arrive, each site's law adds up to one but for outliers."""
    loss = np.arange(30.0, 118.0, 0.05)
    columns = np.tile(LAW, (len(loss), 1))
    told = compute_claimed(columns, np.full(len(loss), 0.4), loss, np.full(len(loss), 118.0))
    assert told.shape == (len(loss), len(OFFSETS_DB))
    spread = OUTLIER * (loss[-1] - loss[0]) / OUTLIER_SPAN_DB
    np.testing.assert_allclose(np.exp(told).sum(axis=0) * 0.05, 1 - OUTLIER + spread, atol=0.01)


@pytest.fixture(scope="module")
def town() -> tuple[Truth, Claims, Hearings]:
    truth, claims = network(COUNT, EPOCHS, SEED)
    claims = replace(claims, first_epoch=np.zeros(COUNT, np.uint32))
    return truth, claims, simulate(truth, SEED)


def nats_of(scores: Scores, test: str) -> np.ndarray:
    return scores.outcomes[test].nats


def share_room(truth: Truth, keys: np.ndarray, sigma_db: float) -> Truth:
    """Radios of their own beside the first: losses like its own, give or take."""
    loss, rng = truth.loss_db.copy(), np.random.default_rng(2)
    first = keys[0]
    for key in keys[1:]:
        loss[key] = loss[first] + rng.normal(0.0, sigma_db, len(loss))
        loss[:, key] = loss[key]
    loss[np.ix_(keys, keys)] = 45.0
    np.fill_diagonal(loss, np.inf)
    return replace(truth, loss_db=loss)


def test_radios_in_one_room_show_though_no_two_are_alike(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    """At 3.5 dB each, 5 dB apart, they are no one radio; claims 700 m away don't explain them."""
    truth, claims, hearings = town
    steady = truth.has_rssi & (truth.keeps > 0.8) & (truth.present.mean(axis=1) > 0.9)
    heard = (truth.loss_db < 110.0).sum(axis=1) * (steady & ~claims.seed)
    heard[96:] = 0
    keys = np.argsort(-heard)[:4]
    fine = claims.resolution >= 9  # of others the centre of the cell is no claim that is true
    claims = replace(claims, resolution=np.maximum(claims.resolution, 9))
    lies = move_claims(claims, keys[1:], SEED, 700.0)
    found = compute_scores(simulate(share_room(truth, keys, 3.5), SEED), lies)
    honest = compute_scores(hearings, claims)
    assert np.nanmin(nats_of(found, "colocation")[keys[1:]]) > 6.0
    assert np.isin(found.outcomes["colocation"].other[keys[1:]], keys).all()
    assert np.all(found.combined[keys[1:]] > found.threshold)
    assert np.nanmax(nats_of(honest, "colocation")[fine]) < 6.0


def vouch(absent: np.ndarray, friends: list[np.ndarray], hearings: Hearings) -> Hearings:
    """Nobody hears the absent but each one's friends, who say so once in every epoch."""
    true = ~np.isin(hearings.beaconer, absent) & ~np.isin(hearings.witness, absent)
    names = Hearings.__dataclass_fields__
    rest = make_hearings(**{name: getattr(hearings, name)[true] for name in names})
    parts = []
    for liar, few in zip(absent, friends, strict=True):
        epoch = np.repeat(np.arange(EPOCHS), len(few))
        ones = np.ones(len(epoch), np.int64)
        parts.append(make_hearings(
            epoch=epoch, witness=np.tile(few, EPOCHS), beaconer=liar * ones, sequence=0 * ones,
            step_cdb=0 * ones, rssi_cdbm=-8_000 * ones, frequency_mhz=2_437 * ones, code=0 * ones,
        ))
    both = join_hearings([rest, *parts])
    order = np.argsort(both.epoch, kind="stable")
    return make_hearings(**{name: getattr(both, name)[order] for name in names})


def test_who_is_vouched_for_by_the_same_few_is_worse_off(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    """Two that aren't there: with two accomplices in common, or with two of its own each."""
    truth, claims, hearings = town
    steady = truth.has_rssi & (truth.keeps > 0.8) & (truth.present.mean(axis=1) > 0.9)
    city = np.flatnonzero(steady[:96] & ~claims.seed[:96])
    places = claims.positions_m()
    middle = np.median(places[city], axis=0)
    near = city[np.argsort(np.hypot(*(places[city] - middle).T))]
    absent, few = near[:2], near[[6, 9, 12, 15]]
    both = [few[:2], few[:2]], [few[:2], few[2:]]
    shared, apart = (
        compute_scores(vouch(absent, friends, hearings), claims) for friends in both
    )
    assert np.all(nats_of(shared, "vouched")[absent] > nats_of(apart, "vouched")[absent] + 1.0)
    assert np.all(shared.combined[absent] > shared.threshold)


def test_hearers_without_company_change_nothing(town: tuple[Truth, Claims, Hearings]) -> None:
    """Where everybody hears everybody, nobody's word counts for less."""
    network_ = compute_scores(town[2], town[1]).network
    around = find_surroundings(network_)[0]
    nats = np.full(COUNT, -20.0)
    np.testing.assert_array_equal(compute_company(network_, around, nats), np.zeros(COUNT))
    nats[3] = 8.0  # one liar alone has no company either
    assert compute_company(network_, around, nats)[3] == 0.0


def test_others_that_an_anchor_hears_by_brute_force(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    network_ = compute_scores(town[2], town[1]).network
    around: Surroundings = find_surroundings(network_)[0]
    nats = np.random.default_rng(1).normal(0.0, 3.0, COUNT)
    heard = np.flatnonzero((around.near[:, WEIGHT] > 0) & (around.near[:, HEARD] > 0))
    found = find_others(around, heard, nats)
    for row in range(0, len(found), 97):
        hears = around.own[heard[around.anchor[heard] == around.anchor[row]]]
        rest = hears[hears != around.own[row]]
        assert found[row] == (nats[rest].max() if len(rest) else -np.inf)


def test_suspicion_grows_with_the_evidence() -> None:
    told = compute_suspicion(np.array([-np.inf, -20.0, 0.0, 2.0, 50.0, 1e9]))
    assert np.all(np.diff(told) >= 0)
    assert told[0] < 1e-9
    assert told[2] == pytest.approx(0.1)
    assert told[-1] > 0.999
