from __future__ import annotations

from dataclasses import replace

from chain.admission import Role, address_of
from chain.ledger import Ledger, Sealed
from chain.proofs.checkpoint import parse_checkpoint
from chain.proofs.log import MerkleLog
from chain.proofs.note import COSIGNATURE, Note, VerifierKey, cosign_note, verify_note
from chain.records import Cosignature, Refusal, Signed, ValidatorFault
from chain.rules.blocks import Block
from chain.rules.cosignatures import get_cosigned
from chain.rules.settled import compute_balance_tree
from chain.rules.validators import get_powers
from chain.service.admission_views import (
    appointments_json,
    checkpoints_json,
    faults_json,
    findings_json,
)

from .admission_helpers import Republic, joined, key_of, seed_of
from .chain_helpers import verify

COSIGNERS = ("ann", "bob", "eve")


def watched(preset: str = "minimal") -> Republic:
    """A town with three cosigners, in epoch 4."""
    town = Republic(3, preset)
    town.join()
    for name in COSIGNERS:
        town.appoint(Role.COSIGNER, key_of(name), 2, 900)
    town.tick_to(4)
    return town


def test_every_close_fixes_what_the_log_was_then() -> None:
    sealed: list[Sealed] = []
    town = Republic(3, on_block=sealed.append)
    town.join()
    for epoch in range(1, 14):
        town.tick_to(epoch)
        town.accept(town.deposit(0, epoch, b"d%d" % epoch))
    log, sizes = MerkleLog(), {}
    for item in sealed:
        if item.header.epoch:
            sizes.setdefault(item.header.epoch - 1, len(log))
        for result in item.results:
            log.append(result.record_id)
    closes = town.ledger.state.closes
    assert sorted(closes) == list(range(5, 13))
    for epoch, close in closes.items():
        checkpoint = parse_checkpoint(close.text)
        assert not isinstance(checkpoint, Refusal)
        assert checkpoint.size == sizes[epoch]
        assert checkpoint.root == log.root(sizes[epoch])


def test_a_close_at_a_settlement_cites_its_balances() -> None:
    town = watched()
    for epoch in range(5, 13):
        town.tick_to(epoch)
        checkpoint = parse_checkpoint(town.ledger.state.closes[epoch - 1].text)
        assert not isinstance(checkpoint, Refusal)
        assert checkpoint.balances is not None
        assert checkpoint.balances.settlement == epoch // 6
        if epoch % 6 == 0:
            assert checkpoint.balances == compute_balance_tree(town.ledger.state).balances()


def test_cosigners_are_counted_as_they_sign() -> None:
    town = watched()
    state, epoch = town.ledger.state, 3
    assert get_cosigned(state, epoch) == ()
    town.accept(town.cosignature(epoch, "eve"), town.cosignature(epoch, "ann"))
    assert {m.key for m in get_cosigned(state, epoch)} == {key_of("ann"), key_of("eve")}
    assert town.one(town.cosignature(epoch, "eve")).reason == "already"
    assert town.one(town.cosignature(epoch, "eve", time_s=8)).reason == "already"
    assert get_cosigned(state, epoch - 1) == ()
    assert get_cosigned(state, 99) == ()


def test_what_a_cosigner_signs_is_what_a_note_carries() -> None:
    town = watched()
    signed = town.cosignature(3, "ann", time_s=1_700_000_000)
    record = signed.record
    assert isinstance(record, Cosignature)
    text = town.ledger.state.closes[3].text
    line = cosign_note(text, "name.example", seed_of("ann"), 1_700_000_000)
    assert line.blob[8:] == record.signature
    key = VerifierKey("name.example", COSIGNATURE, key_of("ann"))
    assert not isinstance(verify_note(Note(text, (line,)), [key]), Refusal)


