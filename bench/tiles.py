"""Store and tiles of the coverage map, measured: `python -m bench.tiles --json`; last line is JSON.

snapshot_100m_s       100 M observations in ten segments to a published snapshot with all columns
delta_1pct_s          one more segment of a hundredth laid over it and published
fold_s                that layer folded into a full snapshot, which a map does in the background
live_publish_s        a few receptions, and predictions that changed in a hundredth of the ground
                      (one in twenty of them vanished): only what changed is written
live_publish_whole_s  the first publication with predictions: a whole snapshot, as every one was
                      before layers had them; *_mb: bytes written
layered_*             tiles and latency as below, of the snapshot with its layer
http_p99_ms           tiles of resolution 9 under cells of resolution 5, 8 connections, one process
uncached_tiles_per_s  the same tiles, each asked for once; cached_tiles_per_s: asked for again
mvt_cold_ms           a vector tile of 10,000 hexagons from their indexes on; mvt_peer_ms: the same
                      polygons and tags by mapbox-vector-tile in the same run
bytes_per_hex         id, signal and uncertainty of a cell on the wire (zstd), over all tiles

Seconds are of the wall, with the processor time beside them (`*_cpu_s`): a busy machine shows in
the first and not in the second. Tiles per second are per second of the server's processor time.
`load` is the machine's load average during the run. `--observations` sets the size, `--keep DIR`
keeps the country for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import h3.api.basic_int as h3
import numpy as np
from aiohttp import web

from bench.tiles_country import chunks
from chain.io_http import bound_port
from chain.io_terminal import Progress, print_json
from coverage_map.cells import parents
from coverage_map.service.io_api import add_routes
from coverage_map.service.io_events import Hub
from coverage_map.service.io_front import serve_front
from coverage_map.service.io_service import SERVICE, Service
from coverage_map.store.forecasts import with_ancestors
from coverage_map.store.io_build import build
from coverage_map.store.io_layers import fold, refresh, update
from coverage_map.store.io_observations import Observations, join_rows
from coverage_map.store.io_snapshots import Published, Snapshots
from coverage_map.store.tables import NONE_CDB, NONE_CDBM, Predicted, Table
from coverage_map.store.view import blank_level
from coverage_map.tiles import mvt

SEGMENTS = 10
CONNECTIONS = 8
CACHED = 20_000
LAYERED = ("http_p99_ms", "http_p50_ms", "uncached_tiles_per_s")
MVT_REPEATS = 20
Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """The result, seconds of the wall, and seconds of the processor."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, time.perf_counter() - wall, cpu


