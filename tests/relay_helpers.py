"""A small overlay in virtual time: relays, lossy links, an in-memory ledger, echoing models."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from chain.cells import cell_centre
from chain.draws import digest, u32
from chain.keys import public_key
from chain.ledger import Ledger
from chain.params import PRESETS
from chain.records import Deposit, Genesis, Refusal, Registration, SubmitResult
from chain.service.claim_views import claim_json
from chain.service.views import session_json
from chain.wire import decode, seal
from hotspot.actions import (
    Action,
    AnswerChunk,
    AnswerEnd,
    AnswerHead,
    CancelRequest,
    DeliverRequest,
    DropClaim,
    FetchClaim,
    FetchSession,
    FetchStandings,
    KeepClaim,
    KeepReceipt,
    RequestFailed,
    SendDatagram,
    SubmitRecord,
)
from hotspot.directory import Directory
from hotspot.gateway.ai import AiCall, prompt_tokens
from hotspot.io_uplink import claim_standing, standing_of
from hotspot.overlay.claims import Standings
from hotspot.overlay.linkstate import Memo
from hotspot.overlay.payee import Price
from hotspot.overlay.relay import RelayNode, RelayOptions
from hotspot.overlay.sessions import SessionInfo
from routing.router import Router

MS = 1_000_000
START_MS = 1_700_000_000_000
CELL = 0x88283082B9FFFFF
CENTRE = cell_centre(CELL)
OPERATOR = digest("test-operator")
FUNDS_UCR = 10_000_000_000


def seed_of(index: int) -> bytes:
    return digest("test-hotspot", u32(index))


def spot_of(key: bytes, owner: bytes) -> Registration:
    """A registration of a hotspot that only relays: nothing here looks at its place or secrets."""
    return Registration(
        key=key,
        owner=owner,
        cell=CELL,
        latitude_udeg=CENTRE[0],
        longitude_udeg=CENTRE[1],
        height_m=6,
        gain_cdb=200,
        eirp_cdbm=2_000,
        frequency_mhz=2_437,
        flags=0,
        first_epoch=1,
        chain_length=64,
        anchor=bytes(32),
    )


def owner_of(index: int) -> bytes:
    return digest("test-owner", u32(index))


def new_ledger(hotspots: int) -> Ledger:
    """A ledger of the minimal preset on which everybody is registered and rich."""
    operator = public_key(OPERATOR)
    genesis = seal(Genesis("test", "minimal", START_MS, (operator,), 1, ()), b"", [])
    ledger = Ledger(genesis)
    wires = []
    for index in range(hotspots):
        owner = public_key(owner_of(index))
        spot = spot_of(public_key(seed_of(index)), owner)
        wires.append(seal(spot, ledger.network_id, [seed_of(index), owner_of(index)]).wire)
        deposit = Deposit(owner, FUNDS_UCR, f"d{index}".encode(), (0,))
        wires.append(seal(deposit, ledger.network_id, [OPERATOR]).wire)
    for result in ledger.submit(wires, START_MS + 1):
        assert result.accepted, result
    return ledger


@dataclass
class Answer:
    """What a client saw of one request."""

    body: bytes = b""
    head: AnswerHead | None = None
    tokens: int | None = None
    failed: RequestFailed | None = None


@dataclass
class Overlay:
    """Nodes 0..n-1 with the given links; `loss_permille` and `delay_ms` hold for every link."""

    count: int
    links: Iterable[tuple[int, int]]
    providers: dict[int, tuple[str, ...]] = field(default_factory=dict)
    loss_permille: int = 0
    delay_ms: int = 8
    seed: int = 1
    price: Price = field(default_factory=lambda: Price(2_000, 5_000))
    claim_ms: int = 2_000
    claim_by_tree_at: int = 100
    drops: Callable[[int, int, bytes], bool] = lambda _a, _b, _d: False
    changes: Callable[[int, int, bytes], bytes] = lambda _a, _b, data: data

    def __post_init__(self) -> None:
        self.ledger = new_ledger(self.count)
        self.now_ns = (START_MS + 1_000) * MS
        self.directory = Directory((i, public_key(seed_of(i))) for i in range(self.count))
        self.neighbours: dict[int, set[int]] = {i: set() for i in range(self.count)}
        for a, b in self.links:
            self.neighbours[a].add(b)
            self.neighbours[b].add(a)
        self.down: set[int] = set()
        self.kept: dict[int, dict[int, bytes]] = {i: {} for i in range(self.count)}
        self.kept_claims: dict[int, dict[int, bytes]] = {i: {} for i in range(self.count)}
        self.answers: dict[bytes, Answer] = {}
        self.delivered: list[tuple[int, DeliverRequest]] = []
        self.cancelled: list[bytes] = []
        self.results: list[SubmitResult] = []
        self.trace = hashlib.sha256()
        self._memo: Memo = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._events = 0
        self.nodes = [self.make_node(i) for i in range(self.count)]
        self.model: Callable[[int, DeliverRequest], None] = self.echo

    def make_node(self, index: int) -> RelayNode:
        models = self.providers.get(index, ())
        options = RelayOptions(
            self.price, models, claim_ms=self.claim_ms, claim_by_tree_at=self.claim_by_tree_at
        )
        return RelayNode(
            *(index, seed_of(index), self.ledger.network_id, PRESETS["minimal"], self.directory),
            *(self.neighbours[index], self.now_ns),
            start_ms=START_MS,
            options=options,
            router=Router(),
            verified=self._memo,
        )

    # --- the world ------------------------------------------------------------------------------

    def at(self, time_ns: int, event: Callable[[], None]) -> None:
        self._events += 1
        heapq.heappush(self._heap, (time_ns, self._events, event))

    def _luck(self, source: int, target: int) -> int:
        text = f"{self.seed}:{self._events}:{source}:{target}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % 1_000

    def _carry(self, source: int, action: SendDatagram) -> None:
        target, data = action.peer, action.data
        self.trace.update(b"%d>%d@%d:" % (source, target, self.now_ns) + data)
        linked = target in self.neighbours[source] and not {source, target} & self.down
        self._events += 1
        if not linked or self._luck(source, target) < self.loss_permille:
            return
        if self.drops(source, target, data):
            return
        data = self.changes(source, target, data)
        due = self.now_ns + self.delay_ms * MS

        def arrive() -> None:
            if target not in self.down:
                self.nodes[target].receive_datagram(data, source, self.now_ns)
                self.perform(target)

        self.at(due, arrive)

    def perform(self, index: int) -> None:
        for action in self.nodes[index].take_actions():
            self._effect(index, action)

    def _effect(self, index: int, action: Action) -> None:
        if isinstance(action, SendDatagram):
            self._carry(index, action)
        elif isinstance(action, KeepReceipt):
            self.kept[index][action.session] = action.data
        elif isinstance(action, SubmitRecord):
            self.at(self.now_ns + 50 * MS, lambda: self._submit(index, action.wire))
        elif isinstance(action, FetchSession):
            self.at(self.now_ns + 20 * MS, lambda: self._fetch(index, action.session))
        elif isinstance(action, FetchStandings | FetchClaim):
            self.at(self.now_ns + 20 * MS, lambda: self._look_up(index, action))
        elif isinstance(action, KeepClaim):
            self.kept_claims[index][action.epoch] = action.data
        elif isinstance(action, DropClaim):
            self.kept_claims[index].pop(action.epoch, None)
        elif isinstance(action, DeliverRequest):
            self.delivered.append((index, action))
            self.model(index, action)
        elif isinstance(action, CancelRequest):
            self.cancelled.append(action.request_id)
        else:
            self._answer(action)

    def _answer(self, action: Action) -> None:
        if isinstance(action, AnswerHead):
            self.answers[action.request_id].head = action
        elif isinstance(action, AnswerChunk):
            self.answers[action.request_id].body += action.data
        elif isinstance(action, AnswerEnd):
            self.answers[action.request_id].tokens = action.tokens
        elif isinstance(action, RequestFailed):
            self.answers[action.request_id].failed = action

    def _submit(self, index: int, wire: bytes) -> None:
        (result,) = self.ledger.submit([wire], self.now_ns // MS)
        self.results.append(result)
        self.nodes[index].receive_result(result, self.now_ns)
        self.perform(index)

    def _fetch(self, index: int, number: int) -> None:
        found = self.ledger.state.sessions.get(number)
        info = None
        if found is not None:
            info = SessionInfo(
                *(found.index, found.payer, found.payee, found.relay_price_ucr),
                *(found.ai_price_ucr, found.cap_ucr, found.expiry_epoch),
            )
        self.nodes[index].receive_session(number, info, self.now_ns)
        self.perform(index)

    def _look_up(self, index: int, action: FetchStandings | FetchClaim) -> None:
        """What the ledger's API would say, by way of the same JSON."""
        self.ledger.tick(self.now_ns // MS)
        state, node = self.ledger.state, self.nodes[index]
        if isinstance(action, FetchClaim):
            claim = state.claims.get(action.claim)
            row = None if claim is None else claim_standing(claim_json(claim))
            node.receive_claim(action.claim, row)
        else:
            rows = {i: state.sessions.get(i) for i in action.sessions}
            found = {i: s and standing_of(session_json(state, s)) for i, s in rows.items()}
            bond_ucr = state.hotspots[index].bond_ucr
            node.receive_standings(Standings(bond_ucr, found), self.now_ns)
        self.perform(index)

    def run(self, ms: int, until: Callable[[], bool] = lambda: False) -> None:
        end_ns = self.now_ns + ms * MS
        while self.now_ns < end_ns and not until():
            for index in range(self.count):
                self.perform(index)
            dues = [(n.next_deadline() or end_ns, i) for i, n in enumerate(self.nodes)]
            node_ns, index = min(d for d in dues if d[1] not in self.down)
            heap_ns = self._heap[0][0] if self._heap else end_ns
            self.now_ns = max(self.now_ns, min(node_ns, heap_ns, end_ns))
            if heap_ns <= min(node_ns, end_ns) and self._heap:
                heapq.heappop(self._heap)[2]()
            elif node_ns < end_ns:
                self.nodes[index].handle_deadline(self.now_ns)
                self.perform(index)

    # --- clients and models ---------------------------------------------------------------------

    def ask(self, index: int, text: str, model: str = "echo", max_tokens: int = 2_000) -> Answer:
        messages = {"messages": [{"role": "user", "content": text}]}
        body = json.dumps(messages).encode()
        call = AiCall("chat/completions", model, body, prompt_tokens(messages), max_tokens)
        entropy = digest("test-entropy", u32(index), u32(len(self.answers)))
        answer = Answer()
        self.answers[digest("request-id", entropy, u32(0))[:16]] = answer
        self.nodes[index].request(call, entropy, self.now_ns)
        self.perform(index)
        return answer

    def echo(self, index: int, request: DeliverRequest) -> None:
        """Answer with the prompt in capitals, a word at a time, one event each."""
        text = json.loads(request.body)["messages"][0]["content"].upper()
        node = self.nodes[index]
        node.provider.begin(request.request_id, 200, "text/event-stream", self.now_ns)
        words = text.split(" ")
        for number, word in enumerate(words):
            event = {"choices": [{"delta": {"content": word + " "}}]}
            data = b"data: " + json.dumps(event).encode() + b"\n\n"
            self.at(self.now_ns + 5 * MS * number, self._chunk_later(index, request, data))
        done_ns = self.now_ns + 5 * MS * len(words) + MS
        self.at(done_ns, lambda: self._finish(index, request, 2 * len(words)))

    def _chunk_later(self, index: int, request: DeliverRequest, data: bytes) -> Callable[[], None]:
        def chunk() -> None:
            self.nodes[index].provider.provide_chunk(request.request_id, data, self.now_ns)
            self.perform(index)

        return chunk

    def _finish(self, index: int, request: DeliverRequest, tokens: int) -> None:
        self.nodes[index].provider.finish_request(request.request_id, tokens, self.now_ns)
        self.perform(index)


def words_of(answer: Answer) -> str:
    """The text of an echoed answer."""
    events = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    return "".join(json.loads(e)["choices"][0]["delta"]["content"] for e in events).strip()


def wire_record(wire: bytes) -> object:
    signed = decode(wire)
    assert not isinstance(signed, Refusal)
    return signed.record
