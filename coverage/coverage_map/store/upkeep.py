"""What a store tidies up by itself, and when: pure decisions, carried out by io_upkeep.py."""

from __future__ import annotations

from collections.abc import Mapping

SEGMENTS_MAX = 24  # more files of observations than this, and small ones are merged
FOLD_SHARE = 0.05  # of a layer by rows of its base: readers of many tiles begin to merge
FOLD_AFTER_MS = 3_600_000  # a layer that lasts is folded while little else goes on


def segments_to_merge(rows: Mapping[str, int], most: int = SEGMENTS_MAX) -> list[str]:
    """Segments to make one of, smallest first; `rows` says how many each has.

    None up to `most`. Then all but those that are larger than all smaller ones together, as far as
    half of `most` stay: so a row is copied a few times in its life, not at every compaction.
    """
    if len(rows) <= most:
        return []
    taken: list[str] = []
    total = 0
    for name in sorted(rows, key=lambda name: (rows[name], name)):
        left = len(rows) - len(taken)
        if len(taken) > 1 and left < max(most // 2, 2) and rows[name] > total:
            break
        taken.append(name)
        total += rows[name]
    return taken


def is_fold_due(share: float, age_ms: int) -> bool:
    """Whether a layer of that share of its base, over a base of that age, should be folded."""
    return share > FOLD_SHARE or (share > 0.0 and age_ms >= FOLD_AFTER_MS)
