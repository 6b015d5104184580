"""Runs of the first record types: every acceptance and every refusal of their rules."""

from __future__ import annotations

from dataclasses import replace

from chain import cbor, draws, wire
from chain.records import Deposit, EpochMessage, Reception, SessionOpen, Signed
from chain.vectors.runs import make_runs
from chain.vectors.town import CHAIN_LENGTH, FIRST_EPOCH, OPERATORS_01, Town, get_chain

MIB = 1 << 20


def resign(signed: Signed, *signatures: bytes) -> bytes:
    """A record's wire with other signatures."""
    return cbor.encode((signed.record.TYPE, wire.VERSION, signed.body, signatures))


def deposits(town: Town) -> None:
    """Credits enter by threshold signatures and fresh references."""
    good = town.deposit(0)
    town.submit(good)
    town.submit(good)  # already
    town.submit(town.deposit(1, reference=b"first of 0"))  # duplicate
    town.submit(town.deposit(0, 1 << 63, b"too much"))  # over_cap
    town.submit(town.deposit(0, (1 << 64) - 1, b"far too much"))  # over_cap
    town.submit(town.deposit(0, 0, b"nothing"))
    one = Deposit(town.owner(0), 5, b"one", (0,))
    town.submit(town.seal(one, OPERATORS_01[0]))  # bad_signature: below the threshold
    fresh = town.deposit(2)
    town.submit(resign(fresh, *fresh.signatures[::-1]))  # bad_signature: swapped
    town.submit(resign(fresh, fresh.signatures[0]))  # bad_signature: one missing
    town.submit(resign(fresh, *fresh.signatures, fresh.signatures[0]))  # bad_signature: one more
    town.submit(resign(fresh, fresh.signatures[0], bytes(64)))  # bad_signature
    stranger = replace(one, operators=(0, 9))
    town.submit(town.seal(stranger, *OPERATORS_01))  # bad_signature: no such operator
    other = wire.seal(fresh.record, bytes(32), [town.seed("operator", n) for n in (0, 1)])
    town.submit(other)  # bad_signature: for another network
    town.submit(fresh)
    three = replace(one, reference=b"three", operators=(0, 1, 2))
    town.submit(town.seal(three, *OPERATORS_01, ("operator", 2)))


def genesis_again(town: Town) -> None:
    """A network has one genesis; junk has none."""
    town.submit(town.genesis)  # duplicate
    genesis = town.ledger.state.genesis
    other = Town("another", preset=genesis.preset, rules=genesis.rules)
    town.submit(other.genesis)  # duplicate
    town.submit(b"", b"\x80", bytes(100))  # bad_shape


def registrations(town: Town) -> None:
    """Hotspots join, change what they assert, and can't play back what was replaced."""
    town.submit(town.registration(3))  # insufficient_balance where a bond is asked
    town.submit(*(town.deposit(number) for number in range(3)))
    first = town.registration(0)
    town.submit(resign(first, first.signatures[0]))  # bad_signature: one missing
    town.submit(resign(first, *first.signatures[::-1]))  # bad_signature: swapped
    town.submit(resign(first, first.signatures[0], bytes(64)))  # bad_signature
    town.submit(town.registration(0, latitude_udeg=0))  # wrong_place: not its cell's centre
    town.submit(town.registration(0, flags=5, eirp_cdbm=2_001))  # over_cap: more than ETSI lets it
    town.submit(town.registration(0, flags=3, frequency_mhz=2_484))  # wrong_region: not in FCC's
    town.submit(town.registration(0, flags=15))  # unknown_region
    town.submit(first)
    town.submit(first)  # already
    town.submit(resign(first, *first.signatures[::-1]))  # bad_signature, though it is there
    town.submit(town.registration(1), town.registration(2, first_epoch=30))
    town.go_to(3)
    higher, lower = town.registration(1, height_m=20), town.registration(1, height_m=5)
    town.submit(higher)
    town.submit(lower)  # both would bind in one epoch: the first gives way
    town.submit(higher)  # duplicate
    anchor = get_chain(town.seed("another chain", 0))[0]
    town.submit(town.registration(0, anchor=anchor, first_epoch=8))
    town.go_to(9)


