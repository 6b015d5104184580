"""Trees for the time to first token, of a gateway's own outcomes.

They learn log2 of measured over expected: quantiles are the same in any scale, and one answer that
took a minute doesn't drown the rest. Rows weigh by the root of what was expected, between counting
requests and counting seconds. Whether the result is worth having is for `ttft.Judge` to say, on
requests that come later. Deterministic: one thread, fixed seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np

from chain.records import Refusal
from routing.forecast.features import Array
from routing.forecast.table import TreeTable, table_of_booster
from routing.forecast.ttft import FEATURES, LEAST_ROWS, LEVEL, MOST_LOG, Outcome, TtftModel

TREES = 60
TOO_FEW = Refusal("ttft-few", f"fewer than {LEAST_ROWS} first tokens were timed; wait for more")


def parameters(level: float) -> dict[str, Any]:
    """Return LightGBM's parameters: small trees, since a gateway has thousands of rows at most."""
    return {
        "objective": "quantile",
        "alpha": level,
        "num_leaves": 8,
        "learning_rate": 0.1,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": 1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def arrays_of(rows: Sequence[Outcome]) -> tuple[Array, Array, Array]:
    """Return features [m, features], log2 of measured over expected [m], and weights [m]."""
    matrix = np.array([row.features for row in rows], dtype=np.float64)
    expected = np.array([max(1, row.expected_us) for row in rows], dtype=np.float64)
    measured = np.array([max(1, row.measured_us) for row in rows], dtype=np.float64)
    label = np.clip(np.log2(measured / expected), -MOST_LOG, MOST_LOG)
    weight = np.sqrt(expected)
    return matrix, label, weight / weight.mean()


def train_ttft(rows: Sequence[Outcome]) -> TtftModel | Refusal:
    """Make a model of outcomes, or refuse where there are too few."""
    if len(rows) < LEAST_ROWS:
        return TOO_FEW
    matrix, label, weight = arrays_of(rows)

    def fit(level: float) -> TreeTable:
        data = lightgbm.Dataset(matrix, label, weight=weight, feature_name=list(FEATURES))
        return table_of_booster(
            str(lightgbm.train(parameters(level), data, TREES).model_to_string())
        )

    return TtftModel(fit(0.5), fit(LEVEL))
