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

from coverage_map.audit.network import LEAST_MEASURED, Floats, Ints, Network
from coverage_map.audit.outcome import Outcome, gauss_nats, make_outcome
from coverage_map.audit.slope import grouped_median

DEVICE_VAR_DB2 = 1.0  # what drivers' scales and roundings leave of a mean
FLOOR_VAR_DB2 = 9.0  # near the floor only lucky packets arrive, and not equally lucky both ways
FLOOR_MARGIN_DB = 8.0
FORGED_VAR_DB2 = 36.0  # shadowing that a forger doesn't know
LINK_NATS = 5.0  # most that one link says: a liar's neighbour must not look like a liar
OFFSET_SIGMA_DB = 4.0  # of EIRP and receiver together, honest
BOOST_DB = 12.0
ROUNDS = 30


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


def compute_power(network: Network) -> Outcome:
    """Evidence that a hotspot sends far more than it claims; statistic: by how many dB."""
    two_way, count = find_two_way(network), len(network)
    # What it sends is lost less than what it hears: u is negative for the boosted.
    boost = -solve_offsets(network, two_way)
    honest = gauss_nats(boost, 0.0, OFFSET_SIGMA_DB**2)
    boosted = gauss_nats(boost, np.maximum(boost, BOOST_DB), OFFSET_SIGMA_DB**2)
    samples = np.bincount(np.concatenate([two_way.first, two_way.second]), minlength=count)
    return make_outcome(boost, boosted - honest, samples)
