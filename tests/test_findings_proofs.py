from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import keys, wire
from chain.admission import Offence, Role
from chain.beacon_payload import PAYLOAD_BYTES, parse_beacon_payload
from chain.proofs.checkpoint import Balances, Checkpoint, origin_of
from chain.proofs.note import COSIGNATURE, Note, VerifierKey, cosign_note, sign_note
from chain.records import (
    MAX_CLAIM_BYTES,
    MAX_WIRE_BYTES,
    EpochMessage,
    Finding,
    Refusal,
    RelayClaim,
    Signed,
)
from chain.rules.appointments import get_keys
from hotspot.radio.frame import Beacon, pack_beacon, signing_message, unpack_beacon

from .admission_helpers import Republic, joined, key_of, seed_of
from .chain_helpers import OPERATOR

octets = st.binary


def beacon(town: Republic, index: int, epoch: int, **changes: object) -> bytes:
    """A signed payload as a hotspot airs it."""
    values: dict[str, object] = {
        "key": keys.public_key(town.keys[index]),
        "epoch": epoch,
        "sequence": 0,
        "answer": bytes(16),
        "cell": town.places[index][0],
        "frequency_mhz": 2437,
        "flags": 0,
        "time_ns": 5,
    }
    unsigned = Beacon(**{**values, **changes})  # type: ignore[arg-type]
    message = signing_message(town.network_id, pack_beacon(unsigned))
    return pack_beacon(
        replace(unsigned, signature=keys.sign_message(town.keys[index], message))
    )


def claims(town: Republic, index: int, epoch: int) -> list[bytes]:
    entries = bytes(range(1, 6))
    records = [RelayClaim(index, epoch, bytes([n]) * 32, n, entries) for n in (1, 2)]
    return [town.sign(record, town.keys[index]).wire for record in records]


def note(town: Republic, size: int, root: int, name: str = "", seed: bytes = OPERATOR) -> bytes:
    origin = origin_of(town.network_id)
    text = Checkpoint(origin, size, bytes([root]) * 32).text
    return Note(text, (sign_note(text, name or origin, seed),)).encode()


def log_fork(town: Republic, *notes: bytes, reporter: str = "reporter") -> Signed:
    return town.finding(Offence.LOG_FORK, 0, 0, notes, reporter)


def test_each_kind_of_fork_of_a_hotspot_is_proof() -> None:
    for kind, make in enumerate(
        (
            lambda town: town.two_messages(1, 2),
            lambda town: claims(town, 1, 2),
            lambda town: [beacon(town, 1, 2), beacon(town, 1, 2, answer=b"x" * 16)],
            lambda town: [beacon(town, 1, 2), beacon(town, 1, 2, cell=town.places[2][0])],
        )
    ):
        town = joined()
        town.accept(town.finding((1, 2, 3, 3)[kind], 1, 2, make(town)))
        state = town.ledger.state
        assert state.ended == {1: 0}
        ((key, found),) = state.findings.items()
        assert key == ((1, 2, 3, 3)[kind], keys.public_key(town.keys[1]))
        assert (found.subject, found.epoch, found.found_epoch) == (1, 2, 2)
        assert found.slashed_ucr == town.params.bond_ucr
        assert found.reward_ucr == town.params.bond_ucr // 10


def test_a_network_without_bonds_ends_a_forking_hotspot_too() -> None:
    town = joined(preset="minimal")
    town.accept(town.fork_finding(0))
    assert town.ledger.state.ended == {0: 0}
    assert town.ledger.state.balance(key_of("reporter")) == 0


def test_what_is_no_proof_of_two_messages_is_refused_and_says_why() -> None:
    town, other = joined(), joined(preset="minimal")
    a, b = town.two_messages(0, 2)
    epoch_3 = town.two_messages(0, 1)
    stranger = town.sign(wire.decode(a).record, town.keys[1]).wire  # type: ignore[union-attr]
    unsigned = town.sign(wire.decode(a).record).wire  # type: ignore[union-attr]
    cases = [
        ((a, a), "same_evidence"),
        ((a, stranger), "unsigned_evidence"),
        ((a, unsigned), "unsigned_evidence"),
        ((a, other.two_messages(0, 2)[1]), "unsigned_evidence"),
        ((a, town.two_messages(1, 2)[1]), "other_evidence"),
        ((a, epoch_3[1]), "other_evidence"),
        ((a, b"junk"), "bad_evidence"),
        ((a, claims(town, 0, 2)[0]), "bad_evidence"),
        ((town.deposit(0).wire, b), "bad_evidence"),
    ]
    for evidence, reason in cases:
        assert town.refuse(town.finding(1, 0, 2, evidence)) == reason
        assert town.refuse(town.finding(1, 0, 2, evidence[::-1])) == reason
    assert town.refuse(town.finding(2, 0, 2, [a, b])) == "bad_evidence"
    assert town.refuse(town.finding(3, 0, 2, [a, b])) == "bad_evidence"
    town.accept(town.finding(1, 0, 2, [b, a]))


