"""The observations in ClickHouse: in a child process (chdb, the real engine), or for a server.

    engine = ClickHouse(Path("/var/lib/wavecomb/map"))   # reads the Parquet in place
    table = engine.ask("SELECT * FROM cells_r9 ORDER BY count DESC LIMIT 10")

`export` writes what a server needs to hold billions of rows: schema, loading, and first questions.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

from chain.errors import EXIT_FAILED, UserError
from coverage_map.store import sql_cells as sql
from coverage_map.store.io_sql import segments_of

INSTALL = "install it: pip install chdb"
DATABASE = "wavecomb"


class ClickHouse:
    """A ClickHouse of one's own; with a store's `observations` and `cells_r3` to `cells_r11`."""

    def __init__(self, directory: Path | None = None) -> None:
        """UserError where chdb isn't installed, or the directory holds no store."""
        files = segments_of(directory) if directory else []
        if find_spec("chdb") is None:
            raise UserError("chdb", "is not installed", INSTALL, exit_code=EXIT_FAILED)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "coverage_map.store.io_clickhouse_engine"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        if directory:
            self._add_views(files)

    @property
    def pid(self) -> int:
        """The process that the engine runs in."""
        return self._child.pid

    def _add_views(self, files: list[Path]) -> None:
        parts = [f"SELECT * FROM file('{path}', Parquet, '{sql.TYPES}')" for path in files]
        parts = parts or [f"SELECT * FROM null('{sql.TYPES}')"]
        self.run(f"CREATE DATABASE {DATABASE}", f"USE {DATABASE}")
        self.run(f"CREATE VIEW observations AS {' UNION ALL '.join(parts)}")
        for resolution in sql.LEVELS:
            query = sql.cells_query("clickhouse", resolution)
            self.run(f"CREATE VIEW cells_r{resolution} AS {query}")

    def run(self, *statements: str) -> None:
        """Carry statements out; UserError with the engine's own words where it refuses."""
        for statement in statements:
            self._query(statement, "Null")

    def ask(self, question: str) -> Any:
        """The answer as a pyarrow.Table."""
        found = self._query(question, "ArrowStream")
        return pa.ipc.open_stream(io.BytesIO(found)).read_all() if found else pa.table({})

    def _query(self, statement: str, form: str) -> bytes:
        pipes = self._child.stdin, self._child.stdout
        if pipes[0] is None or pipes[1] is None:
            raise UserError("clickhouse", "the engine is closed", "open it again")
        try:
            pipes[0].write(json.dumps([statement, form]).encode() + b"\n")
            pipes[0].flush()
            ok, said = json.loads(pipes[1].readline() or "[null, null]")
            found = pipes[1].read(said) if ok else b""
        except BrokenPipeError:
            ok, said, found = None, None, b""
        if ok is None or (ok and len(found) < said):
            problem = f"the engine ended with {self._child.wait()}"
            raise UserError("clickhouse", problem, "ask for less at a time", exit_code=EXIT_FAILED)
        if not ok:
            raise UserError("sql", said, "mend the statement", exit_code=EXIT_FAILED)
        return found

    def close(self) -> None:
        """End the engine."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._child.wait()


def export(directory: Path, folder: Path, database: str = DATABASE) -> dict[str, Any]:
    """Write schema.sql, load.sql, check.sql and examples.sql for a server; what they are about.

    The paths in load.sql are this machine's: the server reads them itself, so they must lie in its
    `user_files_path`, or be copied there and the paths with them.
    """
    if not database.isidentifier():
        raise UserError("--database", f"{database!r} is no name", "use letters, digits and _")
    files = segments_of(directory)
    rows = sum(pq.read_metadata(path).num_rows for path in files)
    wanted = {
        "schema": sql.clickhouse_schema(database),
        "load": sql.clickhouse_load(database, [(x.name, str(x.resolve())) for x in files]),
        "check": [sql.clickhouse_check(database, rows)],
        "examples": sql.clickhouse_examples(database),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, statements in wanted.items():
            text = ";\n\n".join(statements)
            (folder / f"{name}.sql").write_text(f"{text};\n", encoding="utf-8")
    except OSError as error:
        raise UserError("--export", f"can't write {folder}: {error}", "mend its mode") from error
    return {"folder": str(folder), "database": database, "segments": len(files), "rows": rows}
