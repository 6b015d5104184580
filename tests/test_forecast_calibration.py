"""Calibration in service: coverage comes back after a shift, on settled outcomes only."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.forecast.calibration import GAIN, REACH, OnlineOffsets
from routing.forecast.live import Forecaster
from routing.forecast.model import TARGETS, Offsets
from routing.forecast.online import apply_online
from routing.forecast.tables import build_table
from routing.forecast.training import TrainOptions, apply_model, train
from routing.replay import FluidLinks, World, replay_series
from routing.telemetry.history import History

LINK = (1, 2)


@cache
def model():
    return train(replay_series(1, 400), "replay", TrainOptions(horizons=(5,), rounds=15))


def test_live_offsets_move_with_outcomes_and_leave_broken_margins_behind():
    """A model whose p90 was put far too low covers again after some minutes of service."""
    low = Offsets({}, -0.5)
    spoilt = replace(model(), offsets={**model().offsets, ("load_p90", 5): low})
    forecaster, history = Forecaster(spoilt), History(keep=64)
    links = FluidLinks(World(1))
    for second in range(300):
        history.extend(links.step(second, {}))
        forecasts = forecaster.predict(history)
    frozen = Forecaster(spoilt).predict(history)
    ratios = [
        forecasts[link].load_p90_kbps[0] / frozen[link].load_p90_kbps[0] for link in sorted(frozen)
    ]
    assert sum(ratio > 1.0 for ratio in ratios) > len(ratios) / 2
    assert max(ratios) > 1.05


def test_replayed_online_offsets_keep_coverage_where_frozen_ones_lose_it():
    low = Offsets({}, -2.0)
    spoilt = replace(model(), offsets={**model().offsets, ("load_p90", 5): low})
    table = build_table(replay_series(2, 500), 5)
    late = table.time_ms > 350_000
    frozen = (table.load <= apply_model(spoilt, table)["load_p90"])[late]
    online = (table.load <= apply_online(spoilt, TARGETS[1], table))[late]
    assert float(np.mean(frozen)) < 0.6
    assert float(np.mean(online)) > 0.8


def coverage(level, scale, shift, rows=4_000, lag=6):
    """Share of outcomes at or below a quantile that is right for the unit normal, then shifted."""
    draws = np.random.default_rng(7).normal(size=rows) * scale + shift
    offsets = OnlineOffsets(level, {}, 0.0)
    base = {0.9: 1.2816, 0.1: -1.2816}[level]
    hits = []
    for step, truth in enumerate(draws.tolist()):
        for pending in offsets.due(step):
            offsets.settle(pending.link, pending.quantile, draws[pending.due_ms - lag])
        quantile = base + offsets.offset(LINK)
        offsets.expect(step + lag, LINK, quantile)
        hits.append(truth <= quantile)
    return float(np.mean(hits[rows // 4 :]))


@pytest.mark.parametrize("level", [0.9, 0.1])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (0.4, 0.0), (1.0, 1.5)])
def test_coverage_comes_back_after_the_world_changed(level, scale, shift):
    assert coverage(level, scale, shift) == pytest.approx(level, abs=0.015)


def test_without_it_the_same_shift_ruins_coverage():
    draws = np.random.default_rng(7).normal(size=4_000) + 1.5
    assert float(np.mean(draws <= 1.2816)) < 0.5


@given(st.lists(st.booleans(), max_size=600), st.sampled_from([0.1, 0.9]))
def test_no_outcomes_carry_an_offset_beyond_its_reach(outcomes, level):
    offsets = OnlineOffsets(level, {LINK: 0.5}, 0.0)
    for below in outcomes:
        offsets.settle(LINK, 1.0, 0.0 if below else 2.0)
    assert abs(offsets.offset(LINK) - 0.5) <= REACH


def test_a_miss_moves_a_p90_nine_times_as_far_as_a_hit():
    offsets = OnlineOffsets(0.9, {}, 0.25)
    offsets.settle(LINK, 1.0, 2.0)
    assert offsets.offset(LINK) == pytest.approx(0.25 + 0.9 * GAIN)
    offsets.settle(LINK, 1.0, 0.5)
    assert offsets.offset(LINK) == pytest.approx(0.25 + 0.8 * GAIN)
    assert offsets.offset((9, 9)) == 0.25


def test_a_forecast_waits_for_its_outcome():
    offsets = OnlineOffsets(0.9, {}, 0.0)
    offsets.expect(60, LINK, 1.0)
    offsets.expect(70, LINK, 2.0)
    assert offsets.due(59) == []
    assert [one.quantile for one in offsets.due(60)] == [1.0]
    assert [one.quantile for one in offsets.due(999)] == [2.0]
    assert offsets.due(999) == []
