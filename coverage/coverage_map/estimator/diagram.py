"""Reliability diagram: do intervals hold what they say? As numbers, and as a picture (SVG)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

STATED = np.arange(5, 100, 5) / 100.0
COLOURS = ("#0b6e4f", "#b3541e", "#3b4cc0", "#8e2a8b", "#555555")
SIZE, LEFT, TOP = 320, 56, 24


def held_shares(error_db: Floats, sd_db: Floats) -> Floats:
    """Share of errors inside the central interval of each of STATED, [19]."""
    width = ndtri(0.5 + STATED / 2.0)
    return np.asarray((np.abs(error_db / sd_db)[:, None] <= width).mean(axis=0))


def draw(curves: Mapping[str, Floats]) -> str:
    """An SVG of stated against held shares, one line per name; the diagonal is the promise."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE + 260}" height="{SIZE + 80}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>Reliability of prediction intervals</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<rect x="{LEFT}" y="{TOP}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#888"/>',
        _line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "#888", ' stroke-dasharray="4 4"'),
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_label(_x(tick), TOP + SIZE + 16, f"{tick:.0%}", "middle"))
        parts.append(_label(LEFT - 6, _y(tick) + 4, f"{tick:.0%}", "end"))
    parts.append(_label(LEFT + SIZE / 2, TOP + SIZE + 36, "share stated", "middle"))
    parts.append(_label(LEFT, TOP - 8, "share of held-out readings inside", "start"))
    for k, (name, held) in enumerate(curves.items()):
        colour = COLOURS[k % len(COLOURS)]
        parts.append(_line(STATED, held, colour, ""))
        height = TOP + 18 * (k + 1)
        at_90 = float(np.interp(0.9, STATED, held))
        parts.append(_label(LEFT + SIZE + 12, height, f"{_safe(name)}: 90 % holds {at_90:.1%}",
                            "start", colour))  # fmt: skip
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(share: float) -> float:
    return LEFT + SIZE * share


def _y(share: float) -> float:
    return TOP + SIZE * (1.0 - share)


def _line(x: Floats, y: Floats, colour: str, style: str) -> str:
    points = " ".join(f"{_x(float(a)):.1f},{_y(float(b)):.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{style}/>'


def _label(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
