"""What this link did at this time on other days: features of a history that reaches back so far.

Yesterday's counterpart of a forecast is the same mean, a day earlier: the label of the row d days
ago. Where the history ends before that, the value is missing (NaN), and trees are trained with such
rows too, so a young link is forecast from its last minutes alone.

    name                            unit    definition (d days ago, at the same time of day)
    day_1, day_2, day_7             ratio   the coming mean of d days ago / load scale now
    day_change_1, day_change_7      ratio   the coming mean of d days ago / load scale then
    day_wide_1, day_wide_2          ratio   the same mean, six steps wider on both sides / scale now
    profile, profile_max            ratio   mean, largest of the coming means of days 1..7 / scale
    profile_change                  ratio   profile / the same for the load at this time of day
    fast, slow, slower              ratio   means of the last 6 h, day and 3 days / load scale now
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

DAY_MS = 86_400_000
SEASON = (
    "day_1", "day_2", "day_7", "day_change_1", "day_change_7", "day_wide_1", "day_wide_2",
    "profile", "profile_max", "profile_change", "fast", "slow", "slower",
)  # fmt: skip
_WIDER = 6
_DAYS = range(1, 8)


def mean_between(total: Array, first: Steps, last: Steps) -> Array:
    """Return means over steps first < i <= last of running sums `total` [n + 1]; NaN outside."""
    top = len(total) - 1
    inside = (first >= -1) & (last < top) & (last > first)
    low, high = np.clip(first + 1, 0, top), np.clip(last + 1, 0, top)
    return np.where(inside, (total[high] - total[low]) / np.maximum(last - first, 1), np.nan)


def season_columns(
    load: Array, step_ms: int, steps: Steps, scale: Array, horizon: int, span: int
) -> Array:
    """Return the columns of SEASON for rows that end with `steps`: [len(steps), len(SEASON)].

    `scale` is the load scale of every step from steps[0] - len(scale) + len(steps) on, that is, of
    the rows and as many steps before them as are known, in kbps.
    """
    day = DAY_MS // step_ms
    if len(steps) == 0 or steps[-1] < day or day < 2 * (horizon + _WIDER):
        return np.full((len(steps), len(SEASON)), np.nan)
    total = np.concatenate(([0.0], np.cumsum(load)))
    now = scale[len(scale) - len(steps) :]
    coming = [_coming(total, steps - d * day, horizon, span) for d in _DAYS]
    here = [mean_between(total, steps - d * day - 1, steps - d * day) for d in _DAYS]
    wide = [
        mean_between(total, at + horizon - span - _WIDER, at + horizon + _WIDER)
        for at in (steps - day, steps - 2 * day)
    ]
    profile = _over_days(np.nanmean, coming)
    level = np.maximum(_over_days(np.nanmean, here), 1.0)
    means = [mean_between(total, steps - w, steps) for w in (day // 4, day, 3 * day)]
    columns = [
        *(coming[d - 1] / now for d in (1, 2, 7)),
        *(coming[d - 1] / _scale_before(scale, steps, d * day) for d in (1, 7)),
        *(values / now for values in wide),
        profile / now,
        _over_days(np.nanmax, coming) / now,
        profile / level,
        *(values / now for values in means),
    ]
    return np.column_stack(columns)


def _coming(total: Array, at: Steps, horizon: int, span: int) -> Array:
    return mean_between(total, at + horizon - span, at + horizon)


def _scale_before(scale: Array, steps: Steps, back: int) -> Array:
    at = np.arange(len(scale) - len(steps), len(scale)) - back
    return np.where(at >= 0, scale[np.maximum(at, 0)], np.nan)


def _over_days(reduce: object, values: list[Array]) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without any such day is missing
        return np.asarray(reduce(np.stack(values), axis=0))  # type: ignore[operator]
