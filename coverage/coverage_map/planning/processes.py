"""The planner's questions by name, as OGC API Processes knows them: what goes in, what comes out.

`execute` is pure: a world and JSON inputs in, a JSON result out. The same inputs give the same
result, however often it was interrupted: long work is kept in parts (`Memory`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.cells import Cells, text_of
from coverage_map.planning import inputs as read
from coverage_map.planning.compare import compare
from coverage_map.planning.driving import drive_next
from coverage_map.planning.gaps import find_gaps, gap_row
from coverage_map.planning.inputs import Values
from coverage_map.planning.memory import Forgetful, Memory, Tell
from coverage_map.planning.placing import place_sites
from coverage_map.planning.report import draw_map, page
from coverage_map.planning.reward import Reward, expected_reward
from coverage_map.planning.scene import Scene, Service, area_km2, channels, on_cells
from coverage_map.planning.what_if import (
    GOOD_SINR_DB,
    Change,
    best_servers,
    sharing,
    summary,
    what_if,
)
from coverage_map.planning.world import NEWEST, World

SHOWN_CELLS = 100_000

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Process:
    """A question: its name, what it answers, and the schema of its inputs by name."""

    name: str
    title: str
    description: str
    inputs: Mapping[str, Mapping[str, Any]]
    run: Callable[[Values, World, Tell, Memory], Result]


def execute(
    name: str, values: Values, world: World,
    tell: Tell = lambda _share, _note: None, memory: Memory | None = None,
) -> Result:  # fmt: skip
    """Answer a question. UserError names the input that can't be taken."""
    process = process_of(name)
    read.known(values, tuple(process.inputs))
    try:
        return process.run(values, world, tell, memory or Forgetful())
    except ValueError as problem:
        field, _, rest = str(problem).partition(": ")
        text, _, remedy = rest.partition("; ")
        raise UserError(field, text or "can't be taken", remedy or "change it") from None


def process_of(name: str) -> Process:
    """A process by name; UserError 404."""
    if name not in PROCESSES:
        names = ", ".join(PROCESSES)
        raise UserError("process", f"{name[:40]!r} is unknown", f"use {names}", status=404)
    return PROCESSES[name]


def check(name: str, values: Values, world: World) -> None:
    """Read all that can be read before any work; UserError names what can't be taken."""
    known = process_of(name).inputs
    read.known(values, tuple(known))
    resolution = read.read_resolution(values)
    read.read_service(values)
    read.read_area(values, resolution)
    if "model" in known:
        read.read_radio(values)
        world.method(*read.read_model(values))
    for field in ("sites", "candidates"):
        if field in known:
            read.read_sites(values, field)
    if "remove" in known:
        read_removed(values, world)
    if name == "what-if":
        _read_changes(values)
    if "count" in known and ("count" in values or name == "place-sites"):
        read.whole(values, "count", None, 1, 1_000)
        if "area" not in values:
            raise UserError("area", "is missing", "give bbox, or lat, lon and radius_m")


def _read_changes(values: Values) -> None:
    if not any(values.get(name) for name in ("sites", "remove", "move")):
        raise UserError("sites", "nothing changes", "give sites, remove or move")


def run_what_if(values: Values, world: World, tell: Tell, _: Memory) -> Result:
    """New sites, removals, and a move as one of each."""
    _read_changes(values)
    resolution, service = read.read_resolution(values, 10), read.read_service(values)
    model, radius_m = read.read_model(values)
    new, removed = read.read_sites(values, "sites", 200), read_removed(values, world)
    if "move" in values:
        move = read.record(values, "move")
        read.known(move, ("hotspot", "lat", "lon"))
        index = read.whole(move, "hotspot", None, 0, read.FIRST_NEW)
        latitude, longitude = read.read_place(move)
        removed.append(_existing(world, index).index)
        radio = _as_radio(world.sites[index])
        place = {"lat": latitude, "lon": longitude}
        new.append(read.read_site(place, radio, read.FIRST_NEW + len(new)))
    scene = world.scene(resolution)
    tell(0.2, "predicting")
    change, _prints = what_if(
        scene, world.sites.values(), new, removed, world.method(model, radius_m), service,
        world.population,
    )  # fmt: skip
    tell(0.8, "rewards")
    found = summary(change) | {"resolution": resolution, "threshold_dbm": service.threshold_dbm}
    left = [site for k, site in sorted(world.sites.items()) if k not in removed]
    found["sites"] = [_site_row(world, site, left) for site in new]
    return found | {"cells": change_columns(change)}


