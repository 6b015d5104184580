"""A run's report: one HTML file with everything in it, readable in ten years and without Internet.

Made of `run.json`, `report.json` and the scenario alone, so it can be made again at any time. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from radio_sim.report.charts import (
    WIDTH,
    nice_step,
    number,
    stacked_bars,
    svg,
    text,
    timeline,
)
from radio_sim.report.charts import line as line_chart
from radio_sim.scenario import Scenario

MAP_MARGIN = 24.0
PAIRS_MIN = 20  # a ratio over fewer pairs is no figure
LINKS_DRAWN_MAX = 4_000
NAME_CHARACTER_PX, NAME_HEIGHT_PX, NAME_ABOVE_PX = 5.4, 11.0, 9.0
SPANS_DRAWN_MAX = 1_500

STYLE = """
:root { color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5b6675;
  --rule: #dfe3e9; --c0: #1f6feb; --c1: #d9480f; --c2: #12805c; --c3: #8250df; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --bg: #10151d; --card: #18202b; --ink: #e6ebf2;
  --soft: #9aa7b8; --rule: #2b3645; --c0: #6ea8fe; --c1: #ff9a5c; --c2: #56c596; --c3: #b794f6;
  --bad: #ff8b7e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 20px 16px 40px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 2px; }
p { margin: 0 0 8px; color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(138px, 1fr)); gap: 10px;
  margin: 16px 0; padding: 0; }
