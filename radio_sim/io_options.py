"""Options of `wavecomb sim`'s own commands: nothing heavy is imported before one of them runs."""

from __future__ import annotations

from pathlib import Path

from chain.io_terminal import Parser


def add_run(run: Parser) -> None:
    """Options of `sim run`."""
    run.add_argument(
        "scenario",
        nargs="?",
        metavar="SCENARIO",
        help="builtin:city[:HOTSPOTS[:SEED]], builtin:NAME or a TOML file",
    )
    run.add_argument("--seed", type=int, default=1, help="same seed, same run (default: 1)")
    duration = run.add_mutually_exclusive_group()
    duration.add_argument("--hours", type=float, help="length of the run")
    duration.add_argument("--minutes", type=float, help="the same in minutes (default: 10)")
    duration.add_argument("--seconds", type=float, help="the same in seconds")
    run.add_argument("--preset", help="mainnet, testbed (default) or minimal")
    run.add_argument("--beacons", type=int, metavar="N", help="per epoch (default: the preset's)")
    run.add_argument(
        "--verify",
        choices=("shared", "every"),
        default="shared",
        help="check each beacon's signature once for all who hear it (default), or at every one",
    )
    run.add_argument("--check", action="store_true", help="have all checkers watch; exit 1 if one")
    run.add_argument("--out", type=Path, metavar="DIR", help="new folder to keep the run in")
    run.add_argument(
        "--pcapng", type=Path, metavar="FILE", help="write all that is heard, for Wireshark"
    )
    run.add_argument(
        "--swarm", action="store_true", help="run worlds whose faults their seed draws, checked"
    )
    run.add_argument("--runs", type=int, metavar="K", help="worlds of a swarm (default: 20)")
    run.add_argument("--json", action="store_true", help="print one JSON document")


def add_replay(replay: Parser) -> None:
    """Options of `sim replay`."""
    replay.add_argument("folder", type=Path, metavar="DIR", help="what `sim run --out` made")
    replay.add_argument("--json", action="store_true", help="print one JSON document")


def add_bench(bench: Parser) -> None:
    """Options of `sim bench`."""
    bench.add_argument("--hotspots", type=int, default=100, help="size (default: %(default)s)")
    bench.add_argument(
        "--minutes", type=float, default=10.0, help="simulated time (default: %(default)g)"
    )
    bench.add_argument("--seed", type=int, default=1, help="of city and run (default: 1)")
    bench.add_argument("--json", action="store_true", help="print one JSON document")


def add_render(parser: Parser) -> None:
    """Options of `sim render`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `sim run --out` made")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: report.html in DIR"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
