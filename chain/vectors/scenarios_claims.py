"""Runs of relay claims: one root for all sessions of a relay, leaves opened, drawn and disputed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chain import bits
from chain.claims.builder import ClaimBook, make_leaf
from chain.packed import Entry, pack_entries
from chain.records import Bond, Dispute, Finding, LeafOpening, RelayClaim, Signed
from chain.vectors.runs import make_runs
from chain.vectors.scenarios import resign
from chain.vectors.town import Town

MIB = 1 << 20
RELAY = 1


def make_book(town: Town, sessions: Sequence[int], sequence: int, relayed_bytes: int) -> ClaimBook:
    """What the relay would claim of these sessions."""
    leaves = []
    for number in sessions:
        session = town.ledger.state.sessions[number]
        total = relayed_bytes * (number + 1)
        receipt = town.receipt(session.payer, session.payee, number, sequence, total)
        leaves.append(make_leaf(session, receipt))
    return ClaimBook(leaves)


def seal_claim(town: Town, book: ClaimBook, epoch: int, **changes: int | bytes) -> Signed:
    """The relay's signed claim."""
    record = replace(book.record(RELAY, epoch), **changes)  # type: ignore[arg-type]
    return town.seal(record, ("hotspot", RELAY))


def seal_openings(town: Town, book: ClaimBook, claim: int, positions: Sequence[int]) -> Signed:
    """Leaves of a claim, in one record."""
    return town.seal(book.open(claim, positions)[0])


def _opened(town: Town, book: ClaimBook, claim: int, position: int) -> LeafOpening:
    record = seal_openings(town, book, claim, [position]).record
    if not isinstance(record, LeafOpening):
        raise TypeError("not an opening")
    return record


def open_sessions(town: Town, count: int, payee: int = RELAY) -> None:
    """Sessions of two payers with one relay."""
    for number in range(count):
        payer = (0, 2)[number % 2]
        town.submit(town.opening(payer, payee, number, cap_ucr=1_000_000, expiry_epoch=40))


