"""What a mesh wastes, found in a day of its telemetry; every finding with its remedy and its gain.

    kind               found when, over the last day
    overloaded-relay   a radio's own links took 80 % of its time or more in the busiest twentieth
    crowded-channel    strangers took 30 % of a hotspot's air or more in half of the time
    asymmetric-link    a link is half as fast one way as the other, or loses 10 % more frames
    weak-link          a link that takes a tenth of its radio's time loses a tenth of its frames,
                       or has less than 40 % of the rate that it was set up for
    idle-capacity      a radio was used below 15 % while one beside it, that serves the same
                       hotspot, was overloaded
    busy-provider      AI requests waited at a provider in half of the time

Airtime of a radio is the sum of load over rate of its links, with the repeats that loss costs.
"Strangers" is what a hotspot senses as busy beyond its own airtime and its neighbours'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from routing.insights.grid import DAY, HOUR, Array, Grid
from routing.insights.insight import ADVICE, IMPORTANT, Insight
from routing.types import Link

OVERLOADED, STRANGERS, IDLE, ROOM = 0.80, 0.30, 0.15, 0.50
RATE_RATIO, LOSS_GAP, LOSSY, WEAK, CARRIES = 2.0, 0.10, 0.10, 0.40, 0.10
WORTH = 0.05  # airtime that a way round must free
LEAST_STEPS = 3 * HOUR


class Usage:
    """A day of a grid as airtimes, for all findings to look at."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid.last(DAY)
        values = {name: np.nan_to_num(column) for name, column in self.grid.values.items()}
        self.values = values
        self.rate = np.maximum(1.0, values["rate_kbps"])
        self.loss = np.minimum(0.9, values["loss_permille"] / 1_000.0)
        self.air = np.where(self.grid.heard > 0, values["load_kbps"] / self.rate, 0.0) / (
            1.0 - self.loss
        )
        self.column = {link: at for at, link in enumerate(self.grid.links)}
        self.hotspots = self.grid.hotspots
        self.near: dict[int, list[int]] = {
            h: sorted({end for link in self.grid.links if h in link for end in link} - {h})
            for h in self.hotspots
        }
        self.radio = {h: self.air[:, self.grid.columns_of(h)].sum(axis=1) for h in self.hotspots}
        self.peak = {h: float(np.quantile(air, 0.95)) for h, air in self.radio.items()}

    def median(self, series: Array, at: int) -> float:
        """Return the median of a link's series while it was heard; 0 if it never was."""
        heard = self.grid.heard[:, at] > 0
        return float(np.median(series[heard, at])) if heard.any() else 0.0

    def mean_air(self, link: Link) -> float:
        """Return the mean share of time that a link takes of its radios, 0 if it isn't known."""
        at = self.column.get(link)
        return float(self.air[:, at].mean()) if at is not None else 0.0

    def strangers(self, hotspot: int) -> float:
        """Return the median share of a hotspot's air that nobody of the mesh explains."""
        own = [at for at, link in enumerate(self.grid.links) if link[0] == hotspot]
        heard = self.grid.heard[:, own].max(axis=1) > 0 if own else np.zeros(0, np.bool_)
        if not heard.any():
            return 0.0
        busy = (self.values["busy_permille"][:, own] / 1_000.0).max(axis=1)
        known = self.radio[hotspot].copy()
        for other in self.near[hotspot]:
            shared = [self.column[link] for link in ((hotspot, other), (other, hotspot))
                      if link in self.column]  # fmt: skip
            known = known + self.radio[other] - self.air[:, shared].sum(axis=1)
        return float(np.median(np.maximum(0.0, busy - known)[heard]))


def waste_of(grid: Grid) -> list[Insight]:
    """Return what a grid's last day shows; empty where less than three hours are known."""
    if grid.steps < LEAST_STEPS:
        return []
    usage = Usage(grid)
    found: list[Insight] = []
    for look in (overloaded_relays, crowded_channels, link_faults, idle_capacity, busy_providers):
        found += look(usage)
    return found


