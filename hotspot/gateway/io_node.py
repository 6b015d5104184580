"""A running gateway: one `RelayNode`, driven by an event loop, a UDP link, the ledger and a model.

Its only rules are the order of actions (a receipt is on disk before any later message leaves) and
that the loop waits for nobody: the ledger is asked in a thread, models answer in tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chain.errors import UserError
from chain.io_client import LedgerClient
from chain.io_keys import load_or_create_seed
from chain.keys import public_key
from chain.records import Refusal
from hotspot.actions import (
    Action,
    AnswerChunk,
    AnswerEnd,
    AnswerHead,
    CancelRequest,
    CheckFile,
    DeliverRequest,
    DropFile,
    FetchClaim,
    FetchSession,
    FetchStandings,
    KeepPart,
    Log,
    ReadPart,
    RequestFailed,
    SendDatagram,
)
from hotspot.directory import Directory
from hotspot.gateway.ai import AiCall
from hotspot.gateway.config import GatewayConfig
from hotspot.gateway.io_providers import Backend, OpenAiBackend, WordLlamaBackend
from hotspot.gateway.kernel_settings import KERNEL_OFF, parse_kernel
from hotspot.io_network import Network, learn_index, learn_network
from hotspot.io_queue import DurableQueue
from hotspot.io_uplink import (
    ClaimKnown,
    DirectoryKnown,
    LedgerAway,
    LedgerBack,
    SessionKnown,
    StandingsKnown,
    Submitted,
    Uplink,
)
from hotspot.jobs.inbox import InboxPolicy
from hotspot.jobs.io_files import JobFiles
from hotspot.jobs.messages import COMPLETE, Offer
from hotspot.overlay.io_link import UdpLink, parse_address
from hotspot.overlay.linkstate import LinkReport
from hotspot.overlay.neighbours import KernelLoad
from hotspot.overlay.payee import Price
from hotspot.overlay.relay import RelayNode, RelayOptions
from hotspot.overlay.tolls import Spending
from routing.io_service import RoutingService, RoutingSettings, load_planner
from routing.jobs.plan import Rooms, Task, Timetable
from routing.router import Router
from routing.types import JobPromise

if TYPE_CHECKING:
    from hotspot.gateway.io_kernel_steering import KernelSteering

Answers = asyncio.Queue[Action]
REGISTRATION_POLL_S = 1.0
ROUTING_TICK_S = 1.0
STOP_PATIENCE_S = 3.0


def make_backend(config: GatewayConfig) -> Backend | None:
    """Return the configured model, if any."""
    provider = config.provider
    if provider.backend == "wordllama":
        return WordLlamaBackend(provider.models)
    if provider.backend == "openai":
        return OpenAiBackend(provider.url, provider.models, provider.api_key)
    return None


def use_program(router: Router) -> None:
    """Let a router price jobs by a linear program, where SciPy is installed.

    It is imported with the first job: a gateway without jobs starts in half the time.
    """
    if find_spec("scipy") is None:
        return

    def solve(tasks: Sequence[Task], cuts: Sequence[int], rooms: Rooms) -> Timetable:
        from routing.jobs import program as job_program

        return job_program.solve(tasks, cuts, rooms)

    def price(task: Task, timetable: Timetable) -> float:
        from routing.jobs import program as job_program

        return job_program.price_of_kbit(task, timetable)

    router.use_program(solve, price)


class Gateway:
    """A running gateway; `start` and `stop` on one event loop."""

    def __init__(self, config: GatewayConfig, base: Path) -> None:
        self.config = config
        self.base = base
        self.queue = DurableQueue(base / config.gateway.state)
        self.seed = load_or_create_seed(base / config.hotspot.key_file)
        self.key = public_key(self.seed)
        self.files = JobFiles(base / config.jobs.folder)
        self.routing = self._make_routing()
        use_program(self.routing.router)
        self.backend = make_backend(config)
        self.directory = Directory()
        self.ledger_problem = ""
        self.steering: KernelSteering | None = None
        self.link_address = ("", 0)
        self._answers: dict[bytes, Answers] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wall_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """The wall clock at start, carried on by the monotonic clock: it never jumps."""
        return self._wall_ns + time.monotonic_ns()

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn the network, open model and link, take up what was left."""
        self._loop = asyncio.get_running_loop()
        await self._find_place()
        if self.backend is not None:
            await self.backend.open()
        self.node = self._make_node()
        self.link = self._make_link()
        self.link_address = await self.link.open(
            parse_address(self.config.link.listen, "link.listen")
        )
        self._uplink = Uplink(LedgerClient(self.config.ledger.url), self._wake)
        waiting = [record.wire for record in self.queue.undelivered()]
        self.node.restore(self.queue.receipts(self.key), waiting, self.now_ns())
        self.node.restore_claims(self.queue.claims(self.key))
        self._restore_jobs()
        self._uplink.submit(waiting)
        self._uplink.start()
        self._routing_task = self._loop.create_task(self._tend_routing())
        self._start_steering()
        self.pump()

    def _make_routing(self) -> RoutingService:
        chosen = self.config.routing
        settings = RoutingSettings(
            forecaster=self.config.gateway.forecaster,
            far_forecaster=chosen.far_forecaster,
            telemetry=chosen.telemetry,
            planner=chosen.planner,
        )
        return RoutingService(settings, self.base, lambda text: self._say("warning", text))

    async def _tend_routing(self) -> None:
        """Once a second: telemetry to history and disk, own traffic to the planner."""
        while True:
            await asyncio.sleep(ROUTING_TICK_S)
            now_ms = self.now_ns() // 1_000_000
            flows = [(f.number, f.route, f.carried_bytes) for f in self.node.streams.own_flows()]
            rows = self.routing.tick(now_ms, flows, self.node.table.providers(now_ms))
            if rows:
                await asyncio.to_thread(self.routing.write, rows, now_ms)

    def _start_steering(self) -> None:
        """Hand plans to netd, where there is one: only then what that takes is imported."""
        chosen = self.config.kernel
        if not chosen.netd:
            return
        from hotspot.gateway.io_kernel_steering import KernelSteering

        planner = load_planner(lambda text: self._say("warning", text))
        settings = parse_kernel(chosen)
        path = self.base / chosen.netd
        self.steering = KernelSteering(path, self.index, settings, planner, self._say)
        tending = self.steering.run(self.node.table.samples, self._take_loads, self.now_ns)
        self._steering_task = self._loop.create_task(tending)

    def _take_loads(self, loads: Sequence[tuple[int, KernelLoad]]) -> None:
        for peer, load in loads:
            self.node.links.take_load(peer, load)

    async def _stop_steering(self) -> None:
        if self.steering is not None:
            self._steering_task.cancel()
            await asyncio.gather(self._steering_task, return_exceptions=True)
            self.steering.close()

    def _restore_jobs(self) -> None:
        kept = self.queue.jobs(self.key)
        self.files.drop_orphans(name for name, _ in kept)
        rows = [(name, data, self.files.size(name)) for name, data in kept]
        self.node.restore_jobs(rows, secrets.token_bytes(32), self.now_ns())

    async def _find_place(self) -> None:
        """Learn which network this is and who we are on it; wait to be registered."""
        client = LedgerClient(self.config.ledger.url)
        self.network: Network = await asyncio.to_thread(learn_network, client, self.queue)
        said = False
        while (index := await asyncio.to_thread(learn_index, client, self.queue, self.key)) is None:
            if not said:
                said = True
                self._say("info", f"waiting for hotspot {self.key.hex()[:16]} to be registered")
            await asyncio.sleep(REGISTRATION_POLL_S)
        self.index = index
        client.close()

    def _make_node(self) -> RelayNode:
        config = self.config
        options = RelayOptions(
            price=Price(config.relay.price_ucr, config.provider.ai_price_ucr),
            models=self.backend.models if self.backend else (),
            spending=Spending(
                config.spending.max_relay_price_ucr,
                config.spending.max_ai_price_ucr,
                config.spending.escrow_ucr,
                config.spending.session_epochs,
            ),
            credit_tokens=config.provider.credit_tokens,
            slots=config.provider.slots,
            context_tokens=config.provider.context_tokens,
            default_rate_kbps=config.relay.rate_kbps,
            claim_ms=config.relay.claim_ms,
            claim_by_tree_at=config.relay.claim_by_tree_at,
            inbox=InboxPolicy(
                config.jobs.accept, config.jobs.max_file_bytes, config.jobs.max_stored_bytes
            ),
        )
        neighbours = [*config.link.neighbours, *(index for index, _ in self._peers())]
        return RelayNode(
            *(self.index, self.seed, self.network.network_id, self.network.params),
            *(self.directory, neighbours, self.now_ns()),
            start_ms=self.network.start_ms,
            options=options,
            router=self.routing.router,
        )

    def _peers(self) -> list[tuple[int, tuple[str, int]]]:
        pairs = [peer.partition("=") for peer in self.config.link.peers]
        return [(int(i), parse_address(address, "link.peers")) for i, _, address in pairs]

    def _make_link(self) -> UdpLink:
        air = self.config.link.air
        return UdpLink(
            self.index,
            self._on_datagram,
            self._on_report,
            air=parse_address(air, "link.air") if air else None,
            peers=dict(self._peers()),
        )

    async def stop(self) -> None:
        """Claim what is owed, store, close."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._routing_task.cancel()
        await asyncio.gather(self._routing_task, return_exceptions=True)
        self.routing.close(self.now_ns() // 1_000_000)
        await self._stop_steering()
        self.node.harvest()
        while actions := self.node.take_actions():
            self._perform(actions)
        await asyncio.to_thread(self._uplink.stop, STOP_PATIENCE_S)
        self._take_events()
        self.link.close()
        if self.backend is not None:
            await self.backend.close()
        self.queue.close()

    # --- what comes in --------------------------------------------------------------------------

    def _on_datagram(self, data: bytes, peer: int) -> None:
        self.node.receive_datagram(data, peer, self.now_ns())
        self.pump()

    def _on_report(self, report: LinkReport) -> None:
        self.node.receive_link_report(report, self.now_ns())
        self.pump()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have ended before the thread
            self._loop.call_soon_threadsafe(self._on_wake)

    def _on_wake(self) -> None:
        self._take_events()
        self.pump()

    def _take_events(self) -> None:
        for event in self._uplink.drain():
            now_ns = self.now_ns()
            if isinstance(event, Submitted):
                self.queue.settle(event.results)
                for result in event.results:
                    self.node.receive_result(result, now_ns)
            elif isinstance(event, SessionKnown):
                self.node.receive_session(event.session, event.info, now_ns)
            elif isinstance(event, StandingsKnown):
                self.node.receive_standings(event.standings, now_ns)
            elif isinstance(event, ClaimKnown):
                self.node.receive_claim(event.claim, event.standing)
            elif isinstance(event, DirectoryKnown):
                self.directory.update((index, key) for index, key, _ in event.entries)
            elif isinstance(event, LedgerAway | LedgerBack):
                self._note_ledger(event.problem if isinstance(event, LedgerAway) else "")

    def _note_ledger(self, problem: str) -> None:
        self.ledger_problem = problem
        said = f"the ledger is away: {problem}" if problem else "the ledger answers"
        self._say("warning" if problem else "info", said)

    # --- what goes out --------------------------------------------------------------------------

    def pump(self) -> None:
        """Perform what the node wants, and set the alarm for what it wants next."""
        while actions := self.node.take_actions():
            self._perform(actions)
        due_ns = self.node.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ns is not None:
            delay_s = max(0.0, (due_ns - self.now_ns()) / 1e9)
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.node.handle_deadline(self.now_ns())
        self.pump()

    def _perform(self, actions: Sequence[Action]) -> None:
        """Put on disk what must be there; only then let records and datagrams leave."""
        stored = self.queue.store([(self.key, self.node.epoch(self.now_ns()), actions)])
        self._uplink.submit(record.wire for record in stored)
        for action in actions:
            if isinstance(action, SendDatagram):
                self.link.send(action.peer, action.data)
            elif isinstance(action, FetchSession):
                self._uplink.fetch_session(action.session)
            elif isinstance(action, FetchStandings):
                self._uplink.fetch_standings(action.hotspot, action.sessions)
            elif isinstance(action, FetchClaim):
                self._uplink.fetch_claim(action.hotspot, action.claim)
            else:
                self._perform_locally(action)

    def _perform_locally(self, action: Action) -> None:
        if isinstance(action, DeliverRequest):
            self._tasks[action.request_id] = self._loop.create_task(self._serve(action))
        elif isinstance(action, CancelRequest):
            task = self._tasks.get(action.request_id)
            if task is not None:
                task.cancel()
        elif isinstance(action, AnswerHead | AnswerChunk | AnswerEnd | RequestFailed):
            answers = self._answers.get(action.request_id)
            if answers is not None:
                answers.put_nowait(action)
        elif isinstance(action, Log):
            self._say(action.level, action.text)
        else:
            self._perform_job(action)

    def _perform_job(self, action: Action) -> None:
        if isinstance(action, ReadPart):
            self._read_part(action)
        elif isinstance(action, KeepPart):
            self._keep_part(action)
        elif isinstance(action, CheckFile):
            check = self._loop.create_task(self._check_file(action))
            self._tasks[action.name.encode()] = check
        elif isinstance(action, DropFile):
            self.files.drop(action.name)

    def _say(self, level: str, text: str) -> None:
        sys.stderr.write(f"gateway: {level}: {text}\n")

    # --- requests of our own clients ------------------------------------------------------------

    def ask(self, call: AiCall, entropy: bytes) -> tuple[bytes, Answers]:
        """Send a request over the overlay; its answers arrive in the queue."""
        answers: Answers = asyncio.Queue()
        request_id = self.node.request(call, entropy, self.now_ns())
        self._answers[request_id] = answers
        self.pump()
        return request_id, answers

    def forget(self, request_id: bytes) -> None:
        """The client has its answer, or has gone."""
        self._answers.pop(request_id, None)
        self.node.consumer.cancel(request_id, self.now_ns())
        self.pump()

    # --- requests of others ---------------------------------------------------------------------

    async def _serve(self, request: DeliverRequest) -> None:
        try:
            tokens = await self._answer(request)
            self.node.provider.finish_request(request.request_id, tokens, self.now_ns())
        except UserError as error:
            self._fail(request, str(error))
        except Exception as error:  # a model's bug must not take the gateway down
            self._fail(request, f"the model failed: {type(error).__name__}: {error}")
        finally:
            self._tasks.pop(request.request_id, None)
            self.pump()

    async def _answer(self, request: DeliverRequest) -> int:
        if self.backend is None:
            raise UserError("provider.backend", "no model here", "configure one")
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise UserError("body", f"not JSON: {error}", "send a JSON object") from error
        if not isinstance(body, dict):
            raise UserError("body", "not a JSON object", "send one")
        sink = _RemoteSink(self, request.request_id)
        return await self.backend.answer(request.path, body | {"model": request.model}, sink)

    def _fail(self, request: DeliverRequest, detail: str) -> None:
        refusal = Refusal("provider_failed", detail[:300])
        self.node.provider.fail_request(request.request_id, refusal, self.now_ns())

    # --- jobs -----------------------------------------------------------------------------------

    def submit_job(self, offer: Offer, budget_ucr: int) -> JobPromise | Refusal:
        """Promise to carry a file that is in our folder; the promise is kept on disk already."""
        entropy = secrets.token_bytes(32)
        promise = self.node.submit_job(offer, budget_ucr, entropy, self.now_ns())
        self.pump()
        return promise

    def cancel_job(self, name: str) -> Refusal | None:
        """Stop one of our jobs."""
        refusal = self.node.jobs.cancel(name, self.now_ns())
        self.pump()
        return refusal

    def hold_job(self, name: str, *, resume: bool) -> Refusal | None:
        """Pause one of our jobs, or let it go on."""
        jobs = self.node.jobs
        refusal = (jobs.resume if resume else jobs.pause)(name, self.now_ns())
        self.pump()
        return refusal

    def remove_received(self, name: str) -> bool:
        """Remove a file that arrived, or part of one."""
        found = self.node.inbox.remove(name, self.now_ns())
        self.pump()
        return found

    def _read_part(self, action: ReadPart) -> None:
        try:
            data = self.files.read(action.name, action.offset, action.length)
        except OSError as error:
            self._say("warning", f"job file: {error}")
            self.node.jobs.fail(action.name, self.now_ns())
            return
        self.node.jobs.provide(action.name, action.offset, data, self.now_ns())

    def _keep_part(self, action: KeepPart) -> None:
        try:
            self.files.keep(action.name, action.offset, action.data)
        except OSError as error:
            self._say("warning", f"received file: {error}")
            refusal = Refusal("disk_failed", "the receiver's disk takes no more")
            self.node.inbox.fail(action.name, refusal, self.now_ns())
            return
        end = action.offset + len(action.data)
        self.node.inbox.stored(action.name, end, self.now_ns())

    async def _check_file(self, action: CheckFile) -> None:
        try:
            right = await asyncio.to_thread(self.files.has_hash, action.name, action.sha256)
        except OSError as error:
            self._say("warning", f"received file: {error}")
            right = False
        self._tasks.pop(action.name.encode(), None)
        self.node.inbox.checked(action.name, self.now_ns(), is_right=right)
        self.pump()

    # --- what people ask ------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the state, for people and programs."""
        node, now_ns = self.node, self.now_ns()
        now_ms = now_ns // 1_000_000
        return {
            "index": self.index,
            "key": self.key.hex(),
            "network": self.network.network_id.hex(),
            "epoch": node.epoch(now_ns),
            "link": f"{self.link_address[0]}:{self.link_address[1]}",
            "ledger": {"problem": self.ledger_problem, "outbox": self.queue.counts().new},
            "models": list(self.backend.models) if self.backend else [],
            "requests": {
                "ok": node.consumer.ok,
                "failed": node.consumer.failed,
                "running": len(node.consumer),
                "retries": node.consumer.retries.spent,
                "answered": node.provider.answered,
                "waiting": node.provider.queue.waiting,
                "cancelled": node.provider.cancelled,
                "refused": dict(sorted(node.provider.refused.items())),
            },
            "jobs": {
                "running": len(node.jobs),
                "sent": sum(r.state == COMPLETE for r in node.jobs.records.values()),
                "received": sum(f.state == COMPLETE for f in node.inbox.files.values()),
                "refused": dict(sorted(node.inbox.refused.items())),
            },
            "providers": [
                {"hotspot": p.hotspot, "models": list(p.models), "age_ms": p.age_ms}
                for p in node.table.providers(now_ms)
            ],
            "placement": self.routing.router.placer.summary(),
            "links": [_link_row(row) for row in node.table.samples() if row.source == node.index],
            "routing": self.routing.status(now_ms),
            "kernel": self.steering.status() if self.steering else dict(KERNEL_OFF),
            "known": node.table.ages_ms(now_ms),
            "paying": [_session_row(s) for s in node.payer.sessions.values()],
            "paid": [_session_row(s) for s in node.payee.sessions.values()],
            "counts": dict(sorted((node.counts + self.link.counts).items())),
        }