def messages(town: Town) -> None:
    """The one message per epoch: in time, late, twice, forged."""
    town.join()
    early = EpochMessage(0, 0, bytes(32), b"", bytes(32))
    town.submit(town.seal(early, ("hotspot", 0)))  # not_bound_yet
    town.run_epoch(2)
    town.submit(town.message(1, 2))  # already
    town.submit(town.message(1, 2, commit=bytes(32)))  # fork
    town.run_epoch(3, absent=(2,))
    town.go_to(4)
    town.hear(4)
    town.submit(town.message(0, 4, hotspot=99))  # unknown_hotspot
    town.submit(town.message(0, 5))  # wrong_epoch: the next one
    town.submit(town.message(0, 4, reveal=bytes(32)))  # bad_reveal
    good = town.message(0, 4)
    town.submit(resign(good), resign(good, bytes(64)))  # bad_signature
    town.submit(resign(good, *good.signatures * 2))  # bad_signature
    town.submit(town.message(0, 4, hotspot=1))  # bad_signature: another's
    cap = town.ledger.params.max_receptions
    crowd = wire.pack_reception(Reception(9, 0, 0, 0, 0, bytes(4))) * (cap + 1)
    town.submit(town.message(0, 4, report=crowd))  # over_cap
    town.submit(town.message(2, 3))  # late
    town.submit(good)
    town.go_to(4 + town.ledger.params.late_epochs)
    town.submit(town.message(1, 2))  # already, or wrong_epoch where nobody remembers
    town.submit(town.message(3, 3, commit=bytes(32)))  # wrong_epoch: too long ago


def silences(town: Town) -> None:
    """A gap costs hashes and is bridged; too long a gap, or the end of the chain, isn't."""
    town.join()
    town.submit(town.registration(3, chain_length=1 << 24))
    town.run_epoch(2)
    town.go_to(50)
    town.submit(town.message(0, 50))
    end = FIRST_EPOCH + CHAIN_LENGTH
    town.go_to(end)
    last = EpochMessage(1, end, bytes(32), b"", town.secret(1, end - 1))
    town.submit(town.seal(last, ("hotspot", 1)))
    town.go_to(end + 1)
    town.submit(town.seal(replace(last, epoch=end + 1), ("hotspot", 1)))  # bad_reveal: it ended
    far = town.ledger.params.chain_gap_max + 10
    town.go_to(far)
    lost = EpochMessage(3, far, bytes(32), b"", bytes(32))
    town.submit(town.seal(lost, ("hotspot", 3)))  # bad_reveal: too long a gap


def sessions(town: Town) -> None:
    """Escrow: opened, refused, expired."""
    town.join()
    good = town.opening(0, 1)
    town.submit(good)
    town.submit(good)  # already
    town.submit(town.opening(0, 1, cap_ucr=1))  # duplicate
    town.submit(town.opening(0, 99, 1), town.seal(replace(_open(town), payer=99), ("hotspot", 0)))
    town.submit(town.opening(0, 0, 1))  # self
    epoch, last = town.epoch, town.epoch + town.ledger.params.session_epochs_max
    town.submit(town.opening(0, 1, 1, expiry_epoch=epoch))  # wrong_epoch
    town.submit(town.opening(0, 1, 1, expiry_epoch=last + 1))  # wrong_epoch
    town.submit(town.seal(replace(_open(town), nonce=1), ("hotspot", 1)))  # bad_signature
    town.submit(resign(town.opening(0, 1, 1)))  # bad_signature
    town.submit(town.opening(0, 1, 1, cap_ucr=10**12))  # insufficient_balance
    town.submit(town.opening(0, 2, 1, expiry_epoch=epoch + 1), town.opening(1, 0))
    town.go_to(2 * town.ledger.params.settlement_epochs)  # the short one expired
    town.submit(town.opening(0, 2, 1))


def _open(town: Town) -> SessionOpen:
    record = town.opening(0, 1).record
    if not isinstance(record, SessionOpen):
        raise TypeError("an opening is a session-open record")
    return record


def receipts(town: Town) -> None:
    """Work burns escrow once, cumulatively, and never more than there is."""
    town.join()
    town.submit(town.opening(0, 1), town.opening(2, 1), town.opening(0, 3, cap_ucr=1_000_000))
    first = town.receipt(0, 1, 0, 1, MIB)
    town.submit(town.claim(first))
    town.submit(town.claim(first))  # already
    town.submit(town.claim(town.receipt(0, 1, 0, 1, 2 * MIB)))  # stale_receipt: no higher number
    town.submit(town.claim(town.receipt(0, 1, 0, 2, MIB - 1)))  # stale_receipt: a total fell
    town.submit(town.claim(town.receipt(0, 1, 9, 1, MIB)))  # unknown_session
    second = town.receipt(0, 1, 0, 2, 2 * MIB, ai_tokens=700, ai_requests=2)
    town.submit(town.claim(replace(second, payer_signature=bytes(64))))  # bad_signature
    town.submit(town.claim(replace(second, payee_signature=bytes(64))))  # bad_signature
    town.submit(town.claim(town.receipt(1, 0, 0, 2, 2 * MIB)))  # bad_signature: ends swapped
    town.submit(town.claim(second, second))  # duplicate
    another = town.receipt(2, 1, 1, 1, 3 * MIB, ai_tokens=1, ai_requests=1)
    bad = replace(another, payer_signature=bytes(64))
    town.submit(town.claim(second, bad))  # bad_signature: all or none
    town.submit(town.claim(second, another))
    town.submit(town.claim(town.receipt(0, 3, 2, 5, 100 * MIB, ai_tokens=10**9)))  # all of it
    town.submit(town.claim(town.receipt(0, 3, 2, 6, 200 * MIB, ai_tokens=10**9)))  # nothing left
    town.go_to(town.ledger.params.settlement_epochs * 4)


