"""Speed of propagation over terrain, one core, with peers in the same run where installed.

    python -m bench.propagation_terrain --json

p1812_links_per_s: full P.1812, links with a 100-point profile of their own, 10 % of time (both
effective earth radii). p1812_shared_links_per_s: the same model for every point of radials.
sweep_cells_per_s: exact Bullington diffraction at every point of 800-point radials (hills, 30 m
mast). area_*_cells_per_s: whole tile of Calgary, 30 km around a site, terrain read, model run and
raster gathered. Peer for P.1812: Py1812 (not on PyPI: measured only where it is importable), for
the area SPLAT! (Debian package splat): its sweep without start-up, by two radii. CPU time;
compilation is excluded, the best of three runs counts.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np

from bench import splat as bench_splat
from coverage_map.propagation import p1812_area, p1812_batch, splat
from coverage_map.propagation.area import Model, Transmitter, compute_coverage
from coverage_map.propagation.diffraction import sweep_db
from coverage_map.propagation.p1812 import Link1812
from coverage_map.propagation.terrain import Raster, make_raster

RUNS = 3
HERTZ = 868e6
LINKS, POINTS = 50_000, 100
RADIALS, RADIAL_POINTS, STEP_M, MAST_M, PHONE_M = 400, 800, 90.0, 30.0, 1.5
AREA_RADIUS_M, AREA_CELL_M = 30_000.0, 75.0  # as many cells as SPLAT computes there
SHORT_RADIUS_KM = 0.5
TILE = "calgary_30km"


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the best of some runs, after one that compiles."""
    work()
    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def hills(radials: int, points: int) -> np.ndarray:
    """Ground of random radials: long hills with noise on them."""
    draw = np.random.default_rng(1)
    ground = 0.6 * np.cumsum(draw.normal(0.0, 4.0, (radials, points)), axis=1)
    slopes = np.cumsum(draw.normal(0.0, 0.05, (radials, points)), axis=1)
    return np.asarray(300.0 + ground + 0.3 * np.cumsum(slopes, axis=1))


def p1812_links() -> dict[str, Any]:
    """Many links with profiles of their own, and the points of shared radials."""
    ground = hills(LINKS, POINTS)
    length_km = np.random.default_rng(2).uniform(1.0, 50.0, LINKS)
    link = Link1812(HERTZ, MAST_M, PHONE_M, 50.0, 10.0)
    rows = p1812_batch.make_rows([link] * LINKS, length_km)
    x = p1812_batch.even_fraction(POINTS)
    own = seconds(lambda: p1812_batch.run_batch(ground, None, rows, x))
    radials = hills(RADIALS, RADIAL_POINTS)
    work, out = p1812_area.new_work(RADIAL_POINTS, rows.shape[1]), np.empty(RADIAL_POINTS)
    latitude, wanted = np.full(RADIAL_POINTS, 50.0), np.ones(RADIAL_POINTS, bool)

    def sweep() -> None:
        for line in radials:
            p1812_area.sweep_radial(
                line, line, True, latitude, wanted, STEP_M / 1e3, rows[0], work, out
            )

    shared = RADIALS * (RADIAL_POINTS - 2) / seconds(sweep)
    return {
        "p1812_links_per_s": round(LINKS / own),
        "p1812_shared_links_per_s": round(shared),
        "p1812_links_per_s_peer": py1812_links_per_s(ground[:200], length_km, link),
    }


def py1812_links_per_s(
    ground: np.ndarray, length_km: np.ndarray, link: Link1812
) -> float | None:
    """Py1812 over the same links, None where it is not importable."""
    try:
        peer: Any = importlib.import_module("Py1812.P1812")
    except (ImportError, OSError):
        return None
    points = ground.shape[1]
    ghz, percent = link.frequency_hz / 1e9, link.time_percent
    zeros, zones = np.zeros(points), np.full(points, 4)

    def run() -> None:
        for line, km in zip(ground, length_km, strict=False):
            d = np.linspace(0.0, km, points)
            peer.bt_loss(
                ghz, percent, d, line, zeros, zones, MAST_M, PHONE_M, 2, 50.0, 50.1, 10.0, 10.1,
                DN=45.0, N0=325.0,
            )  # fmt: skip

    return round(len(ground) / seconds(run))


def sweep_cells() -> dict[str, Any]:
    """The diffraction core by itself: radials given, losses at all their points."""
    ground = hills(RADIALS, RADIAL_POINTS)
    spent = seconds(lambda: sweep_db(ground, STEP_M, MAST_M, PHONE_M, HERTZ))
    return {"sweep_cells_per_s": round(RADIALS * (RADIAL_POINTS - 2) / spent)}


