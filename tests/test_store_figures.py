"""Figures of a map that is changed in place are those of a map that is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from store_helpers import make_rows
from test_store_layers import predictions

from coverage_map.store.figures import count_cells, with_overlay
from coverage_map.store.forecasts import with_ancestors
from coverage_map.store.io_keeper import Keeper

TIME_MS = 1_700_000_000_000


@settings(
    max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(
    seed=st.integers(0, 1 << 20),
    sizes=st.tuples(st.integers(0, 80), st.integers(1, 80)),
    precisions=st.sampled_from([(9,), (5, 7, 9, 10, 11), (3, 11), (6, 7)]),
    guess=st.sampled_from([0, 7, 9, 10]),
)
def test_an_overlays_figures_are_those_of_all_rows(
    seed: int, sizes: tuple[int, int], precisions: tuple[int, ...], guess: int
) -> None:
    keeper = Keeper(None)
    first, later = (make_rows(n, seed + k, precisions, 0.02) for k, n in enumerate(sizes))
    around = make_rows(60, seed, (11,), 0.02)
    keeper.receive(first, np.zeros(len(first), np.uint8), 2_000)
    keeper.publish(with_ancestors(predictions(around, guess)) if guess else {}, TIME_MS)
    before = count_cells(keeper.view)
    assert keeper.figures() == before
    keeper.receive(later, np.zeros(len(later), np.uint8), 2_000)
    wanted = count_cells(keeper.view)
    assert keeper.figures() == wanted
    assert with_overlay(keeper.base.merged, before, {}) == before
    keeper.publish(None, TIME_MS)
    assert keeper.figures() == wanted
    keeper.close()


def test_a_snapshot_is_counted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    counted: list[str] = []

    def count(view: object) -> object:
        counted.append(str(view))
        return count_cells(view)  # type: ignore[arg-type]

    monkeypatch.setattr("coverage_map.store.io_keeper.count_cells", count)
    for seed in (1, 2):
        rows = make_rows(300, seed)
        keeper.receive(rows, np.zeros(len(rows), np.uint8), 2_000)
        keeper.publish(None, TIME_MS)
        for _ in range(5):
            keeper.figures()
    more = make_rows(20, 3)
    keeper.receive(more, np.zeros(len(more), np.uint8), 2_000)
    keeper.figures()
    assert len(counted) == 2
    keeper.close()
