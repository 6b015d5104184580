"""The same aggregates per cell in two dialects of SQL, and the schema for a ClickHouse server.

A store of observations is Parquet sorted by key (keys.py), so any column store takes it as it is.
Up to about a billion rows DuckDB reads the files in place. Beyond that ClickHouse keeps them:
sorted by the same key in a MergeTree, a cell at any resolution is one range of rows, as in the map
itself. What both give is what a snapshot's columns of these names say, to the last digit: nearest
rank over bins of 0.5 dB, exactly distinct hotspots and devices, means rounded half up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from coverage_map.store.keys import COARSEST, FINEST

Dialect = Literal["duckdb", "clickhouse"]

LEVELS = range(COARSEST, FINEST + 1)
AGGREGATES = (
    *("cells", "count", "mean_cdbm", "low_cdbm", "high_cdbm", "p10_cdbm", "p50_cdbm", "p90_cdbm"),
    *("hotspots", "devices", "first", "last"),
)
LOWEST_CDBM, BIN_CDB, BINS = -14_000, 50, 256  # as in kernels.py
_LEVEL_BITS = 0xF << 52
_DIGITS = (1 << 52) - 1
_KEY_SHIFT = 12
TYPES = "cell UInt64, hotspot UInt32, device UInt32, signal_cdbm Int16, epoch UInt32, kind UInt8"


def cells_query(dialect: Dialect, resolution: int, source: str = "observations") -> str:
    """SQL for the aggregates of all cells of a resolution, ordered by cell.

    Observations whose owners published no finer place are part of the coarser cells only.
    """
    say = _DUCKDB if dialect == "duckdb" else _CLICKHOUSE
    rank = "({n} * {tenths} + 9) {div} 10"
    ranks = [rank.format(n="n", tenths=t, div=say["div"]) for t in (1, 5, 9)]
    levels = [f"least(greatest({LOWEST_CDBM} + {BIN_CDB} * bins[{r}], low), high)" for r in ranks]
    unused = (1 << 3 * (15 - resolution)) - 1
    keep = ((1 << 64) - 1) & ~(_LEVEL_BITS | unused)
    parent = say["parent"].format(keep=keep, put=resolution << 52 | unused)
    return f"""SELECT cells, n AS count, {say["mean"]} AS mean_cdbm,
    low AS low_cdbm, high AS high_cdbm,
    {levels[0]} AS p10_cdbm, {levels[1]} AS p50_cdbm, {levels[2]} AS p90_cdbm,
    hotspots, devices, first, last
