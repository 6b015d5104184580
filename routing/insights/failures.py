"""Which hotspots are likely to fall silent within a day: trees over signs, and alarms from them.

    probability of failure within AHEAD steps  =  1 / (1 + exp(-trees(signs)))

An *alarm* begins when the probability has been at or above the threshold for two steps in a row (a
single step is often a gust), and ends when it was below half the threshold for six hours. It is
right if the hotspot falls silent within AHEAD of its beginning, or while it lasts. The trees are a
table (routing/forecast/table.py), so who only predicts needs no LightGBM.

`Rule` is what one would do without a model: any of three limits passed. Its limits are found on the
same data by trying all of a grid.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from chain.errors import UserError
from routing.forecast.table import TreeTable, table_from_bytes, table_of_booster
from routing.insights.grid import DAY, HOUR, Array, Grid
from routing.insights.signs import SIGNS, signs_of

AHEAD = DAY
WARM_UP = DAY  # signs need a day of past before they are believed
_CALM = 6 * HOUR
_FORMAT = "wavecomb-failures-1"
_PARAMS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.06,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Told:
    """One mesh: signs [steps, hotspots, signs], which rows count, and who failed when."""

    signs: Array
    alive: Bools
    failed: Mapping[int, int]  # row of the hotspot: step from which it was silent


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm about a hotspot (its row): steps [begin, end)."""

    hotspot: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Right alarms of all alarms, failures foreseen of all failures, and minutes in between."""

    alarms: int
    right: int
    failures: int
    foreseen: int
    lead_minutes: float

    @property
    def precision(self) -> float:
        """Share of alarms that were followed by a failure; 1 without alarms."""
        return self.right / self.alarms if self.alarms else 1.0

    @property
    def recall(self) -> float:
        """Share of failures that an alarm preceded by at least half an hour."""
        return self.foreseen / self.failures if self.failures else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.precision * self.recall / max(1e-12, self.precision + self.recall)


def told_of(grid: Grid, failed: Mapping[int, int]) -> Told:
    """Look at a mesh: `failed` names hotspots and the step from which they were silent for good."""
    hotspots, signs = signs_of(grid)
    rows = {hotspots.index(h): step for h, step in failed.items() if h in hotspots}
    alive = np.isfinite(signs[:, :, SIGNS.index("loss_1h")])
    alive[:WARM_UP] = False
    for row, step in rows.items():
        alive[step:, row] = False
    return Told(signs, alive, rows)


def labels_of(told: Told) -> Bools:
    """Return which rows [steps, hotspots] are within AHEAD of their hotspot's failure."""
    labels = np.zeros(told.alive.shape, dtype=np.bool_)
    for row, step in told.failed.items():
        labels[max(0, step - AHEAD) : step, row] = True
    return labels


@dataclass(frozen=True, slots=True)
class FailureModel:
    """Trees, the threshold of an alarm, and how good both were on data that they had not seen."""

    table: TreeTable
    threshold: float
    metrics: Mapping[str, Any]

    def probabilities(self, signs: Array) -> Array:
        """Return the probability of failure within a day, of signs [..., len(SIGNS)]."""
        raw = predict_rows(self.table, signs.reshape(-1, len(SIGNS)))
        result: Array = (1.0 / (1.0 + np.exp(-raw))).reshape(signs.shape[:-1])
        return result

    def to_json(self) -> str:
        """Write the model's file; equal models give equal text."""
        content = {
            "format": _FORMAT,
            "signs": list(SIGNS),
            "ahead_steps": AHEAD,
            "threshold": self.threshold,
            "metrics": dict(self.metrics),
            "table": b64encode(self.table.to_bytes()).decode(),
        }
        return json.dumps(content, sort_keys=True, indent=1) + "\n"


def predict_rows(table: TreeTable, rows: Array) -> Array:
    """Return `table.predict` of each row, to the last bit, all rows down a tree together."""
    total = np.zeros(len(rows))
    for tree in table.trees:
        at = np.full(len(rows), 0 if tree.nodes else -1)
        columns = [np.array(column) for column in zip(*tree.nodes, strict=True)]
        moving = np.flatnonzero(at >= 0)
        while len(moving):
            threshold, feature, nan_left, left, right = (c[at[moving]] for c in columns)
            value = rows[moving, feature]
            goes_left = (value <= threshold) | (np.isnan(value) & (nan_left > 0))
            at[moving] = np.where(goes_left, left, right)
            moving = moving[at[moving] >= 0]
        total += np.array(tree.leaves)[~at]
    return total


def failure_model(text: str) -> FailureModel:
    """Read a model's file; UserError unless it is one for these signs."""
    try:
        content = json.loads(text)
        same = content["format"] == _FORMAT and content["signs"] == list(SIGNS)
        table = table_from_bytes(b64decode(content["table"], validate=True))
        threshold, metrics = float(content["threshold"]), dict(content["metrics"])
    except (ValueError, KeyError, TypeError):
        raise UserError("failure model", "not one", "train one: python -m bench.insights") from None
    if not same or table.features != len(SIGNS) or not 0.0 < threshold < 1.0:
        raise UserError("failure model", "made for other signs", "train it again")
    return FailureModel(table, threshold, metrics)


