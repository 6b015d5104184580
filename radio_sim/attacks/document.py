"""The JSON document of a laboratory run, and its plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.calibrated import THRESHOLD
from radio_sim.attacks.figures import compute_tpr_at, compute_wilson
from radio_sim.attacks.measure import Measured, Size
from radio_sim.attacks.outcome import Outcome, get_worst
from radio_sim.attacks.report import make_roc_svg, make_sweep_svg

Floats = NDArray[np.float64]

ASKED_FPR = 0.001


def make_document(
    size: Size,
    done: Sequence[Measured],
    pooled: Sequence[Floats],
    *,
    is_sweep: bool,
    is_whole: bool,
) -> tuple[dict[str, Any], str]:
    """Everything as JSON, and one SVG: ROC curves, or figures over shares."""
    honest = get_honest(done, pooled)
    outcomes = [measured.outcome for measured in done]
    document: dict[str, Any] = {
        "size": asdict(size),
        "complete": is_whole,
        "threshold": THRESHOLD,
        "pooled": get_pooled(honest, pooled),
        "worst": get_worst(outcomes),
    }
    if is_sweep:
        swept = group(outcomes)
        document["sweep"] = {name: [o.to_json() for o in each] for name, each in swept.items()}
        return document, make_sweep_svg(swept)
    document["attacks"] = {m.outcome.name: get_entry(m, honest) for m in done}
    document["opportunity"] = get_opportunity(outcomes)
    return document, make_roc_svg(honest, {m.outcome.name: m.liars for m in done})


def get_honest(done: Sequence[Measured], pooled: Sequence[Floats]) -> Floats:
    """Scores of honest hotspots: of networks of their own, else of the attacks' neighbours."""
    parts = list(pooled) or [measured.honest for measured in done]
    return np.concatenate(parts) if parts else np.empty(0)


def get_pooled(honest: Floats, pooled: Sequence[Floats]) -> dict[str, float]:
    """Honest networks taken together; nothing where none were asked for."""
    if not pooled:
        return {}
    above = int(np.count_nonzero(honest > THRESHOLD))
    low, high = compute_wilson(above, len(honest))
    return {
        "hotspots": len(honest),
        "fpr": above / len(honest),
        "fpr_low": low,
        "fpr_high": high,
        "score_at_fpr": float(np.quantile(honest, 1.0 - ASKED_FPR)),
        "highest": float(honest.max()),
    }


def get_entry(measured: Measured, honest: Floats) -> dict[str, Any]:
    """An attack's figures, with the share found at the asked false positive rate."""
    entry = measured.outcome.to_json()
    if len(measured.liars) and len(honest):
        entry["tpr_at_fpr_0.001"] = compute_tpr_at(honest, measured.liars, ASKED_FPR)
    return entry


def get_opportunity(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """How a witness's lots go with how fast it answers and computes; nothing if not measured."""
    names = ("rho_latency", "rho_cpu", "witnesses")
    raced = [o for o in outcomes if o.name == "answer-first" and "rho_cpu" in o.details]
    return {name: outcome.details[name] for outcome in raced for name in names}


def group(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by attack, in their order."""
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.name, []).append(outcome)
    return grouped
