"""Where a hotspot stands: the place that explains best who hears it how well, against its claim.

Three questions to the same numbers. `location`: is there a place that explains what anchors heard
of it, and their silence, much better than any point of the claimed cell? `opportunity`: standing
where it says, would so few anchors hear it? `misfit`: does no place at all explain them, since most
of those around hear nothing and some all the more? The site's own offset (height, walls, a poor
antenna) is free in all, so that a hotspot in a cellar isn't a liar; much better than typical no
site is. Anchors that stand together see one shadow and share one vote.

Each is asked of the whole time and of its windows, and the worst answer counts, less what choosing
among so many costs: who is carried away can't hide behind the time when its claim was true.

Needs: two anchors that hear it for the location; expected hearers for the others. Abstains
otherwise. Doesn't catch: who stands nearby, within what shadowing blurs.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.network import Floats, Network
from coverage_map.audit.outcome import Outcome, make_outcome
from coverage_map.audit.surroundings import LOSS, Surroundings, X, Y

LEAST_HEARD = 2
EXPECTED_LEAST = 2.0
LEAST_VOTES = 3.0
# What each part's nats count in the sum: half of a deviation's square isn't quite a likelihood, and
# few hearers speak through `vouched` too.
PARTS = {"location": 1.0, "opportunity": 0.5, "misfit": 0.3}


def compute_places(network: Network, told: list[Surroundings]) -> dict[str, Outcome]:
    """`location`, `opportunity`, `misfit`, each the worst of all windows, and their sum, `place`.

    Statistics: how far the best place is outside the claimed cell in m; anchors that hear it over
    those expected to; deviations from the usual likelihood.
    """
    found = [_judge(network, around) for around in told]
    parts = {name: get_worst([each[name] for each in found]) for name in found[0]}
    return {**parts, "place": add_parts([parts[name] for name in PARTS])}


def add_parts(parts: list[Outcome]) -> Outcome:
    """Evidence against the claimed place of all kinds together; statistic: its nats.

    Among the honest the three are as good as independent.
    """
    nats = np.array([part.nats for part in parts])
    silent = np.isnan(nats).all(axis=0)
    shares = np.array(list(PARTS.values()))
    total = shares @ np.maximum(np.nan_to_num(nats), 0.0)
    total = np.where(silent, np.nan, total)
    return make_outcome(total, total, np.max([part.samples for part in parts], axis=0))


def _judge(network: Network, around: Surroundings) -> dict[str, Outcome]:
    location, misfit = compute_location(network, around)
    return {
        "location": location,
        "opportunity": compute_opportunity(network, around),
        "misfit": misfit,
    }


def get_worst(outcomes: list[Outcome]) -> Outcome:
    """Per hotspot the outcome with most nats, less the logarithm of how many there were."""
    nats = np.array([outcome.nats for outcome in outcomes])
    asked = np.count_nonzero(~np.isnan(nats), axis=0)
    worst = np.argmax(np.where(np.isnan(nats), -np.inf, nats), axis=0)
    at = np.arange(nats.shape[1])
    statistic, samples, other = (
        np.array([getattr(outcome, name) for outcome in outcomes])[worst, at]
        for name in ("statistic", "samples", "other")
    )
    return make_outcome(
        statistic, nats[worst, at] - np.log(np.maximum(asked, 1)), samples, other
    )


def compute_location(network: Network, around: Surroundings) -> tuple[Outcome, Outcome]:
    """Evidence for another place, and for none, in one window."""
    from coverage_map.audit.place_kernels import search_all

    out = np.zeros((len(network), 6))
    search_all(
        *(around.starts, around.near, network.law_columns(network.kind), around.mean_offset_db),
        *(network.positions_m, network.blur_m, get_spreads_m(network, around)),
        *(around.asked, out),
    )
    away = np.hypot(*(out[:, 1:3] - network.positions_m).T)
    outside = np.maximum(0.0, away - network.blur_m)
    heard = around.heard
    known = (heard >= LEAST_HEARD) & around.asked
    location = make_outcome(
        np.where(known, outside, np.nan), np.where(known, out[:, 0], np.nan), heard
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        score = out[:, 3] / np.sqrt(out[:, 4])
        score = np.where((out[:, 5] >= LEAST_VOTES) & around.asked, score, np.nan)
    nats = 0.5 * np.sign(score) * score**2
    return location, make_outcome(score, nats, np.diff(around.starts))


def get_spreads_m(network: Network, around: Surroundings) -> Floats:
    """Mean distance of those who hear a hotspot: the first step of a search for its place."""
    known = ~np.isnan(around.near[:, LOSS])
    own, near = around.own[known], around.near[known]
    apart = np.hypot(*(near[:, [X, Y]] - network.positions_m[own]).T)
    heard = np.bincount(own, minlength=len(network))
    total = np.bincount(own, apart, len(network))
    return np.where(heard > 0, total / np.maximum(heard, 1), 100.0)


def compute_opportunity(network: Network, around: Surroundings) -> Outcome:
    """Evidence that too few anchors hear it, in one window."""
    from coverage_map.audit.place_kernels import silence_all

    out = np.zeros((len(network), 3))
    silence_all(
        *(around.starts, around.near, network.law_columns(network.kind), around.mean_offset_db),
        *(network.positions_m, around.asked, out),
    )
    expected = out[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(expected >= EXPECTED_LEAST, out[:, 1] / expected, np.nan)
    active = network.evidence.active[:, around.start : around.stop].any(axis=1)
    ratio = np.where(active & around.asked, ratio, np.nan)
    return make_outcome(ratio, out[:, 0], np.diff(around.starts))
