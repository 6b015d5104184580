"""An overlay in virtual time whose hotspots keep files and whose links have a rate and a queue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from relay_helpers import MS, START_MS, Overlay, seed_of

from chain.draws import digest, u32
from chain.params import PRESETS
from chain.records import Refusal
from hotspot.actions import (
    Action,
    CheckFile,
    DropFile,
    DropJob,
    DropReceipt,
    KeepJob,
    KeepPart,
    ReadPart,
    SendDatagram,
)
from hotspot.jobs.inbox import InboxPolicy
from hotspot.jobs.messages import RUNNING, JobRecord, Offer
from hotspot.overlay.linkstate import LinkReport
from hotspot.overlay.relay import RelayNode, RelayOptions
from routing.router import Router
from routing.types import JobPromise

QUEUE_BYTES = 96 * 1024
REPORT_MS = 1_000


def content(size: int, number: int = 0) -> bytes:
    """Bytes that don't repeat, so that a misplaced block shows."""
    blocks = (digest("content", u32(number), u32(n)) for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]


@dataclass
class JobOverlay(Overlay):
    """Every link carries `rate_kbps` each way, after a queue; its driver reports that."""

    rate_kbps: int = 20_000
    rates: dict[tuple[int, int], int] = field(default_factory=dict)  # of links that differ
    policy: InboxPolicy | None = None

    def __post_init__(self) -> None:
        self.disk: dict[int, dict[str, bytearray]] = {i: {} for i in range(self.count)}
        self.rows: dict[int, dict[str, bytes]] = {i: {} for i in range(self.count)}
        self.broken_disks: set[int] = set()
        self.unsafe: list[str] = []
        self._free_ns: dict[tuple[int, int], int] = {}
        self._carried: dict[tuple[int, int], int] = {}
        super().__post_init__()
        self.at(self.now_ns, self._report)

    def make_node(self, index: int) -> RelayNode:
        options = RelayOptions(
            self.price,
            self.providers.get(index, ()),
            claim_ms=self.claim_ms,
            default_rate_kbps=self.rate_kbps,
            inbox=self.policy or InboxPolicy(),
        )
        return RelayNode(
            *(index, seed_of(index), self.ledger.network_id, PRESETS["minimal"], self.directory),
            *(self.neighbours[index], self.now_ns),
            start_ms=START_MS,
            options=options,
            router=Router(),
            verified=self._memo,
        )

    def _report(self) -> None:
        for one, others in self.neighbours.items():
            for other in others if one not in self.down else ():
                self.nodes[one].receive_link_report(self._link_report(one, other), self.now_ns)
        self.at(self.now_ns + REPORT_MS * MS, self._report)

    def rate_of(self, one: int, other: int) -> int:
        return self.rates.get((min(one, other), max(one, other)), self.rate_kbps)

    def _link_report(self, one: int, other: int) -> LinkReport:
        sent, rate = self._carried.pop((one, other), 0), self.rate_of(one, other)
        busy = min(1_000, 1_000 * 8 * sent // (rate * REPORT_MS))
        queued_ns = max(0, self._free_ns.get((one, other), 0) - self.now_ns)
        queue = queued_ns * rate // 8_000_000
        rtt_us = 2_000 * self.delay_ms
        return LinkReport(other, rate, busy, queue, self.loss_permille, rtt_us)

    def _carry(self, source: int, action: SendDatagram) -> None:
        link, rate = (source, action.peer), self.rate_of(source, action.peer)
        start_ns = max(self.now_ns, self._free_ns.get(link, 0))
        if (start_ns - self.now_ns) * rate // 8_000_000 > QUEUE_BYTES:
            return
        done_ns = start_ns + len(action.data) * 8_000_000 // rate
        self._free_ns[link] = done_ns
        self._carried[link] = self._carried.get(link, 0) + len(action.data)

        def leave() -> None:
            Overlay._carry(self, source, action)

        self.at(done_ns, leave)

    # --- files ----------------------------------------------------------------------------------

    def _effect(self, index: int, action: Action) -> None:
        node, disk = self.nodes[index], self.disk[index]
        if isinstance(action, KeepJob):
            self.rows[index][action.name] = action.data
        elif isinstance(action, DropJob):
            self.rows[index].pop(action.name, None)
        elif isinstance(action, DropFile):
            disk.pop(action.name, None)
        elif isinstance(action, ReadPart):
            data = bytes(disk[action.name][action.offset : action.offset + action.length])
            node.jobs.provide(action.name, action.offset, data, self.now_ns)
            self.perform(index)
        elif isinstance(action, KeepPart):
            self._keep_part(index, action)
        elif isinstance(action, CheckFile):
            is_right = hashlib.sha256(disk[action.name]).digest() == action.sha256
            node.inbox.checked(action.name, self.now_ns, is_right=is_right)
            self.perform(index)
        elif not isinstance(action, DropReceipt):
            super()._effect(index, action)

    def _keep_part(self, index: int, action: KeepPart) -> None:
        node, file = self.nodes[index], self.disk[index].setdefault(action.name, bytearray())
        if index in self.broken_disks:
            node.inbox.fail(action.name, Refusal("disk_failed", "no space left"), self.now_ns)
        else:
            assert action.offset <= len(file)
            file[action.offset :] = action.data
            node.inbox.stored(action.name, len(file), self.now_ns)
        self.perform(index)

    def restart(self, index: int) -> None:
        """Kill a hotspot and start it again with what it had on disk."""
        self.nodes[index] = self.make_node(index)
        node = self.nodes[index]
        node.restore(self.kept[index].values(), [], self.now_ns)
        kept = [
            (name, data, len(self.disk[index].get(name, b"")))
            for name, data in self.rows[index].items()
        ]
        node.restore_jobs(kept, digest("restart", u32(self._events)), self.now_ns)

    # --- owners ---------------------------------------------------------------------------------

    def submit(
        self, source: int, target: int, data: bytes, deadline_ms: int = 60_000, budget: int = 0
    ) -> JobPromise | Refusal:
        """Submit a job that begins now."""
        number = len(self.rows[source])
        offer = Offer(
            *(digest("job", u32(source), u32(number))[:16], source, target, len(data)),
            *(hashlib.sha256(data).digest(), f"file{number}", self.now_ns // MS + deadline_ms),
        )
        self.disk[source][f"out-{offer.job_id.hex()}"] = bytearray(data)
        entropy = digest("job-entropy", u32(source), u32(number))
        answer = self.nodes[source].submit_job(offer, budget, entropy, self.now_ns)
        self.perform(source)
        return answer

    def job(self, source: int, number: int = 0) -> JobRecord:
        return list(self.nodes[source].jobs.records.values())[number]

    def run_job(self, ms: int = 120_000, source: int = 0) -> JobRecord:
        """Run until the newest job has ended."""
        record = self.job(source, -1)
        self.run(ms, until=lambda: self.job(source, -1).state != RUNNING)
        return self.job(source, -1) if record else record

    def arrived(self, target: int) -> list[bytes]:
        """Complete files at a hotspot."""
        inbox = self.nodes[target].inbox
        return [bytes(self.disk[target][n]) for n, f in inbox.files.items() if f.state == "done"]


def changed(offer: Offer, **values: object) -> Offer:
    return replace(offer, **values)  # type: ignore[arg-type]
