"""Every attack by its name, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from radio_sim.attacks import lots, money
from radio_sim.attacks.bookkeeping import RECORDS, measure_records
from radio_sim.attacks.measure import (
    Measured,
    Size,
    Tell,
    run_presence,
    run_radio,
    run_without_ledger,
)
from radio_sim.attacks.outcome import Outcome
from radio_sim.attacks.presence import HONEST, STRATEGIES

CHANCE: dict[str, Callable[[int], Outcome]] = {
    "answer-first": lots.race,
    "challenge-grinding": lots.grind,
    "last-revealer": lots.revise,
    "wash-traffic": money.wash,
    "traffic-ring": money.ring,
    "inflated-collusive": money.inflate_together,
}
BY_RECORD = {attack.name: attack for attack in RECORDS}
NAMES = (*STRATEGIES, *CHANCE, *BY_RECORD)
# No attack: what honest hotspots lose to the rules, and whom auditors accuse.
BASELINE = HONEST.name


def measure(name: str, size: Size, tell: Tell = lambda _: None) -> Measured:
    """Run one attack, or `honest`; KeyError for a name that none has."""
    nobody = np.empty(0)
    if name in BY_RECORD:
        return Measured(measure_records(BY_RECORD[name], size.seed), nobody, nobody)
    if name in CHANCE:
        return Measured(CHANCE[name](size.seed), nobody, nobody)
    if name == BASELINE:
        quiet = replace(size, share=0.0)
        return run_without_ledger(HONEST, quiet) if size.is_open else run_presence(HONEST, quiet)
    strategy = STRATEGIES[name]
    if size.is_open:
        return run_without_ledger(strategy, size)
    run = run_presence if strategy.pretends else run_radio
    return run(strategy, size, tell)
