"""The auditors' compiled kernels against plain NumPy and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from coverage_map.audit import colocation_kernels as colocation
from coverage_map.audit import link_kernels as link
from coverage_map.audit import place_kernels as place

# Obstructed and clear: dB at 100 m, dB per decade, deviation; logit of clear and its fall.
LAW = np.array([100.0, 33.0, 8.0, 82.0, 22.0, 4.0, -1.0, -2.5])


def make_near(rng: np.random.Generator, count: int) -> np.ndarray:
    """Neighbours around the origin, every third not heard."""
    near = np.empty((count, 8))
    near[:, :2] = rng.uniform(-800.0, 800.0, (count, 2))
    near[:, 2] = rng.uniform(80.0, 130.0, count)
    near[::3, 2] = math.nan
    near[:, 3] = rng.uniform(115.0, 130.0, count)
    near[:, 4] = rng.uniform(0.3, 1.0, count)
    near[:, 5] = rng.uniform(0.5, 0.97, count)
    near[:, 6] = ~np.isnan(near[:, 2])
    near[1::6, [2, 6]] = math.nan, 1.0  # heard without a strength
    near[:, 7] = 1.0
    return near


def lines_db(
    x: float, y: float, offset: float, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median loss of obstructed and of clear paths, and the chance of the latter."""
    apart = np.maximum(np.hypot(near[:, 0] - x, near[:, 1] - y), place.NEAREST_M)
    reach = np.log10(apart / 100.0)
    clear = 1.0 / (1.0 + np.exp(-LAW[6] - LAW[7] * reach))
    return LAW[0] + LAW[1] * reach + offset, LAW[3] + LAW[4] * reach + offset, clear


def sigma_of(offset: float) -> float:
    return place.BETTER_SIGMA_DB if offset < 0 else place.WORSE_SIGMA_DB


def below(level: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-1.702 * level))


def heard_chance(x: float, y: float, offset: float, near: np.ndarray) -> np.ndarray:
    one, other, clear = lines_db(x, y, offset, near)
    through = (1 - clear) * below((near[:, 3] - one) / LAW[2])
    return near[:, 5] * (clear * below((near[:, 3] - other) / LAW[5]) + through)


def log_likelihood(x: float, y: float, offset: float, near: np.ndarray, mean: float) -> float:
    one, other, clear = lines_db(x, y, offset, near)
    density = clear * norm.pdf(near[:, 2], other, LAW[5])
    density += (1 - clear) * norm.pdf(near[:, 2], one, LAW[2])
    strength = np.log((1 - place.OUTLIER) * density + place.OUTLIER / place.OUTLIER_SPAN_DB)
    chance = heard_chance(x, y, offset, near)
    told = np.log(np.where(near[:, 6] > 0, chance, 1 - chance))
    prior = -0.5 * ((offset - mean) / sigma_of(offset - mean)) ** 2
    return float(prior + (near[:, 4] * np.where(np.isnan(near[:, 2]), told, strength)).sum())


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_of_a_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = make_near(rng, 18)
    for x, y, offset in rng.normal(0.0, [300.0, 300.0, 6.0], (20, 3)):
        mine = place.log_likelihood(x, y, offset, near, LAW, 1.0)
        assert abs(mine - log_likelihood(x, y, offset, near, 1.0)) < 1e-9
        unknown = near.copy()
        unknown[::2, 4] = 0.0  # asked about nobody that wasn't there
        mine = place.log_likelihood(x, y, offset, unknown, LAW, 1.0)
        assert abs(mine - log_likelihood(x, y, offset, near[1::2], 1.0)) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_search_finds_what_a_grid_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = make_near(rng, 20)
    truth = rng.uniform(-400.0, 400.0, 2)
    near = near[~np.isnan(near[:, 2])]
    near[:, 2] = lines_db(*truth, 2.0, near)[0] + rng.normal(0.0, 3.0, len(near))
    claim = truth + np.array([900.0, 0.0])
    gain, x, y, value, cx, cy, offset = place.search(near, LAW, 0.0, claim, 92.0, 400.0)
    assert abs(value - max(
        place.log_likelihood(x, y, a, near, LAW, 0.0) for a in np.arange(-20.0, 20.0, 0.02)
    )) < 0.05
    axis = np.arange(-1_000.0, 1_001.0, 100.0)
    grid = max(
        place.log_likelihood(gx, gy, a, near, LAW, 0.0)
        for gx in axis
        for gy in axis
        for a in np.arange(-12.0, 12.1, 3.0)
    )
    assert value > grid - 0.5
    assert gain > 0.0
    assert math.hypot(cx - claim[0], cy - claim[1]) <= 92.0
    at_claim = place.log_likelihood(cx, cy, offset, near, LAW, 0.0)
    assert abs(value - gain - at_claim) < 1e-9
    assert math.hypot(x - truth[0], y - truth[1]) < math.hypot(*(claim - truth))