def test_what_is_no_proof_of_two_beacons_is_refused_and_says_why() -> None:
    town, other = joined(), joined(preset="minimal")
    a, b = beacon(town, 0, 2), beacon(town, 0, 2, answer=b"x" * 16)
    cases = [
        ((a, beacon(town, 0, 2, time_ns=9, flags=1, frequency_mhz=2412)), "same_evidence"),
        ((a, beacon(town, 0, 2, sequence=1, answer=b"x" * 16)), "other_evidence"),
        ((a, beacon(town, 0, 1, answer=b"x" * 16)), "other_evidence"),
        ((a, beacon(town, 1, 2, answer=b"x" * 16)), "other_evidence"),
        ((a, beacon(other, 0, 2, answer=b"x" * 16)), "unsigned_evidence"),
        ((a, b[:-1] + bytes([b[-1] ^ 1])), "unsigned_evidence"),
        ((a, b[:-1]), "bad_evidence"),
        ((a, b"\x02" + b[1:]), "bad_evidence"),
    ]
    for evidence, reason in cases:
        assert town.refuse(town.finding(3, 0, 2, evidence)) == reason
    town.accept(town.finding(3, 0, 2, [a, b]))


def test_findings_are_refused_for_named_reasons() -> None:
    town = joined()
    params = town.params
    town.tick_to(params.appeal_epochs + 10)
    now, oldest = town.epoch, 10
    assert town.refuse(town.finding(1, 99, now, town.two_messages(0, now))) == "unknown_hotspot"
    assert town.refuse(town.fork_finding(0, oldest - 1)) == "wrong_epoch"
    assert town.refuse(town.fork_finding(0, now + 1)) == "wrong_epoch"
    unsigned = town.sign(town.fork_finding(0).record)
    assert town.refuse(unsigned) == "bad_signature"
    assert town.refuse(town.fork_finding(0, seed=seed_of("thief"))) == "bad_signature"
    town.accept(town.fork_finding(0, oldest))
    again = town.fork_finding(0, reporter="another")
    assert town.refuse(again) == "duplicate"
    twice = town.finding(3, 0, now, [beacon(town, 0, now), beacon(town, 0, now, answer=b"x" * 16)])
    assert town.refuse(twice) == "duplicate"


def test_a_fork_that_the_ledger_refused_is_the_proof_it_tells_of() -> None:
    town = Republic(3)
    town.join()
    town.run_epoch(2)
    other = town.message(1, 2, commit=bytes(32))
    (result,) = town.submit(other)
    assert result.reason == "fork"
    assert "finding" in result.detail
    town.accept(town.finding(1, 1, 2, [town.message(1, 2).wire, other.wire]))


def test_the_largest_claims_and_their_fork_fit_into_one_finding() -> None:
    town = joined()
    evidence = [
        town.sign(
            RelayClaim(2**32 - 1 - n, 2, bytes(32), 2**64 - 1, bytes([n]) * MAX_CLAIM_BYTES),
            town.keys[0],
        ).wire
        for n in (1, 2)
    ]
    size = len(town.finding(2, 2**32 - 1, 2**32 - 1, evidence).wire)
    assert MAX_WIRE_BYTES - 2_000 < size <= MAX_WIRE_BYTES


def test_the_largest_messages_and_their_fork_fit_into_one_finding() -> None:
    town = joined()
    size = town.params.max_receptions * 14
    evidence = [
        town.sign(
            EpochMessage(0, 2, bytes(32), bytes([n]) * size, bytes(32)), town.keys[0]
        ).wire
        for n in (1, 2)
    ]
    town.accept(town.finding(1, 0, 2, evidence))


def test_a_sequencer_that_signs_two_logs_is_found_and_gone() -> None:
    town = joined()
    state = town.ledger.state
    town.accept(log_fork(town, note(town, 9, 1), note(town, 9, 2)))
    assert get_keys(state, Role.SEQUENCER, town.epoch) == ()
    ((kind, key), found), *rest = state.findings.items()
    assert (kind, key) == (Offence.LOG_FORK, keys.public_key(OPERATOR))
    assert (found.slashed_ucr, found.reward_ucr, rest) == (0, 0, [])
    more = log_fork(town, note(town, 8, 1), note(town, 8, 2), reporter="another")
    assert town.refuse(more) == "duplicate"
    assert town.refuse(town.appointment(Role.SEQUENCER, keys.public_key(OPERATOR))) == "slashed"
    town.appoint(Role.SEQUENCER, key_of("log"))
    town.tick_to(town.epoch + 2)
    assert [m.key for m in get_keys(state, Role.SEQUENCER, town.epoch)] == [key_of("log")]


