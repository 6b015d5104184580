"""The relay node: one hotspot on the overlay, as a machine without clock, socket or file.

It forwards what payers keep paying for, gossips link states, ends flows, and, where it is asked
to, sends AI requests (consumer) or answers them (provider). All of these share one list of
actions, in the order in which they must happen: a driver stores each `KeepReceipt` before it
performs the next.

    datagram ─► parse ─► routed, not for us ─► session paid? ─► count, forward
                      ├► routed, for us      ─► session message, or a flow of consumer or provider
                      └► probe, gossip       ─► neighbours, link-state table ─► router

What a relay sees of an AI request: who talks to whom, how much and when. Nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chain.draws import digest
from chain.params import Params
from chain.records import Receipt, Refusal, SubmitResult
from hotspot.actions import Action, FetchStandings, SendDatagram
from hotspot.gateway.ai import AiCall
from hotspot.gateway.consumer import ConsumerDesk, RouterPort
from hotspot.gateway.provider import ProviderDesk
from hotspot.jobs.desk import JobDesk, JobRouterPort
from hotspot.jobs.inbox import Inbox, InboxPolicy
from hotspot.jobs.messages import Offer
from hotspot.overlay.claims import ClaimDesk, ClaimStanding, ClaimWatch, Standings
from hotspot.overlay.datagrams import (
    AI_FLOW,
    CONTROL,
    JOB_FLOW,
    NO_SESSION,
    Gossip,
    Probe,
    Routed,
    forward,
    pack_gossip,
    pack_probe,
    pack_routed,
    parse,
    with_class,
)
from hotspot.overlay.linkstate import LinkReport, LinkStateTable, Memo
from hotspot.overlay.neighbours import PROBE_NS, Neighbourhood
from hotspot.overlay.payee import PayeeBook, PayeeSession, Price
from hotspot.overlay.payer import PayerBook
from hotspot.overlay.seal import JOB_PURPOSE
from hotspot.overlay.sessions import (
    Claim,
    Control,
    KeyBook,
    Refuse,
    SessionInfo,
    Sync,
    pack_control,
    parse_control,
    unpack_kept,
)
from hotspot.overlay.streams import Flow, StreamTable
from hotspot.overlay.tolls import Spending, TollDesk
from routing.types import JobPromise

GOSSIP_DELAY_NS = 100_000_000
DIGEST_NS = 10_000_000_000
SWEEP_NS = 5_000_000_000
MIN_ENTRY_NS = 2_000_000_000
CONTROL_BYTES_PER_S = 64 * 1024  # unpaid session messages that one neighbour may pass through us
MAX_CONTROL_BYTES = 512

MISROUTED = Refusal("misrouted", "route: does not lead from this neighbour to us")
CONTROL_LIMIT = Refusal("control_limit", "session messages: too many from this neighbour")


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What an owner decides: prices, models, spending, and how much unpaid AI work is allowed."""

    price: Price = field(default_factory=Price)
    models: tuple[str, ...] = ()
    spending: Spending = field(default_factory=Spending)
    credit_tokens: int = 65_536
    slots: int = 0  # AI answers at a time; 0: not limited
    context_tokens: int = 0  # of the longest prompt with its answer; 0: not limited
    default_rate_kbps: int = 20_000
    claim_ms: int = 0  # how often receipts go to the ledger; 0: once an epoch
    # Sessions from which they go under one root. Thirty leaves shown cost 16 kB, receipts 171 bytes
    # each: from about a hundred on the root is the shorter way.
    claim_by_tree_at: int = 100
    discover: bool = True  # take neighbours that make themselves heard
    inbox: InboxPolicy | None = None  # None: takes no files


class NodeRouter(RouterPort, JobRouterPort, Protocol):
    """What a node needs of `routing.router.Router`."""


