"""The cuts of chain/rules/loudness.py over arrays, to the number."""

from __future__ import annotations

from typing import Any

from chain.rules.loudness import FAIR, compute_allowed, compute_cut
from chain.rules.verdict_arrays import Columns, get_columns, get_run_bounds
from chain.rules.verdicts import Judgement


def process_cuts_by_arrays(judgement: Judgement) -> None:
    """`process_cuts`, all links at once."""
    judgement.cuts, params = {}, judgement.params
    if not params.loud_allowed_cdb:
        return
    columns = get_columns(judgement)
    np = columns.np
    runs, excess = get_known_excess(columns)
    if not len(runs):
        return
    witness, heard = runs >> 32, runs & 0xFFFF_FFFF
    back = np.minimum(np.searchsorted(runs, heard << 32 | witness), len(runs) - 1)
    two_way = runs[back] == heard << 32 | witness
    differs = (excess - excess[back])[two_way]
    beaconer, ends = heard[two_way], witness[two_way]
    names, counts, medians = get_medians(np, beaconer, differs)
    known = counts >= params.loud_partners_min
    allowed = compute_allowed(params, medians[known].tolist())
    suspect = known & (medians > allowed)
    if not suspect.any():
        return
    ears, _, usual = get_medians(np, witness, excess)
    above = excess[two_way] - usual[np.searchsorted(ears, ends)]
    _, _, loud = get_medians(np, beaconer, above)
    told = zip(
        names[suspect].tolist(), medians[suspect].tolist(), loud[suspect].tolist(), strict=True
    )
    cuts = {name: compute_cut(params, allowed, by, louder) for name, by, louder in told}
    judgement.cuts = {name: cut for name, cut in cuts.items() if cut}


def get_known_excess(columns: Columns) -> tuple[Any, Any]:
    """Runs, ascending, with a strength that counts, and by how much it is above the middle."""
    np = columns.np
    fair = np.isin(columns.codes(), list(FAIR)) & (columns.flags == 0)
    counts = columns.sum_runs(fair.astype(np.int64))
    totals = columns.sum_runs((columns.rssi + columns.step) * fair)
    low, high = get_run_bounds(columns)
    known = np.flatnonzero(counts)
    middle = (low[known] + high[known]) // 2
    return columns.runs[known], totals[known] // counts[known] - middle


def get_medians(np: Any, groups: Any, values: Any) -> tuple[Any, Any, Any]:
    """Each group, ascending, with its size and the middle of its values, the lower of two."""
    order = np.lexsort((values, groups))
    names, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    return names, counts, values[order][first + (counts - 1) // 2]
