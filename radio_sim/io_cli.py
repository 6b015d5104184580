"""`wavecomb sim`: run worlds in virtual time, replay and render them, import networks, run live."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, add_command, print_json
from radio_sim.assemble import backhaul_of, links_of
from radio_sim.importers.convert import Box, ImportReport, convert
from radio_sim.importers.io_files import FORMATS, read_network
from radio_sim.importers.meshnet_lab import AXES
from radio_sim.io_report import add_render, render
from radio_sim.io_run import add_bench, add_replay, add_run, bench, replay, run, show
from radio_sim.io_scenario import load_scenario
from radio_sim.scenario import Scenario, format_scenario, parse_scenario
from radio_sim.telemetry import COLUMNS, GATEWAY_EVERY, Telemetry

DESCRIPTION = "Simulate a network of hotspots: the same daemons, on radios that exist in software."
MAX_TELEMETRY_ROWS = 50_000_000
DELEGATED = {
    "live": ("radio_sim.io_live", "run a scenario live, on radio devices of the kernel (root)"),
    "world": ("radio_sim.io_world", "run a scenario's routers in real time beside a ledger"),
    "demand": ("radio_sim.io_demand", "send AI requests to gateways at a trace's pace"),
}
EXAMPLES = """
  wavecomb sim run builtin:city --minutes 10
  wavecomb sim run builtin:city:1000:7 --hours 1 --json
  wavecomb sim run builtin:storm --minutes 12 --check --out storm-run
  wavecomb sim run --swarm --seed 7 --runs 50
  wavecomb sim replay storm-run
  wavecomb sim render storm-run -o storm.html
  wavecomb sim bench --hotspots 200 --json
  wavecomb sim run builtin:city --minutes 4 --pcapng city.pcapng
  wavecomb sim import meshviewer.json -o town.toml
  wavecomb sim import nodes.json links.json --bbox 40.68,-74.02,40.74,-73.96 -o nyc.toml
  wavecomb sim telemetry builtin:city --seconds 7200 -o links.csv
  wavecomb sim live --hotspots 6 --seconds 40
