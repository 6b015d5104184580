"""The pool that verifies ahead: same answers in the same order, bounded, and never a decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
from chain_helpers import Town
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import keys, wire
from chain.ledger import Ledger, Sealed
from chain.records import Finding, Receipt, Refusal, Signed
from chain.rules.signatures import get_signature_checks
from chain.service import io_verify
from chain.service.io_verify import CHUNK_ITEMS, Item, VerifyPool
from chain.vectors.suite import Suite
from chain.vectors.suites import SUITES

SEEDS = [sha256(b"%d" % n).digest() for n in range(8)]


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifyPool]:
    with VerifyPool(4) as shared:
        yield shared


def items_of(good: list[bool]) -> list[Item]:
    items = []
    for number, is_good in enumerate(good):
        seed, message = SEEDS[number % 8], number.to_bytes(8, "big")
        signature = keys.sign_message(seed, message if is_good else b"another message")
        items.append((keys.public_key(seed), message, signature))
    return items


@settings(max_examples=40, deadline=None)
@given(good=st.lists(st.booleans(), max_size=5 * CHUNK_ITEMS))
def test_answers_come_in_the_order_of_the_items(pool: VerifyPool, good: list[bool]) -> None:
    assert pool.check(items_of(good)) == good


def test_a_pool_needs_a_thread_and_starts_again_after_closing() -> None:
    with pytest.raises(ValueError, match="thread"):
        VerifyPool(0)
    pool, good = VerifyPool(2), [True] * 3 * CHUNK_ITEMS
    for _ in range(2):
        assert pool.check(items_of(good)) == good
        pool.close()
    pool.close()


class Counting:
    """Counts what is really verified."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = io_verify.verify_message

        def counted(key: bytes, message: bytes, signature: bytes) -> bool:
            self.count += 1
            return real(key, message, signature)

        monkeypatch.setattr(io_verify, "verify_message", counted)


def test_what_was_verified_is_remembered_whether_it_held_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting, pool = Counting(monkeypatch), VerifyPool(1)
    key, body = keys.public_key(SEEDS[0]), b"body"
    signature = keys.sign(SEEDS[0], "epoch", bytes(32), body)
    for _ in range(3):
        assert pool.verify(key, "epoch", bytes(32), body, signature)
        assert not pool.verify(key, "deposit", bytes(32), body, signature)
        assert not pool.verify(key, "epoch", bytes(31) + b"1", body, signature)
        assert not pool.verify(key, "epoch", bytes(32), body + b"1", signature)
    assert counting.count == 4


def test_memory_is_bounded_by_entries_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_verify, "GENERATION_BYTES", 1_000)
    pool, key, signature = VerifyPool(1, remembered=10), bytes(32), bytes(64)
    for number in range(200):
        pool.verify(key, "epoch", bytes(32), b"%d" % number, signature)
        assert len(pool._young) + len(pool._old) <= 20
    for number in range(200):
        pool.verify(key, "epoch", bytes(32), b"%d" % number * 100, signature)
        held = (*pool._young, *pool._old)
        assert sum(len(message) for _, message, _ in held) <= 2 * (1_000 + 400)


def decoded(wires: list[bytes]) -> list[Signed]:
    records = [wire.decode(raw) for raw in wires]
    return [record for record in records if not isinstance(record, Refusal)]


def town_blocks() -> tuple[Town, list[Sealed]]:
    """Deposits, registrations, messages, a session, claims and a forged one."""
    sealed: list[Sealed] = []
    town = Town(4, on_block=sealed.append)
    town.join()
    town.run(2, 4)
    town.submit(town.open_session(0, 1))
    receipt = town.receipt(0, 1, Receipt(0, 1, 1 << 20, 0, 0, bytes(32)))
    town.submit(town.claim(replace(receipt, payee_signature=bytes(64))), town.claim(receipt))
    town.run(5, 7)
    return town, sealed


def test_prefetched_blocks_replay_to_the_same_headers_and_verify_nothing_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, sealed = town_blocks()
    counting, pool = Counting(monkeypatch), VerifyPool(2)
    genesis = wire.decode(sealed[0].block.wires[0])
    assert not isinstance(genesis, Refusal)
    ledger = Ledger(genesis, pool.verify)
    for item in sealed[1:]:
        pool.prefetch(ledger.state, decoded(list(item.block.wires)))
        before = counting.count
        assert ledger.replay(item.block).header == item.header
        assert counting.count == before
    pool.close()


def test_prefetching_twice_verifies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    town, _ = town_blocks()
    counting, pool = Counting(monkeypatch), VerifyPool(2)
    records = [town.message(i, 7) for i in range(4)]
    assert pool.prefetch(town.ledger.state, records) == 4
    assert pool.prefetch(town.ledger.state, records * 2) == 0
    assert counting.count == 4


def test_a_bad_signature_that_was_prefetched_is_still_refused() -> None:
    town, pool = Town(2), VerifyPool(1)
    town.ledger.set_verify(pool.verify)
    forged = wire.seal(town.registration(0), town.network_id, [town.keys[1], town.owner_seeds[0]])
    assert pool.prefetch(town.ledger.state, [forged]) == 2
    assert town.submit(forged)[0].reason == "bad_signature"


def test_nothing_is_asked_about_what_the_state_does_not_know() -> None:
    town = Town(2)
    state = town.ledger.state
    stray = town.claim(town.receipt(0, 1, Receipt(9, 1, 1, 0, 0, bytes(32))))
    assert get_signature_checks(state, stray) == []
    deposit = replace(town.deposit(0).record, operators=(9,))  # type: ignore[type-var]
    unknown = wire.seal(deposit, town.network_id, [SEEDS[0]])
    assert get_signature_checks(state, unknown) == []
    assert get_signature_checks(state, town.genesis) == []


def test_evidence_inside_a_finding_is_verified_ahead_too() -> None:
    town, _ = town_blocks()
    first, second = town.message(1, 6), town.message(1, 6, commit=bytes(32))
    finding = Finding(1, 1, 6, (first.wire, second.wire), town.owner(0))
    signed = wire.seal(finding, town.network_id, [town.owner_seeds[0]])
    asked = get_signature_checks(town.ledger.state, signed)
    assert [(name, body) for _, name, body, _ in asked] == [
        ("finding", signed.body),
        ("epoch", first.body),
        ("epoch", second.body),
    ]
    assert all(keys.verify(k, name, town.network_id, body, s) for k, name, body, s in asked)


@pytest.mark.parametrize("suite", [s for s in SUITES if "run" in s.functions], ids=lambda s: s.name)
def test_prefetching_leaves_the_rules_of_every_record_nothing_to_verify(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rule accepted had been asked ahead, for every type that the vectors' runs accept."""
    counting, pool = Counting(monkeypatch), VerifyPool(1)
    for name, _, given_steps in suite.generate():
        genesis = wire.decode(bytes.fromhex(given_steps["genesis"]))
        assert not isinstance(genesis, Refusal)
        ledger = Ledger(genesis, pool.verify)
        for step in given_steps["steps"] if name.startswith("minimal/") else []:
            ledger.tick(step["time_ms"])
            faults = [bytes.fromhex(fault) for fault in step.get("faults", ())]
            ledger.submit([], step["time_ms"], faults)
            for raw in map(bytes.fromhex, step["wires"]):
                records = decoded([raw])
                pool.prefetch(ledger.state, records)
                before = counting.count
                result = ledger.submit([raw], step["time_ms"])[0]
                is_beacon_proof = isinstance(records[0].record, Finding) if records else False
                if result.accepted and not is_beacon_proof:
                    assert counting.count == before, (name, records[0].record.NAME)
