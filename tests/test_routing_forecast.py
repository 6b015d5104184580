"""The forecast: reproducible, calibrated, better than the last value, refused when broken."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import UserError
from chain.records import Refusal
from routing.forecast.crossval import cross_validate, fold_split
from routing.forecast.evaluation import conformal_offset, pinball, score
from routing.forecast.features import FEATURES, WINDOW
from routing.forecast.live import Forecaster
from routing.forecast.model import dump_model, load_model
from routing.forecast.tables import build_table, cut_times, split
from routing.forecast.training import TrainOptions, apply_model, explain, train
from routing.replay import FluidLinks, World, replay_series
from routing.telemetry.history import History

OPTIONS = TrainOptions(horizons=(5, 20), rounds=25)


@cache
def series():
    return replay_series(seed=1, seconds=500)


@cache
def text():
    return dump_model(train(series(), "replay", OPTIONS))


def history_of(seconds):
    links, history = FluidLinks(World(1)), History(keep=WINDOW)
    for second in range(seconds):
        history.extend(links.step(second, {}))
    return history


def test_the_same_data_gives_the_same_model_bytes():
    assert dump_model(train(replay_series(1, 500), "replay", OPTIONS)) == text()


def test_a_model_file_says_what_it_was_trained_on():
    document = json.loads(text())
    assert document["features"] == list(FEATURES)
    assert document["data"]["samples"] == 48 * 500
    assert len(document["data"]["sha256"]) == 64
    assert set(document["metrics"]) == {"5", "20"}


def test_a_model_file_reads_back_to_the_same_bytes():
    assert dump_model(load_model(text())) == text()


@pytest.mark.parametrize("horizon", ["5", "20"])
def test_the_model_beats_persistence_and_ewma_on_what_came_later(horizon):
    metrics = load_model(text()).metrics[horizon]
    for baseline in ("persistence", "ewma"):
        assert metrics["model"]["wape"] < metrics[baseline]["wape"]
        assert metrics["model"]["pinball90"] < metrics[baseline]["pinball90"]
    assert metrics["seasonal"] is None


def test_live_forecasts_equal_the_tables_predictions_exactly():
    model = load_model(text())
    seconds = 200
    live = Forecaster(model).predict(history_of(seconds))
    table = build_table(series(), 5)
    now = table.select(table.time_ms == (seconds - 1) * 1_000)
    expected = {name: values.tolist() for name, values in apply_model(model, now).items()}
    assert len(live) == now.length == 48
    for row, index in enumerate(now.link):
        forecast = live[now.links[index]]
        assert forecast.load_p50_kbps[0] == expected["load_p50"][row]
        assert forecast.rate_p10_kbps[0] == expected["rate_p10"][row]
        assert forecast.load_p90_kbps[0] >= forecast.load_p50_kbps[0]
        assert forecast.horizons_ms == (5_000, 20_000)


def test_links_with_too_little_history_are_left_out():
    assert Forecaster(load_model(text())).predict(history_of(WINDOW - 1)) == {}


def test_a_model_that_says_nan_is_refused_as_a_whole():
    document = json.loads(text())
    document["offsets"]["load_p90@5"] = {"pooled": float("nan"), "own": []}
    broken = Forecaster(load_model(json.dumps(document)))
    answer = broken.predict(history_of(WINDOW))
    assert isinstance(answer, Refusal)
    assert answer.reason == "forecast-not-finite"


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(schema=99),
        lambda document: document.update(features=["other"]),
        lambda document: document.update(format="something"),
        lambda document: document.pop("boosters"),
        lambda document: document.update(offsets=[]),
    ],
)
def test_unknown_model_files_are_refused_with_a_remedy(change):
    document = json.loads(text())
    change(document)
    with pytest.raises(UserError, match=r"^model: .*; (train it again|write one)"):
        load_model(json.dumps(document))


@pytest.mark.parametrize("bad", ["", "[]", "null", "{}", '{"format":', "\x00"])
def test_texts_that_are_no_model_are_refused(bad):
    with pytest.raises(UserError, match="not a forecast model"):
        load_model(bad)


def test_a_booster_that_lightgbm_cannot_read_is_a_users_error():
    document = json.loads(text())
    document["boosters"]["load_p50@5"] = "tree"
    with pytest.raises(UserError, match="can't read a booster"):
        Forecaster(load_model(json.dumps(document)))


def test_explain_shares_add_up_and_the_newest_load_matters_most():
    shares = explain(load_model(text()))
    assert sum(share for _, share in shares) == pytest.approx(1.0)
    assert shares[0][0] in ("load_lag_0", "load_lag_1", "load_lag_2", "utilisation")


def test_data_too_short_to_test_on_is_refused():
    with pytest.raises(UserError, match="enough samples in a row"):
        train(replay_series(1, 40), "replay", OPTIONS)


def test_a_split_lets_nothing_of_the_test_into_training():
    cuts = cut_times(series(), 0.3, 0.1)
    parts = split(build_table(series(), 20), *cuts)
    span_ms = 20 * 1_000
    assert parts.fit.time_ms.max() + span_ms < parts.calibrate.time_ms.min()
    assert parts.calibrate.time_ms.max() + span_ms < parts.test.time_ms.min()
    assert 0.2 < parts.test.length / (parts.fit.length + parts.test.length) < 0.5


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.floats(0.05, 0.95),
)
def test_conformal_offset_covers_its_share_of_the_scores(scores, level):
    offset = conformal_offset(np.array(scores), level)
    covered = sum(one <= offset for one in scores)
    assert covered >= min(len(scores), level * (len(scores) + 1))


def test_scores_by_hand():
    truth, median = np.array([10.0, 20.0]), np.array([12.0, 16.0])
    result = score(truth, median, np.array([20.0, 10.0]))
    assert result.wape == pytest.approx(6 / 30)
    assert result.pinball90 == pytest.approx((0.1 * 10 + 0.9 * 10) / 30)
    assert result.coverage90 == 0.5
    assert pinball(truth, truth, 0.9) == 0.0


def test_cross_validation_never_trains_on_the_trace_that_it_tests():
    parts = fold_split(series(), fold=1, folds=4, horizon=5)
    links = {one.link for one in series()}
    tested = set(parts.test.links)
    assert tested
    assert tested.isdisjoint(parts.fit.links)
    assert tested | set(parts.fit.links) == links
    assert parts.test.link.min() >= len(parts.fit.links)


def test_cross_validation_scores_every_trace_once():
    scores = cross_validate(series()[:8], 5, 2, TrainOptions(rounds=5))
    rows = build_table(series()[:8], 5).length
    assert [scores[name].rows for name in ("model", "persistence", "ewma")] == [rows] * 3
