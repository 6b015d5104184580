"""One radio behind several keys, or several in one room: who hears one hears the other as well.

Shadowing belongs to the place. Two senders at places of their own differ by dBs at each witness,
and differently at each; two keys on one radio differ by one constant, whatever power each claims.
Radios of their own in one room still differ by 2 to 5 dB at each witness (room_kernels.py), far
less than two places that are as far apart as claimed would by the law of loss, whatever offset the
site has; pairs that look so are the mates of which groups are made (roommates.py). What is compared
is what anchors measured, so the suspects' own reports can't hide it.

Needs: four anchors that measured both, or three that hear a group; claims 50 m apart, for a group
cells that don't touch. Abstains otherwise. Keys of one owner are not compared: they don't witness
each other. Doesn't catch: an antenna turned for each key.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtr

from coverage_map.audit.law import get_reach
from coverage_map.audit.network import LEAST_MEASURED, Floats, Ints, Network
from coverage_map.audit.outcome import Outcome, make_outcome
from coverage_map.audit.place_kernels import NEAREST_M, OUTLIER, OUTLIER_SPAN_DB, ROOT
from coverage_map.audit.room_kernels import LEAST_ARRIVES
from coverage_map.audit.roommates import MATES, judge_roommates
from coverage_map.audit.surroundings import Surroundings

OFFSETS_DB = np.arange(-12.0, 25.0, 4.0)  # of the site; the claim is granted the best of them
BLUR_SHARE = 0.35  # of a cell's radius, along the path: its points' deviation


def compute_colocation(network: Network, around: Surroundings) -> Outcome:
    """Evidence that a hotspot stands where another does; statistic: rms difference in dB."""
    from coverage_map.audit.colocation_kernels import best_partners

    links, count = network.evidence.links, len(network)
    rows = np.flatnonzero((links.measured >= LEAST_MEASURED) & network.anchor[links.witness])
    sender, witness = links.beaconer[rows], links.witness[rows]
    by_witness = np.lexsort((sender, witness))
    everyone = np.arange(count + 1)
    variance = np.nan_to_num(links.full_var_db2[rows], nan=4.0) / links.measured[rows]
    out = np.full((count, 3), np.nan)
    partner = np.full(count, -1, np.int64)
    mates, mate_nats = np.full((count, MATES), -1), np.full((count, MATES), -np.inf)
    seen_by = np.zeros(count, np.int64)
    best_partners(
        np.searchsorted(sender, everyone),
        witness,
        links.full_db[rows],
        variance,
        *describe_claims(network, sender, witness, rows),
        np.searchsorted(witness[by_witness], everyone),
        sender[by_witness],
        network.positions_m,
        network.blur_m,
        network.claims.owner,
        out,
        partner,
        mates,
        mate_nats,
        seen_by,
    )
    room, mate = judge_roommates(network, around, mates, mate_nats, seen_by)
    better = ~np.isnan(room[:, 0]) & ~(room[:, 0] <= out[:, 0])
    out, partner = np.where(better[:, None], room, out), np.where(better, mate, partner)
    return make_outcome(out[:, 2], out[:, 0], np.nan_to_num(out[:, 1]), partner)


def describe_claims(
    network: Network, sender: Ints, witness: Ints, rows: Ints
) -> tuple[Floats, Floats, Floats]:
    """Per link: loss, loss beyond which it isn't heard, and `compute_claimed` [links, offsets].

    In dB less the witness's own offset.
    """
    gain, eirp = 0.01 * network.claims.gain_cdb, 0.01 * network.claims.eirp_cdbm
    offset = network.offset_db[witness]
    loss = network.loss_db[rows] - offset
    most = eirp[sender] + gain[witness] - network.floor_dbm - offset
    apart = np.hypot(*(network.positions_m[sender] - network.positions_m[witness]).T)
    apart = np.maximum(apart, NEAREST_M)
    columns = network.law_columns(network.kind[sender])
    # Somewhere in its cell: the centre misses the distance by as much, in decades.
    blur = BLUR_SHARE * network.blur_m[sender] / apart / np.log(10.0)
    for first in (0, 3):
        columns[:, first + 2] = np.hypot(columns[:, first + 2], columns[:, first + 1] * blur)
    return loss, most, compute_claimed(columns, get_reach(apart), loss, most)


def compute_claimed(columns: Floats, reach: Floats, loss: Floats, most: Floats) -> Floats:
    """Log-density of each loss that is heard, by the law, for every offset of the site."""
    clear = expit(columns[:, 6] + columns[:, 7] * reach)
    told = np.empty((len(loss), len(OFFSETS_DB)))
    for number, offset in enumerate(OFFSETS_DB):
        density, arrives = np.zeros(len(loss)), np.zeros(len(loss))
        for share, first in ((1.0 - clear, 0), (clear, 3)):
            median = columns[:, first] + columns[:, first + 1] * reach + offset
            sigma = columns[:, first + 2]
            density += share * np.exp(-0.5 * ((loss - median) / sigma) ** 2) * ROOT / sigma
            arrives += share * ndtr((most - median) / sigma)
        density /= np.maximum(arrives, LEAST_ARRIVES)
        told[:, number] = np.log((1.0 - OUTLIER) * density + OUTLIER / OUTLIER_SPAN_DB)
    return told