class _RemoteSink:
    """Sends a model's answer back over the overlay."""

    def __init__(self, gateway: Gateway, request_id: bytes) -> None:
        self._gateway = gateway
        self._request_id = request_id

    def begin(self, status: int, content_type: str) -> None:
        """Start the answer."""
        gateway = self._gateway
        gateway.node.provider.begin(self._request_id, status, content_type, gateway.now_ns())
        gateway.pump()

    def chunk(self, data: bytes) -> None:
        """Send bytes."""
        gateway = self._gateway
        gateway.node.provider.provide_chunk(self._request_id, data, gateway.now_ns())
        gateway.pump()


def _link_row(row: Any) -> dict[str, int]:
    names = ("target", "rate_kbps", "load_kbps", "busy_permille", "loss_permille", "rtt_us")
    return {name: getattr(row, name) for name in names}


def _session_row(session: Any) -> dict[str, Any]:
    info, work, receipt = session.info, session.counted(), session.receipt
    return {
        "session": info.session,
        "payer": info.payer,
        "payee": info.payee,
        "relayed_bytes": work.relayed_bytes,
        "ai_tokens": work.ai_tokens,
        "receipt_sequence": receipt.sequence if receipt else 0,
        "receipt_bytes": receipt.relayed_bytes if receipt else 0,
        "receipt_tokens": receipt.ai_tokens if receipt else 0,
    }
