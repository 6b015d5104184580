"""`wavecomb sim`: run worlds in virtual time, replay and render them, import networks, run live."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from chain.errors import UserError
from chain.io_terminal import Parser, add_command
from radio_sim.importers.io_files import FORMATS
from radio_sim.importers.meshnet_lab import AXES
from radio_sim.io_attack import add_attack
from radio_sim.io_options import add_bench, add_render, add_replay, add_run

DESCRIPTION = "Simulate a network of hotspots: the same daemons, on radios that exist in software."
DELEGATED = {
    "live": ("radio_sim.live.io_live", "run a scenario live, on radios of the kernel (root)"),
    "world": ("radio_sim.io_world", "run a scenario's routers in real time beside a ledger"),
    "demand": ("radio_sim.io_demand", "send AI requests to gateways at a trace's pace"),
}
# Who carries out a command; they need numpy, scipy and compiled kernels, so not before it is named.
OWNERS = {
    "run": ("radio_sim.io_run", "run"),
    "replay": ("radio_sim.io_run", "replay"),
    "bench": ("radio_sim.io_run", "bench"),
    "render": ("radio_sim.report.io_report", "render"),
    "import": ("radio_sim.io_import", "import_network"),
    "telemetry": ("radio_sim.io_telemetry", "telemetry"),
    "attack": ("radio_sim.io_attack", "attack"),
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
  wavecomb sim attack list
  wavecomb sim attack wormhole --share 0.1 --seed 7 --out wormhole
  wavecomb sim attack all --json
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
    module, function = OWNERS[options.command]
    return int(getattr(importlib.import_module(module), function)(options))


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
    add_attack(add_command(commands, "attack", "attack the proof of coverage, and measure it"))
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
