"""Choosing sites, compiled (imports Numba): gains kept exact, swaps, and the bound above them.

Candidates are rows of a sparse matrix over cells (`start`, `cells`), and the same the other way
round (`back`, `owners`). `held` counts the chosen sites that cover a cell; `holder` is the sum of
their positions among the chosen, so that where one alone covers a cell it says which.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Shorts = NDArray[np.int32]

LEAST = 1e-9  # relative to all weight: a smaller gain is rounding
# The pace of prices, tried on drawn towns: these came lowest after 400 rounds.
PATIENCE, SLOWER, SAME, SLOWEST = 15, 0.7, 1e-6, 1e-3


@compiled
def sums(start: Longs, cells: Shorts, value: Floats, out: Floats) -> None:
    """Of every candidate the sum of a value over its cells."""
    for j in range(len(out)):
        total = 0.0
        for at in range(start[j], start[j + 1]):
            total += value[cells[at]]
        out[j] = total


@compiled
def put(
    site: int, place: int, start: Longs, cells: Shorts, back: Longs, owners: Shorts,
    weight: Floats, held: Longs, holder: Longs, gain: Floats,
) -> None:  # fmt: skip
    """Choose a site: its cells are held by one more, and gain nobody else any more."""
    for at in range(start[site], start[site + 1]):
        cell = cells[at]
        if held[cell] == 0:
            for other in range(back[cell], back[cell + 1]):
                gain[owners[other]] -= weight[cell]
        held[cell] += 1
        holder[cell] += place


@compiled
def take(
    site: int, place: int, start: Longs, cells: Shorts, back: Longs, owners: Shorts,
    weight: Floats, held: Longs, holder: Longs, gain: Floats,
) -> None:  # fmt: skip
    """Give a chosen site up: the reverse of `put`."""
    for at in range(start[site], start[site + 1]):
        cell = cells[at]
        held[cell] -= 1
        holder[cell] -= place
        if held[cell] == 0:
            for other in range(back[cell], back[cell + 1]):
                gain[owners[other]] += weight[cell]


@compiled
def fill(
    chosen: Longs, start: Longs, cells: Shorts, back: Longs, owners: Shorts, weight: Floats,
    held: Longs, holder: Longs, gain: Floats, least: float, barred: Longs,
) -> None:  # fmt: skip
    """Greedy: each empty place (-1) of `chosen` gets the site that gains most, if any gains.

    Sites in `barred` aren't taken while others gain.
    """
    for place in range(len(chosen)):
        if chosen[place] >= 0:
            continue
        spared = gain[barred].copy()
        gain[barred] = -1.0
        best = int(np.argmax(gain))
        gain[barred] = spared
        if gain[best] <= least or gain[best] < 0.0:
            best = int(np.argmax(gain))
        if gain[best] <= least:
            return
        chosen[place] = best
        put(best, place, start, cells, back, owners, weight, held, holder, gain)


@compiled
def best_swap(
    site: int, start: Longs, cells: Shorts, weight: Floats, held: Longs, holder: Longs,
    gain: float, loss: Floats, eased: Floats,
) -> tuple[int, float]:  # fmt: skip
    """The place that `site` would best take over, and what that gains.

    `loss`: what each place alone covers. `eased` is scratch: how much of that `site` covers too.
    """
    eased[:] = 0.0
    for at in range(start[site], start[site + 1]):
        cell = cells[at]
        if held[cell] == 1:
            eased[holder[cell]] += weight[cell]
    place, most = 0, -np.inf
    for k in range(len(loss)):
        if gain + eased[k] - loss[k] > most:
            place, most = k, gain + eased[k] - loss[k]
    return place, most


@compiled
def alone(weight: Floats, held: Longs, holder: Longs, loss: Floats) -> None:
    """What every place alone covers."""
    loss[:] = 0.0
    for cell in range(len(weight)):
        if held[cell] == 1:
            loss[holder[cell]] += weight[cell]


@compiled
def swap(
    chosen: Longs, start: Longs, cells: Shorts, back: Longs, owners: Shorts, weight: Floats,
    held: Longs, holder: Longs, gain: Floats, least: float, total: Floats,
) -> int:  # fmt: skip
    """Replace one site by one other as long as that gains; how often it did.

    `total` is all that a candidate covers: one that covers less than the poorest place alone
    can't replace any.
    """
    count, quiet, site = 0, 0, 0
    loss, eased = np.empty(len(chosen)), np.empty(len(chosen))
    alone(weight, held, holder, loss)
    poorest = loss.min()
    while quiet < len(gain):
        if total[site] > poorest + least:
            place, most = best_swap(
                site, start, cells, weight, held, holder, gain[site], loss, eased
            )
            if most > least and chosen[place] != site:
                old = chosen[place]
                take(old, place, start, cells, back, owners, weight, held, holder, gain)
                put(site, place, start, cells, back, owners, weight, held, holder, gain)
                chosen[place] = site
                alone(weight, held, holder, loss)
                poorest = loss.min()
                count, quiet = count + 1, 0
        quiet += 1
        site = site + 1 if site + 1 < len(gain) else 0
    return count


@compiled
def top(score: Floats, size: int, picked: Longs) -> float:
    """The `size` largest scores: their indexes into `picked`, their sum."""
    order = np.argsort(-score)
    total = 0.0
    for k in range(size):
        picked[k] = order[k]
        total += score[order[k]]
    return total


@compiled
def slopes(
    start: Longs, cells: Shorts, picked: Longs, fresh: Floats, mean: Floats, share: float
) -> None:
    """Mix the present subgradient (how often each cell is covered, less one) into the mean."""
    fresh[:] = -1.0
    for site in picked:
        for at in range(start[site], start[site + 1]):
            fresh[cells[at]] += 1.0
    for cell in range(len(mean)):
        mean[cell] = share * fresh[cell] + (1.0 - share) * mean[cell]


@compiled
def move(price: Floats, weight: Floats, slope: Floats, over: float) -> bool:
    """Step prices down the slope by Polyak's length for an excess; False where none can move."""
    square = 0.0
    for cell in range(len(price)):
        down, up = slope[cell] > 0.0 and price[cell] > 0.0, price[cell] < weight[cell]
        if down or (slope[cell] < 0.0 and up):
            square += slope[cell] * slope[cell]
    if square == 0.0:
        return False
    step = over / square
    for cell in range(len(price)):
        price[cell] = min(max(price[cell] - step * slope[cell], 0.0), weight[cell])
    return True


