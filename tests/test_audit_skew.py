"""Clock skew: found to a tenth of a ppm through queueing delays; two keys on one crystal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from coverage_map.audit.skew import (
    Stamp,
    compute_skews,
    compute_twins,
    fit_below,
    parse_stamps,
)

START_NS = 1_790_000_000_000_000_000


def stamps(key: bytes, ppm: float, seed: int, count: int = 240, synchronised: bool = False):
    """A sender's beacons over an hour; each waits a while, mostly briefly, before it goes out."""
    rng = np.random.default_rng(seed)
    time_us = np.sort(rng.uniform(0, 3_600e6, count))
    delay_us = rng.exponential(60.0, count)
    return [
        Stamp(key, round(t), START_NS + round(1_000 * (t - d) * (1 + 1e-6 * ppm)), synchronised)
        for t, d in zip(time_us, delay_us, strict=True)
    ]


@pytest.mark.parametrize("ppm", [-18.0, -0.4, 0.0, 7.3, 20.0])
def test_skew_is_found_through_delays(ppm: float) -> None:
    (skew,) = compute_skews(stamps(b"a", ppm, 1))
    assert abs(skew.ppm - ppm) < 0.05
    assert skew.error_ppm < 0.05


def test_one_crystal_stands_out_among_many() -> None:
    senders = {b"a": 3.2, b"b": 3.21, **{bytes([k]): 3.1 * k - 15.0 for k in range(8)}}
    all_stamps = [s for k, (key, ppm) in enumerate(senders.items()) for s in stamps(key, ppm, k)]
    twins = compute_twins(compute_skews(all_stamps))
    assert {twins[0].first, twins[0].second} == {b"a", b"b"}
    assert twins[0].nats > 0.0
    assert twins[1].nats < 0.0


def test_steered_clocks_and_short_captures_abstain() -> None:
    assert compute_skews(stamps(b"a", 3.0, 1, synchronised=True)) == []
    assert compute_skews(stamps(b"a", 3.0, 1, count=19)) == []
    short = [s for s in stamps(b"a", 3.0, 1) if s.tsft_us < 500e6]
    assert len(short) >= 20
    assert compute_skews(short) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(-40, 40)), min_size=2, max_size=30))
def test_the_line_below_all_points_is_the_nearest(points: list[tuple[int, int]]) -> None:
    points.sort()
    x = np.array([p[0] for p in points], float)
    y = np.array([p[1] for p in points], float)
    slope, height = fit_below(x, y)
    if x[0] == x[-1]:
        return
    gaps = y - slope * x - height
    assert gaps.min() > -1e-9
    best = min(
        np.mean(y - s * x - h)
        for i in range(len(x))
        for j in range(i + 1, len(x))
        if x[i] != x[j]
        for s in [(y[j] - y[i]) / (x[j] - x[i])]
        for h in [y[i] - s * x[i]]
        if (y - s * x - h).min() > -1e-9
    )
    assert gaps.mean() <= best + 1e-9


def test_evidence_files_are_read_or_refused_by_line() -> None:
    good = {"key": "00ff", "tsft_us": 5, "sent_ns": 6}
    assert parse_stamps([good]) == [Stamp(b"\x00\xff", 5, 6)]
    refused = parse_stamps([good, {"key": "zz", "tsft_us": 5, "sent_ns": 6}])
    assert isinstance(refused, Refusal)
    assert "line 1" in refused.detail
