"""The congestion forecast: LightGBM quantiles of a link's coming load and rate, calibrated.

Six boosters for two horizons: load p50, load p90, rate p10 each. They predict the ratio of the
coming mean to the link's EWMA, weighted by that EWMA, so the loss is the pinball loss in kbps.
Split-conformal offsets, per link where it has enough rows, bring p90 and p10 to their nominal
coverage. They count in widths: the booster's own distance from the median, plus a share of its
value, so that an idle link's noise doesn't become a busy link's margin.

A model file is one JSON document: schema, features, step, horizons, data hash, options, metrics,
offsets and LightGBM's own text. The same data gives the same bytes: one thread, fixed seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from chain.errors import UserError
from routing.forecast.export import LEAST_WIDTH, WIDTH_SHARE, RouterModel
from routing.forecast.features import FEATURES, SCHEMA, Array
from routing.forecast.table import table_of_booster
from routing.types import Link

FORMAT = "wavecomb-forecast"


@dataclass(frozen=True, slots=True)
class Target:
    """One booster's task: a quantile of the load or of the rate."""

    name: str
    field: str
    level: float


TARGETS = (
    Target("load_p50", "load", 0.5),
    Target("load_p90", "load", 0.9),
    Target("rate_p10", "rate", 0.1),
)


@dataclass(frozen=True, slots=True)
class Offsets:
    """Conformal offsets of one booster, in widths (`width_of`): per link, and for the others."""

    own: dict[Link, float]
    pooled: float


@dataclass(frozen=True, slots=True)
class Model:
    """A trained forecast; keys of `boosters` and `offsets` are (target name, horizon in steps)."""

    step_ms: int
    horizons: tuple[int, ...]
    data: dict[str, Any]
    options: dict[str, Any]
    metrics: dict[str, Any]
    boosters: dict[tuple[str, int], str]
    offsets: dict[tuple[str, int], Offsets]


def load_booster(text: str) -> Any:
    """Make a booster of its text; UserError if LightGBM can't read it."""
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        problem = f"LightGBM can't read a booster ({error})"
        raise UserError("model", problem, "train it again") from None


def predict_ratio(booster: Any, matrix: Array) -> Array:
    """Return predicted ratios [m]; one thread, because daemons share their cores."""
    return np.asarray(booster.predict(matrix, num_threads=1), dtype=np.float64)


def width_of(ratio: Array, median: Array | None) -> Array:
    """Return the unit of a booster's offsets, in ratios [m]; `median` is of the same quantity."""
    spread = 0.0 if median is None else np.abs(ratio - median)
    return np.asarray(spread + WIDTH_SHARE * np.abs(ratio) + LEAST_WIDTH)


def calibrated(ratios: Mapping[str, Array], name: str, shift: Array) -> Array:
    """Return one target's ratios, moved by offsets `shift` [m] and never negative.

    `ratios` hold what the boosters of one horizon say, by target; p90 is no less than the median.
    """
    target = next(target for target in TARGETS if target.name == name)
    median = ratios["load_p50"] if target.field == "load" else None
    moved = ratios[name] + shift * width_of(ratios[name], median)
    floor = median if median is not None and target.level > 0.5 else 0.0
    return np.maximum(np.maximum(moved, floor), 0.0)


def _key(name: str, horizon: int) -> str:
    return f"{name}@{horizon}"


def dump_model(model: Model) -> str:
    """Write the model file's text."""
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "features": list(FEATURES),
        "step_ms": model.step_ms,
        "horizons": list(model.horizons),
        "data": model.data,
        "options": model.options,
        "metrics": model.metrics,
        "offsets": {
            _key(*key): {
                "pooled": value.pooled,
                "own": [[*link, value.own[link]] for link in sorted(value.own)],
            }
            for key, value in model.offsets.items()
        },
        "boosters": {_key(*key): text for key, text in model.boosters.items()},
    }
    return json.dumps(document, sort_keys=True, indent=1) + "\n"


def export_model(model: Model) -> RouterModel:
    """Return the model as a router takes it: no LightGBM, no NumPy, the same numbers."""
    header = {
        "schema": SCHEMA,
        "features": list(FEATURES),
        "step_ms": model.step_ms,
        "horizons": list(model.horizons),
        "span": int(model.options.get("span", 0)),
        "data": model.data,
        "offsets": {
            _key(*key): {
                "pooled": value.pooled,
                "own": {f"{link[0]}-{link[1]}": value.own[link] for link in sorted(value.own)},
            }
            for key, value in model.offsets.items()
        },
    }
    tables = {_key(*key): table_of_booster(text) for key, text in model.boosters.items()}
    return RouterModel(header, tables)


def load_model(text: str) -> Model:
    """Read a model file; UserError if it isn't one, or of an unknown schema."""
    try:
        document = json.loads(text)
        known = document["format"] == FORMAT
        if known and (document["schema"] != SCHEMA or document["features"] != list(FEATURES)):
            raise UserError("model", "written for other features", "train it again")
        model = _parse(document) if known else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        model = None
    if model is None:
        raise UserError("model", "not a forecast model file", "write one: wavecomb routing train")
    return model


def _parse(document: dict[str, Any]) -> Model:
    horizons = tuple(int(h) for h in document["horizons"])
    keys = [(target.name, h) for h in horizons for target in TARGETS]
    offsets = {key: document["offsets"][_key(*key)] for key in keys}
    return Model(
        int(document["step_ms"]),
        horizons,
        document["data"],
        document["options"],
        document["metrics"],
        {key: str(document["boosters"][_key(*key)]) for key in keys},
        {
            key: Offsets(
                {(int(s), int(t)): float(x) for s, t, x in raw["own"]}, float(raw["pooled"])
            )
            for key, raw in offsets.items()
        },
    )
