"""Runs of who may do what: treasury, appointments, bonds, findings, cosignatures."""

from __future__ import annotations

from dataclasses import replace

from chain.admission import Role, address_of
from chain.beacon_payload import PAYLOAD_BYTES, SIGNED_BYTES
from chain.draws import randomness_input
from chain.ecvrf import compute_proof
from chain.keys import sign, sign_message
from chain.proofs.checkpoint import Checkpoint, origin_of
from chain.proofs.note import Note, cosigned_message, sign_note
from chain.records import (
    Appointment,
    Bond,
    Cosignature,
    Deposit,
    Finding,
    Randomness,
    Retirement,
    Signed,
    Transfer,
    ValidatorFault,
    Withdrawal,
)
from chain.vectors.runs import make_runs
from chain.vectors.scenarios import resign
from chain.vectors.town import FIRST_EPOCH, OPERATORS_01, START_MS, Town


def transfers(town: Town) -> None:
    """Credits move under a rising nonce, and leave."""
    town.submit(town.deposit(0))
    account, other = town.owner(0), town.owner(1)
    first = Transfer(account, other, 1_000, 5, "rent")
    good = town.seal(first, ("owner", 0))
    town.submit(resign(good), town.seal(first, ("owner", 1)))  # bad_signature
    town.submit(good)
    town.submit(good)  # already
    town.submit(town.seal(replace(first, memo="again"), ("owner", 0)))  # stale_nonce
    town.submit(town.seal(replace(first, nonce=6, amount_ucr=10**12), ("owner", 0)))  # too much
    town.submit(town.seal(replace(first, nonce=9, to=account), ("owner", 0)))  # to itself
    out = Withdrawal(account, 7_000_000, 10, b"far away")
    town.submit(town.seal(replace(out, nonce=9), ("owner", 0)))  # stale_nonce
    town.submit(town.seal(out, ("owner", 1)))  # bad_signature
    town.submit(town.seal(replace(out, amount_ucr=10**12), ("owner", 0)))  # insufficient_balance
    town.submit(town.seal(out, ("owner", 0)))
    town.submit(town.seal(out, ("owner", 0)))  # already
    town.submit(town.seal(replace(out, account=other, nonce=1, amount_ucr=1_000), ("owner", 1)))


def bonds(town: Town) -> None:
    """Bonds are locked, raised, and return some time after a retirement."""
    town.join()
    bond = Bond(0, 2_000_000, 1)
    town.submit(town.seal(bond, ("owner", 0)))
    town.submit(town.seal(bond, ("owner", 0)))  # already
    town.submit(town.seal(replace(bond, hotspot=99), ("owner", 0)))  # unknown_hotspot
    town.submit(town.seal(replace(bond, amount_ucr=1), ("owner", 0)))  # stale_nonce
    town.submit(town.seal(replace(bond, nonce=2), ("owner", 1)))  # bad_signature: not the owner
    town.submit(town.seal(replace(bond, nonce=2, amount_ucr=10**12), ("owner", 0)))  # too much
    town.run(2, 3)
    retirement = Retirement(0, 2)
    town.submit(town.seal(retirement, ("hotspot", 0)))  # bad_signature: the owner must
    town.submit(town.seal(retirement, ("owner", 0)))
    town.submit(town.seal(retirement, ("owner", 0)))  # already
    town.submit(town.seal(replace(retirement, nonce=3), ("owner", 0)))  # retired
    town.submit(town.seal(replace(bond, nonce=3), ("owner", 0)))  # retired
    town.run_epoch(4)
    town.go_to(6)
    town.hear(6)
    town.submit(town.message(0, 6), town.opening(0, 1))  # retired
    town.submit(town.seal(Retirement(1, 1), ("owner", 1)))
    town.go_to(8)
    town.submit(town.registration(1, height_m=12))  # ends its retirement
    town.go_to(4 + 2 + town.ledger.params.appeal_epochs + 1)  # the bond of 0 is back
    town.submit(town.registration(0, height_m=14))


def owners(town: Town) -> None:
    """A hotspot changes hands with three signatures."""
    town.join()
    buyer = town.owner(1)
    record = replace(town.assertion(0), owner=buyer)
    town.submit(town.seal(record, ("hotspot", 0), ("owner", 1)))  # bad_signature: the seller's
    town.submit(town.seal(record, ("hotspot", 0), ("owner", 1), ("owner", 2)))  # bad_signature
    sold = town.seal(record, ("hotspot", 0), ("owner", 1), ("owner", 0))
    town.submit(sold)
    town.submit(town.seal(Bond(0, 5, 1), ("owner", 0)))  # bad_signature: not his any more
    town.submit(town.seal(Bond(0, 5, 1), ("owner", 1)))
    town.go_to(3)


