"""Rows, labels and baselines of many links in one table, split by time and never at random.

Rows whose label reaches across a cut are dropped, so nothing that is tested was seen in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from chain.errors import UserError
from routing.forecast.features import Array, Series, build_rows, future_mean
from routing.types import Link

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of all links for one horizon; arrays are [m], `matrix` [m, features], values in kbps.

    `load` and `rate` are the labels: means over the `horizon` steps after the row's time, or over
    their last `span`. The
    baselines forecast the same mean: `last` repeats the newest load, `load_scale` is its EWMA,
    `season` is the mean of the same steps a day before (NaN in the first day).
    """

    links: tuple[Link, ...]
    step_ms: int
    horizon: int
    link: Ints
    time_ms: Ints
    matrix: Array
    load_scale: Array
    rate_scale: Array
    load: Array
    rate: Array
    last: Array
    season: Array

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(self.time_ms)

    def select(self, keep: Flags) -> Table:
        """Return the rows where `keep` is true."""
        return replace(
            self,
            link=self.link[keep],
            time_ms=self.time_ms[keep],
            matrix=self.matrix[keep],
            load_scale=self.load_scale[keep],
            rate_scale=self.rate_scale[keep],
            load=self.load[keep],
            rate=self.rate[keep],
            last=self.last[keep],
            season=self.season[keep],
        )


def joined(one: Table, other: Table) -> Table:
    """Return the rows of two tables of the same links, one after the other."""
    both: dict[str, Any] = {
        field: np.concatenate([getattr(one, field), getattr(other, field)])
        for field in Table.__dataclass_fields__
        if isinstance(getattr(one, field), np.ndarray)
    }
    return replace(one, **both)


@dataclass(frozen=True, slots=True)
class Split:
    """Past, near past and future of one table: to fit on, to calibrate on, to test on."""

    fit: Table
    calibrate: Table
    test: Table


def common_step_ms(series: Sequence[Series]) -> int:
    """Return the step that all series share; UserError if there is none."""
    steps = {one.step_ms for one in series}
    if len(steps) != 1:
        raise UserError("data", f"{len(steps)} different steps", "give one trace at one step")
    return steps.pop()


def build_table(series: Sequence[Series], horizon: int, span: int = 0) -> Table:
    """Make the table of every row that has a whole window behind it and a whole horizon ahead.

    Labels are means over the last `span` steps of the horizon; 0 means over all of it.
    """
    step_ms = common_step_ms(series)
    links = tuple(sorted({one.link for one in series}))
    parts = [_part(one, horizon, span or horizon, links.index(one.link)) for one in series]
    stacked = [np.concatenate(column) for column in zip(*parts, strict=True)]
    table = Table(links, step_ms, horizon, *stacked)
    known = table.select(np.isfinite(table.load))
    if known.length == 0:
        raise UserError("data", "no link has enough samples in a row", "give a longer trace")
    return known


def _part(
    one: Series, horizon: int, span: int, index: int
) -> tuple[npt.NDArray[np.generic], ...]:
    rows = build_rows(one, horizon, span)
    steps = rows.steps
    day = 86_400_000 // one.step_ms
    before = steps - day
    season = future_mean(one.load, np.maximum(before, 0), horizon, span)
    return (
        np.full(len(steps), index, dtype=np.int64),
        one.times_ms()[steps],
        rows.matrix,
        rows.load_scale,
        rows.rate_scale,
        future_mean(one.load, steps, horizon, span),
        future_mean(one.rate, steps, horizon, span),
        one.load[steps],
        np.where(before >= 0, season, np.nan),
    )


def cut_times(
    series: Sequence[Series], test_share: float, calibration_share: float
) -> tuple[int, int]:
    """Return the times (ms) where calibration and test begin, by share of all samples."""
    times = np.sort(np.concatenate([one.times_ms() for one in series]))
    test = times[min(len(times) - 1, int(len(times) * (1.0 - test_share)))]
    calibrate = times[int(len(times) * (1.0 - test_share - calibration_share))]
    return int(calibrate), int(test)


def split(table: Table, calibrate_ms: int, test_ms: int) -> Split:
    """Cut a table at two times."""
    end_ms = table.time_ms + table.horizon * table.step_ms
    return Split(
        table.select(end_ms < calibrate_ms),
        table.select((table.time_ms >= calibrate_ms) & (end_ms < test_ms)),
        table.select(table.time_ms >= test_ms),
    )


def data_hash(series: Sequence[Series]) -> str:
    """Return the SHA-256 of the data, so that a model file says what it was trained on."""
    digest = sha256()
    for one in sorted(series, key=lambda s: (s.link, s.start_ms)):
        digest.update(repr((one.link, one.step_ms, one.start_ms, one.length)).encode())
        digest.update(np.ascontiguousarray(one.values, dtype="<f8").tobytes())
        if one.clock_ms is not None:
            digest.update(np.ascontiguousarray(one.clock_ms, dtype="<i8").tobytes())
    return digest.hexdigest()
