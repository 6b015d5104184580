"""The shadowing field: unit variance, reciprocal, seeded, and correlated by position."""

from __future__ import annotations

import numpy as np
import pytest

from radio_sim.draws import draw_u64, draws_u64, uniforms
from radio_sim.shadowing import ShadowingField

LINKS = 4000


def positions(seed: int) -> np.ndarray:
    counters = np.arange(2 * LINKS, dtype=np.uint64)
    return 5000.0 * uniforms(draws_u64(draw_u64(seed), counters)).reshape(LINKS, 2)


def test_variance_is_one_far_apart_and_close_together() -> None:
    # One field is one sample path of finite extent: pool several seeds.
    far, near = [], []
    for seed in range(5):
        field = ShadowingField(seed, 13.0)
        ends = positions(seed)
        far.append(field.at(ends, positions(seed + 100)))
        near.append(field.at(ends, ends + 0.5))
    assert np.std(np.concatenate(far)) == pytest.approx(1.0, abs=0.05)
    assert np.std(np.concatenate(near)) == pytest.approx(1.0, abs=0.05)


def test_a_link_loses_the_same_both_ways() -> None:
    field = ShadowingField(5, 13.0)
    one, other = positions(1), positions(2)
    np.testing.assert_allclose(field.at(one, other), field.at(other, one), atol=1e-4)


@pytest.mark.parametrize("apart_m", [1.0, 6.5, 13.0, 26.0, 200.0])
def test_receivers_side_by_side_agree_as_38901_says(apart_m: float) -> None:
    products = []
    for seed in range(5):
        field = ShadowingField(seed, 13.0)
        one, other = positions(seed + 20), positions(seed + 40)
        moved = other + np.array([apart_m, 0.0])
        products.append(field.at(one, other) * field.at(one, moved))
    correlation = float(np.mean(np.concatenate(products)))
    assert correlation == pytest.approx(np.exp(-apart_m / 13.0), abs=0.06)


def test_the_seed_decides() -> None:
    one, other = positions(1), positions(2)
    first = ShadowingField(7, 13.0).at(one, other)
    np.testing.assert_array_equal(first, ShadowingField(7, 13.0).at(one, other))
    assert abs(np.corrcoef(first, ShadowingField(8, 13.0).at(one, other))[0, 1]) < 0.1
