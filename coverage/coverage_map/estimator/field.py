"""The learned field: physics, corrected by a Gaussian process over measured links.

The physics is free space and 38.901's indoor law's walls as priors; offsets, exponents, wall losses
and the residual over the ground are learned together (Rasmussen and Williams, Gaussian Processes
for Machine Learning, algorithm 2.1 and eqs. 2.25, 2.26). Errors at a block of ground that the fit
left out follow in closed form from one inverse:

    error_B = [K^-1]_BB^-1 [K^-1 y]_B      (eqs. 5.10, 5.11 for blocks)

which is how scales are chosen and how intervals are calibrated: by places, never by random rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri

from coverage_map.estimator.kernels import (
    Frame,
    Scales,
    covariance,
    make_frame,
    variance,
    wall_prior_db,
    weighted,
)
from coverage_map.estimator.links import Ints, Links, join_links, thin, wide_groups
from coverage_map.propagation.pathloss import free_space_db

Floats = NDArray[np.float64]

ROWS_MAX = 2_400  # of the process: an inverse takes a second
SEARCH_ROWS = 500
ROUNDS, ROUND_GAIN = 5, 2e-2  # of the search: the most, and what one must gain for the next
SEARCH_GAIN = 5e-3  # of log density, below which the sample of rows decides, not the data
EXCESS_EXPONENT = 0.3  # above free space, before anything is learned
TRANSMIT_DBM = 10.0
READING_DB = 1.5  # noise of one reading that more readings average out
CHUNK = 4_000
DENSE_ROWS = 4_000  # predicted at once, from the whole matrix of covariances
ALIKE_ROWS = 1_500
STEPS = (0.6, 1.6)
SEARCHED = (
    ("place", "shadow"), ("path",), ("ray",), ("noise",), ("place_length", "shadow_length"),
    ("path_length",), ("ray_width",), ("transmitter_offset", "transmitter_slope"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A fitted process: training links, their weights, and errors at left-out blocks."""

    links: Links
    groups: Ints
    scales: Scales
    frame: Frame
    weights: Floats
    factor: Floats
    left_out_error_db: Floats  # measured less predicted, of each row of `links`
    left_out_sd_db: Floats  # of a single reading there
    member: Ints  # row of `links` that holds each reading the fit was given


def physics_dbm(links: Links) -> Floats:
    """Signal before anything is learned: 10 dBm, free space, excess with distance, walls."""
    distance = links.distance_m()
    excess = 10.0 * EXCESS_EXPONENT * np.log10(distance)
    walls = links.obstacles @ wall_prior_db()
    return np.asarray(TRANSMIT_DBM - free_space_db(distance, links.frequency_hz) - excess - walls)


def fit_field(
    links: Links, groups: Ints, scales: Scales | None = None, frame: Frame | None = None
) -> Field:
    """Fit to links; `groups` [n] numbers the blocks that are left out together.

    Scales are searched unless given; the frame is the links' own unless given, which a few links
    beside a large area need. Above ROWS_MAX rows, readings of one square are merged.
    """
    used, blocks, member = thinned(links, groups, ROWS_MAX)
    frame = frame or make_frame(used)
    chosen = scales or search_scales(used, blocks, frame)
    inverse, factor = _inverse(used, chosen, frame)
    residual = used.rssi_dbm - physics_dbm(used)
    weights = np.asarray(inverse @ residual)
    error, sd = left_out(inverse, weights, blocks)
    single = np.sqrt(sd**2 + chosen.noise**2 - noise_variance(used, chosen))
    return Field(used, blocks, chosen, frame, weights, factor, error, single, member)


def bounded(links: Links, groups: Ints, most: int | None = None) -> tuple[Links, Ints]:
    """Links and groups that can be merged to about `most` rows (ROWS_MAX), however wide the ground.

    With more transmitters than a quarter of that, as where both ends move, little can be merged:
    an even sample of the links instead.
    """
    most = most or ROWS_MAX
    if len(links) > most and len(np.unique(links.transmitter)) > most // 4:
        even = np.linspace(0, len(links) - 1, most).astype(np.intp)
        links, groups = links.take(even), groups[even]
    return links, wide_groups(links, groups, most)


