"""Who shares what a cell pays: coverage by quality, trust and overlap, and witnesses."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import itemgetter

from chain.rules.burns import get_reward_cell
from chain.rules.trust import compute_trust_ppm
from chain.state import State

_SCORE, _HOTSPOT = itemgetter(0), itemgetter(1)
MappingPlace = tuple[int, int, bytes]  # cell of resolution 9, epoch, key


@dataclass(slots=True)
class CellWork:
    """The weights by which a cell's pay is split.

    Hotspots that cover it by quality, trust and overlap; those that measured it by corroborated
    receptions. `trust_ppm` is that of the hotspots standing in it.
    """

    coverage: dict[int, int] = field(default_factory=dict)
    witnesses: dict[int, int] = field(default_factory=dict)
    trust_ppm: int = 0


def compute_overlap_weights(ranked: list[tuple[int, int]], permille: tuple[int, ...]) -> list[int]:
    """Weights of (score, hotspot) pairs, best first: the k-th best counts for permille[k]."""
    by_rank = chain(permille, repeat(permille[-1]))
    return [score * weight for (score, _), weight in zip(ranked, by_rank, strict=False)]


def compute_coverage(pairs: list[tuple[int, int]], permille: tuple[int, ...]) -> dict[int, int]:
    """Weight by hotspot of (score, hotspot) pairs, which it sorts; ties go to the lower index."""
    pairs.sort(key=_HOTSPOT)
    pairs.sort(key=_SCORE, reverse=True)  # keeps the order of equals
    weights = compute_overlap_weights(pairs, permille)
    return {hotspot: w for (_, hotspot), w in zip(pairs, weights, strict=True) if w}


def get_cell_work(state: State) -> dict[int, CellWork]:
    """Per cell with counted receptions, ascending, who covered and who measured it."""
    trust = compute_trust_ppm(state)
    scores: dict[int, list[tuple[int, int]]] = {}
    for (cell, hotspot), quality in state.quality.items():
        scores.setdefault(cell, []).append((quality * trust[hotspot], hotspot))
    permille = state.params.overlap_permille
    work = {cell: CellWork(compute_coverage(scores[cell], permille)) for cell in sorted(scores)}
    measured: dict[int, list[tuple[int, int]]] = {}
    for (cell, hotspot), count in state.measured.items():
        if trust[hotspot] and cell in work:
            measured.setdefault(cell, []).append((hotspot, count))
    for cell, counts in measured.items():
        work[cell].witnesses = dict(sorted(counts))
    for hotspot, ppm in enumerate(trust):
        if ppm and (standing := work.get(get_reward_cell(state, hotspot))):
            standing.trust_ppm += ppm
    return work
