"""Runs of findings that hold pay back, and of all the ways in which that ends."""

from __future__ import annotations

from dataclasses import replace

from chain.admission import Role
from chain.records import Finding, Hold, HoldAppeal, Signed, Transfer
from chain.vectors.runs import make_runs
from chain.vectors.scenarios import resign
from chain.vectors.town import CHAIN_LENGTH, FIRST_EPOCH, Town

AUDITORS = 3
EVERYBODY = tuple(range(AUDITORS))
WITHDRAWN, OVERTURNED, CONFIRMED = 2, 3, 4


def start(town: Town) -> int:
    """Three auditors with credits, and honest epochs up to the first settlement; what is next."""
    town.join()
    first = town.epoch + 2
    keys = [town.key("auditor", number) for number in EVERYBODY]
    town.submit(*(town.appointment(Role.AUDITOR, key, first, first + 9_000) for key in keys))
    for nonce, key in enumerate(keys, start=1):
        town.submit(town.seal(Transfer(town.owner(0), key, 9_000_000, nonce, ""), ("owner", 0)))
    return settle(town)


def settle(town: Town) -> int:
    """Honest epochs up to and over the next settlement."""
    every = town.ledger.params.settlement_epochs
    due = (town.epoch // every + 1) * every
    if due - town.epoch > 10:  # a few of a day's are enough
        town.go_to(due - 4)
    if due < FIRST_EPOCH + CHAIN_LENGTH:
        town.run(max(town.epoch, FIRST_EPOCH), due - 1)
    town.go_to(due)
    return town.epoch


def _hold(signed: Signed) -> Hold:
    if not isinstance(signed.record, Hold):
        raise TypeError("not a hold")
    return signed.record


def refused(town: Town) -> None:
    """Findings that aren't, that too few sign, that come again, or too often."""
    epoch = start(town)
    params = town.ledger.params
    town.submit(town.hold(99, EVERYBODY))  # unknown_hotspot
    town.submit(town.hold(1, EVERYBODY, statistic_centi=287))  # below_threshold
    town.submit(town.hold(1, EVERYBODY, last_epoch=epoch))  # wrong_epoch: not over
    town.submit(town.hold(1, EVERYBODY, first_epoch=epoch - 1, last_epoch=epoch - 2))  # wrong_epoch
    soon, far = epoch + params.hold_appeal_epochs, epoch + params.hold_epochs_max + 1
    town.submit(town.hold(1, EVERYBODY, expiry_epoch=soon))  # wrong_epoch: no time to appeal
    town.submit(town.hold(1, EVERYBODY, expiry_epoch=far))  # wrong_epoch
    town.submit(town.hold(1, (0,)))  # too_few_auditors
    town.submit(town.hold(1, (0, 7)))  # not_appointed
    good = town.hold(1, (0, 1))
    town.submit(resign(good, good.signatures[0]))  # bad_signature: one missing
    town.submit(resign(good, *good.signatures[::-1]))  # bad_signature: swapped
    town.submit(good)
    town.submit(good)  # already
    town.submit(town.hold(1, (0, 2)))  # duplicate: it has one
    town.submit(town.hold(2, (0, 1)))  # over_cap: of this settlement
    town.submit(town.ruling(1, bytes(32), WITHDRAWN, (0, 1)))  # unknown_hold
    town.submit(town.ruling(2, good.record_id, WITHDRAWN, (0, 1)))  # unknown_hold
    town.submit(town.ruling(1, good.record_id, CONFIRMED, (0, 1)))  # too_early
    town.submit(town.ruling(1, good.record_id, WITHDRAWN, (0,)))  # too_few_auditors
    settle(town)
    town.submit(town.hold(2, (0, 2)))
    settle(town)
    town.submit(town.hold(3, (0, 2)))  # over_cap: two open of four hotspots
    withdrawn = town.ruling(1, good.record_id, WITHDRAWN, (1, 2))
    town.submit(withdrawn)
    town.submit(withdrawn)  # already
    town.submit(town.hold(1, (1, 2), first_epoch=epoch - 1))  # used_evidence
    settle(town)
    town.submit(town.hold(1, (1, 2), first_epoch=epoch))  # fresh evidence
    poor = town.key("auditor", 0)
    out = Transfer(poor, town.owner(3), town.ledger.state.balance(poor), 1, "")
    town.submit(town.seal(out, ("auditor", 0)))
    town.submit(town.hold(3, (0, 1)))  # insufficient_balance where a deposit is asked


def expired(town: Town) -> None:
    """Nobody confirms a finding: all that was kept back is paid, and the deposits on top."""
    start(town)
    ends = town.epoch + 11 + town.ledger.params.hold_appeal_epochs
    hold = town.hold(1, (0, 1), expiry_epoch=ends)
    town.submit(hold)
    settle(town)
    settle(town)
    town.go_to(_hold(hold).expiry_epoch)
    settle(town)
    town.go_to(town.epoch + town.ledger.params.hold_epochs_max + 1)  # its evidence is forgotten


def confirmed(town: Town) -> None:
    """Auditors find the same again after the time for appeals: the cells get it back."""
    start(town)
    hold = town.hold(1, (0, 1))
    town.submit(hold)
    settle(town)
    opened = town.epoch
    town.go_to(opened + town.ledger.params.hold_appeal_epochs)
    town.submit(town.seal(HoldAppeal(1, hold.record_id), ("owner", 1)))  # too_late
    town.submit(town.ruling(1, hold.record_id, CONFIRMED, (1, 2)))
    settle(town)  # the others share what came back


def appealed(town: Town) -> None:
    """An owner appeals: now all three auditors must confirm, and two suffice to overturn."""
    start(town)
    hold = town.hold(1, (0, 1))
    town.submit(hold)
    appeal = HoldAppeal(1, hold.record_id)
    town.submit(town.seal(appeal, ("owner", 2)))  # bad_signature
    town.submit(town.seal(replace(appeal, subject=2), ("owner", 2)))  # unknown_hold
    town.submit(town.seal(appeal, ("owner", 1)))
    town.submit(town.seal(appeal, ("owner", 1)))  # already
    settle(town)
    town.go_to(town.epoch + town.ledger.params.hold_appeal_epochs)
    town.submit(town.ruling(1, hold.record_id, CONFIRMED, (0, 1)))  # too_few_auditors
    town.submit(town.ruling(1, hold.record_id, OVERTURNED, (0, 2)))
    settle(town)


def slashed(town: Town) -> None:
    """Fraud is proven of a hotspot whose pay is held: it goes back to the cells at once."""
    epoch = start(town)
    town.submit(town.hold(1, EVERYBODY))
    settle(town)
    forks = [town.message(1, epoch, commit=bytes([n]) * 32).wire for n in range(2)]
    record = Finding(1, 1, epoch, (forks[0], forks[1]), town.owner(2))
    town.submit(town.seal(record, ("owner", 2)))
    town.submit(town.hold(1, EVERYBODY))  # slashed
    settle(town)


BOTH = ("minimal", "mainnet")
HOLDS = make_runs(
    "holds",
    "Ledgers on which auditors' findings hold pay back, and on which that ends in every way.",
    [(preset, run) for preset in BOTH for run in (refused, expired, confirmed, appealed, slashed)],
)