def packed_receipts(town: Town) -> None:
    """The same rules for packed receipts, and shapes of their own."""
    town.join()
    town.submit(town.opening(0, 1), town.opening(2, 1))
    first, other = town.receipt(0, 1, 0, 1, MIB), town.receipt(2, 1, 1, 1, 1, ai_tokens=9)
    batch = town.receipts(first, other)
    town.submit(batch)
    town.submit(batch)  # already
    town.submit(town.receipts(town.receipt(0, 1, 0, 1, 2 * MIB)))  # stale_receipt
    town.submit(town.receipts(town.receipt(0, 1, 7, 1, 1)))  # unknown_session
    second = town.receipt(0, 1, 0, 2, 2 * MIB)
    town.submit(town.receipts(replace(second, payee_signature=bytes(64))))  # bad_signature
    entries = cbor.decode(town.receipts(second).body)[0]  # type: ignore[index]
    for changed in (entries[:-1], entries + entries, b"\x80\0" + entries[1:]):  # type: ignore
        body = cbor.encode([changed])
        town.submit(cbor.encode((batch.record.TYPE, wire.VERSION, body, ())))  # bad_shape
    town.submit(town.receipts(second))


def coverage(town: Town) -> None:
    """Honest epochs to two settlements, with traffic that pays for them."""
    town.join()
    town.submit(town.opening(0, 1))
    town.run(2, 4)
    town.submit(town.claim(town.receipt(0, 1, 0, 1, 5 * MIB)))
    every = town.ledger.params.settlement_epochs
    if every < 10:
        town.run(5, 2 * every)
    else:
        town.go_to(every)
        town.run(every, every + 2)
        town.go_to(2 * every)


def lies(town: Town) -> None:
    """Receptions that the rules of coverage don't count, one kind an epoch."""
    town.join()
    changes: tuple[dict[str, object], ...] = (
        {"tag": b"liar"}, {"sequence": 200}, {"frequency_mhz": 2_412}, {"rssi_cdbm": 0},
        {"rssi_cdbm": -30_000}, {"rssi_cdbm": 0, "flags": 1}, {"heard": 77}, {"heard": 1},
    )  # fmt: skip
    town.run_epoch(2)
    for epoch, change in enumerate(changes, start=3):
        town.run_epoch(epoch, lambda witness, heard, change=change: _lie(witness, heard, change))  # type: ignore[misc]
    town.run_epoch(11, lambda witness, heard: [] if witness == 2 else heard)  # not mutual
    town.run_epoch(12, absent=(3,))  # nothing revealed, nothing committed
    town.run(13, 15)


def other_lies(town: Town) -> None:
    """A beacon of an epoch ago, hotspots of another region, and strengths that were made up."""
    town.submit(*(town.deposit(number) for number in range(town.count)))
    flags = {0: 5, 1: 5, 2: 5, 3: 3}  # the last under FCC's rules, the others under ETSI's
    town.submit(*(town.registration(n, flags=flags[n]) for n in range(town.count)))
    town.run(2, 3)
    old = draws.tag_of(draws.answer(town.secret(0, 3), 3, 0))
    town.run_epoch(4, lambda witness, heard: _lie(witness, heard, {"tag": old}))
    for epoch in range(5, 55):
        town.run_epoch(epoch, _forge)
    town.go_to(55)


def _forge(witness: int, heard: list[Reception]) -> list[Reception]:
    return [replace(r, rssi_cdbm=-6_800) for r in heard] if witness == 1 else heard


def _lie(witness: int, heard: list[Reception], change: dict[str, object]) -> list[Reception]:
    if witness != 1:
        return heard
    return [replace(r, **change) if r.heard == 0 else r for r in heard]  # type: ignore[arg-type]


BOTH = ("minimal", "mainnet")
ADMISSION = make_runs(
    "admission",
    "Ledgers on which deposits and registrations are accepted and refused.",
    [(preset, run) for preset in BOTH for run in (genesis_again, deposits, registrations)],
)
EPOCHS = make_runs(
    "epochs",
    "Ledgers on which hotspots send their messages in time, late, twice, forged, or not at all.",
    [("minimal", messages), ("mainnet", messages), ("mainnet", silences)],
)
TRAFFIC = make_runs(
    "traffic",
    "Ledgers on which sessions are opened, worked in, claimed, expired.",
    [(preset, run) for preset in BOTH for run in (sessions, receipts, packed_receipts)],
)
COVERAGE = make_runs(
    "coverage",
    "Ledgers with receptions, verdicts and settlements.",
    [*((preset, run) for preset in BOTH for run in (coverage, lies)), ("mainnet", other_lies)],
)
