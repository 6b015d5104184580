"""`wavecomb map sql`: questions in SQL about a map's store, in DuckDB or in ClickHouse."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, print_json
from coverage_map.store.io_clickhouse import DATABASE, ClickHouse, export
from coverage_map.store.io_sql import load_spatial, open_sql

SHOWN = 40
EXAMPLES = """
  wavecomb map sql --data map/ "SELECT h3, count, value_cdbm FROM r9 ORDER BY count DESC"
  wavecomb map sql --data map/ --engine clickhouse "SELECT * FROM cells_r7" --out cells.parquet
  wavecomb map sql --data map/ --engine clickhouse --export clickhouse/"""


def add_options(parser: Parser) -> None:
    """Options of `wavecomb map sql`."""
    parser.add_argument("sql", nargs="?", metavar="SQL", help="one question")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="a map's data, served or not"
    )
    parser.add_argument(
        "--engine", choices=("duckdb", "clickhouse"), default="duckdb",
        help="duckdb knows the snapshot (r3 to r11) and the observations; clickhouse the "
        "observations (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--snapshot", metavar="ID", help="for r3 to r11 (default: the newest)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the answer: .csv or .parquet"
    )
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write statements for a ClickHouse server"
    )
    parser.add_argument(
        "--database", default=DATABASE, help="name on that server (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(options: argparse.Namespace) -> int:
    """`wavecomb map sql`."""
    if options.export is not None:
        said = export(options.data, options.export, options.database)
        print_json(said) if options.json else print(_told(said))
        return EXIT_OK
    if not options.sql:
        raise UserError("sql", "missing", "give a question, or --export DIR")
    table = ask(options)
    if options.out is not None:
        write(table, options.out)
        print_json({"rows": table.num_rows, "out": str(options.out)}) if options.json else None
    elif options.json:
        rows = [list(row.values()) for row in table.to_pylist()]
        print_json({"columns": table.column_names, "rows": rows})
    else:
        show(table)
    return EXIT_OK


def ask(options: argparse.Namespace) -> Any:
    """The answer as a pyarrow.Table."""
    if options.engine == "clickhouse":
        engine = ClickHouse(options.data)
        try:
            return engine.ask(options.sql)
        finally:
            engine.close()
    import duckdb

    connection = open_sql(options.data, options.snapshot)
    try:
        if "ST_" in options.sql.upper():
            load_spatial(connection)
        found = connection.sql(options.sql)
        return pa.table({}) if found is None else found.to_arrow_table()
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        raise UserError("sql", said, "mend the question", exit_code=EXIT_FAILED) from error
    finally:
        connection.close()


def write(table: Any, path: Path) -> None:
    """Write an answer by its name's ending."""
    import pyarrow.csv as pa_csv  # type: ignore[import-untyped,unused-ignore]
    import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

    writers = {".csv": pa_csv.write_csv, ".parquet": pq.write_table}
    if path.suffix not in writers:
        raise UserError("--out", f"{path.name} is neither .csv nor .parquet", "name one of them")
    try:
        writers[path.suffix](table, path)
    except OSError as error:
        raise UserError("--out", f"can't write {path}: {error}", "name another file") from error


def show(table: Any) -> None:
    """Print the first rows in columns."""
    rows = [[str(x) for x in row.values()] for row in table.slice(0, SHOWN).to_pylist()]
    lines = [list(table.column_names), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(x.rjust(w) for x, w in zip(line, widths, strict=True)))
    if table.num_rows > SHOWN:
        print(f"... {table.num_rows - SHOWN} more rows; --out FILE.csv writes them all")


def _told(said: dict[str, Any]) -> str:
    return (
        f"{said['folder']}: schema.sql, load.sql, check.sql, examples.sql for {said['rows']} "
        f"observations in {said['segments']} files"
    )
