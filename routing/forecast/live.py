"""The forecast in live use: a moment's history in, one calibrated Forecast per link out."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from chain.records import Refusal
from routing.forecast.features import WINDOW, Array, Series, build_tail_rows, series_of, with_season
from routing.forecast.model import TARGETS, Model, calibrated, load_booster, predict_ratio
from routing.forecast.online import LiveCalibration
from routing.types import Forecast, Link, LinkSample


class Memory(Protocol):
    """What a forecast reads: routing.telemetry.history.History, or a LongHistory."""

    def links(self) -> list[Link]:
        """Every link known, ascending."""

    def of(self, link: Link) -> list[LinkSample]:
        """Return the samples of a link, oldest first."""


class Forecaster:
    """A model ready for live use: history in, one Forecast per link out."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._boosters = {key: load_booster(text) for key, text in model.boosters.items()}
        self._calibration = LiveCalibration(model)

    def predict(self, history: Memory) -> dict[Link, Forecast] | Refusal:
        """Forecast every link whose newest samples fill the window; the others are left out.

        Refuses as a whole when a result isn't finite: a broken model is not to be half-trusted.
        """
        tails = [tail for link in history.links() if (tail := self._tail(history, link))]
        if not tails:
            return {}
        now_ms = max(tail.start_ms + (tail.length - 1) * tail.step_ms for tail in tails)
        self._calibration.settle(tails, now_ms)
        values = self._all_values(tails)
        if not all(bool(np.isfinite(array).all()) for array in values.values()):
            return Refusal("forecast-not-finite", "the model's output is not a number; retrain it")
        self._calibration.expect(values, tails, now_ms)
        return {tail.link: self._forecast(tail, j, values) for j, tail in enumerate(tails)}

    def _tail(self, history: Memory, link: Link) -> Series | None:
        series = series_of(history.of(link), self.model.step_ms)
        return series[-1] if series and series[-1].length >= WINDOW else None

    def _all_values(self, tails: list[Series]) -> dict[tuple[str, int], Array]:
        rows = build_tail_rows(tails)
        span = int(self.model.options.get("span", 0))
        scales = {"load": rows.load_scale, "rate": rows.rate_scale}
        result = {}
        for horizon in self.model.horizons:
            matrix = with_season(rows, tails, horizon, span or horizon)
            ratios = {
                target.name: predict_ratio(self._boosters[target.name, horizon], matrix)
                for target in TARGETS
            }
            for target in TARGETS:
                key = (target.name, horizon)
                value = calibrated(ratios, target.name, self._calibration.shift(key, tails))
                result[key] = value * scales[target.field]
        return result

    def _forecast(self, tail: Series, row: int, values: dict[tuple[str, int], Array]) -> Forecast:
        def column(name: str) -> tuple[float, ...]:
            return tuple(float(values[(name, h)][row]) for h in self.model.horizons)

        return Forecast(
            tail.start_ms + (tail.length - 1) * tail.step_ms,
            tuple(h * tail.step_ms for h in self.model.horizons),
            column("load_p50"),
            column("load_p90"),
            column("rate_p10"),
        )
