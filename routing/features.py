"""Features of a link's load and rate: one table, one function, for training and for live use.

Everything depends on the last WINDOW steps only, so a daemon with a short memory computes the very
numbers that training saw; sums run lag by lag in a fixed order, so they agree to the last bit
whatever the shape of the arrays. Loads are divided by the link's EWMA load and rates by its EWMA
rate (the "scale"), so that one model serves links of every size; the label is the coming mean
divided by the same scale.

    name                          unit        definition (step 0 is now, k is k steps ago)
    load_lag_K, K = 0..11         ratio       load at K / load scale
    load_{mean,max,min,std}_W     ratio       over the last W = 6, 12, 36 steps / load scale
    rate_lag_K, K = 0..5          ratio       rate at K / rate scale
    rate_{mean,max,min,std}_W     ratio       over W = 12, 36 / rate scale
    utilisation, utilisation_12   share       load / rate, now and mean load / mean rate over 12
    busy, busy_mean_6, busy_max_12  share     airtime sensed busy
    queue_ms, queue_ms_6          ms          backlog / rate now; mean backlog / mean rate over 6
    loss, loss_mean_12            share       frames lost after retries
    rtt_ms, rtt_ratio             ms, ratio   probe round trip; against its mean over 12
    load_level, rate_level        log2 kbps   the two scales themselves
    hour_sin, hour_cos            -           time of day, UTC
    weekday                       day         0 = Monday, UTC
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from routing.types import Link, LinkSample

Array = npt.NDArray[np.float64]

SCHEMA = 1
WINDOW = 36
MAX_GAP_STEPS = 5
LOAD_LAGS = 12
RATE_LAGS = 6
LOAD_WINDOWS = (6, 12, 36)
RATE_WINDOWS = (12, 36)
_EWMA_ALPHA = 0.3
_FIELDS = ("load_kbps", "rate_kbps", "busy_permille", "queue_bytes", "loss_permille", "rtt_us")
_FIELDS_OF = attrgetter(*_FIELDS)
_DAY_MS = 86_400_000
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one link at an even step; `values` is float64 [6, n] in the order of _FIELDS."""

    link: Link
    step_ms: int
    start_ms: int
    values: Array

    @property
    def length(self) -> int:
        """Number of steps."""
        return int(self.values.shape[1])

    def times_ms(self) -> npt.NDArray[np.int64]:
        """Return the start of each step, int64 [n]."""
        return self.start_ms + self.step_ms * np.arange(self.length, dtype=np.int64)

    def part(self, first: int, last: int) -> Series:
        """Return steps first <= i < last."""
        start = self.start_ms + first * self.step_ms
        return Series(self.link, self.step_ms, start, self.values[:, first:last])

    @property
    def load(self) -> Array:
        """Load, kbps [n]."""
        return np.asarray(self.values[0])

    @property
    def rate(self) -> Array:
        """Rate, kbps [n]."""
        return np.asarray(self.values[1])


@dataclass(frozen=True, slots=True)
class Rows:
    """Feature rows [m, len(FEATURES)], scales in kbps [m], the step that each ends with [m]."""

    matrix: Array
    load_scale: Array
    rate_scale: Array
    steps: npt.NDArray[np.int64]


