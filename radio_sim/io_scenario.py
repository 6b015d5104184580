"""Scenarios by name: `builtin:city`, `builtin:city:HOTSPOTS:SEED`, or the path of a TOML file."""

from __future__ import annotations

from pathlib import Path

from chain.errors import UserError
from radio_sim.city import make_city
from radio_sim.scenario import Scenario, parse_scenario

BUILTIN = "builtin:city"
MAX_BUILTIN_HOTSPOTS = 20_000


def load_scenario(name: str) -> Scenario:
    """Make the built-in city or read a file. Raises UserError and OSError."""
    if name == BUILTIN or name.startswith(BUILTIN + ":"):
        return _builtin(name)
    if name.startswith("builtin:"):
        raise UserError("scenario", f"no built-in {name!r}", f"use {BUILTIN} or a file")
    path = Path(name)
    if not path.is_file():
        raise UserError("scenario", f"no file {name!r}", f"use {BUILTIN} or an existing file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(name, "not UTF-8 text", "give a scenario in TOML") from None
    return parse_scenario(text, path.name)


def _builtin(name: str) -> Scenario:
    parts = name.split(":")[2:]
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError("scenario", f"{name!r} is not understood", f"use {BUILTIN}:HOTSPOTS:SEED")
    numbers = [int(part) for part in parts]
    hotspots, seed = [*numbers, 60, 1][0], [*numbers[1:], 1][0]
    if not 2 <= hotspots <= MAX_BUILTIN_HOTSPOTS:
        raise UserError(
            "scenario", f"{hotspots} hotspots", f"use 2 to {MAX_BUILTIN_HOTSPOTS}"
        )
    return make_city(hotspots, seed)