def appointments(town: Town) -> None:
    """Roles given and taken by two of three operators."""
    town.join()
    key, first = town.key("cosigner", 0), town.epoch + 2
    span = town.ledger.params.appointment_epochs_max
    cosigner = Appointment(Role.COSIGNER, key, "witness.example/w0", 0, first, first + 50, (0, 1))

    def submit(record: Appointment, **changes: object) -> None:
        town.submit(town.seal(replace(record, **changes), *OPERATORS_01))  # type: ignore[arg-type]

    submit(cosigner)
    submit(cosigner)  # already
    submit(cosigner, from_epoch=first - 1)  # wrong_epoch: too soon
    submit(cosigner, from_epoch=first + span + 1, until_epoch=first + span + 2)  # too far ahead
    submit(cosigner, until_epoch=first)  # wrong_epoch: ends as it begins
    submit(cosigner, until_epoch=first + span + 1)  # wrong_epoch: too long
    submit(cosigner, key=town.key("cosigner", 1), until_epoch=0)  # not_appointed: nothing to revoke
    submit(cosigner, weight=1)  # bad_weight
    submit(cosigner, name="two words")  # bad_name
    submit(cosigner, name="")  # bad_name
    submit(cosigner, name="other", operators=(0, 7))  # not_appointed: no such operator
    other = town.seal(replace(cosigner, name="other"), *OPERATORS_01)
    town.submit(resign(other, *other.signatures[::-1]))  # bad_signature
    town.submit(resign(other, other.signatures[0]))  # bad_signature: below the threshold
    validator = replace(cosigner, role=Role.VALIDATOR, name="", key=town.key("validator", 0))
    submit(validator)  # bad_weight: none
    submit(validator, weight=10)
    for number in range(3):  # the third: over_cap
        submit(cosigner, role=Role.SEQUENCER, key=town.key("sequencer", number))
    submit(cosigner, role=Role.SEED, key=town.key("hotspot", 1), name="")
    submit(cosigner, role=Role.AUDITOR, key=town.key("auditor", 0), name="")
    submit(cosigner, role=Role.OPERATOR, key=town.key("operator", 3), name="")
    _operators(town, replace(cosigner, role=Role.OPERATOR, name=""))


def _operators(town: Town, record: Appointment) -> None:
    """An operator joins and signs; two leave; the last two can't."""
    town.go_to(record.from_epoch)
    first = town.epoch + 2
    record = replace(record, from_epoch=first, until_epoch=0)
    newcomer = ("operator", 0), ("operator", 3)
    deposit = replace(_deposit(town), operators=(0, 3))
    town.submit(town.seal(deposit, *newcomer))
    for number in (1, 2, 3):  # the last: too_few_operators
        revoked = replace(record, key=town.key("operator", number))
        town.submit(town.seal(revoked, *OPERATORS_01))
    town.go_to(first)
    town.submit(town.deposit(3, reference=b"too late"))  # not_appointed: 1 was revoked
    town.go_to(record.from_epoch + 60)  # the terms end
    town.submit(town.seal(replace(deposit, reference=b"late"), *newcomer))


def _deposit(town: Town) -> Deposit:
    record = town.deposit(0, reference=b"by the newcomer").record
    if not isinstance(record, Deposit):
        raise TypeError("a deposit is a deposit record")
    return record


def forged(town: Town, number: int, answer: bytes, sequence: int = 0, epoch: int = 4) -> bytes:
    """A signed beacon payload with any answer."""
    key = town.key("hotspot", number)
    head = b"\x01\x01" + key + epoch.to_bytes(4, "big") + sequence.to_bytes(4, "big") + answer
    payload = head + bytes(SIGNED_BYTES - len(head))
    return payload + sign(town.seed("hotspot", number), "beacon", town.network_id, payload)


