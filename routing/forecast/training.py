"""Training: fit on the past, calibrate on the near past, score on what came after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import lightgbm
import numpy as np

from chain.errors import UserError
from routing.forecast.evaluation import baseline_score, link_offsets, score, spread_offsets
from routing.forecast.features import FEATURES, Array, Series
from routing.forecast.model import (
    TARGETS,
    Model,
    Offsets,
    Target,
    calibrated,
    load_booster,
    predict_ratio,
    width_of,
)
from routing.forecast.tables import (
    Split,
    Table,
    build_table,
    common_step_ms,
    cut_times,
    data_hash,
    joined,
    split,
)

BASELINES = ("persistence", "ewma", "seasonal")
MIN_FIT_ROWS = 200
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Horizons in steps and the size of the boosters; shares are of the samples, newest last.

    The forecast is of the mean over the last `span` steps of a horizon; 0 means over all of it.
    """

    horizons: tuple[int, ...] = (1, 6)
    span: int = 0
    rounds: int = 200
    leaves: int = 31
    learning_rate: float = 0.05
    feature_share: float = 0.8
    min_leaf_rows: int = 40
    patience: int = 30
    calibration_share: float = 0.1
    test_share: float = 0.3
    seed: int = 1


def booster_parameters(options: TrainOptions, level: float) -> dict[str, Any]:
    """Return LightGBM's parameters: one thread and fixed seeds, so that runs repeat."""
    return {
        "objective": "quantile",
        "alpha": level,
        "num_leaves": options.leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": options.min_leaf_rows,
        "feature_fraction": options.feature_share,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": options.seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def scale_of(table: Table, target: Target) -> Array:
    """Return what a target's ratio is of, kbps [m]."""
    return table.load_scale if target.field == "load" else table.rate_scale


def label_of(table: Table, target: Target) -> Array:
    """Return the ratio that a booster learns, [m]."""
    return (table.load if target.field == "load" else table.rate) / scale_of(table, target)


def dataset_of(table: Table, target: Target) -> Any:
    """Return a table as LightGBM's data: ratios, weighted by what they are of."""
    weight = scale_of(table, target)
    return lightgbm.Dataset(
        table.matrix,
        label=label_of(table, target),
        weight=weight / np.mean(weight),
        feature_name=list(FEATURES),
    )


def fit_booster(table: Table, target: Target, options: TrainOptions, held: Table) -> Any:
    """Train one quantile booster; it stops growing once `patience` trees brought nothing on `held`.

    So short or noisy data gets a small model instead of one that knows the past by heart.
    """
    watched = [dataset_of(held, target)] if held.length else []
    stop: list[Callable[..., Any]] = []
    if watched:
        stop.append(lightgbm.early_stopping(options.patience, verbose=False))
    parameters = booster_parameters(options, target.level)
    data = dataset_of(table, target)
    return lightgbm.train(parameters, data, options.rounds, valid_sets=watched, callbacks=stop)


def fit_all(table: Table, target: Target, options: TrainOptions, trees: int) -> str:
    """Train a booster of a known size on all rows and return LightGBM's text of it."""
    parameters = booster_parameters(options, target.level)
    booster = lightgbm.train(parameters, dataset_of(table, target), max(1, trees))
    return str(booster.model_to_string())


def calibrate(ratios: Mapping[str, Array], table: Table) -> dict[str, Offsets]:
    """Compute conformal offsets of one horizon's boosters; the median is left as it is.

    `ratios` are what they say of a table that they weren't fitted to, by target.
    """
    result: dict[str, Offsets] = {}
    for target in TARGETS:
        if target.level == 0.5 or table.length == 0:
            result[target.name] = Offsets({}, 0.0)
            continue
        median = ratios["load_p50"] if target.field == "load" else None
        sign = 1.0 if target.level > 0.5 else -1.0
        error = label_of(table, target) - ratios[target.name]
        scores = sign * error / width_of(ratios[target.name], median)
        own, pooled = link_offsets(scores, table.link, max(target.level, 1.0 - target.level))
        by_link = {table.links[index]: sign * x for index, x in own.items()}
        result[target.name] = Offsets(by_link, sign * pooled)
    return result


def raw_ratios(boosters: Mapping[tuple[str, int], str], table: Table) -> dict[str, Array]:
    """Return what the boosters of a table's horizon say of its rows, by target [m]."""
    return {
        target.name: predict_ratio(
            load_booster(boosters[target.name, table.horizon]), table.matrix
        )
        for target in TARGETS
    }


def apply_model(model: Model, table: Table) -> dict[str, Array]:
    """Return the calibrated predictions for every row of a table, in kbps [m], by target."""
    ratios = raw_ratios(model.boosters, table)
    result = {}
    for target in TARGETS:
        offsets = model.offsets[target.name, table.horizon]
        by_index = {i: offsets.own[k] for i, k in enumerate(table.links) if k in offsets.own}
        shift = spread_offsets(by_index, offsets.pooled, table.link)
        result[target.name] = calibrated(ratios, target.name, shift) * scale_of(table, target)
    return result


def evaluate(model: Model, parts: Split) -> dict[str, Any]:
    """Score the model's load forecast beside the baselines on the test part of one split."""
    test = parts.test
    values = apply_model(model, test)
    line = score(test.load, values["load_p50"], values["load_p90"])
    result: dict[str, Any] = {"model": line.as_json()}
    for name in BASELINES:
        baseline = baseline_score(parts, name)
        result[name] = None if baseline is None else baseline.as_json()
    result["rate_p10_coverage"] = round(float(np.mean(test.rate >= values["rate_p10"])), 6)
    return result


def fit_split(parts: Split, options: TrainOptions, step: Callable[[str], None]) -> dict[str, Any]:
    """Train and calibrate the boosters of one horizon: {target name: (text, offsets)}.

    The calibration part says how large a booster should be and what offsets it needs; then the
    booster is trained anew at that size on both parts, because the newest rows teach the most.
    """
    everything = joined(parts.fit, parts.calibrate)
    probes: dict[str, Array] = {}
    texts: dict[str, str] = {}
    for target in TARGETS:
        booster = fit_booster(parts.fit, target, options, parts.calibrate)
        probes[target.name] = predict_ratio(booster, parts.calibrate.matrix)
        trees = booster.best_iteration or booster.num_trees()
        texts[target.name] = fit_all(everything, target, options, trees)
        step(target.name)
    offsets = calibrate(probes, parts.calibrate)
    return {name: (texts[name], offsets[name]) for name in texts}


def assemble(
    series: Sequence[Series],
    name: str,
    options: TrainOptions,
    fitted: dict[int, dict[str, Any]],
    metrics: dict[str, Any],
) -> Model:
    """Put the boosters of all horizons into a model."""
    pairs = {(target, h): pair for h, by in fitted.items() for target, pair in by.items()}
    data = {
        "name": name,
        "sha256": data_hash(series),
        "links": len({one.link for one in series}),
        "samples": sum(one.length for one in series),
    }
    return Model(
        common_step_ms(series),
        options.horizons,
        data,
        asdict(options),
        metrics,
        {key: pair[0] for key, pair in pairs.items()},
        {key: pair[1] for key, pair in pairs.items()},
    )


def train(
    series: Sequence[Series], name: str, options: TrainOptions, progress: Progress | None = None
) -> Model:
    """Train on the past, calibrate on the near past, and score on the rest of the same data.

    UserError if the data is too short to say anything.
    """
    cuts = cut_times(series, options.test_share, options.calibration_share)
    total = len(options.horizons) * len(TARGETS)
    fitted: dict[int, dict[str, Any]] = {}
    splits: dict[int, Split] = {}
    done = 0

    def step(label: str) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, label)

    for horizon in options.horizons:
        parts = splits[horizon] = split(build_table(series, horizon, options.span), *cuts)
        if min(parts.fit.length, parts.test.length) < MIN_FIT_ROWS:
            raise UserError("data", "too short to train and test on", "give a longer trace")
        fitted[horizon] = fit_split(parts, options, step)
    model = assemble(series, name, options, fitted, {})
    metrics = {str(h): evaluate(model, parts) for h, parts in splits.items()}
    return assemble(series, name, options, fitted, metrics)


def explain(model: Model) -> list[tuple[str, float]]:
    """Return each feature's share of the boosters' total gain, largest first."""
    gain = np.zeros(len(FEATURES))
    for key in sorted(model.boosters):
        booster = load_booster(model.boosters[key])
        part = np.asarray(booster.feature_importance("gain"), dtype=np.float64)
        gain += part / max(float(part.sum()), 1e-12)
    shares = gain / max(float(gain.sum()), 1e-12)
    return sorted(zip(FEATURES, shares.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
