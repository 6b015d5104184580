from __future__ import annotations

import numpy as np
from estimator_helpers import made_links
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.estimator.holdout import block_splits, score, world_splits
from coverage_map.estimator.kernels import Scales
from coverage_map.estimator.links import blocks_of, make_links
from coverage_map.estimator.model import (
    best_share,
    conformal_factor,
    fit_model,
    observe,
    predict_links,
    typical_scores,
)


@given(
    st.lists(st.floats(0.0, 50.0), min_size=20, max_size=200, unique=True), st.floats(0.5, 0.95)
)
@settings(max_examples=60, deadline=None)
def test_the_factor_keeps_its_promise_for_exchangeable_scores(
    scores: list[float], interval: float
) -> None:
    """Each score in turn as the new one: at least `interval` of them fall inside the others'."""
    ordered = np.array(scores)
    inside = sum(
        score <= conformal_factor(np.delete(ordered, k), interval)
        for k, score in enumerate(ordered)
    )
    assert inside >= np.floor(interval * len(ordered))


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_best_share_is_never_worse_than_the_process_alone(seed: int) -> None:
    draws = np.random.default_rng(seed)
    shared, one, other = draws.standard_normal((3, 200))
    field, trees = shared + one, shared + 1.5 * other
    share = best_share(field, trees)
    mixed = (1.0 - share) * field + share * trees
    assert np.mean(mixed**2) <= np.mean(field**2)


def test_equal_inputs_give_equal_predictions() -> None:
    links = made_links(200)
    blocks = blocks_of(links, 150.0)
    wanted = made_links(40, seed=2)
    first, again = (predict_links(fit_model(links, blocks, Scales()), wanted) for _ in range(2))
    assert np.array_equal(first.mean_dbm, again.mean_dbm)
    assert np.array_equal(first.sd_db, again.sd_db)


def test_a_learned_map_beats_every_baseline_on_unseen_ground_and_knows_its_error() -> None:
    links = made_links(400, masts=1, shadow_db=8.0)
    result = score(links, block_splits(links, 30.0, 0), Scales())
    assert result.rmse_db() < 0.88 * min(result.baselines_db.values())
    assert 0.86 <= result.interval90() <= 0.94
    assert result.held()[9] < result.held()[17]


def test_baselines_are_sane() -> None:
    links = made_links(200, shadow_db=3.0)
    found = score(links, block_splits(links, 200.0, 0), Scales()).baselines_db
    assert found["hotspot_offset"] < found["log_distance"]
    assert 2.5 < found["hotspot_offset"] < 5.0


def test_unseen_worlds_are_predicted_from_the_others_alone() -> None:
    draws = np.random.default_rng(5)
    rx = draws.uniform(5.0, 60.0, (240, 2))
    walls = np.zeros((240, 6))
    walls[:, 0] = draws.integers(0, 4, 240)
    rssi = -40.0 - 25.0 * np.log10(np.hypot(*rx.T)) - 9.0 * walls[:, 0]
    rssi = rssi + draws.standard_normal(240)
    links = make_links(
        [0.0, 0.0], rx, 3.5e9, rssi, world=np.arange(240) % 3, obstacles=walls
    )  # fmt: skip
    assert score(links, world_splits(links), Scales()).rmse_db() < 4.0


def test_receipts_that_miss_widen_the_intervals_and_are_learned() -> None:
    links = made_links(300)
    blocks = blocks_of(links, 150.0)
    west = links.rx_m[:, 0] < 100.0
    model = fit_model(links.take(west), blocks[west], Scales(), with_trees=False)
    east = links.take(~west)
    odd = np.where(np.arange(len(east)) % 2, 25.0, -25.0)
    later = observe(model, type(east)(*(
        getattr(east, name) + (odd if name == "rssi_dbm" else 0) for name in east.__slots__
    )), blocks[~west])  # fmt: skip
    assert later.factor() > 1.2 * model.factor()
    assert len(later.field.links) == len(links)


def test_readings_at_known_places_do_not_flatter_the_intervals() -> None:
    links = made_links(200)
    blocks = blocks_of(links, 150.0)
    model = fit_model(links, blocks, Scales(), with_trees=False)
    again = observe(model, links.take(np.arange(50)), blocks[:50])
    assert np.array_equal(again.scores, model.scores)


def test_a_probability_is_the_share_above_the_threshold() -> None:
    links = made_links(200)
    signal = predict_links(fit_model(links, blocks_of(links, 150.0), Scales()), links)
    middle = signal.probability(float(np.median(signal.mean_dbm)))
    assert np.all(np.diff(middle[np.argsort((signal.mean_dbm - np.median(signal.mean_dbm))
                                            / signal.sd_db)]) >= 0.0)  # fmt: skip
    assert np.all(signal.low_dbm() < signal.high_dbm())
    assert np.all(signal.probability(-200.0) > 0.999)


def test_few_groups_are_calibrated_by_the_worst_of_them() -> None:
    scores = np.concatenate((np.full(300, 0.5), np.full(30, 2.0)))
    few = np.repeat([0, 1], [300, 30])
    many = np.concatenate((np.arange(300) % 20, np.full(30, 20)))
    assert conformal_factor(typical_scores(scores, few), 0.9) == 2.0
    assert conformal_factor(typical_scores(scores, many), 0.9) == 0.5