def thinned(links: Links, groups: Ints, most: int) -> tuple[Links, Ints, Ints]:
    """Links merged to about `most` rows, each of one group; their groups; the row of each link."""
    if len(links) <= most:
        return links, groups, np.arange(len(links))
    step = int(groups.max()) + 1
    merged, member = thin(replace(links, transmitter=links.transmitter * step + groups), most)
    kept = replace(merged, transmitter=merged.transmitter // step)
    return kept, merged.transmitter % step, member


def noise_variance(links: Links, scales: Scales) -> Floats:
    """Variance in dB^2 of what neither ground nor path explains; readings average a part of it."""
    averaged = min(READING_DB, scales.noise) ** 2
    return np.asarray(scales.noise**2 - averaged * (1.0 - 1.0 / links.weight))


def _inverse(links: Links, scales: Scales, frame: Frame) -> tuple[Floats, Floats]:
    matrix = covariance(links, links, scales, frame)
    matrix[np.diag_indices(len(links))] += noise_variance(links, scales)
    factor = np.asarray(cho_factor(matrix, lower=True, check_finite=False)[0])
    lower = np.tril(dpotri(factor, lower=1)[0])  # a third of the work of solving for a unit matrix
    return lower + np.tril(lower, -1).T, factor


def left_out(inverse: Floats, weights: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """Error in dB and its deviation at each row when its whole group is left out of the fit."""
    error, sd = np.empty(len(groups)), np.empty(len(groups))
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        inner = np.linalg.inv(inverse[np.ix_(rows, rows)])
        error[rows] = inner @ weights[rows]
        sd[rows] = np.sqrt(np.maximum(np.diag(inner), 1e-6))
    return error, sd


def search_scales(links: Links, groups: Ints, frame: Frame, rounds: int = ROUNDS) -> Scales:
    """Scales under which left-out blocks are likeliest: a coordinate search from the defaults.

    Two rounds do for grounds like those that the defaults come from; it goes on where it still
    gains much, as between tall blocks.
    """
    links, groups = sample_blocks(links, groups, SEARCH_ROWS)
    best = Scales()
    least = _surprise(links, groups, best, frame)
    for number in range(rounds):
        before = least
        for names in SEARCHED:
            for step in STEPS:
                trial = replace(best, **{name: getattr(best, name) * step for name in names})
                surprise = _surprise(links, groups, trial, frame)
                if surprise < least - SEARCH_GAIN:
                    best, least = trial, surprise
                    break
        if before - least < (SEARCH_GAIN if number == 0 else ROUND_GAIN):
            break
    return best


def sample_blocks(links: Links, groups: Ints, most: int) -> tuple[Links, Ints]:
    """At most `most` rows, evenly spread over the groups."""
    if len(links) <= most:
        return links, groups
    order = np.argsort(groups, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, most).astype(np.int64)]
    return links.take(rows), groups[rows]


def _surprise(links: Links, groups: Ints, scales: Scales, frame: Frame) -> float:
    """Mean negative log density of left-out blocks' rows; scales that can't be are infinite."""
    inverse, _ = _inverse(links, scales, frame)
    residual = links.rssi_dbm - physics_dbm(links)
    error, sd = left_out(inverse, inverse @ residual, groups)
    return float(np.mean(0.5 * (error / sd) ** 2 + np.log(sd)))


def predict_field(field: Field, links: Links) -> tuple[Floats, Floats]:
    """Mean dBm and deviation dB (noise included) for links, whose own rssi_dbm isn't read.

    Of more than DENSE_ROWS rows, those of one transmitter in one square share their deviation.
    """
    return (_predict_many if len(links) > DENSE_ROWS else _predict_few)(field, links)


def _predict_few(field: Field, links: Links) -> tuple[Floats, Floats]:
    mean, sd = np.empty(len(links)), np.empty(len(links))
    for start in range(0, len(links), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(links)))
        part = links.take(rows)
        cross = covariance(part, field.links, field.scales, field.frame)
        half = solve_triangular(field.factor, cross.T, lower=True, check_finite=False)
        prior = variance(part, field.scales, field.frame) + field.scales.noise**2
        mean[rows] = physics_dbm(part) + cross @ field.weights
        sd[rows] = np.sqrt(np.maximum(prior - (half**2).sum(axis=0), 1.0))
    return mean, sd


def _predict_many(field: Field, links: Links) -> tuple[Floats, Floats]:
    mean = physics_dbm(links)
    mean += weighted(links, field.links, field.weights, field.scales, field.frame)
    alike, member = thin(replace(links, rssi_dbm=np.zeros(len(links))), ALIKE_ROWS)
    return np.asarray(mean), _predict_few(field, alike)[1][member]


def absorb(field: Field, links: Links, groups: Ints) -> Field:
    """The field with more links in it, without a new search or a new inverse.

    Cholesky's factor grows by the new rows: n^2 m steps instead of (n + m)^3. The new rows' errors
    are those of the field that did not know them yet. Worlds and scales stay those of the fit; when
    rows have grown by half, a new `fit_field` is due.
    """
    mean, sd = predict_field(field, links)
    joined = join_links(field.links, links)
    cross = covariance(field.links, links, field.scales, field.frame)
    own = covariance(links, links, field.scales, field.frame)
    own[np.diag_indices(len(links))] += noise_variance(links, field.scales)
    old = np.tril(field.factor)
    lower = solve_triangular(old, cross, lower=True, check_finite=False).T
    corner = np.linalg.cholesky(own - lower @ lower.T)
    factor = np.block([[old, np.zeros((len(old), len(links)))], [lower, corner]])
    residual = joined.rssi_dbm - physics_dbm(joined)
    return Field(
        joined,
        np.concatenate((field.groups, groups)),
        field.scales,
        field.frame,
        np.asarray(cho_solve((factor, True), residual, check_finite=False)),
        factor,
        np.concatenate((field.left_out_error_db, links.rssi_dbm - mean)),
        np.concatenate((field.left_out_sd_db, sd)),
        np.concatenate((field.member, len(old) + np.arange(len(links)))),
    )
