"""Company: whoever reports one that isn't there reports the others, too.

A plot shares its accomplices. Three who hear a hotspot may be luck; three who hear it, and of whom
each also hears somebody for whom hardly anybody else vouches, are a plot, where such hearers are
rare. An honest hotspot that is hard to hear is heard by whoever stands best, and those hear many
whom everybody hears.

Only adds to `vouched`: accomplices of a small plot have nobody else to vouch for, so that hearers
without company clear nobody.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.network import Flags, Floats, Ints, Network
from coverage_map.audit.surroundings import HEARD, NEAR, WEIGHT, Surroundings, X, Y

# Before anything is known, of those with as much evidence against them as for them, so many lie.
PRIOR = 0.1
# Of those who report a liar, so many are seen to report another, and at most so many of all around.
SHARED, MOST_AROUND = 0.8, 0.7
CLOSE = 24  # nearest anchors: how many of them vouch for others is what luck is measured by
# Whose evidence nobody knows: a hearer in 5, over which what is around prevails.
SUSPECT_VOTES, VOTES = 1.0, 5.0


def compute_company(network: Network, around: Surroundings, nats: Floats) -> Floats:
    """Nats to add to `nats` of `vouched`, from 0 up, per hotspot in one window."""
    near, count = around.near, len(network)
    asked = near[:, WEIGHT] > 0
    heard = np.flatnonzero(asked & (near[:, HEARD] > 0) & ~np.isnan(nats[around.own]))
    suspect = compute_suspicion(find_others(around, heard, nats))
    close = find_close(network, around, asked & (near[:, NEAR] > 0))
    votes = np.bincount(around.own[close], minlength=count)
    share = np.bincount(around.own[close], suspect[close], count) + SUSPECT_VOTES
    usual = np.minimum(share / (votes + VOTES), MOST_AROUND)[around.own[heard]]
    one = suspect[heard]
    told = np.log(one * SHARED / usual + (1.0 - one) * (1.0 - SHARED) / (1.0 - usual))
    return np.maximum(np.bincount(around.own[heard], told, count), 0.0)


def find_others(around: Surroundings, heard: Ints, nats: Floats) -> Floats:
    """Per row of `around`: most nats of whom its anchor hears besides the row's own; -inf: nobody.

    `heard`: rows whose anchors hear their own.
    """
    own, anchor = around.own[heard], around.anchor[heard]
    order = np.lexsort((-nats[own], anchor))
    own, anchor = own[order], anchor[order]
    first = np.ones(len(own), np.bool_)
    first[1:] = anchor[1:] != anchor[:-1]
    second = np.zeros(len(own), np.bool_)
    second[1:] = first[:-1] & ~first[1:]
    size = len(nats)
    best, other, who = np.full(size, -np.inf), np.full(size, -np.inf), np.full(size, -1)
    best[anchor[first]], who[anchor[first]] = nats[own[first]], own[first]
    other[anchor[second]] = nats[own[second]]
    is_own = who[around.anchor] == around.own
    return np.where(is_own, other[around.anchor], best[around.anchor])


def compute_suspicion(nats: Floats) -> Floats:
    """Chance that an anchor vouches for a liar, by the evidence against whom it hears."""
    odds = PRIOR / (1.0 - PRIOR) * np.exp(np.clip(nats, -50.0, 50.0))
    return np.asarray(odds / (1.0 + odds), np.float64)


def find_close(network: Network, around: Surroundings, asked: Flags) -> Ints:
    """Rows of the CLOSE nearest anchors of every hotspot among those asked."""
    rows = np.flatnonzero(asked)
    own = around.own[rows]
    apart = np.hypot(*(around.near[rows][:, [X, Y]] - network.positions_m[own]).T)
    rows = rows[np.lexsort((apart, own))]
    own = around.own[rows]
    rank = np.arange(len(rows)) - np.searchsorted(own, own)
    return np.asarray(rows[rank < CLOSE], np.int64)
