"""Claims by sum tree, from a relay's side, and what payers make of them.

A relay with many sessions claims them in one record under one root (docs/rewards.md, "Relay
claims"). It asks the ledger where its sessions stand first: what an entry says to have grown is
measured from there, and a relay that measured from elsewhere could never show the receipt. Then it
keeps the receipts of the claim until the ledger has settled it, and shows the leaves it is asked
for.

    plan ─► FetchStandings ─► receive_standings ─► KeepClaim, SubmitRecord ─► accepted: its number
    every epoch: FetchClaim ─► receive_claim ─► SubmitRecord(leaf-opening)  or: settled, free again

Two different claims of one epoch are proof of fraud, so an epoch is on the disk before its claim
leaves, and the newest stays there for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chain import cbor
from chain.claims.builder import ClaimBook, Leaf, make_leaf, take_leaves
from chain.packed import Entry
from chain.params import Params
from chain.records import Dispute, Receipt, SubmitResult
from chain.wire import seal
from hotspot.actions import (
    DropClaim,
    Emit,
    FetchClaim,
    FetchStandings,
    KeepClaim,
    Log,
    SubmitRecord,
)
from hotspot.overlay.sessions import fits

UNANSWERED = -1


@dataclass(frozen=True, slots=True)
class Held:
    """What an open claim says of a session: its totals if the claim is paid."""

    claim: int
    position: int
    sequence: int
    relayed_bytes: int
    ai_tokens: int
    ai_requests: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A session as the ledger has it, with what was claimed of it."""

    index: int
    payer: int
    payee: int
    relay_price_ucr: int
    ai_price_ucr: int
    cap_ucr: int
    claimed_ucr: int
    sequence: int
    relayed_bytes: int
    ai_tokens: int
    ai_requests: int
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class Standings:
    """What the ledger says of some sessions (None: it has no such session), and of our bond."""

    bond_ucr: int
    sessions: Mapping[int, Standing | None]


@dataclass(frozen=True, slots=True)
class ClaimStanding:
    """An open claim: positions that were asked for, and those that are open."""

    asked: tuple[int, ...]
    opened: tuple[int, ...]


@dataclass(slots=True)
class OpenClaim:
    """A claim of ours that the ledger has not settled; `shown` are records without an answer."""

    epoch: int
    leaves: tuple[Leaf, ...]
    number: int = UNANSWERED
    record_id: bytes = b""
    shown: set[bytes] = field(default_factory=set)

    @property
    def total_ucr(self) -> int:
        """What it asks for."""
        return sum(leaf.due_ucr for leaf in self.leaves)