def train_failures(meshes: Sequence[Told], rounds: int = 250, stride: int = 3) -> TreeTable:
    """Fit trees on every `stride`-th step; failures weigh as if a tenth of all rows were theirs."""
    import lightgbm

    rows, labels = [], []
    for told in meshes:
        kept = told.alive.copy()
        kept[np.arange(len(kept)) % stride != 0] = False
        rows.append(told.signs[kept])
        labels.append(labels_of(told)[kept])
    label = np.concatenate(labels).astype(np.float64)
    if not 0 < label.sum() < len(label):
        raise UserError("records", "no failure among them", "give more, or longer ones")
    weight = np.where(label > 0, 0.1 * len(label) / label.sum(), 1.0)
    data = lightgbm.Dataset(
        np.concatenate(rows), label, weight=weight, feature_name=list(SIGNS)
    )
    booster = lightgbm.train(_PARAMS, data, num_boost_round=rounds)
    return table_of_booster(booster.model_to_string())


@dataclass(frozen=True, slots=True)
class Rule:
    """An alarm where a day's outages, the SNR or rate lost or the losses pass their limits."""

    outages_24h: float
    rate_fall_6h: float
    loss_6h: float

    def scores(self, signs: Array) -> Array:
        """Return 1 where a limit is passed, else 0."""
        limits = {"outages_24h": self.outages_24h, "rate_fall_6h": self.rate_fall_6h}
        limits["loss_6h"] = self.loss_6h
        passed = [signs[..., SIGNS.index(name)] >= limit for name, limit in limits.items()]
        result: Array = np.any(passed, axis=0).astype(np.float64)
        return result


def best_rule(meshes: Sequence[Told]) -> Rule:
    """Return the rule of best F1 on these meshes, of a grid of limits."""
    grid = product((3, 5, 7, 10), (0.5, 1.0, 1.5, 2.0), (0.05, 0.1, 0.15, 0.2, 0.3))
    rules = [Rule(*limits) for limits in grid]

    def quality(rule: Rule) -> float:
        return judge(meshes, [rule.scores(mesh.signs) for mesh in meshes], 0.5).f1

    return max(rules, key=quality)


def alarms_of(scores: Array, alive: Bools, threshold: float) -> list[Alarm]:
    """Return the alarms that scores [steps, hotspots] raise, by hotspot and time."""
    alarms = []
    for row in range(scores.shape[1]):
        begin, high, calm = -1, 0, 0
        for step in range(len(scores)):
            known = bool(alive[step, row])
            score = float(scores[step, row]) if known else 0.0
            high = high + 1 if score >= threshold else 0
            calm = calm + 1 if score < threshold / 2 else 0
            if begin < 0 and high >= 2:
                begin = step
            elif begin >= 0 and (calm >= _CALM or (not known and not alive[step:, row].any())):
                alarms.append(Alarm(row, begin, step))
                begin = -1
        if begin >= 0:
            alarms.append(Alarm(row, begin, len(scores)))
    return alarms


def judge(meshes: Sequence[Told], scores: Sequence[Array], threshold: float) -> Quality:
    """Hold alarms against what came. Alarms of the last day are left out: what came isn't known."""
    right, counted, failures, leads = 0, 0, 0, []
    for told, score in zip(meshes, scores, strict=True):
        alarms = alarms_of(score, told.alive, threshold)
        for alarm in alarms:
            failed = told.failed.get(alarm.hotspot)
            hit = failed is not None and alarm.begin < failed <= max(
                alarm.begin + AHEAD, alarm.end + 1
            )
            if hit or alarm.begin < len(score) - AHEAD:
                counted += 1
                right += hit
        for row, step in told.failed.items():
            failures += 1
            first = _first_warning(alarms, row, step)
            if first is not None:
                leads.append(10.0 * (step - first))
    lead = float(np.median(leads)) if leads else 0.0
    return Quality(counted, right, failures, len(leads), lead)


def _first_warning(alarms: Iterable[Alarm], row: int, step: int) -> int | None:
    """Return when the alarm began that stood within AHEAD of a failure, half an hour before it."""
    standing = [
        alarm.begin
        for alarm in alarms
        if alarm.hotspot == row and alarm.begin <= step - 3 and alarm.end > step - AHEAD
    ]
    return standing[0] if standing else None


def best_threshold(meshes: Sequence[Told], scores: Sequence[Array]) -> float:
    """Return the threshold of best F1 on these meshes."""
    options = [float(x) for x in np.round(np.arange(0.1, 0.96, 0.05), 2)]
    return max(options, key=lambda t: (judge(meshes, scores, t).f1, t))
