"""Too good to be true: what a formula computes lacks the roughness that places have.

Losses that a witness reports scatter around any smooth line over distance by its surroundings'
shadowing, at least 4 dB outdoors. A simulator's stay on its line. And packets vary, by 1 to 2 dB
even over a cable: reports whose packets don't were not measured.

Needs: six anchors that it measured, or 30 degrees of freedom between packets. Abstains otherwise.
Doesn't catch: a simulator that adds shadowing of its own; that one fails reciprocity.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.law import NEAREST_M
from coverage_map.audit.network import Floats, Network
from coverage_map.audit.outcome import Outcome, gauss_nats, make_outcome

LEAST_LINKS = 6
HONEST_VAR_DB2 = 12.0  # clear paths in farmland, the smoothest places: 4 dB, in part shared
SMOOTH_VAR_DB2 = 4.0
LEAST_VAR_DB2 = 0.25
LEAST_FREEDOM = 30
HONEST_SPREAD_DB, HONEST_SPREAD_LOG_VAR = 1.4, 0.12
FORGED_SPREAD_DB, FORGED_SPREAD_LOG_VAR = 0.2, 0.25
SPREAD_NATS = 5.0  # some radios average: this alone convicts nobody


def compute_spectrum(network: Network) -> Outcome:
    """Evidence that reports are computed; statistic: deviation in dB of losses from their line."""
    deviation, links = compute_roughness(network)
    variance = deviation**2
    smooth = np.clip(variance, LEAST_VAR_DB2, SMOOTH_VAR_DB2)
    ratio = np.log(HONEST_VAR_DB2 / smooth) + variance / HONEST_VAR_DB2 - variance / smooth
    rough_nats = 0.5 * (links - 2.0) * ratio
    nats = np.fmax(rough_nats, compute_spread_nats(network))
    return make_outcome(np.where(np.isnan(deviation), -1.0, deviation), nats, links)


def compute_roughness(network: Network) -> tuple[Floats, Floats]:
    """Deviation of each witness's reported losses from its best line over lg d; number of links."""
    links, count = network.evidence.links, len(network)
    rows = np.flatnonzero(~np.isnan(network.loss_db) & network.anchor[links.beaconer])
    witness = links.witness[rows]
    apart = network.positions_m[links.beaconer[rows]] - network.positions_m[witness]
    reach = np.log10(np.maximum(np.hypot(apart[:, 0], apart[:, 1]), NEAREST_M))
    loss = network.loss_db[rows]
    n = np.bincount(witness, minlength=count).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = reach - (np.bincount(witness, reach, count) / n)[witness]
        loss = loss - (np.bincount(witness, loss, count) / n)[witness]
        along = np.bincount(witness, reach**2, count)
        cross = np.bincount(witness, reach * loss, count)
        rest = np.bincount(witness, loss**2, count) - np.where(along > 0, cross**2 / along, 0.0)
        variance = np.maximum(rest, 0.0) / (n - 2.0)
        return np.where(n >= LEAST_LINKS, np.sqrt(variance), np.nan), n


def compute_spread_nats(network: Network) -> Floats:
    """Evidence that a witness's packets don't vary, capped; NaN without enough of them."""
    links, count = network.evidence.links, len(network)
    freedom = np.bincount(links.witness, links.freedom, count)
    squares = np.nan_to_num(links.spread_db) ** 2 * links.freedom
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.bincount(links.witness, squares, count) / freedom)
        level = np.log(np.maximum(spread, 0.05))
    forged = gauss_nats(level, np.log(FORGED_SPREAD_DB), FORGED_SPREAD_LOG_VAR)
    honest = gauss_nats(level, np.log(HONEST_SPREAD_DB), HONEST_SPREAD_LOG_VAR)
    nats = np.clip(forged - honest, -20.0, SPREAD_NATS)
    return np.where(freedom >= LEAST_FREEDOM, nats, np.nan)
