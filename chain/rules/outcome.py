"""What rules give back: an acceptance or a refusal, and what closing epochs brings forth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chain.proofs.balances import BalanceTree
from chain.records import Refusal, Signed, SubmitResult
from chain.rules.payments import Payments
from chain.rules.verdicts import EpochVerdicts
from chain.wire import record_id_of

# (key, domain name, network id, body, signature) -> whether it holds; see chain.keys.verify.
Verify = Callable[[bytes, str, bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that changed the state, or had changed it before (`already`)."""

    index: int | None = None
    reason: str = "ok"
    detail: str = ""


ACCEPTED = Accepted()  # of what changes the state and needs no word about it
Verdict = Accepted | Refusal
ALREADY = "already"
LATE = "late"


@dataclass(frozen=True, slots=True)
class LateReport:
    """A report that came after its epoch message was due: for the map, never paid."""

    epoch: int
    witness: int
    record_id: bytes
    report: bytes


@dataclass(frozen=True, slots=True)
class Mapped:
    """What became of a mapper's report: a code of chain.rules.verdicts.REASONS per reception.

    `cell` has resolution 9; `report` holds the receptions of `epoch`.
    """

    epoch: int
    record_id: bytes
    cell: int
    report: bytes
    codes: bytes


@dataclass(slots=True)
class Effects:
    """What a block brings forth beside the state: for explanations, tables and the map."""

    verdicts: list[EpochVerdicts] = field(default_factory=list)
    payments: Payments = field(default_factory=Payments)
    late: list[LateReport] = field(default_factory=list)
    mapped: list[Mapped] = field(default_factory=list)
    balance_trees: list[BalanceTree] = field(default_factory=list)  # one per settlement


def result_of(signed: Signed, verdict: Verdict) -> SubmitResult:
    """The ledger's answer to one record."""
    if isinstance(verdict, Refusal):
        return SubmitResult(signed.record_id, False, None, verdict.reason, verdict.detail)
    return SubmitResult(signed.record_id, True, verdict.index, verdict.reason, verdict.detail)


def result_of_refusal(raw: bytes, refusal: Refusal) -> SubmitResult:
    """The ledger's answer to bytes that are no record it takes."""
    return SubmitResult(record_id_of(raw), False, None, refusal.reason, refusal.detail)
