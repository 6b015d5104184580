"""Tables: the columns of one resolution as they are published, row by row in the order of cells.

A row is a cell that was measured, predicted, or both. `value` and `sd` are ready for tiles: one
byte each. Lists (the histogram, hotspots, devices) stay beside the rows, so that a later delta can
be joined exactly; readers never load them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells
from coverage_map.store.aggregates import (
    LISTS,
    PER_CELL,
    TYPES,
    Aggregates,
    describe,
    empty,
    offsets,
)
from coverage_map.store.keys import Keys, cells_of, keys_of

Array = NDArray[Any]
Table = dict[str, Array]  # by the names in COLUMNS and LIST_COLUMNS

NONE_CDBM = -32_768
NONE_CDB = 65_535
NOBODY = -1
NONE_CODE = 255
VALUE_OFFSET_DBM, VALUE_STEP_DB = -140.0, 0.5
SD_STEP_DB = 0.25

# What readers use. Further per-cell columns serve joins only.
COLUMNS: dict[str, type[np.generic]] = {
    "cells": np.uint64,
    "count": np.uint32,
    "mean_cdbm": np.int16,
    "low_cdbm": np.int16,
    "high_cdbm": np.int16,
    "p10_cdbm": np.int16,
    "p50_cdbm": np.int16,
    "p90_cdbm": np.int16,
    "hotspots": np.uint32,
    "devices": np.uint32,
    "first": np.uint32,
    "last": np.uint32,
    "server": np.int32,
    "value_cdbm": np.int16,
    "sd_cdb": np.uint16,
    "predicted_cdbm": np.int16,
    "predicted_sd_cdb": np.uint16,
    "predicted_server": np.int32,
    "overlap": np.uint8,
    "value": np.uint8,
    "sd": np.uint8,
}
# `fitted`: 1 where a measured cell shows the estimator's figure and not its plain mean.
JOIN_COLUMNS: dict[str, type[np.generic]] = {
    "total_cdbm": np.int64,
    "bins_n": np.uint16,
    "fitted": np.uint8,
}
PREDICTED = ("predicted_cdbm", "predicted_sd_cdb", "predicted_server", "overlap")
LIST_COLUMNS = {name: size for size, names in LISTS.items() for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """Predicted columns of one resolution: sorted cells u64, cdBm, cdB, best hotspot, overlap.

    `measured_cdbm` and `measured_cdb` are the estimator's own figures of measured cells, NONE_*
    where it has none: they take the place of the plain mean.
    """

    cells: Cells
    predicted_cdbm: Array
    predicted_sd_cdb: Array
    predicted_server: Array
    overlap: Array
    measured_cdbm: Array
    measured_cdb: Array
    measured_server: Array


def nothing_predicted() -> Predicted:
    """No prediction anywhere."""
    kinds = (np.uint64, np.int16, np.uint16, np.int32, np.uint8, np.int16, np.uint16, np.int32)
    columns: list[Array] = [np.empty(0, kind) for kind in kinds]
    return Predicted(*columns)


def between(predicted: Predicted, low: int, high: int) -> Predicted:
    """The part whose keys k hold low <= k < high."""
    keys = keys_of(predicted.cells)
    start, stop = np.searchsorted(keys, np.array([low, high], np.uint64))
    parts = {f.name: getattr(predicted, f.name)[start:stop] for f in fields(Predicted)}
    return Predicted(**parts)


def table_of(measured: Aggregates, predicted: Predicted) -> Table:
    """The table of one resolution from what was measured and what is predicted there.

    A cell of which neither says anything has no row.
    """
    table = _coded(_with_predicted(_measured_table(measured), predicted))
    nothing = nothing_in(table)
    if nothing.any():  # such rows have no lists
        per_cell = [name for name in table if name not in LIST_COLUMNS]
        table |= {name: table[name][~nothing] for name in per_cell}
    return table


def table_over(measured: Aggregates, forecasts: Mapping[str, Array]) -> Table:
    """The table of measured cells, with what is predicted there: a column for each of PREDICTED.

    What the estimator made of older measurements there is overtaken.
    """
    return _coded(_measured_table(measured) | dict(forecasts))


def predicted_over(table: Table, predicted: Predicted) -> Table:
    """Rows with other predictions, and a row for each cell that only those name; no lists.

    `value_cdbm`, `sd_cdb` and `server` of measured rows are their plain figures, or they are in
    `predicted` too.
    """
    return _coded(_with_predicted(table, predicted))


def plain_figures(measured: Aggregates) -> Table:
    """What a measured cell shows where the estimator has no figure of its own."""
    about = describe(measured)
    return {"value_cdbm": about.server_cdbm, "sd_cdb": about.sd_cdb, "server": about.server}


def nothing_in(table: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Which rows say nothing: of a cell that is neither measured nor predicted."""
    return np.asarray(table["value"] == NONE_CODE)


