"""What jobs can count on: kbits that a link surely carries until then, and lanes made of it.

A promise for an hour ahead must not lean on what a link carries this second. So a link has an
outlook, kbits by when, and a slot of the timetable gets the difference of its two ends:

    where a model forecasts   10th percentile of the rate, 90th of the load, at its horizons,
                              and never more than it has been seen to carry
    elsewhere                 10th percentile of what it carried over so many samples on end,
                              and never more than what it carries now

A mean over longer is surer than one over a second, so later slots of a link that fluctuates hold
more than the first. Time is from the moment of asking; past the last horizon the last mean goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from routing.cost import LinkEstimate
from routing.experts import Beliefs, moved_to, node_rates_kbps
from routing.graph import links_of
from routing.jobs.plan import HORIZONS_MS, Lane, Segment
from routing.telemetry.history import History
from routing.types import FlowClass, Forecast, Job, Link, LinkSample

ROOM = 1_000.0  # of a radio, for jobs; a lane's uses are in its thousandths per second
UNLIMITED_KBPS = 1 << 40
LEAST_SAMPLES = 8
RUNS = (1, 5, 15, 60)  # samples on end of which a mean is taken
Hops = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """A link from now on: `ends_ms` ahead, and kbits of rate and load until each, ascending."""

    ends_ms: tuple[int, ...]
    rate_kbits: tuple[float, ...]
    load_kbits: tuple[float, ...]

    def rate_kbps(self, start_ms: int, end_ms: int) -> float:
        """Return what surely comes through between, at the mean."""
        return _mean(self.ends_ms, self.rate_kbits, start_ms, end_ms)

    def load_kbps(self, start_ms: int, end_ms: int) -> float:
        """Return what others will take of it at most, at the mean."""
        return _mean(self.ends_ms, self.load_kbits, start_ms, end_ms)


def _mean(ends: Sequence[int], kbits: Sequence[float], start_ms: int, end_ms: int) -> float:
    return (_until(ends, kbits, end_ms) - _until(ends, kbits, start_ms)) * 1e3 / (end_ms - start_ms)


def _until(ends: Sequence[int], kbits: Sequence[float], at_ms: int) -> float:
    if at_ms >= ends[-1]:
        return kbits[-1] * at_ms / ends[-1]
    for (a, x), (b, y) in pairwise(((0, 0.0), *zip(ends, kbits, strict=True))):
        if at_ms < b:
            return x + (y - x) * (at_ms - a) / (b - a)
    return kbits[-1]


def _outlook(ends_ms: Sequence[int], rates: Sequence[float], loads: Sequence[float]) -> Outlook:
    def total(kbps: Sequence[float]) -> tuple[float, ...]:
        # What has come until then can't be less later.
        sums = (k * end / 1e3 for k, end in zip(kbps, ends_ms, strict=True))
        return tuple(accumulate(sums, max))

    return Outlook(tuple(ends_ms), total(rates), total(loads))


def forecast_outlook(forecast: Forecast, samples: Sequence[LinkSample]) -> Outlook:
    """Return what a forecast lets jobs count on, for a link whose last samples these are."""
    most = max((sample.rate_kbps for sample in samples), default=0)
    rates = [min(most, rate) for rate in forecast.rate_p10_kbps]
    return _outlook(forecast.horizons_ms, rates, forecast.load_p90_kbps)


def measured_outlook(samples: Sequence[LinkSample], now: LinkEstimate) -> Outlook | None:
    """Return what a link's past lets jobs count on; None where too little of it is known."""
    if len(samples) < LEAST_SAMPLES:
        return None
    step_ms = max(1, (samples[-1].time_ms - samples[0].time_ms) // (len(samples) - 1))
    runs = [run for run in RUNS if 2 * run <= len(samples)]
    rates = [min(now.rate_kbps, _tenth([s.rate_kbps for s in samples], run)) for run in runs]
    return _outlook([run * step_ms for run in runs], rates, [float(now.load_kbps)] * len(runs))


def _tenth(values: Sequence[int], run: int) -> float:
    """The 10th percentile of means over `run` values on end."""
    sums = [0, *accumulate(values)]
    means = sorted((b - a) / run for a, b in zip(sums, sums[run:], strict=False))
    return means[len(means) // 10]


class JobCapacity:
    """Lanes and rates for jobs on what is believed in one round; outlooks are made once."""

    def __init__(
        self, beliefs: Beliefs, history: History, forecasts: Mapping[Link, Forecast]
    ) -> None:
        """`forecasts`: none where no forecast is to be trusted now."""
        self._beliefs, self._history, self._forecasts = beliefs, history, forecasts
        self._outlooks: dict[Link, Outlook | None] = {}

    def lane(self, hops: Hops, own_kbps: Mapping[int, int], now_ms: int) -> Lane:
        """Return what a kbit by these hops takes of each radio's `ROOM`, now and later.

        `own_kbps`: what our jobs send through each radio now, which is no load to them.
        """
        now = self._uses(self._measured(hops), hops, own_kbps)
        if not any(self._outlook(link) for link in links_of(hops)):
            return Lane(hops, now, 0)
        later = tuple(
            Segment(now_ms + start, self._uses(self._sure(hops, start, end), hops, own_kbps))
            for start, end in pairwise((0, *HORIZONS_MS, 2 * HORIZONS_MS[-1]))
        )
        return Lane(hops, now, 0, later)

    def available_kbps(self, hops: Hops, own_kbps: int) -> int:
        """Return what a path has now besides all that was measured on it but a job's own."""
        own = dict.fromkeys(hops, own_kbps)
        rates = node_rates_kbps(hops, self._measured(hops), own)
        return min(rates.values(), default=0)

    def payable_kbps(self, job: Job, hops: Hops) -> int:
        """Return the kbps at which the farthest relay still hears from the payer in time."""
        samples = [self._history.newest(link) for link in links_of(hops[:-1])]
        rtt_us = sum(sample.rtt_us for sample in samples if sample is not None)
        if not job.flight_bytes or not rtt_us:
            return UNLIMITED_KBPS
        return job.flight_bytes * 8 * 1_000 // rtt_us

    def _uses(
        self, links: Mapping[Link, LinkEstimate], hops: Hops, own_kbps: Mapping[int, int]
    ) -> dict[tuple[int, ...], float]:
        rates = node_rates_kbps(hops, links, own_kbps)
        return {(node,): ROOM / max(1, rate) for node, rate in rates.items()}

    def _measured(self, hops: Hops) -> dict[Link, LinkEstimate]:
        return {link: self._now(link) for link in links_of(hops)}

    def _now(self, link: Link) -> LinkEstimate:
        """A link as lately measured; a fall of its rate counts at once, a rise when it lasts.

        Gossip of a far link comes every five seconds: its mean would follow half a minute late.
        """
        known, newest = self._beliefs.measured(link, FlowClass.JOB), self._history.newest(link)
        if newest is None or newest.rate_kbps >= known.rate_kbps:
            return known
        return moved_to(known, max(1, newest.rate_kbps), known.load_kbps)

    def _sure(self, hops: Hops, start_ms: int, end_ms: int) -> dict[Link, LinkEstimate]:
        found = self._measured(hops)
        for link, now in found.items():
            outlook = self._outlook(link)
            if outlook is not None:
                rate = max(1, int(outlook.rate_kbps(start_ms, end_ms)))
                load = int(outlook.load_kbps(start_ms, end_ms))
                found[link] = moved_to(now, rate, load)
        return found

    def _outlook(self, link: Link) -> Outlook | None:
        if link not in self._outlooks:
            forecast, samples = self._forecasts.get(link), self._history.of(link)
            self._outlooks[link] = (
                measured_outlook(samples, self._now(link))
                if forecast is None
                else forecast_outlook(forecast, samples)
            )
        return self._outlooks[link]
