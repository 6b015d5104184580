"""Who gets how much when not everything fits: weighted max-min fairness over a plan's paths.

Each class of traffic asks for demands on the plan's pairs. All (class, pair) entries rise together
in the share of their demand that is carried, each at its class's weight, until a resource is full;
the entries that cross it stop there and the others go on (progressive filling: Bertsekas and
Gallager, Data Networks, 6.5.2). So nobody can get more without someone getting less who has, by
weight, no more already; and whatever the others leave, the class with least weight may take.
"""

from __future__ import annotations

import numpy as np

from routing.plan.network import Array, Network
from routing.plan.paths import Plan, path_usage

_FULL = 1e-9


def pair_usage(network: Network, plan: Plan) -> Array:
    """Return what one kbps of each pair takes of each resource under the plan, [R, pairs]."""
    usage = path_usage(network, plan.hops).toarray() * plan.share
    result = np.zeros((network.resources, len(plan.pairs)))
    np.add.at(result.T, plan.pair, usage.T)
    return result


def compute_shares(
    usage: Array, demands_kbps: Array, weights: Array, limit: float | Array = 1.0
) -> Array:
    """Return the carried share (0..1) of each class's demand on each pair, [classes, pairs].

    `usage` [R, pairs] as of `pair_usage`, `demands_kbps` [classes, pairs], `weights` [classes]
    above zero, `limit` the utilisation that may be filled, of all resources or of each, [R].
    ValueError for anything else.
    """
    if demands_kbps.shape != (len(weights), usage.shape[1]):
        raise ValueError("demands: not [classes, pairs]; give a row per class")
    room = np.broadcast_to(np.asarray(limit, dtype=np.float64), len(usage))
    sane = bool(np.all(weights > 0) and np.all(demands_kbps >= 0) and np.all(room >= 0))
    if not sane:
        raise ValueError("weights: not above zero, or a demand below it; mend them")
    shares = np.where(demands_kbps > 0, 0.0, 1.0)
    rising = demands_kbps > 0
    speed = np.broadcast_to(weights[:, None], demands_kbps.shape)
    left = room.copy()
    while bool(rising.any()):
        fill = usage @ (demands_kbps * speed * rising).sum(axis=0)
        until_full = np.divide(left, fill, out=np.full(len(left), np.inf), where=fill > 0)
        until_done = np.where(rising, (1.0 - shares) / speed, np.inf)
        step = max(0.0, min(float(until_full.min(initial=np.inf)), float(until_done.min())))
        shares = np.where(rising, shares + speed * step, shares)
        left = left - fill * step
        full = (left <= _FULL * np.maximum(room, _FULL)) & (fill > 0)
        stopped = usage[full].any(axis=0)
        rising = rising & (shares < 1.0 - _FULL) & ~stopped[None, :]
    return np.minimum(1.0, shares)
