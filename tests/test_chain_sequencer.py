"""The sequencer verifies on all cores before it applies, and nobody can tell but by the clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
from chain_helpers import Town
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import cbor, keys, wire
from chain.io_ledger import DurableLedger
from chain.ledger import Ledger, Sealed
from chain.packed import pack_receipts
from chain.records import Receipt, Receipts, SubmitResult
from chain.service import io_sequencer, io_verify
from chain.service.io_sequencer import BLOCK_BYTES, Request, Sequencer, get_turn
from chain.store.io_store import Store

KINDS = ("deposit", "forged", "junk", "message", "receipts", "again", "session", "register")


@pytest.fixture(scope="module")
def town() -> Town:
    """Four hotspots in epoch 2 with two sessions; its ledger is never changed by a test."""
    town = Town(4)
    town.join()
    town.ledger.tick(town.time_ms(2))
    town.submit(town.open_session(0, 1), town.open_session(2, 3))
    return town


def forge(raw: bytes) -> bytes:
    kind, version, body, signatures = cbor.decode(raw)  # type: ignore[misc]
    bad = tuple(sha256(s).digest() * 2 for s in signatures)  # type: ignore[union-attr,arg-type]
    return cbor.encode((kind, version, body, bad))


def wires_of(town: Town, drawn: list[tuple[str, int]]) -> list[bytes]:
    """Records of the kinds that a service gets, good and bad, some of which undo others."""
    wires: list[bytes] = []
    for kind, number in drawn:
        if kind in ("deposit", "forged"):
            raw = town.deposit(0, 1 + number, b"drawn %d" % number).wire
            wires.append(raw if kind == "deposit" else forge(raw))
        elif kind == "junk":
            wires.append(b"junk %d" % number)
        elif kind == "message":
            commit = sha256(b"%d" % (number // 8)).digest()
            wires.append(town.message(number % 4, 2, commit=commit).wire)
        elif kind == "receipts":
            session = number % 2
            bare = Receipt(session, number, number << 16, 0, 0, bytes(32))
            receipt = town.receipt(2 * session, 2 * session + 1, bare)
            if number % 5 == 0:
                receipt = replace(receipt, payee_signature=bytes(64))
            wires.append(wire.seal(Receipts(pack_receipts([receipt])), town.network_id, []).wire)
        elif kind == "session":
            wires.append(town.open_session(number % 4, (number + 1) % 4, nonce=number).wire)
        elif kind == "register":  # another owner: which signatures count changes within the batch
            owner = town.owner_seeds[number % 3]
            seeds = [town.keys[3], owner, town.owner_seeds[3]]
            record = town.registration(3, owner=keys.public_key(owner), height_m=10 + number % 3)
            wires.append(wire.seal(record, town.network_id, seeds[: 2 + number % 2]).wire)
        elif wires:
            wires.append(wires[number % len(wires)])
    return wires


class Books(DurableLedger):
    """A ledger of its own that goes on where a town's stands, without a disk."""

    def __init__(self, town: Town) -> None:
        state = town.ledger.state.copy()
        ledger = Ledger.resume(state, town.ledger.head, state.log)
        super().__init__(ledger, Store.create(":memory:"))
        self.blocks: list[Sealed] = []
        ledger.find, ledger.on_block = None, self.blocks.append

    def save(self, meta: object = None) -> None:
        """Nothing is kept."""

    def close_epoch(self, town: Town) -> bytes:
        """The root of everything after the current epoch."""
        self.ledger.tick(town.time_ms(self.ledger.state.epoch + 1))
        return self.ledger.head.state_root


