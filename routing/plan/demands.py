"""A forecast of demand matrices: LightGBM on each demand's ratio to its own EWMA.

    feature          unit            what
    lag0..lag5       ratio to EWMA   the newest demands, newest first
    mean6 mean12 std6 max12  ratio   over as many newest steps
    total            ratio           all demand now over its own EWMA: what moves together
    row, column      ratio           the same of the demand's source and of its target
    season           ratio           a day ago, the step to forecast; 0 without a day of history
    size             log kbps        the EWMA itself
    hour_sin hour_cos                time of day

One model for all pairs, its rows weighted by the EWMA, so that large demands count for what they
are. The forecast is the median; how far off it is, is the scenarios' business. Same data, same
trees: one thread, fixed seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chain.errors import UserError
from routing.plan.network import Array, Pair

EWMA_WEIGHT = 0.3
WARM_UP = 12
DAY_S = 86_400
_LAGS = 6
_PARAMS = {
    "objective": "quantile",
    "alpha": 0.5,
    "num_leaves": 31,
    "learning_rate": 0.08,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def smoothed(values: Array, weight: float = EWMA_WEIGHT) -> Array:
    """Return the EWMA over the first axis, [steps, ...]."""
    result = np.empty_like(values)
    state = values[0]
    for step, row in enumerate(values):
        state = state + weight * (row - state)
        result[step] = state
    return result


class DemandTable:
    """Feature rows of demands [steps, pairs] in kbps at an even step of `step_s` from `start_s`."""

    def __init__(
        self, demands_kbps: Array, pairs: Sequence[Pair], step_s: int, start_s: int = 0
    ) -> None:
        self.demands = demands_kbps
        self.scale = np.maximum(smoothed(demands_kbps), 1e-9)
        self._step_s, self._start_s = step_s, start_s
        self._day = max(1, DAY_S // step_s)
        total = demands_kbps.sum(axis=1, keepdims=True)
        self._together = [
            self._group_ratio(demands_kbps, np.array([pair[end] for pair in pairs]))
            for end in (0, 1)
        ]
        self._total = total / np.maximum(smoothed(total), 1e-9)

    def _group_ratio(self, demands: Array, group: npt.NDArray[np.int64]) -> Array:
        sums = np.stack([demands[:, group == g].sum(axis=1) for g in range(1 + group.max())], 1)
        ratio: Array = (sums / np.maximum(smoothed(sums), 1e-9))[:, group]
        return ratio

    def rows(self, step: int) -> Array:
        """Return the features [pairs, features] known at `step`, at least WARM_UP."""
        scale = self.scale[step]
        window = self.demands[step - WARM_UP + 1 : step + 1] / scale
        count = window.shape[1]
        seconds = 2 * np.pi * (self._start_s + (step + 1) * self._step_s) / DAY_S
        before = step + 1 - self._day
        season = self.demands[before] / scale if before >= 0 else np.zeros(count)
        columns = [
            *window[::-1][:_LAGS],
            window[-6:].mean(axis=0),
            window.mean(axis=0),
            window[-6:].std(axis=0),
            window.max(axis=0),
            np.full(count, self._total[step, 0]),
            self._together[0][step],
            self._together[1][step],
            season,
            np.log(scale),
            np.full(count, np.sin(seconds)),
            np.full(count, np.cos(seconds)),
        ]
        rows: Array = np.minimum(np.stack(columns, axis=1), 1e6)
        return rows


class DemandModel:
    """Forecasts the next matrix."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster

    def predict(self, table: DemandTable, step: int) -> Array:
        """Return the demands [pairs] in kbps to expect in the step after `step`."""
        ratio = self._booster.predict(table.rows(step), num_threads=1)
        kbps: Array = np.maximum(0.0, np.asarray(ratio, dtype=np.float64) * table.scale[step])
        return kbps


def train_demands(
    table: DemandTable, until: int, rounds: int = 100, most: int = 40_000
) -> DemandModel:
    """Fit on the matrices before `until`; UserError where those are too few."""
    import lightgbm

    steps = np.arange(WARM_UP, until - 1)
    if len(steps) < WARM_UP:
        raise UserError("matrices", f"{until} to learn from", f"give at least {3 * WARM_UP}")
    pairs = table.demands.shape[1]
    stride = max(1, int(np.ceil(len(steps) * pairs / most)))
    steps = steps[::-stride][::-1]
    rows = np.concatenate([table.rows(int(step)) for step in steps])
    scale = table.scale[steps]
    label = np.minimum(table.demands[steps + 1] / scale, 20.0).ravel()
    data = lightgbm.Dataset(rows, label, weight=scale.ravel() / scale.mean())
    return DemandModel(lightgbm.train(_PARAMS, data, num_boost_round=rounds))
