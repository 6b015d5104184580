"""Why a hotspot's coverage earns what it does: how it ranks in each reward cell that hears it.

Since the last settlement, by the weights of chain/rules/cell_work.py. Reading every row of
`quality` takes 0.1 s in a network of a million: only who asks for it is told.
"""

from __future__ import annotations

from typing import Any

from chain.explain_words import get_coverage_words
from chain.rules.cell_work import compute_overlap_weights
from chain.rules.trust import FULL_PPM, TOTAL
from chain.store.hotspot_row import unpack_numbers
from chain.store.io_restore import load_params
from chain.store.io_store import Store

Answer = dict[str, Any]
_CELL_BYTES = 8  # of the key of a row of `quality`; the hotspot's index follows
_HOTSPOTS = "SELECT row FROM state WHERE name = 'hotspots'"
_QUALITY = "FROM state WHERE name = 'quality'"


def explain_coverage(store: Store, index: int, newest: int, reached: int) -> Answer:
    """Its trust, and rank and share in each cell that hears it.

    `newest` is the epoch of now, `reached` how many hotspots have any trust.
    """
    sql = f"SELECT substr(key, 1, {_CELL_BYTES}) AS cell {_QUALITY} AND substr(key, 9) = ?"
    rows = store.rows(sql, (index.to_bytes(4, "big"),))
    permille = load_params(store, newest).overlap_permille
    cells = [
        _standing(_weights(store, row["cell"], reached), row["cell"], index, permille)
        for row in rows
    ]
    trust_ppm = _trust_ppm(store, index, reached)
    words = get_coverage_words(cells, trust_ppm, sum(map(bool, permille)))
    return {"trust_ppm": trust_ppm, "cells": cells, "words": words}


def count_reached(store: Store) -> int:
    """How many hotspots have any trust: seconds for a million, so a ledger at hand says it."""
    return sum(1 for (row,) in store.connection.execute(_HOTSPOTS) if unpack_numbers(row).trust)


def _trust_ppm(store: Store, index: int, reached: int) -> int:
    (row,) = store.rows(f"{_HOTSPOTS} AND key = ?", (index.to_bytes(4, "big"),))
    return min(FULL_PPM, FULL_PPM * reached * unpack_numbers(row["row"]).trust // TOTAL)


def _weights(store: Store, cell: bytes, reached: int) -> list[tuple[int, int]]:
    """(quality times trust, hotspot) of everybody heard in a cell, best first."""
    sql = f"SELECT key, row {_QUALITY} AND key >= ? AND key < ?"
    after = (int.from_bytes(cell, "big") + 1).to_bytes(_CELL_BYTES, "big")
    pairs = []
    for row in store.rows(sql, (cell, after)):
        hotspot = int.from_bytes(row["key"][_CELL_BYTES:], "big")
        quality = int.from_bytes(row["row"], "little")
        pairs.append((quality * _trust_ppm(store, hotspot, reached), hotspot))
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


def _standing(
    ranked: list[tuple[int, int]], cell: bytes, index: int, permille: tuple[int, ...]
) -> Answer:
    weights = compute_overlap_weights(ranked, permille)
    place = next(at for at, (_, hotspot) in enumerate(ranked) if hotspot == index)
    return {
        "cell": cell.hex().lstrip("0"),
        "rank": place + 1,
        "of": len(ranked),
        "share_permille": 1_000 * weights[place] // max(1, sum(weights)),
    }
