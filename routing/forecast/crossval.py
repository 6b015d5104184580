"""Cross-validation by trace: every trace is forecast by a model that never saw any of it.

For sets of unconnected recordings, where time orders nothing. Folds take traces in turn; of the
traces that train, the last part of all their time calibrates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from routing.forecast.evaluation import Score, baseline_score, score
from routing.forecast.features import Array, Series
from routing.forecast.tables import Split, build_table, cut_times, split
from routing.forecast.training import TrainOptions, apply_model, assemble, fit_split

_CALIBRATION_SHARE = 0.15


def fold_split(
    series: Sequence[Series], fold: int, folds: int, horizon: int, span: int = 0
) -> Split:
    """Return the split that tests on every `folds`-th trace, from `fold` on."""
    links = sorted({one.link for one in series})
    held = set(links[fold::folds])
    rest = [one for one in series if one.link not in held]
    calibrate_ms, _ = cut_times(rest, 0.0, _CALIBRATION_SHARE)
    parts = split(build_table(rest, horizon, span), calibrate_ms, 2**62)
    test = build_table([one for one in series if one.link in held], horizon, span)
    # Link numbers of two tables mean nothing to each other; unknown links take pooled offsets.
    return replace(parts, test=replace(test, link=test.link + len(links)))


def cross_validate(
    series: Sequence[Series],
    horizon: int,
    folds: int,
    options: TrainOptions,
    step: Callable[[str], None] = lambda _: None,
) -> dict[str, Score]:
    """Score model, persistence and EWMA over all folds together."""
    one_horizon = replace(options, horizons=(horizon,))
    truths: list[Array] = []
    medians: list[Array] = []
    highs: list[Array] = []
    baselines: dict[str, list[Score]] = {"persistence": [], "ewma": []}
    for fold in range(folds):
        parts = fold_split(series, fold, folds, horizon, options.span)
        fitted = fit_split(parts, one_horizon, step)
        model = assemble(series, "fold", one_horizon, {horizon: fitted}, {})
        values = apply_model(model, parts.test)
        truths.append(parts.test.load)
        medians.append(values["load_p50"])
        highs.append(values["load_p90"])
        for name, scores in baselines.items():
            line = baseline_score(parts, name)
            if line is not None:
                scores.append(line)
    weights = [float(np.sum(truth)) for truth in truths]
    result = {name: _pooled(scores, weights) for name, scores in baselines.items()}
    result["model"] = score(*(np.concatenate(part) for part in (truths, medians, highs)))
    return result


def _pooled(scores: Sequence[Score], weights: Sequence[float]) -> Score:
    """Join folds as if scored at once: errors weigh by volume, coverage by rows."""
    rows = [one.rows for one in scores]
    return Score(
        float(np.average([one.wape for one in scores], weights=weights)),
        float(np.average([one.pinball90 for one in scores], weights=weights)),
        float(np.average([one.coverage90 for one in scores], weights=rows)),
        sum(rows),
    )
