"""Holds as JSON values, with words for the owner; keys are hexadecimal."""

from __future__ import annotations

from typing import Any

from chain.admission import Role
from chain.holds import OpenHold, Outcome, PastHold
from chain.rules.appointments import get_keys
from chain.rules.holds import get_auditors_needed, get_new_limit, get_open_limit
from chain.rules.refuted import get_refuted, get_refuted_until
from chain.state import State

Json = dict[str, Any]

ENDED = {
    Outcome.EXPIRED: "Nobody confirmed the finding in time: {pay} ucr were paid in full",
    Outcome.WITHDRAWN: "The auditors withdrew their finding: {pay} ucr were paid in full",
    Outcome.OVERTURNED: "A re-run didn't bear the finding out: {pay} ucr were paid in full",
    Outcome.CONFIRMED: "A re-run bore the finding out: {pay} ucr went back to the cells",
    Outcome.SLASHED: "Fraud was proven meanwhile: {pay} ucr went back to the cells",
}


def holds_json(state: State) -> Json:
    """Every open hold, the newest past one of each hotspot, and what auditors may do now."""
    return {
        "auditors": len(get_keys(state, Role.AUDITOR, state.epoch)),
        "needed": get_auditors_needed(state),
        "new_at_most": get_new_limit(state),
        "open_at_most": get_open_limit(state),
        "holds": [hold_json(state, *item) for item in sorted(state.holds.items())],
        "past": [past_json(*item) for item in sorted(state.past_holds.items())],
    }


def hold_json(state: State, subject: int, hold: OpenHold) -> Json:
    """An open hold."""
    return {
        "id": hold.record_id.hex(),
        "subject": subject,
        "test": hold.test,
        "statistic_centi": hold.statistic_centi,
        "threshold_centi": hold.threshold_centi,
        "first_epoch": hold.first_epoch,
        "last_epoch": hold.last_epoch,
        "evidence": hold.evidence.hex(),
        "command": get_command(subject, hold),
        "opened_epoch": hold.opened_epoch,
        "appeal_until_epoch": get_last_appeal(state, hold),
        "expiry_epoch": hold.expiry_epoch,
        "appealed": hold.appeal_epoch > 0,
        "auditors": [auditor.hex() for auditor in hold.auditors],
        "confirmed_by": get_auditors_needed(state, appealed=hold.appeal_epoch > 0),
        "deposit_ucr": hold.deposit_ucr,
        "pay_ucr": hold.pay_ucr,
        "cells": {f"{cell:x}": ucr for cell, ucr in hold.pay},
        "words": get_words(state, subject, hold),
    }


def past_json(subject: int, past: PastHold) -> Json:
    """A hold that ended."""
    outcome = Outcome(past.outcome)
    words = ENDED[outcome].format(pay=past.pay_ucr)
    if past.deposit_ucr and outcome not in (Outcome.CONFIRMED, Outcome.SLASHED):
        words += f", and the auditors' deposit of {past.deposit_ucr} ucr with them"
    return {
        "id": past.record_id.hex(),
        "subject": subject,
        "test": past.test,
        "last_epoch": past.last_epoch,
        "opened_epoch": past.opened_epoch,
        "ended_epoch": past.ended_epoch,
        "outcome": outcome.name.lower(),
        "pay_ucr": past.pay_ucr,
        "deposit_ucr": past.deposit_ucr,
        "ruling": past.ruling.hex() or None,
        "words": words + ".",
    }


def hotspot_hold_json(state: State, subject: int) -> Json | None:
    """The open hold of a hotspot, in short; None if there is none."""
    hold = state.holds.get(subject)
    if hold is None:
        return None
    return {
        "id": hold.record_id.hex(),
        "test": hold.test,
        "opened_epoch": hold.opened_epoch,
        "expiry_epoch": hold.expiry_epoch,
        "pay_ucr": hold.pay_ucr,
        "words": get_words(state, subject, hold),
    }


def refuted_json(
    state: State, subject: int, refuted: frozenset[int] | None = None
) -> Json | None:
    """That a hotspot's claim is refuted, and what ends it; None if it isn't.

    `refuted` are all hotspots of which that is so. Whoever asks of many gets them once.
    """
    past = state.past_holds.get(subject)
    if past is None or subject not in (get_refuted(state) if refuted is None else refuted):
        return None
    until = get_refuted_until(state, past)
    return {
        "id": past.record_id.hex(),
        "test": past.test,
        "ruling": past.ruling.hex(),
        "until_epoch": until,
        "words": (
            f"Auditors confirmed in epoch {past.ended_epoch}, by the test {past.test}, that hotspot"
            f" {subject} isn't where it claims: it has no trust, and earns nothing by coverage and"
            f" witnessing, until epoch {until}, or until it claims the place where it is:"
            " mend its configuration. What it relays is paid as ever."
        ),
    }


def get_last_appeal(state: State, hold: OpenHold) -> int:
    """The last epoch in which the owner may appeal."""
    return hold.opened_epoch + state.params.hold_appeal_epochs - 1


def get_command(subject: int, hold: OpenHold) -> str:
    """What derives the finding again from a copy of the ledger."""
    return (
        f"wavecomb map audit --ledger DIR --subject {subject} --test {hold.test}"
        f" --epochs {hold.first_epoch}-{hold.last_epoch}"
    )


def get_words(state: State, subject: int, hold: OpenHold) -> str:
    """What a hold means, for the owner."""
    if hold.appeal_epoch:
        appeal = f"You appealed in epoch {hold.appeal_epoch}: more auditors must confirm it now."
    else:
        appeal = f"You may appeal until epoch {get_last_appeal(state, hold)}."
    return (
        f"{len(hold.auditors)} auditors found in epochs {hold.first_epoch} to {hold.last_epoch},"
        f" by the test {hold.test}, {_centi(hold.statistic_centi)} where"
        f" {_centi(hold.threshold_centi)} is the limit. What hotspot {subject} earns by coverage"
        f" and witnessing is kept back, {hold.pay_ucr} ucr so far; what it relays is paid as ever."
        f" {appeal} Unless they confirm it, everything is paid in epoch {hold.expiry_epoch}."
        f" Check them with: {get_command(subject, hold)}"
    )


def _centi(value: int) -> str:
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 100}.{abs(value) % 100:02d}"