def _existing(world: World, index: int) -> Any:
    if index not in world.sites:
        raise UserError("hotspot", f"{index} is not on the map", "give a hotspot's index")
    return world.sites[index]


def _as_radio(site: Any) -> read.Radio:
    return read.Radio(
        site.eirp_cdbm / 100.0, max(site.height_m, 1), site.gain_cdb / 100.0, site.frequency_mhz
    )


def read_removed(values: Values, world: World) -> list[int]:
    """Indexes of `remove`."""
    given = values.get("remove", [])
    if not isinstance(given, list) or not all(type(index) is int for index in given):
        raise UserError("remove", "is no list of hotspots", "give indexes, such as [3, 17]")
    return [_existing(world, index).index for index in given]


def _site_row(world: World, site: Any, others: list[Any]) -> Result:
    reward = expected_reward(site, others, world.economy, world.trusted)
    place = {"lat": round(site.latitude_deg, 6), "lon": round(site.longitude_deg, 6)}
    return {"hotspot": site.index, **place, "reward": reward_row(reward, world)}


def reward_row(reward: Reward, world: World) -> Result:
    """An expected reward for an answer."""
    return {
        "per_settlement_ucr": reward.total_ucr,
        "by_kind_ucr": reward.earned_ucr,
        "links": reward.links,
        "neighbours": reward.neighbours,
        "neighbours_change_ucr": reward.neighbours_change_ucr,
        "preset": world.economy.preset,
    }


def change_columns(change: Change) -> Result:
    """Cells that a change touches in what is seen: gained, lost, or another best server."""
    gained, lost, other = change.gained(), change.lost(), change.moved_to_new()
    rows = np.flatnonzero(gained | lost | other)[:SHOWN_CELLS]
    kind = np.where(gained, "gained", np.where(lost, "lost", "other_server"))[rows]
    return {
        "h3": [text_of(int(cell)) for cell in change.cells[rows]],
        "change": kind.tolist(),
        "before_dbm": rounded(change.before.best_dbm()[rows]),
        "after_dbm": rounded(change.after.best_dbm()[rows]),
        "server": change.after.servers[rows, 0].tolist(),
    }


def rounded(values: NDArray[np.float64]) -> list[float | None]:
    """One decimal; null for what isn't known."""
    return [None if value != value else round(float(value), 1) for value in values]


def run_place(values: Values, world: World, tell: Tell, memory: Memory) -> Result:
    """The k sites that serve most people (or cells), with what each adds and earns."""
    return place_sites(values, world, tell, memory, _site_row)


def _area(values: Values, world: World, resolution: int) -> tuple[Scene, Cells]:
    """The scene, and the cells asked for: all that are known if no area is given."""
    scene = world.scene(resolution, snapshot_of(values))
    area = read.read_area(values, resolution)
    return scene, scene.cells if area is None else area


def snapshot_of(values: Values, name: str = "snapshot") -> str:
    """The snapshot that is asked for."""
    value = values.get(name, NEWEST)
    if not isinstance(value, str):
        raise UserError(name, "is no text", "give a snapshot's identity")
    return value


def run_gaps(values: Values, world: World, _tell: Tell, _: Memory) -> Result:
    """Connected unserved places, most people first."""
    resolution, service = read.read_resolution(values), read.read_service(values)
    scene, area = _area(values, world, resolution)
    most = read.whole(values, "limit", 100, 1, 10_000)
    gaps = find_gaps(scene, area, service, world.population)
    return {
        "resolution": resolution,
        "gaps": [gap_row(gap) for gap in gaps[:most]],
        "gaps_in_all": len(gaps),
        "cells": sum(len(gap.cells) for gap in gaps),
        "people": round(sum(gap.people for gap in gaps), 1),
        **population_sums(scene, area, service, world),
    }


def population_sums(scene: Scene, area: Cells, service: Service, world: World) -> Result:
    """Cells, km2 and people by state: served, unserved, unknown."""
    inside = on_cells(scene, area)
    people = world.population.at(area) if world.population else None
    served, unknown = inside.served(service), np.isnan(inside.best_dbm())
    found: Result = {}
    for name, rows in (
        ("served", served), ("unserved", ~served & ~unknown), ("unknown", unknown),
        ("served_and_measured", served & inside.measured),
    ):  # fmt: skip
        found[name] = {
            "cells": int(rows.sum()),
            "area_km2": round(area_km2(area[rows]), 4),
            "people": None if people is None else round(float(people[rows].sum()), 1),
        }
    return {"area": found}


