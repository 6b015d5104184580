"""Holds: a finding of k of n auditors keeps a hotspot's presence pay back, and decides nothing yet.

    finding accepted in h       pay and weight as a witness are held from now on
    until h + appeal time       the owner may appeal: then more auditors must confirm
    from then on                auditors who ran it again may confirm: pay goes back to the cells
    at any time                 auditors may withdraw or overturn it: pay is released in full
    expiry                      nobody confirmed it: pay is released in full

A rule can't tell whether the statistics are right: it holds the finding to its form, and whoever
signs it to a price. Each signer locks a deposit, which the owner gets unless the finding is
confirmed; nobody signs more new findings in a settlement, or has more of them open, than a share
of all hotspots; evidence that was used once is used up.
"""

from __future__ import annotations

from chain.admission import Role
from chain.holds import OpenHold, Outcome
from chain.records import Hold, HoldAppeal, HoldRuling, Refusal, Signed
from chain.rules.appointments import get_keys
from chain.rules.bonds import is_slashed
from chain.rules.held import process_hold_end, process_open_count
from chain.rules.outcome import ALREADY, Accepted, Effects, Verdict, Verify
from chain.rules.payments import NOBODY
from chain.rules.treasury import get_account_refusal, get_balance_refusal
from chain.state import State

PERMILLE = 1_000


def get_auditors_needed(state: State, *, appealed: bool = False) -> int:
    """How many auditors must sign: more than half of them, after an appeal more than two thirds."""
    auditors = len(get_keys(state, Role.AUDITOR, state.epoch))
    needed = 2 * auditors // 3 + 1 if appealed else auditors // 2 + 1
    return max(state.params.hold_auditors_min, needed)


def get_new_limit(state: State) -> int:
    """Most new holds that one auditor signs in a settlement."""
    return 1 + len(state.hotspots) * state.params.hold_new_permille // PERMILLE


def get_open_limit(state: State) -> int:
    """Most open holds that one auditor has signed."""
    return 1 + len(state.hotspots) * state.params.hold_open_permille // PERMILLE


# --- a finding -----------------------------------------------------------------------------------


def process_hold(state: State, signed: Signed, hold: Hold, verify: Verify) -> Verdict:
    """Keep a hotspot's presence pay back from now on."""
    if refusal := get_hold_refusal(state, signed, hold, verify):
        return refusal
    state.account(NOBODY)  # payment lines of what is kept back name it
    for auditor in hold.auditors:
        state.debit(auditor, state.params.hold_deposit_ucr)
        state.add("hold_new", auditor, 1)
        process_open_count(state, auditor, 1)
    state.holds[hold.subject] = OpenHold(
        signed.record_id,
        hold.test,
        *(hold.statistic_centi, hold.threshold_centi, hold.first_epoch, hold.last_epoch),
        hold.evidence,
        *(state.epoch, hold.expiry_epoch),
        hold.auditors,
        len(hold.auditors) * state.params.hold_deposit_ucr,
    )
    state.touch("holds", hold.subject)
    return Accepted(detail=f"pay of hotspot {hold.subject} is held until {hold.expiry_epoch}")


def get_hold_refusal(
    state: State, signed: Signed, hold: Hold, verify: Verify
) -> Refusal | None:
    """Why a finding can't be taken, if so; cheap checks first, signatures last."""
    return (
        get_subject_refusal(state, hold)
        or get_window_refusal(state, hold)
        or get_limits_refusal(state, hold)
        or get_auditors_refusal(state, signed, hold.auditors, get_auditors_needed(state), verify)
    )


def get_subject_refusal(state: State, hold: Hold) -> Refusal | None:
    """Why nothing can be held of this hotspot, if so."""
    if hold.subject >= len(state.hotspots):
        return Refusal("unknown_hotspot", f"subject: {hold.subject} is unknown; correct it")
    if is_slashed(state, hold.subject):
        return Refusal("slashed", f"subject: {hold.subject} was slashed; it earns nothing more")
    if hold.subject in state.holds:
        return Refusal("duplicate", f"subject: {hold.subject} has an open hold; one at a time")
    if hold.statistic_centi < hold.threshold_centi:
        return Refusal("below_threshold", "statistic_centi: is below the threshold; no finding")
    return None


def get_window_refusal(state: State, hold: Hold) -> Refusal | None:
    """Why a finding's epochs can't be, if so."""
    params, now = state.params, state.epoch
    oldest = max(0, now - params.hold_epochs_max)
    if not oldest <= hold.first_epoch <= hold.last_epoch < now:
        return Refusal(
            "wrong_epoch", f"first_epoch, last_epoch: must be from {oldest} to {now - 1}"
        )
    past = state.past_holds.get(hold.subject)
    if past is not None and hold.first_epoch <= past.last_epoch:
        return Refusal(
            "used_evidence",
            f"first_epoch: epochs up to {past.last_epoch} were held against it before;"
            " use later ones",
        )
    first, last = now + params.hold_appeal_epochs + 1, now + params.hold_epochs_max
    if not first <= hold.expiry_epoch <= last:
        return Refusal("wrong_epoch", f"expiry_epoch: must be from {first} to {last}")
    return None