def series_of(samples: Sequence[LinkSample], step_ms: int) -> list[Series]:
    """Bring one link's samples, oldest first, to an even step: mean per step, short gaps held.

    A gap above MAX_GAP_STEPS starts a new series: statistics across a silence would be invented.
    """
    buckets: dict[int, list[LinkSample]] = {}
    for sample in samples:
        buckets.setdefault(sample.time_ms // step_ms, []).append(sample)
    runs: list[list[int]] = []
    for bucket in sorted(buckets):
        if not runs or bucket - runs[-1][-1] > MAX_GAP_STEPS + 1:
            runs.append([])
        runs[-1].append(bucket)
    return [_filled(run, buckets, step_ms) for run in runs]


def _filled(run: list[int], buckets: dict[int, list[LinkSample]], step_ms: int) -> Series:
    first = buckets[run[0]][0]
    link = (first.source, first.target)
    length = run[-1] - run[0] + 1
    if length == len(run) == sum(len(buckets[bucket]) for bucket in run):
        table = np.array([_FIELDS_OF(buckets[bucket][0]) for bucket in run], dtype=np.float64)
        return Series(link, step_ms, run[0] * step_ms, table.T)
    values = np.empty((len(_FIELDS), length))
    for step, bucket in enumerate(range(run[0], run[-1] + 1)):
        samples = buckets.get(bucket)
        for row, field in enumerate(_FIELDS):
            values[row, step] = (
                sum(getattr(sample, field) for sample in samples) / len(samples)
                if samples
                else values[row, step - 1]
            )
    return Series(link, step_ms, run[0] * step_ms, values)


def feature_names() -> tuple[str, ...]:
    """Return the names of the columns, in order."""
    load = [f"load_lag_{k}" for k in range(LOAD_LAGS)]
    load += [f"load_{kind}_{w}" for w in LOAD_WINDOWS for kind in ("mean", "max", "min", "std")]
    rate = [f"rate_lag_{k}" for k in range(RATE_LAGS)]
    rate += [f"rate_{kind}_{w}" for w in RATE_WINDOWS for kind in ("mean", "max", "min", "std")]
    rest = (
        "utilisation utilisation_12 busy busy_mean_6 busy_max_12 queue_ms queue_ms_6 loss "
        "loss_mean_12 rtt_ms rtt_ratio load_level rate_level hour_sin hour_cos weekday"
    )
    return (*load, *rate, *rest.split())


FEATURES = feature_names()


def _lag(values: Array, lag: int) -> Array:
    """Return values `lag` steps before each row's step: [..., n] to [..., m]."""
    return values[..., WINDOW - 1 - lag : values.shape[-1] - lag]


def _mean(values: Array, window: int) -> Array:
    total = _lag(values, 0).copy()
    for lag in range(1, window):
        total += _lag(values, lag)
    return total / window


def _extreme(values: Array, window: int, pick: np.ufunc) -> Array:
    result = _lag(values, 0).copy()
    for lag in range(1, window):
        pick(result, _lag(values, lag), out=result)
    return result


def ewma(values: Array) -> Array:
    """Return the exponentially weighted mean over the last WINDOW steps: [..., n] to [..., m]."""
    weight, total = 1.0, 1.0
    result = _lag(values, 0).copy()
    for lag in range(1, WINDOW):
        weight *= 1.0 - _EWMA_ALPHA
        total += weight
        result += weight * _lag(values, lag)
    return result / total


def _statistics(values: Array, scale: Array, windows: tuple[int, ...]) -> list[Array]:
    columns: list[Array] = []
    for window in windows:
        mean = _mean(values, window)
        square = _mean(values * values, window)
        spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
        high = _extreme(values, window, np.maximum)
        low = _extreme(values, window, np.minimum)
        columns += [mean / scale, high / scale, low / scale, spread / scale]
    return columns


def _condition_columns(values: Array) -> list[Array]:
    load, rate, busy, queue, loss, rtt = values
    capacity = np.maximum(rate, 1.0)
    mean_capacity = np.maximum(_mean(rate, 12), 1.0)
    mean_rtt = np.maximum(_mean(rtt, 12), 1.0)
    return [
        _lag(load / capacity, 0),
        _mean(load, 12) / mean_capacity,
        _lag(busy, 0) / 1_000,
        _mean(busy, 6) / 1_000,
        _extreme(busy, 12, np.maximum) / 1_000,
        _lag(8.0 * queue / capacity, 0),
        8.0 * _mean(queue, 6) / np.maximum(_mean(rate, 6), 1.0),
        _lag(loss, 0) / 1_000,
        _mean(loss, 12) / 1_000,
        _lag(rtt, 0) / 1_000,
        _lag(rtt, 0) / mean_rtt,
    ]


def _calendar_columns(times_ms: npt.NDArray[np.int64]) -> list[Array]:
    angle = 2.0 * np.pi * (times_ms % _DAY_MS) / _DAY_MS
    weekday = (times_ms // _DAY_MS + _EPOCH_WEEKDAY) % 7
    return [np.sin(angle), np.cos(angle), weekday.astype(np.float64)]


def _columns(values: Array, times_ms: npt.NDArray[np.int64]) -> tuple[list[Array], Array, Array]:
    """Return all columns and both scales, [..., m], of values [6, ..., n] at times [..., n]."""
    if not bool(np.isfinite(values).all()):
        raise ValueError("a sample is not a finite number")
    load, rate = values[0], values[1]
    load_scale = np.maximum(ewma(load), 1.0)
    rate_scale = np.maximum(ewma(rate), 1.0)
    columns = [_lag(load, k) / load_scale for k in range(LOAD_LAGS)]
    columns += _statistics(load, load_scale, LOAD_WINDOWS)
    columns += [_lag(rate, k) / rate_scale for k in range(RATE_LAGS)]
    columns += _statistics(rate, rate_scale, RATE_WINDOWS)
    columns += _condition_columns(values)
    columns += [np.log2(load_scale), np.log2(rate_scale)]
    columns += _calendar_columns(times_ms[..., WINDOW - 1 :])
    return columns, load_scale, rate_scale


def build_rows(series: Series) -> Rows:
    """Build one row per step that has WINDOW steps up to and including itself; m may be 0.

    Raises ValueError on values that aren't finite: they would be a bug of whoever made the series.
    """
    count = max(0, series.length - WINDOW + 1)
    steps = np.arange(WINDOW - 1, WINDOW - 1 + count, dtype=np.int64)
    if count == 0:
        empty = np.empty(0)
        return Rows(np.empty((0, len(FEATURES))), empty, empty, steps)
    columns, load_scale, rate_scale = _columns(series.values, series.times_ms())
    return Rows(np.column_stack(columns), load_scale, rate_scale, steps)


def build_tail_rows(tails: Sequence[Series]) -> Rows:
    """Build the one row of each of several series of just WINDOW steps, all at once."""
    values = np.stack([tail.values for tail in tails], axis=1)
    times_ms = np.stack([tail.times_ms() for tail in tails])
    columns, load_scale, rate_scale = _columns(values, times_ms)
    matrix = np.concatenate(columns, axis=1)
    steps = np.full(len(tails), WINDOW - 1, dtype=np.int64)
    return Rows(matrix, load_scale.ravel(), rate_scale.ravel(), steps)


def future_mean(values: Array, steps: npt.NDArray[np.int64], horizon: int) -> Array:
    """Return the mean of the `horizon` steps after each of `steps`; NaN where the data ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    last = np.minimum(steps + horizon, len(values) - 1)
    mean = (total[last + 1] - total[steps + 1]) / horizon
    return np.where(steps + horizon < len(values), mean, np.nan)
