"""Relays that claim: a town whose hotspots 0.. pay relay `RELAY` through sessions."""

from __future__ import annotations

from dataclasses import replace

from chain import wire
from chain.claims.builder import ClaimBook, Leaf, make_leaf
from chain.packed import pack_receipts
from chain.records import (
    Dispute,
    LeafOpening,
    Receipt,
    Receipts,
    RelayClaim,
    Signed,
    SubmitResult,
)

from .chain_helpers import OPERATOR, Town

MIB = 1 << 20
RELAY = 1


def only(results: list[SubmitResult]) -> SubmitResult:
    assert len(results) == 1
    return results[0]


class RelayTown(Town):
    """A town after epoch 3; hotspot RELAY is paid, the others pay."""

    def begin(self, sessions: int, bond_ucr: int = 0, **changes: object) -> list[int]:
        """Join, add to the relay's bond, open sessions; their numbers."""
        self.join()
        self.run(2, 3)
        self.next_epoch(2)  # past the settlement, so that no coverage is paid in between
        if bond_ucr:
            self.submit(self.deposit(RELAY, bond_ucr, b"for the bond"))
            self.state.debit(self.owner(RELAY), bond_ucr)
            self.state.hotspots[RELAY].bond_ucr += bond_ucr
            self.state.touch("hotspots", RELAY)
        payers = [index for index in range(self.count) if index != RELAY]
        terms = {"cap_ucr": 1_000_000, **changes}
        opened = [
            self.open_session(payers[n % len(payers)], RELAY, n, **terms) for n in range(sessions)
        ]
        results = self.submit(*opened)
        assert all(result.accepted for result in results), results[0]
        return [result.index for result in results if result.index is not None]

    @property
    def state(self):  # type: ignore[no-untyped-def]
        return self.ledger.state

    def payer_of(self, session: int) -> int:
        payer: int = self.state.sessions[session].payer
        return payer

    def both_sign(
        self, session: int, sequence: int = 1, relayed: int = MIB // 4, tokens: int = 0
    ) -> Receipt:
        bare = Receipt(session, sequence, relayed, tokens, min(1, tokens), bytes(32))
        return self.receipt(self.payer_of(session), RELAY, bare)

    def forged(self, session: int, relayed: int, sequence: int = 1) -> Receipt:
        """A receipt that the relay signed for the payer as well."""
        bare = Receipt(session, sequence, relayed, 0, 0, bytes(32))
        return self.receipt(RELAY, RELAY, bare)

    def packed(self, *receipts: Receipt) -> Signed:
        return wire.seal(Receipts(pack_receipts(receipts)), self.network_id, [])

    def leaf(self, receipt: Receipt) -> Leaf:
        return make_leaf(self.state.sessions[receipt.session], receipt)

    def book(self, *receipts: Receipt) -> ClaimBook:
        return ClaimBook([self.leaf(receipt) for receipt in receipts])

    def claimed(self, book: ClaimBook, epoch: int | None = None, **changes: object) -> Signed:
        record = book.record(RELAY, self.state.epoch if epoch is None else epoch)
        return self.sealed_claim(replace(record, **changes))  # type: ignore[arg-type]

    def sealed_claim(self, record: RelayClaim, signer: int = RELAY) -> Signed:
        return wire.seal(record, self.network_id, [self.keys[signer]])

    def opening(self, *records: LeafOpening) -> list[Signed]:
        return [wire.seal(record, self.network_id, []) for record in records]

    def dispute(self, claim: int, position: int, signer: int) -> Signed:
        return wire.seal(Dispute(claim, position), self.network_id, [self.keys[signer]])

    def next_epoch(self, count: int = 1) -> None:
        """Epochs pass one by one."""
        for _ in range(count):
            self.ledger.tick(self.time_ms(self.state.epoch + 1))


__all__ = ["MIB", "OPERATOR", "RELAY", "RelayTown", "only"]
