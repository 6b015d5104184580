"""Books beside a town's ledger: the same epochs paid under other assumptions.

`RulesOff`: what honest hotspots would have got if everybody were honest. Liars don't exist, or no
longer from the epoch on in which their claims become lies; their accomplices whose claims are true
are hotspots like others; every beacon that one of these really heard counts, delivered or not,
mutual or not, trusted or not. Only the draw of witnesses stays: it is a sample, not a check. Trust
is equal for all.

`Unaudited`: the ledger's verdicts, but no finding holds anybody's weight or pay back.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chain.records import RECEPTION_BYTES
from chain.rules.outcome import Effects
from chain.rules.payments import Payment
from chain.rules.rewards import process_counted, process_settlement
from chain.rules.verdicts import (
    CODES,
    Judgement,
    compute_beaconer,
    get_mutual_links,
    process_draw,
)
from chain.state import OnTime, State
from chain.wire import iter_receptions
from radio_sim.attacks.town import FIRST_EPOCH, SETTLEMENT_EPOCHS, Town

Flags = NDArray[np.bool_]

LEFT_OUT = CODES["self"]
HELD, COUNTED = (bytes([CODES[name]]) for name in ("held_witness", "counted"))


class Books:
    """Books with the state that a town has after everybody joined; feed them every judgement."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.state: State = town.state.copy()
        self.payments: list[Payment] = []

    def take(self, judgement: Judgement) -> None:
        """Count an epoch; settle when the ledger does."""
        if judgement.epoch >= FIRST_EPOCH:
            self.count(judgement)
        closing = judgement.epoch + 1
        if closing % SETTLEMENT_EPOCHS == SETTLEMENT_EPOCHS // 2:
            self.town.process_traffic(self.state)
        self.state.epoch = closing + 1
        if self.state.epoch % SETTLEMENT_EPOCHS == 0:
            effects = Effects()
            process_settlement(self.state, effects)
            self.payments += list(effects.payments)

    def count(self, judgement: Judgement) -> None:
        """What of an epoch is paid for."""
        raise NotImplementedError


class Unaudited(Books):
    """The ledger's verdicts without auditors: who is held counts like others."""

    def count(self, judgement: Judgement) -> None:
        """As when an epoch closes; held witnesses were drawn beside those who took their places."""
        codes = {w: bytearray(c).replace(HELD, COUNTED) for w, c in judgement.codes.items()}
        free = replace(judgement, held=frozenset(), codes=codes)
        for link in get_mutual_links(free):
            self.state.add("links", link, 1)
        process_counted(self.state, free)


class RulesOff(Books):
    """Everything that who is no liar heard of who is none, and equal trust."""

    def __init__(self, town: Town) -> None:
        super().__init__(town)
        self.state.genesis = replace(self.state.genesis, seeds=())
        self.state.params = replace(
            self.state.params, may_lack_seeds=True, trust_damping_permille=0
        )
        placement = town.world.placement
        self._gone = placement.liars if placement.liars.any() else placement.attackers
        self._gone_from = FIRST_EPOCH + placement.lies_from

    def count(self, judgement: Judgement) -> None:
        """As it was heard, by the lots of the ledger."""
        process_counted(self.state, self.get_open_judgement(judgement))

    def get_open_judgement(self, judgement: Judgement) -> Judgement:
        """The epoch as it was heard, with nothing refused but what attackers have a hand in."""
        epoch = judgement.epoch
        everybody = self.town.reports[epoch]
        present = self.town.world.sites.present[:, epoch - FIRST_EPOCH]
        gone = self._gone if epoch >= self._gone_from else np.zeros_like(self._gone)
        honest = np.flatnonzero(~gone & present)
        reports = {
            int(index): OnTime(b"", b"", everybody[index], self.town.secret(int(index), epoch))
            for index in honest
        }
        opened = replace(
            judgement, reports=reports, beaconers={}, codes={},
            blind=frozenset(), proven=frozenset(reports), held=frozenset(),
        )
        for index, message in reports.items():
            if index in judgement.assertions:
                assertion = judgement.assertions[index]
                opened.beaconers[index] = compute_beaconer(opened, assertion, message)
        process_open_draws(opened)
        return opened


def process_open_draws(opened: Judgement) -> None:
    """Every reception of somebody honest is a candidate."""
    lots: dict[int, list[tuple[int, int]]] = {}
    for witness, message in opened.reports.items():
        codes = bytearray(len(message.report) // RECEPTION_BYTES)
        opened.codes[witness] = codes
        for entry, (heard, sequence, *_) in enumerate(iter_receptions(message.report)):
            if heard in opened.beaconers:
                lots.setdefault(heard << 8 | sequence, []).append((witness, entry))
            else:
                codes[entry] = LEFT_OUT
    for beacon, candidates in lots.items():
        process_draw(opened, beacon, candidates)
