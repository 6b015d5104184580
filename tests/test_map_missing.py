"""What a predicted cell has no value for is missing in every form, and never a number."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_helpers import make_rows

from coverage_map import cells
from coverage_map.service import features, tables_out
from coverage_map.store.aggregates import aggregate
from coverage_map.store.tables import NONE_CDB, NONE_CDBM, Predicted, table_of
from coverage_map.store.view import Clock, Columns
from coverage_map.tiles import binary

CLOCK = Clock(1_700_000_000_000, 600_000)
MISSING = ("first_epoch", "last_epoch", "newest_ms", "min_dbm", "mean_dbm", "max_dbm",
           "p10_dbm", "p50_dbm", "p90_dbm")  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Columns:
    """Measured cells, and as many that are only predicted."""
    rows = make_rows(60, 1)
    measured = aggregate(rows)
    places = np.unique(make_rows(60, 2).cell)
    size = len(places)
    none = (np.full(size, NONE_CDBM, np.int16), np.full(size, NONE_CDB, np.uint16))
    guess = Predicted(
        places, np.full(size, -9_000, np.int16), np.full(size, 800, np.uint16),
        np.zeros(size, np.int32), np.ones(size, np.uint8), *none, np.full(size, -1, np.int32),
    )  # fmt: skip
    return table_of(measured, guess)


@pytest.fixture(scope="module")
def found(table: Columns) -> list[features.JsonObject]:
    return features.cell_features(table, 9, -82.0, CLOCK)


def told(found: Sequence[features.JsonObject], state: str) -> list[features.JsonObject]:
    kept = [one["properties"] for one in found if one["properties"]["state"] == state]
    assert kept
    return kept


def test_json_says_null(found: list[features.JsonObject]) -> None:
    for row in told(found, "predicted"):
        assert [row[name] for name in MISSING] == [None] * len(MISSING)
    for row in told(found, "measured"):
        assert None not in [row[name] for name in MISSING]
        assert row["newest_ms"] == CLOCK.end_ms(row["last_epoch"])


def test_csv_leaves_it_empty(found: list[features.JsonObject]) -> None:
    rows = list(csv.DictReader(io.StringIO(tables_out.features_csv(found).decode())))
    for row in rows:
        empty = {row[name] == "" for name in MISSING}
        assert empty == {row["state"] == "predicted"}


@pytest.mark.parametrize("form", ["arrow", "parquet"])
@pytest.mark.parametrize("only", ["predicted", None])
def test_arrow_and_geoparquet_have_nulls_of_the_columns_type(
    found: list[features.JsonObject], form: str, only: str | None
) -> None:
    kept = [one for one in found if only is None or one["properties"]["state"] == only]
    if form == "arrow":
        read = pa.ipc.open_stream(tables_out.features_arrow(kept)).read_all()
    else:
        read = pq.read_table(io.BytesIO(tables_out.features_parquet(kept)))
    predicted = [one["properties"]["state"] == "predicted" for one in kept]
    for name in MISSING:
        column = read.column(name)
        assert column.is_null().to_pylist() == predicted, name
        assert column.type == (pa.float64() if name.endswith("dbm") else pa.int64())


def test_a_zones_columns_say_null(table: Columns) -> None:
    zone = features.zone_columns(table, (), 0x861F8ED97FFFFFF, 9, CLOCK)
    for measured, newest in zip(zone["measured"], zone["newest_ms"], strict=True):
        assert (newest is None) == (not measured)
    assert -1 not in zone["server"]


def test_a_binary_tile_has_the_code_for_none(table: Columns) -> None:
    parent = int(cells.parents(table["cells"][:1], 3)[0])
    rows = cells.slice_of(table["cells"], parent, 9)
    tile = binary.decode(binary.encode(table, rows, parent, 9, ("first", "last", "age"), 2_000))
    for values in tile.values.values():
        assert np.array_equal(np.isnan(values), ~tile.measured.astype(bool))