def relay_claims(town: Town) -> None:
    """Claims that are refused, and one that is opened whole and paid."""
    town.join()
    open_sessions(town, 3)
    town.submit(town.opening(0, 3))
    town.go_to(3)
    book = make_book(town, (0, 1, 2), 1, MIB // 8)
    good = seal_claim(town, book, 3)
    town.submit(town.seal(replace(_claim(good), relay=99), ("hotspot", RELAY)))  # unknown_hotspot
    town.submit(seal_claim(town, book, 1), seal_claim(town, book, 4))  # wrong_epoch
    town.submit(resign(good), resign(good, bytes(64)))  # bad_signature
    town.submit(seal_claim(town, book, 3, total_ucr=book.total_ucr + 1))  # wrong_total
    town.submit(seal_claim(town, book, 3, entries=b"\x80"))  # bad_shape
    for entry in (
        Entry(77, 1, 1, 0, 0),  # unknown_session
        Entry(3, 1, 1, 0, 0),  # wrong_relay
        Entry(0, 1, 0, 0, 0),  # wrong_growth: nothing
        Entry(0, 1, (1 << 64) - 1, 0, 0),  # wrong_total: escrow bounds what is due
    ):
        town.submit(seal_claim(town, book, 3, entries=pack_entries([entry])))
    town.submit(good)
    town.submit(good)  # already
    town.submit(seal_claim(town, book, 3, root=bytes(32)))  # fork
    town.submit(seal_claim(town, book, 2))  # claim_pending: another epoch, the same sessions
    town.submit(town.claim(town.receipt(0, RELAY, 0, 2, MIB)))  # claim_pending
    leaves(town, book)
    town.wait_for(4 + town.ledger.params.opening_epochs)
    stale = pack_entries([Entry(0, 1, 5, 0, 0)])
    town.submit(seal_claim(town, book, town.epoch, entries=stale))  # stale_receipt: it was paid
    huge = pack_entries([Entry(0, 2, (1 << 64) - 1, 0, 0)])
    town.submit(seal_claim(town, book, town.epoch, entries=huge))  # wrong_growth: beyond 64 bits
    town.submit(town.claim(town.receipt(0, RELAY, 0, 2, MIB)))


def _claim(signed: Signed) -> RelayClaim:
    if not isinstance(signed.record, RelayClaim):
        raise TypeError("not a claim")
    return signed.record


def leaves(town: Town, book: ClaimBook) -> None:
    """Openings of a small claim, all of whose leaves must be shown."""
    record = _opened(town, book, 0, 1)
    shown = record.openings[0]

    def submit(**changes: object) -> None:
        opening = replace(shown, **changes)  # type: ignore[arg-type]
        town.submit(town.seal(LeafOpening(0, (opening,))))

    town.submit(town.seal(replace(record, claim=9)))  # unknown_claim
    town.submit(town.seal(replace(record, openings=(shown, shown))))  # duplicate
    submit(position=3)  # wrong_leaf: beyond the last
    submit(position=0)  # wrong_leaf: of another session
    submit(path=shown.path[40:])  # wrong_leaf: path
    session, other = town.ledger.state.sessions[1], shown.receipt
    more = town.receipt(session.payer, session.payee, 1, 1, other.relayed_bytes + 1)
    submit(receipt=more)  # wrong_leaf: says more than the claim
    submit(receipt=replace(other, payer_signature=bytes(64)))  # bad_signature
    submit(receipt=replace(other, payee_signature=bytes(64)))  # bad_signature
    town.submit(seal_openings(town, book, 0, [0, 1]))
    town.submit(seal_openings(town, book, 0, [1]))  # already: it was shown
    town.submit(seal_openings(town, book, 0, [2]))


def disputes(town: Town) -> None:
    """A claim of many sessions under a bond: some are drawn, one is disputed."""
    town.join()
    count = town.ledger.params.openings_drawn + 6
    town.submit(town.seal(Bond(RELAY, 20_000_000, town.nonce(town.owner(RELAY))), ("owner", RELAY)))
    open_sessions(town, count)
    book = make_book(town, range(count), 1, MIB // 200)
    town.submit(seal_claim(town, book, town.epoch))
    town.submit(seal_openings(town, book, 0, [5]))  # not_asked
    town.submit(town.seal(Dispute(9, 0), ("hotspot", 0)))  # unknown_claim
    town.submit(town.seal(Dispute(0, count), ("hotspot", 0)))  # wrong_leaf
    town.submit(town.seal(Dispute(0, 5), ("hotspot", 0)))  # bad_signature: 2 pays session 5
    dispute = town.seal(Dispute(0, 5), ("hotspot", 2))
    town.submit(dispute)
    town.submit(dispute)  # already
    town.submit(seal_openings(town, book, 0, [5]))
    town.wait_for(town.epoch + 2)  # the draw
    town.submit(seal_openings(town, book, 0, get_asked(town, 0, count)[:40]))
    deadline = town.ledger.state.claims[0].deadline_epoch
    town.wait_for(deadline)
    late = next(n for n in range(count) if n not in get_asked(town, 0, count))
    payer = (0, 2)[late % 2]
    town.submit(town.seal(Dispute(0, late), ("hotspot", payer)))  # too_late
    town.wait_for(deadline + 1)  # paid


def get_asked(town: Town, claim: int, count: int) -> list[int]:
    """Positions of a claim that must be shown."""
    row = town.ledger.state.claims[claim]
    asked = [bits.has(row.drawn, n) or bits.has(row.disputed, n) for n in range(count)]
    return [n for n in range(count) if asked[n]]


def unopened(town: Town) -> None:
    """A relay that doesn't show its leaves gets nothing and loses its bond; two claims fork."""
    town.join()
    open_sessions(town, 2)
    waiting = town.ledger.params.opening_epochs
    town.submit(town.seal(Bond(RELAY, 3_000_000, town.nonce(town.owner(RELAY))), ("owner", RELAY)))
    book = make_book(town, (0, 1), 1, MIB // 8)
    good = seal_claim(town, book, town.epoch)
    town.submit(good)
    town.submit(seal_openings(town, book, 0, [0]))
    town.wait_for(town.epoch + waiting + 1)  # leaf 1 was never shown
    other = seal_claim(town, book, 0, root=bytes(32))
    finding = Finding(2, RELAY, 0, (good.wire, other.wire), town.owner(0))
    town.submit(town.seal(finding, ("owner", 0)))  # duplicate: slashed already
    town.submit(seal_claim(town, book, town.epoch))  # slashed
    town.go_to(48)  # what is left in escrow returns


def forked_claims(town: Town) -> None:
    """Two claims of one epoch are proof, and void the one that is open."""
    town.join()
    open_sessions(town, 2)
    town.submit(town.seal(Bond(RELAY, 3_000_000, town.nonce(town.owner(RELAY))), ("owner", RELAY)))
    book = make_book(town, (0, 1), 1, MIB // 8)
    good = seal_claim(town, book, town.epoch)
    other = seal_claim(town, book, town.epoch, root=bytes(32))
    town.submit(good)
    finding = Finding(2, RELAY, town.epoch, (good.wire, other.wire), town.owner(0))
    town.submit(town.seal(finding, ("owner", 0)))
    town.wait_for(town.epoch + town.ledger.params.opening_epochs + 2)
    town.submit(town.claim(town.receipt(0, RELAY, 0, 2, MIB)))


BOTH = ("minimal", "mainnet")
RELAYS = make_runs(
    "relays",
    "Ledgers on which relays claim by sum tree; leaves are drawn, disputed, shown or not.",
    [
        (preset, run)
        for preset in BOTH
        for run in (relay_claims, disputes, unopened, forked_claims)
    ],
)
