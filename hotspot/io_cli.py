"""`wavecomb hotspot`: the owner's command. Each verb is a function that takes parsed options."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import print_json
from hotspot.config import SAMPLE, HotspotConfig, parse_config

EXAMPLES = """\
examples:
  wavecomb hotspot init --dir ~/hotspot --lat 40.7128 --lon -74.0060
  wavecomb hotspot run --config ~/hotspot/hotspot.toml
  wavecomb hotspot status --config ~/hotspot/hotspot.toml --json
  wavecomb hotspot listen --interface mon0 --seconds 30
"""
STALE_S = 15


def load_config(path: Path) -> HotspotConfig:
    """Settings of a file; UserError names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "--config",
            f"{path}: {error}",
            "run: wavecomb hotspot init --dir DIR --lat LAT --lon LON",
        ) from error
    return parse_config(text, str(path))


def init(options: argparse.Namespace) -> int:
    """Write a folder with settings and keys for a new hotspot."""
    import h3

    from chain.io_keys import load_or_create_seed
    from chain.keys import public_key

    if not -90 <= options.lat <= 90 or not -180 <= options.lon <= 180:
        raise UserError(
            "--lat/--lon",
            f"{options.lat}, {options.lon} is not on Earth",
            "give degrees, north and east positive",
        )
    folder: Path = options.dir
    path = folder / "hotspot.toml"
    if path.exists():
        raise UserError("--dir", f"{path} exists", "edit it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    cell = h3.latlng_to_cell(options.lat, options.lon, options.resolution)
    latitude, longitude = h3.cell_to_latlng(cell)
    values = {
        "cell": f'"{cell}"',
        "latitude_udeg": round(latitude * 1e6),
        "longitude_udeg": round(longitude * 1e6),
        "height_m": options.height,
        "interface": f'"{options.interface}"',
        "url": f'"{options.ledger}"',
    }
    path.write_text(_filled(SAMPLE, values))
    keys = {
        name: public_key(load_or_create_seed(folder / f"{name}.key")).hex()
        for name in ("hotspot", "owner")
    }
    if options.json:
        print_json({"config": str(path), "cell": cell, **keys})
    else:
        print(f"settings  {path}")
        print(f"cell      {cell} (resolution {options.resolution}: that precise you are seen)")
        print(f"hotspot   {keys['hotspot']}")
        print(f"owner     {keys['owner']}")
        print(f"next      wavecomb hotspot run --config {path}")
    return EXIT_OK


def _filled(sample: str, values: dict[str, object]) -> str:
    lines = []
    for line in sample.splitlines():
        name = line.split("=")[0].strip()
        lines.append(f"{name} = {values[name]}" if "=" in line and name in values else line)
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    from hotspot.io_daemon import Daemon

    Daemon(load_config(options.config), options.config.parent).run()
    return EXIT_OK


def status(options: argparse.Namespace) -> int:
    """What the daemon last said of itself; exit code 1 if that is stale or it has faults."""
    config = load_config(options.config)
    path = options.config.parent / config.hotspot.status_file
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            "status_file",
            f"{path}: {error}",
            "start the daemon: wavecomb hotspot run",
            exit_code=EXIT_FAILED,
        ) from error
    age_s = time.time_ns() // 1_000_000_000 - report["at_ms"] // 1000
    report["age_s"] = age_s
    if options.json:
        print_json(report)
    else:
        _print_status(report)
    return EXIT_FAILED if age_s > STALE_S or report["faults"] else EXIT_OK


def _print_status(report: dict[str, object]) -> None:
    registered = f"hotspot {report['index']}" if report["index"] != -1 else "not registered yet"
    print(
        f"said      {report['age_s']} s ago"
        + ("  (stale: is it running?)" if int(str(report["age_s"])) > STALE_S else "")
    )
    for name, value in (("is", registered), ("radio", report["radio"]), ("epoch", report["epoch"])):
        print(f"{name:<10}{value}")
    for name in ("counts", "queue", "faults"):
        table = report[name]
        if isinstance(table, dict):
            print(f"{name:<10}" + (", ".join(f"{k} {v}" for k, v in table.items()) or "none"))
    heard = report["heard"]
    if isinstance(heard, dict):
        for index, row in heard.items():
            print(f"hears     hotspot {index:<6} {row['rssi_dbm']} dBm, {row['age_s']} s ago")


