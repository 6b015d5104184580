"""The combined score: monotone in evidence, silent tests change nothing, tails as calibrated."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.audit import LEAST_EXCESS
from coverage_map.audit.calibrated import TAILS, THRESHOLD
from coverage_map.audit.scores import (
    HEARD_FROM,
    MOST_SURPRISE,
    NAT_SURPRISE,
    PARTS,
    TESTS,
    VOICES,
    combine,
    compute_surprise,
)

NATS = st.floats(-50.0, 80.0)
ONE = st.one_of(st.just(math.nan), st.floats(0.0, MOST_SURPRISE))
ROW = st.lists(ONE, min_size=len(TESTS), max_size=len(TESTS))


def test_every_test_has_one_voice_and_a_tail() -> None:
    voices = [test for voice in VOICES for test in voice]
    assert sorted([*voices, *PARTS]) == sorted(TESTS) == sorted(TAILS)
    least = {test: LEAST_EXCESS.get(test, 1.0) for test in TESTS}
    for test, (middle, rare, tail) in TAILS.items():
        assert middle <= rare, test
        assert tail >= least[test], test


@given(st.sampled_from(TESTS), NATS, NATS)
def test_more_nats_never_surprise_less(test: str, one: float, other: float) -> None:
    low, high = compute_surprise(test, np.array(sorted((one, other))))
    assert 0.0 <= low <= high <= MOST_SURPRISE


@given(st.sampled_from(TESTS))
def test_surprise_is_minus_the_log_of_the_honest_share(test: str) -> None:
    _, rare, tail = TAILS[test]
    nats = rare + tail * math.log(10.0)
    surprise = compute_surprise(test, np.array([nats]))[0]
    most = HEARD_FROM + NAT_SURPRISE.get(test, 1.0) * max(nats, 0.0)
    assert abs(surprise - min(math.log(1_000), most)) < 1e-9


def test_nats_near_zero_are_no_evidence() -> None:
    """A test with little data says as little, however much others usually say for the honest."""
    for test in TESTS:
        assert compute_surprise(test, np.array([0.0]))[0] <= HEARD_FROM


def test_abstaining_stays_silent() -> None:
    assert math.isnan(compute_surprise("slope", np.array([math.nan]))[0])
    assert math.isnan(combine(np.full((1, len(TESTS)), math.nan))[0])


@given(ROW, st.integers(0, len(TESTS) - 1), st.floats(0.0, 40.0))
def test_more_evidence_never_lowers_a_score(row: list[float], column: int, more: float) -> None:
    before = np.array([row])
    after = before.copy()
    after[0, column] = more if math.isnan(row[column]) else min(MOST_SURPRISE, row[column] + more)
    old, new = combine(before)[0], combine(after)[0]
    assert math.isnan(old) or new >= old


def test_one_test_alone_convicts_only_far_beyond_the_honest() -> None:
    """What one honest hotspot in 500 shows by a single test doesn't reach the threshold."""
    for test in set(TESTS) - set(PARTS):
        row = np.full((1, len(TESTS)), math.nan)
        row[0, TESTS.index(test)] = -math.log(0.002)
        assert combine(row)[0] < THRESHOLD
        row[0, TESTS.index(test)] = 12.0
        assert combine(row)[0] > THRESHOLD
