"""Figures of a run: who is found, when, and where the money went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chain.rules.payments import NOBODY, Payment
from chain.rules.verdicts import REASONS
from coverage_map.audit.scores import Scores
from coverage_map.audit.table import Hearings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Kinds of pay that proof of coverage decides; relay pay follows payers' receipts.
PROOF_KINDS = ("coverage", "bootstrap", "bounty", "witness", "release")


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What auditors thought after so many epochs; `combined` per hotspot, 0 where they abstain."""

    epochs: int
    combined: Floats
    threshold: float

    @property
    def found(self) -> Flags:
        """Who has a finding against it."""
        return self.combined > self.threshold


def make_audit(epochs: int, scores: Scores) -> Audit:
    """Keep of scores what figures need."""
    return Audit(epochs, np.nan_to_num(scores.combined), scores.threshold)


def compute_rate(found: Flags, among: Flags) -> float:
    """Share of some hotspots that were found; 0 of nobody."""
    return float(np.mean(found[among])) if among.any() else 0.0


def compute_wilson(found: int, among: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share by Wilson's score, 95 % by default; (0, 1) of nobody."""
    if among == 0:
        return 0.0, 1.0
    share, spread = found / among, z * z / among
    middle = share + spread / 2.0
    half = z * float(np.sqrt(share * (1.0 - share) / among + spread / (4.0 * among)))
    return max(0.0, (middle - half) / (1.0 + spread)), min(1.0, (middle + half) / (1.0 + spread))


def compute_epochs_to_detect(
    audits: Sequence[Audit], liars: Flags, unpaid: Flags
) -> int | None:
    """Epochs until half of the liars were accused at least once; None if they never were.

    Whom the rules never pay needs no audit: 0 if those are half of them.
    """
    ever, wanted = unpaid.copy(), np.count_nonzero(liars)
    if 2 * np.count_nonzero(ever & liars) >= wanted > 0:
        return 0
    for audit in audits:
        ever |= audit.found
        if 2 * np.count_nonzero(ever & liars) >= wanted > 0:
            return audit.epochs
    return None


def sum_pay_ucr(payments: Iterable[Payment], count: int) -> Ints:
    """Proof-of-coverage pay that each hotspot's owner got; what is held isn't, unless released."""
    paid = np.zeros(count, np.int64)
    for payment in payments:
        got = payment.kind in PROOF_KINDS and payment.account != NOBODY
        if payment.hotspot >= 0 and got:
            paid[payment.hotspot] += payment.amount_ucr
    return paid


def compute_share(part: int, whole: int) -> float:
    """A share, 0 of nothing."""
    return part / whole if whole else 0.0


def count_verdicts(hearings: Sequence[Hearings], witnesses: Flags) -> dict[str, int]:
    """Verdicts on the receptions that some witnesses reported, by reason."""
    counts: Counter[str] = Counter()
    for part in hearings:
        codes = part.code[witnesses[part.witness]]
        for code, number in zip(*np.unique(codes, return_counts=True), strict=True):
            counts[REASONS[int(code)]] += int(number)
    return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True)
class RocPoint:
    """One threshold: the share of the honest above it, and of the liars."""

    threshold: float
    fpr: float
    tpr: float


def compute_roc(honest: Floats, liars: Floats) -> list[RocPoint]:
    """Every threshold at which something changes, from the highest down, ends included."""
    levels = np.unique(np.concatenate([honest, liars]))[::-1]
    one, other = np.sort(honest), np.sort(liars)
    above_one = len(one) - np.searchsorted(one, levels, side="right")
    above_other = len(other) - np.searchsorted(other, levels, side="right")
    points = [
        RocPoint(float(level), int(f) / max(1, len(one)), int(t) / max(1, len(other)))
        for level, f, t in zip(levels, above_one, above_other, strict=True)
    ]
    return [*points, RocPoint(float("-inf"), 1.0, 1.0)]


def compute_tpr_at(honest: Floats, liars: Floats, fpr: float) -> float:
    """Share of liars found at the lowest threshold that at most this share of the honest pass."""
    ordered = np.sort(honest)[::-1]
    threshold = ordered[min(int(fpr * len(ordered)), len(ordered) - 1)]
    return float(np.mean(liars > threshold)) if len(liars) else 0.0
