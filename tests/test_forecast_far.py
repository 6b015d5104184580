"""Four horizons: near ones as ever, far ones from minutes, and neither spoils the other."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from chain.errors import UserError
from chain.records import Refusal
from routing.forecast.far import FarForecaster
from routing.forecast.features import SEASON, Series, build_rows, build_tail_rows, with_season
from routing.forecast.io_datasets import horizons_for
from routing.forecast.live import Forecaster
from routing.forecast.model import Offsets
from routing.forecast.training import TrainOptions, train
from routing.replay import FluidLinks, World, replay_series
from routing.telemetry.history import History
from routing.telemetry.long_history import STEP_MS, LongHistory
from routing.telemetry.second import FIELDS

DAY = 1_440


def minutes(link, count, seed):
    """A link with a day's wave and noise, one value a minute."""
    draws = np.random.default_rng(seed).normal(size=count)
    values = np.zeros((len(FIELDS), count))
    values[0] = 5_000 + 3_000 * np.sin(2 * np.pi * np.arange(count) / DAY) + 300 * draws
    values[1] = 20_000
    return Series(link, STEP_MS, 0, values)


@cache
def models():
    near = train(replay_series(1, 300), "replay", TrainOptions(horizons=(10, 60), rounds=8))
    days = [minutes((n, n + 1), 2 * DAY, n) for n in range(3)]
    return near, train(days, "days", TrainOptions(horizons=(15, 60), rounds=8))


def run(forecaster, seconds):
    links, history = FluidLinks(World(1)), History(keep=64)
    answer = {}
    for second in range(0, seconds):
        history.extend(links.step(second, {}))
        if second % 60 == 59:
            answer = forecaster.predict(history)
    return answer


def test_ten_seconds_a_minute_a_quarter_and_an_hour():
    near, far = models()
    answer = run(FarForecaster(Forecaster(near), Forecaster(far), LongHistory()), 40 * 60)
    assert len(answer) == 48
    for forecast in answer.values():
        assert forecast.horizons_ms == (10_000, 60_000, 900_000, 3_600_000)
        assert len(forecast.load_p90_kbps) == len(forecast.rate_p10_kbps) == 4
        pairs = zip(forecast.load_p50_kbps, forecast.load_p90_kbps, strict=True)
        assert all(median <= high for median, high in pairs)


def test_before_minutes_enough_are_known_the_near_horizons_stand_alone():
    near, far = models()
    both = run(FarForecaster(Forecaster(near), Forecaster(far), LongHistory()), 120)
    assert both == run(Forecaster(near), 120)


def test_a_far_model_that_says_nan_costs_only_the_far_horizons():
    near, far = models()
    broken = replace(far, offsets={key: Offsets({}, float("nan")) for key in far.offsets})
    forecaster = FarForecaster(Forecaster(near), Forecaster(broken), LongHistory())
    answer = run(forecaster, 40 * 60)
    assert {forecast.horizons_ms for forecast in answer.values()} == {(10_000, 60_000)}
    assert isinstance(forecaster.far_refusal, Refusal)


def test_models_of_the_wrong_steps_are_refused():
    near, far = models()
    with pytest.raises(UserError, match="far model: steps of 1000 and 1000 ms"):
        FarForecaster(Forecaster(near), Forecaster(near), LongHistory())
    with pytest.raises(UserError, match="far model: steps of 60000"):
        FarForecaster(Forecaster(far), Forecaster(far), LongHistory())


def test_live_rows_know_yesterday_as_training_rows_do():
    series = minutes((1, 2), 2 * DAY + 50, 9)
    trained = build_rows(series, 15, 15)
    tails = [series, series.part(0, 100)]
    live = with_season(build_tail_rows(tails), tails, 15, 15)
    assert live[0] == pytest.approx(trained.matrix[-1], nan_ok=True)
    assert np.isnan(live[1, -len(SEASON):]).all()
    day_before = series.load[-DAY : -DAY + 15].mean() / trained.load_scale[-1]
    assert live[0, -len(SEASON)] == pytest.approx(day_before)


@pytest.mark.parametrize(
    ("step_ms", "expected"),
    [(1_000, (10, 60)), (10_000, (1, 6)), (60_000, (1, 15, 60)), (600_000, (1, 6)), (10**8, (1,))],
)
def test_default_horizons_are_those_that_a_step_can_serve(step_ms, expected):
    assert horizons_for("any.csv", step_ms) == expected
