"""The consuming end of AI requests: place, pay, seal, send, check the answer; or try elsewhere.

A call goes through three states: *placing* (the router picks provider and path), *securing* (every
relay on the path and the provider need a session that they have acknowledged) and *answering* (the
sealed request is out). A call that fails before its answer began is placed again, without the
provider that failed it, up to `MAX_ATTEMPTS` times and within the retry budget. A provider that is
too busy to keep the goal sends it back at once; after `MAX_BOUNCES` it goes without a goal, and is
answered late rather than never. A stream that stalls gets another path if the router has one, under
sessions of that path, without the provider noticing.

A hedged call (off unless asked for) has a twin once its first token is late: the first of both to
begin an answer gives it, the other is cancelled. Both, like retries, use up the retry budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from chain.draws import digest, u32
from chain.records import Refusal
from hotspot.actions import AnswerChunk, AnswerEnd, AnswerHead, Emit, RequestFailed
from hotspot.gateway.ai import (
    BUSY,
    AiCall,
    AnswerCounter,
    ConsumerSeal,
    End,
    Head,
    Message,
    Request,
    RequestCap,
    planned_tokens,
    seal_for,
    sign_cap,
)
from hotspot.gateway.budget import RetryBudget
from hotspot.overlay.linkstate import LinkStateTable
from hotspot.overlay.payer import PayerBook
from hotspot.overlay.sessions import KeyBook, Sync
from hotspot.overlay.streams import Flow, StreamTable, sessions_beside
from hotspot.overlay.tolls import ControlPort, TollDesk
from routing.types import AiRequest, FlowClass, LinkSample, Path, Placement, ProviderState

MAX_ATTEMPTS = 3
MAX_BOUNCES = 3
HEDGE = 0xFFFF_FFFF  # what a twin's name and secrets are drawn with
PROVIDERS_NS = 200_000_000  # how long a list of providers is used
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
        self,
        request: AiRequest,
        providers: Sequence[ProviderState],
        now_ms: int,
        without: frozenset[int] = frozenset(),
    ) -> Placement | Refusal:
        """Choose a provider."""

    def began(self, ticket: int, ttft_us: int) -> None:
        """Learn how long a first token took."""

    def ended(self, ticket: int, held_us: int = 0) -> None:
        """Learn that a request is over."""

    def busy(self, ticket: int, request: AiRequest) -> None:
        """Learn that a provider had no time."""


@dataclass(slots=True)
class _Call:
    request_id: bytes
    call: AiCall
    entropy: bytes
    answers_to: bytes  # the id that the gateway knows
    begun_ns: int
    since_ns: int
    attempt: int = 0
    failures: int = 0
    bounces: int = 0
    excluded: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)
    placed: AiRequest | None = None
    ticket: int = 0
    sent_ns: int = 0
    is_timed: bool = False  # the first bytes of its answer say when the prompt was done
    twin: bytes | None = None
    was_hedged: bool = False
    route: tuple[int, ...] = ()  # to be secured; empty while placing or when all is well
    provider: int = -1
    session: int = -1
    flow: Flow | None = None
    seal: ConsumerSeal | None = None
    counter: AnswerCounter | None = None
    has_head: bool = False
    first_ns: int = 0
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
        self.retries = RetryBudget()
        self._providers: tuple[int, list[ProviderState]] = (0, [])

    def __len__(self) -> int:
        return len(self._calls)

    # --- from the gateway -----------------------------------------------------------------------

    def start(self, call: AiCall, entropy: bytes, now_ns: int) -> bytes:
        """Take a request; `entropy` is 32 secret random bytes. Answers are actions with its id."""
        request_id = digest("request-id", entropy, u32(0))[:16]
        started = _Call(request_id, call, entropy, request_id, now_ns, now_ns, heard_ns=now_ns)
        self.retries.earn()
        self._calls[request_id] = started
        self._advance(started, now_ns)
        return request_id

    def cancel(self, request_id: bytes, now_ns: int) -> None:
        """Give up a request whose client has gone; what came until now is paid for."""
        for call in [c for c in self._calls.values() if c.answers_to == request_id]:
            self._give_up(call, CANCELLED, now_ns)

    def _give_up(self, call: _Call, refusal: Refusal, now_ns: int) -> None:
        self._calls.pop(call.request_id, None)
        self._close_flow(call, refusal, now_ns)
        if call.has_head and call.flow is not None:
            self._count(call, call.most_tokens)
            self._send_control(call.flow.route, Sync(call.session))

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
        is_late = now_ns - call.sent_ns >= 1_000_000 * call.call.hedge_ms > 0
        if call.flow is not None and is_late and not call.has_head and not call.was_hedged:
            self._hedge(call, now_ns)

    def _hedge(self, call: _Call, now_ns: int) -> None:
        call.was_hedged = True
        if not self.retries.spend():
            return
        entropy = digest("request-id", call.entropy, u32(HEDGE))
        name = digest("request-id", entropy, u32(0))[:16]
        twin = _Call(
            *(name, call.call, entropy, call.answers_to, call.begun_ns, now_ns),
            excluded={*call.excluded, call.provider},
            heard_ns=now_ns,
            twin=call.request_id,
            was_hedged=True,
        )
        call.twin = name
        self._calls[name] = twin
        self._advance(twin, now_ns)

    def _goal_ms(self, call: _Call, now_ns: int) -> int:
        """What is left of the goal; none once several had no time."""
        if not call.call.goal_ms or call.bounces >= MAX_BOUNCES:
            return 0
        return max(1, call.call.goal_ms - (now_ns - call.begun_ns) // 1_000_000)

    def _known_providers(self, now_ns: int) -> list[ProviderState]:
        until_ns, known = self._providers
        if now_ns >= until_ns:
            known = self._table.providers(now_ns // 1_000_000)
            self._providers = (now_ns + PROVIDERS_NS, known)
        return known

    def _place(self, call: _Call, now_ns: int) -> Refusal | None:
        if self._router is None:
            return NO_ROUTER
        now_ms = now_ns // 1_000_000
        wanted = call.call
        call.placed = AiRequest(
            *(self._index, wanted.model, planned_tokens(wanted.body), wanted.max_tokens, 0),
            goal_us=1_000 * self._goal_ms(call, now_ns),
            prefix=wanted.prefix,
        )
        providers = self._known_providers(now_ns)
        never = frozenset(call.excluded | {self._index})
        placement = self._router.place(call.placed, providers, now_ms, never | call.busy)
        if isinstance(placement, Refusal) and call.busy:
            call.bounces = MAX_BOUNCES  # all that offer it are busy: better late than never
            call.placed = replace(call.placed, goal_us=0)
            placement = self._router.place(call.placed, providers, now_ms, never)
        if isinstance(placement, Refusal):
            is_offered = any(
                wanted.model in p.models for p in providers if p.hotspot not in never
            )
            is_early = now_ns - call.since_ns < PLACE_NS
            return None if is_offered and is_early else placement
        call.provider, call.route = placement.provider, placement.path.hops
        call.ticket = placement.ticket
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
        call.heard_ns = call.sent_ns = now_ns
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
        goal_ms = self._goal_ms(call, now_ns)
        request = Request(cap, signature, wanted.path, wanted.model, wanted.body, goal_ms)
        secret = digest("ephemeral", call.entropy, u32(call.attempt))
        return seal_for(request, self._index, key, secret)

    def receive(self, flow: Flow, now_ns: int) -> None:
        """Look at a flow of ours on which something happened."""
        call = self._calls.get(self._flows.get(flow.number, b""))
        if call is None or call.flow is not flow or call.seal is None:
            return
        data = flow.stream.read()
        call.heard_ns = now_ns if data else call.heard_ns
        refusal = self._take(call, call.seal.feed(data) if data else [], now_ns)
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

    def _take(self, call: _Call, messages: list[Message], now_ns: int) -> Refusal | None:
        for message in messages:
            if isinstance(message, Refusal):
                return message
            if isinstance(message, Head):
                self._begin(call, message, now_ns)
            elif isinstance(message, End):
                self._finish(call, message.tokens, now_ns)
            else:
                self._chunk(call, message, now_ns)
        return None

    def _begin(self, call: _Call, head: Head, now_ns: int) -> None:
        call.has_head = True
        call.is_timed = head.content_type.startswith("text/event-stream")
        twin = self._calls.get(call.twin or b"")
        if twin is not None:
            self._give_up(twin, CANCELLED, now_ns)
        what = (call.provider, head.status, head.content_type)
        self._emit(AnswerHead(call.answers_to, *what))

    def _chunk(self, call: _Call, data: bytes, now_ns: int) -> None:
        if call.counter is not None:
            call.counter.feed(data)
        if not call.first_ns and (call.is_timed or call.call.path == "embeddings"):
            call.first_ns = now_ns
            if self._router is not None:
                self._router.began(call.ticket, (now_ns - call.sent_ns) // 1_000)
        self._emit(AnswerChunk(call.answers_to, data))

    # --- ends -----------------------------------------------------------------------------------

    def _count(self, call: _Call, theirs: int) -> int:
        ours = call.call.prompt_tokens + (call.counter.close() if call.counter else 0)
        tokens = min(ours, theirs, call.most_tokens)
        self._payer.count_answer(call.session, tokens)
        return tokens

    def _finish(self, call: _Call, theirs: int, now_ns: int) -> None:
        self._calls.pop(call.request_id, None)
        self.ok += 1
        self._emit(AnswerEnd(call.answers_to, self._count(call, theirs)))
        self._release(call, now_ns)
        if call.flow is not None:
            # Our count is complete only now: ask for the provider's, so that it is signed at once.
            self._send_control(call.flow.route, Sync(call.session))

    def _fail(self, call: _Call, refusal: Refusal, now_ns: int) -> None:
        if refusal.reason == BUSY.reason and call.placed is not None and self._router is not None:
            self._router.busy(call.ticket, call.placed)
        self._close_flow(call, refusal, now_ns)
        if call.has_head:
            self._count(call, call.most_tokens)
        if self._may_retry(call, refusal):
            call.earlier = refusal
            self._retry(call, now_ns)
            return
        if self._calls.pop(call.request_id, None) is None:
            return
        twin = self._calls.get(call.twin or b"")
        if twin is not None:  # the other may yet answer
            twin.twin = None
            return
        self.failed += 1
        # "No other provider" says less than what was wrong with the one there was.
        told = call.earlier if call.provider < 0 and call.earlier else refusal
        self._emit(RequestFailed(call.answers_to, told.reason, told.detail))

    def _may_retry(self, call: _Call, refusal: Refusal) -> bool:
        if call.has_head or call.provider < 0 or refusal.reason in FINAL_REASONS:
            return False
        if refusal.reason == BUSY.reason and call.bounces < MAX_BOUNCES:
            call.bounces += 1  # costs nobody anything, and is bounded by itself
            call.busy.add(call.provider)
            return True
        call.excluded.add(call.provider)
        call.failures += 1
        return call.failures < MAX_ATTEMPTS and self.retries.spend()

    def _retry(self, call: _Call, now_ns: int) -> None:
        call.attempt += 1
        call.provider, call.session, call.route = -1, -1, ()
        call.flow = call.seal = call.counter = None
        call.since_ns = call.heard_ns = now_ns
        self._advance(call, now_ns)

    def _release(self, call: _Call, now_ns: int) -> None:
        if self._router is not None and call.ticket:
            held_us = (now_ns - call.sent_ns) // 1_000 if call.first_ns else 0
            self._router.ended(call.ticket, held_us)
            call.ticket = 0
        if call.flow is not None and self._flows.pop(call.flow.number, None) is not None:
            self._payer.reserve(call.session, -call.most_tokens)

    def _close_flow(self, call: _Call, refusal: Refusal, now_ns: int) -> None:
        self._release(call, now_ns)
        if call.flow is not None:
            call.flow.stream.reset(refusal)
            self._streams.pump(call.flow, now_ns)