def run_population(values: Values, world: World, _tell: Tell, _: Memory) -> Result:
    """People, cells and area that are served, unserved and unknown."""
    resolution, service = read.read_resolution(values), read.read_service(values)
    scene, area = _area(values, world, resolution)
    return {"resolution": resolution, **population_sums(scene, area, service, world)}


def run_best_server(values: Values, world: World, _tell: Tell, _: Memory) -> Result:
    """Which hotspot serves which cell, and what each one alone holds up."""
    resolution, service = read.read_resolution(values), read.read_service(values)
    scene, area = _area(values, world, resolution)
    inside = on_cells(scene, area)
    served = inside.served(service)
    rows = np.flatnonzero(served)[:SHOWN_CELLS]
    only = served & (inside.overlap(service) == 1)
    who, count = np.unique(inside.servers[only, 0], return_counts=True)
    return {
        "resolution": resolution,
        "best_server_cells": best_servers(inside, service),
        "only_server_cells": {str(int(k)): int(n) for k, n in zip(who, count, strict=True)},
        "cells": {
            "h3": [text_of(int(cell)) for cell in area[rows]],
            "server": inside.servers[rows, 0].tolist(),
            "dbm": rounded(inside.best_dbm()[rows]),
            "overlap": inside.overlap(service)[rows].tolist(),
            "measured": inside.measured[rows].astype(int).tolist(),
        },
    }


def run_interference(values: Values, world: World, _tell: Tell, _: Memory) -> Result:
    """Signal over interference at served cells, and how many hotspots share the air there."""
    resolution, service = read.read_resolution(values), read.read_service(values)
    scene, area = _area(values, world, resolution)
    inside, channel = on_cells(scene, area), channels(world.sites.values())
    rows = np.flatnonzero(inside.served(service))
    sinr, sharers = inside.sinr_db(channel)[rows], sharing(inside, channel)[rows]
    worst = rows[np.argsort(sinr, kind="stable")][:SHOWN_CELLS]
    place = {int(row): k for k, row in enumerate(rows)}
    order = [place[int(row)] for row in worst]
    return {
        "resolution": resolution,
        "served_cells": len(rows),
        "good_sinr_db": GOOD_SINR_DB,
        "cells_below": int((sinr < GOOD_SINR_DB).sum()),
        "median_sinr_db": round(float(np.median(sinr)), 1) if len(sinr) else None,
        "cells_sharing_air": int((sharers > 1).sum()),
        "cells": {
            "h3": [text_of(int(area[row])) for row in worst],
            "sinr_db": rounded(sinr[order]),
            "sharing": sharers[order].tolist(),
            "server": inside.servers[worst, 0].tolist(),
        },
    }


def run_compare(values: Values, world: World, _tell: Tell, _: Memory) -> Result:
    """What changed from snapshot a to snapshot b."""
    resolution, service = read.read_resolution(values), read.read_service(values)
    a, b = (world.scene(resolution, snapshot_of(values, name)) for name in ("a", "b"))
    area = read.read_area(values, resolution)
    if area is not None:
        a, b = on_cells(a, area), on_cells(b, area)
    return compare(a, b, service, world.population)


def run_report(values: Values, world: World, tell: Tell, memory: Memory) -> Result:
    """A printable page of it all: what is served, what is missing, where to build."""
    asked = {name: value for name, value in values.items() if name not in ("title", "limit")}

    def ask(name: str, extra: Values) -> Result:
        fits = {k: v for k, v in {**asked, **extra}.items() if k in PROCESSES[name].inputs}
        return PROCESSES[name].run(fits, world, tell, memory)

    resolution, service = read.read_resolution(values), read.read_service(values)
    scene, area = _area(values, world, resolution)
    parts = {"gaps": ask("gap-analysis", {"limit": read.whole(values, "limit", 12, 1, 1_000)})}
    parts |= {name: ask(name, {}) for name in ("best-server", "interference")}
    if "count" in values:
        parts["placed"] = ask("place-sites", {})
    title = values.get("title", "Coverage report")
    picture = draw_map(on_cells(scene, area), service, sites_of(world, parts))
    about = " · ".join(part for part in (world.about, _where(values)) if part)
    html = page(str(title)[:200], about, parts, picture, service, resolution)
    return {"resolution": resolution, "html": html, "parts": parts}