def test_two_balances_of_one_settlement_are_two_logs_too() -> None:
    def told(town: Republic, size: int, settlement: int, issued: int) -> bytes:
        origin = origin_of(town.network_id)
        balances = Balances(settlement, bytes([issued]) * 32, issued, 0)
        text = Checkpoint(origin, size, bytes([size]) * 32, balances).text
        return Note(text, (sign_note(text, origin, OPERATOR),)).encode()

    town = joined()
    honest = log_fork(town, told(town, 9, 1, 5), told(town, 10, 2, 6))
    assert town.refuse(honest) == "other_evidence"
    repeated = log_fork(town, told(town, 9, 1, 5), told(town, 10, 1, 5))
    assert town.refuse(repeated) == "other_evidence"
    town.accept(log_fork(town, told(town, 9, 1, 5), told(town, 10, 1, 6)))


def test_an_appointed_sequencer_is_known_by_its_name_and_after_its_term() -> None:
    town = joined()
    town.appoint(Role.SEQUENCER, key_of("log"), 5, 6)
    town.tick_to(20)
    seed = seed_of("log")
    wrong = [note(town, 9, n, "other.example", seed) for n in (1, 2)]
    assert town.refuse(log_fork(town, *wrong)) == "unsigned_evidence"
    town.accept(log_fork(town, *(note(town, 9, n, "name.example", seed) for n in (1, 2))))


def test_what_is_no_proof_of_two_logs_is_refused_and_says_why() -> None:
    town, other = joined(), joined(preset="minimal")
    a, b = note(town, 9, 1), note(town, 9, 2)
    origin = origin_of(town.network_id)
    text = Checkpoint(origin, 9, b"\x02" * 32).text
    cosigned = Note(text, (cosign_note(text, origin, OPERATOR, 5),)).encode()
    cases = [
        ((a, a), "same_evidence"),
        ((a, note(town, 8, 2)), "other_evidence"),
        ((a, note(other, 9, 2)), "other_evidence"),
        ((a, note(town, 9, 2, seed=seed_of("operator 1"))), "unsigned_evidence"),
        ((a, cosigned), "unsigned_evidence"),
        ((a, b.replace(b"\n9\n", b"\n09\n")), "bad_evidence"),
        ((a, b"junk"), "bad_evidence"),
        ((a, text.encode()), "bad_evidence"),
    ]
    for evidence, reason in cases:
        assert town.refuse(log_fork(town, *evidence)) == reason
    named = town.finding(Offence.LOG_FORK, 1, 0, [a, b])
    assert town.refuse(named) == "bad_evidence"
    assert VerifierKey(origin, COSIGNATURE, bytes(32)).key_id  # another type has another key id
    town.accept(log_fork(town, a, b))


beacons = st.builds(
    Beacon,
    key=octets(min_size=32, max_size=32),
    epoch=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**32 - 1),
    answer=octets(min_size=16, max_size=16),
    cell=st.integers(0, 2**64 - 1),
    frequency_mhz=st.integers(0, 2**16 - 1),
    flags=st.integers(0, 255),
    time_ns=st.integers(0, 2**64 - 1),
    signature=octets(min_size=64, max_size=64),
)


@given(beacons)
def test_the_ledger_reads_payloads_as_the_daemon_does(aired: Beacon) -> None:
    payload = pack_beacon(aired)
    ours = parse_beacon_payload(payload)
    assert not isinstance(ours, Refusal)
    assert unpack_beacon(payload) == aired
    for name in Beacon.__dataclass_fields__:
        assert getattr(ours, name) == getattr(aired, name)
    assert signing_message(b"", payload).endswith(ours.signed)


@given(st.one_of(octets(max_size=200), octets(min_size=PAYLOAD_BYTES, max_size=PAYLOAD_BYTES)))
def test_the_ledger_and_the_daemon_refuse_the_same_payloads(payload: bytes) -> None:
    ours, daemons = parse_beacon_payload(payload), unpack_beacon(payload)
    assert isinstance(ours, Refusal) == isinstance(daemons, Refusal)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_an_honest_hotspots_evidence_is_proof(data: st.DataObject) -> None:
    """Who holds one honest message (and not the key) can't make a second one of it."""
    town = joined(1, preset="minimal")
    kind = data.draw(st.sampled_from([1, 2, 3]))
    honest = {
        1: town.two_messages(0, 2)[0],
        2: claims(town, 0, 2)[0],
        3: beacon(town, 0, 2),
    }[kind]
    forged = bytearray(honest)
    for _ in range(data.draw(st.integers(1, 3))):
        forged[data.draw(st.integers(0, len(forged) - 1))] ^= data.draw(st.integers(1, 255))
    record = Finding(kind, 0, 2, (honest, bytes(forged)), key_of("reporter"))
    assert not town.one(town.sign(record, seed_of("reporter"))).accepted


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@settings(max_examples=40, deadline=None)
@given(st.lists(octets(min_size=1, max_size=400), min_size=2, max_size=2))
def test_arbitrary_evidence_is_refused_without_an_exception(kind: int, raw: list[bytes]) -> None:
    town = joined(1, preset="minimal")
    number = 0 if kind == 4 else 2
    assert town.refuse(town.finding(kind, 0, number, raw)).endswith("evidence")
