"""Windows of an audit: the same sums by parts of the time, and who lies in one of them alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import network, pick_liars

from bench.audit_networks import Truth, simulate
from coverage_map.audit.links import WINDOW_EPOCHS, compute_evidence
from coverage_map.audit.scores import TESTS, compute_scores
from coverage_map.audit.table import Claims, Hearings, join_hearings

COUNT, EPOCHS, SEED = 160, 3 * WINDOW_EPOCHS, 8


@pytest.fixture(scope="module")
def town() -> tuple[Truth, Claims]:
    return network(COUNT, EPOCHS, SEED)


@pytest.fixture(scope="module")
def hearings(town: tuple[Truth, Claims]) -> Hearings:
    return simulate(town[0], SEED)


def cut(hearings: Hearings, low: int, high: int) -> Hearings:
    ends = np.searchsorted(hearings.epoch, [low, high])
    return hearings.take(slice(int(ends[0]), int(ends[1])))


def test_a_window_is_the_evidence_of_its_epochs(
    town: tuple[Truth, Claims], hearings: Hearings
) -> None:
    claims = replace(town[1], first_epoch=np.zeros(COUNT, np.uint32))
    evidence = compute_evidence([hearings], claims)
    assert [(w.start, w.stop) for w in evidence.windows] == [
        *((start, start + 40) for start in range(0, 100, 20)), (100, 120),
    ]
    whole = evidence.links
    for window in evidence.windows:
        alone = compute_evidence([cut(hearings, window.start, window.stop)], claims).links
        keys = whole.beaconer * COUNT + whole.witness
        at = np.searchsorted(keys, alone.beaconer * COUNT + alone.witness)
        np.testing.assert_array_equal(window.count[at], alone.count)
        np.testing.assert_array_equal(window.measured[at], alone.measured)
        np.testing.assert_allclose(window.full_db[at], alone.full_db, atol=1e-9)
        assert window.count.sum() == alone.count.sum()


def test_a_short_rest_belongs_to_the_stride_before(
    town: tuple[Truth, Claims], hearings: Hearings
) -> None:
    ends = {
        29: [],
        30: [(20, 30)],
        55: [(0, 40), (20, 55), (40, 55)],
        62: [(0, 40), (20, 62), (40, 62)],
    }
    for length, windows in ends.items():
        evidence = compute_evidence([cut(hearings, 0, length)], town[1])
        assert [(w.start, w.stop) for w in evidence.windows] == windows


def test_blocks_cut_anywhere_give_the_same_windows(
    town: tuple[Truth, Claims], hearings: Hearings
) -> None:
    one = compute_evidence([hearings], town[1]).windows
    parts = [cut(hearings, low, low + 7) for low in range(0, EPOCHS, 7)]
    other = compute_evidence(parts, town[1]).windows
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left.count, right.count)
        np.testing.assert_array_equal(left.full_db, right.full_db)


def test_who_was_bound_later_is_asked_nothing_about_before(
    town: tuple[Truth, Claims], hearings: Hearings
) -> None:
    bound = np.where(np.arange(COUNT) == 3, 50, 0).astype(np.uint32)
    evidence = compute_evidence([hearings], replace(town[1], first_epoch=bound))
    assert not evidence.active[3, :50].any()
    assert evidence.active[3, 50:].any()


def test_who_is_carried_away_is_found_by_the_time_after(town: tuple[Truth, Claims]) -> None:
    """Half of the time the claim was true; the mean over all of it would hide the rest."""
    truth, claims = town
    claims = replace(claims, first_epoch=np.zeros(COUNT, np.uint32))
    movers = pick_liars(96, 0.1, SEED)
    to = np.arange(COUNT)
    to[movers] = np.roll(movers, len(movers) // 2)
    before, after = truth.present.copy(), truth.present.copy()
    leaves = WINDOW_EPOCHS + WINDOW_EPOCHS // 2
    before[:, leaves:], after[:, :leaves] = False, False
    there = replace(truth, present=before)
    away = replace(truth, present=after, loss_db=truth.loss_db[np.ix_(to, to)])
    both = join_hearings([simulate(there, SEED), simulate(away, SEED + 1)])
    scores = compute_scores(both, claims)
    far = np.hypot(*(truth.positions_m[to[movers]] - truth.positions_m[movers]).T) > 700.0
    assert np.count_nonzero(far) >= 4
    found = scores.combined[movers[far]] > scores.threshold
    assert found.mean() > 0.7
    rest = np.delete(scores.combined, movers)
    assert np.count_nonzero(rest > scores.threshold) <= 1
    place = scores.surprise[movers[far], TESTS.index("place")]
    assert np.median(place) > 8.0
