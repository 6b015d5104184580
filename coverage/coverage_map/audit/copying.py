"""Copied reports: two receivers never fade together.

Of each packet a receiver keeps its deviation from the link's slowly following level. What the
sender did to a packet (its amplifier, a power step that it missed or made up) all receivers share:
their median is taken out. What is left is independent between antennas more than a few wavelengths
apart. Two witnesses whose packets go up and down together are one receiver, or one copies the
other, with noise added or not.

Needs: 40 packets that both and two others measured. Abstains otherwise. Doesn't catch: a copier
that adds several times the packets' own noise; its slope and reciprocity then suffer.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.network import Network
from coverage_map.audit.outcome import Outcome, make_outcome

LEAST_COMMON = 40
HONEST_CORRELATION = 0.35  # what slow changes around a sender can cause
MOST_NATS = 40.0


def compute_copying(network: Network) -> Outcome:
    """Evidence that a witness's packets are another's; statistic: their correlation."""
    pairs, count = network.evidence.pairs, len(network)
    rows = np.flatnonzero(pairs.count >= LEAST_COMMON)
    value = np.clip(pairs.correlation[rows], -0.999, 0.999)
    # Fisher's z: normal with variance 1 / (n - 3), whatever the correlation is.
    apart = np.arctanh(value) - np.arctanh(HONEST_CORRELATION)
    score = apart * np.sqrt(pairs.count[rows] - 3.0)
    nats = np.clip(0.5 * np.sign(score) * score**2, -MOST_NATS, MOST_NATS)
    one = np.concatenate([pairs.first[rows], pairs.second[rows]])
    other = np.concatenate([pairs.second[rows], pairs.first[rows]])
    nats, value = np.concatenate([nats, nats]), np.concatenate([value, value])
    samples = np.concatenate([pairs.count[rows]] * 2)
    best = np.full(count, np.nan)
    statistic, partner, seen = best.copy(), np.full(count, -1), np.zeros(count)
    order = np.lexsort((nats, one))
    last = order[np.searchsorted(one[order], np.unique(one), side="right") - 1]
    looked = np.bincount(one, minlength=count)
    found = one[last]
    best[found] = nats[last] - np.log(looked[found])
    statistic[found], partner[found], seen[found] = value[last], other[last], samples[last]
    return make_outcome(statistic, best, seen, partner)
