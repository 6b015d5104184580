"""`wavecomb sim import`: a scenario of a published network."""

from __future__ import annotations

import argparse
from pathlib import Path

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import print_json
from radio_sim.importers.convert import Box, ImportReport, convert
from radio_sim.importers.io_files import read_network
from radio_sim.scenario import format_scenario, parse_scenario


def import_network(options: argparse.Namespace) -> int:
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
