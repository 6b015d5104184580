"""ClickHouse, the real engine, says of a store what DuckDB and the map's own columns say."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from store_helpers import make_rows

from chain.errors import UserError
from coverage_map import io_cli
from coverage_map.cells import parents, resolutions
from coverage_map.store.aggregates import Rows
from coverage_map.store.io_clickhouse import ClickHouse, export
from coverage_map.store.io_keeper import KIND_MAPPER, KIND_WITNESS, Keeper
from coverage_map.store.io_sql import open_sql
from coverage_map.store.sql_cells import AGGREGATES, LEVELS

# Looked for, not imported: the engine's threads and signal handlers stay out of the test process.
if find_spec("chdb") is None:
    pytest.skip("ClickHouse's engine is not installed: pip install chdb", allow_module_level=True)

MIXED = (5, 7, 9, 10, 11)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """A store of several segments, of mixed precision, with a person who still waits."""
    keeper = Keeper(tmp_path_factory.mktemp("clickhouse") / "map")
    for seed, size in ((1, 2_000), (2, 300), (3, 40)):
        rows = make_rows(size, seed, MIXED, spread=0.05)
        keeper.receive(rows, np.full(size, KIND_WITNESS, np.uint8), 2_000)
        keeper.publish(None, 0)
    lonely = make_rows(5, 4, (9,))
    same = Rows(
        *(getattr(lonely, n) for n in Rows.__slots__[:2]), np.full(5, 7, np.uint32),
        lonely.signal_cdbm, np.full(5, 2_000, np.uint32),
    )  # fmt: skip
    keeper.receive(same, np.full(5, KIND_MAPPER, np.uint8), 2_000)
    keeper.publish(None, 0)
    yield keeper
    keeper.close()


@pytest.fixture(scope="module")
def engine(keeper: Keeper) -> Iterator[ClickHouse]:
    engine = ClickHouse(keeper.directory)
    yield engine
    engine.close()


def same_columns(found: Any, wanted: Any) -> None:
    """Two tables by name; whole numbers of whatever width."""
    for name in AGGREGATES:
        here, there = (np.asarray(x[name]).astype(np.int64) for x in (found, wanted))
        assert np.array_equal(here, there), name


@pytest.mark.parametrize("resolution", LEVELS)
def test_both_engines_say_what_the_snapshot_says(
    keeper: Keeper, engine: ClickHouse, resolution: int
) -> None:
    question = f"SELECT * FROM cells_r{resolution}"
    theirs = engine.ask(question)
    level = keeper.view.level(resolution)
    same_columns({n: theirs.column(n).to_numpy() for n in AGGREGATES}, level)
    duckdb = open_sql(keeper.directory)
    same_columns(duckdb.execute(question).fetchnumpy(), level)
    duckdb.close()


def test_a_server_that_loads_the_export_says_the_same(
    keeper: Keeper, engine: ClickHouse, tmp_path: Path
) -> None:
    said = export(keeper.directory, tmp_path / "sql", "server")
    assert said["rows"] == 2_340
    assert said["segments"] == 3
    for name in ("schema", "load", "load", "check"):  # loading again adds nothing
        engine.run(*statements(tmp_path / "sql" / f"{name}.sql"))
    for resolution in LEVELS:
        found = engine.ask(f"SELECT * FROM server.cells_r{resolution}")
        level = keeper.view.level(resolution)
        same_columns({n: found.column(n).to_numpy() for n in AGGREGATES}, level)
    for question in statements(tmp_path / "sql" / "examples.sql"):
        engine.ask(question)
    engine.run("DROP DATABASE server")


def statements(path: Path) -> list[str]:
    return [one for one in path.read_text().split(";\n") if one.strip()]


def test_an_area_is_the_whole_cut_to_its_cell(
    keeper: Keeper, engine: ClickHouse, tmp_path: Path
) -> None:
    export(keeper.directory, tmp_path, "area")
    for name in ("schema", "load"):
        engine.run(*statements(tmp_path / f"{name}.sql"))
    level = keeper.view.level(9)
    for coarse in (3, 5, 7, 9):
        above = parents(level["cells"], coarse)
        parent = int(above[len(above) // 2])
        found = engine.ask(f"SELECT * FROM area.cells_r9_under(parent = {parent})")
        inside = above == np.uint64(parent)
        wanted = {name: level[name][inside] for name in AGGREGATES}
        same_columns({n: found.column(n).to_numpy() for n in AGGREGATES}, wanted)
    engine.run("DROP DATABASE area")


def test_a_server_that_misses_rows_is_told(
    keeper: Keeper, engine: ClickHouse, tmp_path: Path
) -> None:
    export(keeper.directory, tmp_path, "torn")
    engine.run(*statements(tmp_path / "schema.sql"), *statements(tmp_path / "load.sql")[:1])
    with pytest.raises(UserError, match="missing or loaded twice"):
        engine.run(*statements(tmp_path / "check.sql"))
    engine.run("DROP DATABASE torn")


def test_who_waits_is_in_no_engine(keeper: Keeper, engine: ClickHouse) -> None:
    assert len(keeper.pool) == 5
    assert len(keeper.observations.names()) == 4
    assert engine.ask("SELECT count() AS n FROM observations").column("n").to_pylist() == [2_340]
    fine = engine.ask("SELECT DISTINCT cell FROM observations").column("cell").to_numpy()
    assert set(resolutions(fine).tolist()) == set(MIXED)


def test_a_faulty_statement_is_one_clear_error(engine: ClickHouse) -> None:
    with pytest.raises(UserError, match=r"sql: .*nowhere"):
        engine.ask("SELECT * FROM nowhere")


def test_an_engine_that_dies_is_one_clear_error_and_not_our_end(keeper: Keeper) -> None:
    engine = ClickHouse(keeper.directory)
    engine._child.kill()
    for _ in range(2):
        with pytest.raises(UserError, match="the engine ended with -9"):
            engine.ask("SELECT 1")
    engine.close()
    assert "chdb" not in sys.modules


# --- the command


def test_the_command_answers_in_every_form(
    keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sql", "--data", str(keeper.directory)]
    question = "SELECT h3, count, p50_cdbm FROM r9 ORDER BY count DESC, h3 LIMIT 50"
    assert io_cli.main([*words, question]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["h3", "count", "p50_cdbm"]
    assert "10 more rows" in shown[-1]
    assert io_cli.main([*words, question, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 50
    for ending in ("csv", "parquet"):
        path = tmp_path / f"answer.{ending}"
        assert io_cli.main([*words, question, "--out", str(path)]) == 0
        if ending == "csv":
            read = [[r["h3"], int(r["count"]), int(r["p50_cdbm"])] for r in
                    csv.DictReader(path.read_text().splitlines())]  # fmt: skip
        else:
            read = [list(row.values()) for row in pq.read_table(path).to_pylist()]
        assert read == rows


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("SELECT 1 FROM nowhere",), "sql"),
        ((), "sql"),
        (("SELECT 1", "--out", "x.txt"), "--out"),
        (("--export", "sql", "--database", "a b"), "--database"),
    ],
)
def test_what_is_wrong_is_named(
    keeper: Keeper, words: tuple[str, ...], field: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as wrong:
        io_cli.main(["sql", "--data", str(keeper.directory), *words])
    assert wrong.value.field == field


@pytest.mark.parametrize("engine_name", ["duckdb", "clickhouse"])
def test_a_directory_without_a_map_is_refused(tmp_path: Path, engine_name: str) -> None:
    with pytest.raises(UserError, match="holds no map"):
        io_cli.main(["sql", "--data", str(tmp_path), "--engine", engine_name, "SELECT 1"])
