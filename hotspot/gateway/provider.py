"""The providing end of AI requests: check who pays, hand the request to the model, seal the answer.

Nothing is given to the model before every check has passed, in this order: the hello, the seal,
the session on the ledger, the cap's signature, its expiry, that it is no replay, the model's name,
and that what this payer owes already leaves room for one more cap, and that there is time for it.

An answer that nobody waits for any more is stopped at the model, and charged up to there: what was
streamed before the client went, by the same rule by which the client's gateway counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from chain.records import Refusal
from hotspot.actions import CancelRequest, DeliverRequest, Emit
from hotspot.gateway.ai import (
    BAD_CAP,
    BAD_REQUEST,
    BUSY,
    CAP_EXPIRED,
    MAX_REQUEST,
    REPLAYED,
    UNKNOWN_MODEL,
    AnswerCounter,
    End,
    Head,
    Message,
    Request,
    Transcript,
    is_cap_signed_by,
    pack_message,
    planned_tokens,
    unpack_request,
)
from hotspot.gateway.provider_queue import ModelQueue
from hotspot.overlay.linkstate import ProviderAdvert
from hotspot.overlay.payee import PayeeBook, PayeeSession
from hotspot.overlay.seal import MAX_CHUNK, Greeting, Hello, SeenRequests
from hotspot.overlay.sessions import KeyBook
from hotspot.overlay.streams import Flow, StreamTable

MAX_CAP_LIFETIME_MS = 600_000
MAX_BODY = MAX_CHUNK - 64  # a message fits one sealed chunk
TOO_LARGE = Refusal("too_large", f"request: more than {MAX_REQUEST} bytes")


@dataclass(slots=True)
class _Serving:
    flow: Flow
    greeting: Greeting
    buffer: bytearray = field(default_factory=bytearray)
    size: int = 0
    request: Request | None = None
    session: PayeeSession | None = None
    transcript: Transcript | None = None
    counter: AnswerCounter | None = None
    started_ns: int = 0
    first_ns: int | None = None
    is_closed: bool = False
    is_settled: bool = False


class ProviderDesk:
    """All AI requests that this hotspot is answering."""

    def __init__(
        self,
        seed: bytes,
        network_id: bytes,
        keys: KeyBook,
        payee: PayeeBook,
        streams: StreamTable,
        models: Sequence[str],
        emit: Emit,
        slots: int = 0,
        context_tokens: int = 0,
    ) -> None:
        """`slots`: answers at a time, `context_tokens`: of the longest; 0: not limited."""
        self.models = tuple(models)
        self.queue = ModelQueue(slots)
        self.cancelled = 0
        self.answered = 0
        self.refused: dict[str, int] = {}
        self._seed = seed
        self._network_id = network_id
        self._keys = keys
        self._payee = payee
        self._streams = streams
        self._emit = emit
        self._seen = SeenRequests()
        self._by_flow: dict[tuple[int, int], _Serving] = {}
        self._by_id: dict[bytes, _Serving] = {}
        self._context_tokens = context_tokens
        self._ttft_us = 0
        self._tokens_per_s = 0  # of one answer, once it has begun

    def advert(self) -> ProviderAdvert | None:
        """What gossip says about us; None without models."""
        if not self.models:
            return None
        queue = self.queue
        return ProviderAdvert(
            *(self.models, queue.running, queue.waiting, self._tokens_per_s, self._ttft_us),
            *(self._payee.price.ai_ucr, queue.slots, queue.queued_tokens()),
            *(queue.prefill_tokens_per_s, self._context_tokens),
        )

    # --- the request ----------------------------------------------------------------------------

    def receive(self, flow: Flow, now_ns: int) -> None:
        """Look at an accepted flow on which something happened."""
        key = (flow.initiator, flow.number)
        serving = self._by_flow.get(key)
        if serving is None:
            if flow.closed_ns is not None:
                return
            serving = self._by_flow[key] = _Serving(flow, Greeting(self._seed))
        if flow.stream.failure is not None:
            self._drop(serving, now_ns)
            return
        data = flow.stream.read()
        if data and serving.request is None and not serving.is_closed:
            refusal = self._feed(serving, data, now_ns)
            if refusal is not None:
                self._refuse(serving, refusal, now_ns)

    def _feed(self, serving: _Serving, data: bytes, now_ns: int) -> Refusal | None:
        serving.size += len(data)
        if serving.size > 2 * MAX_REQUEST:
            return TOO_LARGE
        chunks = serving.greeting.feed(data)
        if isinstance(chunks, Refusal):
            return chunks
        serving.buffer += b"".join(chunks)
        opener = serving.greeting.opener
        return self._accept(serving, now_ns) if opener is not None and opener.is_final else None

    def _accept(self, serving: _Serving, now_ns: int) -> Refusal | None:
        request, hello = unpack_request(bytes(serving.buffer)), serving.greeting.hello
        if isinstance(request, Refusal) or hello is None:
            return BAD_REQUEST
        session = self._check(hello, request, now_ns)
        if isinstance(session, Refusal):
            return session
        cap = request.cap
        serving.request, serving.session, serving.started_ns = request, session, now_ns
        serving.transcript = Transcript(cap.request_id)
        serving.counter = AnswerCounter(request.path)
        serving.buffer.clear()
        self._by_id[cap.request_id] = serving
        tokens = planned_tokens(request.body)
        self.queue.add(
            cap.request_id, tokens, request.goal_ms, now_ns, streams=_is_prompt(request)
        )
        self._work_on(now_ns)
        return None

    def _work_on(self, now_ns: int) -> None:
        """Give the model what it should have now."""
        for request_id in self.queue.take(now_ns):
            serving = self._by_id[request_id]
            request, hello = serving.request, serving.greeting.hello
            if request is None or hello is None:
                continue
            what = (request.path, request.model, request.cap.max_tokens, request.body)
            self._emit(DeliverRequest(request_id, hello.payer, *what))

    def _check(self, hello: Hello, request: Request, now_ns: int) -> PayeeSession | Refusal:
        cap, now_ms = request.cap, now_ns // 1_000_000
        session = self._payee.find(hello.session, hello.payer, now_ns)
        if isinstance(session, Refusal):
            return session
        if (cap.session, cap.request_id) != (hello.session, hello.request_id):
            return BAD_CAP
        key = self._keys.key_of(hello.payer)
        if not is_cap_signed_by(key, self._network_id, cap, request.signature):
            return BAD_CAP
        if not now_ms < cap.expires_ms <= now_ms + MAX_CAP_LIFETIME_MS:
            return CAP_EXPIRED
        if not self._seen.admit(cap.request_id, cap.expires_ms, now_ms):
            return REPLAYED
        if request.model not in self.models:
            return UNKNOWN_MODEL
        if self.queue.refuses(planned_tokens(request.body), request.goal_ms, now_ns):
            return BUSY
        return self._payee.reserve(session, cap.max_tokens) or session

    # --- the answer -----------------------------------------------------------------------------

    def begin(self, request_id: bytes, status: int, content_type: str, now_ns: int) -> None:
        """The model began to answer."""
        self._write(request_id, Head(status, content_type), now_ns)

    def provide_chunk(self, request_id: bytes, data: bytes, now_ns: int) -> None:
        """Send bytes of the answer."""
        serving = self._by_id.get(request_id)
        if serving is None or serving.transcript is None:
            return
        if serving.first_ns is None:
            serving.first_ns = now_ns
            self._ttft_us = _ewma(self._ttft_us, (now_ns - serving.started_ns) // 1_000)
            self.queue.began(request_id, now_ns)
        if serving.counter is not None:
            serving.counter.feed(data)
        for at in range(0, len(data), MAX_BODY):
            piece = data[at : at + MAX_BODY]
            serving.transcript.add(piece)
            self._write(request_id, piece, now_ns)
        self._work_on(now_ns)

    def finish_request(self, request_id: bytes, tokens: int, now_ns: int) -> None:
        """End the answer; `tokens` by the model's own tokenizer, charged up to the cap."""
        serving = self._by_id.get(request_id)
        if serving is None or serving.transcript is None or serving.request is None:
            return
        charged = min(tokens, serving.request.cap.max_tokens)
        self._note_speed(serving, now_ns)
        self.answered += 1
        self._close(serving, End(charged, serving.transcript.tip), charged, now_ns)

    def _note_speed(self, serving: _Serving, now_ns: int) -> None:
        elapsed_ms = (now_ns - (serving.first_ns or now_ns)) // 1_000_000
        written = serving.counter.tokens if serving.counter is not None else 0
        if elapsed_ms > 0 and written > 1:
            self._tokens_per_s = _ewma(self._tokens_per_s, written * 1_000 // elapsed_ms)

    def fail_request(self, request_id: bytes, refusal: Refusal, now_ns: int) -> None:
        """End without an answer: nothing is charged."""
        serving = self._by_id.get(request_id)
        if serving is not None:
            self._refuse(serving, refusal, now_ns)

    def _write(self, request_id: bytes, message: Message, now_ns: int) -> None:
        serving = self._by_id.get(request_id)
        sealer = None if serving is None else serving.greeting.sealer
        if serving is not None and sealer is not None and not serving.is_closed:
            serving.flow.stream.write(sealer.seal(pack_message(message)))
            self._streams.pump(serving.flow, now_ns)

    def _refuse(self, serving: _Serving, refusal: Refusal, now_ns: int) -> None:
        self.refused[refusal.reason] = self.refused.get(refusal.reason, 0) + 1
        self._close(serving, refusal, 0, now_ns)

    def _close(self, serving: _Serving, last: Message, tokens: int, now_ns: int) -> None:
        self._settle(serving, tokens, now_ns)
        serving.is_closed = True
        stream, sealer = serving.flow.stream, serving.greeting.sealer
        if sealer is not None:
            stream.write(sealer.seal(pack_message(last), final=True))
            stream.finish()
        elif isinstance(last, Refusal):
            stream.reset(last)
        self._streams.pump(serving.flow, now_ns)

    def _settle(self, serving: _Serving, tokens: int, now_ns: int) -> None:
        request, session = serving.request, serving.session
        if request is None or session is None or serving.is_settled:
            return
        self._by_id.pop(request.cap.request_id, None)
        self.queue.remove(request.cap.request_id)
        self._payee.settle(session, request.cap.max_tokens, tokens, now_ns)
        serving.is_settled = True
        self._work_on(now_ns)

    def _drop(self, serving: _Serving, now_ns: int) -> None:
        """Forget a flow that is gone; its model stops working."""
        flow = serving.flow
        self._by_flow.pop((flow.initiator, flow.number), None)
        if serving.request is not None and not serving.is_settled:
            self.cancelled += 1
            if self.queue.has_started(serving.request.cap.request_id):
                self._emit(CancelRequest(serving.request.cap.request_id))
            self._settle(serving, _streamed_tokens(serving, serving.request), now_ns)

    def sweep(self, gone: Sequence[Flow], now_ns: int) -> None:
        """Forget idle flows, and closed ones whose stream is done."""
        for serving in list(self._by_flow.values()):
            if serving.flow in gone or serving.flow.closed_ns is not None:
                self._drop(serving, now_ns)
        self._work_on(now_ns)


def _is_prompt(request: Request) -> bool:
    """Tell whether the first bytes of the answer will say when the prompt was done."""
    if request.path == "embeddings":
        return True
    try:
        body = json.loads(request.body)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("stream") is True


def _streamed_tokens(serving: _Serving, request: Request) -> int:
    """What an answer that was given up costs: its prompt, and what was streamed; 0 before that."""
    if serving.first_ns is None or serving.counter is None:
        return 0
    return min(request.cap.max_tokens, planned_tokens(request.body) + serving.counter.close())


def _ewma(old: int, new: int) -> int:
    return new if old == 0 else (3 * old + new) // 4
