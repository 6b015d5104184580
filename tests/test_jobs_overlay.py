"""Jobs in virtual time: bytes exact, deadline kept, paid as relayed, room left for AI requests."""

from __future__ import annotations

import pytest
from jobs_helpers import JobOverlay, content
from relay_helpers import MS, Answer, seed_of, words_of

from chain.records import Refusal
from hotspot.jobs.inbox import InboxPolicy
from hotspot.jobs.messages import Offer, pack_offer
from hotspot.overlay.datagrams import DATA, Routed, parse
from hotspot.overlay.payee import Price
from hotspot.overlay.sessions import cost_ucr
from hotspot.overlay.tolls import Spending
from routing.types import JobPromise

LINE = ((0, 1), (1, 2), (2, 3))
DIAMOND = ((0, 1), (1, 3), (0, 2), (2, 3))
FILE = content(300_000)


def warm(overlay: JobOverlay) -> JobOverlay:
    overlay.run(15_000)
    return overlay


@pytest.mark.parametrize("loss_permille", [0, 20, 80])
def test_a_file_arrives_exactly_over_lossy_hops(loss_permille: int) -> None:
    overlay = warm(JobOverlay(4, LINE, loss_permille=loss_permille))
    promise = overlay.submit(0, 3, FILE, 120_000)
    assert isinstance(promise, JobPromise)
    record = overlay.run_job()
    assert (record.state, record.detail) == ("done", "")
    assert overlay.arrived(3) == [FILE]
    assert overlay.disk[0] == {}  # what was sent is no longer kept


def test_an_idle_mesh_keeps_the_promise_with_time_to_spare() -> None:
    overlay = warm(JobOverlay(4, LINE))
    promise = overlay.submit(0, 3, FILE, 30_000)
    assert isinstance(promise, JobPromise)
    assert promise.finish_ms <= overlay.job(0).offer.deadline_ms
    record = overlay.run_job()
    assert record.state == "done"
    assert record.ended_ms < promise.finish_ms


@pytest.mark.parametrize("rate_kbps", [3_000, 100_000])
def test_the_tightest_deadline_that_is_promised_is_kept(rate_kbps: int) -> None:
    overlay = warm(JobOverlay(4, LINE, rate_kbps=rate_kbps))
    data, deadline_ms = content(1_000_000), 2_000
    while isinstance(overlay.submit(0, 3, data, deadline_ms), Refusal):
        deadline_ms += 200
    began_ns = overlay.now_ns
    assert overlay.run_job().state == "done"
    assert overlay.now_ns - began_ns <= deadline_ms * MS
    assert overlay.nodes[1].counts["refused_unpaid"] == 0  # receipts kept pace, too


def test_the_price_is_what_the_relays_of_the_path_advertise_and_what_they_get() -> None:
    overlay = warm(JobOverlay(4, LINE, price=Price(9_000, 0)))
    promise = overlay.submit(0, 3, FILE, 30_000)
    assert isinstance(promise, JobPromise)
    record = overlay.run_job()
    overlay.run(10_000)
    sessions = overlay.ledger.state.sessions.values()
    assert {s.payee for s in sessions} == {1, 2}  # the receiver is not paid
    paid_ucr = sum(s.claimed_ucr for s in sessions)
    assert 0.8 * promise.price_ucr < paid_ucr <= promise.price_ucr
    assert abs(record.spent_ucr - paid_ucr) <= paid_ucr // 50


def test_relays_and_thieves_see_no_byte_of_the_file_or_its_name() -> None:
    seen = bytearray()

    def listen(_source: int, _target: int, data: bytes) -> bool:
        seen.extend(data)
        return False

    overlay = warm(JobOverlay(4, LINE, drops=listen))
    overlay.submit(0, 3, b"xylophone quartz " * 3_000, 30_000)
    assert overlay.run_job().state == "done"
    assert b"xylophone" not in seen
    assert b"file0" not in seen


def test_a_cancelled_job_keeps_what_arrived_and_pays_only_what_was_relayed() -> None:
    overlay = warm(JobOverlay(4, LINE, price=Price(50_000, 0)))
    data = content(4_000_000)
    overlay.submit(0, 3, data, 60_000)
    overlay.run(30_000, until=lambda: overlay.job(0).delivered > 500_000)
    assert overlay.nodes[0].jobs.cancel(overlay.job(0).key, overlay.now_ns) is None
    overlay.run(15_000)
    (name, file), *_ = overlay.nodes[3].inbox.files.items()
    part = bytes(overlay.disk[3][name])
    assert (file.state, overlay.job(0).state) == ("partial", "cancelled")
    assert 500_000 < len(part) < 2_000_000
    assert data.startswith(part)
    for session in overlay.ledger.state.sessions.values():
        theirs = overlay.nodes[session.payee].payee.sessions[session.index]
        assert session.claimed_ucr == cost_ucr(theirs.info, theirs.counted())
        assert session.relayed_bytes < 1.3 * len(part) + 100_000
    forwarded = overlay.nodes[1].counts["forwarded_bytes"]
    overlay.run(5_000)
    assert overlay.nodes[1].counts["forwarded_bytes"] - forwarded < 2_000
    assert overlay.nodes[0].jobs.cancel(overlay.job(0).key, overlay.now_ns) is not None


