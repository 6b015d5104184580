"""Carried away: who hears it now isn't who heard it before, and nothing was asserted in between.

A path keeps its loss within a dB or two as long as both antennas stay. An antenna that breaks is
heard weaker by all; one that is put in another window is heard by most of the same neighbours,
though each differently. One that is carried to another part of town is lost to those who heard it
well, and heard by others who never did. The first window after the assertion is compared with every
later one, link by link, and the third story with the best of the first two, with whatever common
change of level suits them.

Needs: links that were measured by anchors in both windows, or by anchors that were there in both.
Abstains otherwise, and for audits of one window. Doesn't catch: a lie from the first day on.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from coverage_map.audit.network import Flags, Floats, Network
from coverage_map.audit.outcome import Outcome, gauss_nats, make_outcome
from coverage_map.audit.surroundings import EAR, HEARD, LOSS, MOST, WEIGHT, Surroundings

# Deviations of a path's loss from one window to the other: the antenna stays; it is put somewhere
# else in the house, where clear paths become obstructed ones and the reverse, 20 dB apart.
STAYS_DB, PUT_DB, TURNED_DB, TURNED_SHARE = 2.5, 12.0, 22.0, 0.4
CHANGES_DB = np.arange(-12.0, 33.0, 3.0)  # of all paths together: a broken port costs 20 dB
BETTER_DB, WORSE_DB = 4.0, 8.0
FAR_SHARE, FAR_SPAN_DB = 0.1, 40.0  # of those around who hear it elsewhere, and how differently
# What one link says at most: a window's walls stand in the way of many links at once, and an
# anchor's own antenna may be moved.
MOST_NATS, LEAST_NATS = 1.5, -4.0
LEAST_LINKS = 3


def compute_carried(network: Network, told: list[Surroundings]) -> Outcome:
    """Evidence of an unannounced move, worst of all windows; statistic: share of links kept."""
    count = len(network)
    nats, share, samples = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
    if len(told) < 3:
        return make_outcome(nats, share, samples)
    later = [each for each in told[2:] if each.start >= told[1].stop] or [told[-1]]
    for window in later:
        found, kept, links = compare(network, told[1], window)
        found = np.where(links >= LEAST_LINKS, found - np.log(len(later)), np.nan)
        better = np.isnan(nats) | (found > nats)
        nats, share = np.where(better, found, nats), np.where(better, kept, share)
        samples = np.where(better, links, samples)
    return make_outcome(share, nats, samples)


def compare(
    network: Network, before: Surroundings, after: Surroundings
) -> tuple[Floats, Floats, Floats]:
    """Nats per hotspot for having been carried away between two windows, share kept, links."""
    one, other, count = before.near, after.near, len(network)
    there = (one[:, WEIGHT] > 0) & (other[:, WEIGHT] > 0)
    first, second = ~np.isnan(one[:, LOSS]), ~np.isnan(other[:, LOSS])
    untold = (first ^ (one[:, HEARD] > 0)) | (second ^ (other[:, HEARD] > 0))
    rows = np.flatnonzero(there & ~untold & (first | second))
    own, ear = before.own[rows], one[rows, EAR]
    first, second = first[rows], second[rows]
    heard_in = np.where(first[:, None], one[rows], other[rows])
    spare = heard_in[:, MOST] - heard_in[:, LOSS]
    differs = other[rows, LOSS] - one[rows, LOSS]
    far = np.where(first & second, np.log(FAR_SHARE / FAR_SPAN_DB), np.log1p(-FAR_SHARE))
    weight, best = one[rows, WEIGHT], np.full(count, -np.inf)
    for stories in (((STAYS_DB, 1.0),), ((PUT_DB, 1.0 - TURNED_SHARE), (TURNED_DB, TURNED_SHARE))):
        for change in CHANGES_DB:
            parts = [
                np.log(part) + tell(differs, spare, ear, first, second, change, sigma)
                for sigma, part in stories
            ]
            link = np.clip(far - np.logaddexp.reduce(parts, axis=0), LEAST_NATS, MOST_NATS)
            total = -np.bincount(own, weight * link, count)
            usual = BETTER_DB if change < 0 else WORSE_DB
            best = np.maximum(best, total - 0.5 * (change / usual) ** 2)
    links = np.bincount(own, minlength=count).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.bincount(own[first & second], minlength=count) / links
    return -best, kept, links


def tell(
    differs: Floats,
    spare: Floats,
    ear: Floats,
    first: Flags,
    second: Flags,
    change: float,
    sigma: float,
) -> Floats:
    """Log-likelihood of what became of links whose loss changes by `change`, give or take `sigma`.

    Of one that was heard only before or only after: that it was too weak in the other window, or
    that the driver kept it to itself.
    """
    both = gauss_nats(np.nan_to_num(differs), change, sigma**2) - 0.5 * np.log(2.0 * np.pi)
    weaker = np.where(first, change - spare, -change - spare) / sigma
    silent = np.logaddexp(log_ndtr(weaker), np.log1p(-ear) + log_ndtr(-weaker))
    return np.asarray(np.where(first & second, both, silent), np.float64)
