"""Who is known to hear the secret power steps of others, and who is known not to.

The sums are gathered by chain/rules/slopes.py, which says what they mean.
"""

from __future__ import annotations

from chain.params import Params
from chain.state import Hotspot, State


def is_told(params: Params, hotspot: Hotspot) -> bool:
    """Whether enough was heard to tell a hotspot's slope."""
    return hotspot.spread_db2 >= params.slope_spread_min_db2


def is_blind(params: Params, hotspot: Hotspot) -> bool:
    """Whether a hotspot's reports are known not to follow the power steps."""
    least = params.slope_cut_percent * hotspot.spread_db2
    return is_told(params, hotspot) and 100 * hotspot.slope_db2 < least


def get_hearing(state: State) -> tuple[frozenset[int], frozenset[int]]:
    """Hotspots whose reports are known not to follow the power steps, and those known to."""
    params = state.params
    told = [hotspot for hotspot in state.hotspots if is_told(params, hotspot)]
    blind = frozenset(hotspot.index for hotspot in told if is_blind(params, hotspot))
    return blind, frozenset(hotspot.index for hotspot in told) - blind
