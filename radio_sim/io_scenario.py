"""Scenarios by name: `builtin:city`, `builtin:city:HOTSPOTS:SEED`, or the path of a TOML file.

Names of the scenarios that come with the package (`radio_sim/scenarios`) work as `builtin:NAME`.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from chain.errors import UserError
from radio_sim.city import make_city
from radio_sim.faults.specs import Faults, Load, Walk
from radio_sim.mobility import parse_track
from radio_sim.scenario import Scenario, format_scenario, scenario_from
from radio_sim.toml_rules import Number, Rules, checked, table_of

PREFIX = "builtin:"
BUILTIN = "builtin:city"
MAX_BUILTIN_HOTSPOTS = 20_000
SHIPPED = Path(__file__).parent / "scenarios"
CITY_RULES: Rules = {
    "hotspots": Number(2, MAX_BUILTIN_HOTSPOTS, whole=True),
    "seed": Number(0, 2**32, whole=True),
}


def load_scenario(name: str) -> Scenario:
    """Make the built-in city or read a file. Raises UserError and OSError."""
    if name == BUILTIN or name.startswith(BUILTIN + ":"):
        return _builtin(name)
    path = _path_of(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(name, "not UTF-8 text", "give a scenario in TOML") from None
    return with_tracks(read_scenario(text, path.name), path.parent)


def shipped_scenarios() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read_scenario(text: str, origin: str) -> Scenario:
    """A scenario from TOML; `[city]` with hotspots and seed stands for the city's own tables."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(origin, f"not valid TOML: {error}", "mend that line") from None
    if "city" in document:
        document = _with_city(document)
    return scenario_from(document, origin)


def _with_city(document: dict[str, Any]) -> dict[str, Any]:
    asked = {"hotspots": 60, "seed": 1, **checked("city", CITY_RULES, table_of("city", document))}
    for key in ("hotspot", "link"):
        if key in document:
            raise UserError(key, "a city is asked for too", "give [city], or tables of your own")
    made = tomllib.loads(format_scenario(make_city(asked["hotspots"], asked["seed"])))
    rest = {key: value for key, value in document.items() if key != "city"}
    return rest | {key: made[key] for key in ("hotspot", "link")}


def _path_of(name: str) -> Path:
    if name.startswith(PREFIX):
        names = shipped_scenarios()
        if name.removeprefix(PREFIX) not in names:
            known = ", ".join([BUILTIN, *(PREFIX + known for known in names)])
            raise UserError("scenario", f"no built-in {name!r}", f"use {known} or a file")
        return SHIPPED / f"{name.removeprefix(PREFIX)}.toml"
    path = Path(name)
    if not path.is_file():
        raise UserError("scenario", f"no file {name!r}", f"use {BUILTIN} or an existing file")
    return path


def note_unused_faults(scenario: Scenario, command: str) -> None:
    """Say on stderr that a command doesn't make a scenario's faults happen, if it has any."""
    kinds = [field.name for field in fields(Faults) if getattr(scenario.faults, field.name)]
    if scenario.faults.load == Load():
        kinds.remove("load")
    if kinds:
        told = ", ".join(kinds)
        sys.stderr.write(f"{command}: faults happen in `wavecomb sim run` only; no {told} here\n")


def with_tracks(scenario: Scenario, folder: Path) -> Scenario:
    """The scenario with the points of its trace files in it; their paths count from its own."""
    walks = tuple(_with_points(walk, folder) for walk in scenario.faults.walk)
    return replace(scenario, faults=replace(scenario.faults, walk=walks))


def _with_points(walk: Walk, folder: Path) -> Walk:
    if not walk.trace:
        return walk
    path = folder / walk.trace
    if not path.is_file():
        raise UserError("fault.walk.trace", f"no file {str(path)!r}", "name a GPX or CSV file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(str(path), "not UTF-8 text", "give a track in GPX or CSV") from None
    return replace(walk, trace="", points=parse_track(text, walk.trace))


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