class RelayNode:
    """One hotspot on the overlay; see the module's text."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        params: Params,
        directory: KeyBook,
        neighbours: Iterable[int],
        now_ns: int,
        *,
        start_ms: int = 0,
        options: RelayOptions | None = None,
        router: NodeRouter | None = None,
        verified: Memo | None = None,
    ) -> None:
        """`start_ms`: start of epoch 0; `verified`: shared memory of checked signatures."""
        self.index = index
        self.options = options or RelayOptions()
        self.counts: Counter[str] = Counter()
        self._params = params
        self._start_ms = start_ms
        self._keys = directory
        self._router = router
        self._actions: list[Action] = []
        emit = self._emit
        self.links = Neighbourhood(neighbours, self.options.default_rate_kbps)
        self.table = LinkStateTable(index, seed, network_id, directory, verified)
        self.table.set_neighbours(self.links.links)
        self.payer = PayerBook(index, seed, network_id, emit)
        desk = ClaimDesk(index, seed, network_id, params, self.options.claim_by_tree_at, emit)
        self.payee = PayeeBook(
            *(index, seed, network_id, params, directory),
            *(self._price(), self.options.credit_tokens, emit, desk),
        )
        self.watch = ClaimWatch(index, seed, network_id, emit)
        self.streams = StreamTable(index, now_ns // 1_000_000 & 0xFFFF_FFFF, self._send_stream)
        self.tolls = TollDesk(
            *(params, start_ms, self.table, self.payer, self.options.spending, self._send_control)
        )
        self.consumer = ConsumerDesk(
            *(index, seed, network_id, directory, self.table, self.payer),
            *(self.streams, router, self.tolls, emit, self._send_control),
        )
        self.jobs = JobDesk(
            *(index, seed, network_id, params.chunk_bytes, directory),
            *(self.streams, router, self.tolls, emit),
        )
        self.inbox = Inbox(
            *(index, seed, network_id, directory, self.streams, self.options.inbox, emit)
        )
        self.provider = ProviderDesk(
            *(seed, network_id, directory, self.payee, self.streams, self.options.models, emit),
            *(self.options.slots, self.options.context_tokens),
        )
        self._control_budget: dict[int, tuple[int, int]] = {}
        self._announced: tuple[object, ...] = ()
        self._entry_ns = now_ns
        self._gossip_ns: int | None = None
        # First rounds are spread by index: a city that powers up must not shout at once.
        spread_ns = index * 37_000_000
        self._timers = {
            "probe": now_ns + spread_ns % PROBE_NS,
            "entry": now_ns + spread_ns % MIN_ENTRY_NS,
            "digest": now_ns + DIGEST_NS + spread_ns % DIGEST_NS,
            "sweep": now_ns + SWEEP_NS + spread_ns % SWEEP_NS,
            "claim": now_ns + self._claim_period_ns(),
            "watch": now_ns + self._params.epoch_ms * 1_000_000,
        }

    def _emit(self, action: Action) -> None:
        self._actions.append(action)

    def _price(self) -> Price:
        asked = self.options.price
        return asked if self.options.models else Price(asked.relay_ucr, 0)

    def _claim_period_ns(self) -> int:
        return 1_000_000 * (self.options.claim_ms or self._params.epoch_ms)

    # --- the driver's side ----------------------------------------------------------------------

    def take_actions(self) -> list[Action]:
        """Hand over what has gathered; perform it in this order."""
        actions = list(self._actions)
        self._actions.clear()
        return actions

    def request(self, call: AiCall, entropy: bytes, now_ns: int) -> bytes:
        """Send an AI request; its answer comes as actions that carry the returned id."""
        self._teach_router(now_ns)
        return self.consumer.start(call, entropy, now_ns)

    def receive_link_report(self, report: LinkReport, now_ns: int) -> None:
        """Take a driver's measurement of one link."""
        known = report.peer in self.links
        self.links.take_report(report, now_ns)
        if not known:
            self._neighbours_changed(now_ns)

    def receive_result(self, result: SubmitResult, now_ns: int) -> None:
        """Take the ledger's answer to a record of ours."""
        if not self.payer.receive_result(result, now_ns):
            self.payee.receive_result(result)

    def receive_session(self, session: int, info: SessionInfo | None, now_ns: int) -> None:
        """Take what the ledger says about a session; None if it knows none of that number."""
        refusal = self.payee.receive_session(session, info, self.epoch(now_ns))
        self.counts[f"session_{refusal.reason}" if refusal else "session_accepted"] += 1

    def receive_standings(self, standings: Standings, now_ns: int) -> None:
        """Take what the ledger says of sessions: those we are paid in, or those we pay."""
        self.payee.receive_standings(standings, self.epoch(now_ns))
        for standing in standings.sessions.values():
            if standing is not None and standing.payer == self.index:
                ours = self.payer.sessions.get(standing.index)
                if ours is not None and self.watch.check(standing, ours.receipt):
                    self.counts["disputed"] += 1

    def receive_claim(self, claim: int, standing: ClaimStanding | None) -> None:
        """Take what the ledger says of a claim of ours; None if it is settled."""
        self.payee.receive_claim(claim, standing)

    def restore_claims(self, kept: Iterable[bytes]) -> None:
        """Take back what `KeepClaim` stored; ValueError for anything else."""
        for data in kept:
            self.payee.restore_claim(data)

    def restore(self, kept: Iterable[bytes], wires: Iterable[bytes], now_ns: int) -> None:
        """Take back what `KeepReceipt` stored, and records that the ledger has not answered."""
        for data in kept:
            item = unpack_kept(data)
            if item.info.payer == self.index:
                self.payer.restore(item)
            else:
                self.payee.restore(item)
        for wire in wires:
            self.payer.restore_opening(wire, now_ns)

    def submit_job(
        self, offer: Offer, budget_ucr: int, entropy: bytes, now_ns: int
    ) -> JobPromise | Refusal:
        """Promise to carry a file that the driver holds, and begin; or say why not."""
        self._teach_router(now_ns)
        return self.jobs.submit(offer, budget_ucr, entropy, now_ns)

    def restore_jobs(
        self, kept: Iterable[tuple[str, bytes, int]], entropy: bytes, now_ns: int
    ) -> None:
        """Take back what `KeepJob` stored: (name, data, bytes of its file on disk)."""
        for name, data, size in kept:
            if name.startswith("out-"):
                self.jobs.restore(data, digest("job", entropy, name.encode()), now_ns)
            else:
                self.inbox.restore(name, data, size)

    def harvest(self) -> None:
        """Submit all receipts now (an owner shutting down)."""
        self.payee.harvest()

    def epoch(self, now_ns: int) -> int:
        """Return the epoch that holds a time."""
        return self._params.epoch_at(self._start_ms, now_ns // 1_000_000)

    # --- datagrams ------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        """Take a datagram from a neighbour. Never raises, whatever the bytes."""
        packet = parse(data)
        if isinstance(packet, Routed):
            refusal = self._receive_routed(packet, data, peer, now_ns)
        elif isinstance(packet, Probe):
            refusal = self._receive_probe(packet, peer, now_ns)
        elif isinstance(packet, Gossip):
            refusal = self.table.receive(packet.body, peer, now_ns // 1_000_000)
            self._note_gossip(now_ns)
        else:
            refusal = packet
        if refusal is not None:
            self.counts[f"refused_{refusal.reason}"] += 1

    def _receive_probe(self, probe: Probe, peer: int, now_ns: int) -> Refusal | None:
        if self.options.discover and self._keys.key_of(peer) is not None and self.links.add(peer):
            self._neighbours_changed(now_ns)
        if peer not in self.links:
            return MISROUTED
        if probe.is_echo:
            self.links.take_echo(peer, probe, now_ns)
            self._note_links(now_ns)
        else:
            self._send(peer, pack_probe(Probe(True, probe.sequence, probe.stamp_ns)))
        return None

    def _receive_routed(self, p: Routed, data: bytes, peer: int, now_ns: int) -> Refusal | None:
        if p.route[p.position] != self.index or p.route[p.position - 1] != peer:
            return MISROUTED
        if not p.is_at_end:
            return self._forward(p, data, peer, now_ns)
        if p.kind == CONTROL:
            return self._receive_control(p, now_ns)
        if p.payer == self.index:
            for session in p.sessions:
                if session != NO_SESSION:
                    self.payer.count_received(session, len(data))
        return self._receive_stream(p, len(data), now_ns)

    def _receive_stream(self, packet: Routed, size: int, now_ns: int) -> Refusal | None:
        flow = self.streams.receive(packet, now_ns)
        if isinstance(flow, Refusal) or flow is None:
            return flow
        if flow.is_ours:
            flow.carried_bytes += size
        self._tend(flow, now_ns)
        return None

    def _tend(self, flow: Flow, now_ns: int) -> None:
        """Let the owner of a flow look at it, then send what may leave."""
        if flow.is_ours:
            owner = self.jobs if self.jobs.owns(flow) else self.consumer
            owner.receive(flow, now_ns)
        elif self._purpose(flow) == JOB_PURPOSE:
            self.inbox.receive(flow, now_ns)
        elif flow.purpose:
            self.provider.receive(flow, now_ns)
        self.streams.pump(flow, now_ns)

    def _purpose(self, flow: Flow) -> bytes:
        """Return what an accepted flow is for, by its first bytes; nothing before they are here."""
        if not flow.purpose:
            start = flow.stream.receiver.peek(len(JOB_PURPOSE))
            flow.purpose = start if len(start) == len(JOB_PURPOSE) else b""
        return flow.purpose

    def _forward(self, p: Routed, data: bytes, peer: int, now_ns: int) -> Refusal | None:
        if p.kind == CONTROL:
            refusal = self._spend_control(peer, len(data), now_ns)
        else:
            refusal = self._meter(p, len(data), now_ns)
        if refusal is None:
            self.counts["forwarded"] += 1
            self.counts["forwarded_bytes"] += len(data)
            self._send(p.route[p.position + 1], forward(data))
        return refusal

    def _meter(self, p: Routed, size: int, now_ns: int) -> Refusal | None:
        session = self.payee.find(p.sessions[p.position], p.payer, now_ns)
        if isinstance(session, Refusal):
            return session
        session.route = _way_to_payer(p)
        return self.payee.relay(session, size, now_ns)

    def _spend_control(self, peer: int, size: int, now_ns: int) -> Refusal | None:
        full = CONTROL_BYTES_PER_S
        left, since_ns = self._control_budget.get(peer, (full, now_ns))
        left = min(full, left + (now_ns - since_ns) * full // 1_000_000_000)
        if size > MAX_CONTROL_BYTES or left < size:
            return CONTROL_LIMIT
        self._control_budget[peer] = (left - size, now_ns)
        return None

    # --- sessions -------------------------------------------------------------------------------

    def _receive_control(self, p: Routed, now_ns: int) -> Refusal | None:
        message = parse_control(p.payload)
        sender, back = p.route[0], p.route[::-1]
        if isinstance(message, Refusal):
            return message
        if isinstance(message, Sync):
            return self._receive_sync(message.session, sender, back, now_ns)
        if isinstance(message, Receipt):
            refusal = self.payee.receive_receipt(message, now_ns)
            self.counts["receipts"] += refusal is None
            return refusal
        session = self.payer.sessions.get(message.session)
        if session is None or session.info.payee != sender:
            return MISROUTED
        if isinstance(message, Refuse):
            self.payer.receive_refuse(message.session, message.reason, now_ns)
        else:
            self._answer_claim(message, back)
        self.consumer.nudge(now_ns)
        return None

    def _receive_sync(
        self, index: int, payer: int, back: Sequence[int], now_ns: int
    ) -> Refusal | None:
        session = self.payee.find(index, payer, now_ns)
        if isinstance(session, Refusal):
            if session.reason != "unknown_session":  # unknown: asked for, the payer will try again
                self._send_control(back, Refuse(index, session.reason))
            return session
        session.route = tuple(back)
        self._send_control(back, session.claim())
        return None

    def _answer_claim(self, claim: Claim, back: Sequence[int]) -> None:
        receipt = self.payer.receive_claim(claim)
        if receipt is not None:
            self._send_control(back, receipt)

    def _send_claims(self, now_ns: int) -> None:
        for session in self.payee.take_claims(now_ns):
            route = self._route_to_payer(session)
            if len(route) >= 2:
                self._send_control(route, session.claim())

    def _route_to_payer(self, session: PayeeSession) -> tuple[int, ...]:
        return session.route if session.route and session.route[0] == self.index else ()

    def _send_control(self, route: Sequence[int], message: Control) -> None:
        self._send(route[1], pack_routed(CONTROL, 0, 0, route, pack_control(message)))

    # --- sending --------------------------------------------------------------------------------

    def _send(self, peer: int, data: bytes) -> None:
        self.links.count_sent(peer, len(data))
        self._emit(SendDatagram(peer, data))

    def _send_stream(self, flow: Flow, data: bytes) -> None:
        if flow.is_ours:
            flow.flow_class = JOB_FLOW if self.jobs.owns(flow) else AI_FLOW
            flow.carried_bytes += len(data)
            for session in flow.sessions:
                if session != NO_SESSION:
                    self.payer.count_sent(session, len(data))
        self._send(flow.route[1], with_class(data, flow.flow_class))

    # --- gossip ---------------------------------------------------------------------------------

    def _neighbours_changed(self, now_ns: int) -> None:
        self.table.set_neighbours(self.links.links)
        self._timers["probe"] = min(self._timers["probe"], now_ns)
        self._note_gossip(now_ns)

    def _note_gossip(self, now_ns: int) -> None:
        if self._gossip_ns is None and self.table.has_waiting():
            self._gossip_ns = now_ns + GOSSIP_DELAY_NS

    def _news(self, now_ns: int) -> tuple[object, ...]:
        """What is worth an early entry: links that came or went, the provider's state."""
        advert = self.provider.advert()
        running = advert.requests_running if advert else 0
        return tuple(self.links.alive(now_ns)), running, self.provider.models

    def _note_links(self, now_ns: int) -> None:
        if self._news(now_ns) != self._announced:
            early_ns = max(now_ns, self._entry_ns + MIN_ENTRY_NS)
            self._timers["entry"] = min(self._timers["entry"], early_ns)

    def _announce(self, now_ns: int) -> None:
        self._entry_ns, self._announced = now_ns, self._news(now_ns)
        rows = self.links.rows(now_ns)
        price = self.payee.price.relay_ucr
        self.table.originate(rows, price, self.provider.advert(), now_ns // 1_000_000)
        self._note_gossip(now_ns)

    def _flush_gossip(self) -> None:
        self._gossip_ns = None
        for peer, body in self.table.take_gossip():
            self._send(peer, pack_gossip(body))

    def _teach_router(self, now_ns: int) -> None:
        if self._router is None:
            return
        samples = self.table.take_fresh_samples()
        if samples:
            self._router.observe(samples, now_ns // 1_000_000)

    # --- time -----------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When `handle_deadline` has work."""
        parts = (self.payee, self.streams, self.consumer, self.jobs, self.inbox)
        times = [self._gossip_ns, *(part.next_deadline() for part in parts)]
        return min(t for t in (*times, *self._timers.values()) if t is not None)

    def handle_deadline(self, now_ns: int) -> None:
        """Do what has become due."""
        for flow in self.streams.handle_deadline(now_ns):
            self._tend(flow, now_ns)
        self._send_claims(now_ns)
        if self._gossip_ns is not None and now_ns >= self._gossip_ns:
            self._flush_gossip()
        if len(self.consumer) or len(self.jobs):
            self._teach_router(now_ns)
        for desk in (self.consumer, self.jobs, self.inbox):
            desk.handle_deadline(now_ns)
        for name in [n for n, due_ns in self._timers.items() if due_ns <= now_ns]:
            self._timers[name] = now_ns + self._run_timer(name, now_ns)

    def _run_timer(self, name: str, now_ns: int) -> int:
        """Run one periodic duty; return ns until it is due again."""
        if name == "probe":
            for peer, probe in self.links.make_probes(now_ns):
                self._send(peer, pack_probe(probe))
            self._note_links(now_ns)
            return PROBE_NS
        if name == "entry":
            self._announce(now_ns)
            self._teach_router(now_ns)
            return self.table.interval_ms() * 1_000_000
        if name == "digest":
            for peer, body in self.table.digests():
                self._send(peer, pack_gossip(body))
            return DIGEST_NS
        if name == "claim":
            self.payee.harvest(self.epoch(now_ns))
            return self._claim_period_ns()
        if name == "watch":
            self._watch_claims()
            return self._params.epoch_ms * 1_000_000
        self._sweep(now_ns)
        return SWEEP_NS

    def _watch_claims(self) -> None:
        """Ask what became of our claims, and what claims say of the sessions that we pay."""
        if self.payee.desk is not None:
            self.payee.desk.poll()
        if self.payer.sessions:
            self._emit(FetchStandings(self.index, tuple(self.payer.sessions)))

    def _sweep(self, now_ns: int) -> None:
        self._teach_router(now_ns)
        self.table.age_out(now_ns // 1_000_000)
        gone = self.streams.sweep(now_ns)
        self.provider.sweep(gone, now_ns)
        self.inbox.sweep(gone, now_ns)
        self.payer.forget_expired(self.epoch(now_ns))
        self.payee.forget_expired(self.epoch(now_ns))


def _way_to_payer(p: Routed) -> tuple[int, ...]:
    """Return the route from this relay to the payer of a datagram that passes through."""
    if p.payer == p.route[0]:
        return p.route[p.position :: -1]
    return p.route[p.position :]
