"""Whole paths in virtual time: requests answered over lossy hops, metered, paid; liars refused."""

from __future__ import annotations

import json

import pytest
from relay_helpers import MS, START_MS, Answer, Overlay, words_of

from chain.params import PRESETS
from hotspot.actions import DeliverRequest
from hotspot.overlay.datagrams import DATA, LINKSTATE, Routed, parse
from hotspot.overlay.payee import Price
from hotspot.overlay.sessions import cost_ucr
from hotspot.overlay.tolls import Spending

LINE = ((0, 1), (1, 2), (2, 3))
DIAMOND = ((0, 1), (1, 3), (0, 2), (2, 3))
TEXT = "the quick brown fox jumps over the lazy dog " * 10


def warm(overlay: Overlay) -> Overlay:
    overlay.run(20_000)
    return overlay


def ask_and_wait(overlay: Overlay, text: str = TEXT, index: int = 0) -> Answer:
    answer = overlay.ask(index, text)
    overlay.run(90_000, until=lambda: answer.tokens is not None or answer.failed is not None)
    return answer


@pytest.mark.parametrize("loss_permille", [0, 50, 150])
def test_a_request_is_answered_over_lossy_hops(loss_permille: int) -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, loss_permille=loss_permille))
    answer = ask_and_wait(overlay)
    assert answer.failed is None
    assert words_of(answer) == TEXT.upper().strip()
    assert answer.head is not None
    assert (answer.head.provider, answer.head.content_type) == (3, "text/event-stream")


def test_both_ends_and_the_ledger_agree_on_what_is_paid() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    assert ask_and_wait(overlay).failed is None
    overlay.run(10_000)
    sessions = overlay.ledger.state.sessions.values()
    assert {(s.payer, s.payee) for s in sessions} == {(0, 1), (0, 2), (0, 3)}
    for there in sessions:
        payer = overlay.nodes[0].payer.sessions[there.index]
        payee = overlay.nodes[there.payee].payee.sessions[there.index]
        assert payer.counted() == payee.counted()
        assert (there.relayed_bytes, there.ai_tokens, there.ai_requests) == (
            payer.counted().relayed_bytes,
            payer.counted().ai_tokens,
            payer.counted().ai_requests,
        )
        assert there.claimed_ucr == cost_ucr(payer.info, payer.counted()) > 0
    assert {s.payee: s.ai_requests for s in sessions} == {1: 0, 2: 0, 3: 1}


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    def trace(seed: int) -> str:
        overlay = warm(Overlay(4, LINE, {3: ("echo",)}, loss_permille=100, seed=seed))
        ask_and_wait(overlay)
        return overlay.trace.hexdigest()

    first = trace(1)
    assert trace(1) == first
    assert trace(2) != first


def test_a_dead_relay_is_routed_around_in_mid_answer() -> None:
    overlay = warm(Overlay(4, DIAMOND, {3: ("echo",)}))
    answer = overlay.ask(0, "word " * 2_000)
    overlay.run(5_000, until=lambda: len(answer.body) > 5_000)
    (used,) = {s.info.payee for s in overlay.nodes[0].payer.sessions.values()} - {3}
    overlay.down.add(used)
    overlay.run(120_000, until=lambda: answer.tokens is not None or answer.failed is not None)
    assert answer.failed is None
    assert words_of(answer) == ("WORD " * 2_000).strip()
    assert {s.info.payee for s in overlay.nodes[0].payer.sessions.values()} == {1, 2, 3}


def test_a_provider_that_dies_is_replaced_before_the_answer_began() -> None:
    overlay = warm(Overlay(4, ((0, 1), (1, 2), (1, 3)), {2: ("echo",), 3: ("echo",)}))
    answers: list[DeliverRequest] = []

    def first_is_mute(index: int, request: DeliverRequest) -> None:
        answers.append(request)
        if len(answers) == 1:
            overlay.down.add(index)
        else:
            overlay.echo(index, request)

    overlay.model = first_is_mute
    answer = overlay.ask(0, TEXT)
    overlay.run(300_000, until=lambda: answer.tokens is not None or answer.failed is not None)
    assert answer.failed is None
    assert len({i for i, _ in overlay.delivered}) == 2


def test_without_a_provider_the_client_is_told_at_once() -> None:
    overlay = warm(Overlay(3, LINE[:2]))
    answer = overlay.ask(0, TEXT)
    assert answer.failed is not None
    assert answer.failed.detail


