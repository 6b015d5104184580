"""What jobs say and keep, byte by byte; what sessions leave behind when their escrow goes back."""

from __future__ import annotations

import hashlib
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_helpers import JobOverlay, changed, content
from relay_helpers import seed_of

from chain.draws import digest
from chain.keys import public_key
from chain.records import Refusal
from hotspot.actions import CheckFile, DropFile, DropJob, KeepReceipt
from hotspot.io_queue import DurableQueue
from hotspot.jobs.inbox import KEEP_PARTIAL_MS, Inbox, InboxPolicy, Received
from hotspot.jobs.messages import (
    BLOCK_SIZES,
    Done,
    Got,
    Have,
    JobRecord,
    Offer,
    Reply,
    block_size,
    is_offer_signed,
    pack_block,
    pack_offer,
    pack_reply,
    unpack_block,
    unpack_offer,
    unpack_record,
    unpack_reply,
    wire_bytes,
)
from hotspot.overlay.seal import BUCKETS, pad
from hotspot.overlay.streams import StreamTable
from hotspot.overlay.tolls import Spending
from routing.types import JobPromise, Path

NETWORK = digest("network")
OFFER = Offer(bytes(16), 0, 3, 9, bytes(32), "name", 1_000)
U48, U32 = st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 32) - 1)


def test_an_offer_is_read_back_and_only_its_sender_signed_it() -> None:
    read = unpack_offer(pack_offer(OFFER, seed_of(0), NETWORK))
    assert not isinstance(read, Refusal)
    offer, body, signature = read
    assert offer == OFFER
    assert is_offer_signed(public_key(seed_of(0)), NETWORK, body, signature)
    assert not is_offer_signed(public_key(seed_of(1)), NETWORK, body, signature)
    assert not is_offer_signed(public_key(seed_of(0)), bytes(32), body, signature)
    assert not is_offer_signed(None, NETWORK, body, signature)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"job_id": bytes(15)}, {"sha256": bytes(31)}, {"name": ""}, {"name": "n" * 201}],
)
def test_an_offer_with_a_wrong_field_is_refused(wrong: dict[str, object]) -> None:
    refusal = unpack_offer(pack_offer(changed(OFFER, **wrong), seed_of(0), NETWORK))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "bad_offer"


@given(st.binary(max_size=200))
def test_readers_never_raise(junk: bytes) -> None:
    assert isinstance(unpack_offer(junk), Refusal | tuple)
    assert unpack_reply(junk)[0] in (True, False)
    block = unpack_block(junk)
    assert isinstance(block, Refusal) == (len(junk) < 8)


@given(st.one_of(st.builds(Have, U48), st.builds(Got, U48), st.just(Done())))
def test_replies_are_read_back(reply: Reply) -> None:
    assert unpack_reply(pack_reply(reply)) == (True, reply)
    refusal = Refusal("storage_full", "no room")
    assert unpack_reply(pack_reply(refusal)) == (True, refusal)


@given(U48, U48, U48, st.text(max_size=40), st.lists(U32, max_size=16))
def test_a_kept_job_is_found_again(a: int, b: int, c: int, text: str, hops: list[int]) -> None:
    path = Path(tuple(hops), 0, "kept", "as promised before a restart")
    promise = JobPromise(OFFER.job_id.hex(), a, b, c, path)
    record = JobRecord(OFFER, a, promise, b, c, a, "running", text, text, c)
    assert unpack_record(record.pack()) == record


def test_blocks_fill_their_buckets_and_follow_the_rate() -> None:
    assert [len(pad(pack_block(0, bytes(n)))) for n in BLOCK_SIZES] == list(BUCKETS[1:])
    assert [block_size(rate) for rate in (10, 1_000, 50_000)] == list(BLOCK_SIZES)


def test_the_air_carries_no_more_than_admission_counts_with() -> None:
    overlay = JobOverlay(4, ((0, 1), (1, 2), (2, 3)))
    overlay.run(15_000)
    overlay.submit(0, 3, content(500_000))
    assert overlay.run_job().state == "done"
    overlay.run(5_000)
    for session in overlay.ledger.state.sessions.values():
        assert 500_000 < session.relayed_bytes <= wire_bytes(500_000)


def test_parts_that_nobody_finished_make_room_after_a_week() -> None:
    actions: list[object] = []
    streams = StreamTable(3, 0, lambda _flow, _data: None)
    inbox = Inbox(3, seed_of(3), NETWORK, None, streams, InboxPolicy(), actions.append)  # type: ignore[arg-type]
    name = OFFER.key
    inbox.restore(name, Received(OFFER, 7).pack(), 5)
    assert inbox.files[name].stored == 5
    late_ms = OFFER.deadline_ms + KEEP_PARTIAL_MS
    inbox.sweep((), late_ms * 1_000_000)
    assert actions == []
    inbox.sweep((), (late_ms + 1) * 1_000_000)
    assert actions == [DropFile(name), DropJob(name)]
    assert inbox.files == {}


def test_a_whole_file_that_was_not_checked_before_a_kill_is_checked_when_the_sender_returns() -> (
    None
):
    overlay = JobOverlay(2, ((0, 1),))
    overlay.run(15_000)
    overlay.submit(0, 1, content(100_000))
    checks: list[CheckFile] = []
    effect = overlay._effect

    def die_before_the_check(index: int, action: object) -> None:
        if isinstance(action, CheckFile) and not checks:
            checks.append(action)
            overlay.at(overlay.now_ns, lambda: overlay.restart(1))
        else:
            effect(index, action)  # type: ignore[arg-type]

    overlay._effect = die_before_the_check  # type: ignore[method-assign]
    assert overlay.run_job().state == "done"
    assert checks
    assert [hashlib.sha256(f).digest() for f in overlay.arrived(1)] == [checks[0].sha256]


def test_sessions_whose_escrow_went_back_leave_no_row(tmp_path: FilePath) -> None:
    overlay = JobOverlay(3, ((0, 1), (1, 2)), claim_ms=3_600_000)
    overlay.nodes[0].tolls.spending = Spending(session_epochs=3)
    overlay.run(15_000)
    overlay.submit(0, 2, content(100_000))
    assert overlay.run_job().state == "done"
    queue = DurableQueue(tmp_path / "q.db")
    queue.store([(b"k" * 32, 0, [KeepReceipt(s, d)]) for s, d in overlay.kept[1].items()])
    assert queue.receipts(b"k" * 32)
    effect = overlay._effect

    def store(index: int, action: object) -> None:
        if index == 1:
            queue.store([(b"k" * 32, 0, [action])])  # type: ignore[list-item]
        effect(index, action)  # type: ignore[arg-type]

    overlay._effect = store  # type: ignore[method-assign]
    overlay.run(60_000)
    assert queue.receipts(b"k" * 32) == []
    assert overlay.nodes[1].payee.sessions == {}
    assert overlay.nodes[0].payer.sessions == {}
    last = overlay.results[-1]  # the last receipt was claimed before it was forgotten
    assert (last.accepted, last.index) == (True, None)
    queue.close()
