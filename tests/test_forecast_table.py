"""The router's table of trees: LightGBM's bits without LightGBM, small, and sound or refused."""

import subprocess
import sys

import lightgbm
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from routing.forecast.table import table_from_bytes, table_of_booster

FEATURES = 20


def draws(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, FEATURES))


def grow(rows=4_000, trees=100, leaves=31, missing=0.0, **changes):
    matrix = draws(rows)
    label = matrix[:, 0] * matrix[:, 1] + np.abs(matrix[:, 2]) + matrix[:, 3]
    matrix[np.random.default_rng(2).random(matrix.shape) < missing] = np.nan
    parameters = {
        "objective": "quantile", "alpha": 0.9, "num_leaves": leaves, "num_threads": 1,
        "seed": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1, **changes,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, label), trees).model_to_string()


@pytest.fixture(scope="module")
def text():
    return grow()


@pytest.fixture(scope="module")
def gappy():
    return grow(trees=30, missing=0.2)


def differing(text, rows):
    expected = lightgbm.Booster(model_str=text).predict(rows, num_threads=1)
    table = table_from_bytes(table_of_booster(text).to_bytes())
    pairs = zip(rows.tolist(), expected.tolist(), strict=True)
    return sum(table.predict(row) != y for row, y in pairs)


def test_a_hundred_trees_of_31_leaves_agree_with_lightgbm_to_the_last_bit(text):
    assert differing(text, draws(10_000, 3) * 1.5) == 0


@pytest.mark.slow
@pytest.mark.soak
def test_a_hundred_thousand_rows_agree_with_lightgbm_to_the_last_bit(text):
    assert differing(text, draws(100_000, 4)) == 0


def test_a_hundred_trees_of_31_leaves_need_less_than_100_kb(text):
    table = table_of_booster(text)
    assert len(table.trees) == 100
    assert max(len(tree.leaves) for tree in table.trees) == 31
    assert len(table.to_bytes()) <= 100_000


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_missing_values_go_where_lightgbm_sends_them(text, gappy, share):
    rows = draws(2_000, 5)
    rows[np.random.default_rng(6).random(rows.shape) < share] = np.nan
    rows[:500:3, 0] = np.inf
    rows[1:500:3, 1] = -np.inf
    rows[::5, 2] = 0.0
    assert differing(text, rows) == 0
    assert differing(gappy, rows) == 0


def test_values_on_a_threshold_go_left_as_in_lightgbm(text):
    rows = draws(300, 7)
    trees = table_of_booster(text).trees
    for at, node in enumerate(node for tree in trees[:10] for node in tree.nodes):
        rows[at % 300, node[1]] = node[0]
    assert differing(text, rows) == 0


def test_a_booster_that_learned_nothing_is_a_constant():
    data = lightgbm.Dataset(np.ones((50, 2)), np.full(50, 3.0))
    text = lightgbm.train({"objective": "quantile", "verbosity": -1}, data, 3).model_to_string()
    expected = lightgbm.Booster(model_str=text).predict(np.ones((1, 2)))[0]
    assert table_of_booster(text).predict([1.0, 1.0]) == expected


def test_equal_boosters_give_equal_bytes(text):
    blob = table_of_booster(text).to_bytes()
    assert table_of_booster(grow()).to_bytes() == blob
    assert table_from_bytes(blob).to_bytes() == blob


def test_the_table_is_read_and_walked_without_numpy_or_lightgbm(text, tmp_path):
    path = tmp_path / "table"
    path.write_bytes(table_of_booster(text).to_bytes())
    code = (
        "import sys; from routing.forecast.table import table_from_bytes\n"
        f"table = table_from_bytes(open({str(path)!r}, 'rb').read())\n"
        f"print(table.predict([0.5] * {FEATURES}).hex())\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'lightgbm'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    expected = lightgbm.Booster(model_str=text).predict(np.full((1, FEATURES), 0.5))[0]
    assert done.stdout.splitlines() == [float(expected).hex(), ""]


def test_a_row_of_another_length_is_refused(text):
    with pytest.raises(ValueError, match="row: 3 numbers; give 20"):
        table_of_booster(text).predict([1.0, 2.0, 3.0])


def test_trees_trained_with_zero_as_missing_are_refused():
    with pytest.raises(UserError, match=r"booster: a split by category .*; train it with"):
        table_of_booster(grow(400, 5, zero_as_missing=True))


@pytest.mark.parametrize(
    "line", ["num_cat=1", "decision_type=1", "is_linear=1", "left_child=0", "threshold=nan"]
)
def test_trees_that_a_table_cannot_hold_are_refused(line):
    """One inner node per tree keeps the changed line as long as the one that it replaces."""
    key = line.split("=")[0]
    lines = [line if one.startswith(f"{key}=") else one for one in STUMPS.splitlines()]
    with pytest.raises(UserError, match=r"booster: "):
        table_of_booster("\n".join(lines))


STUMPS = grow(400, 2, 2)


@pytest.mark.parametrize("bad", ["", "tree", "max_feature_idx=3\n", "Tree=0\nnum_leaves=2"])
def test_texts_that_are_no_booster_are_refused(bad):
    with pytest.raises(UserError, match="booster: "):
        table_of_booster(bad)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_tables_are_refused_or_still_sound(text, data):
    blob = bytearray(SMALL)
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(blob)))
    for damaged in (bytes(blob), SMALL[:cut], SMALL + b"x"):
        try:
            table = table_from_bytes(damaged)
        except UserError:
            continue
        assert np.isfinite(table.predict([0.1] * table.features))


SMALL = table_of_booster(grow(500, 4, 7)).to_bytes()
