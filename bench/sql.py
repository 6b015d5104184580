"""ClickHouse beside DuckDB on the map's own observations: `python -m bench.sql --json`.

Both read the same Parquet and aggregate it per cell of a resolution, with exact distinct counts and
quantiles as the map's snapshots have them; their answers are compared before anything is printed.

duckdb_rows_per_s, clickhouse_rows_per_s   observations aggregated per second of the wall
*_rows_per_cpu_s                           the same per second of the processor
clickhouse_load_rows_per_s                 the same files into a MergeTree, as on a server
clickhouse_area_ms                         one cell of resolution 5 out of that table, at res 9
duckdb_area_ms                             the same out of the Parquet
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.tiles import make_country, timed
from chain.io_terminal import Parser, print_json, run_command, write_json
from coverage_map.cells import child_range
from coverage_map.store import sql_cells as sql
from coverage_map.store.io_clickhouse import ClickHouse, export
from coverage_map.store.io_observations import Observations
from coverage_map.store.io_sql import segments_of

AREAS = 20


def duckdb_over(directory: Path) -> Any:
    """DuckDB with the observations only."""
    import duckdb

    connection = duckdb.connect(":memory:")
    files = [str(path) for path in segments_of(directory)]
    connection.read_parquet(files).create_view("observations")
    return connection


def area_of(parent: int) -> str:
    """What DuckDB is asked for one parent: the cells between its first and last descendant."""
    ranges = [child_range(parent, resolution) for resolution in (9, 10)]
    within = " OR ".join(f"cell BETWEEN {low} AND {high}" for low, high in ranges)
    return sql.cells_query("duckdb", 9, f"(SELECT * FROM observations WHERE {within})")


def measure(directory: Path, resolution: int) -> dict[str, float]:
    """Both engines on all observations of a store, and on small areas of it."""
    names = Observations(directory / "observations").names()
    write_json(directory / "checkpoint.json", {"segments": names})
    duckdb, engine = duckdb_over(directory), ClickHouse(directory)
    rows = engine.ask("SELECT count() AS n FROM observations").column("n")[0].as_py()
    found: dict[str, float] = {"observations": rows, "resolution": resolution}
    query = sql.cells_query("duckdb", resolution)
    ours, wall, cpu = timed(lambda: duckdb.execute(query).fetchnumpy())
    found |= {"duckdb_rows_per_s": rows / wall, "duckdb_rows_per_cpu_s": rows / cpu}
    process = psutil.Process(engine.pid)
    before = sum(process.cpu_times()[:2])
    theirs, wall, cpu = timed(lambda: engine.ask(sql.cells_query("clickhouse", resolution)))
    cpu += sum(process.cpu_times()[:2]) - before  # the engine's, and ours to read its answer
    found |= {"clickhouse_rows_per_s": rows / wall, "clickhouse_rows_per_cpu_s": rows / cpu}
    found["cells"] = len(ours["cells"])
    for name in sql.AGGREGATES:
        there = theirs.column(name).to_numpy().astype(np.int64)
        if not np.array_equal(ours[name].astype(np.int64), there):
            raise RuntimeError(f"the engines disagree about {name}")
    found |= measure_server(directory, engine, duckdb, rows)
    engine.close()
    return {name: round(value, 2 if value < 1_000 else None) for name, value in found.items()}


def measure_server(
    directory: Path, engine: ClickHouse, duckdb: Any, rows: int
) -> dict[str, float]:
    """The exported statements, carried out; then single areas."""
    took_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        export(directory, Path(folder), "server")
        for name in ("schema", "load", "check"):
            text = (Path(folder) / f"{name}.sql").read_text()
            statements = [one for one in text.split(";\n") if one.strip()]
            _, took_s[name], _ = timed(partial(engine.run, *statements))
    places = engine.ask("SELECT cells FROM server.cells_r5").column("cells").to_numpy()
    drawn = np.random.default_rng(1).permutation(places)[:AREAS].tolist()
    times: dict[str, list[float]] = {"clickhouse": [], "duckdb": []}
    for parent in drawn:
        question = f"SELECT * FROM server.cells_r9_under(parent = {parent})"
        theirs, wall, _ = timed(partial(engine.ask, question))
        times["clickhouse"].append(wall)
        asked = area_of(parent)
        ours, wall, _ = timed(lambda: duckdb.execute(asked).fetchnumpy())  # noqa: B023
        times["duckdb"].append(wall)
        if not np.array_equal(theirs.column("count").to_numpy(), ours["count"]):
            raise RuntimeError("the engines disagree about an area")
    area_ms = {f"{name}_area_ms": 1e3 * float(np.median(t)) for name, t in times.items()}
    return {"clickhouse_load_rows_per_s": rows / took_s["load"]} | area_ms


def main(argv: Sequence[str]) -> int:
    """Measure both."""
    parser = Parser(
        prog="bench.sql", description=(__doc__ or "").split("\n")[0],
        examples="  python -m bench.sql --observations 10000000 --json",
    )  # fmt: skip
    parser.add_argument("--observations", type=int, default=20_000_000)
    parser.add_argument("--resolution", type=int, default=9)
    parser.add_argument("--keep", type=Path, help="directory of the country, kept for the next run")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options: argparse.Namespace = parser.parse_args(argv)
    directory = options.keep or Path(tempfile.mkdtemp(prefix="bench-sql-"))
    started = time.monotonic()
    try:
        make_country(directory, options.observations)
        found: dict[str, Any] = measure(directory, options.resolution)
    finally:
        if options.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    found |= {"load": round(os.getloadavg()[0], 1), "seconds": round(time.monotonic() - started)}
    if options.json:
        print_json(found)
    else:
        print("\n".join(f"{name:<30}{value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
