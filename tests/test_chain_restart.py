"""What a restart must not change: explanations of long ago, proofs, and that both cost the same."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from chain.explain import explain_beacon
from chain.io_explain import explain
from chain.io_judgement import load_assertion, load_judgement
from chain.io_ledger import DATABASE
from chain.ledger import Sealed
from chain.proofs.log import CompactRange, MerkleLog, verify_consistency, verify_inclusion
from chain.records import Reception
from chain.store.io_log import STEP, StoreLog, decode_edge, encode_edge, grow
from chain.store.io_store import Store

from .chain_helpers import FREQUENCY_MHZ, Town

LAST_EPOCH = 16


class Village(Town):
    """Hotspots that lie, move, sell, retire their chains and come late, epoch by epoch."""

    def edit(self, witness: int, heard: list[Reception]) -> list[Reception]:
        """What a witness claims to have heard: each of them bends something else."""
        epoch = self.ledger.state.epoch
        if witness == 1:  # claims what is too loud, too faint, and on another channel
            changes = ({"rssi_cdbm": 0}, {"rssi_cdbm": -20_000}, {"frequency_mhz": 5_180})
            change = changes[epoch % 3]
            return [replace(r, **change) if r.heard == 0 else r for r in heard]  # type: ignore[arg-type]
        if witness == 2:  # makes tags up, repeats itself, and hears who isn't there
            made_up = Reception(77, 0, 0, -6_000, FREQUENCY_MHZ, bytes(4))
            wrong = [replace(r, tag=b"zzzz") if r.heard == 3 else r for r in heard]
            return [*wrong, *wrong[:1], made_up]
        if witness == 3:  # hears nothing of 4, so that nothing between them is mutual
            return [r for r in heard if r.heard != 4]
        return heard

    def live(self) -> None:
        """Sixteen epochs with everything in them."""
        self.join()
        for epoch in range(2, LAST_EPOCH + 1):
            absent = frozenset({5} if epoch % 4 == 0 else ())
            self.run_epoch(epoch, self.edit, absent)
            if epoch % 4 == 1:  # what it should have said an epoch ago, late
                self.submit(self.message(5, epoch - 1))
            if epoch == 10:  # another report than the one it committed to
                self.heard[epoch][6] = self.heard[epoch][6][:14]
            if epoch == 6:
                self.submit(self.sealed_registration(0, height_m=30))
            if epoch == 7:  # the channel that it is registered on moves away
                self.submit(self.sealed_registration(4, frequency_mhz=2_412))
            if epoch == 9:
                self.submit(self.sealed_registration(4, height_m=11))
        self.ledger.tick(self.time_ms(LAST_EPOCH + 2))


class Answers:
    """Explanations of every beacon, made right after it was judged."""

    def __init__(self) -> None:
        self.blocks: list[Sealed] = []
        self.given: dict[tuple[int, int, int], dict[str, Any]] = {}

    def note(self, sealed: Sealed) -> None:
        """Keep a block and explain what it judged."""
        self.blocks.append(sealed)
        for judgement in sealed.effects.verdicts:
            for beaconer in (*range(9), 77):
                for sequence in range(judgement.params.beacons_per_epoch):
                    key = (beaconer, judgement.epoch, sequence)
                    self.given[key] = explain_beacon(judgement, beaconer, sequence)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    answers = Answers()
    owners = {7: sha256(b"owner6").digest()}  # 6 and 7 are of one owner
    village = Village(9, seeds=2, owners=owners, on_block=answers.note)
    village.places[8] = (*village.places[7],)  # 7 and 8 stand in one cell
    village.live()
    path = tmp_path_factory.mktemp("lived") / DATABASE
    store = Store.create(str(path))
    store.append(answers.blocks)
    store.close()
    return path, answers


def test_old_beacons_are_explained_as_they_were_when_they_were_judged(
    lived: tuple[Path, Answers],
) -> None:
    path, answers = lived
    reasons = {r["verdict"] for answer in answers.given.values() for r in answer["receptions"]}
    assert reasons >= {"counted", "not_mutual", "wrong_tag", "duplicate", "unknown_beaconer"}
    assert reasons >= {"rssi_too_high", "rssi_too_low", "wrong_frequency", "no_reveal", "too_close"}
    assert reasons >= {"same_owner", "not_drawn", "no_commit", "commit_mismatch"}
    store = Store.open(path, read_only=True)
    for (beaconer, epoch, sequence), answer in answers.given.items():
        assert explain(store, f"{beaconer}:{epoch}:{sequence}") == answer
    with pytest.raises(UserError, match="no verdicts"):
        explain(store, f"0:{LAST_EPOCH + 1}:0")
    store.close()


def test_what_is_read_for_an_explanation_does_not_grow_with_the_log(
    lived: tuple[Path, Answers],
) -> None:
    store = Store.open(lived[0], read_only=True)
    statements: list[str] = []
    store.connection.set_trace_callback(statements.append)
    counts = []
    for epoch in (3, LAST_EPOCH - 1):
        statements.clear()
        judgement = load_judgement(store, epoch, 0)
        assert judgement is not None
        assert 0 in judgement.reports
        counts.append(len(statements))
    store.connection.set_trace_callback(None)
    assert abs(counts[0] - counts[1]) <= 4  # assertions are looked up, records are not read through
    plan = "EXPLAIN QUERY PLAN "
    for statement in {line.split(" WHERE")[0]: line for line in statements}.values():
        steps = [row["detail"] for row in store.rows(plan + statement)]
        assert all(step.startswith("SEARCH") or "LIMIT" in statement for step in steps), statement
    store.close()


ids = st.lists(st.binary(min_size=32, max_size=32), max_size=5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=6), st.randoms(use_true_random=False))
def test_proofs_from_the_database_are_those_of_the_log_in_memory(
    parts: list[int], random: Any
) -> None:
    """The right edge survives being written and read between the parts."""
    store, memory, edge = Store.create(":memory:"), MerkleLog(), CompactRange()
    leaves = [sha256(b"leaf %d" % n).digest() for n in range(sum(parts))]
    done = 0
    for part in parts:
        edge, rows = grow(decode_edge(encode_edge(edge)), leaves[done : done + part])
        store.connection.executemany("INSERT INTO tree VALUES (?, ?, ?)", rows)
        assert all(level % STEP == 0 for level, _, _ in rows)
        done += part
    values = ((seq, 0, 3, leaf, b"", "ok", None) for seq, leaf in enumerate(leaves))
    store.connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    for leaf in leaves:
        memory.append(leaf)
    log = StoreLog(store.connection, edge)
    assert (len(log), edge.root(), log.root()) == (len(memory), memory.root(), memory.root())
    for _ in range(8 if leaves else 0):
        size = random.randint(1, len(leaves))
        at, old = random.randrange(size), random.randint(1, size)
        proof = log.inclusion_proof(at, size)
        assert proof == memory.inclusion_proof(at, size)
        verify_inclusion(at, size, leaves[at], proof, memory.root(size))
        proof = log.consistency_proof(old, size)
        assert proof == memory.consistency_proof(old, size)
        verify_consistency(old, size, memory.root(old), log.root(size), proof)
    store.close()


@given(ids, st.binary(min_size=1, max_size=40))
def test_a_damaged_right_edge_is_refused(leaves: list[bytes], junk: bytes) -> None:
    edge, _ = grow(CompactRange(), leaves)
    raw = encode_edge(edge)
    assert decode_edge(raw).root() == edge.root()
    with pytest.raises(ValueError, match="right edge"):
        decode_edge(raw + junk)


def test_a_hole_in_the_stored_log_is_an_error_not_a_wrong_proof(
    lived: tuple[Path, Answers],
) -> None:
    store = Store.open(lived[0], read_only=True)
    log = StoreLog(store.connection, store.log.edge)
    log.edge, _ = grow(log.edge, [bytes(32)])  # a leaf that no record backs
    with pytest.raises(IndexError, match="lacks"):
        log.inclusion_proof(0)
    store.close()


def test_the_assertion_that_bound_in_an_epoch_is_found(lived: tuple[Path, Answers]) -> None:
    store = Store.open(lived[0], read_only=True)
    bound = {epoch: load_assertion(store, 4, epoch) for epoch in range(1, 13)}
    store.close()
    assert bound[1] is None  # registered in epoch 0, it binds in epoch 2
    frequencies = [a.registration.frequency_mhz for a in bound.values() if a is not None]
    assert frequencies == [FREQUENCY_MHZ] * 7 + [2_412] * 2 + [FREQUENCY_MHZ] * 2
