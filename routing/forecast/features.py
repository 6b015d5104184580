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
    packet_bytes                  bytes       mean size of the packets of the last 6 steps
    drops_6                       share       packets dropped at the queue, of those of 6 steps
    rate_of_nominal               share       rate / the rate that the link was set up for
    snr_db, snr_change            dB          signal over noise; now less its mean over 12
    neighbour_busy, neighbour_busy_mean_6  share  airtime that the busiest neighbour senses busy
    flows, flows_ratio            log2, ratio flows + 1; flows + 1 against its mean over 12
    job_s                         s           job bytes that wait for this link / rate
    ai_running, ai_waiting, ai_waiting_mean_6  1  AI requests at the far end
    probe_age, probe_steps        s, 1        since the round trip was last probed, if in the window
    gap_K, K = 0..3               steps       real time between the samples K + 1 and K steps ago
    span_12, span_35              steps       the same between now and 12, 35 samples ago
    hour_sin, hour_cos            -           time of day, UTC
    weekday                       day         0 = Monday, UTC

and the columns of features_season.py, for histories of days. A column that nothing was measured for
is constant, and a constant column is never split on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.forecast.season import DAY_MS, SEASON, season_columns
from routing.telemetry.second import FIELDS, numbers_of
from routing.types import Link, LinkSample

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

