"""Nobody paid twice: a reception counts once, and an account got what its payments say.

The ledger's own books could agree with themselves and still pay twice for the same thing, so both
sides are counted here anew from blocks: verdicts by reception, credits by account.
"""

from __future__ import annotations

from collections import Counter

from chain.ledger import Sealed
from chain.records import Deposit, Signed
from chain.rules.verdicts import COUNTED, Judgement
from chain.wire import decode, iter_receptions
from radio_sim.checkers.base import Checker

EPOCHS_KEPT = 8  # an epoch is judged once, two epochs on


class PaymentChecker(Checker):
    """Counts receptions that counted, and what every account was given."""

    name = "payments"

    def __init__(self) -> None:
        super().__init__()
        self._given: Counter[bytes] = Counter()
        self._judged: dict[int, int] = {}  # epoch > times

    def on_block(self, sealed: Sealed) -> None:
        """Add a block's deposits, payments and verdicts."""
        for wire in sealed.block.wires:
            record = decode(wire)
            if isinstance(record, Signed) and isinstance(record.record, Deposit):
                self._given[record.record.account] += record.record.amount_ucr
        for payment in sealed.effects.payments:
            if payment.amount_ucr < 0:
                self.fail(f"epoch {payment.epoch}: a payment of {payment.amount_ucr}")
            self._given[payment.account] += payment.amount_ucr
        for judgement in sealed.effects.verdicts:
            self._judge(judgement)

    def _judge(self, judgement: Judgement) -> None:
        epoch = judgement.epoch
        self._judged[epoch] = self._judged.get(epoch, 0) + 1
        if self._judged[epoch] > 1:
            self.fail(f"epoch {epoch} was judged twice")
        self._judged.pop(epoch - EPOCHS_KEPT, None)
        for witness, codes in judgement.codes.items():
            entries = iter_receptions(judgement.reports[witness].report)
            pairs = zip(entries, codes, strict=True)
            counted = [(heard[0], heard[1]) for heard, code in pairs if code == COUNTED]
            if len(set(counted)) < len(counted):
                self.fail(f"epoch {epoch}: witness {witness} was paid twice for a beacon")

    def finish(self) -> None:
        """Compare what accounts got with what they were given."""
        for account, row in sorted(self.fleet.ledger.state.accounts.items()):
            if row.issued_ucr != self._given[account]:
                given = self._given[account]
                self.fail(f"account {account.hex()[:12]} got {row.issued_ucr}, was given {given}")