def overloaded_relays(usage: Usage) -> Iterator[Insight]:
    """Radios that are full, with the hotspot beside them that could take some, or a cable."""
    for hotspot in usage.hotspots:
        peak = usage.peak[hotspot]
        if peak < OVERLOADED:
            continue
        way = _way_round(usage, hotspot)
        if way is not None:
            source, relay, air = way
            remedy = f"let hotspot {source} send over {relay}, whose radio is used for at most "
            remedy += f"{usage.peak[relay]:.0%}"
        else:
            other, air = _heaviest(usage, hotspot)
            remedy = f"give it a cable or a second radio towards hotspot {other}"
        numbers = {"peak_airtime": peak, "airtime_freed": air}
        what = f"its radio is taken for {peak:.0%} of the time when it is busiest"
        gain = f"frees {air:.0%} of its time: {peak:.0%} become {max(0.0, peak - air):.0%}"
        yield Insight(
            "overloaded-relay", IMPORTANT, hotspot, None, what, remedy, gain, air, numbers
        )


def _way_round(usage: Usage, full: int) -> tuple[int, int, float] | None:
    """Return (neighbour, other relay, airtime) whose traffic could go round a full relay."""
    ways = []
    for source in usage.near[full]:
        air = usage.mean_air((source, full)) + usage.mean_air((full, source))
        for relay in usage.near[source]:
            reaches = set(usage.near[relay]) & set(usage.near[full]) - {source}
            if relay != full and reaches:
                # What comes in also leaves: both ends of its way through the relay are freed, as
                # far as the other relay has room for it.
                ways.append((min(2 * air, ROOM - usage.peak[relay]), source, relay))
    if not ways or max(ways)[0] < WORTH:
        return None
    air, source, relay = max(ways, key=lambda way: (way[0], -way[1], -way[2]))
    return source, relay, air


def _heaviest(usage: Usage, hotspot: int) -> tuple[int, float]:
    rows = [
        (usage.mean_air((hotspot, other)) + usage.mean_air((other, hotspot)), -other)
        for other in usage.near[hotspot]
    ]
    air, other = max(rows)
    return -other, air


def crowded_channels(usage: Usage) -> Iterator[Insight]:
    """Hotspots whose channel strangers use."""
    for hotspot in usage.hotspots:
        taken = usage.strangers(hotspot)
        if taken < STRANGERS:
            continue
        own = float(np.median(usage.radio[hotspot]))
        factor = (1.0 - own) / max(0.05, 1.0 - own - taken)
        # A hotspot's neighbours must come along to the new channel.
        along = ", ".join(str(other) for other in usage.near[hotspot])
        yield Insight(
            "crowded-channel",
            IMPORTANT,
            hotspot,
            None,
            f"others take {taken:.0%} of its air half of the time; its mesh takes {own:.0%}",
            f"move to the quietest channel (iw dev IF survey dump), together with {along}",
            f"up to {factor:.1f} times the room for its links",
            taken,
            {"strangers": taken, "own_airtime": own, "room_factor": factor},
        )


def link_faults(usage: Usage) -> Iterator[Insight]:
    """Links that are slower or lossier than they need be."""
    for (a, b), at in usage.column.items():
        back = usage.column.get((b, a))
        rate, loss = usage.median(usage.rate, at), usage.median(usage.loss, at)
        air = usage.mean_air((a, b))
        if back is not None:
            there = (usage.median(usage.rate, back), usage.median(usage.loss, back))
            slower = rate > 0 and there[0] / rate >= RATE_RATIO
            if slower or loss - there[1] >= LOSS_GAP:
                yield _asymmetric(usage, (a, b), (rate, loss), there, air)
                continue
        nominal = usage.median(usage.values["nominal_kbps"], at)
        if air >= CARRIES and (loss >= LOSSY or (nominal > 0 and rate < WEAK * nominal)):
            yield _weak((a, b), rate, nominal, loss, air)


def _asymmetric(
    usage: Usage, link: Link, here: tuple[float, float], there: tuple[float, float], air: float
) -> Insight:
    (rate, loss), (rate_back, loss_back) = here, there
    after = air * rate / max(rate, rate_back) * (1.0 - loss) / (1.0 - min(loss, loss_back))
    noisy = usage.strangers(link[1]) >= STRANGERS / 2
    remedy = (
        f"hotspot {link[1]} hears noise: move it or its channel"
        if noisy
        else f"raise hotspot {link[0]}'s power to {link[1]}'s, and check its antenna and cable"
    )
    what = f"{rate / 1e3:.1f} Mbit/s and {loss:.0%} lost, against {rate_back / 1e3:.1f} Mbit/s "
    what += f"and {loss_back:.0%} on the way back"
    freed = air - after
    gain = f"its traffic would take {after:.0%} of the radios' time instead of {air:.0%}"
    numbers = {
        "rate_kbps": rate, "rate_back_kbps": rate_back, "loss": loss, "loss_back": loss_back,
        "airtime_freed": freed,
    }  # fmt: skip
    return Insight("asymmetric-link", ADVICE, link[0], link, what, remedy, gain, freed, numbers)


