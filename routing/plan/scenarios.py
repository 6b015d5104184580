"""What demand may be next: a forecast plus the errors that it lately made, all pairs together.

A scenario is the forecast plus the whole error vector of one recent step, so that demands which
rose together lately rise together in the scenario. Errors of a forecaster are its own: a bad one
gets wide scenarios, and persistence is just another forecaster.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from routing.forecast.health import DriftAlarm, HealthParams
from routing.plan.network import Array


@dataclass(frozen=True, slots=True)
class DemandForecast:
    """Demands [pairs] in kbps expected in the step after `made_step`, the newest step it knew."""

    made_step: int
    demand_kbps: Array


class ResidualScenarios:
    """Scenarios around one forecaster's forecasts."""

    def __init__(self, count: int) -> None:
        self._errors: deque[Array] = deque(maxlen=count)
        self._pending: Array | None = None

    def settle(self, demand_kbps: Array) -> None:
        """Take what demand really was in the step that the last forecast was for."""
        if self._pending is not None:
            self._errors.append(demand_kbps - self._pending)
        self._pending = None

    def make(self, forecast_kbps: Array) -> Array:
        """Return scenarios [K, pairs] around the forecast, never below zero; remembers it."""
        self._pending = forecast_kbps
        if not self._errors:
            return forecast_kbps[None, :].copy()
        scenarios: Array = np.maximum(0.0, forecast_kbps + np.stack(self._errors))
        return scenarios


@dataclass(frozen=True, slots=True)
class DemandHealthParams:
    """When a demand forecast isn't used; `ratio_alarm` bounds the recent error over persistence.

    A coverage outside the bounds says that errors have changed: scenarios made of them are off.
    """

    max_age_steps: int = 0
    frozen_steps: int = 3
    window: int = 36
    coverage_low: float = 0.5
    ratio_alarm: float = 1.25
    ratio_steps: int = 6
    drift: HealthParams = field(default_factory=HealthParams)


class DemandHealth:
    """Named checks on a demand forecast, each with a way back; the reasons are `health.py`'s."""

    def __init__(self, params: DemandHealthParams) -> None:
        self._params = params
        self._drift = DriftAlarm(params.drift)
        self._ratios: deque[float] = deque(maxlen=params.ratio_steps)
        self._inside: deque[float] = deque(maxlen=params.window)
        self._last: Array | None = None
        self._pending: tuple[Array, Array | None] | None = None
        self._same = 0

    def settle(self, before_kbps: Array, demand_kbps: Array) -> None:
        """Compare the last forecast with what came and with persistence (`before_kbps`)."""
        if self._pending is None:
            return
        forecast, high = self._pending
        self._pending = None
        if not bool(np.all(np.isfinite(forecast))):
            return
        error = float(np.abs(demand_kbps - forecast).sum())
        last = float(np.abs(demand_kbps - before_kbps).sum())
        ratio = error / last if last > 0 else float(error > 0) + 1.0
        self._ratios.append(min(self._params.drift.ratio_cap, ratio))
        self._drift.add(self._ratios[-1])
        if high is not None:
            weight = np.maximum(demand_kbps, 1e-12)
            self._inside.append(float(np.average(demand_kbps <= high, weights=weight)))

    def take(self, forecast_kbps: Array, scenarios: Array, is_new: bool) -> None:
        """Remember a forecast and its scenarios; `is_new`: demand has changed since the last."""
        if self._last is not None and is_new:
            same = bool(np.array_equal(self._last, forecast_kbps))
            self._same = self._same + 1 if same else 0
        self._last = forecast_kbps
        high = np.quantile(scenarios, 0.9, axis=0) if len(scenarios) >= 10 else None
        self._pending = (forecast_kbps, high)

    def coverage(self) -> float | None:
        """Return the share of recent demand at or below its p90, once the window is full."""
        full = len(self._inside) == self._params.window
        return float(np.mean(self._inside)) if full else None

    def problem(self, forecast: DemandForecast | None, step: int) -> str | None:
        """Return why the forecast may not be used for the step after `step`, or None."""
        if forecast is None:
            return "no-forecast"
        values = forecast.demand_kbps
        if not bool(np.all(np.isfinite(values)) and np.all(values >= 0)):
            return "not-finite"
        if step - forecast.made_step > self._params.max_age_steps:
            return "stale"
        if self._same >= self._params.frozen_steps:
            return "frozen"
        coverage = self.coverage()
        if coverage is not None and coverage < self._params.coverage_low:
            return "coverage"
        recent = float(np.mean(self._ratios)) if self._ratios else 1.0
        if self._drift.raised or recent > self._params.ratio_alarm:
            return "drift"
        return None
