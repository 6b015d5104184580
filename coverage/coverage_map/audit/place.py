"""Where a hotspot stands: the place that explains best who hears it how well, against its claim.

Two questions to the same numbers. `location`: is there a place that explains the losses to anchors,
and the silence of others, much better than any point of the claimed cell? `opportunity`: standing
where it says, would so few anchors hear it? The site's own offset (height, walls, a poor antenna)
is free in both, so that a hotspot in a cellar isn't a liar; much better than typical no site is.
Anchors that stand together see one shadow and share one vote.

Needs: four anchors that hear or are heard, not on one line, for the location; expected hearers for
the opportunity. Abstains otherwise. Doesn't catch: who stands nearby, within what shadowing blurs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.network import NEIGHBOURS, Floats, Ints, Network
from coverage_map.audit.outcome import Outcome, make_outcome

LEAST_HEARD = 4
LEAST_WIDTH = 0.1  # of a neighbourhood against its length: thinner is a line, and has two sides
DECORRELATION_M = 30.0  # of shadowing at one end, between 38.901's 13 (UMi) and 50 m (UMa)
EXPECTED_LEAST = 2.0
MOST_NEAR = 2 * NEIGHBOURS


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Anchors around every hotspot: `near[starts[i]:starts[i+1]]`, as place_kernels wants them."""

    starts: Ints
    near: Floats
    mean_offset_db: Floats
    spread_m: Floats
    heard: Ints
    is_plane: NDArray[np.bool_]


def find_surroundings(network: Network) -> Surroundings:
    """Who among the anchors could tell where each hotspot is."""
    own, other, rows = _get_directed(network)
    pairs, offset = network.pairs, network.offset_db
    near = np.column_stack(
        [
            network.positions_m[other],
            pairs.loss_db[rows] - offset[other],
            pairs.most_db[rows] - offset[other],
            np.ones(len(own)),
        ]
    )
    starts = np.searchsorted(own, np.arange(len(network) + 1))
    near[:, 4] = _vote_weights(starts, near)
    known = ~np.isnan(near[:, 2])
    heard = np.bincount(own[known], minlength=len(network))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(own, offset[other], len(network)) / np.diff(starts)
        squares = np.bincount(own[known], pairs.distance_m[rows[known]], len(network)) / heard
    return Surroundings(
        starts,
        near,
        np.nan_to_num(mean),
        np.nan_to_num(squares, nan=100.0),
        heard,
        _are_plane(starts, near),
    )


def _get_directed(network: Network) -> tuple[Ints, Ints, Ints]:
    """(hotspot, anchor, row of the pair), at most MOST_NEAR nearest each, heard ones first."""
    pairs = network.pairs
    rows = np.arange(len(pairs.first))
    own = np.concatenate([pairs.first, pairs.second])
    other = np.concatenate([pairs.second, pairs.first])
    rows = np.concatenate([rows, rows])
    told = pairs.heard == ~np.isnan(pairs.loss_db)  # a link without RSSI says neither
    keep = network.anchor[other] & told[rows]
    own, other, rows = own[keep], other[keep], rows[keep]
    order = np.lexsort((other, pairs.distance_m[rows], ~pairs.heard[rows], own))
    own, other, rows = own[order], other[order], rows[order]
    rank = np.arange(len(own)) - np.searchsorted(own, own)
    keep = rank < MOST_NEAR
    return own[keep], other[keep], rows[keep]


def _vote_weights(starts: Ints, near: Floats) -> Floats:
    """One over the sum of shadowing correlations with the other anchors of a neighbourhood."""
    weights = np.ones(len(near))
    for i in range(len(starts) - 1):
        part = near[starts[i] : starts[i + 1]]
        apart = np.hypot(
            part[:, 0][:, None] - part[:, 0], part[:, 1][:, None] - part[:, 1]
        )
        weights[starts[i] : starts[i + 1]] = 1.0 / np.exp(-apart / DECORRELATION_M).sum(axis=1)
    return weights


def _are_plane(starts: Ints, near: Floats) -> NDArray[np.bool_]:
    """Whether the anchors that heard a hotspot span a plane, not a line."""
    plane = np.zeros(len(starts) - 1, np.bool_)
    for i in range(len(plane)):
        part = near[starts[i] : starts[i + 1]]
        part = part[~np.isnan(part[:, 2])]
        if len(part) >= LEAST_HEARD:
            width = np.linalg.svd(part[:, :2] - part[:, :2].mean(axis=0), compute_uv=False)
            plane[i] = width[1] > LEAST_WIDTH * width[0]
    return plane


def compute_location(network: Network, around: Surroundings) -> Outcome:
    """Evidence for another place; statistic: how far it is outside the claimed cell, in m."""
    from coverage_map.audit.place_kernels import search_all

    out = np.zeros((len(network), 4))
    search_all(
        *(around.starts, around.near, _law_of(network), around.mean_offset_db),
        *(network.positions_m, network.blur_m, around.spread_m, out),
    )
    away = np.hypot(*(out[:, 1:3] - network.positions_m).T)
    outside = np.maximum(0.0, away - network.blur_m)
    known = around.is_plane
    nats = np.where(known, out[:, 0], np.nan)
    return make_outcome(np.where(known, outside, np.nan), nats, around.heard)


def compute_opportunity(network: Network, around: Surroundings) -> Outcome:
    """Evidence that too few anchors hear it; statistic: heard over expected."""
    from coverage_map.audit.place_kernels import silence_all

    out = np.zeros((len(network), 3))
    silence_all(
        *(around.starts, around.near, _law_of(network), around.mean_offset_db),
        *(network.positions_m, out),
    )
    expected = out[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(expected >= EXPECTED_LEAST, out[:, 1] / expected, np.nan)
    active = network.evidence.active.any(axis=1)
    ratio = np.where(active, ratio, np.nan)
    return make_outcome(ratio, out[:, 0], np.diff(around.starts))


def _law_of(network: Network) -> Floats:
    """Per hotspot: dB at 100 m, dB per decade, sigma."""
    at_100m, exponent, sigma = network.law_columns(network.kind)
    return np.column_stack([at_100m, 10.0 * exponent, sigma])
