"""Worlds for the planner: from a running map, from files, and to and from a job's folder."""

from __future__ import annotations

import csv
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chain.errors import EXIT_FAILED, UserError
from coverage_map.bounties import due_by_cell, offers_of
from coverage_map.cells import Cells, parents, parse, resolutions
from coverage_map.observations import Site
from coverage_map.planning.inputs import Radio, read_site
from coverage_map.planning.io_population import read_population
from coverage_map.planning.reach import Method, reach
from coverage_map.planning.reward import Economy
from coverage_map.planning.scene import Scene, overlaid, scene_of
from coverage_map.planning.world import NEWEST, World

TIMEOUT_S = 30.0
PAGE = 10_000
COLUMNS = ("cells", "servers", "servers_dbm", "sd_db", "measured")


# ---- a running map, over HTTP


def get_json(url: str) -> Any:
    """The JSON at a URL; UserError where no map answers, or it refuses."""
    if not url.startswith(("http://", "https://")):
        raise UserError("--url", f"can't read {url!r}", "write http://HOST:PORT")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise UserError("request", _detail(error), "mend it and try again") from error
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise UserError(
            "--url", f"no map answers at {url.split('/collections')[0]}: {error}",
            "start one: wavecomb map serve --ledger URL", exit_code=EXIT_FAILED,
        ) from error  # fmt: skip


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def features(base: str, collection: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Features of a collection, page after page, as (properties with `geometry`)."""
    root = base.rstrip("/")
    url: str | None = f"{root}/collections/{collection}/items?{urllib.parse.urlencode(query)}"
    while url:
        page = get_json(url)
        for feature in page["features"]:
            yield {**feature["properties"], "geometry": feature.get("geometry")}
        found = [link["href"] for link in page.get("links", ()) if link["rel"] == "next"]
        url = urllib.parse.urljoin(f"{root}/", found[0]) if found else None


def sites_of_map(base: str) -> dict[int, Site]:
    """The hotspots of a running map."""
    found = {}
    for row in features(base, "hotspots", {"limit": 1_000}):
        longitude, latitude = row["geometry"]["coordinates"][:2]
        found[int(row["hotspot"])] = Site(
            index=int(row["hotspot"]), key=bytes.fromhex(row["key"]),
            owner=bytes.fromhex(row["owner"]), cell=parse(row["cell"]) or 0,
            latitude_deg=float(latitude), longitude_deg=float(longitude),
            height_m=int(row["height_m"]), gain_cdb=round(float(row["gain_dbi"]) * 100),
            eirp_cdbm=round(float(row["eirp_dbm"]) * 100),
            frequency_mhz=int(row["frequency_mhz"]),
        )  # fmt: skip
    return found


def measured_of_map(base: str, resolution: int) -> tuple[Cells, Any, Any, Any]:
    """Measured cells of a running map: sorted cells, server, dBm, deviation dB."""
    rows = []
    for row in features(base, "cells", {"res": resolution, "min_obs": 1, "limit": PAGE}):
        cell = parse(row["h3"])
        if cell is not None and row.get("best_server") is not None:
            sd = row.get("uncertainty_db") or 1.0
            rows.append((cell, int(row["best_server"]), float(row["value_dbm"]), float(sd)))
    rows.sort()
    cells = np.array([row[0] for row in rows], np.uint64)
    server, level, sd = (np.array([row[k] for row in rows]) for k in (1, 2, 3))
    return cells, server.astype(np.int64), level, sd


def world_of_map(base: str, resolution: int) -> World:
    """A running map's hotspots predicted, with what it measured on top."""
    sites = sites_of_map(base)
    prints = [reach(sites[k], Method(), resolution) for k in sorted(sites)]
    scene = overlaid(scene_of(prints, resolution), *measured_of_map(base, resolution))
    return World(sites, {(NEWEST, resolution): scene})


# ---- files


def sites_of_csv(path: Path, radio: Radio) -> dict[int, Site]:
    """Hotspots of a table: lat, lon, and optionally the fields of Radio; UserError by line."""
    found: dict[int, Site] = {}
    for number, row in enumerate(rows_of_csv(path, ("lat", "lon"))):
        try:
            found[number] = read_site(row, radio, number)
        except UserError as error:
            where = f"{path.name} line {number + 2} {error.field}"
            raise UserError(where, error.problem, error.remedy) from None
    if not found:
        raise UserError(path.name, "no rows", "give lat,lon and a line per site")
    return found


def rows_of_csv(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows with numbers read; columns that a site doesn't have are left out."""
    wanted = {"lat", "lon", "name", *Radio.__slots__}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            names = [_plain(name) for name in reader.fieldnames or ()]
            reader.fieldnames = names
            missing = [name for name in needed if name not in names]
            if missing:
                raise UserError(path.name, f"no column {', '.join(missing)}", "name it so")
            for row in reader:
                yield {k: _value(k, v) for k, v in row.items() if k in wanted and v}
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise UserError(str(path), f"can't be read ({problem})", "give a CSV table") from None


def _plain(name: str) -> str:
    short = name.strip().lower().removesuffix("_deg")
    return {"latitude": "lat", "longitude": "lon", "lng": "lon"}.get(short, short)


def _value(name: str, text: str) -> Any:
    if name == "name":
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if name in ("height_m", "frequency_mhz") and value.is_integer() else value


def measured_of_csv(path: Path, resolution: int) -> tuple[Cells, Any, Any, Any]:
    """Measured cells of a table (h3,hotspot,dbm,sd_db): as `overlaid` takes them.

    Of several rows of one cell, or of its parts, the strongest counts, as on the map.
    """
    best: dict[int, tuple[float, int, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            for row in csv.DictReader(lines):
                cell = parse(row["h3"])
                if cell is None or int(resolutions([cell])[0]) < resolution:
                    continue
                above = int(parents([cell], resolution)[0])
                found = (float(row["dbm"]), int(row["hotspot"]), float(row["sd_db"]))
                best[above] = max(best.get(above, found), found)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as problem:
        remedy = "make it with: wavecomb map import FILE --out CSV"
        raise UserError(str(path), f"can't be read ({problem!r})", remedy) from None
    cells = np.array(sorted(best), np.uint64)
    level, server, sd = (np.array([best[int(c)][k] for c in cells]) for k in range(3))
    return cells, server.astype(np.int64), level.astype(np.float64), sd.astype(np.float64)


def with_layers(
    world: World, population: Path | None, terrain: Path | None, ledger: str | None
) -> World:
    """The world with people, terrain, and the money that a ledger holds for cells."""
    if population is not None:
        world = replace(world, population=read_population(population))
    if terrain is not None:
        from coverage_map.propagation.io_terrain import read_mosaic, read_terrain

        raster = read_mosaic(terrain) if terrain.is_dir() else read_terrain(terrain)
        world = replace(world, terrain=raster)
    return with_ledger(world, ledger) if ledger else world


def with_ledger(world: World, ledger: str) -> World:
    """Bounties, trust and how far the bootstrap has shrunk, from a ledger service."""
    from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable

    try:
        with LedgerClient(ledger) as client:
            head, hotspots = client.head(), client.hotspots()
            bounties = due_by_cell(offers_of(client.get("/v1/bounties"), {}))
    except (LedgerUnavailable, LedgerRefused) as error:
        raise UserError("--ledger", str(error), "start it", exit_code=EXIT_FAILED) from error
    network = max(len({info.cell for info in hotspots}), 1)
    economy = Economy(head.preset, bounties, {}, network, head.settlement)
    trusted = tuple(info.index for info in hotspots if info.trust_ppm > 0)
    return replace(world, economy=economy, trusted=trusted or None)


# ---- a job's folder


def save_world(path: Path, world: World) -> None:
    """Sites, scenes, people and money as one archive; terrain is named, not copied."""
    arrays: dict[str, Any] = {}
    names = []
    for number, ((snapshot, resolution), scene) in enumerate(sorted(world.scenes.items())):
        names.append([snapshot, resolution])
        for column in COLUMNS:
            arrays[f"{number}.{column}"] = getattr(scene, column)
    if world.population is not None:
        arrays["people.cells"] = world.population.cells
        arrays["people.people"] = world.population.people
    about = {"scenes": names, "sites": [_site_row(world.sites[k]) for k in sorted(world.sites)],
             "trusted": world.trusted, "economy": _economy_row(world.economy),
             "about": world.about}  # fmt: skip
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


def load_world(path: Path) -> World:
    """A world that `save_world` wrote."""
    from coverage_map.planning.population import make_population

    with np.load(path) as kept:
        about = json.loads(kept["about"].tobytes())
        scenes = {
            (snapshot, resolution): Scene(
                resolution, *(kept[f"{number}.{column}"] for column in COLUMNS)
            )
            for number, (snapshot, resolution) in enumerate(about["scenes"])
        }
        people = None
        if "people.cells" in kept:
            people = make_population(kept["people.cells"], kept["people.people"])
    sites = {row[0]: Site(row[0], bytes.fromhex(row[1]), bytes.fromhex(row[2]), *row[3:])
             for row in about["sites"]}  # fmt: skip
    trusted = about["trusted"]
    return World(
        sites, scenes, people, economy=_economy_of(about["economy"]),
        trusted=None if trusted is None else tuple(trusted), about=str(about.get("about", "")),
    )  # fmt: skip


def _site_row(site: Site) -> list[Any]:
    return [
        site.index, site.key.hex(), site.owner.hex(), int(site.cell), site.latitude_deg,
        site.longitude_deg, site.height_m, site.gain_cdb, site.eirp_cdbm, site.frequency_mhz,
        site.sets_power,
    ]  # fmt: skip


def _economy_row(economy: Economy) -> list[Any]:
    money = [sorted(economy.bounties_ucr.items()), sorted(economy.demand_ucr.items())]
    return [economy.preset, *money, economy.network_cells, economy.settlement]


def _economy_of(row: list[Any]) -> Economy:
    return Economy(row[0], dict(map(tuple, row[1])), dict(map(tuple, row[2])), row[3], row[4])
