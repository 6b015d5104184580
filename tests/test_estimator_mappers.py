from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimator_helpers import made_links

from coverage_map.estimator.field import Field, absorb, fit_field, predict_field
from coverage_map.estimator.kernels import Scales
from coverage_map.estimator.links import Links, blocks_of
from coverage_map.mappers import PLACES_MAX, plan_drive, posterior, removed_db2


@pytest.fixture(scope="module")
def west() -> tuple[Field, Links]:
    """A field that knows the west of a square, and places all over it."""
    links = made_links(160, masts=1)
    known = links.take(links.rx_m[:, 0] < 0.0)
    return fit_field(known, blocks_of(known, 150.0), Scales()), made_links(60, seed=1, masts=1)


def test_the_posterior_is_what_the_field_says_of_itself(west: tuple[Field, Links]) -> None:
    field, places = west
    _, sd = predict_field(field, places)
    own = np.diag(posterior(field, places))
    assert np.allclose(own + field.scales.noise**2, sd**2)


def test_uncertainty_removed_is_what_learning_the_drive_removes(west: tuple[Field, Links]) -> None:
    field, places = west
    driven = places.take(np.arange(0, 60, 4))
    before = np.diag(posterior(field, places)).sum()
    after = np.diag(posterior(absorb(field, driven, np.arange(15)), places)).sum()
    assert removed_db2(field, places, driven) == pytest.approx(before - after)


def test_what_was_read_does_not_change_what_it_was_worth(west: tuple[Field, Links]) -> None:
    field, places = west
    driven = places.take(np.arange(5))
    louder = replace(driven, rssi_dbm=driven.rssi_dbm + 30.0)
    assert removed_db2(field, places, driven) == removed_db2(field, places, louder)


def test_the_plan_goes_where_nobody_measured(west: tuple[Field, Links]) -> None:
    field, places = west
    plan = plan_drive(field, places, places, 8)
    assert (places.rx_m[plan.chosen][:, 0] > 0.0).mean() >= 0.75
    assert np.all(np.diff(plan.removed_db2) <= 1e-9)
    worth = removed_db2(field, places, places.take(plan.chosen))
    assert plan.removed_db2.sum() == pytest.approx(worth)
    assert plan.left_db2 == pytest.approx(np.trace(posterior(field, places)) - worth)


def test_a_planned_drive_beats_every_drawn_one(west: tuple[Field, Links]) -> None:
    field, places = west
    planned = plan_drive(field, places, places, 6).removed_db2.sum()
    draws = np.random.default_rng(1)
    drawn = [removed_db2(field, places, places.take(draws.permutation(60)[:6])) for _ in range(20)]
    assert planned > max(drawn)


def test_impossible_plans_are_refused(west: tuple[Field, Links]) -> None:
    field, places = west
    with pytest.raises(ValueError, match=r"^count: .*; "):
        plan_drive(field, places, places, 61)
    many = places.take(np.zeros(PLACES_MAX, np.int64))
    with pytest.raises(ValueError, match=r"^places: .*; "):
        plan_drive(field, places, many, 1)