def findings(town: Town) -> None:
    """Proof of fraud costs the bond; what proves nothing costs nothing."""
    town.join()
    town.run(2, 4)
    first, second = town.message(1, 4), town.message(1, 4, commit=bytes(32))

    def submit(kind: int, subject: int, epoch: int, *evidence: bytes, by: int = 2) -> None:
        record = Finding(kind, subject, epoch, (evidence[0], evidence[1]), town.owner(2))
        town.submit(town.seal(record, ("owner", by)))

    fork = (first.wire, second.wire)
    submit(1, 1, 4, *fork, by=3)  # bad_signature: not the reporter's
    submit(1, 99, 4, *fork)  # unknown_hotspot
    submit(1, 1, town.epoch + 1, *fork)  # wrong_epoch
    submit(1, 1, 4, b"junk", second.wire)  # bad_evidence
    submit(1, 1, 4, town.deposit(0).wire, second.wire)  # bad_evidence: about something else
    submit(2, 1, 4, *fork)  # bad_evidence: of another kind
    submit(1, 1, 3, *fork)  # other_evidence: another epoch
    submit(1, 0, 4, *fork)  # other_evidence: another hotspot
    submit(1, 1, 4, first.wire, resign(second, bytes(64)))  # unsigned_evidence
    submit(1, 1, 4, first.wire, first.wire)  # same_evidence
    submit(1, 1, 4, *fork)
    submit(1, 1, 4, *fork)  # already
    submit(1, 1, 4, second.wire, first.wire)  # duplicate: was slashed
    town.hear(town.epoch)
    town.submit(town.message(1, town.epoch), town.registration(1, height_m=3))  # slashed
    town.submit(town.seal(Bond(1, 5, 1), ("owner", 1)), town.opening(1, 0))  # slashed
    beacons = forged(town, 3, bytes(16)), forged(town, 3, bytes(15) + b"1")
    submit(3, 3, 4, beacons[0], bytes(PAYLOAD_BYTES))  # bad_evidence
    submit(3, 3, 4, beacons[0], beacons[1][:-1])  # bad_evidence: too short
    submit(3, 3, 4, beacons[0], forged(town, 3, bytes(16), 1))  # other_evidence: another number
    submit(3, 3, 4, beacons[0], forged(town, 3, bytes(16), 0, 5))  # other_evidence: another epoch
    submit(3, 3, 4, beacons[0], beacons[1][:-1] + b"\0")  # unsigned_evidence
    submit(3, 3, 4, beacons[0], beacons[0])  # same_evidence
    submit(3, 3, 4, *beacons)
    town.run(5, 6)


def checkpoint_of(town: Town, root: int, size: int = 5, origin: str = "") -> bytes:
    """A checkpoint that the first sequencer signed."""
    name = origin or origin_of(town.network_id)
    text = Checkpoint(name, size, bytes([root]) * 32).text
    return Note(text, (sign_note(text, name, town.seed("operator", 0)),)).encode()


def log_forks(town: Town) -> None:
    """A sequencer that signs two logs loses its appointment."""
    town.join()
    good = checkpoint_of(town, 1), checkpoint_of(town, 2)

    def submit(first: bytes, second: bytes, subject: int = 0) -> None:
        record = Finding(4, subject, 0, (first, second), town.owner(1))
        town.submit(town.seal(record, ("owner", 1)))

    submit(*good, subject=1)  # bad_evidence: no hotspot did it
    submit(good[0], b"junk")  # bad_evidence
    submit(good[0], checkpoint_of(town, 2, 5, "example.com/log"))  # other_evidence
    submit(good[0], checkpoint_of(town, 2, 6))  # other_evidence: of another size
    submit(good[0], good[0])  # same_evidence
    broken = good[1].replace(b"\xe2\x80\x94 wavecomb", b"\xe2\x80\x94 someone")
    submit(good[0], broken)  # unsigned_evidence
    submit(*good)
    submit(good[1], good[0])  # duplicate
    first = town.epoch + 2
    key, name = town.key("operator", 0), origin_of(town.network_id)
    again = Appointment(Role.SEQUENCER, key, name, 0, first, first + 9, (0, 1))
    town.submit(town.seal(again, *OPERATORS_01))  # slashed
    other = replace(again, key=town.key("sequencer", 0))
    town.submit(town.seal(other, *OPERATORS_01))
    town.go_to(first)


def cosignatures(town: Town) -> None:
    """Cosigners sign the checkpoints of epoch closes on the ledger."""
    town.join()
    for number in range(2):
        town.submit(_cosigner(town, number))
    town.run(2, 5)
    newest = max(town.ledger.state.closes)
    good = cosignature(town, newest, 0)
    town.submit(resign(good, bytes(64)))  # bad_signature: the body carries the one needed
    town.submit(town.seal(replace(_cosigned(good), signature=bytes(64))))  # bad_signature
    town.submit(good)
    town.submit(good)  # already
    town.submit(town.seal(replace(_cosigned(good), timestamp=1)))  # already: it is noted
    stranger = replace(_cosigned(good), cosigner=town.key("owner", 0))
    town.submit(town.seal(stranger))  # not_appointed
    town.submit(town.seal(replace(_cosigned(good), epoch=town.epoch)))  # unknown_checkpoint
    town.submit(cosignature(town, newest, 1), cosignature(town, newest - 1, 1))
    town.go_to(newest + 2 + town.ledger.params.closes_kept)
    town.submit(town.seal(replace(_cosigned(good), timestamp=2)))  # unknown_checkpoint: forgotten