@compiled
def bound(
    start: Longs, cells: Shorts, weight: Floats, size: int, reached: float, rounds: int,
    price: Floats, near: float, mixed: float,
) -> float:  # fmt: skip
    """An upper bound of what `size` sites can cover; `price` holds the best prices found.

    Lagrange's relaxation of "a cell counts if a chosen site covers it" (Galvao and ReVelle, EJOR
    88, 1996): at prices p of cells no choice covers more than sum(w - p) + the `size` largest sums
    of p. Prices follow averaged subgradients (Barahona and Anbil's volume algorithm, Mathematical
    Programming 87, 2000; `mixed` 1 averages nothing). At the best prices the bound is that of
    the linear program.
    """
    now, score = price.copy(), np.empty(len(start) - 1)
    fresh, mean, picked = np.zeros(len(weight)), np.zeros(len(weight)), np.empty(size, np.int64)
    best, pace, stuck, share = np.inf, 1.0, 0, 1.0
    for _ in range(rounds):
        sums(start, cells, now, score)
        value = (weight - now).sum() + top(score, size, picked)
        stuck = 0 if value < best * (1.0 - SAME) else stuck + 1
        if value < best:
            best = value
            price[:] = now
        if stuck >= PATIENCE:
            pace, stuck = pace * SLOWER, 0
        if best <= reached * (1.0 + near) or pace < SLOWEST:
            break
        slopes(start, cells, picked, fresh, mean, share)
        share = mixed
        if not move(now, weight, mean, pace * (value - reached)):
            break
    return best
