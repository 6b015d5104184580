"""From an epoch's messages to verdicts, links, work and slopes: the steps in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chain.rules.loudness import process_cuts
from chain.rules.loudness_arrays import process_cuts_by_arrays
from chain.rules.mutual import process_hearing
from chain.rules.mutual_arrays import process_hearing_by_arrays
from chain.rules.rewards import process_counted
from chain.rules.slopes import process_slopes
from chain.rules.verdict_arrays import (
    fits_arrays,
    get_mutual_links_by_arrays,
    process_counted_by_arrays,
    process_links_by_arrays,
    process_signals_by_arrays,
    process_slopes_by_arrays,
)
from chain.rules.verdicts import Judgement, get_mutual_links, process_links, process_signals
from chain.state import State


@dataclass(frozen=True, slots=True)
class Steps:
    """One way to judge; the others give the same."""

    process_signals: Callable[[Judgement], None]
    process_hearing: Callable[[State, Judgement], None]
    get_mutual_links: Callable[[Judgement], list[tuple[int, int]]]
    process_links: Callable[[Judgement, frozenset[int]], None]
    process_cuts: Callable[[Judgement], None]
    process_counted: Callable[[State, Judgement], None]
    process_slopes: Callable[[State, Judgement], None]


PLAIN = Steps(
    *(process_signals, process_hearing, get_mutual_links),
    *(process_links, process_cuts),
    *(process_counted, process_slopes),
)
ARRAYS = Steps(
    *(process_signals_by_arrays, process_hearing_by_arrays, get_mutual_links_by_arrays),
    *(process_links_by_arrays, process_cuts_by_arrays),
    *(process_counted_by_arrays, process_slopes_by_arrays),
)


def get_steps(judgement: Judgement) -> Steps:
    """The rule itself for small epochs, arrays for large ones."""
    return ARRAYS if fits_arrays(judgement) else PLAIN
