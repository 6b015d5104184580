"""A printable report: one HTML file with its map as SVG, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from coverage_map.cells import Floats, ring
from coverage_map.planning.scene import Scene, Service

Spot = tuple[float, float, str]  # latitude, longitude, label; no label is a hotspot that stands

WIDTH_PX = 760.0
DRAWN_MAX = 8_000
# Okabe and Ito's colours, told apart with any sight; hatching isn't needed in print.
COLOURS = {
    "served, measured": "#0072b2",
    "served, predicted": "#8cc5e3",
    "not served": "#d55e00",
    "unknown": "#dddddd",
}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#111}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ccc}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;border:1px solid #ccc} .key span{margin-right:1.2rem}
.key i{display:inline-block;width:.9em;height:.9em;margin-right:.35em;border:1px solid #888}
.about{color:#444;border-bottom:1px solid #ccc;padding-bottom:.8rem}
@media print{body{margin:0;max-width:none} h2{break-after:avoid} tr{break-inside:avoid}
.key i,svg path{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
""" + "".join(f".k{k}{{background:{colour}}}\n" for k, colour in enumerate(COLOURS.values()))
# What a server says with the page: its own style, told by its hash, and nothing else.
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(
    title: str, about: str, parts: Mapping[str, Any], picture: str, service: Service,
    resolution: int,
) -> str:  # fmt: skip
    """The whole document; `about` says of what and when it is."""
    key = "".join(f'<span><i class="k{k}"></i>{name}</span>' for k, name in enumerate(COLOURS))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="about">{html.escape(about)}</p>' if about else "",
        f"<p>Served means {service.threshold_dbm:g} dBm or more with a probability of "
        f"{service.probability:.0%}. Hexagons are H3 cells of resolution {resolution}.</p>",
        sums(parts["gaps"]["area"]),
        f'<h2>Map</h2>{picture}<p class="key">{key}</p>',
        placed(parts["placed"]) if "placed" in parts else "",
        gaps(parts["gaps"]),
        servers(parts["best-server"], parts["interference"]),
        "<p>Predicted cells are predictions, however likely. Measured cells rest on signed "
        "reports that the ledger has judged.</p>",
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    return head + "</head><body>" + "\n".join(body) + "</body></html>\n"


def table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; the first column is text, the others numbers."""
    head = "".join(f'<th{_kind(k)} scope="col">{html.escape(n)}</th>' for k, n in enumerate(names))
    lines = [
        "<tr>" + "".join(f"<td{_kind(k)}>{_text(v)}</td>" for k, v in enumerate(row)) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _kind(column: int) -> str:
    return ' class="n"' if column else ""


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.10g}" if isinstance(value, int | float) else html.escape(str(value))


def sums(area: Mapping[str, Any]) -> str:
    """What is served and what isn't."""
    rows = [
        (name.replace("_", " "), part["cells"], round(part["area_km2"], 2), part["people"])
        for name, part in area.items()
    ]
    return "<h2>Coverage</h2>" + table(("state", "cells", "km²", "people"), rows)


def placed(found: Mapping[str, Any]) -> str:
    """Proposed sites, best first."""
    rows = [
        (f"{k + 1}: {row['lat']:.5f}, {row['lon']:.5f}", row["adds"],
         row["reward"]["per_settlement_ucr"] / 1e6, row["reward"]["links"])
        for k, row in enumerate(found["sites"])
    ]  # fmt: skip
    names = ("site", f"adds {found['unit']}", "credits a settlement", "links")
    share = f"{found['share_of_bound']:.1%}"
    return (
        "<h2>Proposed sites</h2>" + table(names, rows)
        + f"<p>Together {_text(found['covered'])} {found['unit']}: at least {share} of what any "
        f"choice of as many among {found['candidates']} candidates could reach.</p>"
    )  # fmt: skip


def gaps(found: Mapping[str, Any]) -> str:
    """The largest gaps."""
    counted = found["area"]["unserved"]["people"] is not None
    rows = [
        (f"{g['lat']:.5f}, {g['lon']:.5f}", g["people"] if counted else None,
         round(g["area_km2"], 2), g["measured_below"], g["predicted_below"], g["unknown"],
         g["best_dbm"])
        for g in found["gaps"]
    ]  # fmt: skip
    names = ("gap", "people", "km²", "measured", "predicted", "unknown", "best dBm")
    said = f"<p>{len(rows)} of {found['gaps_in_all']} gaps.</p>"
    return "<h2>Gaps</h2>" + table(names, rows) + said


def servers(best: Mapping[str, Any], noise: Mapping[str, Any]) -> str:
    """Which hotspots carry the area, and how much they disturb each other."""
    only = best["only_server_cells"]
    rows = [(k, n, only.get(k, 0)) for k, n in list(best["best_server_cells"].items())[:20]]
    said = (
        f"<p>{noise['cells_below']} of {noise['served_cells']} served cells have less than "
        f"{noise['good_sinr_db']:g} dB over interference if all send at once; in "
        f"{noise['cells_sharing_air']} several hotspots take turns.</p>"
    )
    names = ("hotspot", "cells it serves best", "cells that hang on it alone")
    return "<h2>Hotspots</h2>" + table(names, rows) + said


def draw_map(scene: Scene, service: Service, spots: Sequence[Spot]) -> str:
    """Cells by state, hotspots as dots, proposed sites with their rank."""
    if not len(scene):
        return "<p>Nothing is known here.</p>"
    step = math.ceil(len(scene) / DRAWN_MAX)
    rows = np.arange(0, len(scene), step)
    rings = [np.array(ring(int(scene.cells[row]))) for row in rows]
    every = np.concatenate(rings)
    low, high = every.min(axis=0), every.max(axis=0)
    narrowing = math.cos(math.radians(float((low[1] + high[1]) / 2.0)))
    scale = WIDTH_PX / max(float(high[0] - low[0]) * narrowing, float(high[1] - low[1]) / 1.2)

    def pixels(places: Floats) -> Floats:
        return np.column_stack(
            ((places[:, 0] - low[0]) * narrowing * scale, (high[1] - places[:, 1]) * scale)
        )

    served, unknown = scene.served(service)[rows], np.isnan(scene.best_dbm())[rows]
    kind = np.where(served, np.where(scene.measured[rows], 0, 1), np.where(unknown, 3, 2))
    shapes = []
    for number, colour in enumerate(COLOURS.values()):
        path = "".join(
            "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels(one[:-1])) + "z"
            for one, k in zip(rings, kind, strict=True) if k == number
        )  # fmt: skip
        shapes.append(f'<path fill="{colour}" d="{path}"/>')
    inside = [s for s in spots if low[1] <= s[0] <= high[1] and low[0] <= s[1] <= high[0]]
    for latitude, longitude, label in inside:
        x, y = pixels(np.array([[longitude, latitude]]))[0].tolist()
        shapes.append(_spot(x, y, label))
    size = pixels(np.array([[high[0], low[1]]]))[0]
    note = f"<p>Every {step}th hexagon is drawn.</p>" if step > 1 else ""
    return (
        f'<svg viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" role="img" aria-label="Coverage map">'
        + "".join(shapes) + "</svg>" + note
    )  # fmt: skip


def _spot(x: float, y: float, label: str) -> str:
    if not label:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#000" stroke="#fff"/>'
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="#fff" stroke="#000"/><text x="{x:.1f}" '
        f'y="{y + 3.5:.1f}" font-size="10" text-anchor="middle">{html.escape(label)}</text>'
    )