def test_relays_see_no_word_of_request_or_answer() -> None:
    seen = bytearray()

    def listen(_source: int, _target: int, data: bytes) -> bool:
        seen.extend(data)
        return False

    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, drops=listen))
    answer = ask_and_wait(overlay, "xylophone quartz")
    assert words_of(answer) == "XYLOPHONE QUARTZ"
    for word in (b"xylophone", b"XYLOPHONE", b"quartz", b"QUARTZ", b"messages", b"choices"):
        assert word not in seen


def test_a_relay_that_changes_bytes_gets_the_request_refused_as_tampered() -> None:
    def flip(source: int, _target: int, data: bytes) -> bytes:
        packet = parse(data)
        is_data = isinstance(packet, Routed) and packet.kind == DATA and packet.route[0] == 0
        if source == 1 and is_data and len(data) > 240:
            return data[:-1] + bytes((data[-1] ^ 1,))
        return data

    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, changes=flip))
    answer = ask_and_wait(overlay, "hello")
    assert answer.failed is not None
    assert overlay.nodes[3].provider.refused == {"tampered": 1}
    assert overlay.delivered == []


def test_a_replayed_request_is_refused_and_costs_nothing() -> None:
    taped: list[bytes] = []

    def tape(source: int, target: int, data: bytes) -> bool:
        packet = parse(data)
        if (source, target) == (2, 3) and isinstance(packet, Routed) and packet.kind == DATA:
            taped.append(data)
        return False

    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, drops=tape))
    assert ask_and_wait(overlay, "hello").failed is None
    overlay.run(5_000)
    tokens = overlay.ledger.state.sessions[2].ai_tokens
    for data in taped:  # the same bytes as another flow: number 5
        replay = data[:5] + (5).to_bytes(4, "big") + data[9:]
        overlay.nodes[3].receive_datagram(replay, 2, overlay.now_ns)
        overlay.perform(3)
    overlay.run(10_000)
    assert overlay.nodes[3].provider.refused == {"replayed": 1}
    assert len(overlay.delivered) == 1
    assert overlay.ledger.state.sessions[2].ai_tokens == tokens


def test_data_without_a_session_is_not_forwarded() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    flow = overlay.nodes[0].streams.open((0, 1, 2, 3), (0xFFFFFFFF, 77, 78, 0xFFFFFFFF), 1)
    flow.stream.write(bytes(5_000))
    overlay.nodes[0].streams.pump(flow, overlay.now_ns)
    overlay.run(3_000)
    assert overlay.nodes[1].counts["refused_unknown_session"] > 0
    assert overlay.nodes[1].counts["forwarded_bytes"] == 0


def test_a_client_that_signs_nothing_gets_one_chunk_of_every_relay() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    overlay.nodes[0].payer.receive_claim = lambda claim: _ready_only(overlay, claim.session)  # type: ignore[method-assign]
    answer = overlay.ask(0, "word " * 5_000)
    overlay.run(60_000)
    assert answer.tokens is None
    chunk = PRESETS["minimal"].chunk_bytes
    for relay in (1, 2):
        (session,) = overlay.nodes[relay].payee.sessions.values()
        assert 0 < session.relayed_bytes <= chunk
        assert session.receipt is None


def _ready_only(overlay: Overlay, session: int) -> None:
    overlay.nodes[0].payer.sessions[session].is_ready = True


def test_a_price_above_what_the_client_pays_is_refused_before_a_session_opens() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, price=Price(2_000_000, 5)))
    answer = ask_and_wait(overlay)
    assert answer.failed is not None
    assert answer.failed.reason == "price_too_high"
    assert not overlay.ledger.state.sessions


def test_a_request_that_may_cost_more_than_the_escrow_is_refused_at_once() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    answer = overlay.ask(0, TEXT, max_tokens=1 << 20)
    overlay.run(2_000)
    assert answer.failed is not None
    assert answer.failed.reason == "over_escrow"
    assert answer.failed.detail


def test_requests_at_once_share_sessions_only_while_the_escrow_covers_them_all() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, price=Price(10, 100_000)))
    answers = [overlay.ask(0, f"request {n}", max_tokens=3_000) for n in range(9)]
    overlay.run(60_000, until=lambda: all(a.tokens or a.failed for a in answers))
    assert [a.failed for a in answers] == [None] * 9
    assert len([s for s in overlay.ledger.state.sessions.values() if s.payee == 3]) >= 2


