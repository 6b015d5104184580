"""Which rows of a level other predictions change: one pass over two sorted tables."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from coverage_map.store.kernels import released


@released
def mark_changes(known, said, laid, fresh, guess, own, none, changed, is_new):
    """Set changed[i] where row i would be another one, is_new[j] where prediction j has no row.

    known: cells, count, fitted. said: predicted cdBm, cdB, server, overlap of those rows; own: the
    value, deviation and server that they show. laid: cells that are made anew anyhow. fresh: cells
    of the predictions; guess: their predicted cdBm, cdB, server, overlap and measured cdBm, cdB,
    server. none: what stands for no prediction, in the order of `said`.
    """
    cells, count, fitted = known
    j, k = 0, 0
    for i in range(len(cells)):
        while j < len(fresh) and fresh[j] < cells[i]:
            k = _mark_new(fresh, j, laid, k, is_new)
            j += 1
        while k < len(laid) and laid[k] < cells[i]:
            k += 1
        has = j < len(fresh) and fresh[j] == cells[i]
        if k < len(laid) and laid[k] == cells[i]:
            changed[i] = False
        elif has:
            changed[i] = _differs(i, j, count[i], fitted[i], said, guess, own, none)
        else:
            changed[i] = _is_lost(i, count[i], fitted[i], said, none)
        j += has
    while j < len(fresh):
        k = _mark_new(fresh, j, laid, k, is_new)
        j += 1


@released
def _mark_new(fresh, j, laid, k, is_new):
    while k < len(laid) and laid[k] < fresh[j]:
        k += 1
    is_new[j] = not (k < len(laid) and laid[k] == fresh[j])
    return k


@released
def _differs(i, j, count, fitted, said, guess, own, none):
    """Whether a row differs from its prediction."""
    if (
        said[0][i] != guess[0][j]
        or said[1][i] != guess[1][j]
        or said[2][i] != guess[2][j]
        or said[3][i] != guess[3][j]
    ):
        return True
    if count == 0:
        return False
    if guess[4][j] == none[0]:
        return fitted != 0
    return own[0][i] != guess[4][j] or own[1][i] != guess[5][j] or own[2][i] != guess[6][j]


@released
def _is_lost(i, count, fitted, said, none):
    """Whether a row says something of a prediction that there is no more."""
    return (
        count == 0
        or fitted != 0
        or said[0][i] != none[0]
        or said[1][i] != none[1]
        or said[2][i] != none[2]
        or said[3][i] != none[3]
    )