"""


def main(argv: Sequence[str]) -> int:
    """Entry point of `wavecomb sim`."""
    arguments = list(argv)
    if arguments and arguments[0] in DELEGATED:
        owner = importlib.import_module(DELEGATED[arguments[0]][0])
        return int(owner.main(arguments[1:]))
    options = _parser().parse_args(arguments)
    if not 0 <= getattr(options, "seed", 0) < 1 << 64:
        raise UserError("--seed", f"{options.seed} is out of range", "use 0 to 2^64 - 1")
    commands = {
        "run": run,
        "replay": replay,
        "render": render,
        "bench": bench,
        "import": _import,
        "telemetry": _telemetry,
    }
    return commands[options.command](options)


def _parser() -> Parser:
    parser = Parser(prog="wavecomb sim", description=DESCRIPTION, examples=EXAMPLES)
    commands = parser.add_commands()
    add_run(add_command(commands, "run", "run a scenario in virtual time, ledger included"))
    add_replay(add_command(commands, "replay", "run a saved run again, and compare every byte"))
    add_render(add_command(commands, "render", "make a saved run's report, one HTML file"))
    add_bench(add_command(commands, "bench", "measure how fast worlds run on this machine"))
    _add_import(add_command(commands, "import", "make a scenario of a published network"))
    _add_telemetry(
        add_command(commands, "telemetry", "make link telemetry to train the forecast on")
    )
    for name, (_, text) in DELEGATED.items():
        commands.add_parser(name, help=text)
    return parser


def _add_scenario(command: Parser) -> None:
    command.add_argument(
        "scenario", metavar="SCENARIO", help="builtin:city[:HOTSPOTS[:SEED]] or a TOML file"
    )
    command.add_argument("--seed", type=int, default=1, help="same seed, same run (default: 1)")


def _add_import(read: Parser) -> None:
    read.add_argument("files", nargs="+", type=Path, metavar="FILE", help="plain, .gz or .xz")
    read.add_argument(
        "--format", choices=FORMATS, default="auto", help="what the files are (default: found out)"
    )
    read.add_argument(
        "--axis", choices=AXES, default="auto", help="what (x, y) of meshnet-lab are (auto: guess)"
    )
    read.add_argument("--largest", type=int, metavar="N", help="keep the N best connected nodes")
    read.add_argument("--bbox", help="keep SOUTH,WEST,NORTH,EAST in degrees")
    read.add_argument("--name", help="name of the scenario (default: the first file's)")
    read.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="scenario to write"
    )
    read.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_telemetry(tell: Parser) -> None:
    _add_scenario(tell)
    tell.add_argument("--seconds", type=int, default=7200, help="length (default: %(default)s)")
    tell.add_argument(
        "--step", type=int, default=5, help="seconds between samples (default: %(default)s)"
    )
    tell.add_argument(
        "--start-hour", type=float, default=17.0, metavar="H", help="of the day (default: 17)"
    )
    tell.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="CSV to write"
    )
    tell.add_argument("--json", action="store_true", help="print one JSON document")


def _import(options: argparse.Namespace) -> int:
    """Import a published network."""
    missing = [path for path in options.files if not path.is_file()]
    if missing:
        raise UserError("FILE", f"no file {str(missing[0])!r}", "name existing files")
    if options.largest is not None and options.largest < 1:
        raise UserError("--largest", f"{options.largest} is too few", "use 1 or more")
    network = read_network(options.files, options.format, options.axis)
    name = options.name or options.files[0].name.split(".")[0]
    scenario, report = convert(
        network, name=name, largest=options.largest, bbox=_box(options.bbox)
    )
    text = format_scenario(scenario)
    parse_scenario(text, str(options.output))  # what we write, we must be able to read
    options.output.write_text(text, encoding="utf-8")
    if options.json:
        print_json({"output": str(options.output), **report.as_json()})
    else:
        print(_report_text(report, options.output))
    return EXIT_OK


def _box(text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        south, west, north, east = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError("--bbox", f"{text!r} is no box", "use SOUTH,WEST,NORTH,EAST") from None
    if not (south < north and west < east):
        raise UserError("--bbox", f"{text!r} is empty", "use SOUTH,WEST,NORTH,EAST")
    return (south, west, north, east)


def _report_text(report: ImportReport, output: Path) -> str:
    links = ", ".join(f"{count} {kind}" for kind, count in sorted(report.links.items()))
    lines = [
        f"{report.format}: {report.nodes_read} nodes and {report.links_read} links read",
        f"{output}: {report.hotspots} hotspots, links: {links or 'none'}",
        f"placed beside a neighbour, having no position: {report.placed}",
        f"spread around a position that several share: {report.spread}",
    ]
    reasons = sorted(report.as_json()["dropped"].items())
    lines += [f"left out: {count} x {why}" for why, count in reasons]
    return "\n".join(lines + report.notes)


def _telemetry(options: argparse.Namespace) -> int:
    """Write a day's telemetry as CSV."""
    if not (1 <= options.step <= 3600 and options.seconds >= options.step):
        raise UserError("--step", f"{options.step} does not fit", "use 1 to --seconds")
    if not 0 <= options.start_hour < 24:
        raise UserError("--start-hour", f"{options.start_hour:g} is no hour", "use 0 to 23.99")
    scenario = load_scenario(options.scenario)
    backhaul = backhaul_of(scenario, links_of(scenario, options.seed), options.seed)
    if not backhaul.links:
        raise UserError("scenario", "it has no backhaul link", "add [[link]] or move hotspots")
    rows = 2 * len(backhaul.links) * (options.seconds // options.step)
    if rows > MAX_TELEMETRY_ROWS:
        raise UserError("--seconds", f"{rows} rows", f"stay below {MAX_TELEMETRY_ROWS}")
    model = Telemetry(
        len(scenario.hotspots), backhaul.links, gateways_of(scenario), options.seed
    )
    progress = Progress("telemetry", rows, quiet=options.json)
    written = 0
    with options.output.open("w", encoding="ascii", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for part in model.samples(options.seconds, options.step, options.start_hour):
            file.write("".join(",".join(map(str, row)) + "\n" for row in part.tolist()))
            written += len(part)
            progress.update(written)
    progress.close()
    result = {"output": str(options.output), "rows": written, "links": 2 * len(backhaul.links)}
    show(result, options.json)
    return EXIT_OK


def gateways_of(scenario: Scenario) -> list[int]:
    """Hotspots whose role says so; else every fifteenth."""
    named = [n for n, site in enumerate(scenario.hotspots) if "gateway" in site.roles]
    return named or list(range(0, len(scenario.hotspots), GATEWAY_EVERY))