def _measured_table(measured: Aggregates) -> Table:
    about = describe(measured)
    table: Table = {name: getattr(measured, name) for name in (*PER_CELL[1:], *LIST_COLUMNS)}
    table["cells"] = cells_of(measured.keys)
    table["mean_cdbm"] = _mean_cdbm(measured)
    table["p10_cdbm"], table["p50_cdbm"], table["p90_cdbm"] = about.quantiles_cdbm
    table["server"] = about.server
    table["value_cdbm"], table["sd_cdb"] = about.server_cdbm, about.sd_cdb
    table["fitted"] = np.zeros(len(measured), np.uint8)
    return table


def _mean_cdbm(measured: Aggregates) -> Array:
    count = np.maximum(measured.count.astype(np.int64), 1)
    return np.asarray((2 * measured.total_cdbm + count) // (2 * count), np.int16)


def _with_predicted(table: Table, predicted: Predicted) -> Table:
    known = table["cells"]
    cells = np.union1d(known, predicted.cells) if len(predicted.cells) else known
    at, seen = np.searchsorted(cells, known), np.searchsorted(cells, predicted.cells)
    if len(cells) != len(known):
        for name in (*COLUMNS, *JOIN_COLUMNS):
            if name in table:
                column = np.full(len(cells), blank_of(name), table[name].dtype)
                column[at] = table[name]
                table[name] = column
        table["cells"] = cells
    for name in PREDICTED:
        table[name] = np.full(len(cells), blank_of(name), COLUMNS[name])
        table[name][seen] = getattr(predicted, name)
    return _prefer(table, predicted, seen)


def _prefer(table: Table, predicted: Predicted, seen: NDArray[np.intp]) -> Table:
    """Measured cells take the estimator's figures where it has them; others the prediction."""
    guessed = table["count"] == 0
    pairs = (("value_cdbm", "predicted_cdbm"), ("sd_cdb", "predicted_sd_cdb"))
    for own, guess in (*pairs, ("server", "predicted_server")):
        table[own] = np.where(guessed, table[guess], table[own]).astype(COLUMNS[own])
    fits = (predicted.measured_cdbm != NONE_CDBM) & ~guessed[seen]
    for own, said in (("value_cdbm", "cdbm"), ("sd_cdb", "cdb"), ("server", "server")):
        table[own][seen[fits]] = getattr(predicted, f"measured_{said}")[fits]
    table["fitted"][seen[fits]] = 1
    return table


def blank_of(name: str) -> int:
    """What a column holds where nothing is known."""
    if name in ("predicted_sd_cdb", "sd_cdb"):
        return NONE_CDB
    if name.endswith("_cdbm") and name != "total_cdbm":
        return NONE_CDBM
    return NOBODY if name in ("server", "predicted_server") else 0


def _coded(table: Table) -> Table:
    dbm = (table["value_cdbm"].astype(np.int32) - round(VALUE_OFFSET_DBM * 100) + 25) // 50
    db = (table["sd_cdb"].astype(np.int32) + 12) // 25
    table["value"] = np.clip(dbm, 0, NONE_CODE - 1).astype(np.uint8)
    table["sd"] = np.clip(db, 0, NONE_CODE - 1).astype(np.uint8)
    table["value"][table["value_cdbm"] == NONE_CDBM] = NONE_CODE
    table["sd"][table["sd_cdb"] == NONE_CDB] = NONE_CODE
    return table


def aggregates_of(table: Mapping[str, Array], rows: Array | None = None) -> Aggregates:
    """What a table's rows (all, or some in ascending order) were made from, to be joined again.

    Rows that are only predicted have a count of 0 and empty lists; they are left out.
    """
    from coverage_map.store.splicing import gather_list, starts_of

    rows = np.arange(len(table["cells"])) if rows is None else rows
    rows = rows[np.asarray(table["count"])[rows] > 0]
    if not len(rows):
        return empty()
    found = {name: np.asarray(table[name])[rows] for name in PER_CELL[1:]}
    found["keys"] = keys_of(np.asarray(table["cells"])[rows])
    for size, names in LISTS.items():
        sizes, starts = np.asarray(table[size]), np.empty(len(rows), np.int64)
        starts_of(sizes, rows, starts)
        total = int(found[size].sum(dtype=np.int64))
        for name in names:
            found[name] = np.empty(total, TYPES[name])
            gather_list(starts, sizes, rows, np.asarray(table[name]), found[name])
    return Aggregates(**found)


def splice(base: Mapping[str, Array], fresh: Mapping[str, Array]) -> Table:
    """The base with fresh rows in place of those of the same cell, and new ones between.

    Where a fresh row says nothing there is none.
    """
    from coverage_map.store.splicing import splice_column, splice_list

    source = readable_sources(base, fresh)
    table: Table = {}
    for name, kind in (COLUMNS | JOIN_COLUMNS).items():
        table[name] = np.empty(len(source), kind)
        splice_column(source, np.asarray(base[name]), fresh[name], table[name])
    for size, names in LISTS.items():
        old_at, new_at = offsets(np.asarray(base[size])), offsets(np.asarray(fresh[size]))
        total = int(table[size].astype(np.int64).sum())
        for name in names:
            out = np.empty(total, TYPES[name])
            splice_list(source, old_at, np.asarray(base[name]), new_at, fresh[name], out)
            table[name] = out
    return table


def readable_sources(base: Mapping[str, Array], over: Mapping[str, Array]) -> NDArray[np.int64]:
    """As `sources_of`, less the rows that say nothing."""
    old = np.asarray(base["cells"])
    source = sources_of(old, np.asarray(over["cells"]))
    nothing = nothing_in(over)
    if not nothing.any():
        return source
    kept = np.ones(len(old) + len(nothing), np.bool_)
    kept[len(old) :] = ~nothing
    return np.asarray(source[kept[source]])


def sources_of(old: Cells, new: Cells) -> NDArray[np.int64]:
    """For each row of the result, its row in the old cells, or beyond their end in the new ones."""
    at = np.searchsorted(old, new)
    known = at < len(old)
    known[known] = old[at[known]] == new[known]
    kept = np.ones(len(old), np.bool_)
    kept[at[known]] = False
    # A new row comes after the old rows before it that stay, and the new ones before it.
    gone: NDArray[np.int64] = np.cumsum(known) - known
    places = at - gone + np.arange(len(new))
    source = np.empty(int(kept.sum()) + len(new), np.int64)
    is_new = np.zeros(len(source), np.bool_)
    is_new[places] = True
    source[is_new] = np.arange(len(new)) + len(old)
    source[~is_new] = np.flatnonzero(kept)
    return source


def rows_under(table: Mapping[str, Array], keys: Keys) -> NDArray[np.intp]:
    """Rows of a table whose cells have one of these keys (ascending)."""
    return places_of(np.asarray(table["cells"]), cells_of(keys))


def places_of(known: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where in a sorted column those of the wanted ones (sorted, each once) are that it has."""
    at = np.searchsorted(known, wanted)
    inside = at < len(known)
    at, wanted = at[inside], wanted[inside]
    return np.asarray(at[known[at] == wanted])