def test_a_deadline_that_cannot_be_met_is_refused_with_its_reason() -> None:
    overlay = warm(JobOverlay(4, LINE, rate_kbps=1_000))
    refusal = overlay.submit(0, 3, content(2_000_000), 10_000)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "job-capacity"
    assert "give a later deadline" in refusal.detail
    assert overlay.rows[0] == {}


def test_a_budget_below_the_price_is_refused_and_a_used_up_one_ends_the_job() -> None:
    overlay = warm(JobOverlay(4, LINE, price=Price(50_000, 0)))
    refusal = overlay.submit(0, 3, FILE, 30_000, 100)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "job-budget"
    promise = overlay.submit(0, 3, FILE, 120_000, 34_000)
    assert isinstance(promise, JobPromise)
    overlay.loss_permille = 120  # every repeat costs
    record = overlay.run_job()
    assert (record.state, record.reason) == ("failed", "over_budget")
    assert record.spent_ucr < 34_000 + 5_000


def test_a_relay_that_asks_more_than_we_pay_carries_no_job() -> None:
    overlay = warm(JobOverlay(4, LINE, price=Price(2_000_000, 0)))
    refusal = overlay.submit(0, 3, FILE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "job-price"
    assert overlay.nodes[0].jobs.records == {}
    assert not overlay.ledger.state.sessions


@pytest.mark.parametrize("killed", [0, 1, 3])
def test_a_killed_hotspot_goes_on_where_it_was(killed: int) -> None:
    overlay = warm(JobOverlay(4, LINE, loss_permille=5))
    data = content(1_500_000)
    overlay.submit(0, 3, data, 120_000)
    overlay.run(30_000, until=lambda: overlay.job(0).delivered > 600_000)
    sent_before = overlay.nodes[2].counts["forwarded_bytes"]
    overlay.restart(killed)
    record = overlay.run_job()
    assert record.state == "done"
    assert overlay.arrived(3) == [data]
    again = overlay.nodes[2].counts["forwarded_bytes"] - sent_before
    assert again < 1.4 * (len(data) - 600_000) + 300_000  # what had arrived was not sent again


def test_a_dead_relay_is_gone_around_in_mid_file() -> None:
    overlay = warm(JobOverlay(4, DIAMOND))
    data = content(2_000_000)
    promise = overlay.submit(0, 3, data, 120_000)
    assert isinstance(promise, JobPromise)
    overlay.run(30_000, until=lambda: overlay.job(0).delivered > 500_000)
    used = promise.path.hops[1]
    overlay.down.add(used)
    record = overlay.run_job(180_000)
    assert record.state == "done"
    assert overlay.arrived(3) == [data]
    assert {s.info.payee for s in overlay.nodes[0].payer.sessions.values()} == {1, 2}


def test_an_escrow_that_runs_out_in_mid_file_is_renewed_without_a_pause() -> None:
    overlay = warm(JobOverlay(4, LINE, price=Price(100_000, 0), rate_kbps=4_000))
    overlay.nodes[0].tolls.spending = Spending(escrow_ucr=60_000)
    data = content(2_000_000)
    overlay.submit(0, 3, data, 60_000)
    record = overlay.run_job()
    assert record.state == "done"
    first_hop = [s for s in overlay.ledger.state.sessions.values() if s.payee == 1]
    assert len(first_hop) > 2
    assert overlay.nodes[1].counts["refused_over_cap"] == 0


def test_ai_requests_find_room_beside_a_job_that_wants_all_it_can_get() -> None:
    def answer_time(with_job: bool) -> tuple[int, JobOverlay]:
        overlay = JobOverlay(5, (*LINE, (2, 4)), {4: ("echo",)}, rate_kbps=4_000)
        warm(overlay)
        _ask(overlay)  # sessions are open from here on
        if with_job:
            assert isinstance(overlay.submit(0, 3, content(4_000_000), 600_000), JobPromise)
            overlay.run(6_000)
        began_ns = overlay.now_ns
        answer = _ask(overlay)
        assert words_of(answer).startswith("WORD")
        return (overlay.now_ns - began_ns) // MS, overlay

    alone_ms, _ = answer_time(with_job=False)
    beside_ms, overlay = answer_time(with_job=True)
    assert overlay.job(0).delivered > 300_000  # the job was really running
    assert beside_ms < alone_ms + 400


def _ask(overlay: JobOverlay) -> Answer:
    answer = overlay.ask(0, "word " * 50)
    overlay.run(30_000, until=lambda: answer.tokens is not None or answer.failed is not None)
    assert answer.failed is None
    return answer


def test_a_job_whose_time_is_up_ends_and_keeps_what_arrived() -> None:
    overlay = warm(JobOverlay(4, LINE))
    overlay.submit(0, 3, content(3_000_000), 20_000)
    overlay.run(30_000, until=lambda: overlay.job(0).delivered > 500_000)
    overlay.down.add(2)
    record = overlay.run_job()
    assert (record.state, record.reason) == ("expired", "deadline")
    (file,) = overlay.nodes[3].inbox.files.values()
    assert 500_000 < file.stored < 3_000_000


def test_a_receiver_says_whom_and_how_much_it_takes() -> None:
    def refusal_of(policy: InboxPolicy, size: int = 5_000) -> str:
        overlay = warm(JobOverlay(2, ((0, 1),), policy=policy))
        overlay.submit(0, 1, content(size), 20_000)
        record = overlay.run_job()
        assert overlay.rows[1] == {} or record.state == "done"
        return record.reason or record.state

    assert refusal_of(InboxPolicy(accept=(7,))) == "not_accepted"
    assert refusal_of(InboxPolicy(accept=(0,))) == "done"
    assert refusal_of(InboxPolicy(max_file_bytes=4_999)) == "too_large"


def test_a_disk_that_fails_and_recovers_delays_a_job_but_loses_nothing() -> None:
    overlay = warm(JobOverlay(2, ((0, 1),)))
    overlay.submit(0, 1, FILE, 120_000)
    overlay.broken_disks.add(1)
    overlay.run(5_000)
    assert overlay.job(0).reason == "disk_failed"
    overlay.broken_disks.clear()
    assert overlay.run_job().state == "done"
    assert overlay.arrived(1) == [FILE]


def test_a_file_damaged_on_disk_is_found_and_sent_again() -> None:
    overlay = warm(JobOverlay(2, ((0, 1),)))
    overlay.submit(0, 1, FILE, 120_000)
    overlay.run(20_000, until=lambda: overlay.job(0).delivered > 100_000)
    (name,) = overlay.disk[1]
    overlay.disk[1][name][77] ^= 1
    assert overlay.run_job().state == "done"
    assert overlay.arrived(1) == [FILE]
    assert overlay.nodes[1].counts["refused_bad_hash"] == 0


def test_a_replayed_stream_writes_nothing_twice() -> None:
    taped: list[bytes] = []

    def tape(source: int, target: int, data: bytes) -> bool:
        packet = parse(data)
        if (source, target) == (1, 2) and isinstance(packet, Routed) and packet.kind == DATA:
            taped.append(data)
        return False

    overlay = warm(JobOverlay(3, ((0, 1), (1, 2)), drops=tape))
    data = content(200_000)
    overlay.submit(0, 2, data, 60_000)
    overlay.run(20_000, until=lambda: overlay.job(0).delivered > 65_000)
    for old in taped[:150]:  # the same bytes as another flow: number 5
        overlay.nodes[2].receive_datagram(old[:5] + (5).to_bytes(4, "big") + old[9:], 1, 0)
        overlay.perform(2)
    assert overlay.run_job().state == "done"
    assert overlay.arrived(2) == [data]


def test_nobody_offers_a_file_in_anothers_name() -> None:
    overlay = warm(JobOverlay(3, ((0, 1), (1, 2))))
    fake = Offer(bytes(16), 1, 2, 9, bytes(32), "x", overlay.now_ns // MS + 60_000)
    node = overlay.nodes[0]
    original = pack_offer(fake, seed_of(0), overlay.ledger.network_id)
    import hotspot.jobs.desk as desk

    kept, desk.pack_offer = desk.pack_offer, lambda *_: original
    try:
        overlay.submit(0, 2, FILE, 10_000)
        record = overlay.run_job()
    finally:
        desk.pack_offer = kept
    assert (record.state, record.reason) == ("failed", "bad_offer")
    assert overlay.nodes[2].inbox.files == {}
    assert len(node.jobs) == 0


def test_two_jobs_share_the_path_and_both_keep_their_deadline() -> None:
    overlay = warm(JobOverlay(4, LINE, rate_kbps=6_000))
    for n in range(2):
        promise = overlay.submit(0, 3, content(700_000, n), 40_000)
        assert isinstance(promise, JobPromise)
    overlay.run(60_000, until=lambda: not len(overlay.nodes[0].jobs))
    assert [r.state for r in overlay.nodes[0].jobs.records.values()] == ["done", "done"]
    assert sorted(overlay.arrived(3)) == sorted([content(700_000, 0), content(700_000, 1)])


def test_the_same_seed_gives_the_same_trace() -> None:
    def trace(seed: int) -> str:
        overlay = warm(JobOverlay(4, LINE, loss_permille=30, seed=seed))
        overlay.submit(0, 3, FILE, 60_000)
        overlay.run_job()
        return overlay.trace.hexdigest()

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)
