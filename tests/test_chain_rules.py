from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import draws, keys, wire
from chain.records import (
    Deposit,
    EpochMessage,
    Genesis,
    Reception,
    Refusal,
    Registration,
    SubmitResult,
)
from chain.rules import blocks
from chain.rules.blocks import Block, BlockError
from chain.rules.verdicts import REASONS, get_beacon_verdicts, get_verdicts
from chain.state import State, is_conserved
from chain.state_root import compute_state_root

from .chain_helpers import OPERATOR, START_MS, Town, chain_of, verify


def reasons(town: Town, epoch: int) -> Counter[tuple[int, int, str]]:
    """(witness, beaconer, reason) of an epoch."""
    judgement = town.ledger.verdicts(epoch)
    assert judgement is not None
    return Counter((v.witness, v.reception.heard, v.reason) for v in get_verdicts(judgement))


def started(count: int = 4, **options: int) -> Town:
    town = Town(count, **options)
    town.join()
    return town


def attack(town: Town, epoch: int, changed: dict[str, object]) -> str:
    """Witness 1 changes what it heard of 0 in one epoch; the verdict on that."""

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        hit = witness == 1
        return [replace(r, **changed) if hit and r.heard == 0 else r for r in heard]  # type: ignore[arg-type]

    for number in range(2, epoch + 2):
        town.run_epoch(number, edit if number == epoch else lambda _, heard: heard)
    town.ledger.tick(town.time_ms(epoch + 2))
    found = {reason for witness, _, reason in reasons(town, epoch) if witness == 1}
    return next(iter(found - {"counted", "not_drawn"}), "counted")


def test_honest_hotspots_count() -> None:
    town = started()
    town.run(2, 4)
    assert {reason for _, _, reason in reasons(town, 3)} == {"counted"}
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    assert [b.verdict for b in get_beacon_verdicts(judgement)] == ["paid"] * 4


def test_at_most_the_drawn_witnesses_count_per_beacon() -> None:
    town = started(9)
    town.run(2, 4)
    for beaconer in range(9):
        counts = Counter(reason for _, heard, reason in reasons(town, 3) if heard == beaconer)
        assert counts == {"counted": town.params.witnesses_drawn, "not_drawn": 3}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tag": b"liar"}, "wrong_tag"),
        ({"sequence": 1}, "malformed"),
        ({"flags": 2}, "malformed"),
        ({"flags": 1}, "malformed"),
        ({"frequency_mhz": 2412}, "wrong_frequency"),
        ({"rssi_cdbm": -1_000}, "rssi_too_high"),
        ({"rssi_cdbm": -30_000}, "rssi_too_low"),
        ({"rssi_cdbm": 0, "flags": 1}, "counted"),
        ({"heard": 77}, "unknown_beaconer"),
        ({"heard": 1}, "self"),
    ],
)
def test_a_lie_gets_the_verdict_of_its_rule(changed: dict[str, object], reason: str) -> None:
    assert attack(started(), 3, changed) == reason


def test_a_report_other_than_the_committed_one_does_not_count() -> None:
    town = started()
    town.run_epoch(2)
    town.run_epoch(3)
    town.ledger.tick(town.time_ms(4))
    town.heard[3][1] = b"".join(sorted(map(wire.pack_reception, town.report(1, 3)[:2])))
    town.run_epoch(4)
    town.ledger.tick(town.time_ms(5))
    assert {reason for witness, _, reason in reasons(town, 3) if witness == 1} == {
        "commit_mismatch"
    }


def test_a_report_without_a_commit_does_not_count() -> None:
    town = started()
    town.run_epoch(2)
    town.run_epoch(3, absent=frozenset({1}))
    town.run_epoch(4)
    town.ledger.tick(town.time_ms(5))
    assert {reason for witness, _, reason in reasons(town, 3) if witness == 1} == {"no_commit"}


def test_beacons_whose_secret_stays_hidden_do_not_count() -> None:
    town = started()
    town.run_epoch(2)
    town.run_epoch(3)
    town.run_epoch(4, absent=frozenset({0}))
    town.ledger.tick(town.time_ms(5))
    assert {reason for _, heard, reason in reasons(town, 3) if heard == 0} == {"no_reveal"}
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    assert get_beacon_verdicts(judgement)[0].verdict == "unrevealed"


def test_a_reception_that_nobody_returns_is_a_hint() -> None:
    town = started()
    deaf = 2
    for epoch in (2, 3, 4):
        town.run_epoch(epoch, lambda witness, heard: [] if witness == deaf else heard)
    town.ledger.tick(town.time_ms(5))
    assert {reason for _, heard, reason in reasons(town, 3) if heard == deaf} == {"not_mutual"}


