"""The table and the plots of a laboratory run, as text, SVG and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from chain.io_plot import COLOURS, Line, LinePlot, make_svg
from radio_sim.attacks.figures import compute_roc
from radio_sim.attacks.outcome import Outcome

Floats = NDArray[np.float64]

HEADS = (
    "attack", "kind", "TPR", "FPR", "epochs", "leaked", "by rules", "loss", "return", "refused",
)
LEAST_FPR = 1e-4  # the left end of the logarithmic axis


def get_cells(outcome: Outcome) -> tuple[str, ...]:
    """A row of the table."""
    return (
        outcome.name,
        outcome.kind,
        percent(outcome.tpr),
        percent(outcome.fpr, 2),
        "-" if outcome.epochs_to_detect is None else str(outcome.epochs_to_detect),
        percent(outcome.leaked_share, 2),
        percent(outcome.leaked_share_rules, 2),
        percent(outcome.honest_loss, 2),
        percent(outcome.attacker_return, 2),
        percent(outcome.refused_share),
    )


def percent(value: float | None, digits: int = 1) -> str:
    """A share for people; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def make_table(outcomes: Sequence[Outcome]) -> str:
    """All attacks, a line each."""
    rows = [HEADS, *(get_cells(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def make_roc_svg(honest: Floats, liars: Mapping[str, Floats]) -> str:
    """ROC curves, six to a plot: share of liars found over share of honest hotspots accused."""
    names = [name for name, scores in liars.items() if len(scores)]
    plots = []
    for start in range(0, len(names), 6):
        lines = [
            Line(name, get_curve(honest, liars[name]), number % len(COLOURS))
            for number, name in enumerate(names[start : start + 6])
        ]
        title = f"ROC, {len(honest)} honest hotspots"
        plots.append(LinePlot(title, "false positives", "found", lines, is_log_x=True))
    return make_svg("ROC of the auditors' score by attack", plots)


def get_curve(honest: Floats, liars: Floats) -> list[tuple[float, float]]:
    """Points of one ROC curve as a staircase; what lies left of the axis is put on its end."""
    curve: list[tuple[float, float]] = []
    for point in compute_roc(honest, liars):
        x = max(LEAST_FPR, point.fpr)
        if curve and curve[-1][1] < point.tpr and curve[-1][0] < x:
            curve.append((x, curve[-1][1]))
        curve.append((x, point.tpr))
    return curve


def make_sweep_svg(sweep: Mapping[str, Sequence[Outcome]]) -> str:
    """Per figure, how it changes with the share of attackers."""
    figures = (
        ("tpr", "found"), ("leaked_share", "leaked"), ("leaked_share_rules", "leaked by rules"),
        ("honest_loss", "honest loss"),
    )
    plots = []
    for field, label in figures:
        lines = [
            Line(
                name,
                [(o.share, getattr(o, field)) for o in outcomes if getattr(o, field) is not None],
                number % len(COLOURS),
                is_dashed=number >= len(COLOURS),
            )
            for number, (name, outcomes) in enumerate(sweep.items())
        ]
        plots.append(LinePlot(label, "share of attackers", label, lines))
    return make_svg("Where each defence breaks", plots, per_row=2)


def make_page(title: str, outcomes: Sequence[Outcome], svg: str) -> str:
    """One page that needs nothing else."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in get_cells(outcome)) + "</tr>\n"
        for outcome in outcomes
    )
    style = (
        "body{font-family:system-ui,sans-serif;margin:2em}"
        "td,th{padding:.2em .8em;text-align:right}td:nth-child(-n+2){text-align:left}"
        "tr:nth-child(even){background:#f3f3f3}svg{max-width:100%;height:auto}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style><h1>{escape(title)}</h1>"
        f"<table><tr>{head}</tr>\n{rows}</table>\n{svg}</html>\n"
    )
