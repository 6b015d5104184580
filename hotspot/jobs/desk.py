"""The sending end of jobs: admit, pay the way, send no faster than the router says, go on, finish.

A running job goes through three states: *connecting* (the router has a path, every relay on it
needs a session that it has acknowledged), *offering* (the stream is open, the offer is out) and
*sending*. Whatever goes wrong on the way, the job pauses and connects again until its deadline: the
receiver says where to go on. Only a refusal by the receiver, the budget and the deadline end it.

    pace     bytes leave when the rate of `routing` has earned them a block, so AI requests that
             share the path find the queues short
    money    a job is charged what its datagrams cost under the sessions that carry them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chain.draws import digest, u32
from chain.records import Refusal
from hotspot.actions import DropFile, DropJob, Emit, KeepJob, Log, ReadPart
from hotspot.jobs.messages import (
    BAD_REPLY,
    CANCELLED,
    COMPLETE,
    EXPIRED,
    FAILED,
    GOING,
    PAUSED,
    RUNNING,
    Done,
    Got,
    Have,
    JobRecord,
    Offer,
    Reply,
    block_size,
    job_of,
    pack_block,
    pack_offer,
    unpack_record,
    unpack_reply,
    wire_bytes,
)
from hotspot.overlay.seal import JOB_PURPOSE, Hello, Opener, Sealer, consumer_keys
from hotspot.overlay.sessions import KeyBook
from hotspot.overlay.streams import Flow, StreamTable, sessions_beside
from hotspot.overlay.tolls import TollDesk
from routing.jobs.promises import JobStatus
from routing.types import Job, JobPromise

STEP_NS = 100_000_000
SHORTEST_STEP_NS = 2_000_000
PACE_NS = 250_000_000  # how often the router is asked for the rate and the path
STALL_NS = 15_000_000_000
KEEP_NS = 1_000_000_000
RETRY_NS = 1_000_000_000
LONGEST_RETRY_NS = 15_000_000_000
MAX_BACKLOG = 256 * 1024
MAX_ENDED = 256
# The receiver may yet think otherwise: its room is freed, its clock catches up, its disk is mended.
PASSING = frozenset({"storage_full", "disk_failed", "replaced", "forgotten", "bad_hash"})
MAX_BAD_HASHES = 2

NO_ROUTER = Refusal("no_router", "this hotspot relays only; ask a gateway")
UNKNOWN_TARGET = Refusal("unknown_hotspot", "target: not on the ledger")
NOT_RUNNING = Refusal("not_running", "job: has ended already")
UNKNOWN_JOB = Refusal("unknown_job", "job: not known here")
NOT_PAUSED = Refusal("not_paused", "job: is not paused")
HELD = Refusal("paused", "the owner paused the job; its deadline stays")
STOPPED = Refusal("cancelled", "the owner cancelled the job; what arrived stays")
TOO_LATE = Refusal("deadline", "the deadline has passed; what arrived stays")
OVER_BUDGET = Refusal("over_budget", "relays have been owed max_price_ucr; what arrived stays")
STALLED = Refusal("stalled", "the receiver has stored nothing for a while; trying again")
NO_WAY = Refusal("no-route", "no live path to the target now; trying again")
LOST_FILE = Refusal("file_lost", "the file to send can't be read any more")


class JobRouterPort(Protocol):
    """What a gateway needs of `routing.router.Router` for jobs."""

    def admit(self, job: Job, now_ms: int, prices_ucr: Mapping[int, int]) -> JobPromise | Refusal:
        """Promise or refuse."""

    def restore_job(self, job: Job, promise: JobPromise, delivered_bytes: int) -> None:
        """Take back a running job."""

    def job_rate(self, job_id: str, now_ms: int) -> int:
        """Return how fast to send now, kbps."""

    def job_status(self, job_id: str) -> JobStatus | Refusal:
        """Return where a job stands."""

    def job_delivered(self, job_id: str, size_bytes: int, now_ms: int) -> JobStatus | Refusal:
        """Count bytes."""

    def cancel(self, job_id: str) -> JobStatus | Refusal:
        """Free what a job reserved."""

    def pause(self, job_id: str) -> JobStatus | Refusal:
        """Free what a job reserved, for a while."""

    def resume(
        self, job_id: str, now_ms: int, prices_ucr: Mapping[int, int]
    ) -> JobPromise | Refusal:
        """Promise what is left of a paused job."""


@dataclass(slots=True)
class _Run:
    """What a running job needs in memory only."""

    record: JobRecord
    entropy: bytes
    retry_ns: int
    due_ns: int
    attempt: int = 0
    flow: Flow | None = None
    sealer: Sealer | None = None
    opener: Opener | None = None
    is_accepted: bool = False
    read: int = 0  # offset of the first byte not yet asked of the driver
    written: int = 0  # offset of the first byte not yet in the stream
    bits: int = 0
    rate_kbps: int = 0
    earned_ns: int = 0
    asked_ns: int = 0
    progress_ns: int = 0
    kept_ns: int = 0
    counted: int = 0
    price_ucr: int = 0
    failures: int = 0
    bad_hashes: int = 0
    speed_kbps: int = 0
    speed_from: tuple[int, int] = (0, 0)  # (time, bytes delivered) of the last speed sample


class JobDesk:
    """All jobs of this hotspot's owner."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        chunk_bytes: int,
        keys: KeyBook,
        streams: StreamTable,
        router: JobRouterPort | None,
        tolls: TollDesk,
        emit: Emit,
    ) -> None:
        self.records: dict[str, JobRecord] = {}
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._chunk_bytes = chunk_bytes
        self._keys = keys
        self._streams = streams
        self._router = router
        self._tolls = tolls
        self._emit = emit
        self._runs: dict[str, _Run] = {}
        self._flows: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._runs)

    # --- from the owner -------------------------------------------------------------------------

    def submit(
        self, offer: Offer, budget_ucr: int, entropy: bytes, now_ns: int
    ) -> JobPromise | Refusal:
        """Admit a job whose file the driver holds; `entropy` is 32 secret random bytes."""
        if self._router is None:
            return NO_ROUTER
        if self._keys.key_of(offer.target) is None:
            return UNKNOWN_TARGET
        now_ms, prices_ucr = now_ns // 1_000_000, self._tolls.prices_ucr(now_ns)
        promise = self._router.admit(
            job_of(offer, budget_ucr, self._chunk_bytes), now_ms, prices_ucr
        )
        if isinstance(promise, Refusal):
            return promise
        self._start(JobRecord(offer, budget_ucr, promise, now_ms), entropy, now_ns)
        return promise

    def restore(self, data: bytes, entropy: bytes, now_ns: int) -> None:
        """Take back a job after a restart; `entropy` must be fresh."""
        record = unpack_record(data)
        if record.state not in GOING or self._router is None:
            self.records[record.key] = record
            return
        self._router.restore_job(self._job(record), record.promise, wire_bytes(record.delivered))
        if record.state == PAUSED:
            self._router.pause(record.job_id)
        self._start(record, entropy, now_ns)

    def _job(self, record: JobRecord) -> Job:
        return job_of(record.offer, record.budget_ucr, self._chunk_bytes)

    def _start(self, record: JobRecord, entropy: bytes, now_ns: int) -> None:
        self.records[record.key] = record
        self._runs[record.key] = _Run(record, entropy, now_ns, now_ns)
        self._keep(record)

    def cancel(self, name: str, now_ns: int) -> Refusal | None:
        """Stop a job; what has arrived stays there, and what was relayed is paid."""
        run = self._runs.get(name)
        if run is None:
            return NOT_RUNNING if name in self.records else UNKNOWN_JOB
        self._end(run, CANCELLED, STOPPED, now_ns)
        return None

    def pause(self, name: str, now_ns: int) -> Refusal | None:
        """Send no more for now; others may have the room, and the deadline stays."""
        run = self._runs.get(name)
        if run is None or run.record.state != RUNNING or self._router is None:
            return NOT_RUNNING if name in self.records else UNKNOWN_JOB
        self._pause(run, HELD, now_ns)
        self._router.pause(run.record.job_id)
        run.record.state, run.speed_kbps = PAUSED, 0
        self._keep(run.record)
        return None

    def resume(self, name: str, now_ns: int) -> Refusal | None:
        """Go on, if what is left can be promised again; else it stays paused."""
        run = self._runs.get(name)
        if run is None or run.record.state != PAUSED or self._router is None:
            return NOT_PAUSED if name in self.records else UNKNOWN_JOB
        record, now_ms = run.record, now_ns // 1_000_000
        promise = self._router.resume(record.job_id, now_ms, self._tolls.prices_ucr(now_ns))
        if isinstance(promise, Refusal):
            return promise
        record.promise, record.state, record.reason, record.detail = promise, RUNNING, "", ""
        run.failures, run.retry_ns, run.due_ns = 0, now_ns, now_ns
        self._keep(record)
        return None

    def outlook(self, name: str) -> tuple[tuple[int, ...], int]:
        """Return a job's way by the newest plan, and bytes for which it has no time; () and 0."""
        run = self._runs.get(name)
        if run is None or self._router is None:
            return (), 0
        status = self._router.job_status(run.record.job_id)
        if isinstance(status, Refusal):
            return (), 0
        return status.promise.path.hops, status.short_bytes

    def speed_kbps(self, name: str) -> int:
        """How fast bytes of the file have arrived lately."""
        run = self._runs.get(name)
        return run.speed_kbps if run is not None else 0

    # --- from the driver ------------------------------------------------------------------------

    def provide(self, name: str, offset: int, data: bytes, now_ns: int) -> None:
        """Take bytes of the file that `ReadPart` asked for."""
        run = self._runs.get(name)
        if run is None or run.flow is None or run.sealer is None or offset != run.written:
            return
        run.written += len(data)
        is_last = run.written == run.record.offer.size
        run.flow.stream.write(run.sealer.seal(pack_block(offset, data), final=is_last))
        if is_last:
            run.flow.stream.finish()
        self._streams.pump(run.flow, now_ns)

    def fail(self, name: str, now_ns: int) -> None:
        """The file can't be read."""
        run = self._runs.get(name)
        if run is not None:
            self._end(run, FAILED, LOST_FILE, now_ns)

    # --- time -----------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When `handle_deadline` has work."""
        return min((run.due_ns for run in self._runs.values()), default=None)

    def handle_deadline(self, now_ns: int) -> None:
        """Move on what is due."""
        for run in [r for r in self._runs.values() if r.due_ns <= now_ns]:
            run.due_ns = now_ns + STEP_NS
            self._step(run, now_ns)

    def _step(self, run: _Run, now_ns: int) -> None:
        self._charge(run)
        if now_ns // 1_000_000 >= run.record.offer.deadline_ms:
            self._end(run, EXPIRED, TOO_LATE, now_ns)
        elif run.record.state == PAUSED:
            run.due_ns = run.record.offer.deadline_ms * 1_000_000
        elif 0 < run.record.budget_ucr < run.record.spent_ucr:
            self._end(run, FAILED, OVER_BUDGET, now_ns)
        elif run.flow is None:
            if now_ns >= run.retry_ns:
                self._connect(run, now_ns)
        elif now_ns - run.progress_ns > STALL_NS:
            self._pause(run, STALLED, now_ns)
        else:
            if now_ns - run.asked_ns >= PACE_NS:
                self._check_way(run, run.flow, now_ns)
            self._send(run, now_ns)

    # --- the way --------------------------------------------------------------------------------

    def _way(self, run: _Run, now_ns: int) -> tuple[int, ...]:
        """Ask the router for rate and path; the path is empty while there is none."""
        if self._router is None:
            return ()
        run.asked_ns = now_ns
        run.rate_kbps = self._router.job_rate(run.record.job_id, now_ns // 1_000_000)
        status = self._router.job_status(run.record.job_id)
        if isinstance(status, Refusal) or run.rate_kbps == 0:
            return ()
        return status.promise.path.hops

    def _connect(self, run: _Run, now_ns: int) -> None:
        way = self._way(run, now_ns)
        if not way:
            self._note(run, NO_WAY)
            run.retry_ns = now_ns + RETRY_NS
            return
        paid = self._tolls.secure(way, len(way) - 2, now_ns)
        if isinstance(paid, Refusal):
            self._pause(run, paid, now_ns)
        elif paid is not None:
            self._open(run, way, sessions_beside(way, paid), now_ns)

    def _open(self, run: _Run, way: Sequence[int], sessions: tuple[int, ...], now_ns: int) -> None:
        key = self._keys.key_of(way[-1])
        secret = digest("ephemeral", run.entropy, u32(run.attempt))
        made = UNKNOWN_TARGET if key is None else consumer_keys(secret, key)
        transfer_id = digest("request-id", run.entropy, u32(run.attempt))[:16]
        run.attempt += 1
        if isinstance(made, Refusal):
            self._end(run, FAILED, made, now_ns)
            return
        public, keys = made
        run.sealer, run.opener = Sealer(keys.send, transfer_id), Opener(keys.receive, transfer_id)
        run.flow = self._streams.open(way, sessions, now_ns)
        self._flows[run.flow.number] = run.record.key
        run.is_accepted, run.counted, run.bits = False, 0, 0
        run.price_ucr = self._tolls.price_of(sessions)
        run.progress_ns = run.earned_ns = now_ns
        run.speed_from = (now_ns, run.record.delivered)
        hello = Hello(public, transfer_id, self._index, 0, JOB_PURPOSE).pack()
        offer = pack_offer(run.record.offer, self._seed, self._network_id)
        run.flow.stream.write(hello + run.sealer.seal(offer))
        self._streams.pump(run.flow, now_ns)

    def _check_way(self, run: _Run, flow: Flow, now_ns: int) -> None:
        """Follow the router to another path, and change sessions before their escrow runs out."""
        way = self._way(run, now_ns) or flow.route
        paid = self._tolls.secure(way, len(way) - 2, now_ns)
        if paid is None or isinstance(paid, Refusal):
            return  # the old way is used while there is no other
        sessions = sessions_beside(way, paid)
        if (way, sessions) == (flow.route, flow.sessions):
            return
        flow.route, flow.sessions = tuple(way), sessions
        run.price_ucr = self._tolls.price_of(sessions)
        flow.stream.ping()
        self._streams.pump(flow, now_ns)

    # --- the stream -----------------------------------------------------------------------------

    def _send(self, run: _Run, now_ns: int) -> None:
        """Ask for the blocks that the rate has earned, and say when the next one will be."""
        if not run.is_accepted or run.flow is None:
            run.earned_ns = now_ns
            return
        kbps = min(run.rate_kbps, self._payable_kbps(run.flow)) * 1_000 // wire_bytes(1_000)
        block, size = block_size(kbps), run.record.offer.size
        run.bits = min(16 * block, run.bits + (now_ns - run.earned_ns) * kbps // 1_000_000)
        run.earned_ns = now_ns
        while run.bits >= 8 * block and run.read < size and self._has_room(run, run.flow):
            length = min(block, size - run.read)
            self._emit(ReadPart(run.record.key, run.read, length))
            run.read += length
            run.bits -= 8 * length
        if kbps > 0 and run.read < size and self._has_room(run, run.flow):
            wait_ns = (8 * block - run.bits) * 1_000_000 // kbps
            run.due_ns = now_ns + max(SHORTEST_STEP_NS, min(STEP_NS, wait_ns))

    def _payable_kbps(self, flow: Flow) -> int:
        """How fast relays can be paid: their credit grows with what they were paid."""
        rtt_ns = flow.stream.sender.rtt.smoothed_ns
        flight = self._tolls.flight_bytes(flow.sessions)
        return flight * 8_000_000 // rtt_ns if rtt_ns else 1 << 40

    def _has_room(self, run: _Run, flow: Flow) -> bool:
        return flow.stream.sender.backlog + run.read - run.written < MAX_BACKLOG

    def owns(self, flow: Flow) -> bool:
        """Tell whether a flow of ours belongs to a job."""
        return flow.number in self._flows

    def receive(self, flow: Flow, now_ns: int) -> None:
        """Look at a flow of a job on which something happened."""
        run = self._runs.get(self._flows.get(flow.number, ""))
        if run is None or run.flow is not flow or run.opener is None:
            return
        data = flow.stream.read()
        chunks = run.opener.feed(data) if data else []
        if isinstance(chunks, Refusal):
            self._pause(run, chunks, now_ns)
            return
        for chunk in chunks:
            _, reply = unpack_reply(chunk)
            self._take(run, reply, now_ns)
        if run.flow is flow and flow.stream.failure is not None:
            self._pause(run, flow.stream.failure, now_ns)
        elif run.flow is flow and flow.stream.take_reroute():
            self._check_way(run, flow, now_ns)

    def _take(self, run: _Run, reply: Reply, now_ns: int) -> None:
        if run.flow is None:
            return
        if isinstance(reply, Have | Got) and reply.offset > run.record.offer.size:
            reply = BAD_REPLY
        if isinstance(reply, Have):
            run.is_accepted, run.failures = True, 0
            run.read = run.written = reply.offset
            self._go_back(run, reply.offset)
            self._progress(run, reply.offset, now_ns)
            run.due_ns = now_ns
        elif isinstance(reply, Got):
            self._progress(run, reply.offset, now_ns)
        elif isinstance(reply, Done):
            self._progress(run, run.record.offer.size, now_ns)
            self._end(run, COMPLETE, Refusal("", ""), now_ns)
        else:
            run.bad_hashes += reply.reason == "bad_hash"
            if reply.reason in PASSING and run.bad_hashes < MAX_BAD_HASHES:
                self._pause(run, reply, now_ns)
            else:
                self._end(run, FAILED, reply, now_ns)

    def _go_back(self, run: _Run, offset: int) -> None:
        record = run.record
        if offset < record.delivered and self._router is not None:
            record.delivered = offset
            self._router.restore_job(self._job(record), record.promise, wire_bytes(offset))

    def _progress(self, run: _Run, offset: int, now_ns: int) -> None:
        record = run.record
        run.progress_ns = now_ns
        if offset <= record.delivered or self._router is None:
            return
        more = wire_bytes(offset) - wire_bytes(record.delivered)
        self._router.job_delivered(record.job_id, more, now_ns // 1_000_000)
        record.delivered, record.reason, record.detail = offset, "", ""
        self._measure(run, now_ns)
        if now_ns - run.kept_ns >= KEEP_NS:
            run.kept_ns = now_ns
            self._charge(run)
            self._keep(record)

    def _measure(self, run: _Run, now_ns: int) -> None:
        since_ns, before = run.speed_from
        elapsed_ms = (now_ns - since_ns) // 1_000_000
        if elapsed_ms >= 1_000:
            speed = (run.record.delivered - before) * 8 // elapsed_ms
            run.speed_kbps = speed if run.speed_kbps == 0 else (run.speed_kbps + speed) // 2
            run.speed_from = (now_ns, run.record.delivered)

    def _charge(self, run: _Run) -> None:
        if run.flow is not None:
            more = run.flow.carried_bytes - run.counted
            run.counted += more
            run.record.spent += more * run.price_ucr

    # --- pauses and ends ------------------------------------------------------------------------

    def _note(self, run: _Run, refusal: Refusal) -> None:
        run.record.reason, run.record.detail = refusal.reason, refusal.detail

    def _pause(self, run: _Run, refusal: Refusal, now_ns: int) -> None:
        self._note(run, refusal)
        self._close_flow(run, refusal, now_ns)
        run.retry_ns = now_ns + min(LONGEST_RETRY_NS, RETRY_NS << min(8, run.failures))
        run.failures += 1

    def _close_flow(self, run: _Run, refusal: Refusal, now_ns: int) -> None:
        flow = run.flow
        if flow is None:
            return
        if not flow.stream.is_done and flow.stream.failure is None:
            flow.stream.reset(refusal)
            self._streams.pump(flow, now_ns)
        self._charge(run)
        run.flow = run.sealer = run.opener = None
        self._flows.pop(flow.number, None)

    def _end(self, run: _Run, state: str, refusal: Refusal, now_ns: int) -> None:
        record, now_ms = run.record, now_ns // 1_000_000
        if state == COMPLETE and run.flow is not None:
            run.flow.stream.finish()
            self._streams.pump(run.flow, now_ns)
            self._charge(run)
            self._flows.pop(run.flow.number, None)
        else:
            self._close_flow(run, refusal, now_ns)
        if self._router is not None:
            self._router.cancel(record.job_id)
        record.state, record.ended_ms = state, now_ms
        self._note(run, refusal)
        del self._runs[record.key]
        self._keep(record)
        self._emit(DropFile(record.key))
        said = f"job {record.job_id} to hotspot {record.offer.target}: {state} {refusal.detail}"
        self._emit(Log("info", said.strip()))
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        ended = [r for r in self.records.values() if r.state not in GOING]
        for record in sorted(ended, key=lambda r: r.ended_ms)[: max(0, len(ended) - MAX_ENDED)]:
            del self.records[record.key]
            self._emit(DropJob(record.key))

    def _keep(self, record: JobRecord) -> None:
        self._emit(KeepJob(record.key, record.pack()))
