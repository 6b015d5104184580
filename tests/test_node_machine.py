"""The hotspot machine alone: what it sends, keeps, commits to and never does twice."""

from __future__ import annotations

import pytest
from node_helpers import MS, NETWORK, START_MS, Bench, make_node, mix_of, received

from chain.draws import answer, chain_link, commit, power_step_db, slot_ms
from chain.params import PRESETS
from chain.wire import decode, unpack_receptions
from hotspot.actions import KeepReceptions, SubmitRecord
from hotspot.directory import Directory
from hotspot.node import beacon_verifier, memory_from
from hotspot.radio.frame import parse_frame, unpack_beacon
from hotspot.secrets import SecretChain


def test_chain_links_lead_to_the_anchor() -> None:
    chain = SecretChain(b"s" * 32, first_epoch=7, length=700)
    assert chain_link(chain.link(7)) == chain.anchor
    for epoch in (8, 255, 256, 257, 511, 512, 513, chain.last_epoch):
        assert chain_link(chain.link(epoch)) == chain.link(epoch - 1)


@pytest.mark.parametrize("epoch", [6, 707])
def test_chain_has_no_link_outside_its_epochs(epoch: int) -> None:
    with pytest.raises(KeyError):
        SecretChain(b"s" * 32, first_epoch=7, length=700).link(epoch)


@pytest.mark.parametrize("preset", ["minimal", "testbed"])
def test_every_beacon_due_is_sent_in_its_slot_with_its_answer(preset: str) -> None:
    bench = Bench(params=PRESETS[preset])
    bench.run_until(5)
    node = bench.nodes["a"]
    beacons = [unpack_beacon(parse_frame(received(s.frame)).payload) for s in bench.sent["a"]]
    assert len(beacons) == 3 * bench.params.beacons_per_epoch
    for beacon, sent in zip(beacons, bench.sent["a"], strict=True):
        secret, mix = node.secrets.link(beacon.epoch), mix_of(beacon.epoch)
        offset_ms = beacon.time_ns // MS - START_MS - beacon.epoch * bench.params.epoch_ms
        assert offset_ms == slot_ms(bench.params, secret, mix, beacon.sequence)
        assert beacon.answer == answer(secret, beacon.epoch, beacon.sequence)
        assert sent.power_step_db == power_step_db(secret, mix, beacon.sequence)


def test_a_message_commits_to_what_the_next_one_reports() -> None:
    bench = Bench()
    bench.run_until(8)
    first, *later = bench.messages["b"]
    for before, after in zip([first, *later], later, strict=False):
        secret = after.reveal
        assert before.commit == commit(before.hotspot, before.epoch, secret, after.report)
        assert {r.heard for r in unpack_receptions(after.report)} == {0}


def test_what_is_heard_is_kept_once_and_before_the_message() -> None:
    bench = Bench()
    bench.run_until(4)
    rows = [row for kept in bench.kept["b"] for row in kept.receptions]
    assert len(rows) == len(set(rows)) == 2
    frame = received(bench.sent["a"][-1].frame)
    bench.nodes["b"].receive_frame(frame, bench.now_ns)
    assert bench.nodes["b"].kept(3) == 1


def test_a_frame_signed_by_another_key_is_not_heard() -> None:
    bench = Bench()
    bench.run_until(2.05)
    bench.run_until(2.75)
    frame = bytearray(received(bench.sent["a"][0].frame))
    frame[-10] ^= 1
    fresh = make_node("c", bench.params, bench.directory)
    fresh.receive_registration(2, 2, bench.now_ns)
    fresh.receive_frame(bytes(frame), bench.now_ns)
    assert fresh.counts["bad_signature"] == 1
    assert fresh.counts["heard"] == 0


def test_a_restored_node_reports_what_was_kept_and_signs_no_second_message() -> None:
    bench = Bench()
    bench.run_until(3.95)
    assert bench.messages["b"][-1].epoch == 3
    rows = {k.epoch: list(k.receptions) for k in bench.kept["b"]}
    again = make_node("b", bench.params, bench.directory, memory_from(rows, 3))
    again.receive_registration(1, 2, bench.now_ns)
    bench.nodes["b"] = again
    bench.run_until(5)
    assert [m.epoch for m in bench.messages["b"]] == [2, 3, 4]
    after, before = bench.messages["b"][-1], bench.messages["b"][-2]
    assert before.commit == commit(1, 3, after.reveal, after.report)
    assert after.report


def test_receptions_and_message_leave_in_one_batch() -> None:
    bench = Bench()
    bench.run_until(2.79)
    node = make_node("c", bench.params, bench.directory)
    node.receive_registration(2, 2, bench.now_ns)
    node.receive_frame(received(bench.sent["a"][-1].frame), bench.now_ns)
    node.handle_deadline((START_MS + 3 * bench.params.epoch_ms) * MS - 1)
    kinds = [type(a) for a in node.take_actions()]
    assert kinds.index(KeepReceptions) < kinds.index(SubmitRecord)


def test_without_a_mix_beacons_leave_all_the_same() -> None:
    params = PRESETS["minimal"]
    node = make_node("a", params, Directory())
    node.receive_registration(0, 2, (START_MS + 2 * params.epoch_ms) * MS)
    while (due := node.next_deadline()) is not None and due < (START_MS + 3 * params.epoch_ms) * MS:
        node.handle_deadline(due)
    assert node.counts["beacons"] == 1
    assert node.counts["mix_missing"] == 1


def test_the_verifier_remembers_by_payload_not_by_key() -> None:
    bench = Bench()
    bench.run_until(3)
    check = beacon_verifier(NETWORK)
    payload = parse_frame(received(bench.sent["a"][0].frame)).payload
    key = bench.nodes["a"].key
    assert check(key, payload)
    assert not check(key, payload[:-1] + bytes([payload[-1] ^ 1]))
    assert check(key, payload)


def test_a_node_that_was_off_at_message_time_reports_late_what_it_had_kept() -> None:
    bench = Bench()
    bench.run_until(3.69)
    rows = {k.epoch: list(k.receptions) for k in bench.kept["b"]}
    assert rows[3]
    again = make_node("b", bench.params, bench.directory, memory_from(rows, 2))
    bench.now_ns = (START_MS + int(6.2 * bench.params.epoch_ms)) * MS
    again.receive_registration(1, 2, bench.now_ns)
    messages = [decode(a.wire).record for a in again.take_actions() if isinstance(a, SubmitRecord)]
    assert [m.epoch for m in messages] == [3, 4]
    assert messages[1].report == b"".join(sorted(rows[3]))
    again.handle_deadline((START_MS + 7 * bench.params.epoch_ms) * MS - 1)
    later = [decode(a.wire).record for a in again.take_actions() if isinstance(a, SubmitRecord)]
    assert [m.epoch for m in later] == [6]
