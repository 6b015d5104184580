"""Reciprocity: a path loses the same both ways, so two ends can't disagree about it.

RSSI(a->b) - RSSI(b->a) is the difference of the claimed EIRPs and gains plus an offset of each
radio. With the offsets solved for, residuals of honest links are a fraction of a dB, whatever
shadowing does. Who makes up its RSSI from a propagation model can't know what stands between: its
residuals are those of shadowing, 4 to 8 dB.

The offsets are a test of their own: who sends more than it claims is heard too well for how well
it hears.

Needs: links measured both ways with anchors, three for offsets. Abstains otherwise. Doesn't catch:
who reports what it received, wherever that was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from coverage_map.audit.network import LEAST_MEASURED, Floats, Ints, Network
from coverage_map.audit.outcome import Outcome, gauss_nats, make_outcome
from coverage_map.audit.slope import grouped_median
from coverage_map.audit.surroundings import EAR, HEARD, WEIGHT, Surroundings

DEVICE_VAR_DB2 = 1.0  # what drivers' scales and roundings leave of a mean
FLOOR_VAR_DB2 = 9.0  # near the floor only lucky packets arrive, and not equally lucky both ways
FLOOR_MARGIN_DB = 8.0
FORGED_VAR_DB2 = 36.0  # shadowing that a forger doesn't know
LINK_NATS = 5.0  # most that one link says: a liar's neighbour must not look like a liar
OFFSET_SIGMA_DB = 4.0  # of EIRP and receiver together, honest
BOOST_DB = 12.0
ROUNDS = 30
# By how much less may a radio send than it claims: a broken antenna port costs 20 dB, and is rare.
WEAKER_DB = np.arange(-12.0, 31.0)
WEAKER_SCALE_DB, WEAKER_POWER = 4.0, 1.5
# Near the floor a link is seen by its lucky packets: it is heard back for sure only well above it.
EDGE_AT_DB, EDGE_DB = 4.0, 2.5
STRONG_DB = 12.0
LEAST_STRONG = 3


@dataclass(frozen=True, slots=True, eq=False)
class TwoWay:
    """Links measured in both directions: how much more `first` loses towards `second` than back."""

    first: Ints
    second: Ints
    differs_db: Floats
    variance_db2: Floats


def find_two_way(network: Network) -> TwoWay:
    """Every pair whose directions were both measured."""
    links, count = network.evidence.links, len(network)
    known = links.measured >= LEAST_MEASURED
    keys = links.beaconer * count + links.witness
    back = np.searchsorted(keys, links.witness * count + links.beaconer)
    back = np.minimum(back, max(0, len(keys) - 1))
    returned = keys[back] == links.witness * count + links.beaconer if len(keys) else known
    rows = np.flatnonzero(known & returned & (links.beaconer < links.witness) & known[back])
    other = back[rows]
    variance = DEVICE_VAR_DB2 + _mean_var(network, rows) + _mean_var(network, other)
    return TwoWay(
        links.beaconer[rows],
        links.witness[rows],
        network.loss_db[rows] - network.loss_db[other],
        variance,
    )


def _mean_var(network: Network, rows: Ints) -> Floats:
    """Variance of links' means: of the packets, and of the luck of weak ones."""
    links = network.evidence.links
    packets = np.nan_to_num(links.full_var_db2[rows], nan=4.0) / links.measured[rows]
    weak = links.full_db[rows] < network.floor_dbm + FLOOR_MARGIN_DB
    return packets + np.where(weak, FLOOR_VAR_DB2, 0.0)


def solve_offsets(network: Network, two_way: TwoWay) -> Floats:
    """Offset u per hotspot with difference = u_first - u_second; NaN below three anchors.

    Medians over neighbours, in rounds: one neighbour that lies moves nobody.
    """
    count = len(network)
    one, other = two_way.first, two_way.second
    ends = np.concatenate([one, other])
    far = np.concatenate([other, one])
    differs = np.concatenate([two_way.differs_db, -two_way.differs_db])
    speaks = network.anchor[far]
    ends, far, differs = ends[speaks], far[speaks], differs[speaks]
    offset = np.zeros(count)
    for _ in range(ROUNDS):
        fresh = grouped_median(ends, differs + offset[far], count, least=3)
        offset = 0.5 * offset + 0.5 * np.nan_to_num(fresh)
    known = np.bincount(ends, minlength=count) >= 3
    if known.any():
        offset = offset - np.median(offset[known])
    return np.where(known, offset, np.nan)


