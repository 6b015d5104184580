"""Holds: what the state remembers of pay that auditors' findings keep back.

Rules: chain/rules/holds.py; what a hold does to pay: chain/rules/held.py; the page is
docs/proof-of-coverage.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

Pay = tuple[tuple[int, int], ...]  # (reward cell, ucr), ascending


class Outcome(IntEnum):
    """How a hold ended; the numbers of docs/records.md, type 24, and two that need no ruling."""

    EXPIRED = 1
    WITHDRAWN = 2
    OVERTURNED = 3
    CONFIRMED = 4
    SLASHED = 5


# What brings the pay back to the owner, and what takes it away.
RELEASING = frozenset({Outcome.EXPIRED, Outcome.WITHDRAWN, Outcome.OVERTURNED})


@dataclass(slots=True)
class OpenHold:
    """A finding that keeps back what a hotspot earns by its presence.

    `appeal_epoch` is 0 as long as the owner didn't appeal; `pay` is what was kept back so far.
    """

    record_id: bytes
    test: str
    statistic_centi: int
    threshold_centi: int
    first_epoch: int
    last_epoch: int
    evidence: bytes
    opened_epoch: int
    expiry_epoch: int
    auditors: tuple[bytes, ...]
    deposit_ucr: int
    appeal_epoch: int = 0
    pay: Pay = ()

    @property
    def pay_ucr(self) -> int:
        """What was kept back so far."""
        return sum(ucr for _, ucr in self.pay)


@dataclass(frozen=True, slots=True)
class PastHold:
    """The newest hold of a hotspot that ended, kept as long as its evidence could be used again.

    `ruling` is the id of the record that ended it; empty where time or a slashing did.
    """

    record_id: bytes
    test: str
    last_epoch: int
    opened_epoch: int
    ended_epoch: int
    outcome: int
    pay_ucr: int
    deposit_ucr: int
    ruling: bytes
