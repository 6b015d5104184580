"""Trust over the epochs under audit: walks from the seeds along mutual hearing.

The ledger keeps its trust of now only. An audit of epochs long past must come out the same
tomorrow, so where claims name seeds and no trust, it is computed from the evidence itself, with the
rule's damping and edge cap (chain/rules/trust.py) in floating point.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from coverage_map.audit.links import Links
from coverage_map.audit.table import Claims

DAMPING = 0.85
EDGE_CAP = 4.0
ROUNDS = 48  # three settlements of sixteen: a walk that restarts is at home in all of the network
FULL_PPM = 1_000_000


def with_trust(claims: Claims, links: Links) -> Claims:
    """The claims, with trust from their seeds where there are some and no trust is known."""
    if claims.trust_ppm.any() or not claims.seed.any():
        return claims
    return replace(claims, trust_ppm=compute_trust_ppm(links, claims.seed))


def compute_trust_ppm(links: Links, seed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Trust per hotspot against the mean of who has any, at most a million."""
    count = len(seed)
    keys = links.beaconer * count + links.witness
    back = links.witness * count + links.beaconer
    both = np.isin(keys, back)
    weight = np.minimum(links.epochs[both], EDGE_CAP)
    ends = (links.beaconer[both], links.witness[both])
    graph = coo_array((weight, ends), shape=(count, count)).tocsr()
    graph = graph.minimum(graph.T)
    outflow = 1.0 / np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1.0)
    start = seed / max(1, int(seed.sum()))
    trust = start
    for _ in range(ROUNDS):
        trust = (1.0 - DAMPING) * start + DAMPING * (graph @ (trust * outflow))
    reached = max(1, int(np.count_nonzero(trust)))
    return np.minimum(FULL_PPM, np.floor(FULL_PPM * reached * trust)).astype(np.int64)
