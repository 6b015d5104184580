"""The same seed with the rules off: what honest hotspots would have got if everybody were honest.

The attackers don't exist; every beacon that an honest receiver really heard counts, delivered or
not, mutual or not, trusted or not. Only the draw of witnesses stays: it is a sample, not a check.
Trust is equal for all. The settlements are the real ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chain.records import RECEPTION_BYTES
from chain.rules.outcome import Effects
from chain.rules.payments import Payment
from chain.rules.rewards import process_counted, process_settlement
from chain.rules.verdicts import CODES, Judgement, compute_beaconer, process_draw
from chain.state import OnTime
from chain.wire import iter_receptions
from radio_sim.attacks.town import FIRST_EPOCH, SETTLEMENT_EPOCHS, Town

LEFT_OUT = CODES["self"]


class RulesOff:
    """Books beside a town's: feed it every judgement; `payments` as in Town."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.state = town.state.copy()
        self.state.genesis = replace(self.state.genesis, seeds=())
        self.state.params = replace(
            self.state.params, may_lack_seeds=True, trust_damping_permille=0
        )
        self.payments: list[Payment] = []
        self._plot = town.world.placement.attackers

    def take(self, judgement: Judgement) -> None:
        """Count an epoch; settle when the ledger does."""
        if judgement.epoch >= FIRST_EPOCH:
            process_counted(self.state, self.get_open_judgement(judgement))
        closing = judgement.epoch + 1
        if closing % SETTLEMENT_EPOCHS == SETTLEMENT_EPOCHS // 2:
            self.town.process_traffic(self.state)
        self.state.epoch = closing + 1
        if self.state.epoch % SETTLEMENT_EPOCHS == 0:
            effects = Effects()
            process_settlement(self.state, effects)
            self.payments += list(effects.payments)

    def get_open_judgement(self, judgement: Judgement) -> Judgement:
        """The epoch as it was heard, with nothing refused but what attackers have a hand in."""
        epoch = judgement.epoch
        everybody = self.town.reports[epoch]
        present = self.town.world.sites.present[:, epoch - FIRST_EPOCH]
        honest = np.flatnonzero(~self._plot & present)
        reports = {
            int(index): OnTime(b"", b"", everybody[index], self.town.secret(int(index), epoch))
            for index in honest
        }
        opened = replace(judgement, reports=reports, beaconers={}, codes={})
        for index, message in reports.items():
            if index in judgement.assertions:
                assertion = judgement.assertions[index]
                opened.beaconers[index] = compute_beaconer(opened, assertion, message)
        self._process_draws(opened)
        return opened

    def _process_draws(self, opened: Judgement) -> None:
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
