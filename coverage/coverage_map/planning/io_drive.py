"""`wavecomb map drive | import`: where to measure next, and drive tests as observations."""

from __future__ import annotations

import argparse
import csv
import time
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, add_command, print_json
from coverage_map.cells import text_of
from coverage_map.estimator.csv_links import read_columns
from coverage_map.mappers_import import Drive, Heard, match_drive, summarise
from coverage_map.planning.inputs import Radio
from coverage_map.planning.io_options import area_of, world_of
from coverage_map.planning.io_world import get_json, sites_of_csv, sites_of_map
from coverage_map.planning.processes import execute
from coverage_map.store.aggregates import Rows

EXAMPLES = """
  wavecomb map drive --url http://127.0.0.1:8650 --circle 47.38,8.54,3000 --count 12 --out drive.gpx
  wavecomb map drive --sites sites.csv --measured measured.csv --circle 47.38,8.54,3000
  wavecomb map import drive.csv --sites sites.csv --out measured.csv
  wavecomb map import drive.csv --url http://127.0.0.1:8650 --data map/ --json
"""
KIND_IMPORT = 2
PERSON = 1  # people's devices have odd numbers in the store
SIGNAL_MAX_CDBM = 32_767


def add_commands(commands: Any) -> None:
    """Add `drive` and `import`."""
    drive = add_command(commands, "drive", "say where a drive takes most uncertainty off the map")
    drive.add_argument("--url", metavar="URL", help="a running map")
    drive.add_argument("--sites", type=Path, metavar="CSV", help="or hotspots: lat,lon[,...]")
    drive.add_argument("--measured", type=Path, metavar="CSV", help="own measurements")
    drive.add_argument("--bbox", help="area: west,south,east,north in degrees")
    drive.add_argument("--circle", help="area: lat,lon,metres")
    drive.add_argument("--count", type=int, default=10, metavar="K", help="stops (%(default)s)")
    drive.add_argument("--out", type=Path, metavar="GPX", help="write a route for a navigator")
    drive.add_argument("--json", action="store_true", help="print one line of JSON")
    drive.set_defaults(population=None, terrain=None, ledger=None)
    table = add_command(commands, "import", "read an ordinary drive test: whose signal, how strong")
    _add_import(table)


def _add_import(table: Parser) -> None:
    table.add_argument(
        "file", type=Path, metavar="CSV", help="tx_lat,tx_lon,rx_lat,rx_lon,frequency_hz,rssi_dbm"
    )
    table.add_argument("--url", metavar="URL", help="a running map, for its hotspots")
    table.add_argument("--sites", type=Path, metavar="CSV", help="or hotspots: lat,lon[,...]")
    table.add_argument("--out", type=Path, metavar="CSV", help="write cells for --measured")
    table.add_argument(
        "--data", type=Path, metavar="DIR",
        help="give it to the map kept there, running or not, as a person's readings: "
        "shown once three devices agree on a cell",
    )  # fmt: skip
    table.add_argument(
        "--epoch", type=int, metavar="E", help="when it was (default: the epoch of --url, or 0)"
    )
    table.add_argument("--json", action="store_true", help="print one line of JSON")


def run_drive(options: argparse.Namespace) -> int:
    """Plan a drive."""
    world = world_of(options, 9)
    progress = Progress("drive", 100, quiet=options.json)
    asked = area_of(options) | {"count": options.count}
    found = execute("drive-next", asked, world, lambda s, n: progress.update(int(100 * s), n))
    progress.close()
    if options.out:
        options.out.write_text(gpx_of(found["stops"]), encoding="utf-8")
    if options.json:
        print_json(found)
        return EXIT_OK
    for number, stop in enumerate(found["stops"]):
        print(f"{number + 1:3}  {stop['lat']:.6f},{stop['lon']:.6f}  {stop['h3']}  "
              f"-{stop['removed_db2']:.0f} dB2")  # fmt: skip
    print(f"a cell's deviation falls from {found['mean_sd_before_db']} to "
          f"{found['mean_sd_after_db']} dB")  # fmt: skip
    return EXIT_OK


def gpx_of(stops: list[dict[str, Any]]) -> str:
    """A route (GPX 1.1) through the stops, in the order of what they are worth."""
    points = "".join(
        f'<rtept lat="{s["lat"]}" lon="{s["lon"]}"><name>{escape(s["h3"])}</name></rtept>'
        for s in stops
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="wavecomb" '
        f'xmlns="http://www.topografix.com/GPX/1/1"><rte>{points}</rte></gpx>\n'
    )