def test_silence_by_enumerating_every_outcome() -> None:
    rng = np.random.default_rng(3)
    near = make_near(rng, 7)
    claims, law = np.array([[50.0, -20.0]]), LAW[None, :]
    out = np.zeros((1, 3))
    asked = np.ones(1, np.bool_)
    place.silence_all(np.array([0, 7]), near, law, np.array([1.0]), claims, asked, out)
    heard = int(near[:, 6].sum())
    weights, tails, means = [], [], []
    for step in range(-10, 11):
        sigma = sigma_of(float(step))
        chance = heard_chance(50.0, -20.0, 1.0 + 0.4 * step * sigma, near)
        tail = sum(
            math.prod(p if hit else 1 - p for p, hit in zip(chance, hits, strict=True))
            for hits in itertools.product((0, 1), repeat=7)
            if sum(hits) <= heard
        )
        weights.append(sigma * math.exp(-0.5 * (0.4 * step) ** 2))
        tails.append(tail)
        means.append(chance.sum())
    assert abs(out[0, 0] + math.log(np.average(tails, weights=weights))) < 1e-9
    assert out[0, 1] == heard
    assert abs(out[0, 2] - np.average(means, weights=weights)) < 1e-9


def test_misfit_is_short_of_the_expected_likelihood() -> None:
    """Over all outcomes the shortfall averages to nothing, with the variance that it says."""
    near = make_near(np.random.default_rng(5), 6)
    near[5, 7] = 0.0  # asked because it heard: says nothing here
    chance = heard_chance(50.0, -20.0, 1.0, near)[:5]
    mean = square = 0.0
    for hits in itertools.product((0.0, 1.0), repeat=5):
        near[:5, 6] = hits
        short, variance, votes = place.misfit(50.0, -20.0, 1.0, near, LAW)
        weight = math.prod(p if hit else 1 - p for p, hit in zip(chance, hits, strict=True))
        mean += weight * short
        square += weight * short**2
    assert abs(mean) < 1e-9
    assert abs(square - variance) < 1e-9
    assert abs(votes - near[:5, 4].sum()) < 1e-12


def test_anchors_that_stand_together_share_a_vote() -> None:
    near = np.zeros((4, 8))
    near[:, 0] = [0.0, 0.0, 1_000.0, 2_000.0]
    weights = np.ones(4)
    place.weigh_all(np.array([0, 4]), near, 30.0, weights)
    np.testing.assert_allclose(weights, [0.5, 0.5, 1.0, 1.0])


def test_comparing_two_senders() -> None:
    rng = np.random.default_rng(4)
    starts = np.array([0, 6, 13])
    witness = np.array([1, 2, 4, 5, 7, 9, 0, 2, 4, 5, 6, 7, 9])
    level, variance = rng.normal(-80.0, 5.0, 13), rng.uniform(0.01, 0.2, 13)
    nats, common, rms = colocation.compare(0, 1, starts, witness, level, variance, 300.0)
    rows = [(a, b) for a in range(6) for b in range(6, 13) if witness[a] == witness[b]]
    one, other = np.array(rows).T
    same = variance[one] + variance[other] + colocation.SAME_VAR_DB2
    apart = level[one] - level[other]
    rest = apart - np.average(apart, weights=1 / same)
    shadow = colocation.SHADOW_VAR_DB2 * (1 - math.exp(-300.0 / colocation.DECORRELATION_M))
    gains = norm.logpdf(rest, 0, np.sqrt(same)) - norm.logpdf(rest, 0, np.sqrt(same + shadow))
    want = np.maximum(gains, colocation.LINK_FLOOR_NATS).sum() * (len(rows) - 1) / len(rows)
    assert common == len(rows) == 5
    assert abs(nats - want) < 1e-9
    assert abs(rms - math.sqrt(np.mean(rest**2))) < 1e-9


def test_products_of_pairs() -> None:
    """Against dictionaries; beacons of fewer than four receivers are left out."""
    rng = np.random.default_rng(6)
    beacon = np.sort(rng.integers(0, 30, 150))
    sizes = np.bincount(beacon, minlength=30)
    witness = np.concatenate([rng.permutation(20)[:size] for size in sizes])
    deviation = rng.normal(0.0, 1.5, 150).astype(np.float32)
    slots, keys, sums = np.zeros(1_024, np.int64), np.zeros(512, np.int64), np.zeros((512, 4))
    row, used = link.add_pairs(beacon, witness, deviation, 0, slots, keys, sums, 0)
    assert row == 150
    want: dict[int, np.ndarray] = {}
    for b in range(30):
        rows = np.flatnonzero(beacon == b)
        if len(rows) < link.LEAST_RECEIVERS:
            continue
        rest = deviation[rows].astype(float) - float(np.median(deviation[rows]))
        for i, j in itertools.combinations(range(len(rows)), 2):
            if witness[rows[i]] > witness[rows[j]]:
                i, j = j, i
            key = int(witness[rows[i]]) << 32 | int(witness[rows[j]])
            total = want.setdefault(key, np.zeros(4))
            total += [1.0, rest[i] ** 2, rest[j] ** 2, rest[i] * rest[j]]
    assert sorted(keys[:used].tolist()) == sorted(want)
    for key, found in zip(keys[:used].tolist(), sums[:used], strict=True):
        np.testing.assert_allclose(found, want[key], rtol=1e-5, atol=1e-5)
