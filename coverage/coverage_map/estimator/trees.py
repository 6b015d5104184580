"""Boosted trees over the same links: the second opinion on what physics leaves unexplained.

LightGBM (Ke et al., NeurIPS 2017) sees position, bearing, distance, walls and who sends. Trees find
steps that a smooth process blurs; the process reaches further. estimator_model.py weighs the two by
their errors at places that both left out. Seeded, one thread: equal inputs give equal trees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.estimator.field import physics_dbm
from coverage_map.estimator.kernels import decades
from coverage_map.estimator.links import Ints, Links, folds_of

Floats = NDArray[np.float64]

ROUNDS = 400
ROWS_MIN = 60  # fewer leave nothing to split
FOLDS = 4
SEED = 1
OPTIONS = {
    "objective": "regression",
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_child_samples": 15,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 3.0,
    "verbose": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": SEED,
}


def features(links: Links) -> Floats:
    """Columns [n, 15]: distance, rise, frequency, position, bearing, who sends, walls."""
    path = links.rx_m - links.tx_m
    who = (links.world, links.mast, links.transmitter)
    return np.column_stack((
        decades(links), links.rise_m, links.frequency_hz / 1e9, links.rx_m,
        np.arctan2(path[:, 1], path[:, 0]), *who, links.obstacles, links.obstacles.sum(axis=1),
    ))  # fmt: skip


def train(links: Links) -> Any:
    """A booster of the physics' error in dB; None where rows are too few."""
    if len(links) < ROWS_MIN:
        return None
    import lightgbm

    residual = links.rssi_dbm - physics_dbm(links)
    table = lightgbm.Dataset(features(links), residual, weight=np.sqrt(links.weight))
    return lightgbm.train(OPTIONS, table, ROUNDS)


def predict_trees(booster: Any, links: Links) -> Floats:
    """Signal in dBm by physics and trees."""
    if booster is None:
        return physics_dbm(links)
    return np.asarray(physics_dbm(links) + booster.predict(features(links), num_threads=1))


def left_out_dbm(links: Links, groups: Ints, at: Links, at_groups: Ints) -> Floats:
    """Predictions at `at` by trees that saw none of its group, nor others of its fold."""
    found = np.empty(len(at))
    top = np.array([max(int(groups.max()), int(at_groups.max()))])
    fold = folds_of(np.concatenate((groups, at_groups, top)), FOLDS, SEED)
    mine, theirs = fold[: len(groups)], fold[len(groups) : -1]
    for k in np.unique(theirs):
        found[theirs == k] = predict_trees(train(links.take(mine != k)), at.take(theirs == k))
    return found
