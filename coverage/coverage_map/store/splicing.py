"""Copies lists of variable length from two tables into one."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from coverage_map.store.kernels import released


@released
def splice_column(source, old, new, out):
    """Row i of the result is row source[i] of the old column, or of the new one beyond its end."""
    size = len(old)
    for i in range(len(source)):
        row = source[i]
        out[i] = old[row] if row < size else new[row - size]


@released
def splice_list(source, old_at, old, new_at, new, out):
    """Row i of the result is row source[i] of the old table, or of the new one beyond its end."""
    size, at = len(old_at) - 1, 0
    for i in range(len(source)):
        row = source[i]
        if row < size:
            for j in range(old_at[row], old_at[row + 1]):
                out[at] = old[j]
                at += 1
        else:
            for j in range(new_at[row - size], new_at[row - size + 1]):
                out[at] = new[j]
                at += 1


@released
def starts_of(sizes, rows, starts):
    """Where the lists of some rows, ascending, start: one pass over what lies before them."""
    at, before = 0, 0
    for i in range(len(rows)):
        for row in range(before, rows[i]):
            at += sizes[row]
        before = rows[i]
        starts[i] = at


@released
def gather_list(starts, sizes, rows, column, out):
    """The lists of some rows, one after the other."""
    at = 0
    for i in range(len(rows)):
        for j in range(starts[i], starts[i] + np.int64(sizes[rows[i]])):
            out[at] = column[j]
            at += 1
