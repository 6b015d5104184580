"""The law of loss: fitted to pairs that were drawn from one, heard or not, it comes out again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.audit.law import (
    FREE,
    NEAREST_M,
    Law,
    Sound,
    compute_hearing,
    fit_laws,
    get_reach,
    make_columns,
)

TRUE = Law(99.0, 3.6, 7.5, 82.0, 2.2, 4.0, -1.0, -2.5)
MOST_DB = 122.0


def draw(seed: int, count: int = 160) -> tuple[Sound, np.ndarray, np.ndarray]:
    """Pairs of sites in a square of 2 km, their distances, and the sites' offsets."""
    rng = np.random.default_rng(seed)
    places, offset = rng.uniform(0.0, 2_000.0, (count, 2)), rng.normal(0.0, 3.0, count)
    first, second = np.triu_indices(count, 1)
    apart = np.hypot(*(places[first] - places[second]).T)
    reach = get_reach(apart)
    columns = make_columns((TRUE,), np.zeros(len(reach), np.int64))
    clear = rng.random(len(reach)) < 1.0 / (1.0 + np.exp(-columns[:, 6] - columns[:, 7] * reach))
    line = np.where(clear, columns[:, 3] + columns[:, 4] * reach, columns[:, 0]
                    + columns[:, 1] * reach)
    sigma = np.where(clear, TRUE.clear_sigma_db, TRUE.sigma_db)
    loss = line + offset[first] + offset[second] + sigma * rng.normal(size=len(reach))
    heard = loss < MOST_DB
    most = np.full(len(reach), MOST_DB)
    kind = np.zeros(len(reach), np.int64)
    loss = np.where(heard, loss, np.nan)
    return Sound(first, second, reach, heard, loss, most, kind), apart, offset


@pytest.mark.parametrize("seed", [1, 2])
def test_the_law_comes_out_again(seed: int) -> None:
    sound, _, offset = draw(seed)
    laws, found = fit_laws(sound, len(offset), 3)
    law = laws[0]
    assert abs(law.at_100m_db - TRUE.at_100m_db) < 4.0
    assert abs(law.exponent - TRUE.exponent) < 0.5
    assert abs(law.sigma_db - TRUE.sigma_db) < 1.5
    assert abs(law.clear_at_100m_db - TRUE.clear_at_100m_db) < 4.0
    assert np.corrcoef(found, offset)[0, 1] > 0.9


def test_what_is_heard_is_what_the_law_expects() -> None:
    """Also far out, where only the silent pairs say how steep it is."""
    sound, apart, offset = draw(3)
    laws, found = fit_laws(sound, len(offset), 3)
    columns = make_columns(laws, sound.kind)
    both = found[sound.first] + found[sound.second]
    chance = compute_hearing(columns, sound.reach, both, sound.most_db)
    for low, high in ((0.0, 300.0), (300.0, 700.0), (700.0, 1_200.0), (1_200.0, 3_000.0)):
        ring = (apart >= low) & (apart < high)
        assert abs(chance[ring].mean() - sound.heard[ring].mean()) < 0.05


def test_kinds_without_pairs_take_the_law_of_all() -> None:
    sound, _, offset = draw(4)
    laws, _ = fit_laws(sound, len(offset), 3)
    assert laws[1] == laws[2]
    few = sound.take(np.arange(len(sound.reach)) < 5)
    assert fit_laws(few, len(offset), 3)[0] == (FREE, FREE, FREE)


@given(st.floats(1.0, 20_000.0), st.floats(1.0, 20_000.0), st.floats(60.0, 160.0))
def test_who_is_nearer_is_heard_sooner(one: float, other: float, most: float) -> None:
    near, far = get_reach(np.array(sorted((one, other))))
    column = make_columns((FREE,), np.zeros(1, np.int64))
    zero, reach = np.zeros(1), np.array([most])
    chances = [compute_hearing(column, np.array([r]), zero, reach)[0] for r in (near, far)]
    assert 0.0 <= chances[1] <= chances[0] + 1e-12 <= 1.0 + 1e-9


def test_nobody_is_nearer_than_the_law_goes() -> None:
    assert get_reach(np.array([0.0]))[0] == get_reach(np.array([NEAREST_M]))[0]