FROM (
    SELECT {parent} AS cells, count(*) AS n, {say["total"]} AS total,
        min(signal_cdbm) AS low, max(signal_cdbm) AS high, {say["bins"]} AS bins,
        {say["distinct"].format(name="hotspot")} AS hotspots,
        {say["distinct"].format(name="device")} AS devices,
        min(epoch) AS first, max(epoch) AS last
    FROM {source} WHERE {say["level"]} >= {resolution} GROUP BY cells
) ORDER BY cells"""


_BIN_SUM = f"signal_cdbm + {-LOWEST_CDBM + BIN_CDB // 2}"
_DUCKDB = {
    "div": "//",
    "parent": "(cell & {keep}::UBIGINT) | {put}::UBIGINT",
    "level": "((cell >> 52) & 15)",
    "total": "sum(signal_cdbm::BIGINT)::BIGINT",
    "distinct": "count(DISTINCT {name})",
    "bins": f"list_sort(list(least(greatest(({_BIN_SUM}) // {BIN_CDB}, 0), {BINS - 1})))",
    "mean": "floor((2 * total + n) / (2 * n))::SMALLINT",
}
_CLICKHOUSE = {
    "div": "DIV",
    "parent": "bitOr(bitAnd(cell, toUInt64('{keep}')), toUInt64('{put}'))",
    "level": "bitAnd(bitShiftRight(cell, 52), 15)",
    "total": "sum(toInt64(signal_cdbm))",
    "distinct": "uniqExact({name})",
    "bins": f"arraySort(groupArray(toUInt8(least(greatest(intDiv({_BIN_SUM}, {BIN_CDB}), 0),"
    f" {BINS - 1}))))",
    "mean": "toInt16(floor((2 * total + n) / (2 * n)))",
}


def clickhouse_schema(database: str) -> list[str]:
    """Statements that make the database, its table, and a view per resolution and per area."""
    made = [
        f"CREATE DATABASE IF NOT EXISTS {database}",
        f"""CREATE TABLE IF NOT EXISTS {database}.observations (
    cell UInt64 CODEC(Delta, ZSTD), hotspot UInt32 CODEC(Delta, ZSTD),
    device UInt32 CODEC(Delta, ZSTD), signal_cdbm Int16 CODEC(ZSTD), epoch UInt32 CODEC(ZSTD),
    kind UInt8 CODEC(ZSTD), key UInt64 MATERIALIZED {_key_of("cell")}
) ENGINE = MergeTree ORDER BY key""",
        f"CREATE TABLE IF NOT EXISTS {database}.loaded (segment String) ENGINE = MergeTree"
        " ORDER BY segment",
    ]
    for resolution in LEVELS:
        for name, source in (
            (f"cells_r{resolution}", f"{database}.observations"),
            (f"cells_r{resolution}_under", _range_of(database)),
        ):
            query = cells_query("clickhouse", resolution, source)
            made.append(f"CREATE OR REPLACE VIEW {database}.{name} AS {query}")
    return made


def clickhouse_load(database: str, files: Sequence[tuple[str, str]]) -> list[str]:
    """Statements that load segments, given as (name, path); one that is there is left out.

    A segment is inserted as a whole, and noted after: if a load is broken off between the two, the
    row count of `observations` says so (see `clickhouse_check`).
    """
    made = []
    for name, path in files:
        made.append(
            f"INSERT INTO {database}.observations SELECT {_names()} FROM"
            f" file({_text(path)}, Parquet, {_text(TYPES)}) WHERE {_text(name)} NOT IN"
            f" (SELECT segment FROM {database}.loaded)"
        )
        made.append(
            f"INSERT INTO {database}.loaded SELECT {_text(name)} WHERE {_text(name)} NOT IN"
            f" (SELECT segment FROM {database}.loaded)"
        )
    return made


def clickhouse_check(database: str, rows: int) -> str:
    """A statement that fails where the server holds other than so many observations."""
    wrong = "observations missing or loaded twice; drop the database and load again"
    return (
        f"SELECT throwIf(count() != {rows}, {_text(wrong)}) AS wrong, count() AS observations"
        f" FROM {database}.observations"
    )


def clickhouse_examples(database: str) -> list[str]:
    """Questions to begin with."""
    return [
        f"SELECT hex(cells), * FROM {database}.cells_r9 ORDER BY count DESC LIMIT 20",
        f"SELECT hex(cells), count, p50_cdbm / 100 AS dbm FROM {database}.cells_r9_under(parent ="
        " stringToH3('851f8d93fffffff'))",
        f"SELECT epoch, count() AS receptions, uniqExact(device) AS devices FROM {database}"
        ".observations GROUP BY epoch ORDER BY epoch",
    ]


def _names() -> str:
    return ", ".join(part.split()[0] for part in TYPES.split(", "))


def _key_of(cell: str) -> str:
    return f"bitShiftRight(bitAnd({cell}, {_DIGITS}), {_KEY_SHIFT})"


def _range_of(database: str) -> str:
    """Observations under the parameter `parent`: one range of the table's order."""
    parent = "{parent:UInt64}"
    level = f"bitAnd(bitShiftRight({parent}, 52), 15)"
    width = f"bitShiftLeft(toUInt64(1), 3 * ({FINEST} - {level}))"
    high = _key_of(parent)
    return (
        f"(SELECT * FROM {database}.observations WHERE key > {high} - {width} AND key <= {high})"
    )


def _text(value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
