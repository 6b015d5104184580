"""Bring a model up to date in a fraction of a second, and only where that is a gain.

Two ways, neither of which starts anew: a few trees more, fitted to what the booster gets wrong now,
or, once a booster is as large as it may get, new values for the leaves that it has (refit: old and
new are mixed, `decay` of it old). The newest part of the rows is held back: a booster that does
worse there than the one before is thrown away, so a refresh can't be a loss on what is known; then
the offsets of p90 and p10 are computed anew on that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np

from chain.errors import UserError
from routing.forecast.evaluation import pinball
from routing.forecast.features import Series
from routing.forecast.model import TARGETS, Model, Offsets, Target, load_booster, predict_ratio
from routing.forecast.tables import (
    Split,
    Table,
    build_table,
    common_step_ms,
    cut_times,
    data_hash,
    split,
)
from routing.forecast.training import (
    MIN_FIT_ROWS,
    TrainOptions,
    booster_parameters,
    calibrate,
    dataset_of,
    label_of,
    raw_ratios,
    scale_of,
)

TREES, REFIT, KEPT = "trees", "refit", "kept"


@dataclass(frozen=True, slots=True)
class RefreshOptions:
    """How many trees a refresh adds, how many a booster may have, what a refit keeps of old leaves.

    `held_share` is the newest part of the samples, on which old and new are compared.
    """

    trees: int = 20
    most_trees: int = 300
    decay: float = 0.9
    held_share: float = 0.2


def options_of(model: Model) -> TrainOptions:
    """Return the options that a model was trained with."""
    known = {name: model.options[name] for name in TrainOptions.__dataclass_fields__}
    return TrainOptions(**{**known, "horizons": tuple(known["horizons"])})


def refresh_booster(
    text: str, fit: Table, target: Target, training: TrainOptions, options: RefreshOptions
) -> tuple[str, str]:
    """Return a booster's new text, and which way it took: TREES or REFIT."""
    old = load_booster(text)
    parameters = booster_parameters(training, target.level)
    if old.num_trees() + options.trees <= options.most_trees:
        data = dataset_of(fit, target)
        new = lightgbm.train(parameters, data, options.trees, init_model=old)
        return str(new.model_to_string(num_iteration=-1)), TREES
    weight = scale_of(fit, target)
    new = old.refit(
        fit.matrix,
        label_of(fit, target),
        decay_rate=options.decay,
        weight=weight / np.mean(weight),
        **{**parameters, "boost_from_average": False},
    )
    return str(new.model_to_string(num_iteration=-1)), REFIT


def loss_of(text: str, table: Table, target: Target) -> float:
    """Return a booster's mean pinball loss before calibration, kbps."""
    scale = scale_of(table, target)
    predicted = predict_ratio(load_booster(text), table.matrix) * scale
    return pinball(label_of(table, target) * scale, predicted, target.level)


def refresh(
    model: Model, series: Sequence[Series], name: str, options: RefreshOptions | None = None
) -> tuple[Model, dict[str, str]]:
    """Return the model brought up to date with newer data, and what was done per booster.

    Keys of the second are such as "load_p90@10", values TREES, REFIT or KEPT. UserError if the data
    has another step than the model, or too few rows.
    """
    options = options or RefreshOptions()
    training = options_of(model)
    step_ms = common_step_ms(series)
    if step_ms != model.step_ms:
        problem = f"sampled every {step_ms} ms, the model every {model.step_ms} ms"
        raise UserError("--data", problem, "give data like what it was trained on")
    held_ms, _ = cut_times(series, 0.0, options.held_share)
    boosters: dict[tuple[str, int], str] = {}
    offsets: dict[tuple[str, int], Offsets] = {}
    done: dict[str, str] = {}
    for horizon in model.horizons:
        parts = split(build_table(series, horizon, training.span), held_ms, 2**62)
        if min(parts.fit.length, parts.calibrate.length) < MIN_FIT_ROWS:
            raise UserError("--data", "too short to refresh with", "give a longer trace")
        for target in TARGETS:
            key = (target.name, horizon)
            boosters[key], done[f"{target.name}@{horizon}"] = _better(
                model.boosters[key], parts, target, training, options
            )
        found = calibrate(raw_ratios(boosters, parts.calibrate), parts.calibrate)
        offsets |= {(name, horizon): value for name, value in found.items()}
    data = _provenance(model, series, name)
    return replace(model, boosters=boosters, offsets=offsets, data=data), done


def _better(
    before: str, parts: Split, target: Target, training: TrainOptions, options: RefreshOptions
) -> tuple[str, str]:
    """Return the better booster of old and new on the rows held back, and what was done."""
    after, way = refresh_booster(before, parts.fit, target, training, options)
    held = parts.calibrate
    if loss_of(after, held, target) < loss_of(before, held, target):
        return after, way
    return before, KEPT


def _provenance(model: Model, series: Sequence[Series], name: str) -> dict[str, Any]:
    """Return the data record: what it was trained on, and what refreshed it last."""
    newest = {
        "name": name,
        "sha256": data_hash(series),
        "samples": sum(one.length for one in series),
        "count": model.data.get("refreshed", {}).get("count", 0) + 1,
    }
    return {**model.data, "refreshed": newest}
