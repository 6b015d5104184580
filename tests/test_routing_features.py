"""Features: the same numbers in training and in live use, and the right ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.forecast.features import (
    FEATURES,
    WINDOW,
    build_rows,
    build_tail_rows,
    future_mean,
    series_of,
)
from routing.telemetry.history import History
from routing.types import LinkSample


def samples_of(loads, step_ms=1_000, start_ms=1_700_000_000_000):
    return [
        LinkSample(
            3, 4, start_ms + i * step_ms, 20_000 + load % 977, load, load % 1_001, load * 3,
            load % 100, 500 + load % 313,
        )
        for i, load in enumerate(loads)
    ]


def column(rows, name):
    return rows.matrix[:, FEATURES.index(name)]


LOADS = st.lists(st.integers(0, 10**6), min_size=WINDOW, max_size=WINDOW + 30)


@settings(max_examples=60, deadline=None)
@given(LOADS)
def test_live_rows_equal_training_rows_to_the_last_bit(loads):
    samples = samples_of(loads)
    (whole,) = series_of(samples, 1_000)
    trained = build_rows(whole)
    history = History(keep=WINDOW)
    seen = 0
    for count, sample in enumerate(samples, start=1):
        history.add(sample)
        if count < WINDOW:
            continue
        (tail,) = series_of(history.of((3, 4)), 1_000)
        live = build_tail_rows([tail, tail])
        assert live.matrix[0].tobytes() == live.matrix[1].tobytes()
        assert live.matrix[-1].tobytes() == trained.matrix[seen].tobytes()
        assert live.load_scale[-1] == trained.load_scale[seen]
        seen += 1
    assert seen == len(trained.matrix)


@settings(max_examples=40, deadline=None)
@given(LOADS)
def test_statistics_equal_numpys_on_plain_windows(loads):
    (series,) = series_of(samples_of(loads), 1_000)
    rows = build_rows(series)
    for row, step in enumerate(rows.steps):
        last = series.load[step - 11 : step + 1]
        scale = rows.load_scale[row]
        assert column(rows, "load_lag_3")[row] == series.load[step - 3] / scale
        assert column(rows, "load_mean_12")[row] == pytest.approx(last.mean() / scale)
        assert column(rows, "load_max_12")[row] == last.max() / scale
        assert column(rows, "load_min_12")[row] == last.min() / scale
        assert column(rows, "load_std_12")[row] * scale == pytest.approx(last.std(), abs=2.0)


def test_a_steady_link_has_ratio_one_and_its_scale_is_its_load():
    (series,) = series_of(samples_of([5_000] * WINDOW), 1_000)
    rows = build_rows(series)
    assert rows.load_scale[0] == pytest.approx(5_000)
    assert column(rows, "load_lag_0")[0] == pytest.approx(1.0)
    assert column(rows, "load_std_36")[0] == pytest.approx(0.0, abs=1e-6)


def test_calendar_says_noon_on_a_thursday():
    noon_ms = 12 * 3_600_000
    samples = samples_of([1] * WINDOW, start_ms=noon_ms - (WINDOW - 1) * 1_000)
    (series,) = series_of(samples, 1_000)
    rows = build_rows(series)
    assert column(rows, "hour_sin")[0] == pytest.approx(0.0, abs=1e-9)
    assert column(rows, "hour_cos")[0] == pytest.approx(-1.0)
    assert column(rows, "weekday")[0] == 3.0


def test_short_gaps_are_held_and_long_ones_start_anew():
    samples = samples_of(range(1, 21))
    (held,) = series_of(samples[:8] + samples[11:], 1_000)
    assert held.length == 20
    assert list(held.load[7:12]) == [8, 8, 8, 8, 12]
    apart = series_of(samples[:5] + samples[15:], 1_000)
    assert [one.length for one in apart] == [5, 5]
    assert apart[1].start_ms - apart[0].start_ms == 15_000


def test_several_samples_in_a_step_are_averaged():
    (series,) = series_of(samples_of([10, 20, 40, 80], step_ms=500, start_ms=0), 1_000)
    assert list(series.load) == [15, 60]


def test_too_short_a_series_gives_no_rows():
    (series,) = series_of(samples_of([1] * (WINDOW - 1)), 1_000)
    assert build_rows(series).matrix.shape == (0, len(FEATURES))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    (series,) = series_of(samples_of([1] * WINDOW), 1_000)
    series.values[0, 5] = bad
    with pytest.raises(ValueError, match="not a finite number"):
        build_rows(series)


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=20), st.integers(1, 5))
def test_future_mean_looks_strictly_ahead(values, horizon):
    array = np.array(values, dtype=np.float64)
    steps = np.arange(len(values))
    result = future_mean(array, steps, horizon)
    for step in steps:
        ahead = array[step + 1 : step + 1 + horizon]
        if len(ahead) < horizon:
            assert np.isnan(result[step])
        else:
            assert result[step] == pytest.approx(ahead.mean())


def test_history_drops_what_is_not_newer_and_stays_bounded():
    history = History(keep=3, max_links=1)
    samples = samples_of([1, 2, 3, 4, 5])
    history.extend(samples)
    assert history.of((3, 4)) == samples[2:]
    assert not history.add(samples[4])
    assert not history.add(LinkSample(9, 9, 0, 1, 1, 1, 1, 1, 1))
    history.forget_before(samples[4].time_ms + 1)
    assert history.links() == []
