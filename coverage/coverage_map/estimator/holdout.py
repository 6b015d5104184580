"""Scoring on ground that the fit never saw, beside the best of the usual baselines.

Blocks of ground are dealt to folds; both model and baselines fit the other folds. Three splits:
blocks, whole worlds, and whole worlds with a few calibration readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.estimator.baselines import BASELINES, fit_law, predict_law
from coverage_map.estimator.diagram import held_shares
from coverage_map.estimator.kernels import Scales
from coverage_map.estimator.links import Ints, Links, blocks_of, folds_of
from coverage_map.estimator.model import Z_90, fit_model, predict_links

Floats = NDArray[np.float64]
Split = tuple[NDArray[np.bool_], NDArray[np.bool_], Ints]  # fitted rows, scored rows, groups

FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Errors of all scored rows, their deviations, and each baseline's RMSE in dB."""

    error_db: Floats
    sd_db: Floats
    baselines_db: dict[str, float]

    def rmse_db(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(np.mean(self.error_db**2)))

    def interval90(self) -> float:
        """Share of scored rows inside their 90 % interval."""
        return float(np.mean(np.abs(self.error_db) <= Z_90 * self.sd_db))

    def held(self) -> Floats:
        """The reliability curve, see estimator_diagram."""
        return held_shares(self.error_db, self.sd_db)


def block_splits(links: Links, block_m: float, seed: int) -> Iterator[Split]:
    """Five splits; a block of ground, whoever it heard, is in one fold."""
    blocks = blocks_of(links, block_m)
    fold = folds_of(blocks, FOLDS, seed)
    for k in np.unique(fold):
        yield fold != k, fold == k, blocks


def world_splits(links: Links) -> Iterator[Split]:
    """Each world once, predicted from the others alone."""
    for world in np.unique(links.world):
        yield links.world != world, links.world == world, links.world


def calibrated_splits(links: Links, block_m: float, readings: int, seed: int) -> Iterator[Split]:
    """Each world once, predicted from the others and `readings` of its rows, drawn by `seed`."""
    blocks = blocks_of(links, block_m)
    for world in np.unique(links.world):
        own = np.flatnonzero(links.world == world)
        drawn = np.random.default_rng(seed).permutation(own)[:readings]
        fitted = links.world != world
        fitted[drawn] = True
        yield fitted, ~fitted, blocks


def score(links: Links, splits: Iterator[Split], scales: Scales | None = None) -> Score:
    """Fit and predict every split, baselines too."""
    errors, sds = [], []
    squares: dict[str, list[Floats]] = {name: [] for name in BASELINES}
    for fitted, scored, groups in splits:
        train, test = links.take(fitted), links.take(scored)
        model = fit_model(train, groups[fitted], scales)
        signal = predict_links(model, test)
        errors.append(signal.mean_dbm - test.rssi_dbm)
        sds.append(signal.sd_db)
        for name in BASELINES:
            found = predict_law(fit_law(name, train), test)
            squares[name].append((found - test.rssi_dbm) ** 2)
    baselines = {k: float(np.sqrt(np.mean(np.concatenate(v)))) for k, v in squares.items()}
    return Score(np.concatenate(errors), np.concatenate(sds), baselines)


def pool(scores: list[Score]) -> Score:
    """All seeds' errors together; baselines by the mean of their squares."""
    return Score(
        np.concatenate([s.error_db for s in scores]),
        np.concatenate([s.sd_db for s in scores]),
        {
            name: float(np.sqrt(np.mean([s.baselines_db[name] ** 2 for s in scores])))
            for name in scores[0].baselines_db
        },
    )
