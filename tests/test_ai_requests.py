"""AI requests in virtual time: goals, turns, retries, hedges, hang-ups, and what the wire shows."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_helpers import MS, Answer, Overlay, words_of

from chain.draws import digest, u32
from hotspot.actions import DeliverRequest
from hotspot.gateway.ai import BLOCK_BYTES, AiCall, planned_tokens, prompt_blocks, prompt_tokens
from hotspot.gateway.budget import MOST, RetryBudget
from hotspot.gateway.provider_queue import PREFILLS, ModelQueue
from hotspot.overlay.datagrams import DATA, Routed, parse
from hotspot.overlay.seal import BUCKETS
from hotspot.overlay.sessions import cost_ucr

LINE = ((0, 1), (1, 2), (2, 3))
STAR = ((0, 1), (1, 2), (1, 3), (1, 4))
SECOND = 1_000_000_000


def warm(overlay: Overlay) -> Overlay:
    overlay.run(20_000)
    return overlay


def ask(
    overlay: Overlay, text: str, *, goal_ms: int = 0, hedge_ms: int = 0, max_tokens: int = 2_000
) -> Answer:
    """Ask for a stream, as `Overlay.ask` does, with wishes."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True}
    call = AiCall(
        *("chat/completions", "echo", json.dumps(body).encode(), prompt_tokens(body), max_tokens),
        *(goal_ms, hedge_ms),
    )
    entropy = digest("test-wish", u32(len(overlay.answers)))
    answer = Answer()
    overlay.answers[digest("request-id", entropy, u32(0))[:16]] = answer
    overlay.nodes[0].request(call, entropy, overlay.now_ns)
    overlay.perform(0)
    return answer


def wait(overlay: Overlay, *answers: Answer, ms: int = 60_000) -> None:
    overlay.run(ms, until=lambda: all(a.tokens is not None or a.failed for a in answers))


# --- goals, turns, slots -------------------------------------------------------------------------


def slow_model(overlay: Overlay, prompt_ms: int) -> None:
    """Prompts take so long, one after another; then it echoes."""
    free_ns = dict.fromkeys(range(overlay.count), 0)

    def model(index: int, request: DeliverRequest) -> None:
        free_ns[index] = max(free_ns[index], overlay.now_ns) + prompt_ms * MS
        overlay.at(free_ns[index], lambda: overlay.echo(index, request))

    overlay.model = model


def test_who_cannot_keep_the_goal_sends_a_request_on_and_the_last_one_answers_late() -> None:
    overlay = warm(Overlay(5, STAR, dict.fromkeys((2, 3, 4), ("echo",))))
    slow_model(overlay, 1_500)
    wait(overlay, *[ask(overlay, f"learn it {n}") for n in range(6)])  # how slow they are
    answers = [ask(overlay, f"number {n}", goal_ms=4_000) for n in range(14)]
    wait(overlay, *answers)
    assert [a.failed for a in answers] == [None] * 14  # late rather than never
    refused = Counter[str]()
    for index in (2, 3, 4):
        refused.update(overlay.nodes[index].provider.refused)
    assert refused["busy"] > 0
    served = Counter(a.head.provider for a in answers if a.head)
    assert min(served[i] for i in (2, 3, 4)) >= 3


def test_no_more_than_two_prompts_and_no_more_answers_than_slots_reach_the_model() -> None:
    queue = ModelQueue(slots=3)
    for n in range(8):
        queue.add(bytes([n]), 100, 0, SECOND, streams=True)
    assert len(queue.take(SECOND)) == PREFILLS
    assert queue.take(SECOND) == []
    queue.began(bytes([0]), 2 * SECOND)
    assert queue.take(2 * SECOND) == [bytes([2])]
    queue.began(bytes([1]), 2 * SECOND)
    assert queue.take(2 * SECOND) == []  # three answers run: no slot
    queue.remove(bytes([0]))
    assert queue.take(2 * SECOND) == [bytes([3])]
    assert (queue.running, queue.waiting) == (3, 4)