def test_a_relay_killed_and_restarted_keeps_its_receipts_and_is_paid_once() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, claim_ms=3_600_000))
    assert ask_and_wait(overlay).failed is None
    overlay.run(3_000)
    signed = dict(overlay.kept[1])
    assert signed
    overlay.nodes[1] = overlay.make_node(1)
    overlay.nodes[1].restore(signed.values(), [], overlay.now_ns)
    overlay.nodes[1].harvest()
    overlay.run(5_000)
    paid = {s.payee: s.claimed_ucr for s in overlay.ledger.state.sessions.values()}
    assert paid[1] > 0
    overlay.nodes[1].harvest()
    overlay.nodes[1] = overlay.make_node(1)
    overlay.nodes[1].restore(signed.values(), [], overlay.now_ns)
    overlay.nodes[1].harvest()
    overlay.run(5_000)
    again = {s.payee: s.claimed_ucr for s in overlay.ledger.state.sessions.values()}
    assert again[1] == paid[1]
    assert ask_and_wait(overlay, "once more").failed is None


def test_an_unanswered_opening_survives_a_restart() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    wires: list[bytes] = []
    submit = overlay._submit

    def hold(index: int, wire: bytes) -> None:  # the outbox has it, the ledger not yet
        wires.append(wire) if index == 0 and len(wires) < 3 else submit(index, wire)

    overlay._submit = hold  # type: ignore[method-assign]
    overlay.ask(0, TEXT)
    overlay.run(200)
    overlay.nodes[0] = overlay.make_node(0)
    overlay.nodes[0].restore([], wires, overlay.now_ns)
    for wire in wires:
        submit(0, wire)
    assert {s.info.payee for s in overlay.nodes[0].payer.sessions.values()} == {1, 2, 3}
    overlay.run(20_000)
    assert ask_and_wait(overlay).failed is None
    assert len(overlay.ledger.state.sessions) == 3  # none was opened twice


def test_a_client_that_hangs_up_stops_the_model() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    answer = overlay.ask(0, "word " * 5_000)
    overlay.run(5_000, until=lambda: len(answer.body) > 1_000)
    (request_id,) = overlay.answers
    overlay.nodes[0].consumer.cancel(request_id, overlay.now_ns)
    overlay.run(3_000)
    assert overlay.cancelled == [overlay.delivered[0][1].request_id]
    advert = overlay.nodes[3].provider.advert()
    assert advert is not None
    assert advert.requests_running == 0


def test_an_escrow_that_runs_out_in_mid_answer_is_renewed() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, price=Price(100_000, 5)))
    overlay.nodes[0].tolls.spending = Spending(escrow_ucr=20_000)
    answer = ask_and_wait(overlay, "word " * 2_000)
    assert answer.failed is None
    assert words_of(answer) == ("WORD " * 2_000).strip()
    overlay.run(10_000)
    first_hop = [s for s in overlay.ledger.state.sessions.values() if s.payee == 1]
    assert len(first_hop) > 1
    assert all(s.claimed_ucr <= 20_000 for s in first_hop)


def test_many_clients_share_one_provider() -> None:
    links = [(i, 6) for i in range(5)] + [(6, 7)]
    overlay = warm(Overlay(8, links, {7: ("echo",)}, loss_permille=30))
    answers = [overlay.ask(i, f"client {i} says hello") for i in range(5) for _ in range(3)]
    overlay.run(120_000, until=lambda: all(a.tokens or a.failed for a in answers))
    assert [a.failed for a in answers] == [None] * 15
    assert {words_of(a) for a in answers} == {f"CLIENT {i} SAYS HELLO" for i in range(5)}


def test_gossip_is_a_small_share_of_an_idle_network() -> None:
    size = 20
    ring = [(i, (i + 1) % size) for i in range(size)] + [(i, (i + 9) % size) for i in range(size)]
    spent = {"bytes": 0}

    def count(_source: int, _target: int, data: bytes) -> bool:
        if data[1] == LINKSTATE:
            spent["bytes"] += len(data)
        return False

    overlay = Overlay(size, ring, {0: ("echo",)}, drops=count)
    overlay.run(45_000)
    assert all(len(n.table.samples()) == 4 * size for n in overlay.nodes)
    bits_per_s_and_node = 8 * spent["bytes"] / 45 / size
    assert bits_per_s_and_node < 60_000


def test_junk_never_stops_a_node() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    for n in range(300):
        overlay.nodes[1].receive_datagram(bytes((1, n % 7)) + bytes(n), 0, overlay.now_ns)
    assert ask_and_wait(overlay, json.dumps([1, 2])).failed is None
    assert overlay.now_ns > START_MS * MS
