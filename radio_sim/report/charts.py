"""Charts as inline SVG: bars, stacked bars, lines and a timeline, drawn for a narrow card.

Colours are CSS classes, so that the page decides them for light and dark; each mark has a `title`
that tells its exact value. Coordinates are rounded: the same data makes the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 12.0, 40.0
ROW_H = 22.0
TICKS = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from `low` to `high` over pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixel of a value."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.0
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        """About TICKS round numbers inside."""
        step = nice_step((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def nice_step(wanted: float) -> float:
    """1, 2 or 5 times a power of ten, not below what is wanted."""
    if not wanted > 0 or not math.isfinite(wanted):
        return 1.0
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= wanted)


def number(value: float) -> str:
    """A number as short as it can be told."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def svg(body: Sequence[str], width: float, height: float, label: str) -> str:
    """Wrap marks into one image with a text for those who don't see it."""
    marks = "".join(body)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{marks}</svg>"
    )


def frame(x: Axis, y: Axis, x_label: str, y_label: str) -> list[str]:
    """Grid lines, tick labels and the names of both axes."""
    marks = []
    for value in y.ticks():
        marks.append(f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y.at(value)}"'
                     f' y2="{y.at(value)}"/>')
        marks.append(text(x.start - 6, y.at(value) + 4, number(value), "end"))
    marks += [text(x.at(value), y.start + 16, number(value), "middle") for value in x.ticks()]
    marks.append(f'<line class="axis" x1="{x.start}" x2="{x.end}" y1="{y.start}" y2="{y.start}"/>')
    marks.append(text((x.start + x.end) / 2, y.start + 33, x_label, "middle"))
    marks.append(
        f'<text transform="translate(11 {(y.start + y.end) / 2:g}) rotate(-90)"'
        f' text-anchor="middle">{escape(y_label)}</text>'
    )
    return marks


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """A line of text."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def stacked_bars(
    edges: Sequence[float],
    series: Sequence[tuple[str, Sequence[float]]],
    labels: tuple[str, str],
    unit: str = "",
) -> str:
    """Bars between edges, one colour (class c0, c1, ...) per series, on top of each other."""
    totals = [sum(values) for values in zip(*(row for _, row in series), strict=True)]
    x = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Axis(0.0, max([*totals, 1e-9]), HEIGHT - BOTTOM, TOP)
    marks = frame(x, y, *labels)
    floor = [0.0] * len(totals)
    for place, (name, row) in enumerate(series):
        for index, value in enumerate(row):
            if value <= 0:
                continue
            left, right = x.at(edges[index]), x.at(edges[index + 1])
            low, high = y.at(floor[index]), y.at(floor[index] + value)
            floor[index] += value
            told = f"{name}: {number(value)}{unit} ({number(edges[index])} to "
            told += f"{number(edges[index + 1])})"
            marks.append(rect(left, high, max(0.5, right - left - 0.6), low - high, place, told))
    return svg(marks, WIDTH, HEIGHT, f"{labels[1]} by {labels[0]}")


def line(
    points: Sequence[tuple[float, float]], labels: tuple[str, str], told: Sequence[str], top: float
) -> str:
    """A line through points, with a dot at each; y from 0 to `top`."""
    x = Axis(0.0, max([point[0] for point in points] + [1e-9]), LEFT, WIDTH - RIGHT)
    y = Axis(0.0, top, HEIGHT - BOTTOM, TOP)
    marks = frame(x, y, *labels)
    path = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in points)
    marks.append(f'<polyline class="line0" points="{path}"/>')
    for (a, b), words in zip(points, told, strict=True):
        marks.append(
            f'<circle class="c0" cx="{x.at(a)}" cy="{y.at(b)}" r="3"><title>{escape(words)}</title>'
            "</circle>"
        )
    return svg(marks, WIDTH, HEIGHT, f"{labels[1]} by {labels[0]}")


def timeline(
    rows: Sequence[tuple[str, Sequence[tuple[float, float, str]]]], seconds: float
) -> str:
    """Spans (start, end, words) in a row per name, over the length of a run."""
    height = TOP + ROW_H * len(rows) + BOTTOM
    x = Axis(0.0, seconds, 92.0, WIDTH - RIGHT)
    floor = height - BOTTOM
    marks = [
        f'<line class="grid" x1="{x.at(v)}" x2="{x.at(v)}" y1="{TOP}" y2="{floor}"/>'
        f'{text(x.at(v), floor + 16, number(v), "middle")}'
        for v in x.ticks()
    ]
    for place, (name, spans) in enumerate(rows):
        top = TOP + ROW_H * place
        marks.append(text(86, top + 15, name, "end"))
        for start, end, words in spans:
            width = max(1.5, x.at(end) - x.at(start))
            marks.append(rect(x.at(start), top + 4, width, ROW_H - 8, 1, words))
    marks.append(text((x.start + x.end) / 2, floor + 33, "seconds", "middle"))
    return svg(marks, WIDTH, height, "faults by time")


def rect(x: float, y: float, width: float, height: float, colour: int, told: str) -> str:
    """A bar."""
    return (
        f'<rect class="c{colour}" x="{x:g}" y="{y:g}" width="{round(width, 2):g}"'
        f' height="{round(height, 2):g}"><title>{escape(told)}</title></rect>'
    )
