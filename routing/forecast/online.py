"""Online offsets at work: in the live forecaster, and replayed over a table to score them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from routing.forecast.calibration import OnlineOffsets
from routing.forecast.features import Array, Series, future_mean
from routing.forecast.model import TARGETS, Model, Target, calibrated
from routing.forecast.tables import Table
from routing.forecast.training import raw_ratios, scale_of

Key = tuple[str, int]
_PER_HORIZON = 8


def online_offsets(model: Model) -> dict[Key, OnlineOffsets]:
    """Return fresh online offsets for every booster that has a level to keep."""
    levels = {target.name: target.level for target in TARGETS if target.level != 0.5}
    return {
        key: OnlineOffsets(levels[key[0]], offsets.own, offsets.pooled)
        for key, offsets in model.offsets.items()
        if key[0] in levels
    }


class LiveCalibration:
    """Settles what was forecast against what then came, link by link, and gives the offsets."""

    def __init__(self, model: Model) -> None:
        self._step_ms = model.step_ms
        self._span = int(model.options.get("span", 0))
        self._online = online_offsets(model)
        self._fields = {target.name: target.field for target in TARGETS}
        self._next_ms: dict[Key, int] = {}

    def shift(self, key: Key, tails: Sequence[Series]) -> Array:
        """Return the offsets of a booster for some links, widths [m]."""
        online = self._online.get(key)
        return np.array([online.offset(tail.link) if online else 0.0 for tail in tails])

    def settle(self, tails: Sequence[Series], now_ms: int) -> None:
        """Settle every forecast whose horizon has passed; one whose samples are gone is dropped."""
        by_link = {tail.link: tail for tail in tails}
        for (name, horizon), online in self._online.items():
            for pending in online.due(now_ms):
                tail = by_link.get(pending.link)
                base_ms = pending.due_ms - horizon * self._step_ms
                outcome = self._outcome(tail, name, base_ms, horizon) if tail else None
                if outcome is not None:
                    online.settle(pending.link, pending.quantile, outcome)

    def _outcome(self, tail: Series, name: str, base_ms: int, horizon: int) -> float | None:
        step = (base_ms - tail.start_ms) // self._step_ms
        if step < 0 or step + horizon >= tail.length:
            return None
        values = tail.load if self._fields[name] == "load" else tail.rate
        return float(future_mean(values, np.array([step]), horizon, self._span)[0])

    def expect(self, values: Mapping[Key, Array], tails: Sequence[Series], now_ms: int) -> None:
        """Remember forecasts made now, at most _PER_HORIZON times within a horizon."""
        for key, online in self._online.items():
            if now_ms < self._next_ms.get(key, 0):
                continue
            span_ms = key[1] * self._step_ms
            self._next_ms[key] = now_ms + span_ms // _PER_HORIZON
            for tail, value in zip(tails, values[key].tolist(), strict=True):
                if tail.start_ms + (tail.length - 1) * self._step_ms == now_ms:
                    online.expect(now_ms + span_ms, tail.link, value)


def apply_online(model: Model, target: Target, table: Table) -> Array:
    """Return what the live calibration would have forecast for a table's rows, kbps [m].

    Rows are taken in the order of time; each is settled once its horizon has passed, as in service.
    """
    ratios = raw_ratios(model.boosters, table)
    scale, key = scale_of(table, target), (target.name, table.horizon)
    online = online_offsets(model)[key]
    truth = table.load if target.field == "load" else table.rate
    result = np.empty(table.length)
    waiting: list[int] = []
    settled = 0
    for row in np.argsort(table.time_ms, kind="stable").tolist():
        now_ms = int(table.time_ms[row])
        while settled < len(waiting) and _is_due(table, waiting[settled], now_ms):
            old = waiting[settled]
            online.settle(table.links[table.link[old]], float(result[old]), float(truth[old]))
            settled += 1
        one = {name: values[row : row + 1] for name, values in ratios.items()}
        offset = online.offset(table.links[table.link[row]])
        result[row] = calibrated(one, target.name, np.array([offset]))[0] * scale[row]
        waiting.append(row)
    return result


def _is_due(table: Table, row: int, now_ms: int) -> bool:
    return int(table.time_ms[row]) + table.horizon * table.step_ms <= now_ms
