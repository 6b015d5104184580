"""`wavecomb chain economics`: what the rules come to, as tables, JSON and plots."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Progress, add_command, print_json, write_json

EXAMPLES = """
  wavecomb chain economics --view network
  wavecomb chain economics --view owner --json
  wavecomb chain economics --view attacker --svg attacker.svg
  wavecomb chain economics --dir economics           # every view: JSON and a plot
"""
VIEWS = ("owner", "network", "attacker")
STEPS = {"owner": 9, "network": 3, "attacker": 36}
PLOTTED_CELLS = 100_000
Value = dict[str, Any]


def add_commands(commands: Any) -> None:
    """Add `economics` to the sub-commands of `wavecomb chain`."""
    command = add_command(
        commands,
        "economics",
        "say what the rules come to for owners, the network and attackers, on drawn networks",
    )
    command.add_argument("--view", choices=VIEWS, help="one view (default: all of them)")
    command.add_argument("--svg", type=Path, metavar="FILE", help="write the view's plot there")
    command.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="write VIEW.json and VIEW.svg of each there, made if missing",
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run_economics)


def run_economics(options: argparse.Namespace) -> int:
    """Compute the views and show them."""
    if options.svg and not options.view:
        raise UserError("svg", "holds one plot", "name the view with --view, or use --dir")
    views = (options.view,) if options.view else VIEWS
    values = {view: compute_view(view, quiet=options.json) for view in views}
    if options.svg:
        options.svg.write_text(draw_view(options.view, values[options.view]))
    if options.dir:
        options.dir.mkdir(parents=True, exist_ok=True)
        for view, value in values.items():
            write_json(options.dir / f"{view}.json", value)
            (options.dir / f"{view}.svg").write_text(draw_view(view, value))
    if options.json:
        print_json(values[options.view] if options.view else values)
    else:
        print("\n\n".join(TABLES[view](value) for view, value in values.items()), flush=True)
    return EXIT_OK


def compute_view(view: str, *, quiet: bool = False) -> Value:
    """A view as JSON; amounts in ucr."""
    from chain.economics import attacks  # here: other sub-commands need none of it
    from chain.economics import returns as economics

    progress, done = Progress(view, STEPS[view], quiet=quiet), 0

    def tell(note: str) -> None:
        nonlocal done
        progress.update(done, note)
        done += 1

    if view == "owner":
        rows = economics.compute_owner_rows(tell)
        value: Value = {"rows": [{**asdict(row), "total_ucr": row.total_ucr} for row in rows]}
    elif view == "network":
        paths = []
        for demand in economics.DEMANDS:
            tell(demand.name)
            paths.append(asdict(economics.compute_network_path(demand)))
        value = {"paths": paths}
    else:
        attacker = attacks.compute_attacker_view(tell)
        value = asdict(attacker)
        returns = [{"return_bp": circle.return_bp} for circle in attacker.circles]
        value["circles"] = [
            {**circle, **back} for circle, back in zip(value["circles"], returns, strict=True)
        ]
    progress.close()
    return value


def make_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns aligned."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = [
        "| " + " | ".join(text.ljust(wide) for text, wide in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (wide + 2) for wide in widths) + "|")
    return "\n".join(lines)


def credits_of(ucr: int) -> str:
    """Credits, to the thousandth or to whole ones."""
    return f"{ucr / 1e6:,.0f}" if abs(ucr) >= 1e9 else f"{ucr / 1e6:.3f}"


KINDS = ("relay", "coverage", "bounty", "bootstrap", "witness")


def make_owner_table(value: Value) -> str:
    """What the median hotspot earns per day, in credits."""
    rows = [
        (
            *(f"{row['network_cells']:,}", row["area"], row["scenario"]),
            *(credits_of(row["earned_ucr"][kind]) for kind in KINDS),
            credits_of(row["total_ucr"]),
        )
        for row in value["rows"]
    ]
    return make_table(("network, cells", "area", "with", *KINDS, "credits a day"), rows)


def make_network_table(value: Value) -> str:
    """What is minted and destroyed on the last day of some years, and the supply, in credits."""
    rows = [
        (
            *(path["demand"]["name"], year["year"], f"{year['hotspots']:,}"),
            *(credits_of(year["minted_ucr"]), credits_of(year["destroyed_ucr"])),
            credits_of(year["issued_ucr"]),
        )
        for path in value["paths"]
        for year in path["years"]
        if year["year"] in (1, 2, 4, 6, 8, 10, 15, 20)
    ]
    head = ("demand", "year", "hotspots", "minted a day", "destroyed a day", "minted - destroyed")
    lines = [make_table(head, rows), ""]
    for path in value["paths"]:
        day, name = path["crossing_day"], path["demand"]["name"]
        when = "never" if day is None else f"from year {day // 365 + 1} on (day {day})"
        lines.append(f"{name}: more is destroyed than minted {when}")
    return "\n".join(lines)


def make_attacker_table(value: Value) -> str:
    """Returns of paying oneself; what invented hotspots and crowded sites earn per day."""
    circles = [
        (one["name"], one["strangers"], f"{one['return_bp'] / 100:.2f} %")
        for one in value["circles"]
    ]
    rings = [
        (
            *(one["edges"], one["keys"], credits_of(one["earned_ucr"])),
            *(credits_of(one["unbounded_ucr"]), credits_of(one["honest_ucr"])),
            one["bond_ucr"] // 10**6,
            f"{100 * one['earned_ucr'] / one['bond_ucr']:.2f} %",
        )
        for one in value["rings"]
    ]
    sites = [
        (one["per_cell"], one["hotspots"], credits_of(one["earned_ucr"]), one["bond_ucr"] // 10**6)
        for one in value["sites"]
    ]
    return "\n\n".join(
        (
            make_table(("paying oneself", "strangers in the cell", "return"), circles),
            make_table(
                (
                    *("honest neighbours", "invented keys", "credits a day"),
                    *("without the bound", "an honest hotspot", "bond", "a day of the bond"),
                ),
                rings,
            ),
            make_table(
                ("hotspots per cell", "at one site", "credits a day, all", "bond"), sites
            ),
        )
    )


TABLES: dict[str, Callable[[Value], str]] = {
    "owner": make_owner_table,
    "network": make_network_table,
    "attacker": make_attacker_table,
}


def draw_view(view: str, value: Value) -> str:
    """The plot of a view as SVG."""
    from chain.cli import io_economics_plots

    return io_economics_plots.DRAWINGS[view](value)
