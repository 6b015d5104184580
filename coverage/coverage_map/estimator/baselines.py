"""The usual baselines: log-distance, with walls, with an offset or a law of its own per hotspot.

They are what the estimator is measured against, and its floor: where left-out ground says that one
of them predicts better, it gets a share of the mean (estimator_model.py), all of it if need be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.estimator.kernels import decades
from coverage_map.estimator.links import OBSTACLE_DB, Ints, Links, folds_of
from coverage_map.propagation.pathloss import free_space_db

Floats = NDArray[np.float64]

RIDGE = 1.0  # readings' worth of pull to the mean, so that unseen masts have an answer
# Whether walls, offsets per transmitter, and slopes per transmitter are fitted.
BASELINES = {
    "log_distance": (False, False, False),
    "log_distance_walls": (True, False, False),
    "hotspot_offset": (True, True, False),
    "hotspot_law": (True, True, True),
}
FOLDS, SEED = 4, 1
SLOPE_UNIT_DB = 10.0  # keeps columns of one size, so that one pull fits all


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Coefficients of a baseline; those of transmitters in the order of their sorted numbers."""

    common: Floats  # level at 10 m above free space, per decade
    walls: Floats
    transmitters: Ints
    offset: Floats
    slope: Floats


def fit_law(name: str, links: Links) -> Law:
    """Least squares of the level beside free space at 10 m; ValueError for an unknown name."""
    with_walls, with_offset, with_slope = BASELINES[name]
    known, place = np.unique(links.transmitter, return_inverse=True)
    hot = np.asarray(place.reshape(-1)[:, None] == np.arange(len(known)), np.float64)
    far = decades(links)[:, None]
    parts = [np.ones((len(links), 1)), far]
    parts += [links.obstacles] if with_walls else []
    parts += [hot] if with_offset else []
    parts += [hot * far / SLOPE_UNIT_DB] if with_slope else []
    columns = np.concatenate(parts, axis=1)
    # Normal equations: columns are few, rows may be a hundred thousand.
    pull = np.full(columns.shape[1], RIDGE)
    pull[:2] = 1e-9
    square = columns.T @ columns + np.diag(pull)
    level = links.rssi_dbm - _anchor(links)
    found = np.linalg.lstsq(square, columns.T @ level, rcond=None)[0]
    cuts = np.cumsum([2, len(OBSTACLE_DB) * with_walls, len(known) * with_offset])
    common, walls, offset, slope = np.split(found, cuts)
    return Law(
        common, walls if with_walls else np.zeros(len(OBSTACLE_DB)), known,
        offset if with_offset else np.zeros(len(known)),
        slope if with_slope else np.zeros(len(known)),
    )  # fmt: skip


def predict_law(law: Law, links: Links) -> Floats:
    """Level in dBm of a fitted law; a transmitter that it doesn't know has the common one."""
    far = decades(links)
    level = _anchor(links) + law.common[0] + law.common[1] * far + links.obstacles @ law.walls
    place = np.minimum(
        np.searchsorted(law.transmitters, links.transmitter), len(law.transmitters) - 1
    )
    seen = law.transmitters[place] == links.transmitter
    own = law.offset[place] + law.slope[place] * far / SLOPE_UNIT_DB
    return np.asarray(level + np.where(seen, own, 0.0))


def _anchor(links: Links) -> Floats:
    return np.asarray(-free_space_db(np.full(len(links), 10.0), links.frequency_hz))


def best_law(links: Links, groups: Ints, at: Links, at_groups: Ints) -> tuple[str, Floats]:
    """The baseline that errs least at ground it didn't see, and what it says there, in dBm."""
    top = np.array([max(int(groups.max()), int(at_groups.max()))])
    fold = folds_of(np.concatenate((groups, at_groups, top)), FOLDS, SEED)
    mine, theirs = fold[: len(groups)], fold[len(groups) : -1]
    said = {name: np.empty(len(at)) for name in BASELINES}
    for k in np.unique(theirs):
        train = links.take(mine != k) if (mine != k).any() else links
        for name, level in said.items():
            level[theirs == k] = predict_law(fit_law(name, train), at.take(theirs == k))
    errors = {name: float(((level - at.rssi_dbm) ** 2).mean()) for name, level in said.items()}
    best = min(errors, key=lambda name: errors[name])
    return best, said[best]