def test_cosignatures_are_refused_for_named_reasons() -> None:
    town = watched()
    town.accept(town.deposit(0, 5, b"makes the next one another"))
    town.tick_to(5)
    good = town.cosignature(4, "ann")
    record = good.record
    assert isinstance(record, Cosignature)

    def changed(**changes: object) -> Signed:
        return town.sign(replace(record, **changes))  # type: ignore[arg-type]

    assert town.refuse(changed(epoch=5)) == "unknown_checkpoint"
    assert town.refuse(changed(cosigner=key_of("stranger"))) == "not_appointed"
    assert town.refuse(changed(timestamp=8)) == "bad_signature"
    assert town.refuse(changed(epoch=3)) == "bad_signature"
    assert town.refuse(changed(cosigner=key_of("bob"))) == "bad_signature"
    assert town.refuse(town.sign(record, seed_of("ann"))) == "bad_signature"
    assert town.refuse(town.cosignature(1, "ann")) == "not_appointed"  # before the term
    old = town.cosignature(3, "ann")
    town.tick_to(12)
    assert town.refuse(old) == "unknown_checkpoint"
    town.accept(good)


def test_places_of_cosigners_stay_when_others_come_and_go() -> None:
    town = watched()
    town.accept(town.cosignature(3, "bob"))
    town.appoint(Role.COSIGNER, key_of("dan"), 6, 900)
    town.appoint(Role.COSIGNER, key_of("ann"), 6, 0)
    town.tick_to(8)
    state = town.ledger.state
    assert [m.key for m in get_cosigned(state, 3)] == [key_of("bob")]
    town.accept(town.cosignature(7, "dan"), town.cosignature(3, "ann"))
    assert {m.key for m in get_cosigned(state, 3)} == {key_of("bob"), key_of("ann")}
    assert [m.key for m in get_cosigned(state, 7)] == [key_of("dan")]
    assert town.refuse(town.cosignature(7, "ann")) == "not_appointed"


def fault(town: Republic, name: str, height: int = 7, kind: int = 1) -> Signed:
    return town.sign(ValidatorFault(kind, address_of(key_of(name)), height, town.start_ms, 10))


def test_a_validators_fault_takes_its_power_and_stays_on_the_ledger() -> None:
    sealed: list[Sealed] = []
    town = Republic(2, on_block=sealed.append)
    town.join()
    for name in ("a", "b"):
        town.appoint(Role.VALIDATOR, key_of(name), 2, 900)
    town.tick_to(3)
    state = town.ledger.state
    before = state.log.size
    town.ledger.submit([], state.time_ms, faults=[fault(town, "a").wire])
    assert get_powers(state, 3) == {key_of("b"): 10}
    assert state.log.size == before + 1
    town.ledger.submit([], state.time_ms, faults=[fault(town, "a").wire])
    town.ledger.submit([], state.time_ms, faults=[fault(town, "stranger").wire])
    assert state.log.size == before + 2
    assert get_powers(state, 3) == {key_of("b"): 10}
    again = Ledger(town.genesis, verify)
    for item in sealed[1:]:
        again.replay(Block(*(getattr(item.block, n) for n in Block.__slots__)))
    assert again.head == town.ledger.head
    town.appoint(Role.VALIDATOR, key_of("a"), 5, 900)  # operators may forgive
    town.tick_to(5)
    assert len(get_powers(state, 5)) == 2


def test_nobody_submits_a_validators_fault() -> None:
    town = joined()
    town.appoint(Role.VALIDATOR, key_of("a"))
    assert town.refuse(fault(town, "a")) == "not_allowed"


def test_views_show_who_holds_what_and_what_was_found() -> None:
    town = watched("testbed")
    town.accept(town.cosignature(3, "ann"), town.fork_finding(1))
    town.appoint(Role.VALIDATOR, key_of("a"), 10, 900)
    town.ledger.submit([], town.ledger.state.time_ms, faults=[fault(town, "a").wire])
    state = town.ledger.state
    shown = appointments_json(state)
    assert [row["number"] for row in shown["operators"]] == [0, 1, 2]
    assert {row["key"] for row in shown["holders"] if row["role"] == "cosigner"} == {
        key_of(name).hex() for name in COSIGNERS
    }
    assert [row["state"] for row in shown["appointments"] if row["role"] == "validator"] == [
        "pending"
    ]
    assert shown["threshold"] == 2
    (found,) = findings_json(state)
    assert (found["kind"], found["subject"]) == ("epoch_fork", 1)
    assert found["slashed_ucr"] == town.params.bond_ucr
    row = next(row for row in checkpoints_json(state) if row["epoch"] == 3)
    assert [c["key"] for c in row["cosigned"]] == [key_of("ann").hex()]
    assert len(row["missing"]) == 2
    assert row["text"] == state.closes[3].text
    assert faults_json(state)[0]["validator"] == address_of(key_of("a")).hex()
