"""Which hotspots are likely to fail, why the model thinks so, and what hangs on them.

A reason is a sign that makes a difference: put to what is typical of the mesh, it would lower the
probability. So reasons are read off the model itself, prediction by prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from routing.insights.failures import WARM_UP, FailureModel
from routing.insights.grid import DAY, Array, Grid
from routing.insights.insight import IMPORTANT, URGENT, Insight
from routing.insights.signs import SIGNS, over_rows, signs_of

_REASONS_MAX = 3
_COUNTS = 0.1  # of the log-odds: what a reason must move
# Signs by cause: what to say of them, and what to do about the cause.
_CAUSES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "outages": (
        ("outages_6h", "outages_24h", "outages_72h", "outages_grow", "outages_apart", "quiet_h",
         "silent_1h"),
        "it went silent in {outages_24h:.0f} ten-minute steps of the last day",
        "check power supply, plug and cable; swap the supply if it is older than three years",
    ),
    "signal": (
        ("snr_fall_1h", "snr_fall_6h", "snr_fall_best_6h", "snr_slope_24h", "snr_apart",
         "rate_fall_6h"),
        "its links have {rate_left:.0%} of their usual rate, all of them",
        "look at antenna and connectors for water and corrosion; dry, tighten, seal",
    ),
    "delay": (
        ("rtt_rise_1h", "rtt_rise_6h", "rtt_rise_best_6h", "rtt_apart", "queue_6h"),
        "its round trips take {rtt_times:.1f} times what is usual",
        "restart it at a quiet hour and update its software: it may run out of memory",
    ),
    "loss": (
        ("loss_1h", "loss_6h", "loss_24h", "loss_high_24h", "loss_rise", "loss_apart"),
        "{loss_6h:.0%} of its frames are lost, up to {loss_high_24h:.0%} in an hour",
        "shade and ventilate it if that is in the afternoons; else check antenna and channel",
    ),
}  # fmt: skip


def outlook_of(grid: Grid, model: FailureModel, urgent: float = 0.95) -> list[Insight]:
    """Return the hotspots above the model's threshold now; none before a day is known."""
    if grid.steps <= WARM_UP:
        return []
    hotspots, signs = signs_of(grid.last(4 * DAY))
    now = signs[-1]
    # Two steps, as an alarm needs: a single one is often a gust.
    chance = model.probabilities(signs[-2:]).min(axis=0)
    # A hotspot that was not heard for an hour is not about to fail, it has failed.
    alive = np.isfinite(now[:, SIGNS.index("loss_1h")])
    typical = over_rows(now[alive], np.nanmedian)
    found = []
    for row, hotspot in enumerate(hotspots):
        if alive[row] and chance[row] >= model.threshold:
            seen = _Seen(hotspot, now[row], typical, float(chance[row]))
            urgency = URGENT if seen.chance >= urgent else IMPORTANT
            found.append(_insight(grid, seen, model, urgency))
    return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """A hotspot's signs now, beside what is typical of the mesh, and what the model makes of it."""

    hotspot: int
    signs: Array
    typical: Array
    chance: float


def _insight(grid: Grid, seen: _Seen, model: FailureModel, urgency: str) -> Insight:
    hotspot, chance = seen.hotspot, seen.chance
    known = np.nan_to_num(seen.signs)
    values = {name: float(value) for name, value in zip(SIGNS, known, strict=True)}
    values["rate_left"] = 2.0 ** -values["rate_fall_6h"]
    values["rtt_times"] = 2.0 ** values["rtt_rise_6h"]
    causes = reasons_of(seen.signs, seen.typical, model)
    words = [_CAUSES[cause][1].format(**values) for cause in causes]
    said = "; ".join(words) or "several small signs"
    remedies = [_CAUSES[cause][2] for cause in causes[:2]] or ["look at it"]
    lost, kbps = cut_off(grid, hotspot), _carried_kbps(grid, hotspot)
    gain = f"keeps {kbps / 1e3:.1f} Mbit/s of traffic"
    gain += f" and {len(lost)} hotspots that have no other way" if lost else ""
    numbers = {
        "probability_24h": chance,
        "carried_kbps": kbps,
        "cut_off": float(len(lost)),
        **{name: values[name] for name in ("outages_24h", "rate_left", "rtt_times", "loss_6h")},
    }
    what = f"{chance:.0%} likely to fall silent within a day: {said}"
    remedy = "; ".join(remedies)
    return Insight("failure", urgency, hotspot, None, what, remedy, gain, chance, numbers)


def reasons_of(signs: Array, typical: Array, model: FailureModel) -> list[str]:
    """Return the causes whose signs, put to what is typical, move the odds most; largest first."""
    variants = np.tile(signs, (1 + len(_CAUSES), 1))
    for row, (names, _, _) in enumerate(_CAUSES.values(), 1):
        columns = [SIGNS.index(name) for name in names]
        variants[row, columns] = typical[columns]
    odds = np.array([model.table.predict(row) for row in variants.tolist()])
    moved = dict(zip(_CAUSES, odds[0] - odds[1:], strict=True))
    counting = [cause for cause in moved if moved[cause] > _COUNTS * max(1e-9, abs(float(odds[0])))]
    return sorted(counting, key=lambda cause: -float(moved[cause]))[:_REASONS_MAX]


def cut_off(grid: Grid, hotspot: int) -> set[int]:
    """Return who could not reach the largest part of the mesh without a hotspot."""
    heard = grid.last(DAY).heard.max(axis=0) > 0
    links = [link for link, is_heard in zip(grid.links, heard, strict=True) if is_heard]
    whole = _largest(links)
    rest = _largest(link for link in links if hotspot not in link)
    return whole - rest - {hotspot} if hotspot in whole else set()


def _largest(links: Iterable[tuple[int, int]]) -> set[int]:
    near: dict[int, set[int]] = {}
    for a, b in links:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    parts: list[set[int]] = []
    left = set(near)
    while left:
        part: set[int] = set()
        queue = [min(left)]
        while queue:
            node = queue.pop()
            if node not in part:
                part.add(node)
                queue += near[node] - part
        parts.append(part)
        left -= part
    return max(parts, key=lambda part: (len(part), -min(part)), default=set())


def _carried_kbps(grid: Grid, hotspot: int) -> float:
    """Return the mean of a day that left a hotspot on its links."""
    day = grid.last(DAY)
    columns = [at for at, link in enumerate(day.links) if link[0] == hotspot]
    return float(np.nan_to_num(day.values["load_kbps"][:, columns]).mean(axis=0).sum())
