"""The `wavecomb` command: hands over to the package that owns the sub-command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

__version__ = "0.1.0"

COMMANDS = {
    "demo": ("radio_sim.io_demo", "bring up a whole network on simulated radios and open its page"),
    "hotspot": ("hotspot.io_cli", "run, inspect and repair a hotspot"),
    "map": ("coverage_map.io_cli", "serve the coverage map and its API"),
    "routing": ("routing.io_cli", "train, evaluate and explain the congestion forecast"),
    "job": ("hotspot.jobs.io_cli", "submit a bandwidth job, see its status, cancel it"),
    "chain": ("chain.cli.io_cli", "run the ledger; explain and audit what it paid"),
    "sim": ("radio_sim.io_cli", "simulate: run, import, live"),
}


# Which of our extras brings a package that is missing: a command's own, else the package's.
COMMAND_EXTRAS = {"demo": "sim", "sim": "sim", "map": "coverage", "routing": "routing"}
EXTRAS = {
    "aiohttp": "gateway",
    "h3": "coverage",
    "lightgbm": "routing",
    "numpy": "coverage",
    "psutil": "sim",
    "pyroute2": "kernel",
    "scapy": "scapy",
    "scipy": "coverage",
    "shapely": "coverage",
    "wordllama": "gateway",
}


def usage() -> str:
    """Text of `wavecomb --help`."""
    lines = [f"  {name:<9}{text}" for name, (_, text) in COMMANDS.items()]
    return (
        "usage: wavecomb COMMAND [OPTIONS]\n\nA wireless network that nobody owns.\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\nexamples:\n  wavecomb demo\n  wavecomb COMMAND --help\n  wavecomb --version\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"wavecomb {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        sys.stderr.write(f"wavecomb: {arguments[0]}: no such command; see wavecomb --help\n")
        return 2
    from chain.io_terminal import run_command

    return run_command(_hand_over, arguments)


def _hand_over(argv: Sequence[str]) -> int:
    """Run a command; UserError that names the extra where a package of one is missing."""
    from chain.errors import EXIT_FAILED, UserError

    try:
        module = importlib.import_module(COMMANDS[argv[0]][0])
        return int(module.main(argv[1:]))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        extra = COMMAND_EXTRAS.get(argv[0], EXTRAS[package])
        remedy = f"run: pip install 'wavecomb[{extra}]'"
        raise UserError(argv[0], f"needs {package}", remedy, exit_code=EXIT_FAILED) from error


if __name__ == "__main__":
    sys.exit(main())