def key(options: argparse.Namespace) -> int:
    """Show the public keys of this hotspot and its owner."""
    from chain.io_keys import load_seed
    from chain.keys import public_key

    config = load_config(options.config)
    base = options.config.parent
    rows = {
        "hotspot": public_key(load_seed(base / config.hotspot.key_file)).hex(),
        "owner": public_key(load_seed(base / config.hotspot.owner_key_file)).hex(),
    }
    if options.json:
        print_json(rows)
    else:
        print("\n".join(f"{name:<10}{value}" for name, value in rows.items()))
    return EXIT_OK


def queue(options: argparse.Namespace) -> int:
    """How much waits for the ledger, and what was delivered, refused or dropped."""
    from dataclasses import asdict

    from hotspot.io_queue import DurableQueue

    config = load_config(options.config)
    rows = asdict(DurableQueue(options.config.parent / config.hotspot.queue).counts())
    if options.json:
        print_json(rows)
    else:
        print("\n".join(f"{name:<12}{value}" for name, value in rows.items()))
    return EXIT_OK


def listen(options: argparse.Namespace) -> int:
    """Print beacons heard on a monitor-mode interface, dissected by scapy."""
    from hotspot.io_radio import open_radio
    from hotspot.layer import dissect_line

    radio = open_radio("monitor", options.interface)
    deadline = time.monotonic() + options.seconds
    heard = 0
    while time.monotonic() < deadline:
        for frame in radio.receive():
            row = dissect_line(frame)
            if row is not None:
                heard += 1
                if options.json:
                    print_json(row)
                else:
                    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        time.sleep(0.01)
    radio.close()
    sys.stderr.write(f"{heard} beacons in {options.seconds} s\n")
    return EXIT_OK if heard else EXIT_FAILED


def config_sample(options: argparse.Namespace) -> int:
    """Print the commented sample settings, or check a file."""
    if options.action == "sample":
        print(SAMPLE, end="")
    else:
        load_config(options.config)
        print(f"{options.config}: good")
    return EXIT_OK


def gateway(options: argparse.Namespace) -> int:
    """Run the AI gateway and the relay."""
    from hotspot.io_gateway import main as gateway_main

    return gateway_main(["--config", str(options.config)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wavecomb hotspot",
        description="Run, inspect and repair a hotspot.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, function in (
        ("run", run),
        ("status", status),
        ("key", key),
        ("queue", queue),
        ("gateway", gateway),
    ):
        sub = verbs.add_parser(verb, help=(function.__doc__ or "").splitlines()[0])
        sub.add_argument(
            "--config",
            type=Path,
            default=Path("hotspot.toml"),
            help="settings file (default: hotspot.toml)",
        )
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(function=function)
    _add_init(verbs.add_parser("init", help=(init.__doc__ or "")))
    ears = verbs.add_parser("listen", help=(listen.__doc__ or ""))
    ears.add_argument("--interface", default="mon0")
    ears.add_argument("--seconds", type=float, default=60.0)
    ears.add_argument("--json", action="store_true", help="one JSON object per beacon")
    ears.set_defaults(function=listen)
    settings = verbs.add_parser("config", help=(config_sample.__doc__ or ""))
    settings.add_argument("action", choices=("sample", "check"))
    settings.add_argument("--config", type=Path, default=Path("hotspot.toml"))
    settings.set_defaults(function=config_sample)
    return parser


def _add_init(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dir", type=Path, default=Path("."), help="folder to write (default: here)")
    sub.add_argument("--lat", type=float, required=True, help="degrees north")
    sub.add_argument("--lon", type=float, required=True, help="degrees east")
    sub.add_argument("--height", type=int, default=6, help="antenna above ground, metres")
    sub.add_argument(
        "--resolution",
        type=int,
        choices=(7, 8, 9, 10),
        default=9,
        help="H3 resolution shown to others",
    )
    sub.add_argument("--interface", default="mon0", help="monitor-mode interface")
    sub.add_argument(
        "--ledger", default="http://127.0.0.1:8100", help="http://HOST:PORT or unix:/PATH"
    )
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(function=init)


def main(argv: Sequence[str]) -> int:
    """Parse and dispatch."""
    options = _parser().parse_args(argv)
    return int(options.function(options))
