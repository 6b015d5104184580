"""What a publication changes at one level, as rows to lay over its full snapshot.

A layer's row takes the place of the full snapshot's row of the same cell. A row without a value
says nothing: neither measured nor predicted. It stands for a cell that the full snapshot has and
that is no more, and readers skip it.

The estimator hands over all its predictions each time. Most of them are what they were, so one pass
finds the rows that differ, and only those are made. `fitted` tells rows of measured cells that show
the estimator's figure; where it has none any more, the plain mean is made again from the lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from coverage_map.cells import Cells
from coverage_map.store.aggregates import Aggregates, join, take
from coverage_map.store.tables import (
    COLUMNS,
    NONE_CDBM,
    PREDICTED,
    Array,
    Predicted,
    Table,
    aggregates_of,
    blank_of,
    nothing_in,
    places_of,
    plain_figures,
    predicted_over,
    rows_under,
    sources_of,
)

LAID = (*COLUMNS, "fitted")
Columns = Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Below:
    """One level of a snapshot as it was: full columns, rows laid over them, receptions added."""

    full: Columns
    layer: Columns | None
    added: Aggregates

    def forecasts(self, cells: Cells) -> Table:
        """What was predicted for some cells, sorted, each once."""
        found = {n: np.full(len(cells), blank_of(n), COLUMNS[n]) for n in PREDICTED}
        for rows in (self.full, self.layer):
            if rows is not None:
                known = np.asarray(rows["cells"])
                at = places_of(known, cells)
                to = places_of(cells, known[at])
                for name in PREDICTED:
                    found[name][to] = np.asarray(rows[name])[at]
        return found

    def measured(self, keys: Array) -> Aggregates:
        """What was measured in cells of these keys, ascending."""
        here = take(self.added, places_of(self.added.keys, keys))
        return join([aggregates_of(self.full, rows_under(self.full, keys)), here])


def stack(below: Columns | None, over: Columns) -> Table:
    """Rows laid over rows, to be laid together: such that say nothing stay."""
    if below is None:
        return {name: np.asarray(over[name]) for name in LAID}
    source = sources_of(np.asarray(below["cells"]), np.asarray(over["cells"]))
    return {name: np.concatenate((below[name], over[name]))[source] for name in LAID}


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What predictions change: rows of the full snapshot, and rows of the predictions."""

    rows: NDArray[np.intp]
    new: NDArray[np.intp]


def find_changes(full: Columns, laid: Columns, predicted: Predicted) -> Changes:
    """Rows of the full snapshot that the predictions change, and predictions without any row.

    Rows of cells in `laid` are left out: those are made anew anyhow.
    """
    from coverage_map.store.change_kernels import mark_changes

    changed = np.zeros(len(full["cells"]), np.bool_)
    is_new = np.zeros(len(predicted.cells), np.bool_)

    def columns(*names: str) -> tuple[Array, ...]:
        return tuple(np.asarray(full[name]) for name in names)

    guess = tuple(getattr(predicted, f.name) for f in fields(Predicted)[1:])
    mark_changes(
        columns("cells", "count", "fitted"),
        columns(*PREDICTED),
        np.asarray(laid["cells"]),
        predicted.cells,
        guess,
        columns("value_cdbm", "sd_cdb", "server"),
        tuple(blank_of(name) for name in PREDICTED),
        *(changed, is_new),
    )
    return Changes(np.flatnonzero(changed), np.flatnonzero(is_new))


def apply_changes(
    below: Below, laid: Table, found: Changes, predicted: Predicted, added: Aggregates
) -> Table:
    """Rows to lay over the full snapshot: those in `laid` and found ones, with the predictions.

    `added` are all receptions since the full snapshot, those in `laid` among them.
    """
    full = np.asarray(below.full["cells"])
    taken = {name: np.asarray(below.full[name])[found.rows] for name in LAID}
    table = stack(laid, taken)
    here = np.union1d(places_of(predicted.cells, table["cells"]), found.new)
    guess = Predicted(*(getattr(predicted, f.name)[here] for f in fields(Predicted)))
    _forget_lost(Below(below.full, None, added), table, guess)
    table = predicted_over(table, guess)
    rows = np.flatnonzero(~nothing_in(table))
    kept = np.zeros(len(table["cells"]), np.bool_)
    kept[rows] = True
    kept[places_of(table["cells"], full[places_of(full, table["cells"])])] = True
    return {name: table[name][kept] for name in LAID}


def _forget_lost(below: Below, table: Table, guess: Predicted) -> None:
    """Give rows the plain figures where the estimator had its own and has none any more."""
    told = guess.cells[guess.measured_cdbm != NONE_CDBM]
    lost = table["fitted"] != 0
    lost[places_of(table["cells"], told)] = False
    rows = np.flatnonzero(lost)
    if len(rows):
        from coverage_map.store.keys import keys_of

        plain = plain_figures(below.measured(keys_of(table["cells"][rows])))
        for name, column in plain.items():
            table[name][rows] = column
        table["fitted"][rows] = 0