class ClaimDesk:
    """A relay's claims. `tree_at`: sessions from which a claim is one record; 0: never."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        params: Params,
        tree_at: int,
        emit: Emit,
    ) -> None:
        self.open: dict[int, OpenClaim] = {}
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._params = params
        self._tree_at = tree_at
        self._emit = emit
        self._last_epoch = UNANSWERED
        self._planned: dict[int, Receipt] = {}

    # --- making a claim ------------------------------------------------------------------------

    def wants(self, count: int, epoch: int) -> bool:
        """Whether so many receipts should be claimed under one root in this epoch."""
        return 0 < self._tree_at <= count and epoch > self._last_epoch

    @property
    def is_planning(self) -> bool:
        """Whether an answer of the ledger is awaited."""
        return bool(self._planned)

    def taken(self) -> set[int]:
        """The sessions that are in a claim, or about to be."""
        held = (leaf.entry.session for claim in self.open.values() for leaf in claim.leaves)
        return {*self._planned, *held}

    def plan(self, receipts: Iterable[Receipt]) -> None:
        """Ask where the sessions of these receipts stand; they are taken until the answer."""
        self._planned = {receipt.session: receipt for receipt in receipts}
        self._emit(FetchStandings(self._index, tuple(self._planned)))

    def receive_standings(self, standings: Standings, epoch: int) -> dict[int, int]:
        """Claim what was planned, if that pays.

        The sequence that is claimed, or on its way, of every planned session that no open claim
        holds; of one that the ledger has no more, that of the newest receipt.
        """
        if not self._planned.keys() <= standings.sessions.keys():
            return {}  # an answer to something else
        planned, self._planned = self._planned, {}
        rows = {index: standings.sessions[index] for index in planned}
        free = [row for row in rows.values() if row is not None and row.held is None]
        claimed = {i: planned[i].sequence for i, row in rows.items() if row is None}
        claimed |= {row.index: row.sequence for row in free}
        leaves = take_leaves(
            make_leaf(row, planned[row.index])
            for row in free
            if planned[row.index].sequence > row.sequence
        )
        if self._pays(leaves, standings.bond_ucr, epoch):
            self._claim(leaves, epoch)
            claimed |= {leaf.entry.session: leaf.entry.sequence for leaf in leaves}
        return claimed

    def _pays(self, leaves: Sequence[Leaf], bond_ucr: int, epoch: int) -> bool:
        """Whether few of these leaves will have to be shown: enough of them, and enough bond."""
        total = sum(leaf.due_ucr for leaf in leaves)
        asked = total + sum(claim.total_ucr for claim in self.open.values())
        covered = asked <= self._params.openings_drawn * bond_ucr
        return covered and total > 0 and self.wants(len(leaves), epoch)

    def _claim(self, leaves: Sequence[Leaf], epoch: int) -> None:
        claim = OpenClaim(epoch, tuple(leaves))
        record = ClaimBook(leaves).record(self._index, epoch)
        signed = seal(record, self._network_id, [self._seed])
        claim.record_id = signed.record_id
        for old in [e for e in (self._last_epoch,) if e >= 0 and e not in self.open]:
            self._emit(DropClaim(old))
        self.open[epoch] = claim
        self._last_epoch = epoch
        self._emit(KeepClaim(epoch, pack_claim(claim)))
        self._emit(SubmitRecord(signed.wire))

    # --- what the ledger says ------------------------------------------------------------------

    def receive_result(self, result: SubmitResult) -> list[int] | None:
        """Take the ledger's answer; None if it is not about a claim or an opening of ours.

        Otherwise the sessions that are free again, because it took no claim of them.
        """
        for claim in self.open.values():
            if result.record_id == claim.record_id:
                return self._note_claim(claim, result)
            if result.record_id in claim.shown:
                claim.shown.discard(result.record_id)
                if not result.accepted and result.reason != "unknown_claim":
                    said = f"claim {claim.number}: an opening was refused: {result.detail}"
                    self._emit(Log("warning", said))
                return []
        return None

    def _note_claim(self, claim: OpenClaim, result: SubmitResult) -> list[int]:
        if result.accepted and result.index is not None:
            claim.number = result.index
            self._emit(KeepClaim(claim.epoch, pack_claim(claim)))
            self._emit(FetchClaim(self._index, claim.number))
            return []
        self._emit(Log("warning", f"claim of epoch {claim.epoch} was refused: {result.detail}"))
        return self._close(claim)

    def poll(self) -> None:
        """Ask what became of every claim; about once an epoch."""
        for claim in self.open.values():
            if claim.number != UNANSWERED:
                self._emit(FetchClaim(self._index, claim.number))

    def receive_claim(self, number: int, standing: ClaimStanding | None) -> list[int]:
        """Show what is asked for; the sessions that are free again, once a claim is settled."""
        claim = next((c for c in self.open.values() if c.number == number), None)
        if claim is None:
            return []
        if standing is None:
            return self._close(claim)
        wanted = sorted(set(standing.asked) - set(standing.opened))
        if wanted and not claim.shown:
            for record in ClaimBook(claim.leaves).open(number, wanted):
                signed = seal(record, self._network_id, [])
                claim.shown.add(signed.record_id)
                self._emit(SubmitRecord(signed.wire))
        return []

    def _close(self, claim: OpenClaim) -> list[int]:
        del self.open[claim.epoch]
        if claim.epoch == self._last_epoch:
            self._emit(KeepClaim(claim.epoch, pack_claim(OpenClaim(claim.epoch, ()))))
        else:
            self._emit(DropClaim(claim.epoch))
        return [leaf.entry.session for leaf in claim.leaves]

    # --- memory --------------------------------------------------------------------------------

    def restore(self, data: bytes) -> None:
        """Take back what `KeepClaim` stored; ValueError if the store gave back something else."""
        claim = unpack_claim(data)
        self._last_epoch = max(self._last_epoch, claim.epoch)
        if claim.leaves:
            record = ClaimBook(claim.leaves).record(self._index, claim.epoch)
            claim.record_id = seal(record, self._network_id, [self._seed]).record_id
            self.open[claim.epoch] = claim


class ClaimWatch:
    """A payer's eye on claims of its sessions: what it never signed, it disputes, once."""

    def __init__(self, index: int, seed: bytes, network_id: bytes, emit: Emit) -> None:
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._emit = emit
        self._disputed: set[tuple[int, int]] = set()

    def check(self, standing: Standing, receipt: Receipt | None) -> bool:
        """Dispute a leaf that says more than our newest receipt; whether it did."""
        held = standing.held
        if held is None or not claims_more(held, receipt):
            return False
        leaf = (held.claim, held.position)
        if leaf not in self._disputed:
            self._disputed.add(leaf)
            signed = seal(Dispute(*leaf), self._network_id, [self._seed])
            self._emit(SubmitRecord(signed.wire))
            said = f"claim {held.claim} says more of session {standing.index} than we signed"
            self._emit(Log("warning", f"{said}; disputed"))
        return True


def claims_more(held: Held, receipt: Receipt | None) -> bool:
    """Whether a claim says more of a session than its payer's newest receipt does."""
    if receipt is None:
        return True
    return (
        held.sequence > receipt.sequence
        or held.relayed_bytes > receipt.relayed_bytes
        or held.ai_tokens > receipt.ai_tokens
        or held.ai_requests > receipt.ai_requests
    )


# --- what survives a kill ----------------------------------------------------------------------


def pack_claim(claim: OpenClaim) -> bytes:
    """Encode for `KeepClaim`; a claim that was settled or refused keeps its epoch alone."""
    leaves = [
        (*leaf.entry, *_receipt_values(leaf.receipt), leaf.due_ucr) for leaf in claim.leaves
    ]
    return cbor.encode((claim.epoch, claim.number + 1, leaves))


def _receipt_values(r: Receipt) -> tuple[cbor.Value, ...]:
    totals = (r.relayed_bytes, r.ai_tokens, r.ai_requests)
    return (*totals, r.previous, r.payer_signature, r.payee_signature)


_LEAF = (32, 32, 64, 64, 32, 64, 64, 32, bytes, bytes, bytes, 64)


def unpack_claim(data: bytes) -> OpenClaim:
    """Decode what `pack_claim` wrote; ValueError for anything else."""
    values = cbor.decode(data)
    if not fits(values, (32, 33, tuple)):
        raise ValueError("kept claim: not an array of epoch, number and leaves")
    epoch, number, rows = values
    if not all(fits(row, _LEAF) for row in rows):
        raise ValueError("kept claim: a leaf has another shape")
    leaves = [
        Leaf(Entry(*row[:5]), Receipt(row[0], row[1], *row[5:11]), row[11]) for row in rows
    ]
    return OpenClaim(epoch, tuple(leaves), number - 1)
