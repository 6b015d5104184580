"""Four horizons from two models: seconds ahead from seconds, a quarter and an hour from minutes.

A model sees 36 steps back, so one step can't serve 10 seconds and an hour alike. The near model
reads the router's history of seconds; what passes through it is gathered into minutes, kept for
days (routing/telemetry/long_history.py), and read by the far model, which then knows yesterday too.
"""

from __future__ import annotations

from dataclasses import replace

from chain.errors import UserError
from chain.records import Refusal
from routing.forecast.live import Forecaster
from routing.telemetry.history import History
from routing.telemetry.long_history import LongHistory
from routing.types import Forecast, Link


class FarForecaster:
    """A near Forecaster with a far one behind it; use it wherever a Forecaster goes.

    Gives every link that the near model knows its near horizons, and the far ones where minutes
    enough are known. A far model that refuses costs only the far horizons.
    """

    def __init__(
        self, near: Forecaster, far: Forecaster, long: LongHistory, *, gathers: bool = True
    ) -> None:
        """`gathers`: whether to fill `long` from what passes; False where a Recorder does."""
        if far.model.step_ms != long.step_ms or near.model.step_ms >= far.model.step_ms:
            problem = f"steps of {near.model.step_ms} and {far.model.step_ms} ms"
            remedy = f"give a near model of shorter steps and a far one of {long.step_ms} ms"
            raise UserError("far model", problem, remedy)
        self.model = near.model
        self.long = long
        self.far_refusal: Refusal | None = None
        self._gathers = gathers
        self._near = near
        self._far = far
        self._seen: dict[Link, int] = {}
        self._minute = -1
        self._known: dict[Link, Forecast] = {}

    def predict(self, history: History) -> dict[Link, Forecast] | Refusal:
        """Forecast every link of the near history; far values are made anew once a minute."""
        now_ms = self._gather(history)
        near = self._near.predict(history)
        if isinstance(near, Refusal):
            return near
        self._look_far(now_ms)
        return {link: self._joined(one, self._known.get(link)) for link, one in near.items()}

    def _gather(self, history: History) -> int:
        """Pass on what is new since the last call; the time of the newest sample."""
        newest = 0
        for link in history.links():
            samples = history.of(link)
            before = self._seen.get(link, -1)
            for sample in samples if self._gathers else ():
                if sample.time_ms > before:
                    self.long.add(sample)
            self._seen[link] = samples[-1].time_ms
            newest = max(newest, samples[-1].time_ms)
        return newest

    def _look_far(self, now_ms: int) -> None:
        if now_ms // self.long.step_ms == self._minute:
            return
        self._minute = now_ms // self.long.step_ms
        self.long.finish_before(now_ms)
        found = self._far.predict(self.long)
        self.far_refusal = found if isinstance(found, Refusal) else None
        self._known = {} if isinstance(found, Refusal) else found

    def _joined(self, near: Forecast, far: Forecast | None) -> Forecast:
        stale = far is not None and near.time_ms - far.time_ms > 3 * self.long.step_ms
        if far is None or stale:
            return near
        return replace(
            near,
            horizons_ms=near.horizons_ms + far.horizons_ms,
            load_p50_kbps=near.load_p50_kbps + far.load_p50_kbps,
            load_p90_kbps=near.load_p90_kbps + far.load_p90_kbps,
            rate_p10_kbps=near.rate_p10_kbps + far.rate_p10_kbps,
        )
