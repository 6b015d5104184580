"""Scores of forecasts: WAPE, pinball loss, coverage, and the baselines that a model must beat.

WAPE = sum |y - median| / sum y. Pinball at level a (Koenker and Bassett 1978) = mean of
max(a (y - q), (a - 1)(y - q)), here divided by mean y. Coverage = share of y at or below q.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from routing.forecast.features import Array
from routing.forecast.tables import Ints, Split, Table

MIN_PER_LINK = 100
OWN_BELOW, OWN_ABOVE = 0.05, 0.03
HIGH = 0.9


@dataclass(frozen=True, slots=True)
class Score:
    """How one forecaster did on `rows` held-out rows."""

    wape: float
    pinball90: float
    coverage90: float
    rows: int

    def as_json(self) -> dict[str, float | int]:
        """Return the score with six decimals."""
        return {key: round(value, 6) for key, value in asdict(self).items()}


def pinball(truth: Array, quantile: Array, level: float) -> float:
    """Return the mean pinball loss, in the unit of `truth`."""
    error = truth - quantile
    return float(np.mean(np.maximum(level * error, (level - 1.0) * error)))


def score(truth: Array, median: Array, high: Array) -> Score:
    """Score a median and a 90th percentile against what happened."""
    total = max(float(np.sum(truth)), 1e-9)
    return Score(
        float(np.sum(np.abs(truth - median))) / total,
        pinball(truth, high, HIGH) * len(truth) / total,
        float(np.mean(truth <= high)),
        len(truth),
    )


def conformal_offset(scores: Array, level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest score (split conformal prediction)."""
    rank = int(np.ceil((len(scores) + 1) * level))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def link_offsets(scores: Array, link: Ints, level: float) -> tuple[dict[int, float], float]:
    """Return the offset of every link with MIN_PER_LINK scores, and the pooled one for the rest.

    A link's own offset stays within the pooled scores' quantiles around the level: neighbouring
    scores are alike, so a hundred of them may hold one quiet night and nothing else.
    """
    if len(scores) == 0:
        return {}, 0.0
    low, high = np.quantile(scores, (level - OWN_BELOW, level + OWN_ABOVE))
    own = {
        int(index): min(max(conformal_offset(scores[link == index], level), low), high)
        for index in np.unique(link)
        if int(np.sum(link == index)) >= MIN_PER_LINK
    }
    return {index: float(x) for index, x in own.items()}, conformal_offset(scores, level)


def spread_offsets(offsets: dict[int, float], pooled: float, link: Ints) -> Array:
    """Return each row's offset, [m]."""
    return np.array([offsets.get(int(index), pooled) for index in link])


def _baseline_median(table: Table, name: str) -> Array:
    return {"persistence": table.last, "ewma": table.load_scale, "seasonal": table.season}[name]


def baseline_score(parts: Split, name: str) -> Score | None:
    """Score `persistence`, `ewma` or `seasonal`; its p90 is conformal too, so the race is fair.

    None where the baseline has nothing to say: seasonal needs a day of history.
    """
    calibrate = parts.calibrate.select(np.isfinite(_baseline_median(parts.calibrate, name)))
    known = np.isfinite(_baseline_median(parts.test, name))
    if calibrate.length == 0 or not bool(known.all()):
        return None
    scores = (calibrate.load - _baseline_median(calibrate, name)) / calibrate.load_scale
    own, pooled = link_offsets(scores, calibrate.link, HIGH)
    median = _baseline_median(parts.test, name)
    high = median + spread_offsets(own, pooled, parts.test.link) * parts.test.load_scale
    return score(parts.test.load, median, high)
