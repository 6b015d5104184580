"""Opening traces of AI requests, plain or packed, as a scenario's [traffic] names them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chain.errors import UserError
from radio_sim.importers.io_files import read_packed
from radio_sim.scenario import TrafficSettings
from radio_sim.traces import PARSERS, Arrival, synthetic, window

FORMATS = tuple(PARSERS)


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Which requests a command line asks for; None: what the scenario says."""

    trace: Path | None = None
    format: str = "azure"
    speedup: float = 1.0
    rate: float | None = None


def read_trace(path: Path, format_name: str) -> Iterator[Arrival]:
    """Arrivals of a trace file. Raises UserError naming the line that is wrong."""
    if format_name not in PARSERS:
        raise UserError("format", f"no trace format {format_name!r}", f"use {', '.join(FORMATS)}")
    return PARSERS[format_name](io.StringIO(read_packed(path), newline=""), path.name)


def arrivals_of(traffic: TrafficSettings, seed: int, folder: Path) -> Iterator[Arrival]:
    """Arrivals that a scenario asks for; a trace's name is relative to the scenario's folder."""
    if traffic.format == "synthetic":
        return window(synthetic(seed, traffic.requests_per_hour), speedup=traffic.speedup)
    trace = read_trace(_existing("traffic.file", folder / traffic.file), traffic.format)
    return window(trace, speedup=traffic.speedup)


def chosen_arrivals(
    traffic: TrafficSettings, folder: Path, options: TraceOptions, seed: int
) -> Iterator[Arrival]:
    """Arrivals that the command line asks for, else those of the scenario."""
    if not 1e-3 <= options.speedup <= 1e6:
        raise UserError("--speedup", f"{options.speedup:g} is out of range", "use 0.001 to 1000000")
    if options.trace is not None:
        trace = read_trace(_existing("--trace", options.trace), options.format)
        return window(trace, speedup=options.speedup)
    if options.rate is not None:
        if not 0 <= options.rate <= 1e6:
            raise UserError("--rate", f"{options.rate:g} is out of range", "use 0 to 1000000")
        return synthetic(seed, options.rate)
    return arrivals_of(traffic, seed, folder)


def _existing(field: str, path: Path) -> Path:
    if not path.is_file():
        raise UserError(field, f"no file {str(path)!r}", "name an existing trace")
    return path
