"""Bonds: locked at registration, added to, returned some time after retirement, slashed on proof.

`state.ended` says from which epoch a hotspot proves nothing: 0 for one that was slashed. Those that
retired have a line in `state.releases` until their bond returns. A bond falls in no other way, so
whoever relies on one (docs/rewards.md, Relay claims) can.
"""

from __future__ import annotations

from chain.holds import Outcome
from chain.records import Bond, Refusal, Registration, Retirement, Signed
from chain.rules.held import process_hold_end
from chain.rules.outcome import Accepted, Effects, Verdict, Verify
from chain.rules.payments import Payment
from chain.rules.treasury import (
    get_account_refusal,
    get_balance_refusal,
    get_nonce_refusal,
    process_nonce,
)
from chain.state import Hotspot, State

BASIS_POINTS = 10_000
SLASHED = 0
SLASH = "slash"


def is_slashed(state: State, hotspot: int) -> bool:
    """Whether fraud of a hotspot was proven."""
    return state.ended.get(hotspot) == SLASHED


def is_released(state: State, hotspot: int) -> bool:
    """Whether a hotspot retired and has got its bond back."""
    return state.ended.get(hotspot, SLASHED) != SLASHED and hotspot not in state.releases


def get_end_refusal(state: State, hotspot: int, epoch: int) -> Refusal | None:
    """Why a hotspot proves nothing in an epoch, if it retired or was slashed."""
    if is_slashed(state, hotspot):
        return Refusal("slashed", f"hotspot: {hotspot} was slashed; register a new key")
    if state.is_ended(hotspot, epoch):
        end = state.ended[hotspot]
        return Refusal("retired", f"hotspot: {hotspot} retired from epoch {end} on; register again")
    return None


def compute_bond_due(state: State, hotspot: Hotspot | None, registration: Registration) -> int:
    """What a registration locks now: what is missing, or all of it for another owner.

    A new owner locks as much as the one before, who gets his back: a sale lowers no bond.
    """
    held = 0 if hotspot is None else hotspot.bond_ucr
    level = max(state.params.bond_ucr, held)
    same = hotspot is not None and hotspot.owner == registration.owner
    return level - held if same else level


def process_registration_bond(state: State, hotspot: Hotspot, registration: Registration) -> None:
    """Lock what a registration must lock, return a former owner's bond, end a retirement.

    The hotspot's assertions are still those of before.
    """
    before = hotspot if hotspot.assertions else None
    due = compute_bond_due(state, before, registration)
    state.debit(registration.owner, due)
    if before is not None and before.owner != registration.owner:
        state.credit(before.owner, hotspot.bond_ucr)
        hotspot.bond_ucr = 0
    hotspot.bond_ucr += due
    for table in (state.ended, state.releases):
        table.pop(hotspot.index, None)
    state.touch("ended", hotspot.index)
    state.touch("releases", hotspot.index)


def get_owner_refusal(
    state: State, signed: Signed, record: Bond | Retirement, verify: Verify
) -> Refusal | None:
    """Why a record about a hotspot isn't its owner's, or comes too late, if so."""
    if record.hotspot >= len(state.hotspots):
        return Refusal("unknown_hotspot", f"hotspot: {record.hotspot} is not registered; register")
    owner = state.hotspots[record.hotspot].owner
    return (
        get_end_refusal(state, record.hotspot, state.epoch + state.params.bind_epochs)
        or get_nonce_refusal(state, owner, record.nonce)
        or get_account_refusal(state, signed, owner, "owner", verify)
    )


def process_bond(state: State, signed: Signed, bond: Bond, verify: Verify) -> Verdict:
    """Lock more on a hotspot."""
    if refusal := get_owner_refusal(state, signed, bond, verify):
        return refusal
    hotspot = state.hotspots[bond.hotspot]
    if refusal := get_balance_refusal(state, hotspot.owner, bond.amount_ucr, "amount_ucr"):
        return refusal
    process_nonce(state, hotspot.owner, bond.nonce)
    state.debit(hotspot.owner, bond.amount_ucr)
    hotspot.bond_ucr += bond.amount_ucr
    state.touch("hotspots", hotspot.index)
    return Accepted(detail=f"bond_ucr: {hotspot.bond_ucr} are locked now")


def process_retirement(
    state: State, signed: Signed, retirement: Retirement, verify: Verify
) -> Verdict:
    """End a hotspot, some epochs ahead; its bond stays as long as fraud may still be proven."""
    if refusal := get_owner_refusal(state, signed, retirement, verify):
        return refusal
    hotspot = state.hotspots[retirement.hotspot]
    process_nonce(state, hotspot.owner, retirement.nonce)
    end = state.epoch + state.params.bind_epochs
    release = end + state.params.appeal_epochs
    state.ended[hotspot.index], state.releases[hotspot.index] = end, release
    state.touch("ended", hotspot.index)
    state.touch("releases", hotspot.index)
    return Accepted(detail=f"ends in epoch {end}, its bond returns in epoch {release}")


def process_releases(state: State) -> None:
    """Return the bonds whose time has come; one behind an open claim waits for its end."""
    over = (index for index, release in state.releases.items() if release <= state.epoch)
    due = sorted(index for index in over if index not in state.claiming)
    for index in due:
        hotspot = state.hotspots[index]
        if hotspot.bond_ucr:
            state.credit(hotspot.owner, hotspot.bond_ucr)
            hotspot.bond_ucr = 0
            state.touch("hotspots", index)
        del state.releases[index]
        state.touch("releases", index)


def process_slash(state: State, index: int, finder: bytes, effects: Effects) -> int:
    """Destroy a hotspot's bond, less the finder's share, and end it at once; the bond, in ucr.

    `finder` is the account of who proved the fraud; empty where nobody had to: all is destroyed.
    """
    hotspot = state.hotspots[index]
    bond, hotspot.bond_ucr = hotspot.bond_ucr, 0
    reward = bond * state.params.finder_bp // BASIS_POINTS if finder else 0
    state.supply.destroyed += bond - reward
    state.ended[index] = SLASHED
    state.releases.pop(index, None)
    state.forfeits[index] = state.epoch
    for table in ("hotspots", "ended", "releases", "forfeits"):
        state.touch(table, index)
    state.add("stats", "slashed_ucr", bond)
    if index in state.holds:
        process_hold_end(state, index, Outcome.SLASHED, b"", effects.payments)
    if reward:
        state.credit(finder, reward)
        effects.payments.append(
            Payment(state.epoch, SLASH, finder, index, 0, reward, hotspot.owner)
        )
    return bond


def process_forfeits(state: State) -> None:
    """Strike out what hotspots that were slashed did since the last settlement: it isn't paid.

    At the settlement and not at the slashing, so that many of them cost one pass.
    """
    if not state.forfeits:
        return
    for table in ("quality", "measured", "links"):
        rows = getattr(state, table)
        both = table == "links"
        for key in [k for k in rows if k[1] in state.forfeits or (both and k[0] in state.forfeits)]:
            del rows[key]
            state.touch(table, key)
    state.clear("forfeits")