def get_limits_refusal(state: State, hold: Hold) -> Refusal | None:
    """Why one of a finding's auditors may not sign another, if so."""
    new, most = get_new_limit(state), get_open_limit(state)
    deposit = state.params.hold_deposit_ucr
    for auditor in hold.auditors:
        name = auditor.hex()[:16]
        if state.hold_new.get(auditor, 0) >= new:
            return Refusal(
                "over_cap", f"auditors: {name} signed {new} in this settlement; wait for the next"
            )
        if state.hold_open.get(auditor, 0) >= most:
            return Refusal(
                "over_cap", f"auditors: {name} has {most} open holds; settle one of them first"
            )
        if refusal := get_balance_refusal(state, auditor, deposit, f"auditors: {name}'s deposit"):
            return refusal
    return None


def get_auditors_refusal(
    state: State, signed: Signed, auditors: tuple[bytes, ...], needed: int, verify: Verify
) -> Refusal | None:
    """Why a record isn't signed by enough auditors of the current epoch, if so."""
    appointed = {member.key for member in get_keys(state, Role.AUDITOR, state.epoch)}
    for auditor in auditors:
        if auditor not in appointed:
            return Refusal(
                "not_appointed", f"auditors: {auditor.hex()[:16]} is none; ask operators"
            )
    if len(auditors) < needed:
        return Refusal(
            "too_few_auditors", f"auditors: {needed} of {len(appointed)} must sign; ask the others"
        )
    if len(signed.signatures) != len(auditors):
        return Refusal("bad_signature", "signatures: one of each auditor, in their order")
    name, network_id = signed.record.NAME, state.network_id
    for auditor, signature in zip(auditors, signed.signatures, strict=True):
        if not verify(auditor, name, network_id, signed.body, signature):
            return Refusal("bad_signature", f"auditors: {auditor.hex()[:16]} did not sign this")
    return None


# --- its end -------------------------------------------------------------------------------------


def get_open_hold(state: State, subject: int, hold: bytes) -> OpenHold | Refusal:
    """The open hold of a hotspot, by the id of its record."""
    found = state.holds.get(subject)
    if found is None or found.record_id != hold:
        return Refusal("unknown_hold", f"hold: not open for hotspot {subject}; see GET /v1/holds")
    return found


def process_hold_ruling(
    state: State, signed: Signed, ruling: HoldRuling, verify: Verify, effects: Effects
) -> Verdict:
    """End a hold: withdraw it, overturn it on appeal, or confirm it."""
    hold = get_open_hold(state, ruling.subject, ruling.hold)
    if isinstance(hold, Refusal):
        return hold
    outcome = Outcome(ruling.outcome)
    from_epoch = hold.opened_epoch + state.params.hold_appeal_epochs
    if outcome == Outcome.CONFIRMED and state.epoch < from_epoch:
        return Refusal("too_early", f"outcome: may be confirmed from epoch {from_epoch} on; wait")
    confirms = outcome == Outcome.CONFIRMED
    needed = get_auditors_needed(state, appealed=confirms and hold.appeal_epoch > 0)
    if refusal := get_auditors_refusal(state, signed, ruling.auditors, needed, verify):
        return refusal
    past = process_hold_end(state, ruling.subject, outcome, signed.record_id, effects.payments)
    goes = "returns to its cells" if confirms else "is released"
    return Accepted(detail=f"{past.pay_ucr} ucr of hotspot {ruling.subject} {goes}")


def process_hold_appeal(
    state: State, signed: Signed, appeal: HoldAppeal, verify: Verify
) -> Verdict:
    """Note that an owner appeals: to confirm the hold takes more auditors from now on."""
    hold = get_open_hold(state, appeal.subject, appeal.hold)
    if isinstance(hold, Refusal):
        return hold
    owner = state.hotspots[appeal.subject].owner
    if refusal := get_account_refusal(state, signed, owner, "owner", verify):
        return refusal
    if hold.appeal_epoch:
        return Accepted(reason=ALREADY)
    last = hold.opened_epoch + state.params.hold_appeal_epochs
    if state.epoch >= last:
        return Refusal("too_late", f"hold: appeals ended with epoch {last - 1}; ask the auditors")
    hold.appeal_epoch = state.epoch
    state.touch("holds", appeal.subject)
    needed = get_auditors_needed(state, appealed=True)
    return Accepted(detail=f"{needed} auditors must confirm it now")
