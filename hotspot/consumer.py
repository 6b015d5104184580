"""The consuming end of AI requests: place, pay, seal, send, check the answer; or try elsewhere.

A call goes through three states: *placing* (the router picks provider and path), *securing* (every
relay on the path and the provider need a session that they have acknowledged) and *answering* (the
sealed request is out). A call that fails before its answer began is placed again, without the
provider that failed it, up to `MAX_ATTEMPTS` times. A stream that stalls gets another path if the
router has one, under sessions of that path, without the provider noticing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chain.draws import digest, u32
from chain.records import Refusal
from hotspot.actions import AnswerChunk, AnswerEnd, AnswerHead, Emit, RequestFailed
from hotspot.ai import (
    AiCall,
    AnswerCounter,
    ConsumerSeal,
    End,
    Head,
    Message,
    Request,
    RequestCap,
    seal_for,
    sign_cap,
)
from hotspot.linkstate import LinkStateTable
from hotspot.payer import PayerBook
from hotspot.sessions import KeyBook, Sync
from hotspot.streams import Flow, StreamTable, sessions_beside
from hotspot.tolls import ControlPort, TollDesk
from routing.types import AiRequest, FlowClass, LinkSample, Path, Placement, ProviderState

MAX_ATTEMPTS = 3
STEP_NS = 100_000_000
SETUP_NS = 30_000_000_000
PLACE_NS = 5_000_000_000  # a provider may be known before the links that lead to it
SILENCE_NS = 120_000_000_000
QUIET_NS = 1_000_000_000  # an answer that pauses this long may have lost its path: ping it
CAP_LIFETIME_MS = 120_000
FINAL_REASONS = frozenset({"bad_request", "cancelled"})

NO_ROUTER = Refusal("no_router", "this hotspot relays only; ask a gateway")
NO_PROVIDER_KEY = Refusal("unknown_hotspot", "provider: not on the ledger")
SETUP_TIMEOUT = Refusal("no_session", "sessions with the path were not ready in time")
SILENT = Refusal("timeout", "the provider fell silent")
CANCELLED = Refusal("cancelled", "the client went away")


class RouterPort(Protocol):
    """What a gateway needs of `routing.router.Router`."""

    def observe(self, samples: Sequence[LinkSample], now_ms: int) -> None:
        """Take link samples."""

    def path(self, source: int, target: int, flow: FlowClass, now_ms: int) -> Path | Refusal:
        """Choose a path."""

    def place(
        self, request: AiRequest, providers: Sequence[ProviderState], now_ms: int
    ) -> Placement | Refusal:
        """Choose a provider."""


@dataclass(slots=True)
class _Call:
    request_id: bytes
    call: AiCall
    entropy: bytes
    since_ns: int
    attempt: int = 0
    excluded: set[int] = field(default_factory=set)
    route: tuple[int, ...] = ()  # to be secured; empty while placing or when all is well
    provider: int = -1
    session: int = -1
    flow: Flow | None = None
    seal: ConsumerSeal | None = None
    counter: AnswerCounter | None = None
    has_head: bool = False
    heard_ns: int = 0
    pinged_ns: int = 0
    earlier: Refusal | None = None  # why the attempt before failed

    @property
    def most_tokens(self) -> int:
        """What the request may cost at most."""
        return self.call.prompt_tokens + self.call.max_tokens


class ConsumerDesk:
    """All AI requests that this hotspot has sent and not yet seen answered."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        keys: KeyBook,
        table: LinkStateTable,
        payer: PayerBook,
        streams: StreamTable,
        router: RouterPort | None,
        tolls: TollDesk,
        emit: Emit,
        send_control: ControlPort,
    ) -> None:
        self.ok = 0
        self.failed = 0
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._keys = keys
        self._table = table
        self._payer = payer
        self._streams = streams
        self._router = router
        self._tolls = tolls
        self._emit = emit
        self._send_control = send_control
        self._calls: dict[bytes, _Call] = {}
        self._flows: dict[int, bytes] = {}
        self._step_ns: int | None = None

    def __len__(self) -> int:
        return len(self._calls)

    # --- from the gateway -----------------------------------------------------------------------

    def start(self, call: AiCall, entropy: bytes, now_ns: int) -> bytes:
        """Take a request; `entropy` is 32 secret random bytes. Answers are actions with its id."""
        request_id = digest("request-id", entropy, u32(0))[:16]
        started = _Call(request_id, call, entropy, now_ns, heard_ns=now_ns)
        self._calls[request_id] = started
        self._advance(started, now_ns)
        return request_id

    def cancel(self, request_id: bytes, now_ns: int) -> None:
        """Give up a request whose client has gone."""
        call = self._calls.pop(request_id, None)
        if call is not None:
            self._close_flow(call, CANCELLED, now_ns)

    def nudge(self, now_ns: int) -> None:
        """Look at waiting calls soon: a session became ready, or was refused."""
        if self._calls:
            self._step_ns = now_ns

    # --- progress -------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When `handle_deadline` has work."""
        return self._step_ns

    def handle_deadline(self, now_ns: int) -> None:
        """Move calls on that wait for sessions, and end those that waited too long."""
        if self._step_ns is None or now_ns < self._step_ns:
            return
        for call in list(self._calls.values()):
            self._advance(call, now_ns)
        self._step_ns = now_ns + STEP_NS if self._calls else None

    def _advance(self, call: _Call, now_ns: int) -> None:
        refusal = self._step(call, now_ns)
        if refusal is not None:
            self._fail(call, refusal, now_ns)
        self._step_ns = now_ns + STEP_NS if self._calls else None

    def _step(self, call: _Call, now_ns: int) -> Refusal | None:
        if call.flow is not None and now_ns - call.heard_ns > SILENCE_NS:
            return SILENT
        if call.flow is None and now_ns - call.since_ns > SETUP_NS:
            return SETUP_TIMEOUT
        if call.provider < 0:
            refusal = self._place(call, now_ns)
            if refusal is not None:
                return refusal
        if not call.route:
            self._watch(call, now_ns)
            return None
        route = call.route
        tokens = call.most_tokens if call.flow is None else 0
        paid = self._tolls.secure(route, len(route) - 1, now_ns, tokens)
        if isinstance(paid, Refusal):
            return paid if call.flow is None else None  # a stream keeps trying its old path
        return self._go(call, paid, now_ns) if paid is not None else None

    def _watch(self, call: _Call, now_ns: int) -> None:
        quiet_since_ns = max(call.heard_ns, call.pinged_ns)
        if call.flow is not None and now_ns - quiet_since_ns >= QUIET_NS:
            call.pinged_ns = now_ns
            call.flow.stream.ping()
            self._streams.pump(call.flow, now_ns)

    def _place(self, call: _Call, now_ns: int) -> Refusal | None:
        if self._router is None:
            return NO_ROUTER
        now_ms = now_ns // 1_000_000
        wanted = call.call
        request = AiRequest(self._index, wanted.model, wanted.prompt_tokens, wanted.max_tokens, 0)
        away = call.excluded | {self._index}
        providers = [p for p in self._table.providers(now_ms) if p.hotspot not in away]
        placement = self._router.place(request, providers, now_ms)
        if isinstance(placement, Refusal):
            is_offered = any(wanted.model in p.models for p in providers)
            is_early = now_ns - call.since_ns < PLACE_NS
            return None if is_offered and is_early else placement
        call.provider, call.route = placement.provider, placement.path.hops
        return None

    # --- the stream -----------------------------------------------------------------------------

    def _go(self, call: _Call, paid: dict[int, int], now_ns: int) -> Refusal | None:
        route, call.route = call.route, ()
        beside = sessions_beside(route, paid)
        if call.flow is not None:
            call.flow.route, call.flow.sessions = route, beside
            call.flow.stream.ping()
            self._streams.pump(call.flow, now_ns)
            return None
        call.session = paid[call.provider]
        self._payer.reserve(call.session, call.most_tokens)
        sealed = self._seal(call, now_ns)
        if isinstance(sealed, Refusal):
            return sealed
        call.seal, call.counter = sealed, AnswerCounter(call.call.path)
        call.flow = self._streams.open(route, beside, now_ns)
        call.heard_ns = now_ns
        self._flows[call.flow.number] = call.request_id
        call.flow.stream.write(sealed.opening)
        call.flow.stream.finish()
        self._streams.pump(call.flow, now_ns)
        return None

    def _seal(self, call: _Call, now_ns: int) -> ConsumerSeal | Refusal:
        key = self._keys.key_of(call.provider)
        if key is None:
            return NO_PROVIDER_KEY
        wanted = call.call
        wire_id = digest("request-id", call.entropy, u32(call.attempt))[:16]
        expires_ms = now_ns // 1_000_000 + CAP_LIFETIME_MS
        cap = RequestCap(call.session, wire_id, call.most_tokens, expires_ms)
        signature = sign_cap(self._seed, self._network_id, cap)
        request = Request(cap, signature, wanted.path, wanted.model, wanted.body)
        secret = digest("ephemeral", call.entropy, u32(call.attempt))
        return seal_for(request, self._index, key, secret)

    def receive(self, flow: Flow, now_ns: int) -> None:
        """Look at a flow of ours on which something happened."""
        call = self._calls.get(self._flows.get(flow.number, b""))
        if call is None or call.flow is not flow or call.seal is None:
            return
        data = flow.stream.read()
        call.heard_ns = now_ns if data else call.heard_ns
        refusal = self._take(call, call.seal.feed(data) if data else [])
        if refusal is None and call.request_id in self._calls:
            refusal = self._look_at(flow, call.seal)
            if flow.stream.take_reroute():
                self._reroute(call, now_ns)
        if refusal is not None:
            self._fail(call, refusal, now_ns)

    def _look_at(self, flow: Flow, seal: ConsumerSeal) -> Refusal | None:
        if flow.stream.failure is not None:
            return flow.stream.failure
        return seal.close() if flow.stream.at_end else None

    def _reroute(self, call: _Call, now_ns: int) -> None:
        if self._router is None or call.flow is None:
            return
        path = self._router.path(self._index, call.provider, FlowClass.AI, now_ns // 1_000_000)
        # The same path again still gets fresh sessions where a relay's escrow ran out.
        call.route = path.hops if isinstance(path, Path) else call.flow.route
        self._advance(call, now_ns)

    def _take(self, call: _Call, messages: list[Message]) -> Refusal | None:
        for message in messages:
            if isinstance(message, Refusal):
                return message
            if isinstance(message, Head):
                call.has_head = True
                head = AnswerHead(
                    call.request_id, call.provider, message.status, message.content_type
                )
                self._emit(head)
            elif isinstance(message, End):
                self._finish(call, message.tokens)
            else:
                self._chunk(call, message)
        return None

    def _chunk(self, call: _Call, data: bytes) -> None:
        if call.counter is not None:
            call.counter.feed(data)
        self._emit(AnswerChunk(call.request_id, data))

    # --- ends -----------------------------------------------------------------------------------

    def _count(self, call: _Call, theirs: int) -> int:
        ours = call.call.prompt_tokens + (call.counter.close() if call.counter else 0)
        tokens = min(ours, theirs, call.most_tokens)
        self._payer.count_answer(call.session, tokens)
        return tokens

    def _finish(self, call: _Call, theirs: int) -> None:
        self._calls.pop(call.request_id, None)
        self.ok += 1
        self._emit(AnswerEnd(call.request_id, self._count(call, theirs)))
        self._release(call)
        if call.flow is not None:
            # Our count is complete only now: ask for the provider's, so that it is signed at once.
            self._send_control(call.flow.route, Sync(call.session))

    def _fail(self, call: _Call, refusal: Refusal, now_ns: int) -> None:
        self._close_flow(call, refusal, now_ns)
        if call.has_head:
            self._count(call, call.most_tokens)
        can_retry = not call.has_head and refusal.reason not in FINAL_REASONS
        if can_retry and call.provider >= 0 and call.attempt + 1 < MAX_ATTEMPTS:
            call.earlier = refusal
            self._retry(call, now_ns)
            return
        if self._calls.pop(call.request_id, None) is not None:
            self.failed += 1
            # "No other provider" says less than what was wrong with the one there was.
            told = call.earlier if call.provider < 0 and call.earlier else refusal
            self._emit(RequestFailed(call.request_id, told.reason, told.detail))

    def _retry(self, call: _Call, now_ns: int) -> None:
        call.excluded.add(call.provider)
        call.attempt += 1
        call.provider, call.session, call.route = -1, -1, ()
        call.flow = call.seal = call.counter = None
        call.since_ns = call.heard_ns = now_ns
        self._advance(call, now_ns)

    def _release(self, call: _Call) -> None:
        if call.flow is not None and self._flows.pop(call.flow.number, None) is not None:
            self._payer.reserve(call.session, -call.most_tokens)

    def _close_flow(self, call: _Call, refusal: Refusal, now_ns: int) -> None:
        self._release(call)
        if call.flow is not None:
            call.flow.stream.reset(refusal)
            self._streams.pump(call.flow, now_ns)
