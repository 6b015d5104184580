"""`wavecomb map bounty | bounties`: money on the cells that lack, and what is offered where."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import add_command, print_json
from coverage_map.cells import parse, text_of
from coverage_map.planning.gaps import find_gaps
from coverage_map.planning.inputs import read_area, read_service
from coverage_map.planning.io_options import (
    add_area,
    add_service,
    add_world,
    area_of,
    world_of,
)
from coverage_map.planning.io_world import features

REWARD_RESOLUTION = 8
CELLS_MAX = 256
UCR = 1e6

EXAMPLES = """
  wavecomb map bounty --url http://127.0.0.1:8650 --circle 47.38,8.54,4000 --dry-run
  wavecomb map bounty --cell 881f8ed901fffff --cell 881f8ed903fffff --dry-run
  wavecomb map bounties --url http://127.0.0.1:8650 --bbox 8.4,47.3,8.6,47.4 --json
"""


def add_commands(commands: Any) -> None:
    """Add `bounty` and `bounties`."""
    parser = add_command(commands, "bounty", "put credits on cells of an area that lack service")
    parser.add_argument(
        "--cell", action="append", metavar="H3", help="these cells, whatever they have; repeatable"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="key of the account that pays")
    parser.add_argument("--amount-ucr", type=int, metavar="UCR", help="for each cell, in all")
    parser.add_argument("--per-settlement-ucr", type=int, metavar="UCR", help="at most, per cell")
    parser.add_argument("--until-epoch", type=int, metavar="E", help="what is left returns then")
    parser.add_argument(
        "--cells", type=int, default=32, metavar="N", help="at most so many (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="name the cells, sign nothing")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_world(parser)
    add_service(parser)
    add_area(parser)
    _add_list(commands)


def _add_list(commands: Any) -> None:
    parser = add_command(commands, "bounties", "list the cells whose coverage somebody pays for")
    where = "http://127.0.0.1:8650"
    parser.add_argument("--url", default=where, help="a running map (default: %(default)s)")
    parser.add_argument("--bbox", help="west,south,east,north in degrees (default: everywhere)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run_bounties(options: argparse.Namespace) -> int:
    """List what is offered, most left first."""
    query = {"limit": 1_000} | ({"bbox": options.bbox} if options.bbox else {})
    found = [_without_shape(row) for row in features(options.url, "bounties", query)]
    found.sort(key=lambda row: (-row["left_ucr"], row["h3"], row["bounty"]))
    print_json({"bounties": found}) if options.json else print("\n".join(_lines(found)))
    return EXIT_OK


def _without_shape(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "geometry"}


def _lines(found: list[dict[str, Any]]) -> list[str]:
    head = f"{'cell':<17}{'left':>10}{'a settlement':>14}{'paid':>10}{'until epoch':>13}  sponsor"
    if not found:
        return ["nobody offers anything here"]
    return [head, *map(_line, found)]


def _line(row: Mapping[str, Any]) -> str:
    paid = "-" if row["paid_ucr"] is None else f"{row['paid_ucr'] / UCR:.2f}"
    amounts = f"{row['left_ucr'] / UCR:>10.2f}{row['per_settlement_ucr'] / UCR:>14.2f}{paid:>10}"
    return f"{row['h3']:<17}{amounts}{row['until_epoch']:>13}  {row['sponsor'][:16]}"


def run_bounty(options: argparse.Namespace) -> int:
    """Put a bounty on cells: those named, or the unserved ones of an area, most people first."""
    cells = _named(options.cell) if options.cell else _unserved(options)
    if options.dry_run:
        print_json({"cells": cells}) if options.json else print("\n".join(cells))
        return EXIT_OK
    return _pay(options, cells)


def _named(texts: list[str]) -> list[str]:
    if len(texts) > CELLS_MAX:
        raise UserError("--cell", f"{len(texts)} cells", f"give at most {CELLS_MAX} at once")
    for text in texts:
        cell = parse(text)
        if cell is None or cell >> 52 & 0xF != REWARD_RESOLUTION:
            remedy = f"give an H3 cell of resolution {REWARD_RESOLUTION} in hexadecimal"
            raise UserError("--cell", f"{text[:40]!r} has no price", remedy)
    return sorted(set(texts))


def _unserved(options: argparse.Namespace) -> list[str]:
    values = area_of(options) | {
        to: value for of, to in (("threshold", "threshold_dbm"), ("probability", "probability"))
        if (value := getattr(options, of)) is not None
    }  # fmt: skip
    area = read_area(values, REWARD_RESOLUTION)
    if area is None:
        remedy = "give --circle lat,lon,metres, --bbox, or --cell"
        raise UserError("--circle", "no area", remedy)
    world = world_of(options, REWARD_RESOLUTION)
    gaps = find_gaps(world.scene(REWARD_RESOLUTION), area, read_service(values), world.population)
    cells = [text_of(int(cell)) for gap in gaps for cell in gap.cells]
    cells = cells[: max(0, min(options.cells, CELLS_MAX))]
    if not cells:
        raise UserError("--circle", "every cell there is served", "choose another area")
    return cells


def _pay(options: argparse.Namespace, cells: list[str]) -> int:
    from chain.cli.io_cli import main as chain

    needed = {"--key": options.key, "--amount-ucr": options.amount_ucr,
              "--per-settlement-ucr": options.per_settlement_ucr,
              "--until-epoch": options.until_epoch}  # fmt: skip
    for name, value in needed.items():
        if value is None:
            raise UserError(name, "is missing", "give it, or --dry-run to see the cells")
    command = ["bounty", *(word for name, value in needed.items() for word in (name, str(value)))]
    command += [word for cell in cells for word in ("--cell", cell)]
    command += ["--ledger", options.ledger] if options.ledger else []
    return chain([*command, "--json"] if options.json else command)