.tile, section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 12px 14px; min-width: 0; }
.tile dt { color: var(--soft); font-size: .82rem; }
.tile dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.cards { columns: 3 360px; column-gap: 14px; }
.cards > section { break-inside: avoid; margin-bottom: 14px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11.5px; fill: var(--soft); }
svg text.name { fill: var(--ink); font-size: 10px; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--soft); }
.line0 { fill: none; stroke: var(--c0); stroke-width: 2; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.link { stroke: var(--c0); } .liar { fill: var(--bad); } .down { fill: var(--soft); }
.key { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: .85rem; color: var(--soft); }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 5px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td { padding: 3px 0; border-bottom: 1px solid var(--rule); } td + td { text-align: right; }
.bad { border-color: var(--bad); } .bad h2 { color: var(--bad); }
code { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def make_page(scenario: Scenario, run: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The whole document."""
    title = f"{scenario.name}, seed {run['seed']}"
    parts = [
        *_head(scenario, run, report),
        '<div class="cards">',
        _map(scenario, report),
        _delivery(report),
        _airtime(report),
        _sinr(report),
        _heard(scenario, report),
        _faults(scenario, run, report),
        _table("What became of frames", "Every receiver in reach of every frame, by the physical "
               "reason.", report["fates"]),
        _table("What the ledger decided", "Verdicts on receptions, by rule.", report["verdicts"]),
        "</div>",
        _foot(run),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(scenario: Scenario, run: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    result = run["result"]
    fates = report["fates"]
    pairs = sum(fates.values())
    tiles = {
        "hotspots": number(result["hotspots"]),
        "simulated": duration(run["seconds"]),
        "beacons sent": number(result["beacons_sent"]),
        "of frames in reach heard": f"{100 * fates.get('delivered', 0) / max(1, pairs):.1f} %",
        "receptions counted": number(result["verdicts"].get("counted", 0)),
        "faults": number(sum(report["episodes_in_all"].values())),
        "cells covered": number(result["cells_covered"]),
    }
    shown = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
        for name, value in tiles.items()
    )
    about = scenario.description or "A run in virtual time."
    ended = " Interrupted before its end." if result.get("interrupted") else ""
    return [
        f"<h1>{escape(scenario.name)}</h1>",
        f"<p>{escape(about)} Seed {run['seed']}, preset {escape(run['preset'])}.{ended}</p>",
        f'<dl class="tiles">{shown}</dl>',
        *_problems(result.get("problems") or {}),
    ]


def _problems(problems: Mapping[str, Sequence[str]]) -> list[str]:
    if not problems:
        return []
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(words)}</td></tr>"
        for name, texts in problems.items()
        for words in texts
    )
    return [f'<section class="bad"><h2>Broken invariants</h2><table>{rows}</table></section><br>']


def _card(title: str, note: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(note)}</p>{body}</section>"


def _key(*entries: tuple[str, str]) -> str:
    shown = "".join(
        f'<span><i style="background:var(--{colour})"></i>{escape(words)}</span>'
        for colour, words in entries
    )
    return f'<div class="key">{shown}</div>'


# --- cards ----------------------------------------------------------------------------------------


def _map(scenario: Scenario, report: Mapping[str, Any]) -> str:
    spots = report["positions_m"]
    heard, liars = report["beacons_heard"], set(report["liars"])
    place, scale = _fitted(spots)
    marks = [_link_mark(place(spots[a]), place(spots[b]), snr) for a, b, snr in _strong(report)]
    most = max([*heard, 1])
    for node, site in enumerate(scenario.hotspots):
        x, y = place(spots[node])
        radius = 2.5 + 5.5 * math.sqrt(heard[node] / most)
        kind = "liar" if node in liars else "c0" if heard[node] else "down"
        told = f"{site.name}: heard {heard[node]}, sent {report['beacons_sent'][node]}"
        marks.append(
            f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius:.1f}"><title>{escape(told)}'
            "</title></circle>"
        )
    marks += _names(scenario, [place(spot) for spot in spots]) + _scale_bar(scale)
    key = _key(("c0", "hotspot, larger: heard more"), ("bad", "liar"), ("soft", "heard nothing"))
    note = "Positions at the end of the run; lines are links, bolder where stronger."
    return _card("Map", note, svg(marks, WIDTH, WIDTH, "map of hotspots and links") + key)


def _names(scenario: Scenario, points: Sequence[tuple[float, float]]) -> list[str]:
    """Names above their hotspots, as many as fit without touching each other."""
    marks: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for site, (x, y) in zip(scenario.hotspots, points, strict=True):
        half = NAME_CHARACTER_PX * len(site.name) / 2
        x = min(max(x, half), WIDTH - half)
        clash = any(abs(y - b) < NAME_HEIGHT_PX and abs(x - a) < half + h for a, b, h in taken)
        if not clash:
            taken.append((x, y, half))
            marks.append(text(x, y - NAME_ABOVE_PX, site.name, "middle", "name"))
    return marks


def _strong(report: Mapping[str, Any]) -> list[tuple[int, int, float]]:
    """The strongest links, weakest first so that they are drawn below."""
    links = sorted(report.get("links", []), key=lambda link: link[2])
    return [(a, b, snr) for a, b, snr in links[-LINKS_DRAWN_MAX:]]


def _fitted(spots: Sequence[Sequence[float]]) -> tuple[Any, float]:
    """A function from metres to pixels that keeps the shape, and pixels per metre."""
    east, north = [spot[0] for spot in spots], [spot[1] for spot in spots]
    span = max(max(east) - min(east), max(north) - min(north), 1.0)
    scale = (WIDTH - 2 * MAP_MARGIN) / span
    middle = ((max(east) + min(east)) / 2, (max(north) + min(north)) / 2)

    def place(spot: Sequence[float]) -> tuple[float, float]:
        x = WIDTH / 2 + (spot[0] - middle[0]) * scale
        y = WIDTH / 2 - (spot[1] - middle[1]) * scale
        return round(x, 1), round(y, 1)

    return place, scale


def _link_mark(one: tuple[float, float], other: tuple[float, float], snr_db: float) -> str:
    strength = min(1.0, max(0.2, snr_db / 45.0))
    return (
        f'<line class="link" x1="{one[0]}" y1="{one[1]}" x2="{other[0]}" y2="{other[1]}"'
        f' stroke-opacity="{0.8 * strength:.2f}"/>'
    )


def _scale_bar(scale: float) -> list[str]:
    metres = nice_step(60.0 / scale)
    x, y, length = 10.0, WIDTH - 8.0, metres * scale
    return [
        f'<line class="axis" x1="{x}" x2="{x + length:.1f}" y1="{y}" y2="{y}"/>',
        text(x, y - 5, f"{metres:,.0f} m"),
    ]


def _delivery(report: Mapping[str, Any]) -> str:
    width = report["distance_bin_m"]
    rows = [
        ((place + 0.5) * width, delivered / pairs, pairs)
        for place, (pairs, delivered) in enumerate(
            zip(report["pairs"], report["delivered"], strict=True)
        )
        if pairs >= PAIRS_MIN
    ]
    last = max((place for place, row in enumerate(rows) if row[1] > 0), default=0)
    rows = rows[: last + 2]
    told = [f"{d:.0f} m: {100 * ratio:.1f} % of {pairs:,}" for d, ratio, pairs in rows]
    chart = line_chart(
        [(d, 100 * ratio) for d, ratio, _ in rows], ("distance in m", "heard, %"), told, 100.0
    )
    note = "Of all pairs so far apart whose receiver had power and listened there."
    return _card("Delivery ratio against distance", note, chart)


def _airtime(report: Mapping[str, Any]) -> str:
    sums, bucket = report["airtime_s"]["sums"], report["airtime_s"]["bucket_s"]
    count = max([len(row) for row in sums.values()] + [1])
    series = [
        (f"{channel} MHz", [100 * part / bucket for part in row] + [0.0] * (count - len(row)))
        for channel, row in sorted(sums.items())
    ] or [("none", [0.0])]
    edges = [place * bucket for place in range(count + 1)]
    chart = stacked_bars(edges, series, ("seconds", "airtime, %"), " %")
    key = _key(*((f"c{min(n, 3)}", name) for n, (name, _) in enumerate(series)))
    note = "Sum of all transmissions on a channel; places apart share none of it."
    return _card("Airtime per channel", note, chart + key)


def _sinr(report: Mapping[str, Any]) -> str:
    got, lost = report["sinr_delivered"], report["sinr_lost"]
    used = [n for n, pair in enumerate(zip(got, lost, strict=True)) if sum(pair)]
    low, high = (min(used), max(used) + 1) if used else (0, 1)
    edges = [report["sinr_low_db"] + n for n in range(low, high + 1)]
    series = [("heard", got[low:high]), ("lost", lost[low:high])]
    chart = stacked_bars(edges, series, ("SINR in dB", "frames"))
    note = "Mean signal over noise and all that overlapped, per frame and receiver in reach; "
    note += "the outermost bars hold all beyond."
    return _card("SINR distribution", note, chart + _key(("c0", "heard"), ("c1", "lost")))


def _heard(scenario: Scenario, report: Mapping[str, Any]) -> str:
    heard = report["beacons_heard"]
    order = sorted(range(len(heard)), key=lambda node: (-heard[node], node))
    edges = [float(place) for place in range(len(order) + 1)]
    chart = stacked_bars(
        edges, [("beacons", [float(heard[n]) for n in order])], ("hotspots, most first", "heard")
    )
    silent = [scenario.hotspots[n].name for n in order if not heard[n]]
    names = ", ".join(silent[:8]) + (" and others" if len(silent) > 8 else "")
    note = f"Heard none: {names}." if silent else "Every hotspot heard some."
    return _card("Beacons heard per hotspot", note, chart)


def _faults(scenario: Scenario, run: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    seconds = max(run["seconds"], 1e-9)
    rows: dict[str, list[tuple[float, float, str]]] = {}
    for episode in report["episodes"][:SPANS_DRAWN_MAX]:
        end = seconds if episode["end_s"] is None else min(episode["end_s"], seconds)
        who = [scenario.hotspots[node].name for node in episode["hotspots"][:6]]
        more = len(episode["hotspots"]) - len(who)
        words = f"{episode['kind']} {episode['text']}: {', '.join(who)}"
        words += f" and {more} more" if more else ""
        kind = episode["kind"].replace("_", " ")
        rows.setdefault(kind, []).append((episode["start_s"], end, words))
    if not rows:
        return _card("Faults", "None in this scenario.", "")
    total = sum(report["episodes_in_all"].values())
    note = f"{total:,} in all; hover or tap a span for who it hit."
    return _card("Faults on a timeline", note, timeline(sorted(rows.items()), seconds))


def _table(title: str, note: str, counts: Mapping[str, int]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{count:,}</td></tr>"
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    )
    return _card(title, note, f"<table>{rows}</table>" if rows else "<p>Nothing yet.</p>")


def _foot(run: Mapping[str, Any]) -> str:
    result, made = run["result"], run.get("software", {})
    rows = {
        "digest": result["digest"],
        "ledger root": result["ledger_root"],
        "packets, SHA-256": result.get("packets_sha256", ""),
        "software": " ".join(f"{name} {value}" for name, value in made.items()),
    }
    shown = "".join(
        f"<p>{escape(name)}<br><code>{escape(value)}</code></p>" for name, value in rows.items()
    )
    return f"<br><section><h2>What a replay must come to</h2>{shown}</section>"


def duration(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
