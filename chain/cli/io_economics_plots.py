"""The plots of `wavecomb chain economics`, from the JSON of its views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.cli.io_economics import KINDS, PLOTTED_CELLS
from chain.io_plot import BarPlot, Line, LinePlot, make_svg

UCR = 1e6
Value = dict[str, Any]


def get_series(rows: list[Value], x: str, y: str) -> list[tuple[float, float]]:
    """Points of some rows; y from ucr to credits."""
    return [(row[x], row[y] / UCR) for row in rows]


def draw_owner(value: Value) -> str:
    """Bars per area and scenario, in a network of middle size."""
    rows = [
        (
            f"{row['area']}: {row['scenario']}",
            [row["earned_ucr"][kind] / UCR for kind in KINDS],
        )
        for row in value["rows"]
        if row["network_cells"] == PLOTTED_CELLS
    ]
    rows.sort(key=lambda row: row[0].split(":")[0])
    title = f"What a hotspot earns, network of {PLOTTED_CELLS:,} covered cells"
    return make_svg(title, [BarPlot(title, "credits a day", KINDS, rows)])


def draw_network(value: Value) -> str:
    """Per demand path, what is minted and destroyed a day; and the supply of all paths."""
    plots = []
    for path in value["paths"]:
        lines = [
            Line(label, get_series(path["years"], "year", f"{label}_ucr"), colour)
            for colour, label in enumerate(("minted", "destroyed"))
        ]
        title = f"Demand: {path['demand']['name']}"
        plots.append(LinePlot(title, "years", "credits a day", lines, is_log_y=True))
    supply = [
        Line(
            path["demand"]["name"],
            get_series(path["years"], "year", "issued_ucr"),
            colour + 2,
        )
        for colour, path in enumerate(value["paths"])
    ]
    plots.append(LinePlot("Minted less destroyed, in all", "years", "credits", supply))
    return make_svg("Emission and burn over the years", plots, per_row=2)


def draw_attacker(value: Value) -> str:
    """Rings with and without the bound, crowded sites, and paying oneself."""
    edges = sorted({ring["edges"] for ring in value["rings"]})
    lines = []
    for colour, count in enumerate(edges):
        own = [ring for ring in value["rings"] if ring["edges"] == count]
        for label, key, is_dashed in (
            ("", "earned_ucr", False),
            (", without the bound", "unbounded_ucr", True),
        ):
            points = get_series(own, "keys", key)
            lines.append(Line(f"{count} honest neighbours{label}", points, colour, is_dashed))
    honest = get_series(own, "keys", "honest_ucr")
    lines.append(Line("one honest hotspot", honest, 6))
    rings = LinePlot(
        *("Invented hotspots behind one radio", "keys", "credits a day, all keys", lines),
        is_log_x=True,
        is_log_y=True,
    )
    densities = sorted({site["per_cell"] for site in value["sites"]})
    crowded = [
        Line(
            f"{density} other hotspots per cell",
            get_series(
                [site for site in value["sites"] if site["per_cell"] == density],
                *("hotspots", "earned_ucr"),
            ),
            colour,
        )
        for colour, density in enumerate(densities)
    ]
    sites = LinePlot("Hotspots at one site", "hotspots", "credits a day, all of them", crowded)
    circles = BarPlot(
        *("Paying oneself", "return in percent", ("return",)),
        [
            (f"{one['name']}, {one['strangers']} strangers", [one["return_bp"] / 100])
            for one in value["circles"]
        ],
    )
    return make_svg("Attacks on the money", [rings, sites, circles], per_row=2)


DRAWINGS: dict[str, Callable[[Value], str]] = {
    "owner": draw_owner,
    "network": draw_network,
    "attacker": draw_attacker,
}
