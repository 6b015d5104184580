"""Relay claims: one root for what all sessions of a relay added, opened leaf by leaf on demand.

    accepted in c          sessions are locked, the root binds the relay to its receipts
    c+2 begins             R_(c+2) is known: it draws leaves, by value
    until the deadline     the relay opens what was drawn or disputed, payers dispute what they like
    after it               all open: every entry burns its due; else nothing burns, the bond is lost

docs/rewards.md, "Relay claims", says why a false leaf doesn't pay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate

from chain import bits, draws
from chain.claims.tree import Root, compute_root, leaf_node
from chain.packed import (
    U32_MAX,
    U64_MAX,
    Entry,
    PackedError,
    receipt_body,
    receipt_hash,
    unpack_entries,
)
from chain.records import Dispute, LeafOpening, Opening, Refusal, RelayClaim, Signed
from chain.rules.bonds import get_end_refusal, is_slashed, process_slash
from chain.rules.burns import compute_burn, process_burns
from chain.rules.former_keys import get_key_at, is_signed_by_hotspot
from chain.rules.outcome import ALREADY, Accepted, Effects, Verdict, Verify
from chain.rules.randomness import get_lots, is_awaited
from chain.rules.receipts import get_signature_refusal
from chain.state import OpenClaim, Session, State

Totals = tuple[int, int, int]
NO_HASH = bytes(32)
NOBODY = b""


# --- the claim ---------------------------------------------------------------------------------


def process_relay_claim(
    state: State, signed: Signed, claim: RelayClaim, verify: Verify
) -> Verdict:
    """Lock what a relay claims until its leaves were opened."""
    if refusal := get_relay_claim_refusal(state, signed, claim, verify):
        return refusal
    try:
        entries = get_entries(claim.entries)
    except PackedError as error:
        return Refusal("bad_shape", f"entries: {error}")
    for number, entry in enumerate(entries):
        if refusal := get_entry_refusal(state, claim.relay, entry):
            detail = f"entry {number} (session {entry.session}): {refusal.detail}"
            return Refusal(refusal.reason, detail)
    total = sum(compute_due(state, entry) for entry in entries)
    if total != claim.total_ucr or not total:
        return Refusal("wrong_total", f"total_ucr: entries add up to {total}; claim that, above 0")
    return Accepted(process_lock(state, claim, entries))


def get_relay_claim_refusal(
    state: State, signed: Signed, claim: RelayClaim, verify: Verify
) -> Refusal | None:
    """Why a claim can't be taken whatever its entries say, if so."""
    if claim.relay >= len(state.hotspots):
        return Refusal("unknown_hotspot", f"relay: {claim.relay} is not registered; register first")
    if claim.epoch not in (state.epoch, state.epoch - 1):
        return Refusal("wrong_epoch", f"epoch: must be {state.epoch} or the one before")
    key = get_key_at(state, state.hotspots[claim.relay], claim.epoch)
    if len(signed.signatures) != 1 or not verify(
        key, claim.NAME, state.network_id, signed.body, signed.signatures[0]
    ):
        return Refusal("bad_signature", "signatures: the relay's key must sign, once")
    if refusal := get_end_refusal(state, claim.relay, state.epoch):
        return refusal
    if (claim.relay, claim.epoch) in state.claim_of:
        return Refusal("fork", "epoch: this relay claimed in it already; two claims prove fraud")
    return None


def get_entry_refusal(state: State, relay: int, entry: Entry) -> Refusal | None:
    """Why an entry can't be claimed, if so."""
    session = state.sessions.get(entry.session)
    if session is None:
        return Refusal("unknown_session", "session: is not open; leave it out")
    if session.payee != relay:
        return Refusal("wrong_relay", f"session: pays hotspot {session.payee}; leave it out")
    if session.claim:
        return Refusal("claim_pending", f"session: is in claim {session.claim - 1}; leave it out")
    if entry.sequence <= session.sequence:
        return Refusal("stale_receipt", f"sequence: {session.sequence} was claimed; leave it out")
    relayed, tokens, requests = get_totals(session, entry)
    if relayed > U64_MAX or tokens > U64_MAX or requests > U32_MAX:
        return Refusal("wrong_growth", "totals: would exceed their width; claim what is signed")
    if not any(entry[2:]):
        return Refusal("wrong_growth", "totals: nothing was added; leave it out")
    return None