def random_lots(town: Town) -> None:
    """Cosigners' random outputs draw the lots; without a majority of them the mix does."""
    town.join()
    town.submit(*(_cosigner(town, number) for number in range(3)))
    town.run_epoch(2)
    town.run_epoch(3)
    early = randomness(town, 2, 0)
    town.submit(resign(early, bytes(64)))  # bad_signature: the proof is the one needed
    town.submit(early)
    town.submit(early)  # already
    town.submit(town.seal(replace(_random(early), cosigner=town.key("owner", 0))))  # not_appointed
    wrong = replace(_random(early), cosigner=town.key("cosigner", 1))
    town.submit(town.seal(wrong))  # bad_proof: of another key
    town.submit(town.seal(replace(_random(early), epoch=town.epoch)))  # wrong_epoch: still open
    town.submit(randomness(town, 2, 1))  # two of three: lots of epoch 2 wait
    for epoch in range(4, 9):
        town.run_epoch(epoch)
        shown = {4: (0, 1, 2), 5: (1,), 6: (0, 2)}.get(epoch, ())
        town.submit(*(randomness(town, epoch - 1, number) for number in shown))
    town.submit(early)  # already, though it came long ago
    town.submit(randomness(town, 5, 1))  # wrong_epoch: too late
    town.go_to(10)


def randomness(town: Town, epoch: int, number: int) -> Signed:
    """A cosigner's random output over the checkpoint of an epoch's close."""
    alpha = randomness_input(town.ledger.state.closes[epoch].text)
    proof = compute_proof(town.seed("cosigner", number), alpha)
    return town.seal(Randomness(epoch, town.key("cosigner", number), proof))


def _random(signed: Signed) -> Randomness:
    if not isinstance(signed.record, Randomness):
        raise TypeError("not randomness")
    return signed.record


def _cosigner(town: Town, number: int) -> Signed:
    key, first = town.key("cosigner", number), town.epoch + 2
    record = Appointment(Role.COSIGNER, key, f"w{number}", 0, first, first + 90, (0, 1))
    return town.seal(record, *OPERATORS_01)


def cosignature(town: Town, epoch: int, number: int, time_s: int = START_MS // 1_000) -> Signed:
    """A cosigner's signature on the checkpoint of an epoch's close."""
    message = cosigned_message(town.ledger.state.closes[epoch].text, time_s).encode()
    signature = sign_message(town.seed("cosigner", number), message)
    return town.seal(Cosignature(epoch, town.key("cosigner", number), time_s, signature))


def _cosigned(signed: Signed) -> Cosignature:
    if not isinstance(signed.record, Cosignature):
        raise TypeError("not a cosignature")
    return signed.record


def validator_faults(town: Town) -> None:
    """What a consensus engine finds out takes a validator's power; nobody else may say so."""
    town.join()
    keys = [town.key("validator", number) for number in range(2)]
    first = town.epoch + 2
    town.submit(*(town.appointment(Role.VALIDATOR, key, first, first + 50, 10) for key in keys))
    town.wait_for(first)
    fault = ValidatorFault(1, address_of(keys[0]), FIRST_EPOCH, START_MS, 10)
    found = town.seal(fault)
    town.submit(found)  # not_allowed
    town.submit(faults=[found])
    town.submit(faults=[found])  # already: no block
    same = town.seal(replace(fault, time_ms=START_MS + 1))
    signed = town.seal(replace(fault, height=9), ("validator", 1))
    town.submit(town.deposit(0, reference=b"beside"), faults=[same, signed])  # neither is taken
    town.submit(faults=[town.seal(replace(fault, validator=bytes(20)))])  # of nobody appointed
    town.wait_for(first + 3)


BOTH = ("minimal", "mainnet")
ROLES = make_runs(
    "roles",
    "Ledgers on which operators appoint, cosigners sign, and validators are not taken at a word.",
    [
        (preset, run)
        for preset in BOTH
        for run in (appointments, cosignatures, random_lots, validator_faults)
    ],
)
TREASURY = make_runs(
    "treasury",
    "Ledgers on which credits move and leave, bonds are locked and hotspots are sold.",
    [(preset, run) for preset in BOTH for run in (transfers, bonds, owners)],
)
FRAUD = make_runs(
    "fraud",
    "Ledgers on which fraud is proven, and on which what is no proof is refused.",
    [(preset, run) for preset in BOTH for run in (findings, log_forks)],
)
