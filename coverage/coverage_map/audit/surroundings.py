"""Who among the anchors could tell where a hotspot is, and what they heard of it, by windows.

Only what anchors report counts. A claim to hear others is the subject's own say: who isn't there
says it too. An anchor that could have heard and reported nothing is evidence, as far as it hears
others: each has an ear, the share of the strong neighbours of which it reports anything.

The whole time under audit is a window, and each of its parts (`links.Window`) is another, so that
who was honest at first doesn't hide in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from coverage_map.audit.law import compute_hearing, get_reach
from coverage_map.audit.network import (
    LEAST_MEASURED,
    NEIGHBOURS,
    Flags,
    Floats,
    Ints,
    Network,
    are_together,
)

MOST_NEAR = 2 * NEIGHBOURS
DECORRELATION_M = 30.0  # of shadowing at one end, between 38.901's 13 (UMi) and 50 m (UMa)
# Of an ear: before anything was seen a neighbour of twenty isn't heard for reasons of its own.
EAR_HEARD, EAR_DEAF, MOST_EAR = 1.9, 0.1, 0.97
SURE = 0.9  # chance of a neighbour that tells something about an ear
# A path drifts by a dB over hours; who is carried away is heard by others, at other strengths.
CHANGED_DB, CLEARLY_DB, CHANGED_SHARE = 2.5, 6.0, 0.2
LEAST_TOLD = 2  # packets: one alone may be anything

# Columns of `near`: place, then what was heard, all in dB less the anchor's own offset.
X, Y, LOSS, MOST, WEIGHT, EAR, HEARD, NEAR = range(8)


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Anchors around every hotspot: `near[starts[i]:starts[i+1]]`, as place_kernels wants them.

    `loss_db` NaN where it wasn't heard or no strength is known; weight 0 where nothing is known:
    the two weren't there together; `NEAR` 0: asked only because it heard. `own`, `anchor`, `row`:
    subject, anchor and link (-1: none). `asked`: subjects of which the window says
    something that the whole time doesn't.
    """

    starts: Ints
    near: Floats
    own: Ints
    anchor: Ints
    row: Ints
    mean_offset_db: Floats
    asked: Flags
    start: int = 0
    stop: int = 0

    @property
    def heard(self) -> Ints:
        """By how many anchors with a strength."""
        known = ~np.isnan(self.near[:, LOSS]) & (self.near[:, WEIGHT] > 0)
        return np.bincount(self.own[known], minlength=len(self.starts) - 1)


def find_surroundings(network: Network) -> list[Surroundings]:
    """The whole time first, then its windows."""
    around = _lay_out(network)
    links, active = network.evidence.links, network.evidence.active
    whole = _fill(network, around, links.count, links.measured, links.full_db, active)
    ear = compute_ears(network, whole)
    told = [whole]
    for window in network.evidence.windows:
        part = replace(around, start=window.start, stop=window.stop)
        there = active[:, window.start : window.stop]
        columns = window.count, window.measured, window.full_db
        filled = _fill(network, part, *columns, there)
        told.append(replace(filled, asked=find_changed(whole, filled)))
    for each in told:
        each.near[:, EAR] = ear[each.anchor]
    return told


def _lay_out(network: Network) -> Surroundings:
    """Subjects with the anchors nearest to their claims, and those that ever heard them."""
    links, count = network.evidence.links, len(network)
    used = np.flatnonzero(network.anchor[links.witness])
    heard = links.beaconer[used] * count + links.witness[used]
    close = _find_near(network)
    keys = np.union1d(heard, close)
    own, anchor = keys // count, keys % count
    at = np.minimum(np.searchsorted(heard, keys), max(0, len(heard) - 1))
    row = np.where(heard[at] == keys, used[at], -1) if len(heard) else np.full(len(keys), -1)
    apart = np.hypot(*(network.positions_m[own] - network.positions_m[anchor]).T)
    order = np.lexsort((anchor, apart, row < 0, own))
    own, anchor, row = own[order], anchor[order], row[order]
    rank = np.arange(len(own)) - np.searchsorted(own, own)
    own, anchor, row = own[rank < MOST_NEAR], anchor[rank < MOST_NEAR], row[rank < MOST_NEAR]
    starts = np.searchsorted(own, np.arange(count + 1))
    offset = network.offset_db
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(own, offset[anchor], count) / np.diff(starts)
    near = np.empty((len(own), NEAR + 1))
    near[:, NEAR] = np.isin(own * count + anchor, close)
    near[:, [X, Y]] = network.positions_m[anchor]
    gain, eirp = 0.01 * network.claims.gain_cdb, 0.01 * network.claims.eirp_cdbm
    near[:, MOST] = eirp[own] + gain[anchor] - network.floor_dbm - offset[anchor]
    near[:, WEIGHT] = compute_vote_weights(starts, near)
    return Surroundings(
        *(starts, near, own, anchor, row, np.nan_to_num(mean), np.ones(count, np.bool_)),
        *(0, network.evidence.active.shape[1]),
    )


