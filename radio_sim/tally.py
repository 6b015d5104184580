"""What a ledger decided and paid, added up block by block."""

from __future__ import annotations

from collections import Counter

from chain.ledger import Sealed
from chain.rules.verdicts import COUNTED, get_reason_counts
from chain.state import State


class Tally:
    """Give `note` to a Ledger as `on_block`; `state` must be set before `cells` is read."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.paid_ucr: Counter[str] = Counter()
        self.receptions = 0
        self._witnesses: set[int] = set()  # of at least one reception that counted

    def note(self, sealed: Sealed) -> None:
        """Add a block's verdicts and payments."""
        for judgement in sealed.effects.verdicts:
            counts = get_reason_counts(judgement)
            self.verdicts.update(counts)
            self.receptions += sum(counts.values())
            for witness, codes in judgement.codes.items():
                if COUNTED in codes:
                    self._witnesses.add(witness)
        for payment in sealed.effects.payments:
            self.paid_ucr[payment.kind] += payment.amount_ucr

    def cells_covered(self, state: State) -> int:
        """Cells, at the precision that their owners publish, where a counted beacon was heard."""
        return len({state.hotspots[w].newest.registration.cell for w in self._witnesses})