def compute_reciprocity(network: Network) -> Outcome:
    """Evidence that a hotspot's residuals with anchors are shadowing's; statistic: rms, dB."""
    two_way, count = find_two_way(network), len(network)
    offset = solve_offsets(network, two_way)
    rest = two_way.differs_db - offset[two_way.first] + offset[two_way.second]
    forged = two_way.variance_db2 + FORGED_VAR_DB2
    nats = gauss_nats(rest, 0.0, forged) - gauss_nats(rest, 0.0, two_way.variance_db2)
    nats = np.minimum(nats, LINK_NATS)
    known = ~np.isnan(nats)
    total, squares, samples = np.zeros(count), np.zeros(count), np.zeros(count)
    for end, far in ((two_way.first, two_way.second), (two_way.second, two_way.first)):
        used = known & network.anchor[far]
        total += np.bincount(end[used], nats[used], count)
        squares += np.bincount(end[used], rest[used] ** 2, count)
        samples += np.bincount(end[used], minlength=count)
    with np.errstate(divide="ignore", invalid="ignore"):
        rms = np.where(samples >= 3, np.sqrt(squares / samples), np.nan)
    return make_outcome(rms, np.where(samples >= 3, total, np.nan), samples)


def compute_one_way(network: Network, around: Surroundings) -> Outcome:
    """Evidence that those whom it claims to hear don't hear it; statistic: the share that does.

    A path loses the same both ways: whom it hears 20 dB above the floor hears it. How much weaker
    than claimed it sends is free, and unlikely; who isn't heard at all may have a broken radio.
    """
    links, count = network.evidence.links, len(network)
    known = np.flatnonzero((links.measured >= LEAST_MEASURED) & network.anchor[links.beaconer])
    keys = links.witness[known] * count + links.beaconer[known]  # who says it hears whom
    order = np.argsort(keys)
    asked = around.own * count + around.anchor
    at = np.minimum(np.searchsorted(keys[order], asked), max(0, len(keys) - 1))
    if not len(keys):
        return make_outcome(np.full(count, np.nan), np.full(count, np.nan), np.zeros(count))
    says = (keys[order][at] == asked) & (around.near[:, WEIGHT] > 0)
    own, near = around.own[says], around.near[says]
    heard = near[:, HEARD] > 0
    margin = _get_back_db(network, known[order[at[says]]], own, around.anchor[says])
    chance = near[:, [EAR]] * expit((margin[:, None] - EDGE_AT_DB - WEAKER_DB) / EDGE_DB)
    told = np.log(np.where(heard[:, None], chance, 1.0 - chance))
    sums = np.column_stack([np.bincount(own, column, count) for column in told.T])
    total = sums - WEAKER_POWER * np.log1p((WEAKER_DB / WEAKER_SCALE_DB) ** 2)
    strong = margin > STRONG_DB
    samples = np.bincount(own[strong], minlength=count)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.bincount(own[strong], heard[strong], count) / samples
    n, back = np.bincount(own, minlength=count), np.bincount(own, heard, count)
    # An invented list: whether somebody on it hears back has nothing to do with how strong it is.
    rate = (back + 0.5) / (n + 1.0)
    invented = back * np.log(rate) + (n - back) * np.log(1.0 - rate)
    silent = (samples < LEAST_STRONG) | (back == 0)
    return make_outcome(np.where(silent, np.nan, share), invented - total.max(axis=1), samples)


def _get_back_db(network: Network, links: Ints, own: Ints, anchor: Ints) -> Floats:
    """How far above the floor an anchor should hear whoever hears it over these links."""
    gain, eirp = 0.01 * network.claims.gain_cdb, 0.01 * network.claims.eirp_cdbm
    level = eirp[own] + gain[anchor] - network.loss_db[links]
    return np.asarray(level - network.floor_dbm, np.float64)


def compute_power(network: Network) -> Outcome:
    """Evidence that a hotspot sends far more than it claims; statistic: by how many dB."""
    two_way, count = find_two_way(network), len(network)
    # What it sends is lost less than what it hears: u is negative for the boosted.
    boost = -solve_offsets(network, two_way)
    honest = gauss_nats(boost, 0.0, OFFSET_SIGMA_DB**2)
    boosted = gauss_nats(boost, np.maximum(boost, BOOST_DB), OFFSET_SIGMA_DB**2)
    samples = np.bincount(np.concatenate([two_way.first, two_way.second]), minlength=count)
    return make_outcome(boost, boosted - honest, samples)