def test_hotspots_of_one_owner_do_not_witness_each_other() -> None:
    owner = b"o" * 32
    town = Town(4, owners={0: owner, 1: owner})
    town.join()
    town.run(2, 4)
    pairs = {(w, h): reason for w, h, reason in reasons(town, 3)}
    assert pairs[0, 1] == pairs[1, 0] == "same_owner"
    assert pairs[0, 2] == pairs[2, 1] == "counted"


def test_two_keys_in_one_cell_are_too_close() -> None:
    town = Town(3)
    town.places[1] = town.places[0]
    town.join()
    town.run(2, 4)
    assert {(w, h): reason for w, h, reason in reasons(town, 3)}[0, 1] == "too_close"


def test_a_ring_that_no_seed_hears_is_untrusted() -> None:
    town = started(6)
    ring = {3, 4, 5}

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        return [r for r in heard if (r.heard in ring) == (witness in ring)]

    for epoch in range(2, 15):  # across two settlements
        town.run_epoch(epoch, edit)
    found = {(w in ring, reason) for w, _, reason in reasons(town, 12)}
    assert found == {(False, "counted"), (True, "untrusted_witness")}
    earned = [hotspot.earned_ucr for hotspot in town.ledger.state.hotspots]
    assert all(earned[i] == 0 for i in ring)
    assert all(earned[i] > 0 for i in range(3))


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=14 * 6), st.integers(0, 3))
def test_arbitrary_reports_get_a_verdict_for_every_reception(noise: bytes, liar: int) -> None:
    town = started()
    town.run_epoch(2)
    town.ledger.tick(town.time_ms(3))
    town.hear(3, lambda _, heard: heard)
    entries = sorted(noise[i : i + 14] for i in range(0, len(noise) // 14 * 14, 14))
    town.heard[3][liar] = b"".join(entries)
    wires = [town.message(i, 3).wire for i in range(4)]
    assert all(r.accepted for r in town.ledger.submit(wires, town.time_ms(3, 9_000)))
    town.run_epoch(4)
    town.ledger.tick(town.time_ms(5))
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    assert len(judgement.codes[liar]) == len(entries)
    assert sum(get_verdict.reason in REASONS for get_verdict in get_verdicts(judgement)) == sum(
        map(len, judgement.codes.values())
    )
    assert is_conserved(town.ledger.state)


def only(results: list[SubmitResult]) -> SubmitResult:
    assert len(results) == 1
    return results[0]


def refusal(town: Town, signed: wire.Signed) -> str:
    """Submit; the reason of the refusal, after which nothing may have changed."""
    before = compute_state_root(town.ledger.state)
    result = only(town.submit(signed))
    assert not result.accepted
    assert ":" in result.detail or ";" in result.detail
    assert compute_state_root(town.ledger.state) == before
    return result.reason


def test_the_same_bytes_are_accepted_again_with_the_same_index() -> None:
    town = started()
    town.run_epoch(2)
    opening = town.open_session(0, 1)
    assert only(town.submit(opening)).index == 0
    receipt = town.receipt(0, 1, wire.Receipt(0, 1, 10, 0, 0, bytes(32)))
    claim = town.claim(receipt)
    assert only(town.submit(claim)).reason == "ok"
    again = [town.deposit(0), town.sealed_registration(2), town.message(3, 2), opening, claim]
    height = town.ledger.head.height
    results = town.submit(*again)
    assert [r.reason for r in results] == ["already"] * 5
    assert [r.index for r in results] == [None, 2, None, 0, None]
    assert town.ledger.head.height == height


def test_two_messages_for_one_epoch_are_a_fork_and_the_first_is_named() -> None:
    town = started()
    town.run_epoch(2)
    other = town.message(1, 2, commit=bytes(32))
    assert refusal(town, other) == "fork"
    assert town.message(1, 2).record_id.hex() in only(town.submit(other)).detail


def test_late_messages_are_kept_for_the_map_and_never_paid() -> None:
    town = started()
    town.run_epoch(2)
    town.run_epoch(3, absent=frozenset({1}))
    town.run_epoch(4)
    result = only(town.submit(town.message(1, 3)))
    assert (result.accepted, result.reason) == (True, "late")
    town.ledger.tick(town.time_ms(5))
    assert not {w for w, _, r in reasons(town, 3) if w == 1 and r == "counted"}


def test_messages_are_refused_for_named_reasons() -> None:
    town = started()
    assert refusal(town, town.message(0, 0, reveal=bytes(32))) == "not_bound_yet"
    town.run_epoch(2)
    town.run_epoch(3)
    town.ledger.tick(town.time_ms(4))
    town.hear(4, lambda _, heard: heard)
    assert refusal(town, town.message(0, 4, hotspot=99)) == "unknown_hotspot"
    assert refusal(town, town.message(0, 5)) == "wrong_epoch"
    assert refusal(town, town.message(0, 4, reveal=bytes(32))) == "bad_reveal"
    assert refusal(town, town.message(0, 4, hotspot=1)) == "bad_signature"
    crowd = wire.pack_reception(Reception(9, 0, 0, 0, 0, bytes(4)))
    assert refusal(town, town.message(0, 4, report=crowd * 4_097)) == "over_cap"


def test_a_silence_costs_hashes_and_is_bridged() -> None:
    town = started()
    town.run_epoch(2)
    for epoch in range(3, 12):
        town.run_epoch(epoch, absent=frozenset({1}))
    town.ledger.tick(town.time_ms(12))
    assert only(town.submit(town.message(1, 12))).accepted


def test_a_silence_beyond_the_gap_needs_a_new_chain() -> None:
    town = Town(2)
    town.submit(town.deposit(0), town.sealed_registration(0, chain_length=100_000))
    late = town.params.chain_gap_max + 10
    town.ledger.tick(town.time_ms(late))
    message = EpochMessage(0, late, bytes(32), b"", bytes(32))
    signed = wire.seal(message, town.network_id, [town.keys[0]])
    assert refusal(town, signed) == "bad_reveal"
    assert "new anchor" in only(town.submit(signed)).detail


def test_registrations_are_refused_for_named_reasons() -> None:
    town = Town(3, preset="testbed")
    assert refusal(town, town.sealed_registration(0)) == "insufficient_balance"
    town.submit(town.deposit(0))
    mine = town.registration(0)
    half = wire.seal(mine, town.network_id, [town.keys[0]])
    assert refusal(town, half) == "bad_signature"
    swapped = wire.seal(mine, town.network_id, [town.owner_seeds[0], town.keys[0]])
    assert refusal(town, swapped) == "bad_signature"
    foreign = wire.seal(mine, b"f" * 32, [town.keys[0], town.owner_seeds[0]])
    assert refusal(town, foreign) == "bad_signature"
    assert only(town.submit(town.sealed_registration(0))).accepted
    assert town.ledger.state.hotspots[0].bond_ucr == town.params.bond_ucr


def test_a_registration_resent_with_wrong_signatures_is_refused_not_already_there() -> None:
    town = started()
    same = town.registration(0)
    for seeds in ([], [town.keys[1], town.owner_seeds[0]], [town.keys[0]] * 2):
        assert refusal(town, wire.seal(same, town.network_id, seeds)) == "bad_signature"
    assert only(town.submit(town.sealed_registration(0))).reason == "already"


def test_a_replaced_registration_cannot_be_played_back() -> None:
    town = started()
    town.run_epoch(2)
    assert only(town.submit(town.sealed_registration(0, height_m=20))).index == 0
    assert only(town.submit(town.sealed_registration(0, height_m=30))).index == 0
    replaced = town.sealed_registration(0, height_m=20)
    assert only(town.submit(replaced)).reason == "already"  # the engine knows it by its id
    town.ledger._recent.clear()
    assert refusal(town, replaced) == "duplicate"  # and the rule refuses it by itself
    hotspot = town.ledger.state.hotspots[0]
    assert hotspot.newest.registration.height_m == 30
    assert hotspot.newest.bind_epoch == town.ledger.state.epoch + 2
    bound = hotspot.assertion_at(town.ledger.state.epoch)
    assert bound is not None
    assert bound.registration.height_m == 10


def test_a_new_owner_locks_a_bond_and_the_old_one_gets_its_own_back() -> None:
    town = Town(2, preset="testbed")
    town.join()
    before = town.ledger.state.balance(town.owner(0))
    seller = town.owner(0)
    seeds = [town.keys[0], town.owner_seeds[1], town.owner_seeds[0]]
    town.owner_seeds[0] = town.owner_seeds[1]
    assert refusal(town, town.sealed_registration(0)) == "bad_signature"
    sold = wire.seal(town.registration(0), town.network_id, seeds)
    assert only(town.submit(sold)).accepted
    assert town.ledger.state.balance(seller) == before + town.params.bond_ucr
    assert is_conserved(town.ledger.state)


def test_a_new_chain_binds_with_its_assertion() -> None:
    town = started()
    town.run(2, 3)
    fresh = chain_of(b"fresh", 50)
    assert only(town.submit(town.sealed_registration(1, anchor=fresh[0], first_epoch=6))).accepted
    for epoch in (4, 5):
        town.run_epoch(epoch)
    old_secret = town.secret
    town.secret = lambda i, e: fresh[e - 5] if i == 1 and e >= 6 else old_secret(i, e)  # type: ignore[method-assign]
    for epoch in (6, 7, 8):
        assert all(r.accepted for r in town.run_epoch(epoch)), epoch
    town.ledger.tick(town.time_ms(9))
    assert {reason for w, h, reason in reasons(town, 7) if 1 in (w, h)} == {"counted"}


def test_deposits_need_the_threshold_and_a_fresh_reference() -> None:
    town = Town(2)
    assert only(town.submit(town.deposit(0, reference=b"a"))).accepted
    assert refusal(town, town.deposit(1, reference=b"a")) == "duplicate"
    record = Deposit(town.owner(0), 5, b"b", (0,))
    assert refusal(town, wire.seal(record, town.network_id, [bytes(32)])) == "bad_signature"
    assert refusal(town, wire.seal(record, town.network_id, [])) == "bad_signature"
    unknown = replace(record, operators=(7,))
    assert refusal(town, wire.seal(unknown, town.network_id, [OPERATOR])) == "not_appointed"
    flood = replace(record, amount_ucr=(1 << 64) - 1)
    assert refusal(town, wire.seal(flood, town.network_id, [OPERATOR])) == "over_cap"


def test_another_genesis_is_refused() -> None:
    town = Town(2)
    assert refusal(town, town.genesis) == "duplicate"
    assert only(town.ledger.submit([b"junk"], START_MS)).reason == "bad_shape"


def test_mainnet_needs_seeds() -> None:
    key = keys.public_key(OPERATOR)
    genesis = wire.seal(Genesis("n", "mainnet", 0, (key,), 1, ()), b"", [])
    with pytest.raises(BlockError, match="seeds"):
        blocks.get_first_state(genesis)
    unknown = wire.seal(Genesis("n", "other", 0, (key,), 1, ()), b"", [])
    with pytest.raises(BlockError, match="preset"):
        blocks.get_first_state(unknown)


def test_apply_leaves_the_state_it_was_given_alone_and_equals_the_engine() -> None:
    sealed = []
    town = Town(4, on_block=lambda block: sealed.append(block))
    town.join()
    town.run(2, 8)
    state: State | None = None
    for item in sealed:
        before = None if state is None else compute_state_root(state)
        following = blocks.apply(item.block, state, verify)
        assert before is None or state is None or compute_state_root(state) == before
        state = following
        closed = not item.block.wires  # headers commit to the state right after the newest close
        assert not closed or compute_state_root(state) == item.header.state_root
    assert sealed[-1].header == town.ledger.head


def test_blocks_that_cannot_follow_are_errors() -> None:
    town = started()
    state = town.ledger.state
    for block in (
        Block(9, state.epoch, state.time_ms, (b"junk",)),
        Block(9, state.epoch, state.time_ms, (town.deposit(0).wire,)),
        Block(9, state.epoch + 1, state.time_ms, ()),
        Block(9, state.epoch, state.time_ms - 1, ()),
    ):
        with pytest.raises(BlockError):
            blocks.apply(block, state, verify)


def test_mixes_follow_the_records_page() -> None:
    town = started()
    town.run(2, 4)
    ledger = town.ledger
    genesis = draws.genesis_mix(town.network_id)
    mix = draws.mix(genesis, 1, [])
    for epoch in range(2, 6):  # R_e takes x_(e-2), revealed in e-1, of everybody, by index
        sent = [town.secret(i, epoch - 2) for i in range(4)] if epoch - 1 >= 2 else []
        mix = draws.mix(mix, epoch, sent)
        assert ledger.mix(epoch) == mix
    assert ledger.mix(6) is None


def test_registration_fields_out_of_range_never_reach_the_rules() -> None:
    town = Town(2)
    bad = {"cell": 0x8F2830828052D25, "latitude_udeg": 90_000_001, "flags": 16, "chain_length": 0}
    for name, value in bad.items():
        record = town.registration(0, **{name: value})
        raw = wire.cbor.encode((Registration.TYPE, 1, wire.body_of(record), (bytes(64), bytes(64))))
        refused = wire.decode(raw)
        assert isinstance(refused, Refusal)
        assert name in refused.detail
