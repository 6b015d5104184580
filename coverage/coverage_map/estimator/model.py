"""The estimator of signal anywhere: process and trees weighed by measured errors, with intervals.

    model = fit_model(links, blocks_of(links, 50.0))
    predict_links(model, wanted).mean_dbm

The share of the trees is the one with the smallest error at left-out blocks of ground. Intervals
are conformal (Vovk et al., 2005): the factor on the process's deviation under which so many of the
left-out errors fall inside; receipts that arrive later go on recalibrating it (`observe`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.estimator.baselines import Law, best_law, fit_law, predict_law
from coverage_map.estimator.field import (
    Field,
    absorb,
    bounded,
    fit_field,
    predict_field,
    thinned,
)
from coverage_map.estimator.kernels import Scales
from coverage_map.estimator.links import Ints, Links
from coverage_map.estimator.trees import left_out_dbm, predict_trees, train

Floats = NDArray[np.float64]

INTERVAL = 0.9
Z_90 = 1.6448536269514722
TREE_ROWS = 10_000
SHARES = np.linspace(0.0, 0.8, 17)
LAW_SHARES = np.linspace(0.0, 1.0, 21)
SCORES_KEPT = 4_000  # or as many as the fit had
GROUPS_MIN = 8  # fewer places can't weigh trees or laws: one would be carried over to the other


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Field, trees, the trees' share in the mean, and the left-out scores behind intervals.

    law_share: the part that the best baseline has in what field and trees say together.
    """

    field: Field
    trees: Any
    share: float
    scores: Floats
    law: Law | None = None
    law_share: float = 0.0

    def factor(self, interval: float = INTERVAL) -> float:
        """By how many deviations the interval reaches to either side of the mean."""
        return conformal_factor(self.scores, interval)


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """Mean dBm, and the calibrated standard deviation dB of one reading, per link."""

    mean_dbm: Floats
    sd_db: Floats

    def low_dbm(self) -> Floats:
        """Lower end of the 90 % interval."""
        return np.asarray(self.mean_dbm - Z_90 * self.sd_db)

    def high_dbm(self) -> Floats:
        """Upper end of the 90 % interval."""
        return np.asarray(self.mean_dbm + Z_90 * self.sd_db)

    def probability(self, threshold_dbm: float) -> Floats:
        """That a reading reaches the threshold."""
        from scipy.special import ndtr

        return np.asarray(ndtr((self.mean_dbm - threshold_dbm) / self.sd_db))


def conformal_factor(scores: Floats, interval: float) -> float:
    """The smallest score that at least `interval` of exchangeable new ones stay below.

    The ceil((n + 1) interval)-th smallest of n; the largest where n is too small for that.
    """
    ordered = np.sort(scores)
    rank = int(np.ceil((len(ordered) + 1) * interval))
    return float(ordered[min(rank, len(ordered)) - 1])


def fit_model(
    links: Links, groups: Ints, scales: Scales | None = None, with_trees: bool = True
) -> Model:
    """Fit everything; `groups` [n] numbers the places that are left out together."""
    links, groups = bounded(links, groups)
    field = fit_field(links, groups, scales)
    used, blocks = field.links, field.groups
    error, share, trees = field.left_out_error_db, 0.0, None
    law, law_share = None, 0.0
    if len(np.unique(blocks)) >= GROUPS_MIN:
        rows, row_groups, _ = thinned(links, groups, TREE_ROWS)
        if with_trees:
            other = used.rssi_dbm - left_out_dbm(rows, row_groups, used, blocks)
            share = best_share(error, other)
            error = (1.0 - share) * error + share * other
            trees = train(rows) if share else None
        name, said = best_law(rows, row_groups, used, blocks)
        law_share = best_share(error, used.rssi_dbm - said, LAW_SHARES)
        error = (1.0 - law_share) * error + law_share * (used.rssi_dbm - said)
        law = fit_law(name, rows) if law_share else None
    # Intervals are of single readings, so each reading counts, though rows hold medians.
    apart = links.rssi_dbm - (used.rssi_dbm - error)[field.member]
    scores = np.abs(apart) / field.left_out_sd_db[field.member]
    return Model(field, trees, share, typical_scores(scores, groups), law, law_share)


def typical_scores(scores: Floats, groups: Ints) -> Floats:
    """The scores that the next place is calibrated by: all of them, or the worst group's.

    Fewer than GROUPS_MIN groups (buildings, say) are no sample of groups: rows of one are alike,
    and the next one may be as bad as the worst (Dunn and others, JASA 118, 2023, on hierarchical
    conformal prediction: the quantile over so few groups is their largest).
    """
    numbers = np.unique(groups)
    if len(numbers) >= GROUPS_MIN or len(numbers) == 1:
        return scores
    return max(
        (scores[groups == g] for g in numbers), key=lambda part: conformal_factor(part, INTERVAL)
    )


def best_share(one_error_db: Floats, other_error_db: Floats, shares: Floats = SHARES) -> float:
    """Share of the other under which the mean squared left-out error is least."""
    mixed = np.outer(1.0 - shares, one_error_db) + np.outer(shares, other_error_db)
    return float(shares[int(np.argmin((mixed**2).mean(axis=1)))])


def predict_links(model: Model, links: Links) -> Signal:
    """Signal for links, whose own rssi_dbm isn't read."""
    mean, sd = _raw(model, links)
    return Signal(mean, sd * model.factor() / Z_90)


def _raw(model: Model, links: Links) -> tuple[Floats, Floats]:
    mean, sd = predict_field(model.field, links)
    if model.share:
        mean = (1.0 - model.share) * mean + model.share * predict_trees(model.trees, links)
    if model.law is not None:
        mean = (1.0 - model.law_share) * mean + model.law_share * predict_law(model.law, links)
    return mean, sd


def observe(model: Model, links: Links, groups: Ints) -> Model:
    """Recalibrate by receipts that came after the fit: they are scored first, then learned from.

    Scores come from places that the fit doesn't know (`groups` of its own are learned from only):
    readings beside training rows would make the intervals look too wide. The newest count.
    """
    mean, sd = _raw(model, links)
    unknown = ~np.isin(groups, model.field.groups)
    fresh = (np.abs(links.rssi_dbm - mean) / sd)[unknown]
    scores = np.concatenate((model.scores, fresh))[-max(SCORES_KEPT, len(model.scores)) :]
    return replace(model, field=absorb(model.field, links, groups), scores=scores)