def run_import(options: argparse.Namespace) -> int:
    """Read a drive test; say what it holds; write it where it is wanted."""
    if bool(options.url) == bool(options.sites):
        raise UserError("--url", "name a map or --sites, one of the two", "see --help")
    sites = sites_of_map(options.url) if options.url else sites_of_csv(options.sites, Radio())
    drive, refused = read_drive(options.file, sites)
    heard = summarise(drive)
    if options.out:
        write_heard(options.out, heard)
    said: dict[str, Any] = {
        "readings": len(drive.cell), "unmatched": drive.unmatched, "unreadable": refused,
        "cells": len(np.unique(drive.cell)), "hotspots": len(np.unique(drive.hotspot)),
    }  # fmt: skip
    if options.data:
        said["map"] = give(options.data, drive, _epoch_of(options))
    print_json(said) if options.json else print(
        "\n".join(f"{name:12}{value}" for name, value in said.items())
    )
    return EXIT_OK


def _epoch_of(options: argparse.Namespace) -> int:
    if options.epoch is None and options.url:
        return int(get_json(f"{options.url.rstrip('/')}/stats")["epoch"])
    epoch = options.epoch or 0
    if not 0 <= epoch < 1 << 32:
        raise UserError("--epoch", f"{epoch} is no epoch", "give a whole number from 0 on")
    return int(epoch)


def read_drive(path: Path, sites: dict[int, Any]) -> tuple[Drive, int]:
    """A table's readings by hotspot, and how many rows could not be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = read_columns(lines)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UserError(str(path), f"can't be read ({problem})", "give a CSV table") from None
    except ValueError as problem:
        field, _, rest = str(problem).partition(": ")
        raise UserError(f"{path.name} {field}", *rest.rsplit("; ", 1)) from None
    if not table.in_degrees:
        raise UserError(path.name, "positions in metres", "give tx_lat,tx_lon,rx_lat,rx_lon")
    columns = table.columns
    tx = np.column_stack((columns["tx_lat"], columns["tx_lon"]))
    rx = np.column_stack((columns["rx_lat"], columns["rx_lon"]))
    drive = match_drive(tx, rx, columns["rssi_dbm"], sites)
    if not len(drive.cell):
        remedy = "its transmitters must stand where hotspots do"
        raise UserError(path.name, f"none of {drive.unmatched} readings is of a hotspot", remedy)
    return drive, table.refused


def write_heard(path: Path, heard: Heard) -> None:
    """Cells as a table for --measured."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(("h3", "hotspot", "dbm", "sd_db", "count"))
        for k in range(len(heard.cell)):
            writer.writerow((
                text_of(int(heard.cell[k])), int(heard.hotspot[k]),
                f"{heard.median_dbm[k]:.1f}", f"{heard.sd_db[k]:.1f}", int(heard.count[k]),
            ))  # fmt: skip


def give(folder: Path, drive: Drive, epoch: int) -> str:
    """Hand a drive to the map's store, under its rules of privacy; what became of it.

    A map that is running takes it in by itself; otherwise it is taken in here.
    """
    from coverage_map.store.io_inbox import Inbox, name_of
    from coverage_map.store.io_keeper import Keeper
    from coverage_map.store.io_lock import InUse

    rows = rows_of_drive(drive, epoch)
    name = name_of(rows)
    try:
        keeper = Keeper(folder)
    except InUse:
        Inbox(folder).put(rows, np.full(len(rows), KIND_IMPORT, np.uint8))
        return "handed to the map that runs there"
    try:
        if keeper.has_taken(name):
            return "was there already"
        keeper.inbox.put(rows, np.full(len(rows), KIND_IMPORT, np.uint8))
        keeper.take_inbox(epoch)
        keeper.publish(None, time.time_ns() // 1_000_000, keeper.state)
    finally:
        keeper.close()
    return "taken in"


def rows_of_drive(drive: Drive, epoch: int) -> Rows:
    """A drive as rows of the store."""
    # One device per file, named by its content: the same file twice is still one device.
    name = sha256(drive.cell.tobytes() + drive.level_dbm.tobytes()).digest()[:3]
    device = int.from_bytes(name, "big") * 2 + PERSON
    signal = np.clip(np.round(drive.level_dbm * 100), -SIGNAL_MAX_CDBM, SIGNAL_MAX_CDBM)
    return Rows(
        drive.cell, drive.hotspot.astype(np.uint32),
        np.full(len(drive.cell), device, np.uint32), signal.astype(np.int16),
        np.full(len(drive.cell), epoch, np.uint32),
    )  # fmt: skip
