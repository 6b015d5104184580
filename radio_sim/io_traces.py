"""Opening traces of AI requests, plain or packed, as a scenario's [traffic] names them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from chain.errors import UserError
from radio_sim.importers.io_files import read_packed
from radio_sim.scenario import TrafficSettings
from radio_sim.traces import PARSERS, Arrival, synthetic, window


def read_trace(path: Path, format_name: str) -> Iterator[Arrival]:
    """Arrivals of a trace file. Raises UserError naming the line that is wrong."""
    if format_name not in PARSERS:
        raise UserError("format", f"no trace format {format_name!r}", f"use {', '.join(PARSERS)}")
    return PARSERS[format_name](io.StringIO(read_packed(path), newline=""), path.name)


def arrivals_of(traffic: TrafficSettings, seed: int, folder: Path) -> Iterator[Arrival]:
    """Arrivals that a scenario asks for; a trace's name is relative to the scenario's folder."""
    if traffic.format == "synthetic":
        return window(synthetic(seed, traffic.requests_per_hour), speedup=traffic.speedup)
    path = folder / traffic.file
    if not path.is_file():
        raise UserError("traffic.file", f"no file {str(path)!r}", "name an existing trace")
    return window(read_trace(path, traffic.format), speedup=traffic.speedup)