def _find_near(network: Network) -> Ints:
    """Keys (subject, anchor) of everybody with its nearest anchors, ascending."""
    anchors, count = np.flatnonzero(network.anchor), len(network)
    wanted = min(NEIGHBOURS + 1, len(anchors))
    if wanted < 2:
        return np.empty(0, np.int64)
    _, near = cKDTree(network.positions_m[anchors]).query(network.positions_m, k=wanted)
    other = anchors[np.asarray(near)].ravel()
    own = np.repeat(np.arange(count), wanted)
    return np.sort((own * count + other)[own != other])


def compute_vote_weights(starts: Ints, near: Floats) -> Floats:
    """One over the sum of shadowing correlations with the other anchors of a neighbourhood."""
    from coverage_map.audit.place_kernels import weigh_all

    weights = np.ones(len(near))
    weigh_all(starts, near, DECORRELATION_M, weights)
    return weights


def _fill(
    network: Network,
    around: Surroundings,
    count: Ints,
    measured: Ints,
    full_db: Floats,
    active: Flags,
) -> Surroundings:
    """What anchors heard of each subject in a window, by its links' columns."""
    near, row = around.near.copy(), around.row
    linked = row >= 0
    near[:, HEARD] = linked & (count[row] >= LEAST_TOLD) if len(count) else 0.0
    known = (near[:, HEARD] > 0) & (measured[row] >= LEAST_MEASURED) if len(count) else linked
    gain, eirp = 0.01 * network.claims.gain_cdb, 0.01 * network.claims.eirp_cdbm
    near[:, LOSS] = np.nan
    own, anchor = around.own[known], around.anchor[known]
    loss = eirp[own] + gain[anchor] - full_db[row[known]] - network.offset_db[anchor]
    near[known, LOSS] = loss
    once = linked & (count[row] > 0) if len(count) else linked
    silent = np.flatnonzero(~once)
    apart = ~are_together(active, around.own[silent], around.anchor[silent])
    near[silent[apart], WEIGHT] = 0.0
    near[once & (near[:, HEARD] == 0), WEIGHT] = 0.0
    return replace(around, near=near)


def find_changed(whole: Surroundings, part: Surroundings) -> Flags:
    """Whose neighbours heard another strength in a window, or nothing of what they hear well."""
    there = (part.near[:, WEIGHT] > 0) & ~np.isnan(whole.near[:, LOSS])
    moved = np.abs(part.near[:, LOSS] - whole.near[:, LOSS]) > CHANGED_DB
    well = whole.near[:, MOST] - whole.near[:, LOSS] > CLEARLY_DB
    changed = there & (moved | (well & (part.near[:, HEARD] == 0)))
    count = len(whole.starts) - 1
    total = np.bincount(part.own[there], minlength=count)
    share = np.bincount(part.own[changed], minlength=count)
    return np.asarray((share > CHANGED_SHARE * total) & (share > 1), np.bool_)


def compute_ears(network: Network, whole: Surroundings) -> Floats:
    """Share of the strong anchors around it that each hotspot reports, by the law of loss."""
    near, own = whole.near, whole.own
    apart = np.hypot(*(near[:, [X, Y]] - network.positions_m[own]).T)
    columns = network.law_columns(network.kind[own])
    chance = compute_hearing(columns, get_reach(apart), network.offset_db[own], near[:, MOST])
    told = (chance > SURE) & network.anchor[own] & (near[:, WEIGHT] > 0)
    heard = np.bincount(whole.anchor[told], near[told, HEARD], len(network))
    asked = np.bincount(whole.anchor[told], minlength=len(network))
    ear = (heard + EAR_HEARD) / (asked + EAR_HEARD + EAR_DEAF)
    return np.asarray(np.minimum(ear, MOST_EAR), np.float64)