def test_the_nearest_goal_goes_first_and_the_hopeless_last() -> None:
    queue = ModelQueue(slots=0)
    queue.prefill_tokens_per_s = 1_000
    for n in range(PREFILLS):
        queue.add(bytes([n]), 100, 60_000, SECOND, streams=True)
    queue.take(SECOND)
    queue.add(b"far", 500, 9_000, SECOND, streams=True)
    queue.add(b"near", 500, 2_000, SECOND, streams=True)
    queue.add(b"lost", 5_000, 1_000, SECOND, streams=True)
    order: list[bytes] = []
    for n in range(5):
        now_ns = SECOND + 100 * MS * (n + 1)
        queue.began(order[n - PREFILLS] if n >= PREFILLS else bytes([n]), now_ns)
        order += queue.take(now_ns)
    assert order == [b"near", b"far", b"lost"]


def test_a_model_that_never_begins_does_not_hold_up_the_others_for_ever() -> None:
    queue = ModelQueue(slots=0)
    for n in range(4):
        queue.add(bytes([n]), 100, 0, SECOND, streams=True)
    queue.take(SECOND)
    assert queue.take(10 * SECOND) == []
    assert queue.take(17 * SECOND) == [bytes([2]), bytes([3])]


def test_the_speed_of_a_model_is_learned_from_its_first_tokens() -> None:
    queue = ModelQueue(slots=0)
    now_ns = SECOND
    for n in range(30):  # 2,000 tokens a second, one after another
        queue.add(bytes([n]), 1_000, 0, now_ns, streams=True)
        queue.take(now_ns)
        now_ns += SECOND // 2
        queue.began(bytes([n]), now_ns)
        queue.remove(bytes([n]))
    assert 1_900 <= queue.prefill_tokens_per_s <= 2_100
    assert queue.refuses(6_000, 2_000, now_ns)
    assert not queue.refuses(3_000, 2_000, now_ns)


# --- retries and hedging -------------------------------------------------------------------------


def test_a_network_of_broken_providers_is_not_stormed_by_retries() -> None:
    overlay = warm(Overlay(5, STAR, dict.fromkeys((2, 3, 4), ("echo",))))

    def broken(index: int, request: DeliverRequest) -> None:
        from chain.records import Refusal

        node = overlay.nodes[index]
        node.provider.fail_request(
            request.request_id, Refusal("provider_failed", "out of memory"), overlay.now_ns
        )

    overlay.model = broken
    for _ in range(60):
        answer = ask(overlay, "hello")
        wait(overlay, answer)
        assert answer.failed is not None
        assert answer.failed.reason == "provider_failed"
    assert 60 + MOST <= len(overlay.delivered) <= 60 + MOST + 60 // 5


@given(st.lists(st.booleans(), max_size=300))
def test_retries_are_a_fifth_of_requests_and_a_handful(steps: list[bool]) -> None:
    budget, earned, spent = RetryBudget(), 0, 0
    for is_request in steps:
        if is_request:
            budget.earn()
            earned += 1
        else:
            spent += budget.spend()
    assert spent == budget.spent <= MOST + earned // 5
    assert budget.refused == steps.count(False) - spent


@pytest.mark.parametrize("hedge_ms", [0, 800])
def test_a_late_first_token_is_hedged_only_where_it_was_asked_for(hedge_ms: int) -> None:
    overlay = warm(Overlay(5, STAR, {2: ("echo",), 3: ("echo",)}))
    wait(overlay, *[ask(overlay, f"open sessions {n}") for n in range(2)])
    seen = len(overlay.delivered)

    def model(index: int, request: DeliverRequest) -> None:
        delay = 5_000 if len(overlay.delivered) == seen + 1 else 100
        overlay.at(overlay.now_ns + delay * MS, lambda: overlay.echo(index, request))

    overlay.model = model
    began_ns = overlay.now_ns
    answer = ask(overlay, "be quick", hedge_ms=hedge_ms)
    wait(overlay, answer)
    took_ms = (overlay.now_ns - began_ns) // MS
    assert words_of(answer) == "BE QUICK"
    overlay.run(8_000)
    asked = [index for index, _ in overlay.delivered[seen:]]
    if hedge_ms:
        assert sorted(asked) == [2, 3]
        assert took_ms < 2_500
        assert overlay.cancelled == [overlay.delivered[seen][1].request_id]
        assert overlay.nodes[0].consumer.ok == 3
    else:
        assert (len(asked), overlay.cancelled) == (1, [])
        assert took_ms >= 5_000


