"""The ledger as the engine's application: one request after another, without an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest

from chain import cbor, keys, wire
from chain.abci import messages as m
from chain.abci.application import Application, Executed
from chain.abci.snapshots import (
    FORMAT,
    NUMBERS,
    Manifest,
    Restoring,
    Row,
    build_state,
    cut_rows,
    decode_manifest,
    is_carried,
    read_chunk,
)
from chain.abci.transactions import (
    MAX_TX_BYTES,
    Batch,
    Batches,
    decode_transaction,
    pack_transactions,
)
from chain.abci.validators import Standing
from chain.admission import address_of
from chain.ledger import Ledger, Sealed
from chain.records import MAX_WIRE_BYTES, Appointment, Refusal, Signed, ValidatorFault
from chain.service.io_verify import VerifyPool
from chain.state import State
from chain.state_root import compute_state_root
from chain.store.tables import NUMBER, TABLES, get_scalars

from .chain_helpers import OPERATOR, START_MS, Town

VALIDATORS = [keys.public_key(bytes([n]) * 32) for n in range(1, 5)]


@dataclass
class Shelf:
    """Books in memory: what a save makes durable is the standing and the head."""

    ledger: Ledger
    first: Signed | None = None
    saved: list[tuple[Standing, bytes]] = field(default_factory=list)
    snapshots: list[m.Snapshot] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    def save(self, standing: Standing) -> None:
        self.saved.append((standing, self.ledger.head.hash()))

    def is_known(self, record_id: bytes) -> bool:
        return self.ledger.lookup(record_id) is not None

    @property
    def genesis(self) -> Signed:
        assert self.first is not None
        return self.first

    def take_snapshot(self, height: int) -> None:
        state, head = self.ledger.state, self.ledger.head
        rows: list[Row] = [
            (name, key, packed)
            for name, table in TABLES.items()
            if is_carried(name)
            for key, packed in table.pack_all(state)
        ]
        rows += [(NUMBERS, n.encode(), NUMBER.pack(v)) for n, v in get_scalars(state).items()]
        self.chunks = list(cut_rows(rows))
        hashes = tuple(sha256(chunk).digest() for chunk in self.chunks)
        data = Manifest(head, tuple(self.ledger.log.peaks), hashes).encode()
        self.snapshots = [m.Snapshot(height, FORMAT, len(hashes), sha256(data).digest(), data)]

    def list_snapshots(self) -> list[m.Snapshot]:
        return self.snapshots

    def load_chunk(self, height: int, number: int) -> bytes:
        return self.chunks[number]

    def restore(self, restoring: Restoring, state: State, standing: Standing) -> None:
        manifest = restoring.manifest
        self.ledger = Ledger.resume(state, manifest.header, manifest.edge())
        self.saved.append((standing, self.ledger.head.hash()))


class Machine:
    """An application over a town's ledger, driven as an engine drives it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.shelf = Shelf(town.ledger, town.genesis)
        self.committed: list[tuple[int, Sequence[Executed]]] = []
        pool = VerifyPool(1)
        town.ledger.set_verify(pool.verify)
        self.app = Application(
            *(self.shelf, Standing(), pool),
            lambda height, done: self.committed.append((height, done)),
            dict.fromkeys(VALIDATORS, 10),
        )
        self.height = 0

    def init(self, network: Signed | None = None) -> m.Message:
        state = json.dumps({"genesis": (network or self.town.genesis).wire.hex()}).encode()
        powers = tuple(m.ValidatorUpdate(m.PublicKey(key), 10) for key in VALIDATORS)
        return self.app.handle(
            m.InitChainRequest(m.Timestamp(START_MS // 1000), "town", powers, state, 1)
        )

    def block(
        self, *txs: bytes, ms: int = START_MS, faults: Sequence[m.Misbehavior] = ()
    ) -> m.FinalizeBlockResponse:
        """Execute and commit a block, after proposing it."""
        self.height += 1
        time = m.Timestamp(ms // 1000, ms % 1000 * 1_000_000)
        proposal = m.ProcessProposalRequest(txs, tuple(faults), b"", self.height, time)
        assert self.app.handle(proposal) == m.ProcessProposalResponse(m.ACCEPT)
        request = m.FinalizeBlockRequest(txs, tuple(faults), b"", self.height, time)
        response = self.app.handle(request)
        assert isinstance(response, m.FinalizeBlockResponse), response
        self.app.handle(m.CommitRequest())
        return response

    def check(self, tx: bytes) -> m.CheckTxResponse:
        response = self.app.handle(m.CheckTxRequest(tx))
        assert isinstance(response, m.CheckTxResponse)
        return response


@pytest.fixture
def machine() -> Machine:
    machine = Machine(Town(3))
    machine.init()
    return machine


def joining(town: Town) -> list[bytes]:
    wires = [town.deposit(i).wire for i in range(town.count)]
    return wires + [town.sealed_registration(i).wire for i in range(town.count)]


def tx_of(*records: Signed) -> bytes:
    return cbor.encode([record.wire for record in records])


def fault_of(number: int, height: int = 3) -> m.Misbehavior:
    validator = m.Validator(address_of(VALIDATORS[number]), 10)
    return m.Misbehavior(m.DUPLICATE_VOTE, validator, height, m.Timestamp(START_MS // 1000), 40)


# Transactions


def test_batches_keep_order_and_stay_small() -> None:
    wires = [bytes([n % 251]) * (n * 37 % 9_000 + 1) for n in range(200)]
    txs = pack_transactions(wires)
    unpacked = [raw for tx in txs for raw in cbor.decode(tx)]  # type: ignore[union-attr]
    assert unpacked == wires
    assert max(map(len, txs)) <= MAX_WIRE_BYTES
    assert len(txs) < 20


def test_the_largest_record_fits_alone() -> None:
    (tx,) = pack_transactions([bytes(MAX_WIRE_BYTES)])
    assert len(tx) <= MAX_TX_BYTES


def refused(tx: bytes) -> str:
    answer = decode_transaction(tx)
    assert isinstance(answer, Refusal)
    return answer.reason


def test_what_is_no_array_of_good_records_is_refused() -> None:
    town = Town(1)
    good = town.deposit(0).wire
    for bad in (
        b"",
        b"\xff",
        good,
        cbor.encode([]),
        cbor.encode([1]),
        cbor.encode([good, good]),
        cbor.encode([good, good[:-1]]),
        cbor.encode([good]) + b"\0",
        bytes(MAX_TX_BYTES + 1),
    ):
        assert refused(bad) == "bad_shape"


def test_nobody_submits_a_genesis_or_a_fault() -> None:
    town = Town(1)
    fault = wire.seal(ValidatorFault(1, bytes(20), 1, 1, 1), b"", [])
    assert refused(cbor.encode([town.genesis.wire])) == "bad_shape"
    assert refused(cbor.encode([fault.wire])) == "bad_shape"
    (answer,) = town.ledger.submit([fault.wire], START_MS)
    assert not answer.accepted


def test_a_batch_is_decoded_once_and_bad_ones_are_not_kept() -> None:
    batches, town = Batches(), Town(1)
    tx = cbor.encode([town.deposit(0).wire])
    first = batches.get(tx)
    assert isinstance(first, Batch)
    assert batches.get(tx) is first
    assert isinstance(batches.get(tx[:-1]), Refusal)


# Handshake


def test_a_new_application_asks_for_the_first_block() -> None:
    machine = Machine(Town(1))
    info = machine.app.handle(m.InfoRequest("0.38.25"))
    assert isinstance(info, m.InfoResponse)
    assert (info.last_block_height, info.last_block_app_hash) == (0, b"")
    answer = machine.init()
    assert answer == m.InitChainResponse(machine.town.ledger.head.hash())


def test_the_genesis_of_another_network_stops_the_engine() -> None:
    machine = Machine(Town(1))
    other = Town(1, start_ms=START_MS + 1)
    assert isinstance(machine.init(other.genesis), m.ExceptionResponse)
    empty = machine.app.handle(m.InitChainRequest(app_state_bytes=b"{}"))
    assert isinstance(empty, m.ExceptionResponse)
    assert machine.shelf.saved == []


def test_info_names_the_block_that_is_durable(machine: Machine) -> None:
    machine.block(cbor.encode(joining(machine.town)))
    info = machine.app.handle(m.InfoRequest())
    assert isinstance(info, m.InfoResponse)
    standing, head = machine.shelf.saved[-1]
    assert (info.last_block_height, info.last_block_app_hash) == (standing.height, head)
    assert standing.height == 1


def test_a_standing_comes_back_from_its_bytes(machine: Machine) -> None:
    machine.block(faults=[fault_of(2)])
    standing = machine.app.standing
    assert Standing.decode(standing.encode()) == standing
    assert len(standing.powers) == 3
    with pytest.raises(ValueError, match="standing"):
        Standing.decode(cbor.encode([1]))


def test_a_block_out_of_order_stops_the_engine(machine: Machine) -> None:
    machine.block()
    later = m.FinalizeBlockRequest(height=5, time=m.Timestamp(START_MS // 1000))
    assert isinstance(machine.app.handle(later), m.ExceptionResponse)
    timeless = m.FinalizeBlockRequest(height=2)
    assert isinstance(machine.app.handle(timeless), m.ExceptionResponse)


# Mempool


def test_good_records_may_wait_and_nothing_changes(machine: Machine) -> None:
    head = machine.town.ledger.head
    assert machine.check(cbor.encode(joining(machine.town))) == m.CheckTxResponse()
    assert machine.town.ledger.head == head


def test_a_bad_signature_may_not_wait(machine: Machine) -> None:
    good = machine.town.deposit(0)
    forged = cbor.encode((3, 1, good.body, (bytes(64),)))
    answer = machine.check(cbor.encode([machine.town.deposit(1).wire, forged]))
    assert (answer.code, answer.codespace) == (m.CODE_REFUSED, "bad_signature")
    assert answer.log.startswith("record 1: ")


def test_who_is_not_known_yet_may_not_wait(machine: Machine) -> None:
    message = machine.town.message(0, 2)
    assert machine.check(tx_of(message)).codespace == "unknown_signer"


def test_replayed_records_may_not_fill_blocks(machine: Machine) -> None:
    tx = cbor.encode(joining(machine.town))
    machine.block(tx)
    assert machine.check(tx).codespace == "already"
    fresh = machine.town.deposit(0, reference=b"second")
    assert machine.check(tx_of(machine.town.deposit(0), fresh)).code == m.CODE_OK


# Proposals


def test_a_proposal_keeps_order_and_size_and_drops_what_is_known(machine: Machine) -> None:
    town = machine.town
    known, new = tx_of(town.deposit(0)), tx_of(town.deposit(1))
    machine.block(known)
    double = tx_of(town.deposit(1), town.deposit(0))
    large = cbor.encode(joining(town))
    request = m.PrepareProposalRequest(len(new) + 20, (known, b"junk", large, new, double))
    assert machine.app.handle(request) == m.PrepareProposalResponse((new,))


def test_what_is_proposed_fits_as_the_engine_counts(machine: Machine) -> None:
    txs = [tx_of(machine.town.deposit(0, reference=b"%d" % n)) for n in range(50)]
    for room in range(0, 9_000, 171):
        answer = machine.app.handle(m.PrepareProposalRequest(room, tuple(txs)))
        assert isinstance(answer, m.PrepareProposalResponse)
        assert len(answer.encode()) <= room
        assert answer.txs == tuple(txs[: len(answer.txs)])


def test_a_proposal_of_junk_or_of_an_earlier_time_is_refused(machine: Machine) -> None:
    tx = tx_of(machine.town.deposit(0))
    now = m.Timestamp(START_MS // 1000)
    accept, reject = m.ProcessProposalResponse(m.ACCEPT), m.ProcessProposalResponse(m.REJECT)

    def proposed(*txs: bytes, time: m.Timestamp | None = now) -> m.Message:
        return machine.app.handle(m.ProcessProposalRequest(txs, height=1, time=time))

    assert proposed(tx) == accept
    assert proposed(tx, b"junk") == reject
    assert proposed(tx, tx) == reject
    assert proposed(tx, time=m.Timestamp(START_MS // 1000 - 1)) == reject
    assert proposed(tx, time=None) == reject


# Execution


def test_a_block_of_the_engine_is_a_block_of_the_ledger(machine: Machine) -> None:
    town = machine.town
    same = Town(3)
    wires = joining(town)
    answer = machine.block(cbor.encode(wires[:3]), cbor.encode(wires[3:]))
    same.ledger.submit(wires, START_MS)
    assert town.ledger.head == same.ledger.head
    assert answer.app_hash == same.ledger.head.hash()
    assert [result.code for result in answer.tx_results] == [0, 0]
    height, executed = machine.committed[-1]
    assert (height, [len(item.results) for item in executed]) == (1, [3, 3])


def test_results_are_the_rules_own_in_order(machine: Machine) -> None:
    town = machine.town
    machine.block(tx_of(town.deposit(0)))
    poor = town.sealed_registration(1) if town.params.bond_ucr else town.open_session(0, 7)
    answer = machine.block(tx_of(town.deposit(0), town.sealed_registration(0), poor))
    (result,) = answer.tx_results
    data = cbor.decode(result.data)
    assert isinstance(data, tuple)
    assert data[:2] == ((1, 0, "already"), (1, 1, "ok"))
    assert data[2][0] == 0  # type: ignore[index]
    assert result.code == m.CODE_REFUSED
    assert result.log


def test_junk_that_got_into_a_block_changes_nothing(machine: Machine) -> None:
    before = machine.town.ledger.head
    request = m.FinalizeBlockRequest((b"\x80",), height=1, time=m.Timestamp(START_MS // 1000))
    answer = machine.app.handle(request)
    assert isinstance(answer, m.FinalizeBlockResponse)
    assert [result.code for result in answer.tx_results] == [m.CODE_REFUSED]
    assert machine.town.ledger.head == before


def test_an_empty_block_changes_nothing_but_the_height(machine: Machine) -> None:
    before = machine.town.ledger.head.hash()
    assert machine.block().app_hash == before
    assert machine.app.standing.height == 1


def test_epochs_close_by_the_blocks_own_time(machine: Machine) -> None:
    machine.block(ms=START_MS + 3 * machine.town.params.epoch_ms + 5)
    assert machine.town.ledger.state.epoch == 3
    assert machine.town.ledger.state.time_ms == START_MS + 30_005


def test_the_same_blocks_replayed_lead_to_the_same_head() -> None:
    blocks: list[Sealed] = []
    machine = Machine(Town(3, on_block=blocks.append))
    machine.init()
    wires = joining(machine.town)
    machine.block(cbor.encode(wires))
    machine.block(ms=START_MS + 10_000, faults=[fault_of(1)])
    again = Ledger(machine.town.genesis)
    for sealed in blocks[1:]:
        again.replay(sealed.block)
    assert again.head == machine.town.ledger.head
    assert again.state.faults == machine.town.ledger.state.faults


# Validators


def powers(answer: m.FinalizeBlockResponse) -> dict[bytes, int]:
    return {v.pub_key.ed25519: v.power for v in answer.validator_updates if v.pub_key}


def test_two_votes_cost_all_power_once_and_are_on_the_ledger(machine: Machine) -> None:
    answer = machine.block(faults=[fault_of(2), fault_of(2)])
    assert powers(answer) == {VALIDATORS[2]: 0}
    assert len(machine.town.ledger.state.faults) == 1
    assert machine.town.ledger.state.log.size == 2
    assert powers(machine.block(faults=[fault_of(2)])) == {}
    assert machine.town.ledger.state.log.size == 2


def test_the_last_validator_stays_whatever_it_did(machine: Machine) -> None:
    for number in range(3):
        machine.block(faults=[fault_of(number)])
    assert machine.app.standing.powers == {VALIDATORS[3]: 10}
    assert powers(machine.block(faults=[fault_of(3)])) == {}


def appoint(town: Town, key: bytes, weight: int, first: int, until: int) -> Signed:
    record = Appointment(4, key, "v", weight, first, until, (0,))
    return wire.seal(record, town.network_id, [OPERATOR])


def test_appointments_bring_validators_and_their_end(machine: Machine) -> None:
    town, new = machine.town, keys.public_key(bytes([9]) * 32)
    first = town.params.bind_epochs
    answer = machine.block(tx_of(appoint(town, new, 7, first, first + 2)))
    assert (answer.tx_results[0].code, powers(answer)) == (0, {})
    epoch_ms = town.params.epoch_ms
    assert powers(machine.block(ms=START_MS + first * epoch_ms)) == {new: 7}
    assert powers(machine.block(ms=START_MS + (first + 1) * epoch_ms)) == {}
    assert powers(machine.block(ms=START_MS + (first + 2) * epoch_ms)) == {new: 0}


def test_an_appointment_decides_about_a_first_validator_too(machine: Machine) -> None:
    town, first = machine.town, machine.town.params.bind_epochs
    machine.block(tx_of(appoint(town, VALIDATORS[0], 3, first, first + 1)))
    epoch_ms = town.params.epoch_ms
    assert powers(machine.block(ms=START_MS + first * epoch_ms)) == {VALIDATORS[0]: 3}
    assert powers(machine.block(ms=START_MS + (first + 1) * epoch_ms)) == {VALIDATORS[0]: 0}


# Starting late


def settlement_ms(town: Town) -> int:
    return START_MS + town.params.settlement_epochs * town.params.epoch_ms


def test_a_block_that_settles_carries_nothing(machine: Machine) -> None:
    town, tx = machine.town, tx_of(machine.town.deposit(0))
    time = m.Timestamp(settlement_ms(town) // 1000)
    proposed = machine.app.handle(m.PrepareProposalRequest(1_000_000, (tx,), time=time))
    assert proposed == m.PrepareProposalResponse(())
    answer = machine.app.handle(m.ProcessProposalRequest((tx,), height=1, time=time))
    assert answer == m.ProcessProposalResponse(m.REJECT)
    machine.block(ms=settlement_ms(town))
    assert machine.block(tx, ms=settlement_ms(town)).tx_results[0].code == m.CODE_OK


@pytest.fixture
def settled() -> Machine:
    """A machine with hotspots, messages and money, just after a settlement."""
    machine = Machine(Town(4))
    machine.init()
    town = machine.town
    machine.block(cbor.encode(joining(town)))
    for epoch in range(2, 6):
        machine.block(ms=town.time_ms(epoch))
        town.hear(epoch, lambda _, heard: heard)
        messages = [town.message(i, epoch).wire for i in range(town.count)]
        machine.block(cbor.encode(messages), ms=town.time_ms(epoch, 9_000))
    machine.block(ms=settlement_ms(town))
    return machine


def newcomer(town: Town) -> Machine:
    return Machine(Town(town.count))


def offer(new: Machine, old: Machine) -> m.Message:
    (snapshot,) = old.shelf.snapshots
    return new.app.handle(m.OfferSnapshotRequest(snapshot, old.town.ledger.head.hash()))


def test_a_newcomer_starts_from_a_snapshot_and_goes_on_alike(settled: Machine) -> None:
    new, old = newcomer(settled.town), settled
    assert offer(new, old) == m.OfferSnapshotResponse(m.SNAPSHOT_ACCEPT)
    for number in range(old.shelf.snapshots[0].chunks):
        request = m.LoadSnapshotChunkRequest(old.height, FORMAT, number)
        chunk = old.app.handle(request)
        assert isinstance(chunk, m.LoadSnapshotChunkResponse)
        applied = new.app.handle(m.ApplySnapshotChunkRequest(number, chunk.chunk, "peer"))
        assert applied == m.ApplySnapshotChunkResponse(m.CHUNK_ACCEPT)
    info = new.app.handle(m.InfoRequest())
    assert isinstance(info, m.InfoResponse)
    assert info.last_block_height == old.height
    assert info.last_block_app_hash == old.town.ledger.head.hash()
    assert new.app.standing == old.app.standing
    new.height = old.height
    town = settled.town
    town.hear(6, lambda _, heard: heard)
    message = cbor.encode([town.message(i, 6).wire for i in range(town.count)])
    for machine in (old, new):
        machine.block(message, ms=settlement_ms(town) + 9_000)
        machine.block(ms=settlement_ms(town) + 10_000)
    assert new.shelf.ledger.head == old.town.ledger.head
    assert compute_state_root(new.shelf.ledger.state) == compute_state_root(town.ledger.state)


def test_a_snapshot_of_another_hash_or_format_is_not_taken(settled: Machine) -> None:
    new = newcomer(settled.town)
    (snapshot,) = settled.shelf.snapshots
    right = settled.town.ledger.head.hash()
    for offered, app_hash, result in (
        (snapshot, bytes(32), m.SNAPSHOT_REJECT),
        (replace(snapshot, metadata=b"\x80"), right, m.SNAPSHOT_REJECT),
        (replace(snapshot, chunks=7), right, m.SNAPSHOT_REJECT),
        (replace(snapshot, format=2), right, m.SNAPSHOT_REJECT_FORMAT),
        (None, right, m.SNAPSHOT_REJECT_FORMAT),
    ):
        answer = new.app.handle(m.OfferSnapshotRequest(offered, app_hash))
        assert answer == m.OfferSnapshotResponse(result)
    chunk = m.ApplySnapshotChunkRequest(0, b"", "peer")
    assert new.app.handle(chunk) == m.ApplySnapshotChunkResponse(m.CHUNK_ABORT)
    assert new.shelf.saved == []


def test_a_forged_chunk_is_fetched_again_from_somebody_else(settled: Machine) -> None:
    new = newcomer(settled.town)
    offer(new, settled)
    forged = m.ApplySnapshotChunkRequest(0, settled.shelf.chunks[0][:-1] + b"x", "liar")
    assert new.app.handle(forged) == m.ApplySnapshotChunkResponse(m.CHUNK_RETRY, (0,), ("liar",))


def test_rows_that_have_another_root_are_not_taken(settled: Machine) -> None:
    town = settled.town
    manifest = decode_manifest(settled.shelf.snapshots[0].metadata, town.ledger.head.hash())
    assert isinstance(manifest, Manifest)
    rows = [row for chunk in settled.shelf.chunks for row in read_chunk(chunk)]
    assert isinstance(build_state(town.genesis, manifest.header, rows), State)
    for number in range(len(rows)):
        name, key, packed = rows[number]
        bent = [*rows[:number], (name, key, packed + b"\1"), *rows[number + 1 :]]
        for bad in (bent, [*rows[:number], *rows[number + 1 :]]):
            state = build_state(town.genesis, manifest.header, bad)
            absent_zero = name == NUMBERS and not packed and len(bad) < len(rows)
            assert isinstance(state, Refusal) is not absent_zero, (name, key, packed)


# The rest


def test_questions_are_answered_from_the_committed_state(machine: Machine) -> None:
    town = machine.town
    machine.block(tx_of(town.deposit(0)))
    ask = machine.app.handle
    assert ask(m.QueryRequest(path="/head")) == m.QueryResponse(
        value=town.ledger.head.encode(), height=1
    )
    found = ask(m.QueryRequest(town.deposit(0).record_id, "/record"))
    assert isinstance(found, m.QueryResponse)
    assert found.value == b"\1"
    for bad in (m.QueryRequest(path="/nothing"), m.QueryRequest(bytes(300), "/record")):
        answer = ask(bad)
        assert isinstance(answer, m.QueryResponse)
        assert answer.code == m.CODE_REFUSED


def test_vote_extensions_are_off(machine: Machine) -> None:
    assert machine.app.handle(m.ExtendVoteRequest()) == m.ExtendVoteResponse()
    none = m.VerifyVoteExtensionRequest(height=2)
    assert machine.app.handle(none) == m.VerifyVoteExtensionResponse(m.ACCEPT)
    some = replace(none, vote_extension=b"x")
    assert machine.app.handle(some) == m.VerifyVoteExtensionResponse(m.REJECT)


def test_echo_and_flush(machine: Machine) -> None:
    assert machine.app.handle(m.EchoRequest("hello")) == m.EchoResponse("hello")
    assert machine.app.handle(m.FlushRequest()) == m.FlushResponse()
