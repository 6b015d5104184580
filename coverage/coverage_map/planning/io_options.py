"""Options that every planning command has: which world, what counts as served, where."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from chain.errors import UserError
from chain.io_terminal import Parser
from coverage_map.planning.inputs import Radio
from coverage_map.planning.io_world import measured_of_csv, sites_of_csv, with_layers, world_of_map
from coverage_map.planning.scene import overlaid
from coverage_map.planning.world import NEWEST, World


def add_world(parser: Parser) -> None:
    """Which hotspots, measurements and layers."""
    parser.add_argument("--url", metavar="URL", help="a running map")
    parser.add_argument("--sites", type=Path, metavar="CSV", help="or hotspots: lat,lon[,...]")
    parser.add_argument(
        "--measured", type=Path, metavar="CSV", help="own measurements: of `wavecomb map import`"
    )
    parser.add_argument(
        "--population", type=Path, metavar="FILE", help="people: .csv, .parquet or .tif"
    )
    parser.add_argument("--terrain", type=Path, metavar="PATH", help="elevation tile or folder")
    parser.add_argument("--ledger", metavar="URL", help="bounties and trust, for rewards")


def add_service(parser: Parser) -> None:
    """What counts as served."""
    parser.add_argument("--res", type=int, help="H3 resolution, 5 to 10 (default: 9; what-if: 10)")
    parser.add_argument("--threshold", type=float, metavar="DBM", help="served from (default: -82)")
    parser.add_argument("--probability", type=float, metavar="P", help="of it (default: 0.5)")


def add_area(parser: Parser) -> None:
    """Where."""
    parser.add_argument("--bbox", help="area: west,south,east,north in degrees")
    parser.add_argument("--circle", help="area: lat,lon,metres")


def world_of(options: argparse.Namespace, resolution: int) -> World:
    """The world that the options name."""
    if bool(options.url) == bool(options.sites):
        raise UserError("--url", "name a map or --sites, one of the two", "see --help")
    if options.url:
        world = world_of_map(options.url, resolution)
    else:
        world = World(sites_of_csv(options.sites, Radio()))
    world = with_layers(world, options.population, options.terrain, options.ledger)
    if options.measured is None:
        return world
    scene = overlaid(world.scene(resolution), *measured_of_csv(options.measured, resolution))
    return replace(world, scenes={(NEWEST, resolution): scene})


def area_of(options: argparse.Namespace) -> dict[str, Any]:
    """`area` from --bbox or --circle."""
    if getattr(options, "bbox", None):
        return {"area": {"bbox": numbers("--bbox", options.bbox, 4)}}
    if getattr(options, "circle", None):
        latitude, longitude, radius_m = numbers("--circle", options.circle, 3)
        return {"area": {"lat": latitude, "lon": longitude, "radius_m": radius_m}}
    return {}


def numbers(field: str, text: str, count: int) -> list[float]:
    """Numbers of an option with commas between; UserError for another count."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise UserError(field, f"{text!r} isn't {count} numbers", "write them with commas between")
    return found
