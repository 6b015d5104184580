from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coverage_map.estimator.core import Estimator, Lesson
from coverage_map.io_learning import Learning
from coverage_map.links import LinkTable
from coverage_map.observations import Observation, Site, Standing
from coverage_map.predict import Footprint

from .test_estimator_cells import heard, town


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning without the fit: every hotspot gets one cell."""

    def make(lesson: Lesson) -> dict[int, Footprint]:
        return {
            k: Footprint(k, np.array([s.cell], np.uint64), np.array([-50.0]), np.array([1.0]))
            for k, s in lesson.sites.items()
        }

    monkeypatch.setattr(Lesson, "make", make)


def learned(learning: Learning, sites: dict[int, Site], table: LinkTable) -> bool:
    """Step until a fit is taken over."""
    for _ in range(200_000):
        if learning.step(sites, table):
            return True
        if learning._under_way is not None:
            learning._under_way.join()
    return False


def test_the_map_is_built_while_learning_and_redrawn_after_it(quick: None) -> None:
    sites = town()
    table = heard(sites)
    estimator = Estimator()
    before = estimator.build(sites, table, 0, 0)
    learning = Learning(estimator, every_s=0.0)
    assert not learning.step(sites, table)
    during = estimator.build(sites, table, 0, 0)
    assert during.identity == before.identity
    assert learned(learning, sites, table)
    after = estimator.build(sites, table, 0, 0)
    assert after.identity != before.identity
    assert learning.fits == 1


def test_a_hotspot_that_changed_meanwhile_keeps_its_own_process(quick: None) -> None:
    sites = town()
    table = heard(sites)
    estimator = Estimator()
    lesson = estimator.plan_learning(sites, table)
    moved = {**sites, 3: replace(sites[3], height_m=30)}
    estimator.build(moved, table, 0, 0)
    assert estimator.adopt(lesson, lesson.make()) == len(sites) - 1


def test_it_learns_again_only_when_links_have_grown(quick: None) -> None:
    sites = town()
    table = heard(sites)
    learning = Learning(Estimator(), every_s=0.0)
    assert learned(learning, sites, table)
    assert not any(learning.step(sites, table) for _ in range(50))
    assert learning._under_way is None


def test_a_lesson_is_a_copy() -> None:
    sites = town()
    table = heard(sites)
    lesson = Estimator().plan_learning(sites, table)
    count, medians = len(lesson.links), lesson.medians_dbm.copy()
    table.add([Observation(sites[2].cell, 1, 2, 9, 0, -3_000, 5, 7, "counted", Standing.MEASURED)])
    sites.clear()
    assert len(lesson.links) == count
    assert np.array_equal(lesson.medians_dbm, medians)
    assert len(lesson.sites) == 12


def test_a_fault_leaves_the_map_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Lesson) -> dict[int, Footprint]:
        raise ValueError("no luck")

    monkeypatch.setattr(Lesson, "make", fail)
    sites = town()
    learning = Learning(Estimator(), every_s=0.0)
    learning.step(sites, heard(sites))
    assert learning._under_way is not None
    learning._under_way.join()
    assert not learning.step(sites, heard(sites))
    assert "no luck" in capsys.readouterr().err
