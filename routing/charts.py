"""Charts as plain SVG text: no plotting library for twenty bars."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_ROW, _LABEL, _BAR, _WIDTH = 22, 150, 380, 620


def importance_svg(shares: Sequence[tuple[str, float]]) -> str:
    """Draw feature importance, largest first, as bars with their figures."""
    largest = max((share for _, share in shares), default=1.0) or 1.0
    height = _ROW * len(shares) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="14">Share of the model\'s total gain</text>',
    ]
    for row, (name, share) in enumerate(shares):
        y = 36 + _ROW * row
        width = round(_BAR * share / largest, 1)
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{width}" height="{_ROW - 6}" fill="#2f6db3"/>',
            f'<text x="{_LABEL + width + 6}" y="{y + 13}">{100 * share:.1f} %</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