SCHEMA = 3
WINDOW = 36
MAX_GAP_STEPS = 5
LOAD_LAGS = 12
RATE_LAGS = 6
LOAD_WINDOWS = (6, 12, 36)
RATE_WINDOWS = (12, 36)
_EWMA_ALPHA = 0.3
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one link at an even step; `values` is float64 [len(FIELDS), n].

    `clock_ms` [n]: when the samples were really taken, where a step is a sample whatever its time.
    """

    link: Link
    step_ms: int
    start_ms: int
    values: Array
    clock_ms: Steps | None = None

    @property
    def length(self) -> int:
        """Number of steps."""
        return int(self.values.shape[1])

    def times_ms(self) -> Steps:
        """Return the start of each step, int64 [n]."""
        return self.start_ms + self.step_ms * np.arange(self.length, dtype=np.int64)

    def taken_ms(self) -> Steps:
        """Return when each sample was really taken, int64 [n]."""
        return self.times_ms() if self.clock_ms is None else self.clock_ms

    def part(self, first: int, last: int) -> Series:
        """Return steps first <= i < last."""
        start = self.start_ms + first * self.step_ms
        clock = None if self.clock_ms is None else self.clock_ms[first:last]
        return Series(self.link, self.step_ms, start, self.values[:, first:last], clock)

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
    steps: Steps


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
        table = np.array([numbers_of(buckets[bucket][0]) for bucket in run], dtype=np.float64)
        return Series(link, step_ms, run[0] * step_ms, table.T)
    values = np.empty((len(FIELDS), length))
    for step, bucket in enumerate(range(run[0], run[-1] + 1)):
        samples = buckets.get(bucket)
        if samples:
            columns = zip(*map(numbers_of, samples), strict=True)
            values[:, step] = [sum(column) / len(samples) for column in columns]
        else:
            values[:, step] = values[:, step - 1]
    return Series(link, step_ms, run[0] * step_ms, values)


def feature_names() -> tuple[str, ...]:
    """Return the names of the columns, in order."""
    load = [f"load_lag_{k}" for k in range(LOAD_LAGS)]
    load += [f"load_{kind}_{w}" for w in LOAD_WINDOWS for kind in ("mean", "max", "min", "std")]
    rate = [f"rate_lag_{k}" for k in range(RATE_LAGS)]
    rate += [f"rate_{kind}_{w}" for w in RATE_WINDOWS for kind in ("mean", "max", "min", "std")]
    rest = (
        "utilisation utilisation_12 busy busy_mean_6 busy_max_12 queue_ms queue_ms_6 loss "
        "loss_mean_12 rtt_ms rtt_ratio packet_bytes drops_6 rate_of_nominal snr_db snr_change "
        "neighbour_busy neighbour_busy_mean_6 flows flows_ratio job_s ai_running ai_waiting "
        "ai_waiting_mean_6 load_level rate_level hour_sin hour_cos weekday "
        "probe_age probe_steps gap_0 gap_1 gap_2 gap_3 span_12 span_35"
    )
    return (*load, *rate, *rest.split(), *SEASON)


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
    load, rate, busy, queue, loss, rtt = values[:6]
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


def _counter_columns(values: Array, step_ms: int) -> list[Array]:
    load, rate = values[:2]
    packets, drops, nominal, snr, neighbour, flows, jobs, running, waiting = values[6:]
    sent = _mean(packets, 6)
    bytes_per_step = step_ms / 8.0 * _mean(load, 6)
    return [
        np.where(sent > 0.0, bytes_per_step / np.maximum(sent, 1.0), 0.0),
        _mean(drops, 6) / np.maximum(sent, 1.0),
        np.where(_lag(nominal, 0) > 0.0, _lag(rate / np.maximum(nominal, 1.0), 0), 0.0),
        _lag(snr, 0) / 100.0,
        (_lag(snr, 0) - _mean(snr, 12)) / 100.0,
        _lag(neighbour, 0) / 1_000,
        _mean(neighbour, 6) / 1_000,
        np.log2(_lag(flows, 0) + 1.0),
        (_lag(flows, 0) + 1.0) / (_mean(flows, 12) + 1.0),
        _lag(8.0 * jobs / np.maximum(rate, 1.0) / 1_000, 0),
        _lag(running, 0),
        _lag(waiting, 0),
        _mean(waiting, 6),
    ]


def _calendar_columns(times_ms: Steps) -> list[Array]:
    angle = 2.0 * np.pi * (times_ms % DAY_MS) / DAY_MS
    weekday = (times_ms // DAY_MS + _EPOCH_WEEKDAY) % 7
    return [np.sin(angle), np.cos(angle), weekday.astype(np.float64)]


def _rhythm_columns(rtt: Array, taken_ms: Steps, step_ms: int) -> list[Array]:
    """How long ago the round trip was probed, which traffic may wait for, and samples' spacing.

    A probe shows as a round trip after a sample without one; where all have one, nothing is known.
    """
    taken = taken_ms.astype(np.float64)
    age = np.full(_lag(rtt, 0).shape, np.nan)
    steps = age.copy()
    now = _lag(taken, 0)
    for lag in range(WINDOW - 2, -1, -1):
        fresh = (_lag(rtt, lag) > 0.0) & (_lag(rtt, lag + 1) <= 0.0)
        age = np.where(fresh, (now - _lag(taken, lag)) / 1_000.0, age)
        steps = np.where(fresh, float(lag), steps)
    pairs = [(lag, lag + 1) for lag in range(4)] + [(0, 12), (0, WINDOW - 1)]
    spans = [(_lag(taken, a) - _lag(taken, b)) / step_ms for a, b in pairs]
    return [age, steps, *spans]


def _columns(
    values: Array, times_ms: Steps, taken_ms: Steps, step_ms: int
) -> tuple[list[Array], Array, Array]:
    """Return the columns of a window and both scales, [..., m], of values [fields, ..., n]."""
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
    columns += _counter_columns(values, step_ms)
    columns += [np.log2(load_scale), np.log2(rate_scale)]
    columns += _calendar_columns(times_ms[..., WINDOW - 1 :])
    columns += _rhythm_columns(values[5], taken_ms, step_ms)
    return columns, load_scale, rate_scale


def build_rows(series: Series, horizon: int = 1, span: int | None = None) -> Rows:
    """Build one row per step that has WINDOW steps up to and including itself; m may be 0.

    `horizon` and `span` say which mean of the days before is the counterpart of the forecast.
    Raises ValueError on values that aren't finite: they would be a bug of whoever made the series.
    """
    count = max(0, series.length - WINDOW + 1)
    steps = np.arange(WINDOW - 1, WINDOW - 1 + count, dtype=np.int64)
    if count == 0:
        empty = np.empty(0)
        return Rows(np.empty((0, len(FEATURES))), empty, empty, steps)
    times_ms, taken_ms = series.times_ms(), series.taken_ms()
    columns, load_scale, rate_scale = _columns(series.values, times_ms, taken_ms, series.step_ms)
    season = season_columns(
        series.load, series.step_ms, steps, load_scale, horizon, span or horizon
    )
    return Rows(np.column_stack([*columns, season]), load_scale, rate_scale, steps)


def build_tail_rows(tails: Sequence[Series]) -> Rows:
    """Build the newest row of each of several series of one step, all at once.

    Season columns are missing; `with_season` fills them in where a series reaches back a day.
    """
    windows = [tail.part(tail.length - WINDOW, tail.length) for tail in tails]
    values = np.stack([window.values for window in windows], axis=1)
    times_ms = np.stack([window.times_ms() for window in windows])
    taken_ms = np.stack([window.taken_ms() for window in windows])
    columns, load_scale, rate_scale = _columns(values, times_ms, taken_ms, tails[0].step_ms)
    season = np.full((len(tails), len(SEASON)), np.nan)
    matrix = np.concatenate([*columns, season], axis=1)
    steps = np.array([tail.length - 1 for tail in tails], dtype=np.int64)
    return Rows(matrix, load_scale.ravel(), rate_scale.ravel(), steps)


def with_season(rows: Rows, tails: Sequence[Series], horizon: int, span: int) -> Array:
    """Return the rows' matrix with the season columns of one horizon, where a history has them."""
    day = DAY_MS // tails[0].step_ms
    long = [row for row, tail in enumerate(tails) if tail.length > day]
    if not long:
        return rows.matrix
    matrix = rows.matrix.copy()
    for row in long:
        tail = tails[row]
        scale = np.maximum(ewma(tail.load), 1.0)
        matrix[row, -len(SEASON) :] = season_columns(
            tail.load, tail.step_ms, rows.steps[row : row + 1], scale, horizon, span
        )[0]
    return matrix


def future_mean(
    values: Array, steps: Steps, horizon: int, span: int | None = None
) -> Array:
    """Return the mean of the last `span` (all) of the `horizon` steps after each of `steps`.

    NaN where the data ends.
    """
    width = span or horizon
    total = np.concatenate(([0.0], np.cumsum(values)))
    last = np.minimum(steps + horizon, len(values) - 1)
    mean = (total[last + 1] - total[np.maximum(last + 1 - width, 0)]) / width
    return np.where(steps + horizon < len(values), mean, np.nan)
