"""What a reception that counts is worth: quality units, by strength, precision and proof."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from chain.rules.verdicts import COUNTED, HELD, NO_RSSI, Beaconer, Judgement
from chain.wire import iter_receptions

# A witness that hasn't shown yet, or can't show, that it hears the power steps counts a quarter.
WITNESS_WEIGHT = {True: 4, False: 1}
QUALITY_FLOOR_CDBM, QUALITY_STEP_CDB, QUALITY_STEPS = -9_500, 500, 8


class Counted(NamedTuple):
    """A reception that counts, with what rewards need; no quality if its witness is held."""

    beaconer: int
    sequence: int
    witness: int
    quality: int
    weight: int


def compute_quality(
    beaconer: Beaconer, sequence: int, flags: int, rssi_cdbm: int, cut_cdb: int = 0
) -> int:
    """Quality units of a reception: 1 to 8 steps of 5 dB above -95 dBm, times the weight.

    `cut_cdb`: how much weaker it counts than it was heard.
    """
    steps = 1
    if not flags & NO_RSSI:
        full_power_cdbm = rssi_cdbm + beaconer.steps_cdb[sequence] - cut_cdb
        above = (full_power_cdbm - QUALITY_FLOOR_CDBM) // QUALITY_STEP_CDB + 1
        steps = max(1, min(QUALITY_STEPS, above))
    return steps * beaconer.weight


def get_counted(judgement: Judgement) -> Iterator[Counted]:
    """Every reception that counts, or would if its witness weren't held."""
    cuts = judgement.cuts or {}
    for witness, message in judgement.reports.items():
        codes = judgement.codes[witness]
        if COUNTED not in codes and HELD not in codes:
            continue
        receptions = iter_receptions(message.report)
        weight = WITNESS_WEIGHT[witness in judgement.proven]
        for code, reception in zip(codes, receptions, strict=True):
            if code in (COUNTED, HELD):
                heard, sequence, flags, rssi_cdbm, _, _ = reception
                quality = 0
                if code == COUNTED:
                    beaconer = judgement.beaconers[heard]
                    cut = cuts.get(heard, 0)
                    quality = compute_quality(beaconer, sequence, flags, rssi_cdbm, cut)
                yield Counted(heard, sequence, witness, quality * weight, weight)
