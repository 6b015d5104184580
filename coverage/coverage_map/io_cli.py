"""`wavecomb map`: serve the coverage map, read cells from one, or audit a ledger's receptions."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from chain.errors import EXIT_FAILED, UserError
from chain.io_http import bound_port, run_until
from chain.io_terminal import Parser, add_command, print_json, run_command
from coverage_map import io_sql as sql
from coverage_map import io_upkeep as upkeep
from coverage_map.audit import io_cli as audit
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.planning import io_bounty
from coverage_map.planning import io_cli as planning
from coverage_map.planning import io_drive as driving
from coverage_map.planning.io_provider import add_planning
from coverage_map.service import io_keys as keys
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.io_front import serve_front
from coverage_map.service.io_web import DIST, NOT_BUILT
from coverage_map.store.io_keeper import Keeper

_PARTS = (audit, planning, driving, keys, upkeep, sql)
EXAMPLES = f"""{''.join(part.EXAMPLES for part in _PARTS)}
  wavecomb map serve --ledger http://127.0.0.1:8700 --port 8650
  wavecomb map serve --ledger unix:/run/wavecomb/ledger.sock --data /var/lib/wavecomb/map
  wavecomb map cells --url http://127.0.0.1:8650 --bbox 8.4,47.3,8.6,47.4 --min-obs 1 --json
"""


def main(argv: Sequence[str]) -> int:
    """Entry point of `wavecomb map`."""
    options = _parser().parse_args(argv)
    runs = {
        "serve": _serve,
        "cells": _cells,
        "audit": audit.run,
        "plan": planning.run_plan,
        "bounty": io_bounty.run_bounty,
        "bounties": io_bounty.run_bounties,
        "drive": driving.run_drive,
        "import": driving.run_import,
        "key": keys.run,
        "compact": upkeep.run,
        "sql": sql.run,
    }
    return runs[options.command](options)


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb map",
        description="The coverage map: what was measured, what is predicted, and the proof.",
        examples=EXAMPLES,
    )
    commands = parser.add_commands()
    _add_serve(add_command(commands, "serve", "follow a ledger; serve the page and its API"))
    _add_cells(add_command(commands, "cells", "print cells of a running map"))
    keys.add_options(add_command(commands, "key", "make, list or revoke keys for the API"))
    upkeep.add_options(add_command(commands, "compact", "tidy the store of a map at rest"))
    sql.add_options(add_command(commands, "sql", "ask a map's store in SQL, or export it"))
    audit.add_options(add_command(commands, "audit", "test statistically what hotspots reported"))
    planning.add_commands(commands)
    driving.add_commands(commands)
    return parser


def _add_serve(server: Parser) -> None:
    server.add_argument(
        "--ledger", required=True, metavar="URL", help="http://HOST:PORT or unix:/PATH"
    )
    server.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    server.add_argument(
        "--port", type=int, default=8650, help="TCP port, 0 takes a free one (default: %(default)s)"
    )
    server.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the mirror here, not in memory"
    )
    server.add_argument(
        "--terrain", type=Path, metavar="PATH", help="elevation tiles, for planning jobs"
    )
    server.add_argument(
        "--population", type=Path, metavar="FILE", help="people, for planning jobs: .csv, .tif, ..."
    )
    server.add_argument("--json", action="store_true", help="print the address as JSON")


def _add_cells(cells: Parser) -> None:
    cells.add_argument(
        "--url", default="http://127.0.0.1:8650", help="the map (default: %(default)s)"
    )
    cells.add_argument("--bbox", help="west,south,east,north in degrees (default: everywhere)")
    cells.add_argument(
        "--res", type=int, default=9, help="H3 resolution, 5 to 10 (default: %(default)s)"
    )
    cells.add_argument(
        "--min-obs",
        type=int,
        default=0,
        metavar="N",
        help="least samples of a cell; 1 leaves out predictions (default: %(default)s)",
    )
    cells.add_argument(
        "--limit", type=int, default=100, help="most cells to print (default: %(default)s)"
    )
    cells.add_argument("--json", action="store_true", help="print GeoJSON")


def _serve(options: argparse.Namespace) -> int:
    source = LedgerSource(options.ledger)
    keeper = Keeper(options.data)
    store = Store(options.data / "map.sqlite" if options.data else None)
    if not (DIST / "index.html").is_file():
        sys.stderr.write(f"wavecomb: web: {NOT_BUILT} (the API works without it)\n")
    sync = Sync(source, store, keeper)
    app = make_app(sync, Hub())
    add_planning(app, sync, keeper.directory / "jobs", options.terrain, options.population)
    status: int = _runner()(_run(app, options))
    return status


def _runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _run(app: web.Application, options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = await serve_front(app, options.host, options.port)
    url = f"http://{options.host}:{bound_port(runner)}/"
    if options.json:
        print_json({"url": url, "ledger": options.ledger})
    else:
        print(f"coverage map at {url} following {options.ledger}", flush=True)
    await run_until(stop, runner)
    return 0


def _cells(options: argparse.Namespace) -> int:
    query = {"res": options.res, "min_obs": options.min_obs, "limit": options.limit}
    if options.bbox:
        query["bbox"] = options.bbox
    page = _fetch(
        f"{options.url.rstrip('/')}/collections/cells/items?{urllib.parse.urlencode(query)}"
    )
    if options.json:
        print_json(page)
        return 0
    print(f"{'cell':<16}{'state':<11}{'dBm':>7}{'+-dB':>6}{'samples':>9}{'server':>8}")
    for feature in page["features"]:
        one = feature["properties"]
        print(
            f"{one['h3']:<16}{one['state']:<11}{one['value_dbm']:>7}"
            f"{one['uncertainty_db']:>6}{one['count']:>9}{one['best_server']:>8}"
        )
    return 0


def _fetch(url: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise UserError("--url", f"can't read {url!r}", "write http://HOST:PORT")
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        detail = json.load(error).get("detail", error.reason)
        raise UserError("request", str(detail), "mend it and try again") from error
    except urllib.error.URLError as error:
        raise UserError(
            "--url",
            f"no map answers at {url.split('/collections')[0]}: {error.reason}",
            "start one: wavecomb map serve --ledger URL",
            exit_code=EXIT_FAILED,
        ) from error


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