def process_lock(state: State, claim: RelayClaim, entries: Sequence[Entry]) -> int:
    """Take a claim in and lock its sessions; its number."""
    index = state.next_claim
    state.next_claim += 1
    state.add("claiming", claim.relay, claim.total_ucr)
    row = OpenClaim(
        index,
        claim.relay,
        claim.epoch,
        state.epoch,
        state.epoch + state.params.opening_epochs,
        claim.root,
        claim.total_ucr,
        claim.entries,
    )
    if is_opened_whole(state, row, len(entries)):
        row.drawn = bits.full(len(entries))
    state.claims[index] = row
    state.claim_of[claim.relay, claim.epoch] = index
    state.touch("claims", index)
    state.touch("claim_of", (claim.relay, claim.epoch))
    for entry in entries:
        state.sessions[entry.session].claim = index + 1
        state.touch("sessions", entry.session)
    return index


def is_opened_whole(state: State, claim: OpenClaim, count: int) -> bool:
    """Whether every leaf must be opened: few leaves, or claims that the bond does not cover."""
    drawn = state.params.openings_drawn
    covered = drawn * state.hotspots[claim.relay].bond_ucr
    return count <= drawn or state.claiming[claim.relay] > covered


@lru_cache(maxsize=16)
def get_entries(packed: bytes) -> tuple[Entry, ...]:
    """The entries of a claim; several records ask for them. PackedError for other bytes."""
    return tuple(unpack_entries(packed))


def get_totals(session: Session, entry: Entry) -> Totals:
    """What an entry's receipt must say: relayed bytes, tokens and requests in all."""
    return (
        session.relayed_bytes + entry.relayed_bytes,
        session.ai_tokens + entry.ai_tokens,
        session.ai_requests + entry.ai_requests,
    )


def compute_due(state: State, entry: Entry) -> int:
    """What an entry burns of its session's escrow."""
    session = state.sessions[entry.session]
    relayed, tokens, _ = get_totals(session, entry)
    return sum(compute_burn(session, relayed, tokens))


# --- the draw ----------------------------------------------------------------------------------


def compute_drawn(mix: bytes, claim: int, dues: Sequence[int], draws_wanted: int) -> bytes:
    """The leaves that random points on the line of all dues fall on, as bits.

    A leaf is drawn in proportion to its due: whoever makes up a share f of the total is missed by
    `draws_wanted` points with (1 - f)^draws_wanted, however it is spread over leaves.
    """
    ends = list(accumulate(dues))
    points = (draws.open_point(mix, claim, k) % ends[-1] for k in range(draws_wanted))
    return bits.of(bisect_right(ends, point) for point in points)


def process_draw(state: State, claim: OpenClaim) -> None:
    """Draw the leaves of a claim under L_c of the epoch that accepted it."""
    dues = [compute_due(state, entry) for entry in get_entries(claim.entries)]
    lots, wanted = get_lots(state, claim.accepted_epoch), state.params.openings_drawn
    claim.drawn = compute_drawn(lots, claim.index, dues, wanted)
    state.touch("claims", claim.index)


# --- openings and disputes ---------------------------------------------------------------------


def process_leaf_opening(state: State, record: LeafOpening, verify: Verify) -> Verdict:
    """Note that leaves were shown; all of a record or none."""
    claim = state.claims.get(record.claim)
    if claim is None:
        return get_unknown_claim(record.claim)
    positions = [opening.position for opening in record.openings]
    if len(set(positions)) != len(positions):
        return Refusal("duplicate", "openings: two of one position; send each once")
    for opening in record.openings:
        if refusal := get_leaf_refusal(state, claim, opening, verify):
            return Refusal(refusal.reason, f"position {opening.position}: {refusal.detail}")
    opened = bits.union(claim.opened, bits.of(positions))
    if opened == claim.opened:
        return Accepted(reason=ALREADY)
    claim.opened = opened
    state.touch("claims", claim.index)
    return Accepted()


def get_unknown_claim(index: int) -> Refusal:
    """The refusal of what names a claim that is not open."""
    return Refusal("unknown_claim", f"claim: {index} is not open; it was settled or never made")


def get_leaf_refusal(
    state: State, claim: OpenClaim, opening: Opening, verify: Verify
) -> Refusal | None:
    """Why a leaf is not shown by this, if so."""
    entries = get_entries(claim.entries)
    if opening.position >= len(entries):
        return Refusal("wrong_leaf", f"the claim has {len(entries)} leaves; count from 0")
    if not bits.has(claim.drawn, opening.position) and not bits.has(
        claim.disputed, opening.position
    ):
        return Refusal("not_asked", "was neither drawn nor disputed; wait until it is")
    entry, receipt = entries[opening.position], opening.receipt
    session = state.sessions[entry.session]
    shown = (receipt.relayed_bytes, receipt.ai_tokens, receipt.ai_requests)
    names = (receipt.session, receipt.sequence)
    if names != (entry.session, entry.sequence) or shown != get_totals(session, entry):
        return Refusal("wrong_leaf", "receipt: says another thing than the claim; show that one")
    leaf = leaf_node(entry, receipt_hash(receipt), compute_due(state, entry))
    root = compute_root(opening.position, len(entries), leaf, opening.path)
    if root != Root(claim.root, claim.total_ucr):
        return Refusal("wrong_leaf", "path: does not lead from this receipt to the claim's root")
    return get_signature_refusal(state, session, receipt, receipt_body(receipt), verify)


