"""Power steps: what is heard must fall by what the sender took away.

The step of a beacon is secret until its epoch is judged. A witness that received has a slope of
RSSI on sent power of 1; one that made its numbers up has 0. The same sums, seen from the sender's
side, show a radio that claims to set its power and doesn't.

Needs: RSSI, senders that set their power, and links that stay above the floor at the deepest step;
of weaker ones only the lucky packets arrive at deep steps, which flattens an honest slope, so that
only a slope near 0 is held against who has no others. Abstains without 400 dB^2 of steps, about 40
packets.
Doesn't catch: who knows the steps, because it owns the sender or receives through an accomplice.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.network import Flags, Floats, Ints, Network
from coverage_map.audit.outcome import Outcome, gauss_nats, make_outcome

LEAST_STEPS_DB2 = 400.0
LINK_STEPS_DB2 = 60.0
# Amplifiers miss their steps by a tenth, and lost packets flatten the rest a little.
HONEST_SLOPE, HONEST_SIGMA = 0.95, 0.12
LIAR_SLOPE = 0.7  # from 0 to this a slope is somebody's invention, in part or whole
LIAR_SIGMA = 0.05
# Weaker links: honest slopes of 0.4 and more were seen, by the luck of those packets.
WEAK_DB, WEAK_SLOPE, WEAK_SIGMA, WEAK_LIAR_SLOPE = 3.0, 0.8, 0.2, 0.2
CLEAR_DB = 12.0  # above the floor: the deepest step of 9 dB and two deviations of a packet
# A packet's deviation, before any was seen: 2 dB, worth eight packets. RSSI in whole dB varies.
PRIOR_VAR_DB2, PRIOR_FREEDOM, LEAST_VAR_DB2 = 4.0, 8.0, 1.0


def compute_slope(network: Network) -> Outcome:
    """Slope per witness, over the beacons of anchors that are seen to set their power.

    Over clear links; over weaker ones, with more tolerance, where there are too few of them.
    """
    clear, weak = is_clear(network), is_clear(network, WEAK_DB)
    slope, variance, freedom = fit_slopes(network, clear)
    nats = compute_nats(slope, variance)
    flat, flat_variance, flat_freedom = fit_slopes(network, weak)
    flat_nats = compute_nats(flat, flat_variance, WEAK_SLOPE, WEAK_SIGMA, WEAK_LIAR_SLOPE)
    unclear = np.isnan(nats)
    return make_outcome(
        np.where(unclear, flat, slope),
        np.where(unclear, flat_nats, nats),
        np.where(unclear, flat_freedom, freedom),
    )


def fit_slopes(network: Network, among: Flags) -> tuple[Floats, Floats, Floats]:
    """Slope per witness over some links, its variance and degrees of freedom; NaN for too few."""
    links, count = network.evidence.links, len(network)
    sent = compute_sent_slopes(network)
    sound = network.anchor & network.claims.sets_power & ~(sent < LIAR_SLOPE)
    used = (sound[links.beaconer] & among).astype(np.float64)
    steps = np.bincount(links.witness, used * links.step_step, count)
    cross = np.bincount(links.witness, -used * links.step_rssi, count)
    squares = np.bincount(links.witness, used * links.rssi_rssi, count)
    freedom = np.bincount(links.witness, used * links.freedom, count).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(steps >= LEAST_STEPS_DB2, cross / steps, np.nan)
        rest = squares - slope * cross + PRIOR_VAR_DB2 * PRIOR_FREEDOM
        rest = np.maximum(rest / (freedom + PRIOR_FREEDOM), LEAST_VAR_DB2)
        variance = np.asarray(rest / steps, np.float64)
    return np.asarray(slope, np.float64), variance, freedom


def compute_sent_slope(network: Network) -> Outcome:
    """Slope per sender that claims to set its power: the median over anchors that heard it."""
    slope = compute_sent_slopes(network)
    links, count = network.evidence.links, len(network)
    good = (links.step_step >= LINK_STEPS_DB2) & network.anchor[links.witness]
    good &= is_clear(network)
    heard = np.bincount(links.beaconer[good], minlength=count)
    # A median of few is one of them; its own deviation is about that of the middle link.
    variance = np.where(heard >= 3, 0.15**2, np.nan)
    return make_outcome(slope, compute_nats(slope, variance), heard)


def is_clear(network: Network, above_db: float = CLEAR_DB) -> Flags:
    """Links whose packets arrive at every power step, or that are so far above the floor."""
    return np.asarray(network.evidence.links.full_db > network.floor_dbm + above_db, np.bool_)


def compute_nats(
    slope: Floats,
    variance: Floats,
    honest: float = HONEST_SLOPE,
    honest_sigma: float = HONEST_SIGMA,
    most: float = LIAR_SLOPE,
) -> Floats:
    """Evidence for a slope of 0 to `most`, whichever fits best, against an honest one."""
    liar = gauss_nats(slope, np.clip(slope, 0.0, most), variance + LIAR_SIGMA**2)
    return liar - gauss_nats(slope, honest, variance + honest_sigma**2)


def compute_sent_slopes(network: Network) -> Floats:
    """Median slope over anchors of who claims to set its power; NaN below three witnesses."""
    links, claims = network.evidence.links, network.claims
    good = (links.step_step >= LINK_STEPS_DB2) & network.anchor[links.witness]
    good &= is_clear(network)
    good &= claims.sets_power[links.beaconer]
    beaconer = links.beaconer[good]
    slope = -links.step_rssi[good] / links.step_step[good]
    return grouped_median(beaconer, slope, len(network), least=3)


def grouped_median(groups: Ints, values: Floats, count: int, least: int) -> Floats:
    """Median of the values of each group; NaN where there are fewer than `least`."""
    order = np.lexsort((values, groups))
    ordered = values[order]
    sizes = np.bincount(groups, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    median = np.full(count, np.nan)
    enough = np.flatnonzero(sizes >= least)
    low = starts[enough] + (sizes[enough] - 1) // 2
    high = starts[enough] + sizes[enough] // 2
    median[enough] = 0.5 * (ordered[low] + ordered[high])
    return median
