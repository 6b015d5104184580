"""Vouched for by few: who reports a hotspot has nothing to do with who could hear it.

A path is heard or isn't by what lies between. A hotspot in a cellar is heard by few, faintly, and
by those who stand best; one that isn't there is heard by its accomplices, at strengths that suit
its claim, wherever they stand, while strangers between them hear nothing. Two stories are told of
the same numbers, over all points of the claimed cell, all offsets that sites have, and more or
fewer clear paths than others have: everybody around reports what arrives, or only a share of them
does, and the rest never hears anything. The evidence is by how much better the second fits, and who
else has nobody but the same few to vouch for it (company.py).

Needs: anchors around it, and somebody who reports it: whom nobody vouches for nobody pays, and how
few hear it `opportunity` asks. Abstains otherwise. Doesn't catch: who is heard by most of those
around; the accomplices would have to be the majority there.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.company import compute_company
from coverage_map.audit.network import Network
from coverage_map.audit.outcome import Outcome, make_outcome
from coverage_map.audit.surroundings import HEARD, LEAST_TOLD, NEAR, WEIGHT, Surroundings

# Shares of those around who would tell: all of them, the honest story, and the plot's.
RATES = np.array([1.0, 0.04, 0.1, 0.2, 0.35])
LEAST_NATS = -20.0


def compute_vouched(network: Network, around: Surroundings) -> Outcome:
    """Evidence that accomplices alone hear it, in one window; statistic: the share that does."""
    from coverage_map.audit.vouched_kernels import vouch_all

    count = len(network)
    near = around.near
    used = (near[:, WEIGHT] > 0) & (near[:, NEAR] > 0)
    asked = np.bincount(around.own[used], minlength=count)
    heard = np.bincount(around.own[used], near[used, HEARD] > 0, count)
    active = network.evidence.active[:, around.start : around.stop].any(axis=1)
    links = network.evidence.links
    told = np.bincount(links.beaconer, links.count >= LEAST_TOLD, count) > 0
    known = active & around.asked & told & (asked > 0)
    out = np.zeros((count, len(RATES)))
    vouch_all(
        *(around.starts, near, network.law_columns(network.kind), around.mean_offset_db),
        *(network.positions_m, network.blur_m, RATES),
        known,
        out,
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        few = np.logaddexp.reduce(out[:, 1:], axis=1) - np.log(len(RATES) - 1.0)
        nats = np.maximum(few - out[:, 0], LEAST_NATS)
        nats = nats + compute_company(network, around, nats)
        share = np.where(known, heard / asked, np.nan)
    return make_outcome(share, nats, asked)
