"""What a relay does with its receipts: one claim for all its sessions, and leaves shown on demand.

Pure: whoever runs a relay keeps the newest receipt of every session (both signatures on it) and
what the ledger says of the session, builds a claim from them, and keeps those receipts until the
claim is settled. A claim can be built again from its entries and the same receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chain.claims.tree import ClaimTree, leaf_node
from chain.packed import Entry, pack_entries, receipt_hash
from chain.params import MIB
from chain.records import MAX_CLAIM_BYTES, MAX_WIRE_BYTES, LeafOpening, Opening, Receipt, RelayClaim
from chain.rules.burns import TOKENS_PER_PRICE

# Room for the envelope, the signature and the other fields of a claim beside its entries.
MAX_ENTRIES_BYTES = MAX_CLAIM_BYTES
MAX_OPENINGS = 64
# Of an opening beside its path: two signatures, a hash, eleven integers and their heads.
OPENING_BYTES = 240


class Claimed(Protocol):
    """A session's terms, and what was claimed of it so far; the ledger's row of it fits."""

    @property
    def index(self) -> int:
        """Its number."""

    @property
    def relay_price_ucr(self) -> int:
        """Price per MiB relayed."""

    @property
    def ai_price_ucr(self) -> int:
        """Price per 1,000 tokens."""

    @property
    def cap_ucr(self) -> int:
        """What was put in escrow."""

    @property
    def claimed_ucr(self) -> int:
        """What has left it."""

    @property
    def relayed_bytes(self) -> int:
        """Bytes claimed."""

    @property
    def ai_tokens(self) -> int:
        """Tokens claimed."""

    @property
    def ai_requests(self) -> int:
        """Requests claimed."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry of a claim with the receipt behind it and what it burns."""

    entry: Entry
    receipt: Receipt
    due_ucr: int


def make_leaf(session: Claimed, receipt: Receipt) -> Leaf:
    """What a receipt adds to what was claimed of its session; ValueError if a total falls."""
    entry = Entry(
        receipt.session,
        receipt.sequence,
        receipt.relayed_bytes - session.relayed_bytes,
        receipt.ai_tokens - session.ai_tokens,
        receipt.ai_requests - session.ai_requests,
    )
    if min(entry) < 0:
        raise ValueError(f"session {receipt.session}: its receipt says less than was claimed")
    relay = receipt.relayed_bytes * session.relay_price_ucr // MIB
    relay -= session.relayed_bytes * session.relay_price_ucr // MIB
    ai = receipt.ai_tokens * session.ai_price_ucr // TOKENS_PER_PRICE
    ai -= session.ai_tokens * session.ai_price_ucr // TOKENS_PER_PRICE
    return Leaf(entry, receipt, min(relay + ai, session.cap_ucr - session.claimed_ucr))


def take_leaves(leaves: Iterable[Leaf]) -> list[Leaf]:
    """The leaves that fit into one claim, by session; the rest waits for the next."""
    taken: list[Leaf] = []
    size, before = 0, 0
    for leaf in sorted(leaves, key=lambda leaf: leaf.entry):
        size += len(pack_entries([leaf.entry._replace(session=leaf.entry.session - before)]))
        if size > MAX_ENTRIES_BYTES:
            break
        taken.append(leaf)
        before = leaf.entry.session
    return taken


def _node(leaf: Leaf) -> bytes:
    return leaf_node(leaf.entry, receipt_hash(leaf.receipt), leaf.due_ucr)


class ClaimBook:
    """A claim with all that is needed to show any leaf of it.

    ValueError without leaves, or for two of one session.
    """

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self.leaves = sorted(leaves, key=lambda leaf: leaf.entry)
        sessions = {leaf.entry.session for leaf in self.leaves}
        if len(sessions) != len(self.leaves):
            raise ValueError("two leaves of one session")
        self._tree = ClaimTree([_node(leaf) for leaf in self.leaves])

    @property
    def total_ucr(self) -> int:
        """What all leaves burn."""
        return self._tree.root().total_ucr

    def record(self, relay: int, epoch: int) -> RelayClaim:
        """The record that claims it, to be sealed with the relay's key."""
        root = self._tree.root()
        entries = pack_entries(leaf.entry for leaf in self.leaves)
        return RelayClaim(relay, epoch, root.hash, root.total_ucr, entries)

    def open(self, claim: int, positions: Sequence[int]) -> list[LeafOpening]:
        """Records that show these leaves, in as few as their size allows.

        IndexError for a position that the claim has not.
        """
        room = OPENING_BYTES + max((len(self._tree.path(at)) for at in positions), default=0)
        step = min(MAX_OPENINGS, (MAX_WIRE_BYTES - 64) // room)
        return [
            LeafOpening(claim, tuple(self._opening(at) for at in positions[start : start + step]))
            for start in range(0, len(positions), step)
        ]

    def _opening(self, position: int) -> Opening:
        return Opening(position, self.leaves[position].receipt, self._tree.path(position))