def _where(values: Values) -> str:
    """An area in words, as it was asked for."""
    area = values.get("area", {})
    if "bbox" in area:
        west, south, east, north = area["bbox"]
        return f"longitude {west:.5g} to {east:.5g}, latitude {south:.5g} to {north:.5g}"
    if "radius_m" in area:
        return f"{area['radius_m']:g} m around {area['lat']:.5f}, {area['lon']:.5f}"
    return f"{len(area['h3'])} chosen cells" if "h3" in area else "all that the map knows"


def sites_of(world: World, parts: Mapping[str, Result]) -> list[tuple[float, float, str]]:
    """(latitude, longitude, label) of hotspots, and of proposed sites by their rank."""
    found = [(s.latitude_deg, s.longitude_deg, "") for _, s in sorted(world.sites.items())]
    rows = parts.get("placed", {}).get("sites", [])
    return found + [(row["lat"], row["lon"], str(k + 1)) for k, row in enumerate(rows)]


Schemas = dict[str, dict[str, Any]]

RES = {"type": "integer", "minimum": 5, "maximum": 10, "description": "H3 resolution"}
AREA: dict[str, Any] = {
    "type": "object",
    "description": "bbox [west, south, east, north], or lat, lon and radius_m, or h3 [cells]; "
    "left out: all that the map knows",
}
THRESHOLD = {"type": "number", "default": -82, "description": "dBm from which a cell is served"}
PROBABILITY = {"type": "number", "default": 0.5, "description": "of reaching it, to count"}
SERVED: Schemas = {"res": RES, "threshold_dbm": THRESHOLD, "probability": PROBABILITY}
SNAPSHOT = {"type": "string", "description": "left out: the newest"}
PLACE: Schemas = {**SERVED, "area": AREA, "snapshot": SNAPSHOT}
SITE = {"type": "object", "description": "lat, lon; optional height_m, eirp_dbm, gain_dbi, "
        "frequency_mhz, name"}  # fmt: skip
PREDICTED: Schemas = {
    "radio": {"type": "object", "description": "eirp_dbm, height_m, gain_dbi, frequency_mhz"},
    "model": {"type": "string", "default": "statistical",
              "enum": ["statistical", "p1812", "itm", "bullington", "free_space"]},
    "radius_m": {"type": "number", "default": 20000, "description": "how far to predict"},
}  # fmt: skip
PLACING: Schemas = {
    **SERVED, **PREDICTED, "area": AREA,
    "count": {"type": "integer", "minimum": 1, "description": "how many sites"},
    "candidates": {"type": "array", "items": SITE, "description": "left out: a grid"},
    "candidate_res": {"type": "integer", "default": 9, "description": "H3 grid of candidates"},
    "seed": {"type": "integer", "default": 1},
}  # fmt: skip
PROCESSES: dict[str, Process] = {
    process.name: process
    for process in (
        Process(
            "what-if", "What a new site, a move or a removal changes",
            "People, cells and area gained and lost, best server, interference, expected reward.",
            {**SERVED, **PREDICTED, "sites": {"type": "array", "items": SITE},
             "remove": {"type": "array", "items": {"type": "integer"}},
             "move": {"type": "object", "description": "hotspot, lat, lon"}},
            run_what_if,
        ),
        Process("place-sites", "Where to put k sites",
                "Greedy with swaps over all candidates, and a bound on what any k could cover.",
                PLACING, run_place),
        Process("gap-analysis", "Where service is missing",
                "Connected gaps, by people, told apart: measured, predicted, unknown.",
                {**PLACE, "limit": {"type": "integer", "default": 100}}, run_gaps),
        Process("best-server", "Who serves which cell",
                "And which cells hang on one hotspot alone.", PLACE, run_best_server),
        Process("interference", "Where hotspots are in each other's way",
                "Signal over interference, and how many share the air.", PLACE, run_interference),
        Process("population-covered", "How many people are served",
                "People, cells and area served, unserved and unknown.", PLACE, run_population),
        Process("drive-next", "Where the map should be measured next",
                "Cells that take most uncertainty off an area, one after the other.",
                {"area": AREA, "snapshot": SNAPSHOT,
                 "count": {"type": "integer", "default": 10}}, drive_next),
        Process("compare", "What changed between two snapshots",
                "Newly served, lost, better, worse, newly measured.",
                {**SERVED, "area": AREA, "a": {"type": "string"}, "b": {"type": "string"}},
                run_compare),
        Process("report", "A printable report",
                "One self-contained HTML page with maps and tables.",
                {**PLACING, "snapshot": SNAPSHOT, "title": {"type": "string"},
                 "limit": {"type": "integer", "default": 12}}, run_report),
    )
}  # fmt: skip
