"""Observations of the feed as rows of the store.

Hotspots and people have ids of their own; as devices they share one range of small numbers, even
ones for hotspots and odd ones for people, because the store counts over arrays of that length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coverage_map.observations import KIND_WITNESS, Observation
from coverage_map.store.aggregates import Rows

WITNESS, MAPPER = 0, 1
SIGNAL_MAX_CDBM = 32_767


def rows_of(observations: Sequence[Observation]) -> Rows:
    """Rows of usable observations; every one has a signal."""
    person = np.array([x.kind != KIND_WITNESS for x in observations], np.uint32)
    signal = [min(max(x.rssi_cdbm or 0, -SIGNAL_MAX_CDBM), SIGNAL_MAX_CDBM) for x in observations]
    return Rows(
        np.array([x.cell for x in observations], np.uint64),
        np.array([x.beaconer for x in observations], np.uint32),
        np.array([x.witness for x in observations], np.uint32) * np.uint32(2) + person,
        np.array(signal, np.int16),
        np.array([x.epoch for x in observations], np.uint32),
    )


def kinds_of(observations: Sequence[Observation]) -> NDArray[np.uint8]:
    """Kind of each row: WITNESS or MAPPER."""
    found = [WITNESS if x.kind == KIND_WITNESS else MAPPER for x in observations]
    return np.array(found, np.uint8)