def area_cells() -> dict[str, Any]:
    """Whole areas: terrain along radials, model, raster."""
    terrain, transmitter, settings = calgary()
    results: dict[str, Any] = {}
    models: dict[str, Model] = {"p1812": "p1812", "itm": settings, "bullington": "bullington"}
    for name, model in models.items():
        grid = compute_coverage(transmitter, terrain, model, AREA_RADIUS_M, AREA_CELL_M, 1.0)
        cells = int(np.isfinite(grid.loss_db).sum())
        spent = seconds(
            lambda model=model: compute_coverage(  # type: ignore[misc]
                transmitter, terrain, model, AREA_RADIUS_M, AREA_CELL_M, 1.0
            )
        )
        results[f"area_{name}_cells_per_s"] = round(cells / spent)
    return results


def calgary() -> tuple[Raster, Transmitter, Any]:
    """The tile that SPLAT's raster is of; random hills of its size where it is absent."""
    folder = bench_splat.FIXTURES
    if not folder.exists():
        ground = hills(2400, 2400)
        side = make_raster(ground, 52.0 - 1 / 1200, -115.0, 1 / 1200, 1 / 1200)
        return side, Transmitter(51.1, -114.1, 907e6, 10.0), "itm"
    meta = json.loads((folder / f"{TILE}.meta.json").read_text())
    site, settings, _ = bench_splat.request_of(folder / f"{TILE}.json")
    transmitter = Transmitter(site.latitude_deg, site.longitude_deg, 907e6, site.height_m)
    return bench_splat.terrain_of(folder, meta), transmitter, settings


def splat_peer() -> dict[str, Any]:
    """SPLAT! on the same tile, and our own copy of its walk."""
    folder = bench_splat.FIXTURES
    if not folder.exists():
        return {"area_itm_cells_per_s_peer": None}
    meta = json.loads((folder / f"{TILE}.meta.json").read_text())
    site, settings, _ = bench_splat.request_of(folder / f"{TILE}.json")
    terrain = bench_splat.terrain_of(folder, meta)
    cells = int(np.isfinite(splat.compute_loss_raster(terrain, site, settings)).sum())
    spent = seconds(lambda: splat.compute_loss_raster(terrain, site, settings))
    results: dict[str, Any] = {"splat_walk_cells_per_s": round(cells / spent)}
    results["area_itm_cells_per_s_peer"] = None
    if shutil.which("splat"):
        with tempfile.TemporaryDirectory() as scratch:
            write_inputs(Path(scratch), site, settings)
            short = splat_seconds(Path(scratch), SHORT_RADIUS_KM)
            full = splat_seconds(Path(scratch), site.radius_m / 1e3)
        results["area_itm_cells_per_s_peer"] = round(cells / (full - short))
    return results


def write_inputs(scratch: Path, site: splat.SplatSite, settings: Any) -> None:
    """Tiles, site and model parameters as SPLAT reads them."""
    for path in sorted((bench_splat.FIXTURES.parent / "terrain").glob("5*_11*.sdf.gz")):
        name = path.name.removesuffix(".sdf.gz").replace("_", ":") + ".sdf"
        (scratch / name).write_bytes(gzip.decompress(path.read_bytes()))
    place = f"TX\n{site.latitude_deg}\n{-site.longitude_deg}\n{site.height_m}m\n"
    (scratch / "tx.qth").write_text(place)
    numbers = [
        settings.permittivity, settings.conductivity_s_m, settings.refractivity,
        settings.frequency_mhz, settings.climate, settings.polarization, 0.95, 0.95, 0.1,
    ]  # fmt: skip
    (scratch / "tx.lrp").write_text("".join(f"{x}\n" for x in numbers))


def splat_seconds(scratch: Path, radius_km: float) -> float:
    """CPU seconds of one run of SPLAT, start-up and picture included."""
    options = "-t tx.qth -L 1.0 -metric -sc -gc 1 -ngs -N -dbm -db -130 -olditm -o a.ppm"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(
        ["splat", *options.split(), "-R", str(radius_km)],
        cwd=scratch,
        check=True,
        capture_output=True,
    )
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def figures() -> dict[str, Any]:
    """Every figure of this file."""
    return {**p1812_links(), **sweep_cells(), **area_cells(), **splat_peer()}


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    results = figures()
    if parser.parse_args(arguments).json:
        print(json.dumps(results))
    else:
        for key, value in results.items():
            print(f"{key:32} {value if value is not None else 'not installed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
