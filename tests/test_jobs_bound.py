"""The bound beside bench/jobs.py: exact where it can be worked out by hand, above any policy."""

from __future__ import annotations

import numpy as np
import pytest

from bench.jobs_bound import most_in_time
from routing.jobs.plan import Lane


def lane(*links: int) -> Lane:
    return Lane(links, {(link,): 1.0 for link in links}, 0)


@pytest.mark.parametrize(
    ("jobs", "most"),
    [
        ([(1_000.0, 0, 10, [lane(0)])], 1.0),
        ([(2_000.0, 0, 10, [lane(0)])], 0.5),  # half of it fits, and counts as half
        ([(1_000.0, 0, 10, [lane(0)])] * 2, 1.0),
        ([(1_000.0, 0, 20, [lane(0)])] * 2, 2.0),
        ([(1_000.0, 0, 10, [lane(0), lane(1)])] * 2, 2.0),  # the second way
        ([(1_000.0, 0, 10, [lane(0, 2)])], 0.0),  # the other link of the way is dead
    ],
)
def test_what_fits_by_hand_fits(jobs: list, most: float) -> None:
    capacity = {(0,): np.full(20, 100.0), (1,): np.full(20, 100.0), (2,): np.zeros(20)}
    assert most_in_time(jobs, capacity) == pytest.approx(most, abs=1e-6)


def test_time_after_the_last_second_carries_nothing() -> None:
    capacity = {(0,): np.full(15, 100.0)}
    assert most_in_time([(2_000.0, 0, 40, [lane(0)])], capacity) == pytest.approx(0.75)
