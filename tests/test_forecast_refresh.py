"""Refreshing a model: never a loss on what is known, bounded in size, reproducible, and said so."""

from dataclasses import replace
from functools import cache

import pytest

from chain.errors import UserError
from routing.forecast.model import TARGETS, dump_model, load_booster, load_model
from routing.forecast.refresh import (
    KEPT,
    REFIT,
    TREES,
    RefreshOptions,
    loss_of,
    options_of,
    refresh,
)
from routing.forecast.tables import build_table, cut_times, split
from routing.forecast.training import TrainOptions, train
from routing.replay import replay_series

OPTIONS = TrainOptions(horizons=(5,), rounds=15)


@cache
def model():
    return train(replay_series(seed=1, seconds=300), "replay", OPTIONS)


@cache
def later():
    return replay_series(seed=2, seconds=400)


@cache
def refreshed():
    return refresh(model(), later(), "later")


def held_loss(one, target):
    held_ms, _ = cut_times(later(), 0.0, RefreshOptions().held_share)
    parts = split(build_table(later(), 5), held_ms, 2**62)
    return loss_of(one.boosters[target.name, 5], parts.calibrate, target)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_refresh_is_never_a_loss_on_the_newest_data(target):
    assert held_loss(refreshed()[0], target) <= held_loss(model(), target)


def test_a_refresh_adds_trees_where_the_world_changed():
    after, done = refreshed()
    assert done["load_p50@5"] == TREES
    before = load_booster(model().boosters["load_p50", 5]).num_trees()
    assert load_booster(after.boosters["load_p50", 5]).num_trees() == before + 20


def test_a_booster_at_its_size_keeps_its_trees_and_gets_new_leaves():
    after, done = refresh(model(), later(), "later", RefreshOptions(most_trees=15, decay=0.5))
    assert set(done.values()) <= {REFIT, KEPT}
    assert REFIT in done.values()
    for key, text in after.boosters.items():
        assert load_booster(text).num_trees() <= load_booster(model().boosters[key]).num_trees()


def test_what_learns_nothing_new_keeps_its_booster():
    options = RefreshOptions(most_trees=1, decay=1.0)  # a refit that keeps every leaf as it was
    after, done = refresh(model(), later(), "later", options)
    assert set(done.values()) == {KEPT}
    assert after.boosters == model().boosters
    assert after.offsets != model().offsets


def test_the_same_data_gives_the_same_bytes():
    assert dump_model(refresh(model(), later(), "later")[0]) == dump_model(refreshed()[0])


def test_a_refreshed_file_says_what_refreshed_it_and_reads_back():
    document = load_model(dump_model(refreshed()[0])).data
    assert document["sha256"] == model().data["sha256"]
    assert document["refreshed"]["count"] == 1
    assert document["refreshed"]["sha256"] != model().data["sha256"]
    again = refresh(refreshed()[0], later(), "later")[0]
    assert again.data["refreshed"]["count"] == 2
    assert options_of(again) == replace(OPTIONS)


def test_data_of_another_step_or_too_little_of_it_is_refused():
    slow = [replace(one, step_ms=5_000) for one in later()]
    with pytest.raises(UserError, match=r"--data: sampled every 5000 ms, the model every 1000 ms"):
        refresh(model(), slow, "slow")
    short = [one.part(0, 42) for one in later()[:8]]
    with pytest.raises(UserError, match=r"--data: too short to refresh with"):
        refresh(model(), short, "short")