@pytest.fixture(scope="module", autouse=True)
def _still_clock_and_tiny_chunks(town: Town) -> Iterator[None]:
    """Epoch 2 stands still, commits don't wait, and even two signatures go to threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chain.io_ledger.now_ms", lambda: town.time_ms(2, 10))
        patch.setattr(io_sequencer, "GROUP_COMMIT_S", 0.0)
        patch.setattr(io_verify, "INLINE_ITEMS", 2)
        patch.setattr(io_verify, "CHUNK_ITEMS", 2)
        yield


def serve(books: Books, requests: list[list[bytes]], threads: int) -> list[SubmitResult]:
    """What a sequencer answers to requests that come one after another."""

    async def run() -> list[list[SubmitResult]]:
        engine = Sequencer(books, threads=threads)
        engine.start()
        answers = await asyncio.gather(*(engine.submit(wires) for wires in requests))
        await engine.stop()
        return answers

    return [result for answer in asyncio.run(run()) for result in answer]


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 31)), max_size=24),
    cut=st.integers(0, 24),
    threads=st.integers(1, 4),
)
def test_answers_state_and_log_are_those_of_one_thread_without_a_pool(
    town: Town, drawn: list[tuple[str, int]], cut: int, threads: int
) -> None:
    wires = wires_of(town, drawn)
    plain, pooled = Books(town), Books(town)
    expected = plain.ledger.submit(wires, town.time_ms(2, 10))
    assert serve(pooled, [wires[:cut], wires[cut:]], threads) == expected
    assert pooled.ledger.log.root() == plain.ledger.log.root()
    assert pooled.close_epoch(town) == plain.close_epoch(town)
    assert [b.rows for b in pooled.blocks] == [b.rows for b in plain.blocks]


def test_every_kind_is_accepted_and_refused_somewhere(town: Town) -> None:
    """The property above compares something: its records meet every answer that matters."""
    drawn = [(kind, number) for kind in KINDS for number in range(12, 0, -1)]
    reasons = {r.reason for r in serve(Books(town), [wires_of(town, drawn)], 2)}
    assert {"ok", "already", "bad_signature", "bad_shape", "fork", "stale_receipt"} <= reasons


def test_the_rules_find_every_answer_in_the_pools_memory(town: Town) -> None:
    """Nothing is verified by the thread that applies: all of it was on other threads before."""
    here, seen = threading.get_ident(), set()

    def watched(*item: bytes) -> bool:
        seen.add(threading.get_ident())
        return keys.verify_message(*item)

    drawn = [("deposit", n) for n in range(40)] + [("receipts", n) for n in range(1, 40)]
    wires = wires_of(town, drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_verify, "verify_message", watched)
        results = serve(Books(town), [wires], 3)
    assert sum(result.accepted for result in results) > 40
    assert seen
    assert here not in seen


def test_http_goes_on_while_signatures_are_verified(town: Town) -> None:
    """Something else on the loop runs between the arrival of a batch and its answer."""
    wires = wires_of(town, [("deposit", n) for n in range(64)])
    released, turns = threading.Event(), []

    def slow(*item: bytes) -> bool:
        return released.wait(120) and keys.verify_message(*item)

    async def run() -> list[SubmitResult]:
        engine = Sequencer(Books(town), threads=2)
        engine.start()
        answer = asyncio.create_task(engine.submit(wires))
        for _ in range(50):
            await asyncio.sleep(0.001)
            turns.append((engine.waiting, answer.done()))
        released.set()
        result = await answer
        await engine.stop()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_verify, "verify_message", slow)
        results = asyncio.run(run())
    assert turns == [(64, False)] * 50
    assert all(result.accepted for result in results)


def test_a_large_request_becomes_blocks_of_a_mebibyte(town: Town) -> None:
    books = Books(town)
    wires = wires_of(town, [("deposit", n) for n in range(300, 500)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_sequencer, "BLOCK_BYTES", 10 * len(wires[100]))
        results = serve(books, [wires[:150], wires[150:]], 2)
    assert [r.record_id for r in results] == [wire.record_id_of(raw) for raw in wires]
    assert all(result.accepted for result in results)
    assert [len(block.block.wires) for block in books.blocks][:19] == [10] * 19


@given(st.lists(st.lists(st.integers(1, 400_000), max_size=5), max_size=6))
def test_a_block_takes_the_next_records_in_order_and_one_at_least(sizes: list[list[int]]) -> None:
    requests = [
        Request([bytes(size) for size in each], None, None)  # type: ignore[arg-type]
        for each in sizes
    ]
    turn = get_turn(requests)
    given = [size for each in sizes for size in each]
    taken = [len(raw) for request, size in turn for raw in request.wires[:size]]
    assert taken == given[: len(taken)]
    assert sum(taken[:-1]) < BLOCK_BYTES
    assert len(taken) == len(given) or sum(taken) >= BLOCK_BYTES


def test_a_request_without_records_is_answered_at_once(town: Town) -> None:
    assert serve(Books(town), [[], []], 1) == []


def test_another_ledger_behind_the_same_service_keeps_the_pool(town: Town) -> None:
    books = Books(town)
    engine = Sequencer(books, threads=1)
    other = Books(town).ledger
    books.adopt(other)
    other.submit(wires_of(town, [("deposit", 3)]), town.time_ms(2, 10))
    assert engine.pool.tally.checked == 1