def make_country(directory: Path, count: int) -> None:
    """Segments of observations, and one of a hundredth that came later."""
    observations = Observations(directory / "observations")
    if len(observations.names()) == SEGMENTS + 1:
        return
    progress = Progress("country", SEGMENTS)
    for number in range(SEGMENTS):
        rows = join_rows(list(chunks(count // SEGMENTS, number)))
        observations.append(rows, np.zeros(len(rows), np.uint8))
        progress.update(number + 1)
    progress.close()
    late = join_rows(list(chunks(max(count // 100, 1), SEGMENTS, (5_000, 5_010))))
    observations.append(late, np.zeros(len(late), np.uint8))


def warm_up() -> None:
    """Compile or load every loop that is measured, on a few observations."""
    with tempfile.TemporaryDirectory() as folder:
        observations = Observations(Path(folder) / "observations")
        snapshots = Snapshots(Path(folder) / "snapshots")
        for count, seed in ((100_000, 98), (10, 99)):
            rows = next(chunks(count, seed))
            observations.append(rows, np.zeros(len(rows), np.uint8))
        names = observations.names()
        base = build(observations, snapshots, names[:1], {}, 0)
        fold(snapshots, update(observations, snapshots, base, names[1:], 0))
        for changed in (False, True):
            base = refresh(observations, snapshots, base, [], predicted_for(base, changed), 0)


def measure_store(directory: Path) -> tuple[dict[str, float], Published, Published]:
    """Build, update and fold times, with the compiled loops warm; the base and its layer."""
    shutil.rmtree(directory / "snapshots", ignore_errors=True)
    observations, snapshots = (
        Observations(directory / "observations"),
        Snapshots(directory / "snapshots"),
    )
    names = observations.names()
    warm_up()
    base, wall, cpu = timed(lambda: build(observations, snapshots, names[:-1], {}, 0))
    laid, delta_wall, delta_cpu = timed(
        lambda: update(observations, snapshots, base, names[-1:], 0)
    )
    folded, fold_wall, fold_cpu = timed(lambda: fold(snapshots, laid))
    shutil.rmtree(directory / "snapshots" / folded.identity)
    found = {
        "snapshot_100m_s": round(wall, 1),
        "snapshot_cpu_s": round(cpu, 1),
        "delta_1pct_s": round(delta_wall, 1),
        "delta_cpu_s": round(delta_cpu, 1),
        "fold_s": round(fold_wall, 1),
        "fold_cpu_s": round(fold_cpu, 1),
        "cells_res9": len(base.levels[9]["cells"]),
    }
    return found, base, laid


def predicted_for(base: Published, changed: bool) -> dict[int, Predicted]:
    """Predictions for the cells of a snapshot and their siblings; `changed` ones for a hundredth.

    Made of the cells' own bits: nothing is drawn.
    """
    found = {}
    for resolution in (9, 10):
        cells = np.asarray(base.levels[resolution]["cells"])
        unit = np.uint64(3 * (15 - resolution))
        digit = cells >> unit & np.uint64(7)
        beside = cells - (digit << unit) + ((digit + np.uint64(1)) % np.uint64(7) << unit)
        cells = np.union1d(cells, beside)
        mixed = cells * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)
        fresh = parents(cells, 5) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)
        moved = (fresh % np.uint64(100) == 0) if changed else np.zeros(len(cells), np.bool_)
        kept = ~moved | (mixed % np.uint64(20) != 0)
        cells, mixed, moved = cells[kept], mixed[kept].astype(np.int64), moved[kept]
        none = np.full(len(cells), NONE_CDBM, np.int16)
        found[resolution] = Predicted(
            cells, (-10_500 + mixed % 5_000 + 300 * moved).astype(np.int16),
            (500 + mixed % 700).astype(np.uint16), (mixed % 300).astype(np.int32),
            (mixed % 4).astype(np.uint8), none, np.full(len(cells), NONE_CDB, np.uint16),
            np.full(len(cells), -1, np.int32),
        )  # fmt: skip
    return with_ancestors(found)


def measure_live(directory: Path, base: Published) -> dict[str, float]:
    """What a publication after a refresh of the estimator costs, whole and as a layer."""
    observations, snapshots = (
        Observations(directory / "observations"),
        Snapshots(directory / "snapshots"),
    )
    rows = next(chunks(1_000, 97, (5_010, 5_011)))
    first, then = predicted_for(base, changed=False), predicted_for(base, changed=True)
    name = observations.append(rows, np.zeros(len(rows), np.uint8))
    found: dict[str, float] = {}
    made = base
    for key, segments, predicted in (("_whole", [], first), ("", [name], then)):
        made, wall, cpu = timed(
            partial(refresh, observations, snapshots, made, segments, predicted, 0)
        )
        files = (snapshots.directory / made.identity).glob("*/*.npy")
        size = sum(path.stat().st_size for path in files)
        found |= {f"live_publish{key}_s": round(wall, 2), f"live_publish{key}_cpu_s": round(cpu, 2)}
        found[f"live_publish{key}_mb"] = round(size / 1e6, 2)
    found["live_changed_rows"] = sum(len(level["cells"]) for level in made.layer.values())
    (observations.directory / name).unlink()
    for identity in {made.identity, made.base}:
        shutil.rmtree(snapshots.directory / identity)
    return found


async def ask(port: int, paths: list[str]) -> tuple[dict[str, float], float]:
    """What the load saw, and this process's processor seconds meanwhile."""
    before = time.process_time()
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.tiles_load", stdin=-1, stdout=-1
    )
    asked = {"port": port, "paths": paths, "connections": CONNECTIONS}
    out, _ = await load.communicate(json.dumps(asked).encode())
    found: dict[str, float] = json.loads(out)
    if found["bad"]:
        raise RuntimeError(f"{found['bad']} answers were not 200")
    return found, time.process_time() - before


async def measure_http(base: Published) -> dict[str, float]:
    """Latency and throughput of res-5 tiles through the real service."""
    view = base.view()
    keeper = SimpleNamespace(view_of=lambda _: view, base=base)
    sync: Any = SimpleNamespace(keeper=keeper, ready=True, feed=None)
    app = web.Application()
    app[SERVICE] = Service(sync, Hub())
    add_routes(app, app[SERVICE])
    runner = await serve_front(app, "127.0.0.1", 0)
    port = bound_port(runner) or 0
    draws = np.random.default_rng(1)
    places = np.unique(parents(base.levels[9]["cells"], 5))
    paths = [f"/tiles/{base.identity}/h3/{int(p):x}/9" for p in draws.permutation(places)]
    # First some tiles of another resolution, so that the columns' pages are in memory.
    warm = [path[:-1] + "8" for path in paths]
    await ask(port, warm)
    cold, cold_cpu = await ask(port, paths)
    again, again_cpu = await ask(port, [paths[i] for i in draws.integers(0, len(paths), CACHED)])
    await runner.cleanup()
    rows = len(base.levels[9]["cells"])
    return {
        "http_p99_ms": round(cold["p99_ms"], 2),
        "http_p50_ms": round(cold["p50_ms"], 2),
        "uncached_tiles_per_s": round(cold["answers"] / cold_cpu),
        "uncached_tiles_per_wall_s": round(cold["answers"] / cold["wall_s"]),
        "cached_tiles_per_s": round(again["answers"] / again_cpu),
        "cached_p99_ms": round(again["p99_ms"], 2),
        "bytes_per_hex": round(cold["bytes"] / rows, 2),
        "tiles": cold["answers"],
        "hexes_per_tile": round(rows / len(places)),
    }


def hexagons() -> Table:
    """Ten thousand cells in one place with values."""
    cells = np.sort(np.fromiter(h3.grid_disk(h3.latlng_to_cell(47.37, 8.54, 9), 57), np.uint64))
    draws = np.random.default_rng(1)
    table = {name: np.zeros(len(cells), column.dtype) for name, column in blank_level().items()}
    table["cells"] = cells
    table["value_cdbm"] = draws.integers(-12_000, -5_000, len(cells)).astype(np.int16)
    table["sd_cdb"] = draws.integers(200, 1_200, len(cells)).astype(np.uint16)
    table["count"] = draws.integers(0, 50, len(cells)).astype(np.uint32)
    return table


def measure_mvt() -> dict[str, float]:
    """One vector tile of hexagons by us and by mapbox-vector-tile, processor time."""
    import mapbox_vector_tile
    from shapely.geometry import Polygon

    table, square = hexagons(), mvt.Square(8, 134, 89)
    mvt.encode({name: column[:10] for name, column in table.items()}, square)
    _, _, ours = timed(lambda: [mvt.encode(table, square) for _ in range(MVT_REPEATS)])

    def peer() -> bytes:
        west, south, east, north = square.bbox()
        features = []
        for row, cell in enumerate(table["cells"].tolist()):
            ring = [(lon, lat) for lat, lon in h3.cell_to_boundary(cell)]
            about = {"h3": h3.int_to_str(cell), "value": float(table["value_cdbm"][row]) / 100}
            about |= {"sd": float(table["sd_cdb"][row]) / 100, "count": int(table["count"][row])}
            about["measured"] = bool(table["count"][row])
            features.append({"geometry": Polygon(ring), "properties": about})
        layer = {"name": "cells", "features": features}
        options = {"quantize_bounds": (west, south, east, north), "extents": 4_096}
        content: bytes = mapbox_vector_tile.encode([layer], default_options=options)
        return content

    _, _, theirs = timed(peer)
    return {
        "mvt_cold_ms": round(1e3 * ours / MVT_REPEATS, 2),
        "mvt_peer_ms": round(1e3 * theirs),
        "mvt_hexagons": len(table["cells"]),
    }


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--observations", type=int, default=100_000_000)
    parser.add_argument("--keep", type=Path, help="directory of the country, kept for the next run")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    directory = options.keep or Path(tempfile.mkdtemp(prefix="bench-tiles-"))
    try:
        make_country(directory, options.observations)
        store, base, laid = measure_store(directory)
        found: dict[str, Any] = {"observations": options.observations, **store}
        found |= measure_live(directory, base)
        found |= measure_mvt()
        import uvloop

        found |= uvloop.run(measure_http(base))
        over = uvloop.run(measure_http(laid))
        found |= {f"layered_{name}": over[name] for name in LAYERED}
        found["load"] = round(os.getloadavg()[0], 1)
    finally:
        if options.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print_json(found)
    else:
        for name, value in found.items():
            print(f"{name:<26}{value}")


if __name__ == "__main__":
    main()
