"""Days of a mesh in which hotspots fail, and much goes wrong that is no failure: to train on.

No public record of failing mesh hotspots was found, so these are made, of causes with a physical
course, on top of the fluid model's traffic and fading (radio_sim/telemetry.py):

    failure    share  course until the hotspot is silent for good
    water      30 %   8 to 18 dB are lost over 12 to 60 hours, on all links
    power      25 %   restarts, every 8 hours at first and every 20 minutes at last, over 12 to 48
    memory     20 %   round trips grow three to eight times, a restart resets them, ever sooner
    heat       10 %   losses and restarts in the afternoons of two or three days, each worse
    sudden     15 %   none: lightning, a pulled plug; nobody can foresee these

    no failure        what it looks like
    rain              2 to 8 dB off all links of the mesh for 2 to 8 hours
    tree              4 to 10 dB off one link, over days, for good
    bent antenna      3 to 7 dB off all links of a hotspot at once, for good, and no worse
    visitor           losses and longer round trips around a hotspot for 3 to 30 hours
    maintenance       one to three restarts within an hour
    update            a restart of every hotspot within an hour
    bad socket        a restart a day or so, for ever

Everything is a function of the seed. The courses are ours: what is learned here is worth what these
assumptions are, and bench/insights.py can only say how well it is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radio_sim.backhaul import LinkSpec, loss_from_quality_permille, rate_from_snr_kbps
from radio_sim.draws import draw_below, draw_normal, draw_u64, draw_uniform
from radio_sim.telemetry import Floats, Telemetry, Trouble
from routing.insights.grid import DAY, GRID_MS, HOUR, Grid
from routing.telemetry.second import BASE_FIELDS, FIELDS
from routing.types import LinkSample

CAUSES = ("water", "power", "memory", "heat", "sudden")
_CAUSE_BELOW = (0.30, 0.55, 0.75, 0.85, 1.0)
FAILING_SHARE = 0.2
STEP_S = GRID_MS // 1_000
_RESTART = 0.2  # two of a step's ten minutes
_WARM_UP = 2 * DAY


@dataclass(frozen=True, slots=True)
class Failure:
    """A hotspot that is silent from grid step `step` on, and why."""

    hotspot: int
    step: int
    cause: str


@dataclass(frozen=True, slots=True)
class Record:
    """What a mesh measured, and what truly happened to it."""

    grid: Grid
    failures: tuple[Failure, ...]


class _Ailing:
    """The arrays that causes write into: by hotspot or by link, [steps, ...]."""

    def __init__(self, seed: int, hotspots: int, links: list[tuple[int, int]], steps: int) -> None:
        self.seed, self.hotspots, self.steps = draw_u64(seed, "trouble"), hotspots, steps
        self.links = links
        self.snr_db = np.zeros((steps, hotspots))
        self.link_db = np.zeros((steps, len(links)))
        self.loss = np.zeros((steps, hotspots))
        self.rtt_us = np.zeros((steps, hotspots))
        self.heard = np.ones((steps, hotspots))

    def draw(self, low: float, high: float, *name: int | str) -> float:
        """Draw evenly between two numbers."""
        return low + (high - low) * draw_uniform(self.seed, *name)

    def restart(self, step: int, hotspot: int) -> None:
        """Miss some minutes of a step."""
        if 0 <= step < self.steps:
            self.heard[step, hotspot] = max(0.0, self.heard[step, hotspot] - _RESTART)

    # --- failures -------------------------------------------------------------------------------

    def fail(self, hotspot: int) -> Failure:
        """Let one hotspot fail of a drawn cause at a drawn time."""
        point = draw_uniform(self.seed, "cause", hotspot)
        cause = next(c for c, below in zip(CAUSES, _CAUSE_BELOW, strict=True) if point < below)
        step = int(self.draw(_WARM_UP + HOUR, self.steps, "when", hotspot))
        if cause == "heat":
            step = min(self.steps - 1, step // DAY * DAY + 14 * HOUR + step % HOUR)
        getattr(self, f"_fail_by_{cause}")(hotspot, step)
        self.heard[step:, hotspot] = 0.0
        return Failure(hotspot, step, cause)

    def _fail_by_water(self, hotspot: int, step: int) -> None:
        hours, depth = self.draw(12, 60, "h", hotspot), self.draw(8, 18, "dB", hotspot)
        begin = max(0, int(step - HOUR * hours))
        rise = np.linspace(0.0, 1.0, step - begin) ** 1.5
        self.snr_db[begin:step, hotspot] += depth * rise
        self.loss[begin:step, hotspot] += 0.12 * rise**2

    def _fail_by_power(self, hotspot: int, step: int) -> None:
        hours, at, number = self.draw(12, 48, "h", hotspot), 0.0, 0
        while at < hours:
            self.restart(int(step - HOUR * (hours - at)), hotspot)
            gap = 8.0 * (1.0 - at / hours) + 0.33
            at += gap * self.draw(0.5, 1.5, "gap", hotspot, number)
            number += 1

    def _fail_by_memory(self, hotspot: int, step: int) -> None:
        end, life, number = float(step), self.draw(3, 8, "life", hotspot) * HOUR, 0
        growth = self.draw(2, 7, "growth", hotspot)
        while end > step - 2 * DAY and number < 6:
            begin = max(0, int(end - life))
            leak = np.linspace(0.0, 1.0, max(1, int(end) - begin)) ** 2
            self.rtt_us[begin : int(end), hotspot] += 4_000.0 * growth * leak[: int(end) - begin]
            self.restart(int(end) - 1, hotspot)
            end, life, number = float(begin), life * 1.5, number + 1

    def _fail_by_heat(self, hotspot: int, step: int) -> None:
        days = 2 + draw_below(2, self.seed, "days", hotspot)
        for back in range(days):
            worse = 1.0 - back / (days + 1)
            middle = step - DAY * back
            for at in range(middle - 3 * HOUR, middle + 3 * HOUR):
                if 0 <= at < step:
                    hot = 1.0 - abs(at - middle) / (3 * HOUR)
                    self.loss[at, hotspot] += 0.15 * worse * hot
                    if draw_uniform(self.seed, "heat", hotspot, at) < 0.25 * worse * hot:
                        self.restart(at, hotspot)

    def _fail_by_sudden(self, hotspot: int, step: int) -> None:
        """Give no sign."""

    # --- what is no failure ---------------------------------------------------------------------

    def disturb(self) -> None:
        """Let everything happen that is no failure."""
        days = self.steps / DAY
        self._weather(days)
        for number in range(int(self.hotspots * days * 0.06)):
            self._tree(number)
        for number in range(int(self.hotspots * days * 0.03)):
            self._bent(number)
            self._visitor(number)
            self._visitor(number + 100_000)
            self._maintenance(number)
        for hotspot in range(self.hotspots):
            if draw_uniform(self.seed, "socket", hotspot) < 0.07:
                self._bad_socket(hotspot)

    def _weather(self, days: float) -> None:
        for number in range(int(days * 0.5) + 1):
            begin = draw_below(self.steps, self.seed, "rain", number)
            length = int(HOUR * self.draw(2, 8, "rain h", number))
            depth = self.draw(2, 8, "rain dB", number)
            part = slice(begin, min(self.steps, begin + length))
            shower = np.sin(np.linspace(0, np.pi, length))[: part.stop - begin, None]
            for hotspot in range(self.hotspots):
                wet = depth * self.draw(0.6, 1.4, "wet", number, hotspot)
                self.snr_db[part, hotspot] += wet * shower[:, 0] / 2.0  # each end gives half
        if draw_uniform(self.seed, "update") < 0.6:
            begin = draw_below(self.steps, self.seed, "update at")
            for hotspot in range(self.hotspots):
                self.restart(begin + draw_below(HOUR, self.seed, "update", hotspot), hotspot)

    def _tree(self, number: int) -> None:
        column = draw_below(len(self.links), self.seed, "tree", number) & ~1
        begin = draw_below(self.steps, self.seed, "tree at", number)
        grown = np.clip((np.arange(self.steps) - begin) / (2.0 * DAY), 0.0, 1.0)
        self.link_db[:, column : column + 2] += self.draw(4, 10, "tree dB", number) * grown[:, None]

    def _bent(self, number: int) -> None:
        hotspot = draw_below(self.hotspots, self.seed, "bent", number)
        begin = draw_below(self.steps, self.seed, "bent at", number)
        self.snr_db[begin:, hotspot] += self.draw(3, 7, "bent dB", number)

    def _visitor(self, number: int) -> None:
        middle = draw_below(self.hotspots, self.seed, "visitor", number)
        begin = draw_below(self.steps, self.seed, "visitor at", number)
        end = min(self.steps, begin + int(HOUR * self.draw(3, 30, "visitor h", number)))
        near = {b for a, b in self.links if a == middle}
        for hotspot, share in [(middle, 1.0), *((other, 0.5) for other in sorted(near))]:
            self.loss[begin:end, hotspot] += share * self.draw(0.02, 0.12, "visitor loss", number)
            self.rtt_us[begin:end, hotspot] += share * self.draw(500, 6_000, "visitor rtt", number)

    def _maintenance(self, number: int) -> None:
        hotspot = draw_below(self.hotspots, self.seed, "care", number)
        begin = draw_below(self.steps, self.seed, "care at", number)
        for again in range(1 + draw_below(3, self.seed, "care n", number)):
            self.restart(begin + 2 * again, hotspot)

    def _bad_socket(self, hotspot: int) -> None:
        at, number = self.draw(0, DAY, "socket at", hotspot), 0
        while at < self.steps:
            self.restart(int(at), hotspot)
            number += 1
            at += self.draw(0.3 * DAY, 1.7 * DAY, "socket gap", hotspot, number)


def make_record(seed: int, hotspots: int = 40, days: int = 7, *, has_snr: bool = True) -> Record:
    """Make a mesh's days; `has_snr` False leaves out what gossip doesn't carry."""
    specs = _mesh(seed, hotspots)
    steps = days * DAY
    links = [pair for spec in specs for pair in ((spec.a, spec.b), (spec.b, spec.a))]
    ailing = _Ailing(seed, hotspots, links, steps)
    ailing.disturb()
    failing = [
        h for h in range(hotspots) if draw_uniform(ailing.seed, "fails", h) < FAILING_SHARE
    ]
    failures = tuple(ailing.fail(hotspot) for hotspot in failing)
    return Record(_measure(specs, ailing, seed, has_snr), failures)


def _mesh(seed: int, hotspots: int) -> list[LinkSpec]:
    """Link everybody to the three nearest, and each to one before it, so that all hang together."""
    key = draw_u64(seed, "places")
    places = np.array([[draw_uniform(key, "xy"[a], n) for a in (0, 1)] for n in range(hotspots)])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) * hotspots**0.5
    pairs = set()
    for node in range(hotspots):
        near = np.argsort(apart[node], kind="stable")[1:4].tolist()
        back = [int(np.argmin(apart[node, :node]))] if node else []
        pairs |= {(min(node, other), max(node, other)) for other in (*near, *back)}
    return [_spec(a, b, float(apart[a, b]), key) for a, b in sorted(pairs)]


def _spec(a: int, b: int, apart: float, key: int) -> LinkSpec:
    """SNR by distance with a slope of 35 dB a decade and 4 dB of shadowing."""
    snr = 24.0 - 35.0 * np.log10(max(0.1, apart)) + 4.0 * draw_normal(key, "shadow", a, b)
    rate = rate_from_snr_kbps(float(np.clip(snr, 5.0, 35.0)))
    quality = float(np.clip((snr + 5.0) / 30.0, 0.4, 1.0))
    return LinkSpec(a, b, "wireless", rate, loss_from_quality_permille(quality))


def _measure(specs: list[LinkSpec], ailing: _Ailing, seed: int, has_snr: bool) -> Grid:
    ends = np.array(ailing.links)
    both = [series[:, ends[:, 0]] + series[:, ends[:, 1]] for series in _ends_of(ailing)]
    trouble = Trouble(both[0] + ailing.link_db, np.minimum(0.9, both[1]), both[2])
    model = Telemetry(ailing.hotspots, specs, (), seed)
    parts = list(model.measure(ailing.steps * STEP_S, STEP_S, 0.0, 0, trouble))
    rows = np.concatenate([part.rows for part in parts]).astype(np.float64)
    heard = np.minimum(ailing.heard[:, ends[:, 0]], ailing.heard[:, ends[:, 1]])
    gone = np.where(heard > 0, 1.0, np.nan)
    names = list(LinkSample.__dataclass_fields__)
    values = {name: np.zeros_like(heard) for name in FIELDS}
    values |= {name: rows[:, :, names.index(name)] * gone for name in BASE_FIELDS}
    if has_snr:
        values["snr_cdb"] = np.rint(100.0 * np.concatenate([p.snr_db for p in parts])) * gone
    return Grid(0, tuple((int(a), int(b)) for a, b in ends), heard, values)


def _ends_of(ailing: _Ailing) -> tuple[Floats, Floats, Floats]:
    return ailing.snr_db, ailing.loss, ailing.rtt_us
