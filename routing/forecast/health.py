"""Is the forecast fit to be used? Named checks on what it says and on what then happened.

    reason              the forecast is not used while
    no-forecast         there is none, for any link
    not-finite          a value is NaN, infinite or negative
    stale               its newest base sample is older than `max_age_ms`
    frozen              `frozen_rounds` rounds in a row it said the same while samples changed
    coverage            of the last `window` outcomes fewer or more than the bounds fell below p90
    drift               its error against persistence rose (Page-Hinkley) and hasn't come back

    rates               of as many outcomes too many fell below p10 of the rate; asked by jobs only

Coverage bounds are wider than two standard errors of 200 independent outcomes, because outcomes
of links that share a flow are not independent. A refusal of the forecaster keeps its own reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from chain.records import Refusal
from routing.telemetry.history import History
from routing.types import Forecast, Link

Forecasts = dict[Link, Forecast]


@dataclass(frozen=True, slots=True)
class HealthParams:
    """Thresholds of the checks; ratios are model error over persistence error, per round."""

    max_age_ms: int = 30_000
    frozen_rounds: int = 5
    window: int = 200
    coverage_low: float = 0.80
    coverage_high: float = 0.985
    rates_low: float = 0.80
    drift_slack: float = 0.1
    drift_alarm: float = 3.0
    drift_recent: int = 12
    ratio_cap: float = 4.0


@dataclass(frozen=True, slots=True)
class _Pending:
    start_ms: int
    due_ms: int
    median: float
    high: float
    last: float
    low_rate: float


def fault_in(forecasts: Forecasts) -> str | None:
    """Return why the values can't be used, or None."""
    if not forecasts:
        return "no-forecast"
    for forecast in forecasts.values():
        values = (*forecast.load_p50_kbps, *forecast.load_p90_kbps, *forecast.rate_p10_kbps)
        if not values or not all(isfinite(value) and value >= 0 for value in values):
            return "not-finite"
    return None


class DriftAlarm:
    """Page-Hinkley test (Page 1954) on a stream of error ratios, with a way back."""

    def __init__(self, params: HealthParams) -> None:
        self._params = params
        self._count = 0
        self._mean = 0.0
        self._sum = 0.0
        self._lowest = 0.0
        self._recent: deque[float] = deque(maxlen=params.drift_recent)
        self.raised = False

    def add(self, ratio: float) -> None:
        """Take a round's ratio; a full window no worse than persistence ends an alarm."""
        self._recent.append(ratio)
        self._count += 1
        # Never above 1: a model that was always bad must not count as its own norm.
        self._mean += (ratio - self._mean) / self._count
        self._sum += ratio - min(self._mean, 1.0) - self._params.drift_slack
        self._lowest = min(self._lowest, self._sum)
        if self._sum - self._lowest > self._params.drift_alarm:
            self.raised = True
        full = len(self._recent) == self._params.drift_recent
        if self.raised and full and sum(self._recent) <= len(self._recent):
            self.raised = False
            self._count, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, 0.0


class ForecastHealth:
    """Follows the forecasts of a router and what came of them."""

    def __init__(self, params: HealthParams) -> None:
        self._params = params
        self._fault: str | None = "no-forecast"
        self._newest_ms: int | None = None
        self._signature: tuple[object, ...] = ()
        self._base: tuple[object, ...] = ()
        self._same = 0
        self._below: deque[bool] = deque(maxlen=params.window)
        self._kept: deque[bool] = deque(maxlen=params.window)  # rates at or above p10
        self._pending: dict[Link, deque[_Pending]] = {}
        self._drift = DriftAlarm(params)

    def take(self, forecasts: Forecasts | Refusal, history: History) -> None:
        """Take a round of forecasts, made from this history."""
        if isinstance(forecasts, Refusal):
            self._fault = forecasts.reason
            return
        self._fault = fault_in(forecasts)
        if self._fault is not None:
            return
        self._newest_ms = max(forecast.time_ms for forecast in forecasts.values())
        self._watch_frozen(forecasts, history)
        for link in sorted(forecasts):
            self._remember(link, forecasts[link], history)

    def _watch_frozen(self, forecasts: Forecasts, history: History) -> None:
        links = sorted(forecasts)
        signature = tuple((link, forecasts[link].load_p50_kbps) for link in links)
        newest = [history.newest(link) for link in links]
        base = tuple((s.load_kbps, s.rate_kbps) if s else None for s in newest)
        if base != self._base:
            self._same = self._same + 1 if signature == self._signature else 0
        self._signature, self._base = signature, base

    def _remember(self, link: Link, forecast: Forecast, history: History) -> None:
        newest = history.newest(link)
        waiting = self._pending.setdefault(link, deque(maxlen=64))
        if newest is None or (waiting and waiting[-1].start_ms >= forecast.time_ms):
            return
        waiting.append(
            _Pending(
                forecast.time_ms,
                forecast.time_ms + forecast.horizons_ms[0],
                forecast.load_p50_kbps[0],
                forecast.load_p90_kbps[0],
                float(newest.load_kbps),
                forecast.rate_p10_kbps[0],
            )
        )

    def settle(self, history: History, now_ms: int) -> None:
        """Compare forecasts whose horizon has passed with what the samples then said."""
        error, naive = 0.0, 0.0
        for link in sorted(self._pending):
            for pending in self._due(link, now_ms):
                came = [
                    sample
                    for sample in history.of(link)
                    if pending.start_ms < sample.time_ms <= pending.due_ms
                ]
                if came:
                    mean = sum(sample.load_kbps for sample in came) / len(came)
                    rate = sum(sample.rate_kbps for sample in came) / len(came)
                    self._kept.append(rate + 1 >= pending.low_rate)
                    self._below.append(mean <= pending.high)
                    error += abs(mean - pending.median)
                    naive += abs(mean - pending.last)
        if error > 0.0 or naive > 0.0:
            cap = self._params.ratio_cap
            self._drift.add(min(cap, error / naive) if naive > 0.0 else cap)

    def _due(self, link: Link, now_ms: int) -> list[_Pending]:
        waiting = self._pending[link]
        due = []
        while waiting and waiting[0].due_ms <= now_ms:
            due.append(waiting.popleft())
        return due

    def coverage(self) -> float | None:
        """Return the share of outcomes at or below p90, or None before the window is full."""
        if len(self._below) < self._params.window:
            return None
        return sum(self._below) / len(self._below)

    def rate_problem(self, now_ms: int) -> str | None:
        """Return the reason not to promise capacity by the forecast now, or None."""
        few = len(self._kept) < self._params.window
        if not few and sum(self._kept) < self._params.rates_low * len(self._kept):
            return "rates"
        return self.problem(now_ms)

    def problem(self, now_ms: int) -> str | None:
        """Return the reason not to use the forecast now, or None if it is fit."""
        coverage = self.coverage()
        low, high = self._params.coverage_low, self._params.coverage_high
        checks: Mapping[str, bool] = {
            "stale": self._newest_ms is None or now_ms - self._newest_ms > self._params.max_age_ms,
            "frozen": self._same >= self._params.frozen_rounds,
            "coverage": coverage is not None and not low <= coverage <= high,
            "drift": self._drift.raised,
        }
        return self._fault or next((name for name, failed in checks.items() if failed), None)
