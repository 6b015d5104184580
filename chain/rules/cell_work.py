"""Who shares what a cell pays: coverage by quality, trust and overlap; witnesses; mappers."""

from __future__ import annotations

from dataclasses import dataclass, field

from chain.rules.burns import get_reward_cell
from chain.rules.trust import compute_trust_ppm
from chain.state import State

MappingPlace = tuple[int, int, bytes]  # cell of resolution 9, epoch, key


@dataclass(slots=True)
class CellWork:
    """The weights by which a cell's pay is split.

    Hotspots that cover it by quality, trust and overlap; those that measured it by corroborated
    receptions; mappings by units, per cell of resolution 9, `mapper_units` in all. `trust_ppm` is
    that of the hotspots standing in it.
    """

    coverage: dict[int, int] = field(default_factory=dict)
    witnesses: dict[int, int] = field(default_factory=dict)
    mappers: dict[int, dict[MappingPlace, int]] = field(default_factory=dict)
    mapper_units: int = 0
    trust_ppm: int = 0


def compute_overlap_weights(ranked: list[tuple[int, int]], permille: tuple[int, ...]) -> list[int]:
    """Weights of (score, hotspot) pairs, best first: the k-th best counts for permille[k]."""
    last = len(permille) - 1
    return [score * permille[min(rank, last)] for rank, (score, _) in enumerate(ranked)]


def compute_coverage(
    scores: list[tuple[int, int]], permille: tuple[int, ...]
) -> dict[int, int]:
    """Weight by hotspot of (score, hotspot) pairs in any order; ties go to the lower index."""
    ranked = sorted(scores, key=lambda pair: (-pair[0], pair[1]))
    weights = compute_overlap_weights(ranked, permille)
    return {hotspot: w for (_, hotspot), w in zip(ranked, weights, strict=True) if w}


def get_cell_work(state: State) -> dict[int, CellWork]:
    """Per cell with counted receptions, ascending, who covered and who measured it."""
    trust = compute_trust_ppm(state)
    scores: dict[int, list[tuple[int, int]]] = {}
    for (cell, hotspot), quality in state.quality.items():
        scores.setdefault(cell, []).append((quality * trust[hotspot], hotspot))
    permille = state.params.overlap_permille
    work = {cell: CellWork(compute_coverage(scores[cell], permille)) for cell in sorted(scores)}
    for (cell, hotspot), count in sorted(state.measured.items()):
        if trust[hotspot] and cell in work:
            work[cell].witnesses[hotspot] = count
    for hotspot, ppm in enumerate(trust):
        if ppm and (standing := work.get(get_reward_cell(state, hotspot))):
            standing.trust_ppm += ppm
    return work
