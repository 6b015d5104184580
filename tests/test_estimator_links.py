from __future__ import annotations

import numpy as np
import pytest
from estimator_helpers import made_links
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.estimator.field import bounded, thinned
from coverage_map.estimator.links import blocks_of, folds_of, make_links, thin, wide_groups


@given(st.integers(0, 10_000), st.floats(5.0, 400.0), st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_rows_of_one_block_share_a_fold(seed: int, block_m: float, folds: int) -> None:
    links = made_links(80, 3)
    blocks = blocks_of(links, block_m)
    fold = folds_of(blocks, folds, seed)
    assert set(fold.tolist()) <= set(range(folds))
    for block in np.unique(blocks):
        assert len(set(fold[blocks == block].tolist())) == 1


def test_folds_are_even_and_follow_the_seed() -> None:
    blocks = np.arange(100)
    assert np.bincount(folds_of(blocks, 5, 1)).tolist() == [20] * 5
    assert np.array_equal(folds_of(blocks, 5, 1), folds_of(blocks, 5, 1))
    assert not np.array_equal(folds_of(blocks, 5, 1), folds_of(blocks, 5, 2))


def test_places_of_two_worlds_are_never_one_block() -> None:
    links = make_links(np.zeros(2), np.zeros((2, 2)), 1e9, [-50.0, -60.0], world=["a", "b"])
    assert len(set(blocks_of(links, 10.0).tolist())) == 2


def test_a_transmitter_is_an_antenna_on_a_mast() -> None:
    links = make_links(
        np.array([[0.0, 0], [0, 0], [9, 0]]), np.ones((3, 2)), 1e9, [-50.0] * 3,
        configuration=[1, 2, 1],
    )  # fmt: skip
    assert links.mast.tolist() == [0, 0, 1]
    assert len(set(links.transmitter.tolist())) == 3


def test_thinning_keeps_medians_and_counts() -> None:
    rx = np.repeat([[0.1, 0.1], [300.0, 300.0]], [5, 4], axis=0)
    links = make_links([200.0, 0.0], rx, 1e9, [-50, -60, -55, -90, -40, -70, -72, -74, -90])
    merged, member = thin(links, 4)
    assert merged.rssi_dbm.tolist() == [-55.0, -73.0]
    assert merged.weight.tolist() == [5.0, 4.0]
    assert member.tolist() == [0] * 5 + [1] * 4


def test_thinning_never_mixes_transmitters() -> None:
    links = made_links(400)
    merged, member = thin(links, 40)
    assert len(merged) <= 48
    assert np.array_equal(merged.transmitter[member], links.transmitter)
    assert merged.weight.sum() == 400


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"rssi_dbm": [np.nan]}, "rssi_dbm"),
        ({"frequency_hz": 0.0}, "frequency_hz"),
        ({"rx_m": [[np.inf, 0.0]]}, "rx"),
        ({"rssi_dbm": []}, "rssi_dbm"),
        ({"obstacles": [[1.0, 2.0]]}, "obstacles"),
    ],
)
def test_impossible_columns_are_named(changed: dict[str, object], field: str) -> None:
    good: dict[str, object] = {
        "tx_m": [0.0, 0.0], "rx_m": [[1.0, 1.0]], "frequency_hz": 1e9, "rssi_dbm": [-50.0],
    }  # fmt: skip
    if changed.get("rssi_dbm") == []:
        changed = {**changed, "rx_m": np.empty((0, 2))}
    with pytest.raises(ValueError, match=f"^{field}: .*; "):
        make_links(**{**good, **changed})  # type: ignore[arg-type]


def test_blocks_have_a_width() -> None:
    with pytest.raises(ValueError, match=r"^block: .*; "):
        blocks_of(made_links(5), 0.0)


def test_a_wide_drive_with_small_blocks_is_no_large_matrix() -> None:
    links = made_links(3_000, 2)
    blocks = blocks_of(links, 5.0)
    assert len(thinned(links, blocks, 200)[0]) > 1_000, "blocks alone keep too many rows apart"
    used, groups = bounded(links, blocks, 200)
    assert len(used) == len(links), "every reading is heard"
    rows, of_rows, member = thinned(used, groups, 200)
    assert len(rows) <= 200
    assert np.array_equal(of_rows[member], groups)
    # Left out together is all of a square that is wider than a block.
    assert len(np.unique(groups)) < len(np.unique(blocks)) / 5
    assert wide_groups(links, np.zeros(3_000, np.int64), 200).max() == 0


def test_as_many_senders_as_readings_are_sampled_evenly() -> None:
    places = np.random.default_rng(1).uniform(0.0, 500.0, (900, 2))
    links = make_links(places, places + 30.0, 2.4e9, np.linspace(-90.0, -50.0, 900))
    used, groups = bounded(links, blocks_of(links, 50.0), 100)
    assert len(used) == len(groups) == 100
    assert np.allclose(np.diff(used.rssi_dbm), 40.0 / 99.0, atol=0.06)
    assert bounded(links, np.zeros(900, np.int64), 900)[0] is links
