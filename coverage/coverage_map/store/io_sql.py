"""Ad-hoc SQL over the store with DuckDB: observations and every level of a snapshot as tables.

DuckDB reads the same Parquet that the map is made from. Levels come in as Arrow columns without a
copy; cells are unsigned integers, `h3` is their usual text. With the package
`duckdb-extension-spatial` installed, its geometry functions work too, without the Internet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

from chain.errors import EXIT_FAILED, UserError
from coverage_map.store.io_snapshots import RESOLUTIONS, Snapshots
from coverage_map.store.sql_cells import cells_query
from coverage_map.store.tables import COLUMNS

INSTALL = "install it: pip install duckdb==1.5.5"


def open_sql(directory: Path, snapshot: str | None = None) -> Any:
    """A DuckDB connection in memory with tables `observations` and `r3` to `r11`.

    The views `cells_r3` to `cells_r11` are aggregated from the observations when they are asked.

    UserError when DuckDB is not installed or the directory holds no store.
    """
    try:
        import duckdb
    except ImportError as error:
        raise UserError("duckdb", "is not installed", INSTALL, exit_code=EXIT_FAILED) from error
    if not (directory / "snapshots").is_dir():
        raise UserError("--data", f"{directory} holds no map", "give a map's data directory")
    snapshots = Snapshots(directory / "snapshots")
    name = snapshot or snapshots.current()
    if name is None:
        raise UserError("--data", f"{directory} holds no snapshot yet", "serve the map once")
    connection = duckdb.connect(":memory:")
    _add_observations(connection, directory / "observations")
    published = snapshots.open(name)
    for resolution in RESOLUTIONS:
        level = published.merged[resolution]
        columns = {n: pa.array(np.asarray(level[n])) for n in COLUMNS}
        connection.register(f"columns_{resolution}", pa.table(columns))
        connection.execute(
            f"CREATE VIEW r{resolution} AS SELECT lower(to_hex(cells)) AS h3, * "
            f"FROM columns_{resolution}"
        )
        query = cells_query("duckdb", resolution)
        connection.execute(f"CREATE VIEW cells_r{resolution} AS {query}")
    return connection


def _add_observations(connection: Any, directory: Path) -> None:
    files = [str(path) for path in segments_of(directory.parent)]
    if files:
        found = connection.read_parquet(files)
        found.create_view("observations")
        return
    connection.execute(
        "CREATE TABLE observations (cell UBIGINT, hotspot UINTEGER, device UINTEGER, "
        "signal_cdbm SMALLINT, epoch UINTEGER, kind UTINYINT)"
    )


def segments_of(directory: Path) -> list[Path]:
    """The files of a store that are the map's; UserError where it is none.

    Not every file there: what people sent and still has to wait is none of the map's.
    """
    try:
        named = json.loads((directory / "checkpoint.json").read_text())["segments"]
    except (OSError, ValueError, KeyError) as error:
        remedy = "give a map's data directory"
        raise UserError("--data", f"{directory} holds no map", remedy) from error
    return [directory / "observations" / str(name) for name in named]


def load_spatial(connection: Any) -> bool:
    """Load DuckDB's spatial extension from its Python package; whether it is there."""
    try:
        import duckdb_extension_spatial as package  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return False
    found = next(Path(package.__file__).parent.rglob("*.duckdb_extension"), None)
    if found is None:
        return False
    connection.execute(f"LOAD '{found}'")
    return True