def _weak(link: Link, rate: float, nominal: float, loss: float, air: float) -> Insight:
    after = air * (1.0 - loss) * (rate / nominal if nominal > rate else 1.0)
    what = f"{loss:.0%} of its frames are lost at {rate / 1e3:.1f} Mbit/s"
    if nominal > rate:
        what += f" of {nominal / 1e3:.1f} that it was set up for"
    remedy = "align or raise the antennas, clear the line of sight, or put a hotspot in between"
    gain = f"its traffic would take {after:.0%} of the radios' time instead of {air:.0%}"
    freed = air - after
    numbers = {"rate_kbps": rate, "nominal_kbps": nominal, "loss": loss, "airtime_freed": freed}
    return Insight("weak-link", ADVICE, link[0], link, what, remedy, gain, freed, numbers)


def idle_capacity(usage: Usage) -> Iterator[Insight]:
    """Idle radios beside overloaded ones that serve the same hotspot."""
    for hotspot in usage.hotspots:
        if usage.peak[hotspot] >= IDLE:
            continue
        beside = [
            (usage.peak[full], full, source)
            for source in usage.near[hotspot]
            for full in usage.near[source]
            if full != hotspot and usage.peak[full] >= OVERLOADED
        ]
        if not beside:
            continue
        peak, full, source = max(beside)
        rates = [usage.median(usage.rate, at) for at in usage.grid.columns_of(hotspot)]
        spare_kbps = (ROOM - usage.peak[hotspot]) * float(np.median(rates)) / 2.0
        yield Insight(
            "idle-capacity",
            ADVICE,
            hotspot,
            None,
            f"its radio is used {usage.peak[hotspot]:.0%} at most, hotspot {full}'s {peak:.0%}",
            f"let hotspot {source} reach it: lower its price, or aim {source}'s antenna at both",
            f"it could relay {spare_kbps / 1e3:.1f} Mbit/s more and be paid for it",
            ROOM - usage.peak[hotspot],
            {"peak_airtime": usage.peak[hotspot], "spare_kbps": spare_kbps},
        )


def busy_providers(usage: Usage) -> Iterator[Insight]:
    """Providers at which requests queue."""
    waiting: dict[int, list[int]] = {}
    for (_, end), at in usage.column.items():
        waiting.setdefault(end, []).append(at)
    for hotspot, columns in sorted(waiting.items()):
        queue = usage.values["ai_waiting"][:, columns].max(axis=1)
        running = usage.values["ai_running"][:, columns].max(axis=1)
        typical = float(np.median(queue))
        if typical < 1.0:
            continue
        mean = float(running.mean())
        yield Insight(
            "busy-provider",
            IMPORTANT,
            hotspot,
            None,
            f"{typical:.0f} AI requests wait there half of the time, while {mean:.1f} are answered",
            "offer its models at another hotspot too, or give it more slots",
            f"{typical:.0f} requests fewer in front of each new one",
            min(1.0, typical / 10.0),
            {"waiting": typical, "running": mean},
        )


def far_providers(
    here: int, ways: Iterable[tuple[str, int, tuple[int, ...], int]], far_us: int = 100_000
) -> Iterator[Insight]:
    """Models whose nearest provider is far: `ways` has (model, provider, hops, one way in us).

    The gain is the round trip that a provider at the neighbour would save.
    """
    nearest: dict[str, tuple[int, int, tuple[int, ...]]] = {}
    for model, provider, hops, cost_us in ways:
        nearest[model] = min(nearest.get(model, (1 << 62, 0, ())), (cost_us, provider, hops))
    for model, (cost_us, provider, hops) in sorted(nearest.items()):
        if cost_us < far_us or len(hops) < 3:
            continue
        saved_ms = 2 * cost_us * (len(hops) - 2) / (len(hops) - 1) / 1_000.0
        yield Insight(
            "far-provider",
            ADVICE,
            here,
            None,
            f"{model}: the nearest provider, hotspot {provider}, is {len(hops) - 1} hops and "
            f"{cost_us / 1_000:.0f} ms away",
            f"offer {model} here or at hotspot {hops[1]}",
            f"about {saved_ms:.0f} ms less until the first token",
            min(1.0, saved_ms / 1_000.0),
            {"path_ms": cost_us / 1_000.0, "hops": float(len(hops) - 1), "saved_ms": saved_ms},
        )
