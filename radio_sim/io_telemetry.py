"""`wavecomb sim telemetry`: link telemetry of a scenario's backhaul as CSV."""

from __future__ import annotations

import argparse

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Progress
from radio_sim.assemble import backhaul_of, links_of
from radio_sim.io_run import show
from radio_sim.io_scenario import load_scenario, note_unused_faults
from radio_sim.scenario import Scenario
from radio_sim.telemetry import COLUMNS, GATEWAY_EVERY, Telemetry

MAX_TELEMETRY_ROWS = 50_000_000


def telemetry(options: argparse.Namespace) -> int:
    """Write a day's telemetry as CSV."""
    if not (1 <= options.step <= 3600 and options.seconds >= options.step):
        raise UserError("--step", f"{options.step} does not fit", "use 1 to --seconds")
    if not 0 <= options.start_hour < 24:
        raise UserError("--start-hour", f"{options.start_hour:g} is no hour", "use 0 to 23.99")
    scenario = load_scenario(options.scenario)
    note_unused_faults(scenario, "sim telemetry")
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
