"""How near our ITM coverage comes to SPLAT!'s own rasters, and how fast.

    python -m bench.splat --json
    python -m bench.splat --fixture DIR     # other rasters of the same kind

A fixture is NAME.json (the request), NAME.meta.json, NAME.signal.u8.gz and NAME.mask.u8.gz, with
SDF tiles beside it, in DIR/terrain or in DIR/../terrain. Share: computed cells within 1 dB.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coverage_map.propagation.io_terrain import read_terrain
from coverage_map.propagation.itm import Percentages, Settings
from coverage_map.propagation.splat import SplatSite, compute_loss_raster, level_raster
from coverage_map.propagation.terrain import Raster, mosaic, window

FIXTURES = Path(__file__).resolve().parents[2] / "shared" / "ground-truth" / "radio" / "splat"
METRES_PER_FOOT = 0.3048  # the fixtures' transmitter heights were consumed as feet
CLIMATES = (
    "equatorial", "continental_subtropical", "maritime_subtropical", "desert",
    "continental_temperate", "maritime_temperate_land", "maritime_temperate_sea",
)  # fmt: skip
COMPUTED = 8  # in the mask, whose three low bits mean other things
LEVEL_TOLERANCE = 1


@dataclass(frozen=True, slots=True)
class Score:
    """One place: shares of computed cells, cells whose mask differs, speed on one core."""

    cells: int
    share: float
    exact_share: float
    mask_mismatch: int
    cells_per_s: float


def request_of(path: Path) -> tuple[SplatSite, Settings, float]:
    """Site, model settings and ERP in dBm of a fixture's request."""
    wanted: dict[str, Any] = json.loads(path.read_text())
    site = SplatSite(
        wanted["lat"],
        wanted["lon"],
        wanted["tx_height"] * METRES_PER_FOOT,
        wanted["rx_height"],
        wanted["clutter_height"],
        wanted["radius"],
    )
    chances = Percentages.of_confidence(wanted["situation_fraction"], wanted["time_fraction"])
    settings = Settings(
        frequency_mhz=wanted["frequency_mhz"],
        climate=CLIMATES.index(wanted["radio_climate"]) + 1,
        refractivity=wanted["atmosphere_bending"],
        polarization=1 if wanted["polarization"] == "vertical" else 0,
        permittivity=wanted["ground_dielectric"],
        conductivity_s_m=wanted["ground_conductivity"],
        percentages=chances,
    )
    return site, settings, wanted["tx_power"] + wanted["tx_gain"] - wanted["system_loss"]


def terrain_of(folder: Path, meta: dict[str, Any]) -> Raster:
    """The fixture's tiles as one grid of the raster's own shape; missing tiles are sea."""
    homes = (folder, folder / "terrain", folder.parent / "terrain")
    paths = {p.name: p for home in homes for p in sorted(home.glob("*.sdf*"))}
    near = [p for name, p in sorted(paths.items()) if _overlaps(name, meta)]
    if not near:
        raise SystemExit(f"terrain: no tile of this place in {homes[-1]}; fetch its SDF tiles")
    joined = mosaic([read_terrain(p) for p in near])
    north, rows = round(meta["south"]) + meta["height"] * joined.step_lat_deg, meta["height"]
    return window(
        joined, north - joined.step_lat_deg, round(meta["west"]), (rows, meta["width"])
    )


def _overlaps(name: str, meta: dict[str, Any]) -> bool:
    low, high, east, west = (int(x) for x in name.split(".")[0].replace(":", "_").split("_")[:4])
    west = west if west > east else 360
    middle = -(east + west) / 2.0
    inside = any(meta["west"] < middle + turn < meta["east"] + 0.5 for turn in (0.0, 360.0))
    return inside and meta["south"] - 0.5 < (low + high) / 2.0 < meta["north"] + 0.5


def plane(folder: Path, name: str, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """One of a fixture's byte rasters."""
    data = gzip.decompress((folder / f"{name}.{kind}.u8.gz").read_bytes())
    return np.frombuffer(data, np.uint8).reshape(shape)


def score(folder: Path, name: str) -> Score:
    """Compute one fixture's raster and compare."""
    meta = json.loads((folder / f"{name}.meta.json").read_text())
    site, settings, erp_dbm = request_of(folder / f"{name}.json")
    terrain = terrain_of(folder, meta)
    started = time.process_time()
    loss = compute_loss_raster(terrain, site, settings)
    spent = time.process_time() - started
    shape = (meta["height"], meta["width"])
    theirs = (plane(folder, name, "mask", shape) & 248) == COMPUTED
    ours = ~np.isnan(loss)
    level = level_raster(loss, erp_dbm).astype(int)
    apart = np.abs(level - plane(folder, name, "signal", shape).astype(int))
    within = theirs & ours & (apart <= LEVEL_TOLERANCE)
    cells = int(theirs.sum())
    exact = int((theirs & ours & (apart == 0)).sum())
    return Score(
        cells, int(within.sum()) / cells, exact / cells, int((theirs != ours).sum()),
        int(ours.sum()) / spent,
    )  # fmt: skip


def run(folder: Path) -> dict[str, float]:
    """All fixtures of a folder: `<place>_share` and its companions."""
    names = sorted(p.name[: -len(".meta.json")] for p in folder.glob("*.meta.json"))
    if not names:
        raise SystemExit(f"--fixture: no *.meta.json in {folder}; give a folder of rasters")
    results: dict[str, float] = {}
    score(folder, names[0])  # compiles
    for name in names:
        got = score(folder, name)
        place = name.rsplit("_", 1)[0]
        results[f"{place}_share"] = round(got.share, 6)
        results[f"{place}_exact_share"] = round(got.exact_share, 6)
        results[f"{place}_mask_mismatch"] = got.mask_mismatch
        results[f"{place}_cells"] = got.cells
        results[f"{place}_cells_per_s"] = round(got.cells_per_s)
    return results


def main(arguments: list[str] | None = None) -> int:
    """Print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fixture", type=Path, default=FIXTURES, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args(arguments)
    results = run(wanted.fixture)
    if wanted.json:
        print(json.dumps(results))
    else:
        for key, value in results.items():
            print(f"{key:30} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
