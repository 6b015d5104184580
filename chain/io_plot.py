"""Small plots as SVG, by hand: lines over a scale, and stacked bars. For pages and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Dark enough on white to be told apart, also by who sees no red or green (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 46
ROW = 18


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) joined by a line; `colour` indexes COLOURS."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class LinePlot:
    """Lines over one scale; a logarithmic one leaves out what isn't above 0."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    is_log_x: bool = False
    is_log_y: bool = False
    width: int = 430
    height: int = 330

    def draw(self) -> str:
        """The plot as SVG elements, its corner at 0, 0."""
        x = _Scale.over([p[0] for line in self.lines for p in line.points], self.is_log_x)
        y = _Scale.over([p[1] for line in self.lines for p in line.points], self.is_log_y)
        left, right, top, bottom = LEFT, self.width - RIGHT, TOP, self.height - BOTTOM
        parts = [_text(left, 18, self.title, "start", 13, bold=True)]
        for value in y.ticks():
            at = bottom - y.part(value) * (bottom - top)
            parts.append(f'<path d="M{left} {at:.1f}H{right}" stroke="#ddd"/>')
            parts.append(_text(left - 6, at + 4, _number(value), "end"))
        for value in x.ticks():
            at = left + x.part(value) * (right - left)
            parts.append(f'<path d="M{at:.1f} {bottom}v4" stroke="#444"/>')
            parts.append(_text(at, bottom + 16, _number(value), "middle"))
        parts.append(f'<path d="M{left} {bottom}H{right}" stroke="#444"/>')
        parts.append(_text((left + right) / 2, self.height - 10, self.x_label, "middle"))
        parts.append(_text(left, 34, self.y_label, "start"))
        parts += [self._draw_line(line, x, y) for line in self.lines]
        return "".join([*parts, *self._legend()])

    def _draw_line(self, line: Line, x: _Scale, y: _Scale) -> str:
        wide, high = self.width - RIGHT - LEFT, self.height - BOTTOM - TOP
        points = [p for p in line.points if x.has(p[0]) and y.has(p[1])]
        joined = " ".join(
            f"{LEFT + x.part(a) * wide:.1f},{TOP + (1 - y.part(b)) * high:.1f}" for a, b in points
        )
        dash = ' stroke-dasharray="5 4"' if line.is_dashed else ""
        colour = COLOURS[line.colour]
        return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    def _legend(self) -> list[str]:
        parts = []
        for number, line in enumerate(self.lines):
            at = self.height + 4 + ROW * number
            dash = ' stroke-dasharray="5 4"' if line.is_dashed else ""
            stroke = f'stroke="{COLOURS[line.colour]}" stroke-width="2"{dash}'
            parts.append(f'<path d="M{LEFT} {at}h26" {stroke}/>')
            parts.append(_text(LEFT + 34, at + 4, line.label, "start"))
        return parts

    def size(self) -> tuple[int, int]:
        """Width and height with the legend, in px."""
        return self.width, self.height + ROW * len(self.lines) + 6


@dataclass(frozen=True, slots=True)
class BarPlot:
    """Horizontal bars of stacked parts, with what they sum up to written behind."""

    title: str
    x_label: str
    parts: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float]]]
    width: int = 760

    def draw(self) -> str:
        """The plot as SVG elements, its corner at 0, 0."""
        low = min(0.0, *(sum(v for v in values if v < 0) for _, values in self.rows))
        high = max(0.0, *(sum(v for v in values if v > 0) for _, values in self.rows))
        left, right = 250, self.width - 70
        unit = (right - left) / ((high - low) or 1.0)
        zero = left - low * unit
        drawn = [_text(8, 18, self.title, "start", 13, bold=True)]
        for number, (label, values) in enumerate(self.rows):
            at, x = TOP + 22 * number, zero
            drawn.append(_text(left - 8, at + 12, label, "end"))
            for part, value in enumerate(values):
                start, x = min(x, x + value * unit), x + value * unit
                wide, fill = abs(value) * unit, COLOURS[part]
                drawn.append(
                    f'<rect x="{start:.1f}" y="{at}" width="{wide:.1f}" height="15" fill="{fill}"/>'
                )
            total = sum(values)
            drawn.append(_text(max(x, zero) + 6, at + 12, _number(total), "start"))
        bottom = TOP + 22 * len(self.rows)
        drawn.append(f'<path d="M{zero:.1f} {TOP - 6}V{bottom}" stroke="#444"/>')
        drawn.append(_text(zero, bottom + 16, self.x_label, "start"))
        for part, name in enumerate(self.parts):
            x = 8 + 120 * part
            swatch = f'width="12" height="12" fill="{COLOURS[part]}"'
            drawn.append(f'<rect x="{x}" y="{bottom + 30}" {swatch}/>')
            drawn.append(_text(x + 18, bottom + 40, name, "start"))
        return "".join(drawn)

    def size(self) -> tuple[int, int]:
        """Width and height with the legend, in px."""
        return self.width, TOP + 22 * len(self.rows) + 52


Plot = LinePlot | BarPlot


def make_svg(title: str, plots: Sequence[Plot], per_row: int = 3) -> str:
    """One SVG document of several plots, so many side by side."""
    placed, y, widest = [], 8, 0
    for start in range(0, len(plots), per_row):
        x, tallest = 8, 0
        for plot in plots[start : start + per_row]:
            wide, high = plot.size()
            placed.append(f'<g transform="translate({x} {y})">{plot.draw()}</g>')
            x, tallest = x + wide + 12, max(tallest, high)
        y, widest = y + tallest + 12, max(widest, x)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest}" height="{y}"'
        f' viewBox="0 0 {widest} {y}" font-family="system-ui, sans-serif" font-size="12">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(placed)}</svg>\n"
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    is_log: bool

    @classmethod
    def over(cls, values: Sequence[float], is_log: bool) -> _Scale:
        kept = [value for value in values if value > 0 or not is_log] or [1.0]
        if is_log:
            return cls(10.0 ** math.floor(math.log10(min(kept))), max(kept) * 1.1, True)
        low, high = min(0.0, *kept, 0.0), max(0.0, *kept, 0.0)
        return cls(low, high if high > low else low + 1.0, False)

    def has(self, value: float) -> bool:
        return value > 0 or not self.is_log

    def part(self, value: float) -> float:
        if not self.is_log:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 2))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (m * step) <= 6)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]


def _number(value: float) -> str:
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def _text(
    x: float, y: float, text: str, anchor: str, size: int = 12, *, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{weight}'
    return f'<text {place} fill="#222">{escape(text)}</text>'