def process_dispute(state: State, signed: Signed, dispute: Dispute, verify: Verify) -> Verdict:
    """Ask for a leaf in the name of the payer of its session."""
    claim = state.claims.get(dispute.claim)
    if claim is None:
        return get_unknown_claim(dispute.claim)
    entries = get_entries(claim.entries)
    if dispute.position >= len(entries):
        return Refusal("wrong_leaf", f"position: the claim has {len(entries)} leaves")
    payer = state.hotspots[state.sessions[entries[dispute.position].session].payer]
    if len(signed.signatures) != 1 or not is_signed_by_hotspot(
        state, payer, dispute.NAME, signed.body, signed.signatures[0], verify
    ):
        return Refusal("bad_signature", f"signatures: the payer, hotspot {payer.index}, must sign")
    asked = bits.union(claim.drawn, claim.disputed)
    if bits.has(asked, dispute.position):
        return Accepted(reason=ALREADY)
    if state.epoch >= claim.deadline_epoch:
        last = claim.deadline_epoch - 1
        return Refusal("too_late", f"position: disputes of this claim ended with epoch {last}")
    claim.disputed = bits.union(claim.disputed, bits.of([dispute.position]))
    state.touch("claims", claim.index)
    return Accepted()


# --- the end -----------------------------------------------------------------------------------


def process_claims(state: State, effects: Effects) -> None:
    """As an epoch begins: draw leaves of claims two epochs old, settle those past deadline."""
    for index in sorted(state.claims):
        claim = state.claims.get(index)
        if claim is None:
            continue  # void: another claim of the same relay failed
        accepted = claim.accepted_epoch
        if not claim.drawn and accepted + 2 + is_awaited(state, accepted) <= state.epoch:
            process_draw(state, claim)
        if claim.deadline_epoch < state.epoch:
            process_deadline(state, claim, effects)


def process_standstill(state: State, epochs: int) -> None:
    """Give open claims the epochs in which the ledger stood still: nobody could open anything."""
    for claim in state.claims.values():
        claim.deadline_epoch += epochs
        state.touch("claims", claim.index)


def process_deadline(state: State, claim: OpenClaim, effects: Effects) -> None:
    """Pay a claim whose leaves were all opened; else slash its relay, and none of its claims count.

    The other claims of a relay that failed, or whose fraud was proven, rest on the same bond.
    """
    slashed = is_slashed(state, claim.relay)
    if slashed or not is_complete(claim):
        process_void(state, claim.relay)
        if not slashed:
            process_slash(state, claim.relay, NOBODY, effects)
        return
    entries = get_entries(claim.entries)
    sessions = [state.sessions[entry.session] for entry in entries]
    works = [(s, *get_totals(s, entry)) for s, entry in zip(sessions, entries, strict=True)]
    process_burns(state, works, effects)
    for session, entry in zip(sessions, entries, strict=True):
        session.sequence, session.last_hash = entry.sequence, NO_HASH
    state.add("stats", "claims_paid", 1)
    process_unlock(state, claim)


def is_complete(claim: OpenClaim) -> bool:
    """Whether all that was drawn or disputed is open."""
    return not bits.without(bits.union(claim.drawn, claim.disputed), claim.opened)


def process_unlock(state: State, claim: OpenClaim) -> None:
    """Forget a claim; its sessions can be claimed again."""
    for entry in get_entries(claim.entries):
        state.sessions[entry.session].claim = 0
        state.touch("sessions", entry.session)
    del state.claims[claim.index]
    del state.claim_of[claim.relay, claim.epoch]
    state.add("claiming", claim.relay, -claim.total_ucr)
    if not state.claiming[claim.relay]:
        del state.claiming[claim.relay]
    state.touch("claims", claim.index)
    state.touch("claim_of", (claim.relay, claim.epoch))


def process_void(state: State, relay: int) -> None:
    """Forget every open claim of a relay; nothing of them burns."""
    for claim in get_claims_of(state, relay):
        process_unlock(state, claim)
        state.add("stats", "claims_void", 1)


def get_claims_of(state: State, relay: int) -> list[OpenClaim]:
    """The open claims of a relay, oldest first."""
    claims: Iterable[OpenClaim] = state.claims.values() if relay in state.claiming else ()
    return sorted((c for c in claims if c.relay == relay), key=lambda claim: claim.index)