# --- hang-ups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_permille", [0, 100])
def test_a_hang_up_stops_the_model_and_is_billed_up_to_there(loss_permille: int) -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}, loss_permille=loss_permille))
    answer = ask(overlay, "word " * 3_000, max_tokens=20_000)
    overlay.run(20_000, until=lambda: len(answer.body) > 8_000)
    (request_id,) = overlay.answers
    overlay.nodes[0].consumer.cancel(request_id, overlay.now_ns)
    overlay.perform(0)
    overlay.run(12_000)
    assert overlay.cancelled == [overlay.delivered[0][1].request_id]
    assert len(overlay.nodes[3].provider.queue) == 0
    bill = next(s for s in overlay.ledger.state.sessions.values() if s.payee == 3)
    came = answer.body.count(b"data:")
    prompt = planned_tokens(overlay.delivered[0][1].body)
    # An event is a token or more by the rule ("WORD " is three); what was on its way counts too.
    assert prompt + came <= bill.ai_tokens <= prompt + 3 * came + 3_000
    assert bill.ai_tokens < prompt + 3 * 3_000 * 0.9
    payer = overlay.nodes[0].payer.sessions[bill.index]
    assert payer.counted().ai_tokens >= bill.ai_tokens
    theirs = overlay.nodes[3].payee.sessions[bill.index]
    assert bill.claimed_ucr == cost_ucr(payer.info, theirs.counted())
    later = bill.ai_tokens
    overlay.run(10_000)
    assert bill.ai_tokens == later


def test_a_hang_up_before_the_first_token_costs_no_token() -> None:
    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    slow_model(overlay, 5_000)
    ask(overlay, "never mind")
    overlay.run(20_000, until=lambda: bool(overlay.delivered))
    (request_id,) = overlay.answers
    overlay.nodes[0].consumer.cancel(request_id, overlay.now_ns)
    overlay.run(10_000)
    assert len(overlay.cancelled) == 1
    assert all(s.ai_tokens == 0 for s in overlay.ledger.state.sessions.values())


# --- what the wire shows -------------------------------------------------------------------------


def wire_of(text: str) -> tuple[bytes, list[tuple[bool, int]]]:
    """All bytes that relay 1 sees of a request, and the sizes of its DATA, by direction."""
    seen, sizes = bytearray(), []

    def listen(source: int, target: int, data: bytes) -> bool:
        seen.extend(data)
        packet = parse(data)
        if {source, target} == {1, 2} and isinstance(packet, Routed) and packet.kind == DATA:
            sizes.append((source == 1, len(data)))
        return False

    overlay = warm(Overlay(4, LINE, {3: ("echo",)}))
    wait(overlay, ask(overlay, "open the sessions"))
    overlay.drops = listen
    answer = ask(overlay, text)
    wait(overlay, answer)
    assert words_of(answer) == text.upper()
    return bytes(seen), sizes


def test_the_wire_has_no_word_of_prompt_or_answer_and_sizes_hide_their_lengths() -> None:
    seen, sizes = wire_of("xylophone quartz jukebox")
    for word in (b"xylophone", b"XYLOPHONE", b"quartz", b"JUKEBOX", b"echo", b"messages", b"data:"):
        assert word not in seen
    _, others = wire_of("a bb ccc")  # as many words, far fewer letters
    assert others == sizes
    assert max(size for _, size in sizes) > BUCKETS[0]


@given(st.text(max_size=6_000), st.text(max_size=6_000), st.text(max_size=200))
def test_prompts_share_blocks_exactly_as_far_as_their_texts_do(a: str, b: str, tail: str) -> None:
    def blocks(text: str) -> tuple[int, ...]:
        return prompt_blocks({"model": "m", "messages": [{"role": "user", "content": text}]})

    one, longer = blocks(a), blocks(a + tail)
    assert longer[: len(one)] == one
    raw_a, raw_b = (("m\x00user\x00" + text).encode() for text in (a, b))
    whole = 0
    while (
        len(raw_a) >= (whole + 1) * BLOCK_BYTES
        and raw_a[: (whole + 1) * BLOCK_BYTES] == raw_b[: (whole + 1) * BLOCK_BYTES]
    ):
        whole += 1
    shared = [x == y for x, y in zip(blocks(a), blocks(b), strict=False)]
    assert shared == [True] * whole + [False] * (len(shared) - whole)
