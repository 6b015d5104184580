"""SQL over the store: the same figures as the map, from the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_helpers import make_rows

from chain.errors import UserError
from coverage_map.store.io_keeper import Keeper
from coverage_map.store.io_sql import load_spatial, open_sql


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    keeper = Keeper(tmp_path / "map")
    rows = make_rows(2_000, 1, (9,))
    keeper.receive(rows, np.zeros(len(rows), np.uint8), 2_000)
    keeper.publish(None, 0)
    return keeper


def test_sql_counts_what_the_snapshot_says(keeper: Keeper) -> None:
    sql = open_sql(keeper.directory)
    query = """
        SELECT o.cell, count(*) AS n, count(DISTINCT o.hotspot) AS h, count(DISTINCT o.device) AS d,
               min(o.signal_cdbm) AS low, max(o.epoch) AS last
        FROM observations o GROUP BY o.cell ORDER BY o.cell
    """
    level = keeper.view.level(9)
    columns = ("cells", "count", "hotspots", "devices", "low_cdbm", "last")
    wanted = list(zip(*(level[name].tolist() for name in columns), strict=True))
    assert sql.execute(query).fetchall() == wanted
    names = sql.execute("SELECT h3 FROM r9 ORDER BY cells").fetchall()
    assert names == [(f"{cell:x}",) for cell in level["cells"].tolist()]
    sql.close()


def test_the_spatial_extension_works_without_the_internet(keeper: Keeper) -> None:
    sql = open_sql(keeper.directory)
    assert load_spatial(sql)
    found = sql.execute("SELECT ST_Area(ST_GeomFromText('POLYGON((0 0,2 0,2 1,0 0))'))").fetchone()
    assert found == (1.0,)
    sql.close()


def test_a_directory_without_a_map_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no map"):
        open_sql(tmp_path)
